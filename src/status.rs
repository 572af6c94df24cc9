//! How the server is: what `mppd status` shows, and anybody else who asks at its control socket.
//! Each part is said by who owns it; times are RFC 3339 text.

use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use mppd_state::StateStatus;
use serde::{Deserialize, Serialize};

use crate::supervisor::breaker::{BreakerState, BreakerStatus};
use crate::supervisor::watchdog::WorkerStatus;
use crate::tracking::status::{Place, TrackerStatus};
use crate::traffic::TrafficStatus;

/// How the server is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its version.
    pub version: String,
    /// Name of this node in the records.
    pub node: String,
    /// ID of its process.
    pub pid: u32,
    /// When it was started.
    pub started: String,
    /// Whether it is about to end.
    pub stopping: bool,
    /// Where it listens.
    pub listening: Vec<String>,
    /// What is in force.
    pub configuration: ConfigurationStatus,
    /// What comes in.
    pub traffic: TrafficStatus,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// Threads that are held up for good, and whose work others do.
    pub stuck_threads: usize,
    /// The engines, by their breakers.
    pub engines: Vec<BreakerStatus>,
    /// The records, one for each distinct connection.
    pub trackers: Vec<TrackerStatus>,
    /// What engines remember, if any does.
    #[serde(default)]
    pub state_store: Option<StateStoreStatus>,
}

/// The state store in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateStoreStatus {
    /// Which: `embedded`, `mysql` or `redis`.
    pub store: String,
    /// Records that are there, where the store can tell at once.
    pub records: Option<u64>,
    /// Records that gave way to others before their time, where the store can tell at once.
    pub evicted: Option<u64>,
    /// Since when it is away: its server does not answer, or its file can't be written.
    pub away_since: Option<String>,
    /// Why it is away.
    pub reason: Option<String>,
}

impl From<StateStatus> for StateStoreStatus {
    fn from(status: StateStatus) -> Self {
        let absence = status.absence;
        let (since, reason) = absence.map(|absence| (absence.since, absence.reason)).unzip();
        StateStoreStatus {
            store: status.store.to_owned(),
            records: status.records,
            evicted: status.evicted,
            away_since: since.map(|since: Timestamp| format!("{since:.3}")),
            reason,
        }
    }
}

/// The configuration in force, and what became of those that were to take its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// Its files.
    pub files: Vec<String>,
    /// When it came into force.
    pub loaded: String,
    /// Files that are newer than that: what stands in them is not in force.
    pub changed: Vec<String>,
    /// The last reload, if it changed nothing.
    pub refused: Option<RefusedReload>,
    /// Reloads that put a configuration in force.
    #[serde(default)]
    pub reloads: u64,
    /// Reloads that changed nothing.
    #[serde(default)]
    pub refusals: u64,
}

/// A reload that changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// When the first one was refused since one was not.
    pub since: String,
    /// When the last one was refused.
    pub at: String,
    /// Why, in a word.
    pub reason: String,
    /// Everything that is wrong, one line for each.
    pub findings: Vec<String>,
}

/// What needs somebody's attention, a line for each.
#[must_use]
pub fn troubles(status: &ServerStatus) -> Vec<String> {
    let mut troubles = Vec::new();
    let configuration = &status.configuration;
    if let Some(refused) = &configuration.refused {
        troubles.push(format!(
            "the configuration is refused since {}: {}",
            refused.since, refused.reason
        ));
    }
    for worker in &status.workers {
        if let Some(engine) = &worker.held_up_by {
            let since = worker.since.as_deref().unwrap_or("?");
            troubles.push(format!("worker {} is held up by {engine} since {since}", worker.number));
        }
    }
    if status.stuck_threads > 0 {
        troubles.push(format!("{} threads are held up for good", status.stuck_threads));
    }
    for engine in status.engines.iter().filter(|engine| engine.state != BreakerState::Closed) {
        troubles.push(format!(
            "engine {} is suspended since {}, {} runs were not made: {}",
            engine.engine,
            engine.since.as_deref().unwrap_or("?"),
            engine.suspended_runs,
            engine.reason.as_deref().unwrap_or("?")
        ));
    }
    for tracker in &status.trackers {
        troubles.extend(troubles_of(tracker));
    }
    if let Some(store) = &status.state_store
        && let Some(since) = &store.away_since
    {
        let reason = store.reason.as_deref().unwrap_or("?");
        troubles.push(format!("the state store is away since {since}: {reason}"));
    }
    troubles
}

fn troubles_of(tracker: &TrackerStatus) -> Vec<String> {
    let TrackerStatus { records, spooled, refused, lost, dropped, .. } = tracker;
    let mut troubles = Vec::new();
    if let Place::Away { since, reason } = &tracker.place {
        troubles.push(format!(
            "{records} is away since {since:.3}, {spooled} rows wait in the spool: {reason}"
        ));
    }
    if tracker.at_bound {
        troubles.push(format!("the spool for {records} has reached its bound"));
    }
    if let Some(reason) = &tracker.blocked {
        troubles.push(format!("rows for {records} wait in memory: {reason}"));
    }
    if *refused > 0 {
        troubles.push(format!("{records} refused {refused} rows: mppd track refused lists them"));
    }
    if lost + dropped > 0 {
        troubles.push(format!("{} requests are not on record in {records}", lost + dropped));
    }
    troubles
}

/// A time as text.
#[must_use]
pub fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}

/// The files that have changed since a time.
#[must_use]
pub fn changed_since(files: &[PathBuf], time: SystemTime) -> Vec<String> {
    let has_changed = |file: &&PathBuf| {
        let changed = std::fs::metadata(file).and_then(|metadata| metadata.modified());
        // One that is gone has changed as well.
        changed.map_or(true, |changed| changed > time)
    };
    files.iter().filter(has_changed).map(|file| file.display().to_string()).collect()
}
