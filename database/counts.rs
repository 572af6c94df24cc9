//! What pools are asked, for whoever watches over the server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The pools of a configuration, by whose they are. Engines find it among the services of their
/// `BuildContext`.
#[derive(Debug, Default)]
pub struct Pools(Mutex<Vec<(Arc<str>, Arc<Counts>)>>);

/// How the pools of one engine stand. Counts are since the configuration came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolStatus {
    /// ID of the engine.
    pub engine: Arc<str>,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were not.
    pub failed: u64,
    /// How long all of them took together, waiting for a connection included.
    pub waited: Duration,
    /// Questions that wait for their answers at the moment.
    pub under_way: u64,
    /// Connections at the moment.
    pub connections: u64,
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
    under_way: AtomicU64,
    connections: AtomicU64,
}

impl Pools {
    /// A pool of an engine; one that has several has them counted together.
    pub(crate) fn join(&self, engine: &str) -> Arc<Counts> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counts)) = pools.iter().find(|(known, _)| &**known == engine) {
            return counts.clone();
        }
        let counts = Arc::<Counts>::default();
        pools.push((engine.into(), counts.clone()));
        counts
    }

    /// A pool that was made before.
    pub(crate) fn adopt(&self, name: &str, counts: Arc<Counts>) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push((name.into(), counts));
    }

    /// How they stand.
    #[must_use]
    pub fn status(&self) -> Vec<PoolStatus> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(engine, counts): &(Arc<str>, Arc<Counts>)| PoolStatus {
            engine: engine.clone(),
            answered: of(&counts.answered),
            failed: of(&counts.failed),
            waited: Duration::from_nanos(of(&counts.nanoseconds)),
            under_way: of(&counts.under_way),
            connections: of(&counts.connections),
        };
        pools.iter().map(status).collect()
    }
}

impl Counts {
    /// A question has come; until what is returned is dropped, it waits.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    /// A question has come to its end after so long.
    pub(crate) fn ended(&self, is_answered: bool, elapsed: Duration) {
        let counter = if is_answered { &self.answered } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// There is one connection more.
    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// There is one connection less.
    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A question that waits, for as long as this lives.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Counts>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pools_of_an_engine_are_counted_together_and_those_of_others_apart() {
        let pools = Pools::default();
        let (black, white, other) = (pools.join("wbl"), pools.join("wbl"), pools.join("lists"));
        black.ended(true, Duration::from_millis(2));
        white.ended(false, Duration::from_millis(3));
        other.connected();
        let waits = other.begin();
        let [wbl, lists] = &pools.status()[..] else { panic!("{pools:?}") };
        assert_eq!((&*wbl.engine, wbl.answered, wbl.failed), ("wbl", 1, 1));
        assert_eq!(wbl.waited, Duration::from_millis(5));
        assert_eq!((lists.connections, lists.under_way), (1, 1));
        drop(waits);
        assert_eq!(pools.status()[1].under_way, 0);
    }
}
