//! The store in MySQL or MariaDB: one connection, prepared statements of many rows each.
//!
//! A connection whose future did not finish gives the answer to the last question to the next
//! one, so it is out of the store while it works and comes back only when the work is done.

use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Params, Statement, Value};

use super::query::{self, Bound, Statement as Question};
use super::reader::Field;
use super::row::{Cell, PROCESSED, RECEIVED, Row};
use super::sql;
use super::store::{
    Ending, Query, Removed, RowWrite, Store, StoreError, Undecided, Working, check_version,
    on_duplicate, unreadable,
};
use super::table::{COLUMNS, Column, Dialect, Kind, OnDuplicate, TABLE};
use super::time;

/// The largest statement has 2^10 rows: 65,535 parameters are the protocol's limit.
const LARGEST: usize = 10;

/// Octets in one statement, well below any server's `max_allowed_packet`.
const STATEMENT_OCTETS: usize = 1 << 19;

pub(super) const KINDS: [OnDuplicate; 3] =
    [OnDuplicate::Fail, OnDuplicate::Keep, OnDuplicate::Complete];

/// How much memory the server may take to count the values of one question, in octets.
const MEMORY: u32 = 256 << 20;

/// A table in MySQL or MariaDB.
#[derive(Debug)]
pub struct MySqlStore {
    connection: Option<Connected>,
    write_timeout: Duration,
}

#[derive(Debug)]
struct Connected {
    conn: Conn,
    inserts: [[Option<Statement>; LARGEST + 1]; KINDS.len()],
}

impl MySqlStore {
    /// Connects.
    ///
    /// # Errors
    /// No connection within its time, or the server does not want one.
    pub async fn connect(to: &ResolvedConnection) -> Result<Self, StoreError> {
        let work = Conn::new(options(to));
        let conn = tokio::time::timeout(to.connect_timeout, work).await;
        let conn = conn.map_err(|_| StoreError::Timeout(to.connect_timeout))??;
        let connected = Connected { conn, inserts: Default::default() };
        Ok(MySqlStore { connection: Some(connected), write_timeout: to.write_timeout })
    }

    /// Ends the connection politely, as far as that takes no time.
    pub async fn disconnect(self) {
        if let Some(Connected { conn, .. }) = self.connection {
            // The rows are written; a connection that does not end well ends all the same.
            let _ended = tokio::time::timeout(Duration::from_secs(1), conn.disconnect()).await;
        }
    }

    /// Connects only to read.
    ///
    /// # Errors
    /// As those of [`MySqlStore::connect`].
    pub(super) async fn connect_to_read(to: &ResolvedConnection) -> Result<Self, StoreError> {
        let mut store = Self::connect(to).await?;
        let milliseconds = to.write_timeout.as_millis().max(1);
        let settings = [
            // Values are counted in memory, not on the server's disk.
            format!("SET SESSION tmp_table_size = {MEMORY}, max_heap_table_size = {MEMORY}"),
            // What MariaDB calls `max_statement_time`, which every session of ours has.
            format!("SET SESSION max_execution_time = {milliseconds}"),
        ];
        let set = async |connected: &mut Connected| {
            for setting in &settings {
                // A server that does not know it, or does not let its users, is only slower.
                let _refused: Result<(), _> = connected.conn.query_drop(setting).await;
            }
            Ok(())
        };
        store.with(set).await?;
        Ok(store)
    }

    /// Has what comes next take no longer than this.
    pub(super) fn wait_at_most(&mut self, time: Duration) {
        self.write_timeout = time;
    }

    /// Takes a lock of this name, on the server, for as long as the connection lasts; whether
    /// nobody else has it.
    pub(super) async fn lock(&mut self, name: &str) -> Result<bool, StoreError> {
        let values = vec![Value::from(name)];
        self.with(async move |connected| {
            // MySQL allows a name 64 characters, and has no SHA1 from 9.6 on.
            let sql = "SELECT GET_LOCK(CONCAT(?, LEFT(SHA2(DATABASE(), 256), 32)), 0)";
            let taken: Option<Option<i64>> =
                connected.conn.exec_first(sql, Params::Positional(values)).await?;
            Ok(taken.flatten() == Some(1))
        })
        .await
    }

