//! The spool: rows that wait in a file while their database is away.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;

use super::batch::State;
use super::row::Row;
use super::sqlite::SqliteStore;
use super::store::{RowWrite, Store, StoreError};
use super::time;

/// Rows that are moved at once; few, so that live ones do not wait long behind them.
const MOVED_AT_ONCE: usize = 128;

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

/// The spools in a directory that hold rows for none of these connections, but for databases that
/// were configured before; each with the number of its rows.
pub async fn abandoned_spools(
    directory: &Path,
    connections: &[&ResolvedConnection],
) -> Vec<(PathBuf, u64)> {
    let ours: Vec<PathBuf> =
        connections.iter().map(|connection| path(directory, connection)).collect();
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
    store: SqliteStore,
    rows: u64,
    has_rows_to_move: bool,
    // Rows up to here were moved, or refused and set aside.
    moved: Option<RequestKey>,
}

impl Spool {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let mut store = SqliteStore::open(path)?;
        store.prepare().await?;
        store.prepare_refused()?;
        // What the database refused before may be welcome now.
        store.retry_refused(&[])?;
        let rows = store.count().await?;
        let has_rows_to_move = rows > 0;
        Ok(Spool { store, rows, has_rows_to_move, moved: None })
    }

    /// How many rows are here.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn has_rows_to_move(&self) -> bool {
        self.has_rows_to_move
    }

    /// Keeps rows until they are moved.
    pub(super) fn keep(&mut self, writes: &[RowWrite]) -> Result<(), StoreError> {
        self.add(writes)?;
        self.has_rows_to_move = true;
        Ok(())
    }

    /// Keeps rows that the database has refused, each with the reason.
    pub(super) fn keep_refused(
        &mut self,
        refused: &[(RowWrite, String)],
    ) -> Result<(), StoreError> {
        let writes: Vec<RowWrite> = refused.iter().map(|(write, _)| write.clone()).collect();
        self.add(&writes)?;
        self.set_aside(refused)
    }

    /// Sets rows aside that are here and that the database has refused.
    pub(super) fn set_aside(&mut self, refused: &[(RowWrite, String)]) -> Result<(), StoreError> {
        let reason = |(write, reason): &(RowWrite, String)| (write.key, reason.clone());
        let refused: Vec<(RequestKey, String)> = refused.iter().map(reason).collect();
        self.store.set_aside(&refused, time::microseconds(SystemTime::now()))
    }

    /// Whether somebody wants rows to be tried again that were set aside, or has written rows into
    /// this file past this spool.
    pub(super) fn look_again(&mut self) -> Result<(), StoreError> {
        if self.rows > 0 && !self.has_rows_to_move && self.store.has_waiting()? {
            self.rewind();
        }
        Ok(())
    }

    fn add(&mut self, writes: &[RowWrite]) -> Result<(), StoreError> {
        // A row may be here already, so none is fresh.
        let known = |write: &RowWrite| RowWrite { fresh: false, ..write.clone() };
        let writes: Vec<RowWrite> = writes.iter().map(known).collect();
        self.rows += self.store.insert(&writes)?;
        Ok(())
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
        Ok(())
    }

    /// Begins anew: others may have come that this one has not counted.
    pub(super) fn rewind(&mut self) {
        self.moved = None;
        self.has_rows_to_move = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mppd_engine::{Decision, Request, Transition};

    use super::*;
    use crate::tracking::snapshot::tests::{exchange, row};

    #[tokio::test]
    async fn a_decision_that_comes_while_its_received_is_moved_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool.sqlite");
        let mut spool = Spool::open(&path).await.unwrap();
        // That of the tracker which a reload has replaced; its requests are still under way.
        let mut other = Spool::open(&path).await.unwrap();
        let exchange = exchange(Request::from_attributes([("sender", "a@b")]).unwrap());
        let write = |transition, state| RowWrite {
            key: exchange.key(),
            state,
            fresh: false,
            content: Arc::new(row(transition, &exchange)),
        };
        other.keep(&[write(Transition::Received, State::Received)]).unwrap();
        let rows = spool.next().unwrap();
        exchange.decide(Decision::dunno());
        other.keep(&[write(Transition::Processed, State::Processed)]).unwrap();
        assert!(rows.len() == 1 && !rows[0].is_processed());
        spool.moved(&[(exchange.key(), State::Received)], Some(exchange.key())).unwrap();
        let left = spool.next().unwrap();
        assert!(left.len() == 1 && left[0].is_processed());
        spool.moved(&[(exchange.key(), State::Processed)], Some(exchange.key())).unwrap();
        assert!(spool.next().unwrap().is_empty());
    }

    #[test]
    fn every_connection_has_a_file_name_of_its_own() {
        assert_eq!(file_name("/run/x-y.sock"), "%2frun%2fx%2dy.sock");
        assert_ne!(file_name("a-b"), file_name("a_b"));
    }
}
