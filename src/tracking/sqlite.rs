//! The embedded store: one file of SQLite. It is the records' place where no database is
//! configured, and the spool in front of one that is.
//!
//! Its calls block, so it lives on the tracker's own thread.

#[cfg(test)]
mod power;
mod refused;

use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mppd_engine::RequestKey;
use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{
    Connection, ErrorCode, InterruptHandle, OpenFlags, OptionalExtension, Statement,
    TransactionBehavior, params, params_from_iter,
};

use super::batch::State;
use super::query::{self, ADDRESS_FUNCTION, Bound, Statement as Question};
use super::reader::Field;
use super::row::{Cell, PROCESSED, RECEIVED, Row};
use super::sql;
use super::store::{
    Ending, Query, Removed, RowWrite, Store, StoreError, Undecided, Working, check_version,
    on_duplicate, unreadable,
};
use super::table::{COLUMNS, Column, Dialect, Kind, OnDuplicate, TABLE};
use super::time;

pub use refused::Refused;

/// How many pages gather in the write-ahead log before they are moved into the file. A row touches
/// a page of each index; the longer they gather, the more rows share each page's way home.
const CHECKPOINT_PAGES: i64 = 10_000;

/// How much of the file is kept in memory, so that an index need not be read to be written.
const CACHE_KIB: i64 = 64 << 10;

