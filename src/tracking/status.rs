//! How a tracker is, for whoever asks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::metrics::Histogram;
use crate::metrics::count::ROWS;

/// Where rows go at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Place {
    /// Into the embedded store.
    Embedded,
    /// Into the database.
    Connected,
    /// Into the spool, while the database is away.
    Away {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
    },
}

/// How a tracker is. Times are those of the node, counts since the tracker started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerStatus {
    /// The file, or the server and its database.
    pub records: String,
    /// Where rows go at the moment.
    pub place: Place,
    /// Rows in the spool, those that were refused among them.
    pub spooled: u64,
    /// Octets that they take up in its file.
    pub spooled_octets: u64,
    /// When the request of the oldest of them came.
    pub oldest: Option<Timestamp>,
    /// Rows in the spool that the database refused for what they hold.
    pub refused: u64,
    /// Whether the spool has reached its bound while the database is away.
    pub at_bound: bool,
    /// Why no file can be written, where that is so: rows wait in memory.
    pub blocked: Option<String>,
    /// Requests that were answered and are not on record.
    pub lost: u64,
    /// Requests whose rows were removed before they were in the database: they waited too long, or
    /// made room.
    pub dropped: u64,
    /// Requests that were put off because they could not be put on record.
    pub deferred: u64,
    /// Transitions that wait to be written.
    pub waiting: usize,
    /// Batches written.
    pub batches: u64,
    /// Rows written in them.
    pub rows: u64,
    /// When the last batch was written.
    pub last_commit: Option<Timestamp>,
    /// Rows that `<retention>` removed.
    pub retired: u64,
    /// How often the database went away.
    #[serde(default)]
    pub absences: u64,
    /// How often it was tried to connect to the database while it was away.
    #[serde(default)]
    pub attempts: u64,
    /// Batches that could be written nowhere, and were tried again.
    #[serde(default)]
    pub failures: u64,
}

/// How large batches were, and how long it took to write them. The tracker's thread adds to it.
#[derive(Debug)]
pub struct Batches {
    /// Rows.
    pub rows: Histogram,
    /// Times.
    pub times: Histogram,
}

impl Default for Batches {
    fn default() -> Self {
        Batches { rows: Histogram::new(ROWS), times: Histogram::of_times() }
    }
}

impl TrackerStatus {
    /// One that has just started.
    pub(super) fn new(records: String, place: Place) -> Self {
        TrackerStatus {
            records,
            place,
            spooled: 0,
            spooled_octets: 0,
            oldest: None,
            refused: 0,
            at_bound: false,
            blocked: None,
            lost: 0,
            dropped: 0,
            deferred: 0,
            waiting: 0,
            batches: 0,
            rows: 0,
            last_commit: None,
            retired: 0,
            absences: 0,
            attempts: 0,
            failures: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_back_from_json_with_times_as_text() {
        let since = "2026-11-22T13:00:00.5Z".parse().unwrap();
        let place = Place::Away { since, reason: "refused".into() };
        let status = TrackerStatus {
            oldest: Some(since),
            ..TrackerStatus::new("db:3306/mppd".into(), place)
        };
        let text = serde_json::to_string(&status).unwrap();
        assert!(text.contains(r#""since":"2026-11-22T13:00:00.5Z""#), "{text}");
        assert_eq!(serde_json::from_str::<TrackerStatus>(&text).unwrap(), status);
    }
}