    /// The rows that a statement gives.
    pub(super) async fn rows(&mut self, question: Question) -> Result<Vec<Row>, StoreError> {
        let Question { sql, bound } = question;
        let values = bound.into_iter().map(bound_value).collect();
        self.with(async move |connected| connected.select(&sql, values).await).await
    }

    /// Whatever a statement gives.
    pub(super) async fn fields(
        &mut self,
        question: Question,
    ) -> Result<Vec<Vec<Field>>, StoreError> {
        let Question { sql, bound } = question;
        let values = bound.into_iter().map(bound_value).collect();
        self.with(async move |connected| {
            let found: Vec<mysql_async::Row> = connected.conn.exec(sql, params(values)).await?;
            let fields = |row: mysql_async::Row| row.unwrap().into_iter().map(field).collect();
            Ok(found.into_iter().map(fields).collect())
        })
        .await
    }

    async fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connected) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connected = self.connection.take().ok_or_else(lost)?;
        let result = tokio::time::timeout(self.write_timeout, work(&mut connected)).await;
        let result = result.map_err(|_| StoreError::Timeout(self.write_timeout))?;
        // After any other error the connection may be half-way through an answer.
        if !matches!(result, Err(StoreError::Away(_))) {
            self.connection = Some(connected);
        }
        result
    }
}

impl Store for MySqlStore {
    fn prepare(&mut self) -> Working<'_, ()> {
        Box::pin(self.with(async |connected| connected.prepare().await))
    }

    fn write<'a>(&'a mut self, writes: &'a [RowWrite]) -> Working<'a, ()> {
        Box::pin(self.with(async |connected| connected.write(writes).await))
    }

    fn search<'a>(&'a mut self, query: &'a Query) -> Working<'a, Vec<Row>> {
        let question = query::statement(Dialect::MySql, query);
        Box::pin(async move { self.rows(question).await })
    }

    fn find(&mut self, key: RequestKey) -> Working<'_, Option<Row>> {
        let sql = format!("{} WHERE id = ?", Dialect::MySql.select());
        let values = vec![Value::Bytes(key.0.to_vec())];
        Box::pin(self.with(async move |connected| Ok(connected.select(&sql, values).await?.pop())))
    }

    fn oldest(&mut self, after: Option<RequestKey>, most: usize) -> Working<'_, Vec<Row>> {
        let after = after.unwrap_or(RequestKey([0; 16]));
        let sql = format!("{} WHERE id > ? ORDER BY id LIMIT {most}", Dialect::MySql.select());
        let values = vec![Value::Bytes(after.0.to_vec())];
        Box::pin(self.with(async move |connected| connected.select(&sql, values).await))
    }

    fn remove<'a>(&'a mut self, keys: &'a [RequestKey]) -> Working<'a, ()> {
        Box::pin(self.with(async |connected| connected.remove(keys).await))
    }

    fn undecided<'a>(
        &'a mut self,
        node: &'a str,
        range: Range<RequestKey>,
        most: usize,
    ) -> Working<'a, Undecided> {
        Box::pin(self.with(async move |connected| connected.undecided(node, &range, most).await))
    }

    fn close<'a>(&'a mut self, keys: &'a [RequestKey], ending: &'a Ending) -> Working<'a, u64> {
        Box::pin(self.with(async move |connected| connected.close(keys, ending).await))
    }

    fn remove_oldest(&mut self, range: Range<RequestKey>, most: usize) -> Working<'_, Removed> {
        Box::pin(self.with(async move |connected| connected.remove_oldest(&range, most).await))
    }

    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(self.disconnect())
    }

    fn count(&mut self) -> Working<'_, u64> {
        Box::pin(self.with(async |connected| {
            let count = connected.conn.query_first(format!("SELECT count(*) FROM {TABLE}")).await?;
            Ok(count.unwrap_or_default())
        }))
    }
}

