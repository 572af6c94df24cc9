//! What came in, what is under way and what was turned away: counters that every worker and
//! listener adds to, and anybody may look at.
//!
//! What is there at the moment is counted by guards ([`UnderWay`], [`Held`]), so that an error or
//! a panic cannot leave it wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The counters. They only grow, other than those of what is there at the moment.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections at the moment.
    pub connections: AtomicU32,
    /// Connections at the moment that came when there were too many, and get one answer.
    pub turning_away: AtomicU32,
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
    /// Connections that came when there were `max_connections`.
    pub over_connections: AtomicU64,
    /// Requests that came when `max_requests` were under way.
    pub over_requests: AtomicU64,
    /// Requests for which `max_memory` left no room.
    pub over_memory: AtomicU64,
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
    /// Connections at the moment that came when there were too many, and get one answer.
    pub turning_away: u32,
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
    /// Connections that came when there were `max_connections`.
    pub over_connections: u64,
    /// Requests that came when `max_requests` were under way.
    pub over_requests: u64,
    /// Requests for which `max_memory` left no room.
    pub over_memory: u64,
    /// Connections closed for input that no Postfix sends.
    pub bad_input: u64,
    /// Connections closed because their peer was too slow.
    pub too_slow: u64,
}

/// What there may be so much of and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `max_connections`
    Connections,
    /// `max_requests`
    Requests,
    /// `max_memory`
    Memory,
}

/// Adds one to a counter that only grows.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Traffic {
    /// How they stand.
    #[must_use]
    pub fn status(&self) -> TrafficStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrafficStatus {
            connections: self.connections.load(Ordering::Relaxed),
            turning_away: self.turning_away.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            memory: count(&self.memory),
            accepted: count(&self.accepted),
            answered: count(&self.answered),
            shed: count(&self.shed),
            refused: count(&self.refused),
            over_connections: count(&self.over_connections),
            over_requests: count(&self.over_requests),
            over_memory: count(&self.over_memory),
            bad_input: count(&self.bad_input),
            too_slow: count(&self.too_slow),
        }
    }

    /// Counts a request as under way, unless so many are already.
    #[must_use]
    pub fn begin(self: &Arc<Self>, most: u32) -> Option<UnderWay> {
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        // Dropped at once, and so no longer counted, where there is no room.
        let under_way = UnderWay(self.clone());
        (before < most).then_some(under_way)
    }

    /// Counts that a limit was reached.
    pub fn reached(&self, limit: Limit) {
        count(match limit {
            Limit::Connections => &self.over_connections,
            Limit::Requests => &self.over_requests,
            Limit::Memory => &self.over_memory,
        });
    }
}

/// A request under way, for as long as this lives.
#[derive(Debug)]
pub struct UnderWay(Arc<Traffic>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The octets that one connection holds of requests, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    traffic: Arc<Traffic>,
    octets: u64,
}

impl Held {
    /// Nothing yet.
    #[must_use]
    pub fn nothing(traffic: Arc<Traffic>) -> Self {
        Held { traffic, octets: 0 }
    }

    /// Says how many octets are held from now on. `false`, and nothing has changed, where all
    /// connections together would hold more than `most`; less can always be held.
    #[must_use]
    pub fn resize(&mut self, octets: usize, most: u64) -> bool {
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        let memory = &self.traffic.memory;
        let Some(more) = octets.checked_sub(self.octets) else {
            memory.fetch_sub(self.octets - octets, Ordering::Relaxed);
            self.octets = octets;
            return true;
        };
        if more == 0 {
            return true;
        }
        let before = memory.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > most {
            memory.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.octets = octets;
        true
    }

    /// Says that nothing is held any more.
    pub fn release(&mut self) {
        self.traffic.memory.fetch_sub(self.octets, Ordering::Relaxed);
        self.octets = 0;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_more_requests_are_under_way_than_there_may_be() {
        let traffic = Arc::new(Traffic::default());
        let first = traffic.begin(2);
        let second = traffic.begin(2);
        assert!(first.is_some() && second.is_some());
        assert!(traffic.begin(2).is_none());
        drop(first);
        assert!(traffic.begin(2).is_some());
        drop(second);
        assert_eq!(traffic.status(), TrafficStatus::default());
    }

    #[test]
    fn a_panic_leaves_nothing_counted() {
        let traffic = Arc::new(Traffic::default());
        let panicked = std::thread::spawn({
            let traffic = traffic.clone();
            move || {
                let mut held = Held::nothing(traffic.clone());
                let (_under_way, _held) = (traffic.begin(1), held.resize(1_000, 1_000));
                assert_eq!(traffic.status().memory, 0, "on purpose");
            }
        });
        assert!(panicked.join().is_err());
        assert_eq!(traffic.status(), TrafficStatus::default());
    }

    proptest! {
        #[test]
        fn memory_is_what_all_hold_and_never_over_the_limit(
            steps in prop::collection::vec((0usize..4, 0usize..2_000), 0..200),
            most in 0u64..4_000,
        ) {
            let traffic = Arc::new(Traffic::default());
            let mut held: Vec<Held> = (0..4).map(|_| Held::nothing(traffic.clone())).collect();
            let mut model = [0; 4];
            for (which, octets) in steps {
                let others: usize = model.iter().sum::<usize>() - model[which];
                let fits = octets <= model[which] || (others + octets) as u64 <= most;
                prop_assert_eq!(held[which].resize(octets, most), fits);
                if fits {
                    model[which] = octets;
                }
                prop_assert_eq!(traffic.status().memory, model.iter().sum::<usize>() as u64);
            }
            drop(held);
            prop_assert_eq!(traffic.status().memory, 0);
        }
    }
}
