//! A store that ends with the process.

use jiff::Timestamp;

use crate::backend::{Backend, BoxedChange, Pending, Step, Stored, done};
use crate::counted::StateStatus;
use crate::table::{Table, millis};

/// How many records there may be.
const MAX_ENTRIES: usize = 1_000_000;

/// Records that end with the process.
#[derive(Debug)]
pub struct Memory {
    table: Table,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { table: Table::new(MAX_ENTRIES, false) }
    }
}

impl Backend for Memory {
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

    fn status(&self) -> Option<StateStatus> {
        Some(self.table.status())
    }
}
