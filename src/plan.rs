//! The whole configuration as meant: read, checked, engines built. Made by `run`, `check` and every
//! reload in the same way, so that what `check` accepts will start.

use std::sync::Arc;

use mppd_database::Pools;
use mppd_engine::slog::Logger;
use mppd_engine::{EngineKind, Finding};
use mppd_state::StateStore;

use crate::admin::plan::AdminPlan;
use crate::config::limits::Limits as ReadLimits;
use crate::config::{Configuration, Draft, LoadRequest, Rejected, draft};
use crate::groups::Groups;
use crate::listener::{Endpoint, ListenPlan, Permissions};
use crate::overload::OnOverload;
use crate::policy::codec::Limits;
use crate::rights::Rights;
use crate::supervisor::blueprint::{Blueprint, GroupPlan};
use crate::tracking::TrackerOptions;

/// Where mppd listens unless told.
const DEFAULT_PORT: u16 = 10_040;

/// A configuration that can be put in force.
#[derive(Debug)]
pub struct Plan {
    /// What was read.
    pub configuration: Configuration,
    /// How the policy group of a request is found.
    pub groups: Arc<Groups>,
    /// Engines, groups and their chains.
    pub blueprint: Arc<Blueprint>,
    /// The sockets.
    pub listen: Vec<ListenPlan>,
    /// The admin listener.
    pub admin: AdminPlan,
    /// The rights that are kept; all that there are unless given.
    pub rights: Option<Rights>,
    /// What a request gets at a limit.
    pub on_overload: OnOverload,
    /// What the engines remember. It is not open.
    pub state_store: Arc<StateStore>,
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
        Self::load_within(request, &ReadLimits::default(), kinds, logger)
    }

    /// The same within bounds of one's own.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load_within(
        request: &LoadRequest,
        limits: &ReadLimits,
        kinds: &[&'static dyn EngineKind],
        logger: &Logger,
    ) -> Result<Plan, Rejected> {
        let mut draft = draft(request, limits);
        let listen = listen_plans(&mut draft);
        let admin = AdminPlan::of(&mut draft, &listen);
        let rights = draft.common.as_ref().map(Rights::of).transpose();
        let rights = rights.unwrap_or_else(|findings| {
            draft.findings.extend(findings);
            None
        });
        let on_overload = on_overload(&mut draft);
        let (groups, findings) = Groups::build(&draft, logger);
        draft.findings.extend(findings);
        let state_store = Arc::new(StateStore::unopened());
        let (blueprint, findings) = Blueprint::build(&draft, kinds, &state_store, logger);
        draft.findings.extend(findings);
        let configuration = draft.finish()?;
        if let Some(pools) = blueprint.services.get::<Pools>() {
            groups.count_in(&pools);
        }
        let (groups, blueprint) = (Arc::new(groups), Arc::new(blueprint));
        let rights = rights.flatten();
        Ok(Plan {
            configuration,
            groups,
            blueprint,
            listen,
            admin,
            rights,
            on_overload,
            state_store,
        })
    }

    /// Every socket that is wanted, whoever answers at it.
    #[must_use]
    pub fn sockets(&self) -> Vec<ListenPlan> {
        self.listen.iter().chain(&self.admin.listen).cloned().collect()
    }

    /// How much a peer may send.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let server = &self.configuration.common.policy_server;
        Limits { line: server.max_line.0.octets(), request: server.max_request.0.octets() }
    }

    /// How many workers there are to be.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.configuration.common.policy_server.workers {
            Some(workers) => usize::from(workers.0),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Where requests are put on record: one tracker for each distinct connection of a group that
    /// is tracked.
    #[must_use]
    pub fn trackers(&self) -> Vec<TrackerOptions> {
        let groups = &self.blueprint.groups;
        let mut trackers: Vec<TrackerOptions> = Vec::new();
        for options in groups.iter().filter_map(|group| self.tracker_of(group)) {
            if !trackers.contains(&options) {
                trackers.push(options);
            }
        }
        trackers
    }

    /// Where the requests of a group are put on record; `None` where none of its chains does that.
    #[must_use]
    pub fn tracker_of(&self, group: &GroupPlan) -> Option<TrackerOptions> {
        self.blueprint.tracks(group).then(|| {
            let common = &self.configuration.common;
            TrackerOptions {
                connection: self.configuration.connection(&group.id).cloned(),
                ..TrackerOptions::of(self.node(), common.state_directory.clone(), common)
            }
        })
    }

    /// Name of this node in the records.
    #[must_use]
    pub fn node(&self) -> Arc<str> {
        match &self.configuration.common.node {
            Some(node) => node.as_str().into(),
            None => gethostname::gethostname().to_string_lossy().into(),
        }
    }
}

fn on_overload(draft: &mut Draft) -> OnOverload {
    let option = draft.common.as_ref().and_then(|common| common.policy_server.on_overload.as_ref());
    let (on_overload, findings) = OnOverload::read(option);
    draft.findings.extend(findings);
    on_overload
}

fn listen_plans(draft: &mut Draft) -> Vec<ListenPlan> {
    let options = draft.common.as_ref().map(|common| common.policy_server.listen.as_slice());
    let options = options.unwrap_or_default();
    if options.is_empty() {
        let endpoint = Endpoint::Inet { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT };
        return vec![ListenPlan { endpoint, permissions: Permissions::default() }];
    }
    let mut plans: Vec<ListenPlan> = Vec::new();
    let mut findings = Vec::new();
    for option in options {
        match ListenPlan::of(option) {
            Ok(plan) if plans.iter().any(|known| known.endpoint == plan.endpoint) => {
                let message = format!("{} is listened on twice", plan.endpoint);
                findings.push(Finding::error(option.endpoint.span, message));
            }
            Ok(plan) => plans.push(plan),
            Err(faults) => findings.extend(faults),
        }
    }
    draft.findings.extend(findings);
    plans
}
