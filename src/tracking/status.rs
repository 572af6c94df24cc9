//! How a tracker is, for whoever asks.

use std::time::SystemTime;

/// Where rows go at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Into the embedded store.
    Embedded,
    /// Into the database.
    Connected,
    /// Into the spool, while the database is away.
    Away {
        /// Since when.
        since: SystemTime,
        /// Why.
        reason: String,
    },
}

/// How a tracker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerStatus {
    /// Where rows go at the moment.
    pub place: Place,
    /// Rows in the spool.
    pub spooled: u64,
    /// Batches written since the start.
    pub batches: u64,
    /// Rows written in them.
    pub rows: u64,
    /// Transitions that wait to be written.
    pub waiting: usize,
}
