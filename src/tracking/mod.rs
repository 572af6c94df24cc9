//! The records: every request and what became of it, in MySQL or in SQLite.
//!
//! | module | what lives there |
//! |---|---|
//! | [`key`] | keys of requests: time-ordered, unique across nodes |
//! | [`table`] | the one declaration of `track_policy_request`: SQL, statements and documentation |
//! | [`row`] | one row: made from an exchange, and the request read back from it |
//! | [`batch`] | transitions that wait to be written: what meets is written once |
//! | [`store`] | what a store can do; [`sqlite`] and [`mysql`] do it |
//! | [`status`] | how a tracker is |
//! | [`tracker`] | the actor that owns the stores, and its handle |
//! | [`search`] | questions to the records, in people's words |

pub mod batch;
mod database;
mod documentation;
pub mod key;
pub mod mysql;
mod queue;
pub mod row;
pub mod search;
mod snapshot;
mod spool;
mod sql;
pub mod sqlite;
pub mod status;
pub mod store;
pub mod table;
mod time;
pub mod tracker;
mod writer;

pub use key::new_key;
pub use row::Row;
pub use spool::abandoned_spools;
pub use status::TrackerStatus;
pub use store::{Store, StoreError};
pub use tracker::{TrackerHandle, TrackerOptions, TrackingStartError};