impl Connected {
    async fn prepare(&mut self) -> Result<(), StoreError> {
        let version = match self.read_version().await {
            Ok(Some(version)) => version,
            Ok(None) => self.create().await?,
            Err(error) if code(&error) == Some(NO_SUCH_TABLE) => self.create().await?,
            Err(error) => return Err(error.into()),
        };
        check_version(version)?;
        let present: Vec<String> = self.conn.query(Dialect::MySql.read_columns()).await?;
        if present.is_empty() {
            // The version is known, but somebody has taken the table away.
            return self.define(Dialect::MySql.create()).await;
        }
        self.define(Dialect::MySql.migrate(&present, version)).await
    }

    async fn read_version(&mut self) -> Result<Option<i64>, mysql_async::Error> {
        self.conn.query_first(Dialect::MySql.read_version()).await
    }

    async fn create(&mut self) -> Result<i64, StoreError> {
        self.define(Dialect::MySql.create()).await?;
        Ok(self.read_version().await?.unwrap_or_default())
    }

    /// Changes the schema, which its user may not be allowed to do.
    async fn define(&mut self, statements: Vec<String>) -> Result<(), StoreError> {
        for sql in statements {
            if let Err(error) = self.conn.query_drop(sql).await {
                let is_denied = code(&error).is_some_and(|code| DENIED.contains(&code));
                let reason = error.to_string();
                return Err(if is_denied {
                    StoreError::Schema { reason, dialect: "mysql" }
                } else {
                    error.into()
                });
            }
        }
        Ok(())
    }

    async fn write(&mut self, writes: &[RowWrite]) -> Result<(), StoreError> {
        let chunks = chunks(writes);
        if let [(kind, rows)] = chunks.as_slice() {
            return self.insert(*kind, rows).await;
        }
        self.conn.query_drop("START TRANSACTION").await?;
        for (kind, rows) in &chunks {
            if let Err(error) = self.insert(*kind, rows).await {
                self.conn.query_drop("ROLLBACK").await?;
                return Err(error);
            }
        }
        Ok(self.conn.query_drop("COMMIT").await?)
    }

    async fn insert(&mut self, kind: OnDuplicate, rows: &[&Row]) -> Result<(), StoreError> {
        let statement = self.statement(kind, rows.len()).await?;
        let mut values = Vec::with_capacity(rows.len() * COLUMNS.len());
        for row in rows {
            values.extend(row.cells().map(value));
        }
        Ok(self.conn.exec_drop(statement, Params::Positional(values)).await?)
    }

    async fn statement(&mut self, kind: OnDuplicate, rows: usize) -> Result<Statement, StoreError> {
        let size = rows.ilog2() as usize;
        let slot = &mut self.inserts[place(kind)][size];
        if let Some(statement) = slot {
            return Ok(statement.clone());
        }
        let statement = self.conn.prep(Dialect::MySql.insert(rows, kind)).await?;
        *slot = Some(statement.clone());
        Ok(statement)
    }

    async fn select(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let found: Vec<mysql_async::Row> = self.conn.exec(sql, params(values)).await?;
        found.into_iter().map(read).collect()
    }

    async fn undecided(
        &mut self,
        node: &str,
        range: &Range<RequestKey>,
        most: usize,
    ) -> Result<Undecided, StoreError> {
        let sql = sql::select_undecided(most);
        let values = vec![node.into(), octets(range.start), octets(range.end)];
        let found: Vec<(Vec<u8>, Option<bool>)> =
            self.conn.exec(sql, Params::Positional(values)).await?;
        let mut undecided = Undecided::default();
        for (key, is_undecided) in found {
            undecided.last = key.try_into().ok().map(RequestKey);
            if is_undecided == Some(true) {
                undecided.keys.extend(undecided.last);
            }
        }
        Ok(undecided)
    }

    async fn close(&mut self, keys: &[RequestKey], ending: &Ending) -> Result<u64, StoreError> {
        let mut closed = 0;
        for keys in keys.chunks(1_000) {
            let marks = vec!["?"; keys.len()].join(",");
            let mut values = vec![date(ending.at), ending.error_text.as_str().into()];
            values.extend(keys.iter().copied().map(octets));
            let sql = format!(
                "UPDATE {TABLE} SET state = '{PROCESSED}', processed_timestamp = ?, error_text = ? \
                 WHERE id IN ({marks}) AND state = '{RECEIVED}'"
            );
            self.conn.exec_drop(sql, Params::Positional(values)).await?;
            closed += self.conn.affected_rows();
        }
        Ok(closed)
    }

