//! The spool: rows that wait in a file while their database is away.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;
use slog::Logger;

use super::batch::State;
use super::bounds::Bounds;
use super::damaged::{open_or_set_aside, set_aside};
use super::row::Row;
use super::sqlite::SqliteStore;
use super::store::{RowWrite, Store, StoreError};
use super::{key, time};
use crate::config::settings::AtBound;

/// Rows that are moved at once; few, so that live ones do not wait long behind them.
const MOVED_AT_ONCE: usize = 128;

/// Rows that have waited too long are removed so many at once.
const EXPIRED_AT_ONCE: usize = 1_000;

fn open_store(path: &Path) -> Result<SqliteStore, StoreError> {
    let mut store = SqliteStore::open(path)?;
    store.create()?;
    store.prepare_refused()?;
    Ok(store)
}

/// The file in which the rows of a connection wait. Connections that differ only in how they get
/// to the same database share it: whoever moves a row moves it there.
#[must_use]
pub(super) fn path(directory: &Path, connection: &ResolvedConnection) -> PathBuf {
    let server = match &connection.unix_socket {
        Some(socket) => socket.display().to_string(),
        None => {
            format!("{}:{}", connection.host.as_deref().unwrap_or("localhost"), connection.port)
        }
    };
    let (server, database) = (file_name(&server), file_name(&connection.database));
    directory.join(format!("spool-{server}-{database}.sqlite"))
}

/// The file in which rows wait that the embedded store has refused.
#[must_use]
pub(super) fn path_of_embedded(directory: &Path) -> PathBuf {
    directory.join("spool-embedded.sqlite")
}

/// The file in which rows wait for a connection, or for the embedded store.
#[must_use]
pub(super) fn path_for(directory: &Path, connection: Option<&ResolvedConnection>) -> PathBuf {
    match connection {
        Some(connection) => path(directory, connection),
        None => path_of_embedded(directory),
    }
}

/// The spools in a directory that hold rows for none of these connections (without one: for the
/// embedded store), but for databases that were configured before; each with the number of its
/// rows.
pub async fn abandoned_spools(
    directory: &Path,
    connections: &[Option<&ResolvedConnection>],
) -> Vec<(PathBuf, u64)> {
    let ours: Vec<PathBuf> =
        connections.iter().map(|connection| path_for(directory, *connection)).collect();
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let is_spool = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with("spool-") && name.ends_with(".sqlite"))
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut others = Vec::new();
    for path in paths.filter(|path| is_spool(path) && !ours.contains(path)) {
        let Ok(mut store) = SqliteStore::open_to_read(&path) else { continue };
        match store.count().await {
            Ok(0) | Err(_) => {}
            Ok(rows) => others.push((path, rows)),
        }
    }
    others
}

fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_') {
            name.push(char::from(octet));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(name, "%{octet:02x}");
        }
    }
    name
}

/// The spool of one connection.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    logger: Logger,
    bounds: Bounds,
    store: SqliteStore,
    rows: u64,
    refused: u64,
    octets: u64,
    // Stays until it has become well smaller than the bound.
    is_full: bool,
    dropped: u64,
    has_rows_to_move: bool,
    // Rows up to here were moved, or refused and set aside.
    moved: Option<RequestKey>,
}

/// Rows that found no room.
pub(super) type Unkept = Vec<RequestKey>;

impl Spool {
    /// Opens it. A file that is damaged is set aside, and a new one begun.
    pub(super) fn open(path: &Path, bounds: Bounds, logger: Logger) -> Result<Self, StoreError> {
        let mut store = open_or_set_aside(path, &logger, open_store)?;
        // What the database refused before may be welcome now.
        store.retry_refused(&[])?;
        let rows = store.count_rows()?;
        let mut spool = Spool {
            path: path.to_owned(),
            logger,
            bounds,
            store,
            rows,
            refused: 0,
            octets: 0,
            is_full: false,
            dropped: 0,
            has_rows_to_move: rows > 0,
            moved: None,
        };
        spool.measure()?;
        Ok(spool)
    }

