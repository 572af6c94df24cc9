//! The loop that writes: while one transaction is under way the next batch gathers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mppd_engine::TrackingError;
use slog::{Logger, crit, error};

use super::batch::{Batch, Taken};
use super::database::{Database, write_acceptable};
use super::queue::{Acknowledgement, Content, Entry, Queue};
use super::row::Row;
use super::sqlite::SqliteStore;
use super::status::{Place, TrackerStatus};
use super::store::{RowWrite, StoreError};

const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
const ATTEMPTS_AT_THE_END: u32 = 3;

/// Where rows go.
pub(super) enum Target {
    /// The embedded store.
    Embedded(Box<SqliteStore>),
    /// A database, or its spool.
    Database(Box<Database>),
}

/// The writer.
pub(super) struct Writer {
    target: Target,
    queue: Arc<Queue>,
    status: Arc<Mutex<TrackerStatus>>,
    batch_rows: usize,
    batch: Batch<Content, Acknowledgement>,
    under_way: Option<Taken<Arc<Row>, Acknowledgement>>,
    gathered: Vec<Entry>,
    is_closed: bool,
    failures: u32,
    logger: Logger,
}

impl Writer {
    pub(super) fn new(
        target: Target,
        queue: Arc<Queue>,
        status: Arc<Mutex<TrackerStatus>>,
        batch_rows: usize,
        received_delay: Duration,
        logger: Logger,
    ) -> Self {
        Writer {
            target,
            queue,
            status,
            batch_rows: batch_rows.max(1),
            batch: Batch::new(received_delay),
            under_way: None,
            gathered: Vec::new(),
            is_closed: false,
            failures: 0,
            logger,
        }
    }

    /// Writes until the queue is closed and everything is written. Begun again after a panic it
    /// goes on with what was left.
    pub(super) async fn run(&mut self) {
        if let Some(taken) = self.under_way.take() {
            self.put_back(taken);
        }
        loop {
            self.gather();
            let result = self.step().await;
            self.note();
            match result {
                Ok(true) => self.failures = 0,
                Ok(false) if self.is_closed => return,
                Ok(false) => self.wait().await,
                Err(error) => {
                    if !self.endure(&error).await {
                        return;
                    }
                }
            }
        }
    }

    fn gather(&mut self) {
        self.is_closed = self.queue.drain(&mut self.gathered);
        let now = Instant::now();
        for Entry { key, state, content, acknowledgement } in self.gathered.drain(..) {
            self.batch.push(key, state, content, acknowledgement, now);
        }
        self.queue.hold(self.batch.len());
        // A full queue is no time to wait for decisions.
        if self.is_closed || self.queue.is_full() {
            self.batch.release_all();
        }
    }

    // Does the next thing there is to do; whether there was one.
    async fn step(&mut self) -> Result<bool, StoreError> {
        if let Target::Database(database) = &mut self.target {
            database.attend().await;
        }
        let has_written = self.batch.is_ready(Instant::now());
        if has_written {
            self.write().await?;
        }
        match &mut self.target {
            Target::Database(database) if database.can_move() && !self.is_closed => {
                database.move_some().await;
                Ok(true)
            }
            _ => Ok(has_written),
        }
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let taken = self.batch.take(self.rows_at_once()).map(Content::into_row);
        let taken = self.under_way.insert(taken);
        let result = match &mut self.target {
            Target::Embedded(store) => write_embedded(store, &taken.writes, &self.logger).await,
            Target::Database(database) => database.write(&taken.writes).await,
        };
        let Some(taken) = self.under_way.take() else { return result };
        match result {
            Ok(()) => self.acknowledge(taken),
            Err(error) => {
                self.put_back_failed(taken, &error);
                return Err(error);
            }
        }
        Ok(())
    }

    // As many rows as one statement can have: the rest goes with those that come in the meantime,
    // which costs less than the round trips of a transaction of several statements.
    fn rows_at_once(&self) -> usize {
        let rows = self.batch.ready().clamp(1, self.batch_rows);
        match &self.target {
            Target::Database(database) if database.absence().is_none() => 1 << rows.ilog2(),
            _ => rows,
        }
    }

    fn acknowledge(&mut self, taken: Taken<Arc<Row>, Acknowledgement>) {
        self.queue.hold(self.batch.len());
        self.count(taken.writes.len() as u64);
        for acknowledgement in taken.into_acknowledgements() {
            // Whoever gave up waiting does not need to know.
            let _gone = acknowledgement.send(Ok(()));
        }
    }

    fn count(&mut self, rows: u64) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.batches += 1;
        status.rows += rows;
    }

    fn put_back(&mut self, taken: Taken<Arc<Row>, Acknowledgement>) {
        self.batch.put_back(taken.map(Content::Row));
    }

    // The rows stay, but nobody should wait for a disk that may stay full.
    fn put_back_failed(&mut self, mut taken: Taken<Arc<Row>, Acknowledgement>, error: &StoreError) {
        let refusal = TrackingError::new(error.to_string());
        for acknowledgement in taken.take_acknowledgements() {
            let _gone = acknowledgement.send(Err(refusal.clone()));
        }
        self.put_back(taken);
    }

    // Whether to go on after no store could be written.
    async fn endure(&mut self, error: &StoreError) -> bool {
        self.failures += 1;
        error!(self.logger, "requests cannot be put on record; they wait in memory";
            "reason" => %error, "rows" => self.batch.len());
        if self.is_closed && self.failures >= ATTEMPTS_AT_THE_END {
            crit!(self.logger, "records are lost: no store can be written and mppd stops";
                "rows" => self.batch.len());
            return false;
        }
        self.queue.refuse(Some(TrackingError::new(error.to_string())));
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        self.queue.refuse(None);
        true
    }

    async fn wait(&mut self) {
        let due = self.batch.due();
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            match &mut self.target {
                Target::Embedded(_) => std::future::pending().await,
                Target::Database(database) => database.changed().await,
            }
        };
        tokio::select! {
            () = self.queue.arrived() => {}
            () = due => {}
            () = changed => {}
        }
    }

    /// Says how things are, for whoever asks.
    pub(super) fn note(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Target::Database(database) = &self.target else { return };
        status.spooled = database.spooled();
        match (database.absence(), &status.place) {
            (None, Place::Connected) => {}
            (None, _) => status.place = Place::Connected,
            (Some((since, reason)), _) => {
                status.place = Place::Away { since, reason: reason.to_owned() };
            }
        }
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        if let Target::Database(database) = self.target {
            database.close().await;
        }
    }
}

async fn write_embedded(
    store: &mut SqliteStore,
    writes: &[RowWrite],
    logger: &Logger,
) -> Result<(), StoreError> {
    for (write, reason) in write_acceptable(store, writes).await? {
        crit!(logger, "the store refuses a row; it is lost"; "id" => %write.key, "reason" => reason);
    }
    Ok(())
}
