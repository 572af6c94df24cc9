//! The records: every request and what became of it, in MySQL or in SQLite.
//!
//! | module | what lives there |
//! |---|---|
//! | [`key`] | keys of requests: time-ordered, unique across nodes |
//! | [`table`] | the one declaration of `track_policy_request`: SQL, statements and documentation |
//! | [`row`] | one row: made from an exchange, and the request read back from it |
//! | [`batch`] | transitions that wait to be written: what meets is written once |
//! | [`store`] | what a store can do; [`sqlite`] and [`mysql`] do it |
//! | [`bounds`] | what becomes of requests whose rows can be kept nowhere |
//! | [`alive`] | requests that were under way when mppd died |
//! | [`retention`] | old rows, removed in small steps |
//! | [`probe`] | whether a database can take records |
//! | [`status`] | how a tracker is |
//! | [`tracker`] | the actor that owns the stores, and its handle |
//! | [`search`] | questions to the records, in people's words |
//! | [`story`] | a request and a message as they are told to people |
//! | [`tail`] | requests as they come |
//! | [`stats`] | what many requests came to |

pub mod alive;
pub mod batch;
pub mod bounds;
mod damaged;
mod database;
mod documentation;
mod embedded;
pub mod key;
#[cfg(test)]
mod model;
pub mod mysql;
mod plan;
pub mod probe;
mod query;
mod queue;
mod reader;
pub mod retention;
pub mod row;
pub mod search;
mod snapshot;
mod spool;
mod sql;
pub mod sqlite;
pub mod stats;
pub mod status;
pub mod store;
pub mod story;
pub mod table;
pub mod tail;
mod target;
mod time;
pub mod tracker;
mod writer;

pub use bounds::Bounds;
pub use database::Denial;
pub use key::new_key;
pub use retention::Retention;
pub use row::Row;
pub use spool::abandoned_spools;
pub use status::TrackerStatus;
pub use store::{Store, StoreError};
pub use tracker::{TrackerHandle, TrackerOptions, TrackingStartError};
