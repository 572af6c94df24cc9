//! Removes rows when they are old, in small steps that hold up nobody. Keys are ordered by time, so
//! that a step looks at no row that it does not remove.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;
use slog::{Logger, info, warn};
use tokio::time::Instant;

use super::key;
use super::mysql::MySqlStore;
use super::status::TrackerStatus;
use super::store::{Store, StoreError, next};
use super::time::microseconds;

/// How long rows are kept, and how they are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// How long a row is kept after its request came.
    pub keep: Duration,
    /// Most rows removed in one step.
    pub step_rows: usize,
    /// Pause after each step.
    pub step_pause: Duration,
}

impl Retention {
    /// The first key that is kept.
    fn end(&self) -> RequestKey {
        let end = SystemTime::now().checked_sub(self.keep).unwrap_or(SystemTime::UNIX_EPOCH);
        key::floor(microseconds(end))
    }

    /// How often it is looked whether rows have become old.
    fn interval(&self) -> Duration {
        (self.keep / 20).clamp(Duration::from_millis(200), Duration::from_secs(30))
    }
}

/// After so many rows it is said that they were removed, at the latest.
const SAID_AFTER: u64 = 100_000;
const SAID_EVERY: Duration = Duration::from_hours(1);

/// How long a database is left alone that could not be asked, or that another node looks after.
const REST: Duration = Duration::from_secs(30);

/// The name, on the server, of the right to remove rows: nodes that share a database would wait for
/// each other's locks.
const LOCK: &str = "mppd.retention.";

/// The work of removing, step by step.
#[derive(Debug)]
pub(super) struct Removal {
    options: Retention,
    /// Rows before this key were removed.
    begin: RequestKey,
    due: Instant,
    removed: u64,
    said: Instant,
    status: Arc<Mutex<TrackerStatus>>,
    logger: Logger,
}

impl Removal {
    pub(super) fn new(
        options: Retention,
        status: Arc<Mutex<TrackerStatus>>,
        logger: Logger,
    ) -> Self {
        let now = Instant::now();
        let begin = RequestKey([0; 16]);
        Removal { options, begin, due: now, removed: 0, said: now, status, logger }
    }

    /// When the next step is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Removes a few rows.
    pub(super) async fn step(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let range = Range { start: self.begin, end: self.options.end() };
        let removed = store.remove_oldest(range, self.options.step_rows).await;
        self.due = Instant::now() + self.options.interval();
        let removed = removed?;
        if let Some(last) = removed.last {
            self.begin = next(last);
            self.due = Instant::now() + self.options.step_pause;
        } else {
            // Rows that came late, out of a spool, lie before those that were removed.
            self.begin = RequestKey([0; 16]);
        }
        self.count(removed.rows);
        Ok(())
    }

    /// Leaves the store alone for a while.
    pub(super) fn rest(&mut self) {
        self.due = Instant::now() + REST;
    }

    fn count(&mut self, rows: u64) {
        self.removed += rows;
        self.status.lock().unwrap_or_else(PoisonError::into_inner).retired += rows;
        let is_time = self.said.elapsed() >= SAID_EVERY || self.removed >= SAID_AFTER;
        if self.removed > 0 && is_time {
            info!(self.logger, "old rows were removed"; "rows" => self.removed);
            self.removed = 0;
            self.said = Instant::now();
        }
    }
}

/// Removes old rows from a database for ever, over a connection of its own: the tracker's is never
/// held up by it.
pub(super) async fn remove_for_ever(
    connection: ResolvedConnection,
    mut removal: Removal,
    logger: Logger,
) {
    let mut is_told = false;
    loop {
        match remove(&connection, &mut removal).await {
            Ok(()) => is_told = false,
            Err(error) => {
                // The tracker says that a database is away; it need not be said twice at once.
                if !is_told {
                    warn!(logger, "old rows cannot be removed for now"; "reason" => %error);
                }
                is_told = true;
            }
        }
        tokio::time::sleep(REST).await;
    }
}

/// Removes rows until that fails, or returns because another node does.
async fn remove(connection: &ResolvedConnection, removal: &mut Removal) -> Result<(), StoreError> {
    let mut store = MySqlStore::connect(connection).await?;
    if !store.lock(LOCK).await? {
        store.disconnect().await;
        return Ok(());
    }
    loop {
        removal.step(&mut store).await?;
        tokio::time::sleep_until(removal.due()).await;
    }
}
