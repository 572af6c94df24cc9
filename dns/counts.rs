//! What was asked, and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::answer::{Answer, TemporaryFailure};

/// What a resolver was asked since it was made, and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsStatus {
    /// Questions whose answer was in the cache.
    pub cached: u64,
    /// Questions that name servers answered.
    pub answered: u64,
    /// Questions that no name server answered in time.
    pub timed_out: u64,
    /// Questions that a name server refused, or could not answer.
    pub refused: u64,
    /// Questions that failed in another way.
    pub failed: u64,
    /// How long all that were not in the cache took together.
    pub waited: Duration,
    /// Questions under way at the moment.
    pub under_way: usize,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    cached: AtomicU64,
    answered: AtomicU64,
    timed_out: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
}

impl Counts {
    /// An answer was in the cache.
    pub(crate) fn at_hand(&self) {
        self.cached.fetch_add(1, Ordering::Relaxed);
    }

    /// A question that was asked has come to this, after so long.
    pub(crate) fn answered(&self, answer: &Answer, elapsed: Duration) {
        let counter = match answer {
            Answer::Records(_) | Answer::NoRecords | Answer::NoSuchName => &self.answered,
            Answer::Temporary(TemporaryFailure::TimedOut) => &self.timed_out,
            Answer::Temporary(TemporaryFailure::Refused(_)) => &self.refused,
            Answer::Temporary(TemporaryFailure::Failed(_)) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn status(&self, under_way: usize) -> DnsStatus {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DnsStatus {
            cached: of(&self.cached),
            answered: of(&self.answered),
            timed_out: of(&self.timed_out),
            refused: of(&self.refused),
            failed: of(&self.failed),
            waited: Duration::from_nanos(of(&self.nanoseconds)),
            under_way,
        }
    }
}