    // Rows that were removed are still in the way until the server has purged them, so each step
    // begins where the last one ended.
    async fn remove_oldest(
        &mut self,
        range: &Range<RequestKey>,
        most: usize,
    ) -> Result<Removed, StoreError> {
        let sql =
            format!("SELECT id FROM {TABLE} WHERE id >= ? AND id < ? ORDER BY id LIMIT {most}");
        let values = vec![octets(range.start), octets(range.end)];
        let keys: Vec<Vec<u8>> = self.conn.exec(sql, Params::Positional(values)).await?;
        let last = keys.last().and_then(|key| key.as_slice().try_into().ok()).map(RequestKey);
        let Some(last) = last else { return Ok(Removed::default()) };
        let sql = format!("DELETE FROM {TABLE} WHERE id >= ? AND id <= ?");
        let values = vec![octets(range.start), octets(last)];
        self.conn.exec_drop(sql, Params::Positional(values)).await?;
        Ok(Removed { rows: self.conn.affected_rows(), last: Some(last) })
    }

    async fn remove(&mut self, keys: &[RequestKey]) -> Result<(), StoreError> {
        for keys in keys.chunks(1_000) {
            let marks = vec!["?"; keys.len()].join(",");
            let values = keys.iter().map(|key| Value::Bytes(key.0.to_vec())).collect();
            let sql = format!("DELETE FROM {TABLE} WHERE id IN ({marks})");
            self.conn.exec_drop(sql, Params::Positional(values)).await?;
        }
        Ok(())
    }
}

fn place(kind: OnDuplicate) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or_default()
}

// Statements come in sizes that are powers of two, so that few are prepared; a batch takes a few
// of them, which costs little beside its one commit.
fn chunks(writes: &[RowWrite]) -> Vec<(OnDuplicate, Vec<&Row>)> {
    let mut chunks = Vec::new();
    for kind in KINDS {
        let of_kind = writes.iter().filter(|write| on_duplicate(write) == kind);
        let rows: Vec<&Row> = of_kind.map(|write| &*write.content).collect();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_length(rest));
            chunks.push((kind, chunk.to_vec()));
            rest = later;
        }
    }
    chunks
}

fn chunk_length(rows: &[&Row]) -> usize {
    let mut octets = 0;
    let fits = |row: &&&Row| {
        octets += row.size();
        octets <= STATEMENT_OCTETS
    };
    let most = rows.iter().take(1 << LARGEST).take_while(fits).count().max(1);
    1 << most.ilog2()
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Integer(number) => Value::Int(number),
        Cell::Time(microseconds) => date(microseconds),
        Cell::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        Cell::Octets(octets) => Value::Bytes(octets.to_vec()),
    }
}

fn params(values: Vec<Value>) -> Params {
    if values.is_empty() { Params::Empty } else { Params::Positional(values) }
}

fn field(value: Value) -> Field {
    match value {
        Value::NULL => Field::Null,
        Value::Int(number) => Field::Integer(number),
        Value::UInt(number) => Field::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
        Value::Float(number) => Field::Real(number.into()),
        Value::Double(number) => Field::Real(number),
        Value::Bytes(octets) => Field::Octets(octets),
        value => read_date(&value).map_or(Field::Null, Field::Integer),
    }
}

fn bound_value(bound: Bound) -> Value {
    match bound {
        Bound::Text(text) => Value::Bytes(text.into_bytes()),
        Bound::Octets(octets) => Value::Bytes(octets),
        Bound::Integer(number) => Value::Int(number),
        Bound::Key(key) => octets(key),
        Bound::Time(microseconds) => date(microseconds),
    }
}

fn octets(key: RequestKey) -> Value {
    Value::Bytes(key.0.to_vec())
}

