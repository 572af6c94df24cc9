//! The store in MySQL or MariaDB: one table, one statement for each exchange.
//!
//! A connection whose future did not finish gives the answer to the last question to the next one,
//! so it is taken out of the others while it works, and comes back only when the work is done.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use jiff::Timestamp;
use mppd_database::ResolvedConnection;
use mppd_engine::Escaped;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, Params, Value};
use slog::{Logger, warn};
use tokio::sync::Semaphore;

use crate::backend::Stored;
use crate::connections::{Connected, Connections};
use crate::remote::{Held, Page, Server, ServerError};
use crate::table::{Millis, millis, timestamp};

/// The SQL that makes the table.
pub const SCHEMA: &str = include_str!("../conf/esm/state_store.sql");

const READ: &str = "SELECT `version`, `until`, `octets` FROM `state_store` WHERE `name` = ?";
pub(crate) const INSERT: &str =
    "INSERT INTO `state_store` (`version`, `until`, `octets`, `name`) VALUES (?, ?, ?, ?)";
pub(crate) const UPDATE: &str = "UPDATE `state_store` SET `version` = ?, `until` = ?, `octets` = ? \
    WHERE `name` = ? AND `version` = ?";
pub(crate) const REMOVE: &str = "DELETE FROM `state_store` WHERE `name` = ? AND `version` = ?";
// Ranges of binary strings, so that the primary key is used.
const LIST: &str = "SELECT `name`, `until`, `octets` FROM `state_store` \
    WHERE `name` > ? AND `name` >= ? AND `name` < ? AND `until` > ? ORDER BY `name` LIMIT ?";
pub(crate) const EXISTS: &str =
    "SELECT `name`, `version`, `until`, `octets` FROM `state_store` LIMIT 0";
// By the clocks of this node and of the server, whichever is behind: one node whose clock is ahead
// must not take from the others what they still need.
const EXPIRED: &str = "DELETE FROM `state_store` \
    WHERE `until` <= LEAST(?, (UNIX_TIMESTAMP() - ?) * 1000) ORDER BY `until` LIMIT 1000";
const FIRST: &str = "DELETE FROM `state_store` ORDER BY `until`, `name` LIMIT ";
const COUNT: &str = "SELECT count(*) FROM `state_store`";

/// Rows that are removed in one statement.
const STEP: u64 = 1_000;

/// What is forgotten is kept for so much longer: the clocks of the nodes may differ.
const GRACE: Millis = 60_000;

/// How long a statement that tidies up may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Rest between two steps of a removal.
const PAUSE: Duration = Duration::from_millis(20);

/// Prepared statements of one connection.
const STATEMENTS: usize = 16;

const DUPLICATE_KEY: u16 = 1062;
pub(crate) const NO_SUCH_TABLE: u16 = 1146;
/// Lock wait timeout, deadlock: the statement was undone so that another one could go on.
const UNDONE: [u16; 2] = [1205, 1213];
/// Database access denied, user access denied, table access denied, privilege missing.
const DENIED: [u16; 4] = [1044, 1045, 1142, 1227];

/// How a server of MySQL or MariaDB is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MySqlPlan {
    /// The server.
    pub connection: ResolvedConnection,
    /// Most connections at once, beside one that tidies up.
    pub connections: usize,
    /// Most records.
    pub max_entries: u64,
    /// How long anything may take.
    pub timeout: Duration,
    /// About how often expired records are removed.
    pub sweep_interval: Duration,
}

pub(crate) struct MySql {
    opts: Opts,
    user: String,
    max_entries: u64,
    /// One for each connection that may be in use.
    permits: Semaphore,
    resting: RefCell<Vec<(Conn, Connected)>>,
    connections: Connections,
    evicted_said: Cell<bool>,
    logger: Logger,
}

