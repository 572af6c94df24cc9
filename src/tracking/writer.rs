//! The loop that writes: while one transaction is under way the next batch gathers.
//!
//! Where nothing can be written, because a disk is full, it goes on as well: rows wait in memory,
//! as many as the queue may hold, and requests are answered at once, as `<at_bound>` says.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mppd_engine::RequestKey;
use slog::{Logger, crit, error, info, warn};
use tokio::time::Instant;

use super::alive::{self, Alive, Interruption};
use super::batch::{Batch, State, Taken};
use super::bounds::{Alarm, Bounds, Losses, Say};
use super::queue::{Acknowledgement, Content, Entry, Queue};
use super::retention::Removal;
use super::row::Row;
use super::spool::Unkept;
use super::status::{Batches, TrackerStatus};
use super::store::{RowWrite, StoreError};
use super::target::{Target, until};
use crate::config::settings::AtBound;

const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
const ATTEMPTS_AT_THE_END: u32 = 3;

/// How long the closing of interrupted requests rests after it failed.
const REST: Duration = Duration::from_secs(10);

/// How a writer works.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// Name of this node in the records.
    pub(super) node: Arc<str>,
    /// Most rows in one transaction.
    pub(super) batch_rows: usize,
    /// How long a `received` may wait for its decision.
    pub(super) received_delay: Duration,
    /// What becomes of rows that can be kept nowhere.
    pub(super) bounds: Bounds,
}

/// No file can be written.
struct Blocked {
    reason: String,
    retry: Instant,
}

/// What a writer does about requests that never got their decision.
#[derive(Default)]
pub(super) struct Endings {
    /// The sign of life; none where it could not be given.
    pub(super) alive: Option<Alive>,
    /// What earlier runs left open, if that is to be closed.
    pub(super) interruption: Option<Interruption>,
    /// Whether what this run leaves open is to be closed.
    pub(super) closes: bool,
}

/// The writer.
pub(super) struct Writer {
    target: Target,
    manner: Manner,
    queue: Arc<Queue>,
    status: Arc<Mutex<TrackerStatus>>,
    batch: Batch<Content, Acknowledgement>,
    under_way: Option<Taken<Arc<Row>, Acknowledgement>>,
    gathered: Vec<Entry>,
    is_closed: bool,
    attempts_at_the_end: u32,
    blocked: Option<Blocked>,
    puts_off: bool,
    losses: Losses,
    bound_alarm: Alarm,
    block_alarm: Alarm,
    endings: Endings,
    /// When what earlier runs left open is to be closed, after it could not be.
    rests: Option<Instant>,
    /// Requests on record that are not decided yet.
    open: BTreeSet<RequestKey>,
    removal: Option<Removal>,
    batches: Arc<Batches>,
    failures: u64,
    logger: Logger,
}

impl Writer {
    pub(super) fn new(
        target: Target,
        manner: Manner,
        queue: Arc<Queue>,
        status: Arc<Mutex<TrackerStatus>>,
        logger: Logger,
    ) -> Self {
        let batch = Batch::new(manner.received_delay);
        Writer {
            target,
            manner,
            queue,
            status,
            batch,
            under_way: None,
            gathered: Vec::new(),
            is_closed: false,
            attempts_at_the_end: 0,
            blocked: None,
            puts_off: false,
            losses: Losses::default(),
            bound_alarm: Alarm::default(),
            block_alarm: Alarm::default(),
            endings: Endings::default(),
            rests: None,
            open: BTreeSet::new(),
            removal: None,
            batches: Arc::default(),
            failures: 0,
            logger,
        }
    }

    /// Counting batches there.
    pub(super) fn with_batches(mut self, batches: Arc<Batches>) -> Self {
        self.batches = batches;
        self
    }

    /// With what is to be done about requests that never got their decision.
    pub(super) fn with_endings(mut self, endings: Endings) -> Self {
        self.endings = endings;
        self
    }

    /// With old rows of the embedded store to be removed.
    pub(super) fn with_removal(mut self, removal: Option<Removal>) -> Self {
        self.removal = removal;
        self
    }

    /// Writes until the queue is closed and everything is written. Begun again after a panic it
    /// goes on with what was left.
    pub(super) async fn run(&mut self) {
        if let Some(taken) = self.under_way.take() {
            self.put_back(taken);
        }
        loop {
            self.gather();
            let has_worked = self.step().await;
            self.note();
            if has_worked {
                continue;
            }
            if self.is_closed && (self.batch.is_empty() || self.gives_up()) {
                return;
            }
            self.wait().await;
        }
    }

