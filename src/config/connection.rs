//! A connection to MySQL or MariaDB as it will be made: the options of
//! `<PPXX0001_track_policy_connection>`, its option file and its secrets, put together.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::Secret;

/// Everything that is needed to connect. Groups whose connections are equal share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedConnection {
    /// Host name or address; `None` where a socket file is used instead.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
    /// Database that holds the table.
    pub database: String,
    /// Socket file of a server on this machine.
    pub unix_socket: Option<PathBuf>,
    /// User name.
    pub user: String,
    /// Password; none where the server asks for none.
    pub password: Option<Secret>,
    /// Encryption; `None` for a plain connection.
    pub tls: Option<Tls>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long one transaction may take before the database counts as away.
    pub write_timeout: Duration,
}

/// Encryption of a connection to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities to trust, PEM; those of the Web where there is none.
    pub ca_file: Option<PathBuf>,
    /// Whether to accept any certificate.
    pub skip_verification: bool,
}