impl MySql {
    pub(crate) fn new(plan: &MySqlPlan, connections: Connections, logger: Logger) -> Self {
        let opts = plan.connection.opts();
        let opts = opts.stmt_cache_size(STATEMENTS).setup(vec![session(plan.timeout)]);
        MySql {
            opts: opts.into(),
            user: plan.connection.user.clone(),
            max_entries: plan.max_entries,
            permits: Semaphore::new(plan.connections.clamp(1, Semaphore::MAX_PERMITS)),
            resting: RefCell::default(),
            connections,
            evicted_said: Cell::new(false),
            logger,
        }
    }

    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut Conn) -> Result<T, mysql_async::Error>,
    ) -> Result<T, mysql_async::Error> {
        // Nobody closes it.
        let _permit = self.permits.acquire().await;
        let resting = self.resting.borrow_mut().pop();
        let (mut conn, counted) = match resting {
            Some(known) => known,
            None => (Conn::new(self.opts.clone()).await?, self.connections.opened()),
        };
        let result = work(&mut conn).await;
        match &result {
            Ok(_) => self.resting.borrow_mut().push((conn, counted)),
            Err(error) if code(error).is_some_and(|code| !is_farewell(code)) => {
                self.resting.borrow_mut().push((conn, counted));
            }
            // Those that rest are probably as dead.
            Err(_) => self.resting.borrow_mut().clear(),
        }
        result
    }

    /// How many rows a statement has changed.
    async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, mysql_async::Error> {
        self.with(async |conn| {
            conn.exec_drop(sql, Params::Positional(values)).await?;
            Ok(conn.affected_rows())
        })
        .await
    }

    async fn create(&self) -> Result<(), ServerError> {
        let exists = self.with(async |conn| conn.query_drop(EXISTS).await).await;
        match exists {
            Err(error) if code(&error) == Some(NO_SUCH_TABLE) => {}
            other => return other.map_err(ServerError::from),
        }
        let created = self.with(async |conn| conn.query_drop(SCHEMA).await).await;
        created.map_err(|error| {
            if !code(&error).is_some_and(|code| DENIED.contains(&code)) {
                return error.into();
            }
            let user = Escaped(self.user.as_bytes());
            ServerError::Away(format!(
                "the table state_store does not exist, and the user {user} may not make it: make \
                 it with what `mppd schema state_store` prints, and GRANT SELECT, INSERT, UPDATE, \
                 DELETE on it"
            ))
        })
    }

    /// Removes those that expire first where there are too many. One node does it at a time: the
    /// lock ends with the connection, whatever happens.
    async fn evict(&self, conn: &mut Conn) -> Result<(), ServerError> {
        let count: Option<u64> = patiently(conn.query_first(COUNT)).await?;
        let mut left = count.unwrap_or_default().saturating_sub(self.max_entries);
        if left == 0 {
            return Ok(());
        }
        if !self.evicted_said.replace(true) {
            warn!(self.logger, "the state store is full: the records that expire first give way";
                "too_many" => left);
        }
        let lock = "SELECT get_lock('mppd state_store', 0)";
        if patiently(conn.query_first::<Option<i64>, _>(lock)).await?.flatten() != Some(1) {
            return Ok(());
        }
        while left > 0 {
            let step = left.min(STEP);
            patiently(conn.query_drop(format!("{FIRST}{step}"))).await?;
            left -= step;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

/// A statement that tidies up may take longer than one that somebody waits for, but not for ever: a
/// server that is gone without a word would keep us from tidying up when it is back.
async fn patiently<T>(
    work: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, ServerError> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(ServerError::from),
        Err(_) => Err(ServerError::Away(format!("no answer within {PATIENCE:?}"))),
    }
}

impl Server for MySql {
    async fn prepare(&self) -> Result<(), ServerError> {
        self.resting.borrow_mut().clear();
        self.create().await
    }

    async fn read(&self, key: &[u8]) -> Result<Option<Held>, ServerError> {
        let once = || {
            let values = Params::Positional(vec![bytes(key)]);
            self.with(async |conn| conn.exec_first(READ, values).await)
        };
        let mut row = once().await;
        // A connection that rested may have been dead before it was asked.
        if row.as_ref().is_err_and(|error| code(error).is_none_or(is_farewell)) {
            row = once().await;
        }
        let held = |(version, until, octets)| Held { version, until, octets };
        row.map(|row| row.map(held)).map_err(ServerError::from)
    }

    async fn exchange(
        &self,
        key: &[u8],
        held: Option<&Held>,
        new: Option<&Held>,
        _now: Millis,
    ) -> Result<bool, ServerError> {
        let mut values: Vec<Value> = Vec::with_capacity(5);
        if let Some(new) = new {
            values.extend([new.version.into(), new.until.into(), bytes(&new.octets)]);
        }
        values.push(bytes(key));
        values.extend(held.map(|held| Value::from(held.version)));
        let sql = match (held, new) {
            (None, Some(_)) => INSERT,
            (Some(_), Some(_)) => UPDATE,
            (Some(_), None) => REMOVE,
            (None, None) => return Ok(true),
        };
        match self.execute(sql, values).await {
            Ok(rows) => Ok(rows == 1),
            Err(error) if code(&error).is_some_and(is_conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn list(&self, page: &Page) -> Result<Vec<Stored>, ServerError> {
        let values = vec![
            bytes(page.behind.as_deref().unwrap_or_default()),
            bytes(&page.prefix),
            bytes(&behind_all(&page.prefix)),
            page.now.into(),
            u64::try_from(page.limit).unwrap_or(u64::MAX).into(),
        ];
        let rows = self.with(async |conn| conn.exec(LIST, Params::Positional(values)).await).await;
        let stored = |(key, until, octets)| Stored { key, octets, until: timestamp(until) };
        Ok(rows.map_err(ServerError::from)?.into_iter().map(stored).collect())
    }

    /// Over a connection of its own: those of the others may be few, and nobody is to wait for this.
    async fn tend(&self) -> Result<(), ServerError> {
        let mut conn = patiently(Conn::new(self.opts.clone())).await?;
        let _counted = self.connections.opened();
        let before = millis(Timestamp::now()) - GRACE;
        loop {
            patiently(conn.exec_drop(EXPIRED, (before, GRACE / 1_000))).await?;
            if conn.affected_rows() < STEP {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.evict(&mut conn).await?;
        patiently(conn.disconnect()).await
    }
}

fn bytes(octets: &[u8]) -> Value {
    Value::Bytes(octets.to_vec())
}

/// The first octets behind all that begin so.
fn behind_all(prefix: &[u8]) -> Vec<u8> {
    let mut behind = prefix.to_vec();
    while let Some(last) = behind.pop() {
        if let Some(next) = last.checked_add(1) {
            behind.push(next);
            return behind;
        }
    }
    vec![u8::MAX; crate::key::LONGEST_KEY + 1]
}

fn is_conflict(code: u16) -> bool {
    code == DUPLICATE_KEY || UNDONE.contains(&code)
}

/// Server shutdown, connection killed, disconnected for idleness.
fn is_farewell(code: u16) -> bool {
    [1053, 1927, 4031, 3169].contains(&code)
}

pub(crate) fn code(error: &mysql_async::Error) -> Option<u16> {
    match error {
        mysql_async::Error::Server(error) => Some(error.code),
        _ => None,
    }
}

impl From<mysql_async::Error> for ServerError {
    fn from(error: mysql_async::Error) -> Self {
        ServerError::Away(Escaped(error.to_string().as_bytes()).to_string())
    }
}

// A statement that waits for a lock ends on the server too when the client has given up. What a
// column can't hold is refused, never cut.
fn session(timeout: Duration) -> String {
    let seconds = timeout.as_secs().max(1);
    format!(
        "SET NAMES utf8mb4, autocommit = 1, wait_timeout = 2147483, innodb_lock_wait_timeout = \
         {seconds}, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_is_behind_all_that_begins_so() {
        assert_eq!(behind_all(b"a/"), b"a0");
        assert_eq!(behind_all(b"a\xff"), b"b");
        assert!(behind_all(b"").as_slice() > &[u8::MAX; 255][..]);
    }
}
