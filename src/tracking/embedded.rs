//! The embedded store as the place of the records, and what becomes of it when its file is damaged
//! or refuses a row.

use std::path::{Path, PathBuf};
use std::time::Duration;

use slog::{Logger, crit, error};
use tokio::time::Instant;

use super::bounds::Bounds;
use super::damaged::{open_or_set_aside, set_aside};
use super::database::write_acceptable;
use super::spool::{self, Spool, Unkept};
use super::sqlite::SqliteStore;
use super::store::{RowWrite, StoreError, rewrites};

/// How often the rows that were refused are looked at: somebody may want them to be tried again.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// The embedded store.
pub(super) struct Embedded {
    path: PathBuf,
    store: SqliteStore,
    bounds: Bounds,
    /// Rows that the store has refused. Made when there is the first of them.
    refused: Option<Spool>,
    /// When those are to be looked at next.
    look: Instant,
    logger: Logger,
}

impl Embedded {
    /// Opens it. A file that is damaged is set aside, and a new one begun.
    pub(super) fn open(path: PathBuf, bounds: Bounds, logger: Logger) -> Result<Self, StoreError> {
        let store = open_or_set_aside(&path, &logger, open_store)?;
        let mut embedded =
            Embedded { path, store, bounds, refused: None, look: Instant::now(), logger };
        if embedded.refused_path().exists() {
            embedded.open_refused()?;
        }
        Ok(embedded)
    }

    fn refused_path(&self) -> PathBuf {
        spool::path_of_embedded(self.path.parent().unwrap_or(Path::new("")))
    }

    fn open_refused(&mut self) -> Result<&mut Spool, StoreError> {
        let spool = match self.refused.take() {
            Some(spool) => spool,
            None => Spool::open(&self.refused_path(), self.bounds.clone(), self.logger.clone())?,
        };
        Ok(self.refused.insert(spool))
    }

    /// The store.
    pub(super) fn store(&mut self) -> &mut SqliteStore {
        &mut self.store
    }

    /// The rows that were refused.
    pub(super) fn refused(&self) -> Option<&Spool> {
        self.refused.as_ref()
    }

    /// Writes rows durably; gives back those that could be kept nowhere.
    pub(super) async fn write(&mut self, writes: &[RowWrite]) -> Result<Unkept, StoreError> {
        let refused = match write_acceptable(&mut self.store, writes).await {
            Err(StoreError::Damaged(reason)) => {
                self.begin_anew(&reason)?;
                write_acceptable(&mut self.store, writes).await?
            }
            written => written?,
        };
        if refused.is_empty() {
            return Ok(Unkept::new());
        }
        for (write, reason) in &refused {
            error!(self.logger, "the embedded store refuses a row; it is set aside";
                "id" => %write.key, "reason" => reason);
        }
        let kept = self.open_refused().and_then(|spool| spool.keep_refused(&refused));
        Ok(kept.unwrap_or_else(|error| {
            crit!(self.logger, "rows that were refused cannot be set aside"; "reason" => %error);
            refused.iter().map(|(write, _)| write.key).collect()
        }))
    }

    /// A file that was damaged while it was in use: what it holds is still in it.
    fn begin_anew(&mut self, reason: &str) -> Result<(), StoreError> {
        // It must be closed first: closing removes the log by its name, whoever's that is by then.
        self.store = SqliteStore::nowhere()?;
        set_aside(&self.path, reason, &self.logger)?;
        self.store = open_store(&self.path)?;
        Ok(())
    }

    /// Tries rows again that somebody wants to be tried again.
    pub(super) async fn attend(&mut self) {
        if self.next_look().is_none_or(|look| Instant::now() < look) {
            return;
        }
        let Some(spool) = &mut self.refused else { return };
        let tried = retry(&mut self.store, spool).await;
        if let Err(error) = &tried {
            error!(self.logger, "rows that were refused cannot be tried again";
                "reason" => %error);
        }
        let goes_on = tried.is_ok() && spool.has_rows_to_move();
        self.look = Instant::now() + if goes_on { Duration::ZERO } else { LOOKED_AT_EVERY };
    }

    /// When [`Embedded::attend`] has something to do.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let spool = self.refused.as_ref()?;
        (spool.rows() > 0).then_some(self.look)
    }
}

async fn retry(store: &mut SqliteStore, spool: &mut Spool) -> Result<(), StoreError> {
    spool.look_again()?;
    let rows = spool.next()?;
    let writes = rewrites(rows);
    let last = writes.last().map(|write| write.key);
    let refused = write_acceptable(store, &writes).await?;
    let is_moved = |write: &&RowWrite| refused.iter().all(|(other, _)| other.key != write.key);
    let moved: Vec<_> =
        writes.iter().filter(is_moved).map(|write| (write.key, write.state)).collect();
    spool.set_aside(&refused)?;
    spool.moved(&moved, last)
}

fn open_store(path: &Path) -> Result<SqliteStore, StoreError> {
    let mut store = SqliteStore::open(path)?;
    store.create()?;
    Ok(store)
}
