//! Requests that were under way when mppd died: the next run closes them, or leaves them.

use std::net::TcpListener;

use super::*;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::records::Store as Records;

const CLOSED: &str = "mppd ended before this request was decided";

/// A check that comes to no end, as long as this listener lives.
fn endless() -> (TcpListener, Settings) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let settings = Settings {
        checks: "silent".into(),
        engines: format!(
            "<delegate id=\"silent\" precondition=\"$helo $EQ slow\" timeout=\"20s\">
             <server>inet:{server}</server></delegate>"
        ),
        ..Settings::default()
    };
    (silent, settings)
}

/// The state and error text of every row.
fn states(records: &Records, daemon: &Daemon) -> Vec<(String, String)> {
    let rows = records.rows(daemon);
    rows.iter().map(|row| (row.text("state"), row.text("error_text"))).collect()
}

fn until_states(records: &Records, daemon: &Daemon, expected: &[(&str, &str)]) {
    let mut found = Vec::new();
    let is_so = eventually(|| {
        found = states(records, daemon);
        let same = |((state, text), expected): (&(String, String), &(&str, &str))| {
            (&**state, &**text) == *expected
        };
        (found.len() == expected.len() && found.iter().zip(expected).all(same)).then_some(())
    });
    assert!(is_so.is_some(), "{found:?} is not {expected:?} in {records}");
}

/// Asks one request that is decided and one that is not, and waits until both are on record.
fn leave_one_open(records: &Records, daemon: &Daemon) {
    daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
    let mut client = daemon.connect();
    client.send(&PolicyRequest::new().set("helo_name", "slow").octets()).unwrap();
    until_states(records, daemon, &[("processed", ""), ("received", "")]);
}

#[test]
fn a_request_under_way_at_a_kill_is_closed_by_the_next_run() {
    for records in Records::each() {
        let (_silent, settings) = endless();
        let mut daemon = Daemon::start(records.track(settings));
        leave_one_open(&records, &daemon);
        daemon.kill9();
        let daemon = daemon.again();
        until_states(&records, &daemon, &[("processed", ""), ("processed", CLOSED)]);
        let line = daemon.logged("the closed request", |line| line["requests"] == 1);
        assert!(line["msg"].as_str().unwrap().contains("ended without stopping"), "{line}");
        // Nothing is left to the run after that.
        let daemon = daemon.again();
        daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
        let states = states(&records, &daemon);
        assert_eq!(states.len(), 3);
        let signs = std::fs::read_dir(daemon.state_directory()).unwrap();
        let names = signs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.filter(|name| name.starts_with("alive-")).count() <= 2);
    }
}

#[test]
fn a_request_under_way_at_a_kill_is_closed_with_every_durability() {
    for records in Records::each() {
        let mut expected = Vec::new();
        for durability in ["strict", "relaxed"] {
            let (_silent, mut settings) = endless();
            settings.common = format!("<tracking><durability>{durability}</durability></tracking>");
            let mut daemon = Daemon::start(records.track(settings));
            daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
            let mut client = daemon.connect();
            client.send(&PolicyRequest::new().set("helo_name", "slow").octets()).unwrap();
            // The database is that of the first as well.
            if matches!(records, Records::Sqlite) {
                expected.clear();
            }
            expected.push(("processed", ""));
            let open = [&expected[..], &[("received", "")]].concat();
            until_states(&records, &daemon, &open);
            daemon.kill9();
            expected.push(("processed", CLOSED));
            until_states(&records, &daemon.again(), &expected);
        }
    }
}

#[test]
fn a_request_under_way_at_a_kill_stays_received_where_that_is_chosen() {
    for records in Records::each() {
        let (_silent, mut settings) = endless();
        settings.common = "<tracking><interrupted>keep</interrupted></tracking>".into();
        let mut daemon = Daemon::start(records.track(settings));
        leave_one_open(&records, &daemon);
        daemon.kill9();
        let daemon = daemon.again();
        daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
        until_states(&records, &daemon, &[("processed", ""), ("received", ""), ("processed", "")]);
    }
}

#[test]
fn a_request_that_an_older_release_had_under_way_is_closed() {
    for records in Records::each() {
        let (_silent, settings) = endless();
        let mut daemon = Daemon::start(records.track(settings));
        leave_one_open(&records, &daemon);
        daemon.kill9();
        // Its signs were keys, and the keys of its requests were of no run.
        for entry in std::fs::read_dir(daemon.state_directory()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("alive-") {
                std::fs::write(path, "01a206fa-d76d-717e-9104-000000000000").unwrap();
            }
        }
        until_states(&records, &daemon.again(), &[("processed", ""), ("processed", CLOSED)]);
    }
}

