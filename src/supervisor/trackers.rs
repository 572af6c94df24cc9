//! The trackers in force: one for each database that a group names. A reload starts those that are
//! new, keeps those that stay, and ends the others once nobody knows them any more.

use std::path::Path;
use std::sync::Arc;

use mppd_database::ResolvedConnection;
use mppd_engine::slog::{Logger, warn};
use mppd_engine::tracking::{Recorded, TrackingError};
use mppd_engine::{Exchange, Tracker, Transition};

use super::state_directory::StateDirectory;
use super::{DRAIN_INTERVAL, StartError};
use crate::plan::Plan;
use crate::tracking::{Denial, TrackerHandle, TrackerOptions, abandoned_spools};

/// A tracker in force.
pub(super) struct Tracking {
    pub(super) options: TrackerOptions,
    pub(super) handle: TrackerHandle,
    /// As the workers and their requests know it, and nobody else.
    pub(super) tracker: Arc<dyn Tracker>,
    /// Shared with the tracker that a reload puts in this one's place.
    pub(super) directory: Arc<StateDirectory>,
}

impl Tracking {
    /// Ends it as soon as no worker and no request knows it any more.
    pub(super) async fn retire(self) {
        let known = Arc::downgrade(&self.tracker);
        drop(self.tracker);
        while known.strong_count() > 0 {
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
        self.handle.stop().await;
    }
}

pub(super) fn handles(tracking: &[Tracking]) -> Vec<TrackerHandle> {
    tracking.iter().map(|tracking| tracking.handle.clone()).collect()
}

/// Starts the trackers that the plan needs beside those that are running. A database that lets
/// nobody in is a denial of this sort.
pub(super) async fn start_tracking(
    plan: &Plan,
    running: &[Tracking],
    denial: Denial,
    ours: &[Arc<StateDirectory>],
    logger: &Logger,
) -> Result<Vec<Tracking>, StartError> {
    let mut wanted = plan.trackers();
    warn_of_spools(&plan.configuration.common.state_directory, &wanted, logger).await;
    wanted.retain(|options| running.iter().all(|tracking| tracking.options != *options));
    let mut new: Vec<Tracking> = Vec::new();
    for options in wanted {
        match start_tracker(options, denial, running.iter().chain(&new), ours, logger).await {
            Ok(tracking) => new.push(tracking),
            Err(error) => {
                for unused in new {
                    unused.handle.stop().await;
                }
                return Err(error);
            }
        }
    }
    Ok(new)
}

async fn start_tracker(
    options: TrackerOptions,
    denial: Denial,
    others: impl Iterator<Item = &Tracking>,
    ours: &[Arc<StateDirectory>],
    logger: &Logger,
) -> Result<Tracking, StartError> {
    let mut ours = others.map(|other| &other.directory).chain(ours);
    let directory = match ours.find(|ours| ours.path() == options.state_directory) {
        Some(ours) => ours.clone(),
        None => Arc::new(StateDirectory::take(&options.state_directory)?),
    };
    let handle = TrackerHandle::start_with(options.clone(), denial, logger.clone()).await?;
    let tracker = Arc::new(handle.clone());
    Ok(Tracking { options, handle, tracker, directory })
}

/// Rows that nobody moves must not be forgotten.
async fn warn_of_spools(directory: &Path, wanted: &[TrackerOptions], logger: &Logger) {
    let connections: Vec<Option<&ResolvedConnection>> =
        wanted.iter().map(|options| options.connection.as_ref()).collect();
    for (spool, rows) in abandoned_spools(directory, &connections).await {
        warn!(logger, "rows for another database wait in the state directory; they are moved when \
            the configuration names it again"; "spool" => %spool.display(), "rows" => rows);
    }
}

/// Stands where no chain puts requests on record.
pub(super) struct NotTracked;

impl Tracker for NotTracked {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        let error = TrackingError::new("no chain names an engine that tracks");
        Box::pin(std::future::ready(Err(error)))
    }
}
