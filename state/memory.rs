//! Records in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::StateError;
use crate::backend::{Backend, BoxedChange, Pending, Step, Stored};

type Records = BTreeMap<Vec<u8>, (Vec<u8>, Timestamp)>;

/// Records that end with the process.
#[derive(Debug, Default)]
pub struct Memory {
    records: Mutex<Records>,
}

impl Memory {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Memory {
    fn update_at_once(
        &self,
        key: &[u8],
        now: Timestamp,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) -> bool {
        let mut records = self.records();
        let alive = records.get(key).filter(|(_, until)| *until > now);
        match change(alive.map(|(octets, _)| octets.as_slice())) {
            Step::Keep => {}
            Step::Put(octets, until) => drop(records.insert(key.to_vec(), (octets, until))),
            Step::Remove => drop(records.remove(key)),
        }
        true
    }

    fn update(&self, key: Vec<u8>, now: Timestamp, mut change: BoxedChange) -> Pending<()> {
        self.update_at_once(&key, now, &mut change);
        done(())
    }

    fn remove(&self, key: Vec<u8>) -> Pending<bool> {
        done(self.records().remove(&key).is_some())
    }

    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>> {
        let page = self
            .records()
            .iter()
            .filter(|(key, (_, until))| {
                key.starts_with(&prefix) && behind.as_ref() < Some(key) && *until > now
            })
            .take(limit)
            .map(|(key, (octets, until))| Stored {
                key: key.clone(),
                octets: octets.clone(),
                until: *until,
            })
            .collect();
        done(page)
    }
}

fn done<T: Send + 'static>(value: T) -> Pending<T> {
    Box::pin(std::future::ready(Ok::<T, StateError>(value)))
}
