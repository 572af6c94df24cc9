//! Why the database gave no answer.

use std::time::Duration;

use mppd_engine::Escaped;

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection was made in time.
    #[error("no connection to the database within {0:?}")]
    NoConnection(Duration),
    /// The connection failed, or broke.
    #[error("the connection to the database failed: {0}")]
    Broken(String),
    /// The server took too long.
    #[error("no answer from the database within {0:?}")]
    Timeout(Duration),
    /// The server did not like the statement, or its values.
    #[error("the database refused the statement: {message} (error {code}, SQLSTATE {state})")]
    Refused {
        /// The server's number for it.
        code: u16,
        /// The class and number of the standard.
        state: String,
        /// What the server said, escaped: it may repeat what a peer chose.
        message: String,
    },
    /// The first row is larger than any that is taken.
    #[error("the first row has {size} octets; {most} are taken at most")]
    TooLarge {
        /// Octets of the row.
        size: usize,
        /// Octets of the largest that is taken.
        most: usize,
    },
    /// The thread of the connections can't be started, or is gone.
    #[error("the thread of the database connections does not work: {0}")]
    Thread(String),
}

/// Server shutdown, connection killed, disconnected for idleness: the connection is gone although
/// the server said so politely.
const FAREWELLS: [u16; 4] = [1053, 1927, 4031, 3169];

/// Deadlock found when trying to get lock: the transaction, here one statement, was rolled back.
const DEADLOCK: u16 = 1213;

impl QueryError {
    /// Why a connection was not made: no statement has anything to do with it.
    pub(crate) fn of_connection(error: &mysql_async::Error) -> Self {
        QueryError::Broken(Escaped(error.to_string().as_bytes()).to_string())
    }

    /// Whether the statement was undone so that another one could go on.
    pub(crate) fn is_deadlock(&self) -> bool {
        matches!(self, QueryError::Refused { code: DEADLOCK, .. })
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            QueryError::Refused { code, .. } => FAREWELLS.contains(code),
            QueryError::TooLarge { .. } => false,
            _ => true,
        }
    }

    /// Whether it may be that another connection would have done.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            QueryError::Refused { code, .. } => FAREWELLS.contains(code),
            QueryError::Broken(_) => true,
            _ => false,
        }
    }
}

impl From<mysql_async::Error> for QueryError {
    fn from(error: mysql_async::Error) -> Self {
        match error {
            mysql_async::Error::Server(said) => QueryError::Refused {
                code: said.code,
                state: Escaped(said.state.as_bytes()).to_string(),
                message: Escaped(said.message.as_bytes()).to_string(),
            },
            other => QueryError::Broken(Escaped(other.to_string().as_bytes()).to_string()),
        }
    }
}
