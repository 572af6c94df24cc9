//! One configuration in force: what workers raise it from, and what a session sees of it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mppd_engine::slog::Logger;
use mppd_engine::{Exchange, Tracker};
use tokio::sync::watch;

use super::blueprint::Blueprint;
use super::chain::{EngineSet, RaiseError};
use super::watchdog::Post;
use crate::feed::Feed;
use crate::groups::Groups;
use crate::policy::codec::Limits;
use crate::ration::Ration;
use crate::repeats::Repeats;
use crate::session::{Bounds, Scratch};
use crate::traffic::Traffic;

/// What all workers share for as long as the server runs.
#[derive(Debug)]
pub struct Shared {
    /// The memory of the core.
    pub repeats: Arc<Repeats>,
    /// What comes in and is turned away.
    pub traffic: Arc<Traffic>,
    /// Decisions as they happen.
    pub feed: Arc<Feed>,
    /// Lines of the log that peers cause.
    pub ration: Arc<Ration>,
    /// The server's logger.
    pub logger: Logger,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// A policy group in force.
pub struct Group {
    /// Its ID.
    pub id: Arc<str>,
    /// Whether its requests are answered with DUNNO, whatever is decided.
    pub dry_run: bool,
    /// Its records.
    pub tracker: Arc<dyn Tracker>,
}

/// The policy groups in force.
pub struct PolicyGroups {
    /// How the group of a request is found.
    pub selection: Arc<Groups>,
    /// The groups, in the order of the configuration.
    pub groups: Vec<Group>,
}

impl PolicyGroups {
    /// The group of every request that belongs to no other.
    #[must_use]
    pub fn default_group(&self) -> &Group {
        // Both were made from the same list of groups.
        &self.groups[self.selection.default_group()]
    }

    /// The group of a request that no engine has seen yet.
    pub async fn of(&self, exchange: &Exchange) -> &Group {
        &self.groups[self.selection.select(exchange).await]
    }
}

/// One configuration in force: what a worker needs to raise it.
pub struct Installation {
    /// Engines and chains.
    pub blueprint: Arc<Blueprint>,
    /// The policy groups.
    pub groups: Arc<PolicyGroups>,
    /// Name of this node.
    pub node: Arc<str>,
    /// How much a peer may send.
    pub limits: Limits,
    /// When a request must be answered.
    pub request_deadline: Duration,
    /// How long a connection may say nothing.
    pub idle_timeout: Option<Duration>,
    /// What else connections may take.
    pub bounds: Bounds,
    /// How many runs of one engine may wait.
    pub engine_queue: u32,
}

/// One configuration in force on one worker.
pub struct Installed {
    /// The engines, raised.
    pub engines: EngineSet,
    /// The policy groups.
    pub groups: Arc<PolicyGroups>,
    /// Name of this node.
    pub node: Arc<str>,
    /// How much a peer may send.
    pub limits: Limits,
    /// When a request must be answered.
    pub request_deadline: Duration,
    /// How long a connection may say nothing.
    pub idle_timeout: Option<Duration>,
    /// What else connections may take.
    pub bounds: Bounds,
}

impl Installed {
    pub(super) fn raise(
        installation: &Installation,
        logger: &Logger,
        post: &Arc<Post>,
    ) -> Result<Self, RaiseError> {
        let Installation { blueprint, engine_queue, .. } = installation;
        Ok(Installed {
            engines: EngineSet::raise(blueprint, *engine_queue, logger, post)?,
            groups: installation.groups.clone(),
            node: installation.node.clone(),
            limits: installation.limits,
            request_deadline: installation.request_deadline,
            idle_timeout: installation.idle_timeout,
            bounds: installation.bounds.clone(),
        })
    }
}

/// What the sessions of one worker see of it.
pub struct WorkerState {
    installed: RefCell<Rc<Installed>>,
    /// What its connections read into.
    pub scratch: Scratch,
    /// What all workers share.
    pub shared: Arc<Shared>,
}

impl WorkerState {
    pub(super) fn new(installed: Installed, shared: Arc<Shared>) -> Self {
        let installed = RefCell::new(Rc::new(installed));
        WorkerState { installed, scratch: Scratch::default(), shared }
    }

    pub(super) fn install(&self, installed: Installed) {
        self.installed.replace(Rc::new(installed));
    }

    /// The configuration in force; a request keeps the one that it began with.
    #[must_use]
    pub fn installed(&self) -> Rc<Installed> {
        self.installed.borrow().clone()
    }
}
