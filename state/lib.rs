//! What engines remember from one request to the next: clients that wait, marks, counters. One store
//! for all engines of a server, or for many servers that act as one.
//!
//! Engines hold a [`Space`] of the [`StateStore`] that their `BuildContext` gives them as a service.
//! A space keeps one [`Record`] for each key until a time that the engine chose. All change goes
//! through [`Space::update`]: a function from the record that is there to what is to be there, which
//! is atomic whatever else happens, in this process or another. So an engine that is right with one
//! request is right with a thousand at once, and the backends can't differ in what they answer.
//!
//! | module | what lives there |
//! |---|---|
//! | `record` | what a record is, and the parts it is written with |
//! | `mark` | the record of a key that is marked for a time |
//! | `backend` | what a store must be able to do |
//! | `counted` | counts what is asked of a store |
//! | `key` | keys as backends see them |
//! | `options` | which store there is to be, as the configuration writes it |
//! | `probe` | whether the server of a store can be reached |
//! | `table` | records in memory, in many parts |
//! | `memory` | a store that ends with the process |
//! | `embedded`, `file` | a store in memory that is written behind to a file |
//! | `beside` | that file as a command sees it while a server may be running |
//! | `overlay` | a store that is read, with its changes in memory |
//! | `remote` | a store on another machine: exchanges, and whether it is there |
//! | `mysql`, `redis` | such stores |

mod backend;
mod beside;
mod connections;
mod counted;
mod embedded;
mod file;
mod key;
mod mark;
mod memory;
mod mysql;
mod options;
mod overlay;
mod probe;
mod record;
mod redis;
mod remote;
mod table;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;

pub use backend::{Backend, BoxedChange, Pending, Step, Stored};
pub use beside::Beside;
pub use counted::{Absence, StateStatus};
pub use embedded::Embedded;
pub use key::LONGEST_KEY;
pub use mark::Mark;
pub use memory::Memory;
pub use mysql::{MySqlPlan, SCHEMA};
pub use options::{
    EmbeddedOptions, MySqlOptions, OpenStore, RedisOptions, StateStoreOptions, StorePlan,
};
pub use overlay::Overlay;
pub use record::{Reader, Record, Writer};
pub use redis::{RedisAddress, RedisPlan};

/// Why a record can't be read or changed. Nothing of the change is kept then, unless the answer of
/// a store on another machine was lost.
#[derive(Debug, thiserror::Error)]
#[error("the state store {what}")]
pub struct StateError {
    what: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StateError {
    /// What the store did or could not do: "can't be reached".
    pub fn new(what: impl Into<String>) -> Self {
        StateError { what: what.into(), source: None }
    }

    /// With the error behind it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl StateError {
    /// The same for somebody else who waited for the same.
    pub(crate) fn again(&self) -> Self {
        StateError::new(format!("{}{}", self.what, self.causes()))
    }

    /// What is behind it, for a log: each cause behind a colon.
    #[must_use]
    pub fn causes(&self) -> String {
        let mut text = String::new();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _infallible = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

/// What becomes of a record, and what is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<R, A> {
    /// It stays as it is.
    Keep(A),
    /// This one takes its place, and is forgotten at that time.
    Put(R, Timestamp, A),
    /// It is forgotten.
    Remove(A),
}

/// The state of all engines.
#[derive(Default)]
pub struct StateStore {
    backend: OnceLock<Arc<dyn Backend>>,
    users: Mutex<BTreeSet<String>>,
}

impl StateStore {
    /// With these records.
    pub fn new(backend: impl Backend) -> Self {
        let store = StateStore::default();
        store.open(Arc::new(backend));
        store
    }

    /// One that ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        StateStore::new(Memory::default())
    }

    /// One whose records come later: engines are built before anything is opened. Until then they
    /// can be neither read nor changed.
    #[must_use]
    pub fn unopened() -> Self {
        StateStore::default()
    }

    /// Opens one that is not open; whether it was not.
    pub fn open(&self, backend: Arc<dyn Backend>) -> bool {
        self.backend.set(backend).is_ok()
    }

    /// Whether anybody has asked for a space, and so needs it to be open.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.users().is_empty()
    }

    /// The engines that have asked for a space, by their IDs.
    #[must_use]
    pub fn users(&self) -> BTreeSet<String> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records of one engine, by its ID.
    #[must_use]
    pub fn space(self: &Arc<Self>, id: &str) -> Space {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        Space { store: self.clone(), prefix: key::prefix(id).into() }
    }

    /// Done when all that was changed so far is where it is to stay: on the disk, or taken in by
    /// the server that a command runs beside.
    ///
    /// # Errors
    /// It can't be written, or is not taken in.
    pub async fn settle(&self) -> Result<(), StateError> {
        self.backend()?.settle().await
    }

    /// How it stands; `None` where it is not open, or where nobody counts.
    #[must_use]
    pub fn status(&self) -> Option<StateStatus> {
        self.backend.get()?.status()
    }

    fn backend(&self) -> Result<&Arc<dyn Backend>, StateError> {
        self.backend.get().ok_or_else(|| StateError::new("is not open"))
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore").finish_non_exhaustive()
    }
}

/// The records of one engine. A clone has the same.
#[derive(Debug, Clone)]
pub struct Space {
    store: Arc<StateStore>,
    prefix: Arc<[u8]>,
}

