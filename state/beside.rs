//! The embedded store as a command sees it. Where a server runs, the command reads what the server
//! has written and puts what it wants changed into the inbox; where none runs, it changes the file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::StateError;
use crate::backend::{Backend, BoxedChange, Pending, Step, Stored, done};
use crate::file::{FileError, StoreFile, path_in};
use crate::table::{Millis, millis};

/// How many changes gather before they are written.
const GATHERED: usize = 4_096;

/// How long the server may take to take in what was posted.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked whether it has.
const LOOKED_EVERY: Duration = Duration::from_millis(20);

type Waiting = BTreeMap<Vec<u8>, Option<(Millis, Vec<u8>)>>;

/// The embedded store for a command. What is changed is sure to be kept once it is settled.
#[derive(Debug)]
pub struct Beside {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: StoreFile,
    /// Changes that are not yet written, by key.
    waiting: Waiting,
    /// Whether a server runs, to be told by way of the inbox.
    server_runs: bool,
    /// The last that was posted.
    posted: Option<i64>,
}

impl Beside {
    /// Opens the store in a state directory. Where a server runs there, it has written all that it
    /// knew when this is done; where none runs, none may begin for as long as this is in use.
    ///
    /// # Errors
    /// The file can't be used, or the server does not read its inbox.
    pub fn open(directory: &Path, server_runs: bool) -> Result<Self, StateError> {
        let file = StoreFile::open(&path_in(directory)).map_err(|error| {
            StateError::new(format!("in {} can't be opened", directory.display()))
                .with_source(error)
        })?;
        let mut inner = Inner { file, waiting: Waiting::new(), server_runs, posted: None };
        if server_runs {
            inner.post()?;
            inner.settle()?;
        }
        Ok(Beside { inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn update(
        &mut self,
        key: Vec<u8>,
        now: Millis,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> Result<(), StateError> {
        let held = self.find(&key)?.filter(|(until, _)| *until > now);
        let record = match change(held.as_ref().map(|(_, octets)| octets.as_slice())) {
            Step::Keep => return Ok(()),
            Step::Put(octets, until) => Some((millis(until), octets)),
            Step::Remove => None,
        };
        self.waiting.insert(key, record);
        if self.waiting.len() >= GATHERED { self.write() } else { Ok(()) }
    }

    fn find(&mut self, key: &[u8]) -> Result<Option<(Millis, Vec<u8>)>, StateError> {
        if let Some(record) = self.waiting.get(key) {
            return Ok(record.clone());
        }
        // What was posted is read from the table, so it must have been taken in.
        self.await_posted()?;
        self.file.find(key).map_err(unreadable)
    }

    fn write(&mut self) -> Result<(), StateError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        if self.server_runs {
            return self.post();
        }
        self.file.change(self.waiting.iter()).map_err(unwritable)?;
        self.waiting.clear();
        Ok(())
    }

    fn post(&mut self) -> Result<(), StateError> {
        self.posted = Some(self.file.post(self.waiting.iter()).map_err(unwritable)?);
        self.waiting.clear();
        Ok(())
    }

    fn settle(&mut self) -> Result<(), StateError> {
        self.write()?;
        self.await_posted()
    }

    fn await_posted(&mut self) -> Result<(), StateError> {
        let Some(posted) = self.posted else { return Ok(()) };
        let end = Instant::now() + PATIENCE;
        while !self.file.is_taken(posted).map_err(unreadable)? {
            if Instant::now() >= end {
                return Err(StateError::new(
                    "is not read by the server that runs; it may have another one, or be busy",
                ));
            }
            rest();
        }
        self.posted = None;
        Ok(())
    }
}

/// Nobody sends anything.
fn rest() {
    let (_sender, receiver) = channel::<()>();
    let _nothing = receiver.recv_timeout(LOOKED_EVERY);
}

fn unreadable(error: FileError) -> StateError {
    StateError::new("can't be read").with_source(error)
}

fn unwritable(error: FileError) -> StateError {
    StateError::new("can't be written").with_source(error)
}

/// Its futures do their work at once, on the thread that makes them: commands have nothing else to
/// do.
impl Backend for Beside {
    fn update(&self, key: Vec<u8>, now: Timestamp, mut change: BoxedChange) -> Pending<()> {
        done(self.inner().update(key, millis(now), &mut change))
    }

    fn remove(&self, key: Vec<u8>) -> Pending<bool> {
        let now = millis(Timestamp::now());
        let mut was_there = false;
        let removed = self.inner().update(key, now, &mut |octets| {
            was_there = octets.is_some();
            if was_there { Step::Remove } else { Step::Keep }
        });
        done(removed.map(|()| was_there))
    }

    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>> {
        let mut inner = self.inner();
        let settled = inner.settle();
        let listed = settled.and_then(|()| {
            inner.file.list(&prefix, behind.as_deref(), limit, millis(now)).map_err(unreadable)
        });
        done(listed)
    }

    fn settle(&self) -> Pending<()> {
        done(self.inner().settle())
    }
}