    fn gather(&mut self) {
        self.is_closed = self.queue.drain(&mut self.gathered);
        let mut gathered = std::mem::take(&mut self.gathered);
        let now = Instant::now();
        for entry in gathered.drain(..) {
            self.take_in(entry, now);
        }
        self.gathered = gathered;
        self.queue.hold(self.batch.len());
        // A full queue is no time to wait for decisions.
        if self.is_closed || self.blocked.is_some() || self.queue.is_full() {
            self.batch.release_all();
        }
    }

    fn take_in(&mut self, entry: Entry, now: Instant) {
        let Entry { key, state, content, mut acknowledgement } = entry;
        if self.blocked.is_some() {
            // Nobody should wait for a disk that may stay full.
            let is_kept = self.batch.contains(key) || self.has_room();
            self.turn_away(state, acknowledgement.take().into_iter().collect(), is_kept);
            if !is_kept {
                return;
            }
        }
        self.batch.push(key, state, content, acknowledgement, now.into_std());
    }

    /// Whether another row may wait in memory; those that have waited longest may give way.
    fn has_room(&mut self) -> bool {
        while self.batch.len() >= self.queue.limit() || !self.queue.has_memory() {
            if self.manner.bounds.at_bound != AtBound::DropOldest {
                return false;
            }
            let Some(dropped) = self.batch.drop_oldest() else { return false };
            self.losses.dropped += u64::from(dropped == State::Processed);
        }
        true
    }

    /// Tells those who wait for a row that cannot be written what the configuration says, and
    /// counts it.
    fn turn_away(&mut self, state: State, waiting: Vec<Acknowledgement>, is_kept: bool) {
        let is_put_off = self.manner.bounds.at_bound == AtBound::Defer && !waiting.is_empty();
        for acknowledgement in waiting {
            // Whoever gave up waiting does not need to know.
            let _gone = acknowledgement.send(self.manner.bounds.verdict());
        }
        if state != State::Processed {
            return;
        }
        if is_put_off {
            self.losses.deferred += 1;
        } else if !is_kept {
            self.losses.lost += 1;
        }
    }

    // Does the next thing there is to do; whether there was one.
    async fn step(&mut self) -> bool {
        self.target.attend().await;
        let is_due = self.blocked.as_ref().is_none_or(|blocked| Instant::now() >= blocked.retry);
        let is_ready = self.batch.is_ready(Instant::now().into_std());
        let has_written = is_ready && is_due && self.write().await;
        if self.is_closed {
            return has_written;
        }
        if self.target.move_some().await {
            return true;
        }
        self.tend().await || has_written
    }

    /// Writes some of what is ready; whether that could be done.
    async fn write(&mut self) -> bool {
        let taken = self.batch.take(self.rows_at_once()).map(Content::into_row);
        let taken = self.under_way.insert(taken);
        let begun = Instant::now();
        let result = self.target.write(&taken.writes).await;
        let Some(taken) = self.under_way.take() else { return false };
        match result {
            Ok(unkept) => {
                self.blocked = None;
                self.batches.rows.observe(taken.writes.len() as u64);
                self.batches.times.observe_time(begun.elapsed());
                self.acknowledge(taken, unkept);
                true
            }
            Err(error) => {
                self.block(taken, &error);
                false
            }
        }
    }

    // As many rows as one statement can have: the rest goes with those that come in the meantime,
    // which costs less than the round trips of a transaction of several statements.
    fn rows_at_once(&self) -> usize {
        let rows = self.batch.ready().clamp(1, self.manner.batch_rows.max(1));
        match &self.target {
            Target::Database(database) if database.absence().is_none() => 1 << rows.ilog2(),
            _ => rows,
        }
    }

    fn acknowledge(&mut self, taken: Taken<Arc<Row>, Acknowledgement>, unkept: Unkept) {
        self.queue.hold(self.batch.len());
        self.count((taken.writes.len() - unkept.len()) as u64);
        let unkept: HashSet<RequestKey> = unkept.into_iter().collect();
        for (write, waiting) in taken.into_parts() {
            if unkept.contains(&write.key) {
                self.turn_away(write.state, waiting, false);
                continue;
            }
            self.follow(&write);
            for acknowledgement in waiting {
                // Whoever gave up waiting does not need to know.
                let _gone = acknowledgement.send(Ok(()));
            }
        }
    }

