//! `<admin>` as written: the listener for people and for monitoring, and who may look.

use mppd_database::SecretOptions;
use mppd_engine::config::{OptionValue, Period, Positive, Spanned};
use mppd_engine::options;
use serde::Deserialize;

use super::settings::ListenOptions;

options! {
    /// `<admin>`: the web console, `/metrics`, `/healthz` and `/readyz`, on sockets and a thread of
    /// their own.
    pub struct AdminOptions: Default {
        /// Where to listen; may stand several times. Without one there is no console.
        listen: Vec<ListenOptions> = Vec::new(),
        /// Somebody who may log in to the console; may stand several times. Without one nobody may.
        account: Vec<Spanned<AccountOptions>> = Vec::new(),
        /// A token by which a program is let in (`Authorization: Bearer`); may stand several times.
        token: Vec<Spanned<TokenOptions>> = Vec::new(),
        /// Names by which browsers reach the console, beside addresses and localhost; may stand
        /// several times. Others are refused, so that no foreign page can pose as this one.
        server_name: Vec<Spanned<String>> = Vec::new(),
        /// Whether browsers come by TLS, through a proxy in front: cookies are then sent by TLS
        /// only.
        tls_in_front: bool = false,
        /// How long a login holds, at the longest.
        session_length: Positive<Period> = Positive(Period::seconds(12 * 3_600)),
        /// How long a login holds while nothing is looked at.
        idle_timeout: Positive<Period> = Positive(Period::seconds(3_600)),
        /// Who may read `/metrics`. `open`: whoever reaches the socket. `token`: who has a token,
        /// or is logged in.
        metrics: MetricsAccess = MetricsAccess::Open,
        /// Most connections at once on each socket; one more waits.
        max_connections: Positive<u32> = Positive(64),
    }
}

options! {
    /// `<account>`: somebody who may log in.
    pub struct AccountOptions {
        /// The name to log in with.
        name: Spanned<String>,
        /// `viewer`: looks at everything. `admin`: also reloads, and tries requests that ask others.
        role: Role = Role::Viewer,
        /// The hash of the password, as `mppd password` prints it (Argon2id).
        password_hash: Spanned<SecretOptions>,
    }
}

options! {
    /// `<token>`: how a program is let in.
    pub struct TokenOptions {
        /// What it is called in the log.
        name: Spanned<String>,
        /// The hash of the token, as `mppd password --token` prints it. What has a token may look
        /// at everything and change nothing.
        secret_hash: Spanned<SecretOptions>,
    }
}

/// What somebody may do in the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at everything.
    Viewer,
    /// Also reloads, and tries requests that ask others.
    Admin,
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsAccess {
    /// Whoever reaches the socket.
    Open,
    /// Who has a token, or is logged in.
    Token,
}

impl OptionValue for Role {
    const TYPE: &'static str = "viewer or admin";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl OptionValue for MetricsAccess {
    const TYPE: &'static str = "open or token";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