/// A file of rows.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    /// Opens a file for writing and makes it where there is none.
    ///
    /// # Errors
    /// What keeps the file from being written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A commit is on the disk before the answer leaves.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.set_prepared_statement_cache_capacity(16);
        Ok(SqliteStore { connection })
    }

    /// A store in memory that holds nothing: closes the file that it takes the place of.
    pub(super) fn nowhere() -> Result<Self, StoreError> {
        Ok(SqliteStore { connection: Connection::open_in_memory()? })
    }

    /// Lets the file have so many pages, as a disk that is full does.
    #[cfg(test)]
    pub(super) fn limit_pages(&mut self, pages: i64) {
        let set =
            self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
        set.unwrap();
    }

    /// Opens a file that somebody else may be writing, only to read it.
    ///
    /// # Errors
    /// What keeps the file from being read.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        // What a killed process left in the write-ahead log is only read by one who may write;
        // where the file itself may only be read, SQLite makes do with that.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let has_log = log_of(path).metadata().is_ok_and(|log| log.len() > 0);
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        if has_log {
            // The last one to close the file would move the log into it: that is the server's work.
            let config = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            connection.set_db_config(config, true)?;
        }
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        connection.create_scalar_function(ADDRESS_FUNCTION, 1, flags, |given| {
            Ok(given.get_raw(0).as_str().ok().and_then(address_octets))
        })?;
        Ok(SqliteStore { connection })
    }

    /// Creates the tables where they are missing and brings them to the current version.
    pub(super) fn create(&mut self) -> Result<(), StoreError> {
        // One that began by reading would not wait for somebody else who writes, but fail.
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        for sql in Dialect::Sqlite.create() {
            transaction.execute(&sql, [])?;
        }
        let sql = Dialect::Sqlite.read_version();
        let version = transaction.query_row(&sql, [], |row| row.get(0))?;
        check_version(version)?;
        let present = columns(&transaction)?;
        for sql in Dialect::Sqlite.migrate(&present, version) {
            transaction.execute(&sql, [])?;
        }
        Ok(transaction.commit()?)
    }

    /// Writes rows as [`Store::write`] does; how many of them were not there before.
    ///
    /// # Errors
    /// As those of [`Store::write`].
    pub fn insert(&mut self, writes: &[RowWrite]) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction()?;
        let mut new = 0;
        for write in writes {
            let kind = on_duplicate(write);
            // Only what leaves a row alone tells whether there was one.
            let first = if kind == OnDuplicate::Complete { OnDuplicate::Keep } else { kind };
            let is_new = insert(&transaction, first, &write.content)? > 0;
            if !is_new && kind == OnDuplicate::Complete {
                insert(&transaction, kind, &write.content)?;
            }
            new += u64::from(is_new);
        }
        transaction.commit()?;
        Ok(new)
    }

    /// Removes rows that are as far as they were when they were read; how many.
    ///
    /// # Errors
    /// What keeps the file from being written; no row is removed then.
    pub(super) fn remove_unchanged(
        &mut self,
        rows: &[(RequestKey, State)],
    ) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction()?;
        let mut removed = 0;
        for (key, state) in rows {
            let state = match state {
                State::Received => RECEIVED,
                State::Processed => PROCESSED,
            };
            let sql = format!("DELETE FROM {TABLE} WHERE id = ? AND state = ?");
            removed += transaction.prepare_cached(&sql)?.execute(params![key.0, state])?;
        }
        transaction.commit()?;
        Ok(removed as u64)
    }

    /// How many octets of the file are in use.
    pub(super) fn octets(&self) -> Result<u64, StoreError> {
        let pragma = |name: &str| -> Result<i64, StoreError> {
            Ok(self.connection.pragma_query_value(None, name, |row| row.get(0))?)
        };
        let used = pragma("page_count")? - pragma("freelist_count")?;
        Ok((used * pragma("page_size")?).unsigned_abs())
    }

    /// The first key.
    pub(super) fn first(&self) -> Result<Option<RequestKey>, StoreError> {
        let sql = format!("SELECT id FROM {TABLE} ORDER BY id LIMIT 1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([], |row| row.get(0)).optional()?.map(RequestKey))
    }

    /// Whether there is a row of this key.
    pub(super) fn has(&self, key: RequestKey) -> Result<bool, StoreError> {
        let sql = format!("SELECT 1 FROM {TABLE} WHERE id = ?");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([key.0], |_| Ok(())).optional()?.is_some())
    }

    /// Removes the first rows between two keys, as [`Store::remove_oldest`] does.
    pub(super) fn remove_range(
        &mut self,
        range: &Range<RequestKey>,
        most: usize,
    ) -> Result<Removed, StoreError> {
        let transaction = self.connection.transaction()?;
        let keys = keys_between(&transaction, range, most)?;
        let Some(last) = keys.last().copied() else { return Ok(Removed::default()) };
        let sql = format!("DELETE FROM {TABLE} WHERE id >= ? AND id <= ?");
        let rows = transaction.prepare_cached(&sql)?.execute(params![range.start.0, last.0])?;
        transaction.commit()?;
        Ok(Removed { rows: rows as u64, last: Some(last) })
    }

    fn select_undecided(
        &self,
        node: &str,
        range: &Range<RequestKey>,
        most: usize,
    ) -> Result<Undecided, StoreError> {
        let sql = sql::select_undecided(most);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = statement.query(params![node, range.start.0, range.end.0])?;
        let mut undecided = Undecided::default();
        while let Some(row) = found.next()? {
            let key = RequestKey(row.get(0)?);
            undecided.last = Some(key);
            if row.get::<_, Option<bool>>(1)? == Some(true) {
                undecided.keys.push(key);
            }
        }
        Ok(undecided)
    }

    fn end_all(&mut self, keys: &[RequestKey], ending: &Ending) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction()?;
        let sql = format!(
            "UPDATE {TABLE} SET state = '{PROCESSED}', processed_timestamp = ?, error_text = ? \
             WHERE id = ? AND state = '{RECEIVED}'"
        );
        let mut ended = 0;
        for key in keys {
            let values = params![time::show(ending.at), ending.error_text, key.0];
            ended += transaction.prepare_cached(&sql)?.execute(values)?;
        }
        transaction.commit()?;
        Ok(ended as u64)
    }

    /// Ends what the store is doing when it is told to, from another thread.
    pub(super) fn interrupter(&self) -> InterruptHandle {
        self.connection.get_interrupt_handle()
    }

    /// Whatever a statement gives.
    pub(super) fn fields(&self, question: &Question) -> Result<Vec<Vec<Field>>, StoreError> {
        let mut statement = self.connection.prepare_cached(&question.sql)?;
        let columns = statement.column_count();
        let mut found = statement.query(params_from_iter(&question.bound))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let field = |column| Ok(field(row.get_ref(column)?));
            rows.push((0..columns).map(field).collect::<Result<_, StoreError>>()?);
        }
        Ok(rows)
    }

    /// The rows that a statement gives.
    pub(super) fn rows(&self, question: &Question) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.connection.prepare_cached(&question.sql)?;
        let mut found = statement.query(params_from_iter(&question.bound))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        Ok(rows)
    }

    fn select_after(&self, after: RequestKey, most: usize) -> Result<Vec<Row>, StoreError> {
        let select = Dialect::Sqlite.select();
        let sql = format!("{select} WHERE id > ? ORDER BY id LIMIT {most}");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = statement.query([after.0])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        Ok(rows)
    }

    pub(super) fn select_key(&self, key: RequestKey) -> Result<Option<Row>, StoreError> {
        let sql = format!("{} WHERE id = ?", Dialect::Sqlite.select());
        let mut statement = self.connection.prepare_cached(&sql)?;
        let row = statement.query_row([key.0], |row| Ok(read(row))).optional()?;
        row.transpose()
    }

    fn delete(&mut self, keys: &[RequestKey]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for key in keys {
            let sql = format!("DELETE FROM {TABLE} WHERE id = ?");
            transaction.prepare_cached(&sql)?.execute([key.0])?;
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn count_rows(&self) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {TABLE}");
        let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }
}

