//! A store that is looked at and never changed: records are read from where they are, and what
//! changes is kept in memory, for as long as somebody wants to know what would happen.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::StateError;
use crate::backend::{Backend, BoxedChange, Pending, Step, Stored, done};
use crate::file::{FileError, StoreFile, path_in};
use crate::remote::Remote;

/// What was changed, by key: a record with the time when it is forgotten, or none.
type Changes = BTreeMap<Vec<u8>, Option<(Timestamp, Vec<u8>)>>;

/// A store in memory over one that is only read.
#[derive(Debug)]
pub struct Overlay {
    base: Base,
    changes: Arc<Mutex<Changes>>,
}

enum Base {
    Nothing,
    /// The file of the embedded store, which a server may be writing.
    File(Mutex<StoreFile>),
    /// A server that is asked nothing but to read.
    Remote(Remote),
}

impl Overlay {
    /// Over nothing: what is remembered begins here.
    #[must_use]
    pub fn empty() -> Self {
        Overlay::over(Base::Nothing)
    }

    /// Over the file in a state directory, whether or not a server has it; over nothing where there
    /// is no file.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn over_file(directory: &Path) -> Result<Self, StateError> {
        let path = path_in(directory);
        let unseen = |error| StateError::new("can't be looked for").with_source(error);
        if !path.try_exists().map_err(unseen)? {
            return Ok(Overlay::empty());
        }
        let file = StoreFile::open_to_read(&path).map_err(unreadable)?;
        Ok(Overlay::over(Base::File(Mutex::new(file))))
    }

    pub(crate) fn over_remote(remote: Remote) -> Self {
        Overlay::over(Base::Remote(remote))
    }

    fn over(base: Base) -> Self {
        Overlay { base, changes: Arc::default() }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        lock(&self.changes)
    }

    /// Applies a change to what is known here already; whether it was.
    fn change_known(
        &self,
        key: &[u8],
        now: Timestamp,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> Result<bool, StateError> {
        let mut changes = self.changes();
        if !changes.contains_key(key) {
            let read = match &self.base {
                Base::Nothing => None,
                Base::File(file) => lock(file).find(key).map_err(unreadable)?,
                Base::Remote(_) => return Ok(false),
            };
            let read = read.map(|(until, octets)| (crate::table::timestamp(until), octets));
            changes.insert(key.to_vec(), read);
        }
        apply(&mut changes, key, now, change);
        Ok(true)
    }
}

