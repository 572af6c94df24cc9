//! `mppd schema grants`: a database user who may do what it prints, and nothing else, is enough.

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::PolicyRequest;
use crate::mysql::block_on;

/// Records, state and retention in the server.
fn settings(server: &MariaDb) -> Settings {
    Settings {
        tracking: true,
        group: server.element(),
        common: format!(
            "<tracking><retention><keep>30d</keep></retention></tracking>
             <state_store><mysql>{}</mysql></state_store>",
            server.element_named("connection")
        ),
        groups: format!(
            "<sql>{}<statement>SELECT group_id FROM members JOIN domains USING (domain)
               WHERE domain = $recipient.domain</statement></sql>",
            server.element_named("connection")
        ),
        checks: "threshold".to_owned(),
        engines: "<threshold id=\"threshold\"><key>$sender</key><limit max=\"1000\" per=\"1h\"/>
                  <on_over>450 4.7.1 enough</on_over></threshold>"
            .to_owned(),
        ..Settings::default()
    }
}

/// A file with the configuration, before any server runs with it.
fn printed(server: &MariaDb, arguments: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    std::fs::write(&file, settings(server).xml(directory.path())).unwrap();
    Call::new(["schema", "grants", "--client", "%"].iter().chain(arguments)).with(&file).succeed()
}

async fn may_nothing(server: &MariaDb) {
    server
        .execute(
            "CREATE TABLE members (domain VARCHAR(255), group_id VARCHAR(255)); \
             CREATE TABLE domains (domain VARCHAR(255))",
        )
        .await;
    server.execute("REVOKE ALL ON mppd.* FROM mppd@'%'").await;
}

async fn execute_all(server: &MariaDb, statements: &str) {
    for statement in statements.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        server.execute(statement).await;
    }
}

fn assert_works(server: &MariaDb) {
    let daemon = Daemon::start(settings(server));
    let mut client = daemon.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    }
    let count = |table| block_on(server.ask::<u64>(&format!("SELECT count(*) FROM {table}")))[0];
    assert_eq!(count("track_policy_request"), 3);
    let has_state = eventually(|| (count("state_store") > 0).then_some(()));
    assert!(has_state.is_some(), "nothing is kept in the state store");
    drop(client);
    let mut daemon = daemon;
    assert!(daemon.terminate().success());
    for line in daemon.log() {
        assert!(!line.contains("denied") && !line.contains("can't be asked"), "{line}");
    }
}

#[test]
fn what_is_granted_is_enough_to_make_the_tables_and_use_them() {
    let server = block_on(MariaDb::start());
    let grants = printed(&server, &["--create"]);
    block_on(async {
        may_nothing(&server).await;
        execute_all(&server, &grants).await;
    });
    assert_works(&server);
}

#[test]
fn less_is_granted_and_enough_where_the_tables_are_there() {
    let server = block_on(MariaDb::start());
    let grants = printed(&server, &[]);
    assert!(!grants.contains("CREATE") && !grants.contains("ALTER"), "{grants}");
    let tables = ["mysql", "state_store"].map(|table| Call::new(["schema", table]).succeed());
    block_on(async {
        may_nothing(&server).await;
        for table in tables {
            execute_all(&server, &table).await;
        }
        execute_all(&server, &grants).await;
    });
    assert_works(&server);
}