impl Store for SqliteStore {
    fn prepare(&mut self) -> Working<'_, ()> {
        done(self.create())
    }

    fn write<'a>(&'a mut self, writes: &'a [RowWrite]) -> Working<'a, ()> {
        done(self.insert(writes).map(|_new| ()))
    }

    fn search<'a>(&'a mut self, query: &'a Query) -> Working<'a, Vec<Row>> {
        done(self.rows(&query::statement(Dialect::Sqlite, query)))
    }

    fn find(&mut self, key: RequestKey) -> Working<'_, Option<Row>> {
        done(self.select_key(key))
    }

    fn oldest(&mut self, after: Option<RequestKey>, most: usize) -> Working<'_, Vec<Row>> {
        done(self.select_after(after.unwrap_or(RequestKey([0; 16])), most))
    }

    fn remove<'a>(&'a mut self, keys: &'a [RequestKey]) -> Working<'a, ()> {
        done(self.delete(keys))
    }

    fn count(&mut self) -> Working<'_, u64> {
        done(self.count_rows())
    }

    fn undecided<'a>(
        &'a mut self,
        node: &'a str,
        range: Range<RequestKey>,
        most: usize,
    ) -> Working<'a, Undecided> {
        done(self.select_undecided(node, &range, most))
    }

    fn close<'a>(&'a mut self, keys: &'a [RequestKey], ending: &'a Ending) -> Working<'a, u64> {
        done(self.end_all(keys, ending))
    }

    fn remove_oldest(&mut self, range: Range<RequestKey>, most: usize) -> Working<'_, Removed> {
        done(self.remove_range(&range, most))
    }
}

fn done<'a, T: 'a>(result: Result<T, StoreError>) -> Working<'a, T> {
    Box::pin(std::future::ready(result))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => StoreError::Duplicate,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged(error.to_string())
            }
            Some(ErrorCode::TooBig) => StoreError::Refused(error.to_string()),
            _ => StoreError::Away(Box::new(error)),
        }
    }
}

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Bound::Text(text) => ToSqlOutput::from(text.as_str()),
            Bound::Octets(octets) => ToSqlOutput::from(octets.as_slice()),
            Bound::Integer(number) => ToSqlOutput::from(*number),
            Bound::Key(key) => ToSqlOutput::from(key.0.as_slice()),
            Bound::Time(microseconds) => ToSqlOutput::from(time::show(*microseconds)),
        })
    }
}

