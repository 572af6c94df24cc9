//! Whether a database can be reached, and lets its user do what is asked of it. Statements are
//! prepared and never run: so the server looks for their tables and columns, and for the rights of
//! the user, and nothing is changed.

use std::time::Duration;

use mppd_engine::Escaped;
use mppd_engine::probe::{Probe, Unreached, help_with};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, IoError, Opts};

use crate::connection::ResolvedConnection;
use crate::pool::{Pool, session};
use crate::statement::Statement;

/// How long a polite end of a connection may take.
const FAREWELL: Duration = Duration::from_secs(1);

const NO_SUCH_TABLE: u16 = 1146;
const NO_SUCH_COLUMN: u16 = 1054;
const UNKNOWN_DATABASE: u16 = 1049;
const TOO_MANY_CONNECTIONS: u16 = 1040;
/// Wrong password, or none of such a user.
const ACCESS_DENIED: u16 = 1045;
/// Database access denied, table access denied, column access denied, privilege missing, procedure
/// access denied.
const DENIED: [u16; 5] = [1044, 1142, 1143, 1227, 1370];

/// A connection for a try.
#[derive(Debug)]
pub struct Reached {
    conn: Conn,
    server: String,
}

impl ResolvedConnection {
    /// Where the database is and who asks it, without a secret:
    /// `mysql://mppd@192.0.2.1:3306/lists`.
    #[must_use]
    pub fn url(&self) -> String {
        let ResolvedConnection { user, port, database, .. } = self;
        match (&self.unix_socket, self.host.as_deref().unwrap_or("localhost")) {
            (Some(path), _) => format!("mysql://{user}@{}/{database}", path.display()),
            (None, host) if host.contains(':') => {
                format!("mysql://{user}@[{host}]:{port}/{database}")
            }
            (None, host) => format!("mysql://{user}@{host}:{port}/{database}"),
        }
    }

    /// A probe: whether the server takes the connection and, with a statement, understands it and
    /// lets the user carry it out.
    #[must_use]
    pub fn probe(&self, statement: Option<&Statement>) -> Probe {
        let (connection, statement) = (self.clone(), statement.cloned());
        Probe::new(self.url(), async move {
            let mut reached = connection.reach().await?;
            let understood = match &statement {
                Some(statement) => reached.understands(statement.sql()).await,
                None => Ok(()),
            };
            let server = reached.end().await;
            understood?;
            let also = if statement.is_some() { "; the statement can be carried out" } else { "" };
            Ok(format!("{server}{also}"))
        })
    }

    /// Connects, as pools do.
    ///
    /// # Errors
    /// Why there is no connection, and what may help.
    pub async fn reach(&self) -> Result<Reached, Unreached> {
        let opts: Opts = self.opts().setup(vec![session(self.write_timeout)]).into();
        let connecting = tokio::time::timeout(self.connect_timeout, Conn::new(opts)).await;
        let limit = self.connect_timeout;
        let late = |_| {
            let unreached = Unreached::new(format!("no connection within {limit:?}"));
            unreached.with_help("correct host and port, or see to what lies between")
        };
        let mut conn = connecting.map_err(late)?.map_err(|error| unreached(&error))?;
        let version: Result<Option<String>, _> = conn.query_first("SELECT VERSION()").await;
        let version = version.map_err(|error| unreached(&error))?.unwrap_or_default();
        let encrypted = if self.tls.is_some() { ", encrypted" } else { "" };
        let name = if version.contains("MariaDB") { "" } else { "MySQL " };
        let server = format!("{name}{}{encrypted}", Escaped(version.as_bytes()));
        Ok(Reached { conn, server })
    }
}

impl Reached {
    /// Whether the server would carry a statement out for this user.
    ///
    /// # Errors
    /// What it says instead, and what may help.
    pub async fn understands(&mut self, sql: &str) -> Result<(), Unreached> {
        let prepared = self.conn.prep(sql).await.map_err(|error| unreached(&error))?;
        self.conn.close(prepared).await.map_err(|error| unreached(&error))
    }

