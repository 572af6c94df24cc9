//! The embedded store: records in memory, written behind to a file by a thread of its own.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::{Logger, error, info, warn};
use tokio::sync::oneshot;

use crate::StateError;
use crate::backend::{Backend, BoxedChange, Pending, Step, Stored, done};
use crate::counted::{Absence, StateStatus};
use crate::file::{FileError, StoreFile, set_aside};
use crate::table::{Changes, Millis, Table, millis};

/// How often the thread looks for what is to be done.
const TICK: Duration = Duration::from_millis(100);

/// How often changes are written.
const FLUSH: Duration = Duration::from_millis(400);

/// In how many ticks everything is swept once.
const TICKS_OF_SWEEP: usize = 600;

/// Changes in one transaction: other processes can write in between.
const BATCH: usize = 10_000;

/// What is taken from the inbox at once.
const POSTED: usize = 10_000;

/// How long a file is left alone that could not be written.
const REST: Duration = Duration::from_secs(1);

/// How often it is said again that it can't be.
const REMINDED_EVERY: Duration = Duration::from_mins(1);

/// Most removals of one part of the table that are remembered for a file that can't be written. One
/// that is forgotten would come back with the next start, had it not expired until then.
const REMOVALS: usize = 100_000;

/// Records in memory and in a file. They survive the process, but for the last half second of one
/// that is killed.
#[derive(Debug)]
pub struct Embedded {
    table: Arc<Table>,
    path: PathBuf,
    absence: Arc<Mutex<Option<Absence>>>,
    writer: Mutex<Option<Writer>>,
}

#[derive(Debug)]
struct Writer {
    commands: Sender<Command>,
    thread: JoinHandle<()>,
}

enum Command {
    /// Write everything now, and tell.
    Settle(oneshot::Sender<Result<(), StateError>>),
    /// Write everything, and end.
    Stop,
}

impl Embedded {
    /// Opens a file, makes it where there is none, and reads what is in it. A broken one is set
    /// aside; where the file can't be used, there is memory, and the file is tried on and on.
    ///
    /// # Errors
    /// The thread that writes can't be started.
    pub fn open(path: &Path, max_entries: usize, logger: &Logger) -> Result<Self, StateError> {
        let table = Arc::new(Table::new(max_entries, true));
        let mut scribe = Scribe::new(table.clone(), path.to_owned(), logger.clone());
        let absence = scribe.absence.clone();
        scribe.try_to_open();
        let (commands, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || scribe.run(&receiver))
            .map_err(|error| StateError::new("can't start its thread").with_source(error))?;
        let writer = Mutex::new(Some(Writer { commands, thread }));
        Ok(Embedded { table, path: path.to_owned(), absence, writer })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes how many records there may be.
    pub fn set_max_entries(&self, max_entries: usize) {
        self.table.set_max_entries(max_entries);
    }

    /// How many records there are, those included that have expired and are not yet swept out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Writer { commands, thread }) = writer else { return };
        // A thread that has ended already can't be told or waited for; there is nobody to tell.
        drop(commands.send(Command::Stop));
        drop(thread.join());
    }
}

