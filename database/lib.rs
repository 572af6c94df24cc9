//! Connections to MySQL and MariaDB as the configuration describes them, and statements over them.
//!
//! | module | what lives there |
//! |---|---|
//! | [`options`] | a connection as the configuration writes it |
//! | [`connection`] | the same put together: option file, secrets, defaults |
//! | [`redact`] | texts with their secrets hidden |
//! | `dial` | a connection in the words of the client library |
//! | `statement` | SQL whose macros are bound parameters |
//! | `pool` | a bounded number of connections on a thread of their own |
//! | `cache` | answers that are kept, questions that are asked once |
//! | `answer`, `failure` | what the database says, or why it says nothing |

mod answer;
mod cache;
pub mod connection;
mod dial;
mod failure;
mod option_file;
pub mod options;
mod pool;
pub mod redact;
mod statement;

pub use answer::Answer;
pub use cache::{AnswerCache, CacheLimits};
pub use connection::{Files, ResolvedConnection, ServerFiles, Tls, resolve};
pub use failure::QueryError;
pub use option_file::Fault;
pub use options::{ConnectionOptions, Secret, SecretOptions, TlsOptions};
pub use pool::{Pool, PoolLimits, Reply};
pub use statement::{Statement, TableName};