    fn follow(&mut self, write: &RowWrite) {
        match write.state {
            State::Received => {
                self.open.insert(write.key);
            }
            State::Processed if write.fresh => {}
            State::Processed => {
                self.open.remove(&write.key);
            }
        }
    }

    fn count(&mut self, rows: u64) {
        if rows == 0 {
            return;
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.batches += 1;
        status.rows += rows;
        status.last_commit = Some(Timestamp::now());
    }

    fn put_back(&mut self, taken: Taken<Arc<Row>, Acknowledgement>) {
        let queue = Arc::clone(&self.queue);
        self.batch.put_back(taken.map(|row| queue.weighed(Content::row(row))));
    }

    /// No file can be written: rows stay in memory, and nobody waits for them.
    fn block(&mut self, mut taken: Taken<Arc<Row>, Acknowledgement>, error: &StoreError) {
        self.attempts_at_the_end += u32::from(self.is_closed);
        self.failures += 1;
        for (state, waiting) in taken.take_waiting() {
            self.turn_away(state, waiting, true);
        }
        self.put_back(taken);
        let retry = Instant::now() + PAUSE_AFTER_FAILURE;
        self.blocked = Some(Blocked { reason: error.to_string(), retry });
    }

    /// Whether what is left cannot be written.
    fn gives_up(&self) -> bool {
        let gives_up = self.attempts_at_the_end >= ATTEMPTS_AT_THE_END;
        if gives_up {
            crit!(self.logger, "records are lost: no store can be written and mppd stops";
                "rows" => self.batch.len());
        }
        gives_up
    }

    /// Does what can wait: gives the sign of life, closes what earlier runs left open, removes old
    /// rows. Whether there is more of it to do at once.
    async fn tend(&mut self) -> bool {
        if let Some(alive) = &mut self.endings.alive {
            // On a full disk as well a file can be touched; if not, older requests are looked at.
            let _given = alive.attend();
        }
        let has_closed = self.close_interrupted().await;
        self.remove_old().await;
        has_closed
    }

    async fn close_interrupted(&mut self) -> bool {
        if self.rests.is_some_and(|end| Instant::now() < end) {
            return false;
        }
        let Some(interruption) = &mut self.endings.interruption else { return false };
        let Some(store) = self.target.at_rest() else { return false };
        match interruption.step(store, &self.manner.node).await {
            Ok(true) => return true,
            Ok(false) => self.say_closed(),
            Err(error) => {
                error!(self.logger, "requests that were interrupted cannot be closed for now";
                    "reason" => %error);
                self.rests = Some(Instant::now() + REST);
                self.target.failed(&error);
            }
        }
        false
    }

    fn say_closed(&mut self) {
        let Some(interruption) = self.endings.interruption.take() else { return };
        match interruption.end() {
            Ok(closed) => warn!(self.logger, "mppd had ended without stopping; requests that were \
                under way then are closed"; "requests" => closed),
            Err(error) => error!(self.logger, "signs of life of an earlier run cannot be removed";
                "reason" => %error),
        }
    }

    async fn remove_old(&mut self) {
        let (Some(removal), None) = (&mut self.removal, &self.blocked) else { return };
        let Target::Embedded(embedded) = &mut self.target else { return };
        if Instant::now() < removal.due() {
            return;
        }
        if let Err(error) = removal.step(embedded.store()).await {
            warn!(self.logger, "old rows cannot be removed for now"; "reason" => %error);
            removal.rest();
        }
    }

    async fn wait(&mut self) {
        let ready = match &self.blocked {
            Some(blocked) if !self.batch.is_empty() => Some(blocked.retry),
            Some(_) => None,
            None => self.batch.due().map(Instant::from_std),
        };
        let sign = self.endings.alive.as_ref().map(Alive::due);
        let removal = self.removal.as_ref().filter(|_| self.blocked.is_none()).map(Removal::due);
        let closing = self.endings.interruption.is_some().then_some(self.rests).flatten();
        let next = [ready, sign, removal, closing].into_iter().flatten().min();
        tokio::select! {
            () = self.queue.arrived() => {}
            () = until(next) => {}
            () = self.target.changed() => {}
        }
    }

    /// Says how things are, for whoever asks, and loudly where rows are lost.
    pub(super) fn note(&mut self) {
        let dropped = self.losses.dropped + self.target.dropped();
        let losses = Losses { dropped, ..self.losses };
        self.say_bound(losses);
        self.say_blocked(losses);
        let puts_off = self.manner.bounds.at_bound == AtBound::Defer
            && (self.blocked.is_some() || self.target.is_at_bound());
        if puts_off != self.puts_off {
            self.puts_off = puts_off;
            self.queue.refuse(self.manner.bounds.verdict().err().filter(|_| puts_off));
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Losses { lost, dropped, deferred } = losses;
        (status.lost, status.dropped, status.deferred) = (lost, dropped, deferred);
        status.failures = self.failures;
        status.blocked = self.blocked.as_ref().map(|blocked| blocked.reason.clone());
        self.target.describe(&mut status);
    }

    fn say_bound(&mut self, losses: Losses) {
        let Some(say) = self.bound_alarm.observe(self.target.is_at_bound(), losses) else { return };
        let limit = self.manner.bounds.max_size;
        match say {
            Say::Began => error!(self.logger, "the spool has reached its bound";
                "max_size" => limit, "then" => then(self.manner.bounds.at_bound)),
            Say::Lasts(since) => error!(self.logger, "the spool is still at its bound";
                "lost" => since.lost, "dropped" => since.dropped, "deferred" => since.deferred),
            Say::Over(lasted, since) => warn!(self.logger, "the spool has room again";
                "seconds" => lasted.as_secs(), "lost" => since.lost, "dropped" => since.dropped,
                "deferred" => since.deferred),
        }
    }

    fn say_blocked(&mut self, losses: Losses) {
        let Some(say) = self.block_alarm.observe(self.blocked.is_some(), losses) else { return };
        let reason = self.blocked.as_ref().map(|blocked| &*blocked.reason).unwrap_or_default();
        let rows = self.batch.len();
        match say {
            Say::Began => error!(self.logger, "requests cannot be put on record; they wait in \
                memory"; "reason" => reason, "then" => then(self.manner.bounds.at_bound)),
            Say::Lasts(since) => error!(self.logger, "requests still cannot be put on record";
                "reason" => reason, "rows" => rows, "lost" => since.lost,
                "dropped" => since.dropped, "deferred" => since.deferred),
            Say::Over(lasted, since) => warn!(self.logger, "requests are put on record again";
                "seconds" => lasted.as_secs(), "lost" => since.lost, "dropped" => since.dropped,
                "deferred" => since.deferred),
        }
    }

    /// Ends: closes what was left open, and the connection.
    pub(super) async fn close(mut self) {
        let is_all_closed = self.close_open().await;
        if let Some(alive) = self.endings.alive.take().filter(|_| is_all_closed)
            && let Err(error) = alive.end()
        {
            warn!(self.logger, "the sign of life cannot be removed"; "reason" => %error);
        }
        self.target.close().await;
    }

    /// Closes requests that were cut off; whether none is left to the next run.
    async fn close_open(&mut self) -> bool {
        if !self.endings.closes || self.open.is_empty() {
            return true;
        }
        let Some(store) = self.target.at_rest() else { return false };
        let keys: Vec<RequestKey> = self.open.iter().copied().collect();
        match alive::close(store, &keys).await {
            Ok(closed) => {
                info!(self.logger, "requests without a decision were closed";
                    "requests" => closed);
                true
            }
            Err(error) => {
                error!(self.logger, "requests without a decision cannot be closed";
                    "reason" => %error);
                false
            }
        }
    }
}

/// What happens to requests, for the log.
fn then(at_bound: AtBound) -> &'static str {
    match at_bound {
        AtBound::Answer => "requests are answered, and not on record",
        AtBound::Defer => "requests are put off",
        AtBound::DropOldest => "the oldest rows are lost",
    }
}

/// What a tracker of these records is to do about requests that never got their decision.
pub(super) fn endings(
    directory: &Path,
    records: &str,
    deadline: Duration,
    closes: bool,
    logger: &Logger,
) -> Endings {
    let found = Interruption::find(directory, records, deadline).unwrap_or_else(|error| {
        warn!(logger, "signs of life of an earlier run cannot be read"; "reason" => %error);
        None
    });
    let interruption = match found {
        Some(interruption) if closes => Some(interruption),
        Some(interruption) => {
            // They stay as they are. A sign that cannot be removed is looked at again.
            let _removed = interruption.end();
            None
        }
        None => None,
    };
    let alive = Alive::begin(directory, records).map_err(|error| {
        warn!(logger, "requests that are under way when mppd ends will stay received";
            "reason" => %error);
    });
    Endings { alive: alive.ok(), interruption, closes }
}

#[cfg(test)]
mod tests;