    /// How many rows are here.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn has_rows_to_move(&self) -> bool {
        self.has_rows_to_move
    }

    /// How many octets they take up.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// How many of them are set aside, as of the last look.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// How many rows were removed that were not moved.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether it has reached its bound.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// When the oldest request came whose row is here, in microseconds since 1970.
    pub(super) fn oldest(&self) -> Option<i64> {
        if self.rows == 0 {
            return None;
        }
        self.store.first().ok().flatten().map(key::time)
    }

    /// Keeps rows until they are moved; gives back those for which there is no room.
    pub(super) fn keep(&mut self, writes: &[RowWrite]) -> Result<Unkept, StoreError> {
        match self.keep_in_bounds(writes) {
            Err(StoreError::Damaged(reason)) => {
                self.begin_anew(&reason)?;
                self.keep_in_bounds(writes)
            }
            kept => kept,
        }
    }

    fn keep_in_bounds(&mut self, writes: &[RowWrite]) -> Result<Unkept, StoreError> {
        if self.is_full && self.bounds.at_bound == AtBound::DropOldest {
            self.make_room(writes.len())?;
        }
        if !self.is_full || self.bounds.at_bound == AtBound::DropOldest {
            self.add(writes)?;
            self.has_rows_to_move = true;
            return Ok(Unkept::new());
        }
        // The decision on a request that is here already needs no more room.
        let (mut here, mut unkept) = (Vec::new(), Unkept::new());
        for write in writes {
            if self.store.has(write.key)? {
                here.push(write.clone());
            } else {
                unkept.push(write.key);
            }
        }
        self.add(&here)?;
        Ok(unkept)
    }

    /// Keeps rows that the database has refused, each with the reason; gives back those for which
    /// there is no room.
    pub(super) fn keep_refused(
        &mut self,
        refused: &[(RowWrite, String)],
    ) -> Result<Unkept, StoreError> {
        let waits = self.has_rows_to_move;
        let writes: Vec<RowWrite> = refused.iter().map(|(write, _)| write.clone()).collect();
        let unkept = self.keep(&writes)?;
        self.has_rows_to_move = waits;
        let is_kept = |(write, _): &&(RowWrite, String)| !unkept.contains(&write.key);
        let kept: Vec<(RowWrite, String)> = refused.iter().filter(is_kept).cloned().collect();
        self.set_aside(&kept)?;
        Ok(unkept)
    }

    /// Removes the oldest rows until as many new ones fit in, about.
    fn make_room(&mut self, rows: usize) -> Result<(), StoreError> {
        let step = rows.max(usize::try_from(self.rows / 64).unwrap_or_default()).max(1);
        while self.rows > 0 && self.octets >= self.bounds.max_size {
            if self.drop_before(RequestKey([0xff; 16]), step)? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Removes rows that have waited too long.
    pub(super) fn expire(&mut self, now: SystemTime) -> Result<(), StoreError> {
        let Some(end) = self.bounds.oldest(now) else { return Ok(()) };
        while self.rows > 0 && self.drop_before(end, EXPIRED_AT_ONCE)? > 0 {}
        Ok(())
    }

    fn drop_before(&mut self, end: RequestKey, most: usize) -> Result<u64, StoreError> {
        let removed = self.store.remove_range(&(RequestKey([0; 16])..end), most)?;
        if removed.rows == 0 {
            return Ok(0);
        }
        self.rows = self.rows.saturating_sub(removed.rows);
        self.dropped += removed.rows;
        if self.refused > 0 {
            self.store.forget_refused()?;
        }
        self.measure()?;
        Ok(removed.rows)
    }

    fn measure(&mut self) -> Result<(), StoreError> {
        self.refused = self.store.count_refused()?;
        self.octets = if self.rows == 0 { 0 } else { self.store.octets()? };
        let max_size = self.bounds.max_size;
        // Not off and on again with every row.
        let relief = if self.is_full { max_size / 8 } else { 0 };
        self.is_full = self.octets >= max_size - relief;
        Ok(())
    }

    /// A file that was damaged while it was in use: what it holds is still in it.
    fn begin_anew(&mut self, reason: &str) -> Result<(), StoreError> {
        // It must be closed first: closing removes the log by its name, whoever's that is by then.
        self.store = SqliteStore::nowhere()?;
        set_aside(&self.path, reason, &self.logger)?;
        self.store = open_store(&self.path)?;
        self.rows = 0;
        self.moved = None;
        self.measure()
    }

    /// Sets rows aside that are here and that the database has refused.
    pub(super) fn set_aside(&mut self, refused: &[(RowWrite, String)]) -> Result<(), StoreError> {
        let reason = |(write, reason): &(RowWrite, String)| (write.key, reason.clone());
        let refused: Vec<(RequestKey, String)> = refused.iter().map(reason).collect();
        if refused.is_empty() {
            return Ok(());
        }
        self.store.set_aside(&refused, time::microseconds(SystemTime::now()))?;
        self.refused = self.store.count_refused()?;
        Ok(())
    }

    /// Whether somebody wants rows to be tried again that were set aside, or has written rows into
    /// this file past this spool.
    pub(super) fn look_again(&mut self) -> Result<(), StoreError> {
        self.refused = self.store.count_refused()?;
        if self.rows > 0 && !self.has_rows_to_move && self.store.has_waiting()? {
            self.rewind();
        }
        Ok(())
    }

    fn add(&mut self, writes: &[RowWrite]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        // A row may be here already, so none is fresh.
        let known = |write: &RowWrite| RowWrite { fresh: false, ..write.clone() };
        let writes: Vec<RowWrite> = writes.iter().map(known).collect();
        self.rows += self.store.insert(&writes)?;
        self.measure()
    }

    /// The next rows to be moved, in the order of their keys; none when all were.
    pub(super) fn next(&mut self) -> Result<Vec<Row>, StoreError> {
        let rows = self.store.select_waiting(self.moved, MOVED_AT_ONCE)?;
        if rows.is_empty() {
            self.has_rows_to_move = false;
        }
        Ok(rows)
    }

    /// Removes rows that are in the database now, and goes on behind the last one looked at.
    ///
    /// One whose decision has come since then stays and is looked at again: after a reload, the
    /// tracker before this one still writes here for the requests that began with it.
    pub(super) fn moved(
        &mut self,
        rows: &[(RequestKey, State)],
        last: Option<RequestKey>,
    ) -> Result<(), StoreError> {
        let removed = self.store.remove_unchanged(rows)?;
        self.rows = self.rows.saturating_sub(removed);
        if removed == rows.len() as u64 {
            self.moved = last.or(self.moved);
        }
        self.measure()
    }

    /// Begins anew: others may have come that this one has not counted.
    pub(super) fn rewind(&mut self) {
        self.moved = None;
        self.has_rows_to_move = true;
    }
}

#[cfg(test)]
mod tests;