impl Backend for Embedded {
    fn update_at_once(
        &self,
        key: &[u8],
        now: Timestamp,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> bool {
        self.table.update(key, millis(now), change);
        true
    }

    fn update(&self, key: Vec<u8>, now: Timestamp, mut change: BoxedChange) -> Pending<()> {
        self.table.update(&key, millis(now), &mut change);
        done(Ok(()))
    }

    fn remove(&self, key: Vec<u8>) -> Pending<bool> {
        done(Ok(self.table.remove(&key)))
    }

    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>> {
        done(Ok(self.table.list(&prefix, behind.as_deref(), limit, millis(now))))
    }

    fn settle(&self) -> Pending<()> {
        let (sender, receiver) = oneshot::channel();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_sent = writer
            .as_ref()
            .is_some_and(|writer| writer.commands.send(Command::Settle(sender)).is_ok());
        Box::pin(async move {
            let ended = || StateError::new("can't be written: its thread has ended");
            if !is_sent {
                return Err(ended());
            }
            receiver.await.unwrap_or_else(|_| Err(ended()))
        })
    }

    fn status(&self) -> Option<StateStatus> {
        let absence = self.absence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(StateStatus { absence, ..self.table.status() })
    }
}

/// What the thread does.
struct Scribe {
    table: Arc<Table>,
    path: PathBuf,
    file: Option<StoreFile>,
    /// The greatest time that was given last to any part.
    latest: Millis,
    /// The last of the inbox that is in memory. It is in the inbox still if the file could not be
    /// written then, and must not undo what has changed since.
    taken_in: i64,
    next_flush: Instant,
    /// Since when the file can't be written.
    failing: Option<Failing>,
    /// The same for whoever asks.
    absence: Arc<Mutex<Option<Absence>>>,
    /// The part that is swept next.
    next_sweep: usize,
    /// How many had given way when it was last said, and when that was.
    evicted: u64,
    evicted_said: Option<Instant>,
    logger: Logger,
}

struct Failing {
    since: Instant,
    said: Instant,
}

impl Scribe {
    fn new(table: Arc<Table>, path: PathBuf, logger: Logger) -> Self {
        Scribe {
            table,
            path,
            file: None,
            latest: 0,
            taken_in: 0,
            next_flush: Instant::now(),
            failing: None,
            absence: Arc::default(),
            next_sweep: 0,
            evicted: 0,
            evicted_said: None,
            logger,
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            match commands.recv_timeout(TICK) {
                Ok(Command::Settle(sender)) => {
                    self.flush();
                    // Whoever asked may have gone.
                    let _gone = sender.send(self.outcome());
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return self.flush(),
                Err(RecvTimeoutError::Timeout) => self.tick(),
            }
        }
    }

    fn outcome(&self) -> Result<(), StateError> {
        match self.failing {
            Some(_) => Err(StateError::new("can't be written; the log says why")),
            None => Ok(()),
        }
    }

    fn tick(&mut self) {
        let parts = self.table.parts();
        // A clock may have been ahead.
        let now = self.latest.min(millis(Timestamp::now()));
        for _ in 0..parts.div_ceil(TICKS_OF_SWEEP) {
            self.table.sweep(self.next_sweep, now);
            self.next_sweep = (self.next_sweep + 1) % parts;
        }
        if Instant::now() >= self.next_flush || self.has_mail() {
            self.flush();
        }
        self.tell_of_evictions();
    }

    /// Whether another process has left something; it waits for that to be taken in.
    fn has_mail(&mut self) -> bool {
        let Some(file) = self.file.as_mut().filter(|_| self.failing.is_none()) else {
            return false;
        };
        // What is wrong shows when it is read in earnest.
        file.inbox(1).map_or(true, |posted| !posted.is_empty())
    }

    /// Takes the inbox in, and writes all changes.
    fn flush(&mut self) {
        self.next_flush = Instant::now() + FLUSH;
        if self.file.is_none() {
            self.try_to_open();
        }
        let Some(mut file) = self.file.take() else { return self.bound_changes() };
        match self.exchange(&mut file) {
            Ok(()) => {
                self.file = Some(file);
                self.say_back();
            }
            Err(error) => {
                self.next_flush = Instant::now() + REST;
                self.say_failing(&error);
                self.bound_changes();
                if error.is_broken() {
                    drop(file);
                    self.start_anew();
                } else {
                    self.file = Some(file);
                }
            }
        }
    }

    fn exchange(&mut self, file: &mut StoreFile) -> Result<(), FileError> {
        loop {
            let posted = file.inbox(POSTED)?;
            for posted in posted.iter().filter(|posted| posted.id > self.taken_in) {
                match &posted.record {
                    Some((until, octets)) => self.table.insert(&posted.key, octets, *until),
                    None => drop(self.table.remove(&posted.key)),
                }
            }
            let last = posted.last().map(|posted| posted.id);
            self.taken_in = self.taken_in.max(last.unwrap_or_default());
            self.write_changes(file, last)?;
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes all changes, those of one part after the other. What is taken out of the inbox goes
    /// with the last of them, so that nothing is lost in between.
    fn write_changes(&mut self, file: &mut StoreFile, done: Option<i64>) -> Result<(), FileError> {
        let mut batch: Vec<Changes> = Vec::new();
        let mut size = 0;
        let mut number = 0;
        while number < self.table.parts() {
            let (changes, latest) = self.table.take_changes(number);
            self.latest = self.latest.max(latest);
            number += usize::from(!changes.has_more);
            size += changes.len();
            if changes.len() > 0 {
                batch.push(changes);
            }
            if size >= BATCH {
                self.write_batch(file, std::mem::take(&mut batch), None)?;
                size = 0;
            }
        }
        if batch.is_empty() && done.is_none() {
            return Ok(());
        }
        self.write_batch(file, batch, done)
    }

    fn write_batch(
        &self,
        file: &mut StoreFile,
        batch: Vec<Changes>,
        done: Option<i64>,
    ) -> Result<(), FileError> {
        file.write(&batch, done).inspect_err(|_| {
            for changes in batch {
                self.table.take_back(changes);
            }
        })
    }

    /// Opens the file and reads what is not yet in memory.
    fn try_to_open(&mut self) {
        match self.open_and_load() {
            Ok(file) => {
                self.file = Some(file);
                self.say_back();
            }
            Err(error) => {
                self.say_failing(&error);
                if error.is_broken() {
                    self.start_anew();
                }
            }
        }
    }

    fn open_and_load(&self) -> Result<StoreFile, FileError> {
        let begin = Instant::now();
        let file = StoreFile::open(&self.path)?;
        let now = millis(Timestamp::now());
        let mut expired = Changes::default();
        file.load(|key, octets, until| {
            if until > now {
                self.table.load(key, octets, until);
            } else {
                expired.note_removed(key);
            }
        })?;
        // They are deleted with the changes of the next moments.
        self.table.take_back(expired);
        if self.table.len() > 0 {
            info!(self.logger, "state read"; "records" => self.table.len(),
                "seconds" => format!("{:.3}", begin.elapsed().as_secs_f64()));
        }
        Ok(file)
    }

    /// Gives a broken file another name and goes on with a new one, which everything in memory is
    /// written to.
    fn start_anew(&mut self) {
        let aside = match set_aside(&self.path) {
            Ok(aside) => aside,
            Err(error) => {
                error!(self.logger, "the broken state file can't be set aside";
                    "file" => %self.path.display(), "reason" => %error);
                return;
            }
        };
        error!(self.logger, "the state file is broken; it is set aside, and a new one begun";
            "file" => %self.path.display(), "aside" => %aside.display(),
            "records" => self.table.len());
        match StoreFile::open(&self.path) {
            Ok(file) => {
                self.table.mark_all_changed();
                self.taken_in = 0;
                self.file = Some(file);
            }
            Err(error) => self.say_failing(&error),
        }
    }

    fn say_failing(&mut self, reason: &FileError) {
        let now = Instant::now();
        let failing = self.failing.get_or_insert(Failing { since: now, said: now });
        self.absence
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| Absence { since: Timestamp::now(), reason: String::new() })
            .reason = format!("its file can't be written: {reason}");
        if failing.since == now || now - failing.said >= REMINDED_EVERY {
            failing.said = now;
            error!(self.logger, "state can't be written to its file; it is kept in memory";
                "file" => %self.path.display(), "reason" => %reason,
                "seconds" => (now - failing.since).as_secs());
        }
    }

    fn say_back(&mut self) {
        if let Some(failing) = self.failing.take() {
            *self.absence.lock().unwrap_or_else(PoisonError::into_inner) = None;
            warn!(self.logger, "state is written to its file again";
                "file" => %self.path.display(), "seconds" => failing.since.elapsed().as_secs());
        }
    }

    fn bound_changes(&self) {
        for number in 0..self.table.parts() {
            self.table.bound_changes(number, REMOVALS / self.table.parts());
        }
    }

    fn tell_of_evictions(&mut self) {
        let evicted = self.table.evicted();
        let is_time = self.evicted_said.is_none_or(|said| said.elapsed() >= REMINDED_EVERY);
        if evicted > self.evicted && is_time {
            warn!(self.logger, "the state store is full: the records that expire first give way";
                "given_way" => evicted - self.evicted, "records" => self.table.len());
            self.evicted = evicted;
            self.evicted_said = Some(Instant::now());
        }
    }
}
