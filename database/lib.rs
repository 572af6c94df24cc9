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
//! | `counts` | what pools are asked |
//! | `cache` | answers that are kept, questions that are asked once |
//! | [`probe`] | whether a database can be reached, and lets its user do what is wanted |
//! | `answer`, `failure` | what the database says, or why it says nothing |

mod answer;
mod cache;
pub mod connection;
mod counts;
mod dial;
mod failure;
mod option_file;
pub mod options;
mod pool;
pub mod probe;
pub mod redact;
mod statement;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use answer::Answer;
pub use cache::{AnswerCache, CacheLimits};
pub use connection::{Files, ResolvedConnection, ServerFiles, Tls, resolve};
pub use counts::{PoolStatus, Pools};
pub use failure::QueryError;
pub use option_file::Fault;
pub use options::{ConnectionOptions, Secret, SecretOptions, TlsOptions};
pub use pool::{Pool, PoolLimits, Reply};
pub use statement::{Statement, TableName};
