//! A connection as the configuration writes it.

use std::fmt;
use std::path::PathBuf;

use mppd_engine::config::{OptionValue, Period, Spanned};
use mppd_engine::options;
use serde::Deserialize;

options! {
    /// `<PPXX0001_track_policy_connection>`, or `<connection>` of an engine: a MySQL or MariaDB
    /// server.
    pub struct ConnectionOptions: Default {
        /// Host name or address.
        host: Option<String> = None,
        /// TCP port.
        port: Option<u16> = None,
        /// Database that holds the tables.
        database: Option<String> = None,
        /// Socket file of a server on this machine, instead of host and port.
        unix_socket: Option<PathBuf> = None,
        /// An option file as the MySQL clients read it; its `[client]` section is honoured where
        /// nothing is said here.
        defaults_file: Option<Spanned<PathBuf>> = None,
        /// User name.
        user: Option<String> = None,
        /// Password.
        password: Option<Spanned<SecretOptions>> = None,
        /// Encryption of the connection.
        tls: Option<Spanned<TlsOptions>> = None,
        /// How long to wait for a connection.
        connect_timeout: Period = Period::seconds(5),
        /// How long one transaction may take before the database counts as away. A statement of an
        /// engine is ended after that time.
        write_timeout: Period = Period::seconds(5),
    }
}

options! {
    /// A secret, given here, in a file of its own, or in the environment. It is never logged or
    /// shown.
    pub struct SecretOptions {
        /// The secret itself.
        ["$text"] text: Option<Secret> = None,
        /// A file whose first line is the secret.
        file: Option<Spanned<PathBuf>> = None,
        /// A variable of the environment that holds the secret.
        variable: Option<Spanned<String>> = None,
    }
}

options! {
    /// `<tls>`: encryption of a connection to a database.
    pub struct TlsOptions {
        /// Certificates of the authorities to trust, PEM; those of the Web unless given.
        ca_file: Option<Spanned<PathBuf>> = None,
        /// Whether to accept any certificate.
        skip_verification: bool = false,
    }
}

/// A text that must not be seen.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The text; not to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl OptionValue for Secret {
    const TYPE: &'static str = "text";

    fn show(&self) -> String {
        String::new()
    }
}
