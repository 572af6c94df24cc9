//! What a store of rows can do, and the questions it is asked. [`super::sqlite`] and
//! [`super::mysql`] do it.

use std::error::Error as StdError;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use mppd_engine::RequestKey;

use super::batch::{State, Write};
use super::row::Row;
use super::table::{COLUMNS, Column, OnDuplicate, TABLE, VERSION};

pub use super::query::{Condition, Query};

/// A row to be written.
pub type RowWrite = Write<Arc<Row>>;

/// What a store is doing.
pub type Working<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + 'a>>;

/// Why a store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, is not itself, or did not answer in time. Whether rows were
    /// written is not known.
    #[error("{0}")]
    Away(#[source] Box<dyn StdError + Send + Sync>),
    /// It did not answer in time. Whether rows were written is not known.
    #[error("no answer within {0:?}")]
    Timeout(std::time::Duration),
    /// One of the rows is not acceptable to the store; none was written.
    #[error("a row was refused: {0}")]
    Refused(String),
    /// A row that was taken for new is there already; none was written.
    #[error("a row is there already")]
    Duplicate,
    /// The server answered, but does not let this user in.
    #[error("access to the database is denied: {0}")]
    Denied(String),
    /// The tables are missing and cannot be made.
    #[error(
        "the tables are missing and this user may not create them ({reason}); let a user who may \
         run the file PPXX0001.sql, which `mppd schema {dialect}` prints"
    )]
    Schema {
        /// What the server said.
        reason: String,
        /// The argument of `mppd schema`.
        dialect: &'static str,
    },
    /// The tables were made by a newer version of mppd.
    #[error("the table {TABLE} has version {found} of its schema; this mppd knows {VERSION}")]
    Version {
        /// The version found.
        found: i64,
    },
    /// A file that is damaged, or is none of SQLite's.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// A value that mppd did not write.
    #[error("the column {column} holds a value that cannot be read")]
    Unreadable {
        /// The column.
        column: &'static str,
    },
}

/// A store of rows.
pub trait Store {
    /// Creates the tables where they are missing and brings them to the current version.
    fn prepare(&mut self) -> Working<'_, ()>;

    /// Writes rows, all or none. No key may stand twice among them. A fresh row that is there is
    /// [`StoreError::Duplicate`]; of the others a `received` leaves what is there, and a
    /// `processed` completes it.
    fn write<'a>(&'a mut self, writes: &'a [RowWrite]) -> Working<'a, ()>;

    /// The rows that answer a question.
    fn search<'a>(&'a mut self, query: &'a Query) -> Working<'a, Vec<Row>>;

    /// The row of a key.
    fn find(&mut self, key: RequestKey) -> Working<'_, Option<Row>>;

    /// The oldest rows, at most so many, that come after a key.
    fn oldest(&mut self, after: Option<RequestKey>, most: usize) -> Working<'_, Vec<Row>>;

    /// Removes rows.
    fn remove<'a>(&'a mut self, keys: &'a [RequestKey]) -> Working<'a, ()>;

    /// How many rows there are.
    fn count(&mut self) -> Working<'_, u64>;

    /// Looks at the first rows between two keys, at most so many, for those of a node that are
    /// `received`.
    fn undecided<'a>(
        &'a mut self,
        node: &'a str,
        range: Range<RequestKey>,
        most: usize,
    ) -> Working<'a, Undecided>;

    /// Makes those of these rows that are `received` `processed` with an `error_text`; how many.
    fn close<'a>(&'a mut self, keys: &'a [RequestKey], ending: &'a Ending) -> Working<'a, u64>;

    /// Removes the first rows between two keys, at most so many.
    fn remove_oldest(&mut self, range: Range<RequestKey>, most: usize) -> Working<'_, Removed>;

    /// Ends the connection politely, as far as that takes no time.
    #[must_use]
    fn end(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(std::future::ready(()))
    }
}

/// What [`Store::undecided`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undecided {
    /// The rows that are `received`.
    pub keys: Vec<RequestKey>,
    /// The last row looked at; none when there was none.
    pub last: Option<RequestKey>,
}

/// What [`Store::remove_oldest`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many rows.
    pub rows: u64,
    /// The last of them; none when there was none.
    pub last: Option<RequestKey>,
}

/// How requests end that were never decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Their `error_text`.
    pub error_text: String,
}

/// The key that comes next.
pub(super) fn next(key: RequestKey) -> RequestKey {
    RequestKey(u128::from_be_bytes(key.0).saturating_add(1).to_be_bytes())
}

/// What a write does about a row that is there.
pub(super) fn on_duplicate<T>(write: &Write<T>) -> OnDuplicate {
    match (write.fresh, write.state) {
        (true, _) => OnDuplicate::Fail,
        (false, State::Received) => OnDuplicate::Keep,
        (false, State::Processed) => OnDuplicate::Complete,
    }
}

pub(super) fn unreadable(column: &Column) -> StoreError {
    StoreError::Unreadable { column: column.name }
}

/// The rows of a store, to be written to another one, whatever may be there.
pub(super) fn rewrites(rows: Vec<Row>) -> Vec<RowWrite> {
    let write = |row: Row| {
        let state = if row.is_processed() { State::Processed } else { State::Received };
        Some(Write { key: row.key()?, state, fresh: false, content: Arc::new(row) })
    };
    rows.into_iter().filter_map(write).collect()
}

/// Refuses a store that a newer mppd has made; an older one is migrated.
pub(super) fn check_version(found: i64) -> Result<(), StoreError> {
    if found <= VERSION { Ok(()) } else { Err(StoreError::Version { found }) }
}

const _: () = assert!(COLUMNS.len() < 64, "statements of 1,024 rows must stay possible");
