//! A store that counts what is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::backend::{Backend, BoxedChange, Pending, Step, Stored};

/// A store that is not there for the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// Since when.
    pub since: Timestamp,
    /// Why, in words for people.
    pub reason: String,
}

/// What was asked of a store since it was opened, and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateStatus {
    /// Which store: `embedded`, `mysql` or `redis`.
    pub store: &'static str,
    /// Records read or changed.
    pub updates: u64,
    /// Records forgotten because somebody said so.
    pub removals: u64,
    /// Pages of lists.
    pub lists: u64,
    /// How many of these were waited for.
    pub waits: u64,
    /// How long all of that took together.
    pub waited: Duration,
    /// How many of these are waited for at the moment.
    pub under_way: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Connections to its servers at the moment, where it has any.
    pub connections: Option<u64>,
    /// Records that are there, where the store can tell at once.
    pub records: Option<u64>,
    /// Records that gave way to others before their time.
    pub evicted: Option<u64>,
    /// Whether the server is away, or the file can't be written.
    pub absence: Option<Absence>,
}

#[derive(Debug, Default)]
struct Counts {
    updates: AtomicU64,
    removals: AtomicU64,
    lists: AtomicU64,
    waits: AtomicU64,
    nanoseconds: AtomicU64,
    errors: AtomicU64,
    under_way: AtomicU64,
}

/// Something that is waited for, for as long as this lives.
struct UnderWay(Arc<Counts>);

impl UnderWay {
    fn begin(counts: Arc<Counts>) -> Self {
        count(&counts.under_way);
        UnderWay(counts)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts what is asked of another store.
pub(crate) struct Counted {
    store: &'static str,
    inner: Arc<dyn Backend>,
    counts: Arc<Counts>,
}

impl Counted {
    /// Counts what is asked of a store of this name.
    pub(crate) fn new(store: &'static str, inner: Arc<dyn Backend>) -> Self {
        Counted { store, inner, counts: Arc::default() }
    }

    fn timed<T: Send + 'static>(&self, pending: Pending<T>) -> Pending<T> {
        let (counts, begun) = (self.counts.clone(), Instant::now());
        let under_way = UnderWay::begin(counts.clone());
        Box::pin(async move {
            let _under_way = under_way;
            let result = pending.await;
            count(&counts.waits);
            let nanoseconds = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            counts.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
            if result.is_err() {
                count(&counts.errors);
            }
            result
        })
    }
}

impl Backend for Counted {
    fn update_at_once(
        &self,
        key: &[u8],
        now: Timestamp,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> bool {
        let is_done = self.inner.update_at_once(key, now, change);
        if is_done {
            count(&self.counts.updates);
        }
        is_done
    }

    fn update(&self, key: Vec<u8>, now: Timestamp, change: BoxedChange) -> Pending<()> {
        count(&self.counts.updates);
        self.timed(self.inner.update(key, now, change))
    }

    fn remove(&self, key: Vec<u8>) -> Pending<bool> {
        count(&self.counts.removals);
        self.timed(self.inner.remove(key))
    }

    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>> {
        count(&self.counts.lists);
        self.timed(self.inner.list(prefix, behind, limit, now))
    }

    fn settle(&self) -> Pending<()> {
        self.inner.settle()
    }

    fn status(&self) -> Option<StateStatus> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Some(StateStatus {
            store: self.store,
            updates: of(&self.counts.updates),
            removals: of(&self.counts.removals),
            lists: of(&self.counts.lists),
            waits: of(&self.counts.waits),
            waited: Duration::from_nanos(of(&self.counts.nanoseconds)),
            under_way: of(&self.counts.under_way),
            errors: of(&self.counts.errors),
            ..self.inner.status().unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::block_on;

    use super::*;
    use crate::memory::Memory;
    use crate::{Change, Mark, StateError, StateStore};

    /// Can do nothing.
    struct Broken;

    fn never<T: Send + 'static>() -> Pending<T> {
        crate::backend::done(Err(StateError::new("is broken")))
    }

    impl Backend for Broken {
        fn update(&self, _: Vec<u8>, _: Timestamp, _: BoxedChange) -> Pending<()> {
            never()
        }

        fn remove(&self, _: Vec<u8>) -> Pending<bool> {
            never()
        }

        fn list(
            &self,
            _: Vec<u8>,
            _: Option<Vec<u8>>,
            _: usize,
            _: Timestamp,
        ) -> Pending<Vec<Stored>> {
            never()
        }
    }

    fn counted(inner: impl Backend) -> Arc<StateStore> {
        let store = StateStore::unopened();
        store.open(Arc::new(Counted::new("embedded", Arc::new(inner))));
        Arc::new(store)
    }

    #[test]
    fn what_is_done_at_once_is_counted_and_not_waited_for() {
        let store = counted(Memory::default());
        let now = Timestamp::UNIX_EPOCH;
        block_on(async {
            let space = store.space("a");
            let keep = |_: Option<Mark>| Change::<Mark, ()>::Keep(());
            space.update(b"key", now, keep).await.unwrap();
            space.remove(b"key").await.unwrap();
        });
        let status = store.status().unwrap();
        assert_eq!((status.updates, status.removals, status.waits), (1, 1, 1));
        assert_eq!((status.errors, status.records), (0, Some(0)));
    }

    #[test]
    fn what_fails_is_counted() {
        let store = counted(Broken);
        let now = Timestamp::UNIX_EPOCH;
        block_on(async {
            assert!(store.space("a").get::<Mark>(b"key", now).await.is_err());
            assert!(store.space("a").list(None, 9, now).await.is_err());
        });
        let status = store.status().unwrap();
        assert_eq!((status.updates, status.lists, status.errors), (1, 1, 2));
        assert_eq!(status.records, None);
    }
}
