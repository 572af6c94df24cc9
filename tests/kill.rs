//! `kill -9` under load, of the server, of its database, of both: whoever got an answer has a record
//! of it, once.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::records;
use crate::harness::{eventually, pause};

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
        let enough = self.answered.lock().unwrap().len() + 2_000;
        self.during(daemon, |daemon| {
            let end = Instant::now() + Duration::from_mins(1);
            while self.answered.lock().unwrap().len() < enough {
                assert!(Instant::now() < end, "mppd hardly answers");
                pause(Duration::from_millis(20));
            }
            daemon.kill9();
        });
    }

    /// Asks over [`CONNECTIONS`] connections while something happens that ends with mppd.
    fn during(&self, daemon: &mut Daemon, happens: impl FnOnce(&mut Daemon)) {
        let endpoint = daemon.endpoint();
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| self.ask_on_and_on(&endpoint));
            }
            happens(daemon);
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

/// A time up to so many milliseconds.
fn some_time(random: &mut fastrand::Rng, most: u64) -> Duration {
    Duration::from_millis(random.u64(0..=most))
}

#[test]
fn whatever_dies_at_any_instant_nothing_answered_is_lost_or_doubled() {
    let seed = std::env::var("MPPD_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("MPPD_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut database = block_on(MariaDb::start());
    let mut daemon = Daemon::start(Settings {
        tracking: true,
        group: database.element(),
        ..Settings::default()
    });
    let load = Load::default();
    for _ in 0..4 {
        let is_database_killed = random.bool();
        let is_server_first = random.bool();
        load.during(&mut daemon, |daemon| {
            pause(some_time(&mut random, 500));
            if is_database_killed && !is_server_first {
                database.kill();
                pause(some_time(&mut random, 300));
            }
            daemon.kill9();
        });
        if is_database_killed && is_server_first {
            pause(some_time(&mut random, 20));
            database.kill();
        }
        // Half the time mppd comes up without its database.
        let is_back_first = random.bool();
        if is_database_killed && is_back_first {
            block_on(database.restart());
        }
        daemon = daemon.again();
        if is_database_killed && !is_back_first {
            block_on(database.restart());
        }
    }
    let request = PolicyRequest::new();
    assert_eq!(daemon.connect().ask(&request.octets()).unwrap(), "DUNNO");
    load.sent.lock().unwrap().insert(request.instance());
    load.answered.lock().unwrap().insert(request.instance());
    assert!(load.answered.lock().unwrap().len() > 100, "mppd hardly answers");
    let is_moved = eventually(|| {
        let in_database = in_database(&database);
        let is_there = |instance: &String| in_database.iter().any(|(there, _)| there == instance);
        let is_moved = spooled(&daemon) == 0 && is_there(&request.instance());
        // What was under way is closed when everything is moved.
        let is_closed = in_database.iter().all(|(_, state)| state == "processed");
        (is_moved && is_closed).then_some(())
    });
    assert!(is_moved.is_some(), "{} rows wait in the spool", spooled(&daemon));
    load.assert_on_record(in_database(&database));
}

/// How many rows wait in the spool.
fn spooled(daemon: &Daemon) -> i64 {
    let files = std::fs::read_dir(daemon.state_directory()).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let is_spool = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("spool-") && name.ends_with(".sqlite")
    };
    let count = |path: std::path::PathBuf| -> i64 {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        let sql = "SELECT count(*) FROM track_policy_request";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    paths.filter(is_spool).map(count).sum()
}