impl Space {
    /// The record of a key, if it has one that is not forgotten by now.
    ///
    /// # Errors
    /// The store can't be asked.
    pub async fn get<R>(&self, key: &[u8], now: Timestamp) -> Result<Option<R>, StateError>
    where
        R: Record + Send + 'static,
    {
        self.update(key, now, |record: Option<R>| Change::Keep(record)).await
    }

    /// Changes the record of a key in one atomic step, and answers what the function answers.
    ///
    /// The function may be called more than once, with another record each time; only its last call
    /// counts. A record that has been forgotten by now, or that is not of this type, is as none.
    ///
    /// # Errors
    /// The store can't be asked, or did not take it.
    pub async fn update<R, A>(
        &self,
        key: &[u8],
        now: Timestamp,
        mut change: impl FnMut(Option<R>) -> Change<R, A> + Send + 'static,
    ) -> Result<A, StateError>
    where
        R: Record,
        A: Send + 'static,
    {
        let key = self.whole(key);
        let backend = self.store.backend()?;
        let mut answer = None;
        let at_once = backend.update_at_once(&key, now, &mut |octets| {
            step(change(octets.and_then(R::from_octets)), &mut answer)
        });
        if at_once {
            return answer.ok_or_else(|| StateError::new("did not apply a change"));
        }
        let slot = Arc::new(Mutex::new(None));
        let filled = slot.clone();
        let boxed = Box::new(move |octets: Option<&[u8]>| {
            let mut answer = filled.lock().unwrap_or_else(PoisonError::into_inner);
            step(change(octets.and_then(R::from_octets)), &mut answer)
        });
        backend.update(key, now, boxed).await?;
        let answer = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or_else(|| StateError::new("did not apply a change"))
    }

    /// Forgets the record of a key; whether there was one.
    ///
    /// # Errors
    /// The store can't be asked, or did not take it.
    pub async fn remove(&self, key: &[u8]) -> Result<bool, StateError> {
        self.store.backend()?.remove(self.whole(key)).await
    }

    /// The records behind a key in the order of their keys, at most so many: a page of a list. The
    /// keys are without the name of the space; of one that was too long to keep, the end is a hash.
    ///
    /// # Errors
    /// The store can't be asked.
    pub async fn list(
        &self,
        behind: Option<&[u8]>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Stored>, StateError> {
        self.list_of(b"", behind, limit, now).await
    }

    /// As [`list`](Self::list), of the keys that begin so: the others are not looked at.
    ///
    /// # Errors
    /// The store can't be asked.
    pub async fn list_of(
        &self,
        beginning: &[u8],
        behind: Option<&[u8]>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Stored>, StateError> {
        let prefix = [&self.prefix, beginning].concat();
        let behind = behind.map(|key| self.whole(key));
        let mut page = self.store.backend()?.list(prefix, behind, limit, now).await?;
        for stored in &mut page {
            stored.key.drain(..self.prefix.len());
        }
        Ok(page)
    }

    fn whole(&self, key: &[u8]) -> Vec<u8> {
        key::whole(&self.prefix, key)
    }
}

fn step<R: Record, A>(change: Change<R, A>, answer: &mut Option<A>) -> Step {
    let (step, said) = match change {
        Change::Keep(said) => (Step::Keep, said),
        Change::Put(record, until, said) => (Step::Put(record.to_octets(), until), said),
        Change::Remove(said) => (Step::Remove, said),
    };
    *answer = Some(said);
    step
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::block_on;

    use super::*;

    fn second(count: i64) -> Timestamp {
        Timestamp::from_second(count).unwrap()
    }

    #[test]
    fn keys_that_begin_alike_are_listed_page_by_page_without_the_others() {
        let space = Arc::new(StateStore::in_memory()).space("greylist");
        let now = second(10);
        let mark = move || Mark { since: now, reason: String::new() };
        let list = |behind: Option<&[u8]>| {
            let page = block_on(space.list_of(b"b", behind, 1, now)).unwrap();
            page.into_iter().map(|stored| stored.key).next()
        };
        for key in ["a", "b", "ba", "c"] {
            let put =
                space.update(key.as_bytes(), now, move |_| Change::Put(mark(), second(20), ()));
            block_on(put).unwrap();
        }
        assert_eq!(list(None).as_deref(), Some(&b"b"[..]));
        assert_eq!(list(Some(b"b")).as_deref(), Some(&b"ba"[..]));
        assert_eq!(list(Some(b"ba")), None);
    }

    #[test]
    fn a_record_is_forgotten_at_its_time() {
        let space = Arc::new(StateStore::in_memory()).space("greylist");
        block_on(async {
            let mark = Mark { since: second(10), reason: "test".to_owned() };
            let put = mark.clone();
            let change = move |_: Option<Mark>| Change::Put(put.clone(), second(20), ());
            space.update(b"key", second(10), change).await.unwrap();
            assert_eq!(space.get(b"key", second(19)).await.unwrap(), Some(mark));
            assert_eq!(space.get::<Mark>(b"key", second(20)).await.unwrap(), None);
        });
    }

    #[test]
    fn spaces_do_not_see_each_other() {
        let store = Arc::new(StateStore::in_memory());
        let mark = |_: Option<Mark>| {
            Change::Put(Mark { since: second(1), reason: String::new() }, second(20), ())
        };
        block_on(async {
            store.space("a").update(b"key", second(1), mark).await.unwrap();
            assert_eq!(store.space("b").get::<Mark>(b"key", second(1)).await.unwrap(), None);
            let listed = store.space("a").list(None, 10, second(1)).await.unwrap();
            assert_eq!(listed[0].key, b"key");
        });
    }
}