fn date(microseconds: i64) -> Value {
    let time = time::civil(microseconds);
    let small = |number: i8| number.unsigned_abs();
    Value::Date(
        time.year().unsigned_abs(),
        small(time.month()),
        small(time.day()),
        small(time.hour()),
        small(time.minute()),
        small(time.second()),
        time.subsec_nanosecond().unsigned_abs() / 1_000,
    )
}

fn read(found: mysql_async::Row) -> Result<Row, StoreError> {
    let mut row = Row::with_capacity(512);
    for (column, value) in COLUMNS.iter().zip(found.unwrap()) {
        match (value, column.kind) {
            (Value::NULL, _) => row.push(Cell::Null),
            (Value::Int(number), Kind::Count) => row.push(Cell::Integer(number)),
            (Value::Bytes(octets), Kind::Key | Kind::Octets) => row.push(Cell::Octets(&octets)),
            (value @ Value::Date(..), Kind::Time) => {
                let time = read_date(&value).ok_or_else(|| unreadable(column))?;
                row.push(Cell::Time(time));
            }
            (Value::Bytes(text), Kind::Word(_) | Kind::Text | Kind::Json) => {
                row.push(Cell::Text(utf8(&text, column)?));
            }
            _ => return Err(unreadable(column)),
        }
    }
    Ok(row)
}

fn utf8<'a>(text: &'a [u8], column: &Column) -> Result<&'a str, StoreError> {
    std::str::from_utf8(text).map_err(|_| unreadable(column))
}

fn read_date(value: &Value) -> Option<i64> {
    let Value::Date(year, month, day, hour, minute, second, microsecond) = *value else {
        return None;
    };
    let small = |number: u8| i8::try_from(number).ok();
    let nanosecond = i32::try_from(microsecond).ok()?.checked_mul(1_000)?;
    let time = jiff::civil::DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanosecond,
    );
    time::from_civil(time.ok()?)
}

fn options(to: &ResolvedConnection) -> Opts {
    to.opts()
        .stmt_cache_size(KINDS.len() * (LARGEST + 1) + 8)
        .setup(vec![session(to.write_timeout)])
        .into()
}

// Nothing of what is written or read may depend on how the server is configured. A statement that
// waits for a lock ends on the server too when the client has given up; the connection may be idle
// for as long as no mail comes.
fn session(write_timeout: Duration) -> String {
    let seconds = write_timeout.as_secs().max(1);
    format!(
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin, time_zone = '+00:00', sql_mode = \
         'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, wait_timeout = 2147483, \
         innodb_lock_wait_timeout = {seconds} /*M!100100 , max_statement_time = {seconds} */"
    )
}

pub(super) const NO_SUCH_TABLE: u16 = 1146;
const DUPLICATE_KEY: u16 = 1062;
/// Database access denied, user access denied, table access denied, privilege missing.
const DENIED: [u16; 4] = [1044, 1045, 1142, 1227];
/// The database does not exist.
const UNKNOWN_DATABASE: u16 = 1049;
/// Statement too large, wrong value, wrong string, too many placeholders, row too large.
const REFUSED: [u16; 5] = [1153, 1292, 1366, 1390, 1118];

pub(super) fn code(error: &mysql_async::Error) -> Option<u16> {
    match error {
        mysql_async::Error::Server(error) => Some(error.code),
        _ => None,
    }
}

impl From<mysql_async::Error> for StoreError {
    fn from(error: mysql_async::Error) -> Self {
        let mysql_async::Error::Server(said) = &error else {
            return StoreError::Away(Box::new(error));
        };
        // Class 22 is about data, class 23 about constraints; most else about the server's state.
        let is_about_data = said.state.starts_with("22") || said.state.starts_with("23");
        match said.code {
            DUPLICATE_KEY => StoreError::Duplicate,
            code if DENIED.contains(&code) || code == UNKNOWN_DATABASE => {
                StoreError::Denied(said.message.clone())
            }
            code if is_about_data || REFUSED.contains(&code) => {
                StoreError::Refused(said.to_string())
            }
            _ => StoreError::Away(Box::new(error)),
        }
    }
}

fn lost() -> StoreError {
    StoreError::Away("the connection was given up".into())
}
