//! What the tests start and talk to: the daemon, a private Postfix, a private MariaDB, and clients
//! for the policy protocol and SMTP.

pub(crate) mod apart;
pub(crate) mod browser;
pub(crate) mod captures;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod http;
pub(crate) mod mariadb;
pub(crate) mod policy_client;
pub(crate) mod ports;
pub(crate) mod postfix;
pub(crate) mod postgrey;
pub(crate) mod programs;
pub(crate) mod rbldnsd;
pub(crate) mod records;
pub(crate) mod redis;
pub(crate) mod slapd;
pub(crate) mod small_disk;
pub(crate) mod smtp;
pub(crate) mod terminal;
pub(crate) mod transcript;
pub(crate) mod web;

use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Lets the test's thread rest.
pub(crate) fn pause(duration: Duration) {
    let end = Instant::now() + duration;
    while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
    {
        std::thread::park_timeout(rest);
    }
}

/// What `attempt` finds, as soon as it finds something; `None` after [`PATIENCE`].
pub(crate) fn eventually<T>(attempt: impl FnMut() -> Option<T>) -> Option<T> {
    within(PATIENCE, attempt)
}

/// The same of what takes longer than that.
pub(crate) fn within<T>(patience: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = attempt() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(Duration::from_millis(10));
    }
}
