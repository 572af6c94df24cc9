//! Rows of a spool that its database has refused for what they hold. They are set aside, each with
//! the reason, so that they hold up no other row, until somebody has them tried again.

use mppd_engine::RequestKey;
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, read};
use crate::tracking::row::Row;
use crate::tracking::store::StoreError;
use crate::tracking::table::{Dialect, TABLE};
use crate::tracking::time;

/// A row that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The row.
    pub row: Row,
    /// When it was refused last, in microseconds since 1970.
    pub refused_at: i64,
    /// What the database said.
    pub reason: String,
}

const CREATE: &str = "CREATE TABLE IF NOT EXISTS refused (
    id BLOB PRIMARY KEY NOT NULL,
    refused_timestamp TEXT NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID";

impl SqliteStore {
    /// Makes the place for them where it is missing.
    pub(in crate::tracking) fn prepare_refused(&mut self) -> Result<(), StoreError> {
        self.connection.execute(CREATE, [])?;
        Ok(())
    }

    /// Sets rows aside that are here.
    pub(in crate::tracking) fn set_aside(
        &mut self,
        rows: &[(RequestKey, String)],
        now: i64,
    ) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for (key, reason) in rows {
            let sql = "INSERT OR REPLACE INTO refused VALUES (?, ?, ?)";
            transaction.prepare_cached(sql)?.execute(params![key.0, time::show(now), reason])?;
        }
        Ok(transaction.commit()?)
    }

    /// How many rows are set aside.
    pub(in crate::tracking) fn count_refused(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM refused";
        let count: i64 = self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Forgets the reasons of rows that are here no more.
    pub(in crate::tracking) fn forget_refused(&mut self) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM refused WHERE id NOT IN (SELECT id FROM {TABLE})");
        self.connection.execute(&sql, [])?;
        Ok(())
    }

    /// The oldest rows behind a key that are not set aside, at most so many.
    pub(in crate::tracking) fn select_waiting(
        &self,
        after: Option<RequestKey>,
        most: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let select = Dialect::Sqlite.select();
        let sql = format!(
            "{select} WHERE id > ? AND id NOT IN (SELECT id FROM refused) ORDER BY id LIMIT {most}"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = statement.query([after.unwrap_or(RequestKey([0; 16])).0])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        Ok(rows)
    }

    /// Whether there is a row that is not set aside.
    pub(in crate::tracking) fn has_waiting(&self) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM {TABLE} WHERE id NOT IN (SELECT id FROM refused) LIMIT 1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([], |_| Ok(())).optional()?.is_some())
    }

    /// The rows that are set aside, oldest first.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn refused(&self) -> Result<Vec<Refused>, StoreError> {
        if !has_refused(&self.connection)? {
            return Ok(Vec::new());
        }
        let select = Dialect::Sqlite.select();
        let sql = format!("{select} WHERE id IN (SELECT id FROM refused) ORDER BY id");
        let mut statement = self.connection.prepare(&sql)?;
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        rows.into_iter().map(|row| self.with_reason(row)).collect()
    }

    fn with_reason(&self, row: Row) -> Result<Refused, StoreError> {
        let sql = "SELECT refused_timestamp, reason FROM refused WHERE id = ?";
        let key = row.key().map(|key| key.0);
        let (at, reason): (String, String) = self
            .connection
            .prepare_cached(sql)?
            .query_row([key], |found| Ok((found.get(0)?, found.get(1)?)))?;
        Ok(Refused { row, refused_at: time::read(&at).unwrap_or_default(), reason })
    }

    /// Has rows that are set aside wait again: these, or all where none is named. How many there
    /// were.
    ///
    /// # Errors
    /// What keeps the file from being written; then nothing has changed.
    pub fn retry_refused(&mut self, keys: &[RequestKey]) -> Result<usize, StoreError> {
        if !has_refused(&self.connection)? {
            return Ok(0);
        }
        if keys.is_empty() {
            return Ok(self.connection.execute("DELETE FROM refused", [])?);
        }
        let transaction = self.connection.transaction()?;
        let mut count = 0;
        for key in keys {
            count +=
                transaction.prepare_cached("DELETE FROM refused WHERE id = ?")?.execute([key.0])?;
        }
        transaction.commit()?;
        Ok(count)
    }
}

/// Whether rows were ever set aside here: only spools have a place for them.
fn has_refused(connection: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'refused'";
    Ok(connection.query_row(sql, [], |_| Ok(())).optional()?.is_some())
}
