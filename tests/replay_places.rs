//! `mppd replay` where the records, the groups, the memory and the name servers are elsewhere; and
//! that nothing of them is changed by it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::rbldnsd::Rbldnsd;
use crate::harness::records::{Store, block_on};
use crate::harness::redis::Redis;

/// Every file below a directory; sockets are none.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

/// The files that are others than before, made or gone.
fn changed(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<PathBuf> {
    let all = before.keys().chain(after.keys());
    all.filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

/// A checksum of every table.
fn checksums(server: &MariaDb) -> Vec<(String, Option<u64>)> {
    let tables: Vec<String> = block_on(server.ask("SHOW TABLES"));
    assert!(!tables.is_empty());
    block_on(server.ask(&format!("CHECKSUM TABLE {}", tables.join(", "))))
}

fn beside(daemon: &Daemon, settings: &Settings) -> PathBuf {
    let file = daemon.configuration().with_file_name("other.conf.xml");
    std::fs::write(&file, settings.xml(&daemon.state_directory())).unwrap();
    file
}

fn replay(configuration: &Path, arguments: &[&str]) -> Value {
    let said = Call::new(["replay", "--json"].iter().chain(arguments)).with(configuration).run();
    assert_eq!(said.err, "");
    assert!(matches!(said.code, Some(0 | 1)), "{:?}", said.code);
    serde_json::from_str(&said.out).unwrap()
}

fn ask(daemon: &Daemon, times: usize, attributes: &[(&str, &str)]) {
    let set = |request: PolicyRequest, (name, value): &(&str, &str)| request.set(name, *value);
    let mut client = daemon.connect();
    for _ in 0..times {
        client.ask(&attributes.iter().fold(PolicyRequest::new(), set).octets()).unwrap();
    }
}

fn counting(limit: u32) -> String {
    format!(
        "<threshold key=\"$ip\"><limit max=\"{limit}\" per=\"1h\"/></threshold>
         <wbl id=\"wbl\"><black><sender>black@example.org</sender></black></wbl>"
    )
}

#[test]
fn records_and_memory_in_a_database_are_read_and_no_table_is_changed() {
    let server = block_on(MariaDb::start());
    let memory = server.element_named("connection");
    let settings = |limit| Settings {
        common: format!("<state_store><mysql>{memory}</mysql></state_store>"),
        checks: "wbl threshold".into(),
        engines: counting(limit),
        group: server.element(),
        tracking: true,
        ..Settings::default()
    };
    let mut daemon = Daemon::start(settings(20));
    ask(&daemon, 25, &[("client_address", "192.0.2.1")]);
    ask(&daemon, 3, &[("sender", "black@example.org")]);
    assert!(daemon.terminate().success());
    let (tables, kept) = (checksums(&server), files(&daemon.state_directory()));
    assert!(tables.iter().any(|(name, _)| name.ends_with("state_store")), "{tables:?}");
    // What was counted then is no part of it: all begins anew, as it did then.
    let report = replay(&daemon.configuration(), &[]);
    assert_eq!((&report["same"], &report["changed"]), (&28.into(), &0.into()), "{report}");
    let report = replay(&beside(&daemon, &settings(10)), &[]);
    assert_eq!(report["changed"], 10, "{report}");
    assert_eq!(report["causes"][0]["engine"], "threshold");
    assert_eq!(checksums(&server), tables);
    assert_eq!(changed(&kept, &files(&daemon.state_directory())), Vec::<PathBuf>::new());
}

#[test]
fn memory_in_redis_is_not_asked() {
    let mut redis = Redis::start();
    let mut daemon = Daemon::start(Store::Sqlite.track(Settings {
        common: format!("<state_store><redis><url>{}</url></redis></state_store>", redis.url()),
        checks: "threshold".into(),
        engines: counting(5),
        ..Settings::default()
    }));
    ask(&daemon, 8, &[]);
    assert!(daemon.terminate().success());
    redis.kill();
    let report = replay(&daemon.configuration(), &[]);
    assert_eq!((&report["same"], &report["changed"]), (&8.into(), &0.into()), "{report}");
}

#[test]
fn without_a_server_no_file_is_changed_and_what_a_killed_one_left_stays() {
    let settings = Store::Sqlite.track(Settings {
        checks: "wbl threshold".into(),
        engines: counting(5),
        ..Settings::default()
    });
    for is_killed in [false, true] {
        let mut daemon = Daemon::start(settings.clone());
        ask(&daemon, 8, &[]);
        if is_killed {
            daemon.kill9();
        } else {
            assert!(daemon.terminate().success());
        }
        let before = files(&daemon.state_directory());
        let report = replay(&daemon.configuration(), &[]);
        assert_eq!((&report["same"], &report["changed"]), (&8.into(), &0.into()), "{report}");
        let mut changed = changed(&before, &files(&daemon.state_directory()));
        // What SQLite shares between processes holds nothing that lasts; after a kill it is made
        // anew from the log.
        changed.retain(|path| !(is_killed && path.ends_with("requests.sqlite-shm")));
        assert_eq!(changed, Vec::<PathBuf>::new(), "killed: {is_killed}");
    }
}

#[test]
fn groups_that_a_database_knew_are_those_of_the_records() {
    let server = block_on(MariaDb::start());
    block_on(server.execute(
        "CREATE TABLE members (domain VARCHAR(255) CHARACTER SET utf8mb4, group_id VARCHAR(255)); \
         INSERT INTO members VALUES ('a.example', 'a')",
    ));
    let settings = |refusal: &str| {
        Store::Sqlite.track(Settings {
            groups: format!(
                "<sql>{}<statement>SELECT group_id FROM members WHERE domain = $recipient.domain
                 </statement></sql>
                 <group id=\"a\"><policy_check_engines>all</policy_check_engines></group>",
                server.element_named("connection")
            ),
            engines: format!("<set id=\"all\"><on_done>{refusal}</on_done></set>"),
            ..Settings::default()
        })
    };
    let mut daemon = Daemon::start(settings("REJECT a"));
    ask(&daemon, 4, &[("recipient", "x@a.example")]);
    ask(&daemon, 3, &[("recipient", "x@b.example")]);
    assert!(daemon.terminate().success());
    // Whoever asked now would be told otherwise.
    block_on(server.execute("UPDATE members SET domain = 'b.example'"));
    let report = replay(&daemon.configuration(), &[]);
    assert_eq!((&report["same"], &report["changed"]), (&7.into(), &0.into()), "{report}");
    let report = replay(&beside(&daemon, &settings("DEFER later")), &[]);
    assert_eq!((&report["same"], &report["changed"]), (&3.into(), &4.into()), "{report}");
}

fn listed(name_server: SocketAddr, more: &str) -> Settings {
    Store::Sqlite.track(Settings {
        common: format!("<dns><server>{name_server}</server><timeout>2s</timeout></dns>"),
        checks: "rbl".into(),
        engines: format!("<rbl>{more}<list zone='bl.example'/></rbl>"),
        ..Settings::default()
    })
}

fn lists(data: &str) -> Rbldnsd {
    let start = "$SOA 3000 ns.example hostmaster.example 1 3600 900 86400 300\n:127.0.0.2:spam\n";
    // What a list has to have, for those who look whether it works.
    Rbldnsd::start(&[("bl.example", "ip4set", &format!("{start}127.0.0.2\n{data}"))])
}

#[test]
fn name_servers_are_asked_again_where_that_is_wanted() {
    let then = lists("192.0.2.1\n");
    let mut daemon = Daemon::start(listed(then.address(), ""));
    for last in 1..=40 {
        ask(&daemon, 1, &[("client_address", &format!("192.0.2.{last}"))]);
    }
    assert!(daemon.terminate().success());
    let now = lists("192.0.2.0/29\n");
    let file = beside(&daemon, &listed(now.address(), ""));
    let report = replay(&file, &[]);
    assert_eq!((&report["same"], &report["changed"]), (&40.into(), &0.into()), "{report}");
    let report = replay(&file, &["--dns", "live"]);
    assert_eq!((&report["same"], &report["changed"]), (&34.into(), &6.into()), "{report}");
    let cause = &report["causes"][0];
    assert_eq!((&cause["engine"], &cause["new_status"]), (&"rbl".into(), &"listed".into()));
    assert_eq!(report["failed"], serde_json::json!({}));
    let report = replay(&file, &["--dns", "live", "--recorded", "rbl"]);
    assert_eq!(report["changed"], 0, "{report}");
}

#[test]
fn an_engine_that_keeps_failing_is_told_with_the_runs_that_were_not_made() {
    let then = lists("192.0.2.1\n");
    let mut daemon = Daemon::start(listed(then.address(), ""));
    ask(&daemon, 12, &[("client_address", "192.0.2.1")]);
    assert!(daemon.terminate().success());
    // It takes questions in and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let hasty = "<timeout>20ms</timeout><breaker_failures>2</breaker_failures>
                 <breaker_pause>1h</breaker_pause>";
    let file = beside(&daemon, &listed(silent.local_addr().unwrap(), hasty));
    let report = replay(&file, &["--dns", "live"]);
    assert_eq!(report["failed"]["rbl"], 12, "{report}");
    let said = Call::new(["replay", "--dns", "live"]).with(&file).run();
    let told = "rbl failed, or was suspended as it kept failing: 12 times\n";
    assert!(said.out.contains(told), "{}", said.out);
}
