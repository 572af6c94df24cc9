//! `kill -9` under load: whoever got an answer has a record of it.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::records;

const CONNECTIONS: usize = 50;

/// The instances of what was sent and of what was answered.
#[derive(Default)]
struct Load {
    sent: Mutex<HashSet<String>>,
    answered: Mutex<HashSet<String>>,
}

impl Load {
    /// Asks over [`CONNECTIONS`] connections until mppd is killed.
    fn until_killed(&self, daemon: &mut Daemon) {
        let endpoint = daemon.endpoint();
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| self.ask_on_and_on(&endpoint));
            }
            let end = Instant::now() + Duration::from_mins(1);
            while self.answered.lock().unwrap().len() < 2_000 {
                assert!(Instant::now() < end, "mppd hardly answers");
                pause(Duration::from_millis(20));
            }
            daemon.kill9();
        });
    }

    fn ask_on_and_on(&self, endpoint: &Endpoint) {
        let mut client = PolicyClient::connect(endpoint).unwrap();
        loop {
            let request = PolicyRequest::new();
            self.sent.lock().unwrap().insert(request.instance());
            if client.ask(&request.octets()).is_err() {
                return;
            }
            self.answered.lock().unwrap().insert(request.instance());
        }
    }

    /// Asserts that these are the instances and states of all rows there may be.
    fn assert_on_record(&self, rows: Vec<(String, String)>) {
        let mut states = HashMap::new();
        for (instance, state) in rows {
            let twice = states.insert(instance, state);
            assert_eq!(twice, None, "two rows for one request");
        }
        let (sent, answered) = (self.sent.lock().unwrap(), self.answered.lock().unwrap());
        for instance in answered.iter() {
            let state = states.get(instance).map(String::as_str);
            assert_eq!(state, Some("processed"), "{instance} was answered");
        }
        for (instance, state) in &states {
            assert!(sent.contains(instance), "{instance} was never asked");
            assert!(["received", "processed"].contains(&state.as_str()), "{instance}: {state}");
        }
    }
}

fn in_sqlite(daemon: &Daemon) -> Vec<(String, String)> {
    let rows = records::sqlite(&daemon.state_directory());
    rows.iter().map(|row| (row.text("instance"), row.text("state"))).collect()
}

fn in_database(database: &MariaDb) -> Vec<(String, String)> {
    let rows: Vec<String> = block_on(
        database.ask("SELECT CONCAT(instance, ' ', state) FROM track_policy_request ORDER BY id"),
    );
    rows.iter()
        .map(|row| row.split_once(' ').unwrap())
        .map(|(instance, state)| (instance.to_owned(), state.to_owned()))
        .collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn whatever_was_answered_is_in_sqlite_after_a_kill() {
    let mut daemon = Daemon::start(Settings { tracking: true, ..Settings::default() });
    let load = Load::default();
    load.until_killed(&mut daemon);
    load.assert_on_record(in_sqlite(&daemon));
}

#[test]
fn a_killed_server_starts_again_on_the_same_records() {
    let mut daemon = Daemon::start(Settings { tracking: true, ..Settings::default() });
    let load = Load::default();
    load.until_killed(&mut daemon);
    let daemon = daemon.again();
    let request = PolicyRequest::new();
    assert_eq!(daemon.connect().ask(&request.octets()).unwrap(), "DUNNO");
    load.sent.lock().unwrap().insert(request.instance());
    load.answered.lock().unwrap().insert(request.instance());
    load.assert_on_record(in_sqlite(&daemon));
}

#[test]
fn whatever_was_answered_is_in_the_database_after_a_kill() {
    let database = block_on(MariaDb::start());
    let mut daemon = Daemon::start(Settings {
        tracking: true,
        group: database.element(),
        ..Settings::default()
    });
    let load = Load::default();
    load.until_killed(&mut daemon);
    load.assert_on_record(in_database(&database));
}