#[test]
fn requests_of_another_node_are_left_alone() {
    let records = Records::Sqlite;
    let (_silent, settings) = endless();
    let mut daemon = Daemon::start(records.track(settings));
    leave_one_open(&records, &daemon);
    daemon.kill9();
    let file = daemon.state_directory().join("requests.sqlite");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute_batch("UPDATE track_policy_request SET node = 'other'").unwrap();
    drop(connection);
    let daemon = daemon.again();
    daemon.logged("what was closed", |line| line["requests"] == 0);
    until_states(&records, &daemon, &[("processed", ""), ("received", "")]);
}

#[test]
fn nodes_that_share_a_database_close_their_own_requests_only() {
    let server = actix_rt::System::new().block_on(MariaDb::start());
    let (_silent, settings) = endless();
    let node = |name: &str| Settings {
        tracking: true,
        group: server.element(),
        common: format!("<node>{name}</node>"),
        ..settings.clone()
    };
    let mut nodes = ["one", "two"].map(|name| Daemon::start(node(name)));
    let open = |daemon: &Daemon| {
        let mut client = daemon.connect();
        client.send(&PolicyRequest::new().set("helo_name", "slow").octets()).unwrap();
        client
    };
    let _clients = nodes.each_ref().map(open);
    block_on(until_rows(&server, ["received", "received"]));
    // Both die, and the second comes back.
    nodes.iter_mut().for_each(Daemon::kill9);
    let [_one, two] = nodes;
    let two = two.again();
    let line = two.logged("the closed request", |line| line["requests"].is_u64());
    assert_eq!(line["requests"], 1);
    let left = "SELECT node FROM track_policy_request WHERE state = 'received'";
    assert_eq!(block_on(server.ask::<String>(left)), ["one"]);
}

#[test]
fn a_request_that_a_stop_cuts_off_is_closed_at_once() {
    for records in Records::each() {
        let (_silent, mut settings) = endless();
        settings.policy_server = "<drain_timeout>100ms</drain_timeout>".into();
        let mut daemon = Daemon::start(records.track(settings));
        leave_one_open(&records, &daemon);
        assert!(daemon.terminate().success());
        until_states(&records, &daemon, &[("processed", ""), ("processed", CLOSED)]);
    }
}

#[test]
fn what_was_open_is_closed_when_the_database_is_back() {
    block_on(async {
        let mut server = MariaDb::start().await;
        let (_silent, settings) = endless();
        let settings = Settings { tracking: true, group: server.element(), ..settings };
        let mut daemon = Daemon::start(settings);
        // The tables are there when this one is answered.
        daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
        let mut client = daemon.connect();
        client.send(&PolicyRequest::new().set("helo_name", "slow").octets()).unwrap();
        until_rows(&server, ["processed", "received"]).await;
        daemon.kill9();
        server.stop().await;
        let daemon = daemon.again();
        server.restart().await;
        until_rows(&server, ["processed", "processed"]).await;
        drop(daemon);
    });
}

#[test]
fn a_server_leaves_alone_what_another_of_the_same_name_has_under_way() {
    let server = actix_rt::System::new().block_on(MariaDb::start());
    let (silent, settings) = endless();
    let settings = Settings { tracking: true, group: server.element(), ..settings };
    let one = Daemon::start(settings.clone());
    let mut client = one.connect();
    client.send(&PolicyRequest::new().set("helo_name", "slow").octets()).unwrap();
    let (asked, _) = silent.accept().unwrap();
    let mut other = Daemon::start(settings);
    let mut given_up = other.connect();
    given_up.send(&PolicyRequest::new().set("helo_name", "slow").octets()).unwrap();
    block_on(until_rows(&server, ["received", "received"]));
    other.kill9();
    let other = other.again();
    let line = other.logged("the closed request", |line| line["requests"].is_u64());
    assert_eq!(line["requests"], 1);
    block_on(until_rows(&server, ["received", "processed"]));
    // Its decision is on record as any other.
    drop((asked, silent));
    client.reply().unwrap();
    block_on(until_rows(&server, ["processed", "processed"]));
    let errors = "SELECT COUNT(*) FROM track_policy_request WHERE error_text <> ''";
    assert_eq!(block_on(server.ask::<u64>(errors)), [1]);
}

async fn until_rows(server: &MariaDb, expected: [&str; 2]) {
    let begin = Instant::now();
    let sql = "SELECT state FROM track_policy_request ORDER BY id";
    loop {
        let states = server.ask::<String>(sql).await;
        if states == expected {
            return;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "{states:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
