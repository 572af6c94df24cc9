//! What came in, what is under way and what was turned away: counters that every worker and
//! listener adds to, and anybody may look at.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The counters. They only grow, other than those of what is there at the moment.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections at the moment.
    pub connections: AtomicU32,
    /// Requests under way at the moment.
    pub requests: AtomicU32,
    /// Octets of requests held at the moment.
    pub memory: AtomicU64,
    /// Connections taken in.
    pub accepted: AtomicU64,
    /// Requests answered, those that were shed among them.
    pub answered: AtomicU64,
    /// Requests that got what `on_overload` says.
    pub shed: AtomicU64,
    /// Connections closed at a limit, without an answer.
    pub refused: AtomicU64,
    /// Connections closed for input that no Postfix sends.
    pub bad_input: AtomicU64,
    /// Connections closed because their peer was too slow.
    pub too_slow: AtomicU64,
}

/// The counters at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// Connections at the moment.
    pub connections: u32,
    /// Requests under way at the moment.
    pub requests: u32,
    /// Octets of requests held at the moment.
    pub memory: u64,
    /// Connections taken in.
    pub accepted: u64,
    /// Requests answered, those that were shed among them.
    pub answered: u64,
    /// Requests that got what `on_overload` says.
    pub shed: u64,
    /// Connections closed at a limit, without an answer.
    pub refused: u64,
    /// Connections closed for input that no Postfix sends.
    pub bad_input: u64,
    /// Connections closed because their peer was too slow.
    pub too_slow: u64,
}

impl Traffic {
    /// How they stand.
    #[must_use]
    pub fn status(&self) -> TrafficStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficStatus {
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            memory: count(&self.memory),
            accepted: count(&self.accepted),
            answered: count(&self.answered),
            shed: count(&self.shed),
            refused: count(&self.refused),
            bad_input: count(&self.bad_input),
            too_slow: count(&self.too_slow),
        }
    }
}
