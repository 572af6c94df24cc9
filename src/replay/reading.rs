//! Pages of the records, oldest first, each behind the last of the one before.

use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use mppd_engine::RequestKey;
use tokio::runtime::Runtime;

use super::{Replay, ReplayError};
use crate::tracking::search::{Found, count, page};
use crate::tracking::store::{Condition, Query};

/// How many rows are read at once.
const PAGE: u32 = 2_000;

/// How many rows a worker takes at once.
const CHUNK: usize = 50;

/// How long one page may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// How long is waited before it is looked again whether a worker has room.
const PAUSE: Duration = Duration::from_millis(2);

/// The records that are replayed.
pub(super) struct Pages<'a> {
    replay: &'a Replay,
    runtime: Runtime,
    /// The key behind the last that was read.
    next: Option<RequestKey>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(replay: &'a Replay) -> Result<Self, ReplayError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Pages { replay, runtime: runtime.map_err(ReplayError::Thread)?, next: None })
    }

    pub(super) fn count(self) -> Result<u64, ReplayError> {
        let Replay { places, condition, .. } = self.replay;
        let counted = self.runtime.block_on(count(places, condition, PATIENCE));
        match counted.failures.into_iter().next() {
            None => Ok(counted.rows),
            Some((place, source)) => Err(ReplayError::Records { place, source }),
        }
    }

    fn page(&mut self) -> Result<Vec<Found>, ReplayError> {
        let condition = self.replay.condition.clone();
        let condition = match self.next {
            Some(key) => condition.and(Condition::From(key)),
            None => condition,
        };
        let query = Query { condition, limit: PAGE, newest_first: false };
        let answer = self.runtime.block_on(page(&self.replay.places, &query, PATIENCE));
        if let Some((place, source)) = answer.failures.into_iter().next() {
            return Err(ReplayError::Records { place, source });
        }
        self.next = answer.rows.last().and_then(|found| behind(found.row.key()?));
        Ok(answer.rows)
    }

    /// Gives all rows to the workers, as long as one works.
    pub(super) fn send_all(
        &mut self,
        sender: &SyncSender<Vec<Found>>,
        is_working: impl Fn() -> bool,
    ) -> Result<(), ReplayError> {
        loop {
            let mut rows = self.page()?;
            let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            while !rows.is_empty() {
                let rest = rows.split_off(rows.len().min(CHUNK));
                let mut chunk = std::mem::replace(&mut rows, rest);
                while let Err(TrySendError::Full(back)) = sender.try_send(chunk) {
                    if !is_working() {
                        return Ok(());
                    }
                    chunk = back;
                    self.runtime.block_on(async { tokio::time::sleep(PAUSE).await });
                }
            }
            if is_last || self.next.is_none() {
                return Ok(());
            }
        }
    }
}

/// The next key that there could be.
fn behind(key: RequestKey) -> Option<RequestKey> {
    u128::from_be_bytes(key.0).checked_add(1).map(|next| RequestKey(next.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_behind_the_last_of_the_one_before() {
        let mut key = RequestKey([0; 16]);
        key.0[15] = 255;
        let next = behind(key).unwrap();
        assert!(next > key);
        assert_eq!(&next.0[14..], [1, 0]);
        assert_eq!(behind(RequestKey([255; 16])), None);
    }
}