/// Applies a change to a record that was changed here, or read.
fn apply(
    changes: &mut Changes,
    key: &[u8],
    now: Timestamp,
    change: &mut dyn FnMut(Option<&[u8]>) -> Step,
) {
    let held = changes.get(key).and_then(Option::as_ref).filter(|(until, _)| *until > now);
    let new = match change(held.map(|(_, octets)| octets.as_slice())) {
        Step::Keep => return,
        Step::Put(octets, until) => Some((until, octets)),
        Step::Remove => None,
    };
    changes.insert(key.to_vec(), new);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave what is in it half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unreadable(error: FileError) -> StateError {
    StateError::new("can't be read").with_source(error)
}

impl Backend for Overlay {
    fn update_at_once(
        &self,
        key: &[u8],
        now: Timestamp,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> bool {
        // What can't be read is told by the update that follows.
        self.change_known(key, now, change).unwrap_or(false)
    }

    fn update(&self, key: Vec<u8>, now: Timestamp, mut change: BoxedChange) -> Pending<()> {
        match (self.change_known(&key, now, &mut change), &self.base) {
            (Ok(false), Base::Remote(remote)) => {
                let changes = self.changes.clone();
                let read = read(remote, key.clone(), now);
                Box::pin(async move {
                    // How long the record is kept there does not matter: it is there now.
                    let held = read.await?.map(|octets| (Timestamp::MAX, octets));
                    let mut changes = lock(&changes);
                    changes.entry(key.clone()).or_insert(held);
                    apply(&mut changes, &key, now, &mut change);
                    Ok(())
                })
            }
            (changed, _) => done(changed.map(drop)),
        }
    }

    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>> {
        let base = match &self.base {
            Base::Nothing => done(Ok(Vec::new())),
            Base::File(file) => {
                let now = crate::table::millis(now);
                let listed = lock(file).list(&prefix, behind.as_deref(), limit, now);
                done(listed.map_err(unreadable))
            }
            Base::Remote(remote) => remote.list(prefix.clone(), behind.clone(), limit, now),
        };
        let changes = self.changes.clone();
        Box::pin(async move {
            let base = base.await?;
            // Behind a full page there may be more; what was changed there belongs to the next one.
            let last = base.last().filter(|_| base.len() >= limit).map(|last| last.key.clone());
            let changes = lock(&changes);
            let mut listed: Vec<Stored> =
                base.into_iter().filter(|stored| !changes.contains_key(&stored.key)).collect();
            let is_wanted = |key: &Vec<u8>| {
                key.starts_with(&prefix)
                    && behind.as_ref().is_none_or(|behind| key > behind)
                    && last.as_ref().is_none_or(|last| key <= last)
            };
            for (key, record) in changes.iter().filter(|(key, _)| is_wanted(key)) {
                let Some((until, octets)) = record else { continue };
                if *until > now {
                    let (key, octets) = (key.clone(), octets.clone());
                    listed.push(Stored { key, octets, until: *until });
                }
            }
            listed.sort_by(|one, other| one.key.cmp(&other.key));
            listed.truncate(limit);
            Ok(listed)
        })
    }
}

/// The record of a key on another machine, which stays as it is.
fn read(remote: &Remote, key: Vec<u8>, now: Timestamp) -> Pending<Option<Vec<u8>>> {
    let found = Arc::new(Mutex::new(None));
    let seen = found.clone();
    let update = remote.update(
        key,
        now,
        Box::new(move |octets| {
            *lock(&seen) = octets.map(<[u8]>::to_vec);
            Step::Keep
        }),
    );
    Box::pin(async move {
        update.await?;
        Ok(lock(&found).take())
    })
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Base::Nothing => "Nothing",
            Base::File(_) => "File",
            Base::Remote(_) => "Remote",
        })
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::block_on;
    use slog::{Discard, Logger, o};

    use super::*;
    use crate::{Change, Embedded, Mark, StateStore};

    fn second(count: i64) -> Timestamp {
        Timestamp::from_second(count).unwrap()
    }

    fn put(reason: &str) -> impl FnMut(Option<Mark>) -> Change<Mark, ()> + Send + 'static {
        let mark = Mark { since: second(10), reason: reason.to_owned() };
        move |_| Change::Put(mark.clone(), second(4_000_000_000), ())
    }

    fn reason(mark: Option<Mark>) -> Option<String> {
        mark.map(|mark| mark.reason)
    }

    #[test]
    fn what_is_changed_over_a_file_that_a_server_has_is_seen_here_and_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let logger = Logger::root(Discard, o!());
        let embedded = Embedded::open(&path_in(directory.path()), 100, &logger).unwrap();
        let server = Arc::new(StateStore::new(embedded));
        let theirs = server.space("greylist");
        block_on(async {
            theirs.update(b"old", second(10), put("theirs")).await.unwrap();
            theirs.update(b"other", second(10), put("theirs")).await.unwrap();
            server.settle().await.unwrap();
            let overlay = Overlay::over_file(directory.path()).unwrap();
            let ours = Arc::new(StateStore::new(overlay)).space("greylist");
            let old: Option<Mark> = ours.get(b"old", second(20)).await.unwrap();
            assert_eq!(reason(old).as_deref(), Some("theirs"));
            ours.update(b"old", second(20), put("ours")).await.unwrap();
            ours.update(b"new", second(20), put("ours")).await.unwrap();
            assert!(ours.remove(b"other").await.unwrap());
            let listed = ours.list(None, 10, second(20)).await.unwrap();
            assert_eq!(
                listed.iter().map(|stored| &*stored.key).collect::<Vec<_>>(),
                [b"new", b"old"]
            );
            server.settle().await.unwrap();
            let old: Option<Mark> = theirs.get(b"old", second(20)).await.unwrap();
            assert_eq!(reason(old).as_deref(), Some("theirs"));
            assert!(theirs.get::<Mark>(b"new", second(20)).await.unwrap().is_none());
            assert!(theirs.get::<Mark>(b"other", second(20)).await.unwrap().is_some());
        });
    }

    #[test]
    fn without_a_file_nothing_is_remembered_and_none_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let overlay = Overlay::over_file(directory.path()).unwrap();
        let space = Arc::new(StateStore::new(overlay)).space("greylist");
        block_on(async {
            assert!(space.get::<Mark>(b"key", second(20)).await.unwrap().is_none());
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
