//! Requests whose answers are known, asked by clients that come back after a broken connection as
//! Postfix does; and what became of each.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};

/// Connections that ask at once.
const CONNECTIONS: usize = 8;

/// Between two requests of one connection, so that the machine is not what fails.
const PAUSE: Duration = Duration::from_millis(2);

/// Before a client connects once more.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// Recipients at this domain are refused by the configuration of the site.
pub(super) const REFUSED: &str = "refused.example";

/// A request that was sent.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What must be decided.
    pub(super) expected: &'static str,
    /// What was answered: the first word. `None` where the connection broke.
    pub(super) answer: Option<String>,
    /// How long that took.
    pub(super) took: Duration,
}

/// Everything that was asked, by instance.
pub(super) type History = HashMap<String, Asked>;

/// Clients that ask until they are told to stop.
pub(super) struct Load {
    stop: std::sync::Arc<AtomicBool>,
    clients: Vec<JoinHandle<History>>,
}

impl Load {
    pub(super) fn begin(endpoint: &Endpoint) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let client = |_| {
            let (stop, endpoint) = (stop.clone(), endpoint.clone());
            std::thread::spawn(move || ask_on_and_on(&endpoint, &stop))
        };
        let clients = (0..CONNECTIONS).map(client).collect();
        Load { stop, clients }
    }

    /// Stops asking; what was asked.
    pub(super) fn end(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = History::new();
        for client in self.clients {
            history.extend(client.join().unwrap());
        }
        history
    }
}

fn ask_on_and_on(endpoint: &Endpoint, stop: &AtomicBool) -> History {
    let history = Mutex::new(History::new());
    let mut client = None;
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        if client.is_none() {
            client = PolicyClient::connect(endpoint).ok();
        }
        let Some(connection) = &mut client else {
            pause(PAUSE_AFTER_FAILURE);
            continue;
        };
        count += 1;
        let (domain, expected) =
            if count % 5 == 0 { (REFUSED, "REJECT") } else { ("example.com", "DUNNO") };
        let request = PolicyRequest::new().set("recipient", format!("user{count}@{domain}"));
        let asked = Instant::now();
        let answer = connection.ask(&request.octets());
        let took = asked.elapsed();
        if answer.is_err() {
            client = None;
        }
        let answer = answer.ok().map(|answer| first_word(&answer));
        let asked = Asked { expected, answer, took };
        history.lock().unwrap().insert(request.instance(), asked);
        pause(PAUSE);
    }
    history.into_inner().unwrap()
}

fn first_word(answer: &str) -> String {
    answer.split_whitespace().next().unwrap_or_default().to_owned()
}
