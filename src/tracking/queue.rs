//! The way from the workers to the tracker: bounded, and never losing what was put in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mppd_engine::{RequestKey, TrackingError};
use tokio::sync::{Notify, oneshot};

use super::batch::State;
use super::row::Row;
use super::snapshot::Snapshot;

/// Told when a transition is written, or why it could not be.
pub(super) type Acknowledgement = oneshot::Sender<Result<(), TrackingError>>;

/// What becomes a row.
#[derive(Debug)]
pub(super) struct Content {
    making: Making,
    /// What it takes up, for as long as it waits.
    _weight: Option<Weight>,
}

#[derive(Debug)]
enum Making {
    /// Made into one only if it must be written, since its decision may come before that.
    Later(Box<Snapshot>),
    /// One already.
    Row(Arc<Row>),
}

impl Content {
    /// A row that is made only if it must be written.
    pub(super) fn later(snapshot: Snapshot) -> Self {
        Content { making: Making::Later(Box::new(snapshot)), _weight: None }
    }

    /// A row.
    pub(super) fn row(row: Arc<Row>) -> Self {
        Content { making: Making::Row(row), _weight: None }
    }

    /// The row; it waits no more.
    pub(super) fn into_row(self) -> Arc<Row> {
        match self.making {
            Making::Later(snapshot) => Arc::new(snapshot.row()),
            Making::Row(row) => row,
        }
    }

    /// How many octets it takes up, about.
    fn size(&self) -> usize {
        match &self.making {
            Making::Later(snapshot) => snapshot.size(),
            Making::Row(row) => row.size(),
        }
    }
}

/// Octets that are counted until this is dropped.
#[derive(Debug)]
struct Weight {
    octets: usize,
    counted: Arc<AtomicUsize>,
}

impl Weight {
    fn of(octets: usize, counted: &Arc<AtomicUsize>) -> Self {
        counted.fetch_add(octets, Ordering::Relaxed);
        Weight { octets, counted: Arc::clone(counted) }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.octets, Ordering::Relaxed);
    }
}

/// One transition on its way.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: RequestKey,
    pub(super) state: State,
    pub(super) content: Content,
    pub(super) acknowledgement: Option<Acknowledgement>,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<Entry>,
    is_closed: bool,
    refusal: Option<TrackingError>,
}

/// The queue.
///
/// A transition is in it as soon as [`Queue::push`] returns, whether or not its caller goes on to
/// wait; the bound works by making callers wait for [`Queue::room`].
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    most_octets: usize,
    octets: Arc<AtomicUsize>,
    entries: Mutex<Entries>,
    held: AtomicUsize,
    arrived: Notify,
    room: Notify,
}

impl Queue {
    /// One in which so many transitions may wait, and so many octets.
    pub(super) fn new(limit: usize, most_octets: usize) -> Self {
        Queue {
            limit: limit.max(1),
            most_octets,
            octets: Arc::default(),
            entries: Mutex::default(),
            held: AtomicUsize::new(0),
            arrived: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Puts a transition in.
    ///
    /// # Errors
    /// The tracker has ended; or new requests are put off.
    pub(super) fn push(&self, mut entry: Entry) -> Result<(), TrackingError> {
        entry.content = self.weighed(entry.content);
        let mut entries = self.lock();
        if entries.is_closed {
            return Err(ended());
        }
        // A decision is taken in: it may be one on a request that is on record already.
        if let Some(refusal) = &entries.refusal
            && entry.state == State::Received
        {
            return Err(refusal.clone());
        }
        entries.list.push(entry);
        if entries.list.len() == 1 {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// With its octets among those that wait.
    pub(super) fn weighed(&self, content: Content) -> Content {
        let weight = Weight::of(content.size(), &self.octets);
        Content { _weight: Some(weight), ..content }
    }

    /// Whether no more octets wait than may.
    pub(super) fn has_memory(&self) -> bool {
        self.octets.load(Ordering::Relaxed) <= self.most_octets
    }

    /// Whether new requests are put off.
    pub(super) fn refuses(&self) -> bool {
        self.lock().refusal.is_some()
    }

    fn fits(&self, entries: &Entries) -> bool {
        let waiting = entries.list.len() + self.held.load(Ordering::Relaxed);
        waiting <= self.limit && self.has_memory()
    }

    /// How many transitions may wait.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_full(&self) -> bool {
        !self.fits(&self.lock())
    }

    /// Ready when no more wait to be written than may.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if !self.is_full() {
                return;
            }
            room.await;
        }
    }

    /// How many transitions wait to be written.
    pub(super) fn len(&self) -> usize {
        self.lock().list.len() + self.held.load(Ordering::Relaxed)
    }

    /// Takes everything out; whether the queue is closed.
    pub(super) fn drain(&self, into: &mut Vec<Entry>) -> bool {
        let mut entries = self.lock();
        std::mem::swap(&mut entries.list, into);
        self.held.fetch_add(into.len(), Ordering::Relaxed);
        entries.is_closed
    }

    /// Says how many of those taken out are not written yet.
    pub(super) fn hold(&self, rows: usize) {
        self.held.store(rows, Ordering::Relaxed);
        if !self.is_full() {
            self.room.notify_waiters();
        }
    }

    /// Says what new requests are told that are put off, or that none are.
    pub(super) fn refuse(&self, refusal: Option<TrackingError>) {
        self.lock().refusal = refusal;
    }

    /// Ready when something has come, or may have.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes nothing more in.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // A push cannot leave the list half-way, so a poisoned lock is as good as any.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said to those who come too late.
pub(super) fn ended() -> TrackingError {
    TrackingError::new("the tracker has ended")
}
