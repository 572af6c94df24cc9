//! The engine in a running server.

use super::*;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;

fn settings(server: &MariaDb, checks: &str, queries: &str) -> Settings {
    let connection = server.element_named("connection");
    Settings {
        checks: checks.to_owned(),
        engines: format!(
            "<mysql id=\"db\">{connection}{queries}</mysql>
             <set id=\"seen\"><result>$engines.db.q.status/$engines.db.q.reason/\
               $engines.db.q.rows/$engines.db.q.affected</result>
               <on_done>REJECT $result</on_done></set>"
        ),
        ..Settings::default()
    }
}

fn decision(daemon: &Daemon, sender: impl AsRef<[u8]>) -> String {
    let request = PolicyRequest::new().set("sender", sender);
    daemon.connect().ask(&request.octets()).unwrap()
}

#[test]
fn a_row_that_is_found_speaks_in_the_reply() {
    let server = block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE blocked (sender VARCHAR(255), reason VARCHAR(255))").await;
        server.execute("INSERT INTO blocked VALUES ('a@example.org', 'no spam, please')").await;
        server
    });
    let query = "<query id=\"q\">
        <statement>SELECT reason FROM blocked WHERE sender = '${escape $sender}'</statement>
        <on_found>REJECT ${field reason} ($rows, ${field nothing})</on_found>
      </query>";
    let daemon = Daemon::start(settings(&server, "db.q", query));
    assert_eq!(decision(&daemon, "a@example.org"), "REJECT no spam, please (1, )");
    assert_eq!(decision(&daemon, "b@example.org"), "DUNNO");
    assert_eq!(decision(&daemon, b"a\xff'@example.org"), "DUNNO");
}

#[test]
fn later_engines_see_what_was_found() {
    let server = block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE t (sender VARCHAR(255) UNIQUE, reason VARCHAR(255))").await;
        server
    });
    let query = |text: &str| format!("<query id=\"q\"><statement>{text}</statement></query>");
    let insert = query("INSERT INTO t VALUES ($sender, 'new')");
    let daemon = Daemon::start(settings(&server, "db.q seen", &insert));
    assert_eq!(decision(&daemon, "a"), "REJECT done//0/1");
    let select = query("SELECT reason FROM t WHERE sender = $sender");
    let daemon = Daemon::start(settings(&server, "db.q seen", &select));
    assert_eq!(decision(&daemon, "a"), "REJECT found/new/1/0");
    assert_eq!(decision(&daemon, "b"), "REJECT empty//0/0");
}

#[test]
fn a_failure_is_an_exception_of_that_request() {
    let server = block_on(MariaDb::start());
    let query = "<query id=\"q\"><statement>SELECT * FROM nowhere</statement>
        <on_exception>DEFER_IF_PERMIT database</on_exception></query>";
    let daemon = Daemon::start(settings(&server, "db.q", query));
    assert_eq!(decision(&daemon, "a"), "DEFER_IF_PERMIT database");
    daemon.logged("what the server said", |line| mentions(line, "nowhere"));
}

#[test]
fn a_run_that_times_out_leaves_the_next_one_its_own_answer() {
    let server = block_on(MariaDb::start());
    let query = "<pool max=\"1\"/><query id=\"q\" timeout=\"100ms\">
        <statement>SELECT concat($sender, if($sender = 'slow', SLEEP(0.4), '')) AS reason</statement>
        <on_found>REJECT ${field reason}</on_found>
        <on_exception>REJECT timeout</on_exception></query>
        <query id=\"patient\"><statement>SELECT $sender AS reason</statement>
        <on_found>REJECT ${field reason}</on_found></query>";
    let daemon = Daemon::start(settings(&server, "db.q", query));
    assert_eq!(decision(&daemon, "slow"), "REJECT timeout");
    let mut daemon = daemon;
    daemon.configure(settings(&server, "db.patient", query));
    daemon.hangup();
    let sender = |number: u32| format!("sender {number}");
    let answered =
        crate::harness::eventually(|| (decision(&daemon, "x") == "REJECT x").then_some(()));
    assert!(answered.is_some(), "the reload is not in force");
    for number in 0..20 {
        assert_eq!(decision(&daemon, sender(number)), format!("REJECT {}", sender(number)));
    }
}

#[test]
fn the_example_of_the_page_is_a_configuration() {
    let page = include_str!("../../docs/engines/mysql.md");
    let mut blocks = page.split("```xml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (engine, chain) = (blocks.next().unwrap(), blocks.next().unwrap());
    let whole = format!("<mppd><common>{chain}</common><engines>{engine}</engines></mppd>");
    let files = vec![("secrets/db".to_owned(), "secret\n".to_owned())];
    // It starts; nothing is asked, so that whatever database is there stays alone.
    Daemon::start(Settings { whole: Some(whole), files, ..Settings::default() });
}
