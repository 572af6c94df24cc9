//! `kill -9` under load: whoever got an answer has a record of it.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::records::{self, Row};

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

    fn assert_on_record(&self, rows: &[Row]) {
        let mut states = HashMap::new();
        for row in rows {
            let twice = states.insert(row.text("instance"), row.text("state"));
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

#[test]
fn whatever_was_answered_is_in_sqlite_after_a_kill() {
    let mut daemon = Daemon::start(Settings { tracking: true, ..Settings::default() });
    let load = Load::default();
    load.until_killed(&mut daemon);
    load.assert_on_record(&records::sqlite(&daemon.state_directory()));
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
    load.assert_on_record(&records::sqlite(&daemon.state_directory()));
}
