//! The whole configuration as meant: read, checked, engines built. Made by `run`, `check` and every
//! reload in the same way, so that what `check` accepts will start.

use std::sync::Arc;

use mppd_engine::config::Severity;
use mppd_engine::slog::Logger;
use mppd_engine::{EngineKind, Finding};

use crate::config::connection::ResolvedConnection;
use crate::config::{Configuration, LoadRequest, Rejected, load};
use crate::listener::{Endpoint, ListenPlan};
use crate::policy::codec::Limits;
use crate::supervisor::blueprint::Blueprint;
use crate::tracking::TrackerOptions;

/// Where mppd listens unless told.
const DEFAULT_PORT: u16 = 10_040;

/// A configuration that can be put in force.
#[derive(Debug)]
pub struct Plan {
    /// What was read.
    pub configuration: Configuration,
    /// Engines and chains.
    pub blueprint: Arc<Blueprint>,
    /// The sockets.
    pub listen: Vec<ListenPlan>,
    /// What will work, but probably not as meant.
    pub warnings: Vec<Finding>,
}

impl Plan {
    /// Reads a configuration and builds what it describes; touches nothing.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(
        request: &LoadRequest,
        kinds: &[&'static dyn EngineKind],
        logger: &Logger,
    ) -> Result<Plan, Rejected> {
        let configuration = load(request)?;
        let mut findings = configuration.warnings.clone();
        let listen = listen_plans(&configuration, &mut findings);
        let blueprint = match Blueprint::build(&configuration, kinds, logger) {
            Ok((blueprint, warnings)) => {
                findings.extend(warnings);
                Some(blueprint)
            }
            Err(errors) => {
                findings.extend(errors);
                None
            }
        };
        let has_errors = findings.iter().any(|finding| finding.severity == Severity::Error);
        match blueprint {
            Some(blueprint) if !has_errors => {
                let blueprint = Arc::new(blueprint);
                Ok(Plan { configuration, blueprint, listen, warnings: findings })
            }
            _ => Err(Rejected { sources: configuration.sources, findings }),
        }
    }

    /// How much a peer may send.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let server = &self.configuration.common.policy_server;
        Limits { line: server.max_line.octets(), request: server.max_request.octets() }
    }

    /// How many workers there are to be.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.configuration.common.policy_server.workers {
            Some(workers) => usize::from(workers.max(1)),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Where requests are put on record; `None` where no chain does that.
    #[must_use]
    pub fn tracker_options(&self) -> Option<TrackerOptions> {
        self.blueprint.tracks().then(|| {
            let common = &self.configuration.common;
            TrackerOptions {
                node: self.node(),
                state_directory: common.state_directory.clone(),
                connection: self.connection().cloned(),
                durability: common.tracking.durability,
                received_delay: common.tracking.received_delay.0,
                batch_rows: usize::try_from(common.tracking.batch_rows).unwrap_or(usize::MAX),
                queue: usize::try_from(common.tracking.queue).unwrap_or(usize::MAX),
            }
        })
    }

    /// The database of group `default`; the embedded store where there is none.
    #[must_use]
    pub fn connection(&self) -> Option<&ResolvedConnection> {
        self.configuration.connections.get("default")
    }

    fn node(&self) -> Arc<str> {
        match &self.configuration.common.node {
            Some(node) => node.as_str().into(),
            None => gethostname::gethostname().to_string_lossy().into(),
        }
    }
}

fn listen_plans(configuration: &Configuration, findings: &mut Vec<Finding>) -> Vec<ListenPlan> {
    let mut plans = Vec::new();
    for options in &configuration.common.policy_server.listen {
        match ListenPlan::of(options) {
            Ok(plan) => plans.push(plan),
            Err(errors) => findings.extend(errors),
        }
    }
    if configuration.common.policy_server.listen.is_empty() {
        let endpoint = Endpoint::Inet { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT };
        plans.push(ListenPlan { endpoint, permissions: crate::listener::Permissions::default() });
    }
    plans
}