fn address_octets(text: &str) -> Option<Vec<u8>> {
    Some(match text.parse().ok()? {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    })
}

fn field(value: ValueRef<'_>) -> Field {
    match value {
        ValueRef::Null => Field::Null,
        ValueRef::Integer(number) => Field::Integer(number),
        ValueRef::Real(number) => Field::Real(number),
        ValueRef::Text(octets) | ValueRef::Blob(octets) => Field::Octets(octets.to_vec()),
    }
}

fn keys_between(
    connection: &Connection,
    range: &Range<RequestKey>,
    most: usize,
) -> Result<Vec<RequestKey>, StoreError> {
    let sql = format!("SELECT id FROM {TABLE} WHERE id >= ? AND id < ? ORDER BY id LIMIT {most}");
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map([range.start.0, range.end.0], |row| row.get(0))?;
    Ok(keys.map(|key| key.map(RequestKey)).collect::<Result<_, _>>()?)
}

fn columns(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare(&Dialect::Sqlite.read_columns())?;
    let names = statement.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn insert_sql(on_duplicate: OnDuplicate) -> &'static str {
    static SQL: LazyLock<[String; 3]> = LazyLock::new(|| {
        [OnDuplicate::Fail, OnDuplicate::Keep, OnDuplicate::Complete]
            .map(|kind| Dialect::Sqlite.insert(1, kind))
    });
    let [fail, keep, complete] = &*SQL;
    match on_duplicate {
        OnDuplicate::Fail => fail,
        OnDuplicate::Keep => keep,
        OnDuplicate::Complete => complete,
    }
}

fn insert(
    connection: &Connection,
    on_duplicate: OnDuplicate,
    row: &Row,
) -> Result<usize, StoreError> {
    let mut statement = connection.prepare_cached(insert_sql(on_duplicate))?;
    bind(&mut statement, row)?;
    Ok(statement.raw_execute()?)
}

fn bind(statement: &mut Statement<'_>, row: &Row) -> Result<(), StoreError> {
    let mut instant = String::with_capacity(26);
    for (index, cell) in row.cells().enumerate() {
        let value = match cell {
            Cell::Null => ValueRef::Null,
            Cell::Integer(number) => ValueRef::Integer(number),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Octets(octets) => ValueRef::Blob(octets),
            Cell::Time(microseconds) => {
                instant.clear();
                time::write(&mut instant, microseconds);
                ValueRef::Text(instant.as_bytes())
            }
        };
        statement.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(value))?;
    }
    Ok(())
}

fn read(found: &rusqlite::Row<'_>) -> Result<Row, StoreError> {
    let mut row = Row::with_capacity(512);
    for (index, column) in COLUMNS.iter().enumerate() {
        row.push(cell(found.get_ref(index)?, column)?);
    }
    Ok(row)
}

/// The write-ahead log of a file.
fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn cell<'a>(value: ValueRef<'a>, column: &Column) -> Result<Cell<'a>, StoreError> {
    Ok(match (value, column.kind) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(number), Kind::Count) => Cell::Integer(number),
        (ValueRef::Blob(octets), Kind::Key | Kind::Octets) => Cell::Octets(octets),
        (ValueRef::Text(text), Kind::Time) => {
            let text = std::str::from_utf8(text).map_err(|_| unreadable(column))?;
            Cell::Time(time::read(text).ok_or_else(|| unreadable(column))?)
        }
        (ValueRef::Text(text), Kind::Word(_) | Kind::Text | Kind::Json) => {
            Cell::Text(std::str::from_utf8(text).map_err(|_| unreadable(column))?)
        }
        _ => return Err(unreadable(column)),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_file_is_prepared_while_somebody_else_writes_into_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("requests.sqlite");
        SqliteStore::open(&path).unwrap().prepare().await.unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let writing = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_millis(200));
            other.execute_batch("COMMIT").unwrap();
        });
        let prepared = SqliteStore::open(&path).unwrap().prepare().await;
        writing.join().unwrap();
        prepared.unwrap();
    }
}
