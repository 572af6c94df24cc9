//! What a store must be able to do. Records are octets here; only engines know what they mean.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use crate::StateError;
use crate::counted::StateStatus;

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It stays.
    Keep,
    /// These octets take its place until that time.
    Put(Vec<u8>, Timestamp),
    /// It is forgotten.
    Remove,
}

/// A change that another thread may apply, as often as it takes.
pub type BoxedChange = Box<dyn FnMut(Option<&[u8]>) -> Step + Send>;

/// Something that is waited for.
pub type Pending<T> = Pin<Box<dyn Future<Output = Result<T, StateError>> + Send>>;

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: Vec<u8>,
    /// What it holds.
    pub octets: Vec<u8>,
    /// When it is forgotten.
    pub until: Timestamp,
}

/// Where records are kept.
///
/// A record that is forgotten at a time is as none from this time on, whether or not it is still
/// somewhere. All times are those that the caller gives.
pub trait Backend: Send + Sync + 'static {
    /// Applies a change now, if that needs no waiting; whether it did.
    fn update_at_once(
        &self,
        _key: &[u8],
        _now: Timestamp,
        _change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> bool {
        false
    }

    /// Applies a change. It has happened, whole and once, when this is done without an error.
    fn update(&self, key: Vec<u8>, now: Timestamp, change: BoxedChange) -> Pending<()>;

    /// Forgets a record; whether there was one.
    fn remove(&self, key: Vec<u8>) -> Pending<bool> {
        let was_there = Arc::new(AtomicBool::new(false));
        let seen = was_there.clone();
        let change: BoxedChange = Box::new(move |octets| {
            seen.store(octets.is_some(), Ordering::Relaxed);
            Step::Remove
        });
        let update = self.update(key, Timestamp::now(), change);
        Box::pin(async move {
            update.await?;
            Ok(was_there.load(Ordering::Relaxed))
        })
    }

    /// A page of the records whose keys begin so, in the order of their keys.
    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>>;

    /// Done when all that was changed so far is where it is to stay. Who changes it once more in the
    /// meantime may be waited for or not.
    fn settle(&self) -> Pending<()> {
        done(Ok(()))
    }

    /// How it stands, as far as that is known without asking anybody.
    fn status(&self) -> Option<StateStatus> {
        None
    }
}

/// What need not be waited for.
pub(crate) fn done<T: Send + 'static>(result: Result<T, StateError>) -> Pending<T> {
    Box::pin(std::future::ready(result))
}