    /// Whether the server takes changes at all.
    ///
    /// # Errors
    /// It does not.
    pub async fn is_writable(&mut self) -> Result<(), Unreached> {
        let read_only: Result<Option<String>, _> =
            self.conn.query_first("SELECT @@global.read_only").await;
        let read_only = read_only.map_err(|error| unreached(&error))?.unwrap_or_default();
        if ["", "0", "OFF"].contains(&read_only.as_str()) {
            return Ok(());
        }
        let unreached = Unreached::new("the server takes no changes: it is read_only");
        Err(unreached.with_help("name the server that this one copies"))
    }

    /// The connection, for questions that only read.
    pub fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// Ends the connection; the server's version, as it calls itself.
    pub async fn end(self) -> String {
        // What was wanted is known; a connection that does not end well ends all the same.
        let _ended = tokio::time::timeout(FAREWELL, self.conn.disconnect()).await;
        self.server
    }
}

impl Pool {
    /// A probe of the database, and of a statement.
    #[must_use]
    pub fn probe(&self, statement: &Statement) -> Probe {
        self.connection().probe(Some(statement))
    }
}

/// What an error of the database means to whoever configures it.
#[must_use]
pub fn unreached(error: &mysql_async::Error) -> Unreached {
    let (text, help) = match error {
        mysql_async::Error::Server(server) => {
            (format!("{} (error {})", server.message, server.code), help(server.code))
        }
        mysql_async::Error::Io(IoError::Io(error)) => {
            (format!("no connection: {error}"), help_with(error))
        }
        mysql_async::Error::Io(IoError::Tls(error)) => {
            let help = "see to <tls>: ca_file names who is trusted";
            (format!("no encryption: {error}"), Some(help))
        }
        // MySQL has whoever it does not know log in by any of its ways.
        mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }) => {
            let help = "correct the user, or have it log in with caching_sha2_password";
            (format!("access denied: the server wants a login by {name}"), Some(help))
        }
        other => (other.to_string(), None),
    };
    let unreached = Unreached::new(Escaped(text.as_bytes()).to_string());
    match help {
        Some(help) => unreached.with_help(help),
        None => unreached,
    }
}

fn help(code: u16) -> Option<&'static str> {
    match code {
        ACCESS_DENIED => Some("correct user and password"),
        UNKNOWN_DATABASE => Some("make the database, or correct its name"),
        NO_SUCH_TABLE => Some("make the table, or correct its name"),
        NO_SUCH_COLUMN => Some("add the column, or correct its name"),
        TOO_MANY_CONNECTIONS => Some("raise the server's max_connections"),
        code if DENIED.contains(&code) => {
            Some("GRANT what is missing; `mppd schema grants` prints what mppd's tables need")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_shown_without_its_password() {
        let mut connection = ResolvedConnection {
            host: Some("2001:db8::1".to_owned()),
            port: 3306,
            database: "lists".to_owned(),
            unix_socket: None,
            user: "mppd".to_owned(),
            password: Some("geheim".to_owned().into()),
            tls: None,
            connect_timeout: FAREWELL,
            write_timeout: FAREWELL,
        };
        assert_eq!(connection.url(), "mysql://mppd@[2001:db8::1]:3306/lists");
        connection.host = None;
        connection.unix_socket = Some("/run/mysqld.sock".into());
        assert_eq!(connection.probe(None).target(), "mysql://mppd@/run/mysqld.sock/lists");
    }

    #[test]
    fn a_way_to_log_in_that_is_not_known_is_a_matter_of_the_user() {
        let name = "sha256_password".to_owned();
        let error = DriverError::UnknownAuthPlugin { name };
        let told = format!("{:?}", unreached(&error.into()));
        assert!(told.contains("access denied: the server wants a login by sha256_password"));
        assert!(told.contains("correct the user"), "{told}");
    }
}
