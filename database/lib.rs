//! Connections to MySQL and MariaDB as the configuration describes them, and statements over them.
//!
//! | module | what lives there |
//! |---|---|
//! | [`options`] | a connection as the configuration writes it |
//! | [`connection`] | the same put together: option file, secrets, defaults |
//! | [`redact`] | texts with their secrets hidden |
//! | `dial` | a connection in the words of the client library |

pub mod connection;
mod dial;
mod option_file;
pub mod options;
pub mod redact;

pub use connection::{Files, ResolvedConnection, Tls, resolve};
pub use option_file::Fault;
pub use options::{ConnectionOptions, Secret, SecretOptions, TlsOptions};
