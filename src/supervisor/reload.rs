//! A reload: the configuration is read again, and all of it is put in force or nothing. What can fail
//! is done first, beside what is in force; the rest can't.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use actix::{ActorFutureExt, Addr, AtomicResponse, Context, Handler, Message, WrapFuture};
use mppd_engine::Finding;
use mppd_engine::config::{Severity, SourceMap};
use mppd_engine::slog::{error, info, warn};

use super::desk::FrontDesk;
use super::installation::Installation;
use super::trackers::{Tracking, handles, start_tracking};
use super::worker::{Conclude, Concluded, Prepare, Worker};
use super::{
    MOST_PATIENCE, Origin, Ready, StartError, State, Supervisor, accept, installation, ready, state,
};
use crate::config::report::one_line;
use crate::config::{Configuration, Rejected};
use crate::control::Control;
use crate::listener::{Addresses, Endpoint, ListenPlan, Socket, Sockets, descriptors};
use crate::overload::OnOverload;
use crate::plan::Plan;
use crate::tracking::{Denial, TrackerOptions};

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file.
    #[error("the configuration has errors")]
    Rejected(Rejected),
    /// What the file asks for.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Reading it panicked: a defect.
    #[error("reading the configuration failed: {0}")]
    Panicked(String),
}

/// Read the configuration again and put it in force, all of it or nothing.
#[derive(Debug)]
pub struct Reload;

impl Message for Reload {
    type Result = Result<Reloaded, ReloadError>;
}

/// A new configuration is in force.
#[derive(Debug)]
pub struct Reloaded {
    /// Where everything stands.
    pub sources: SourceMap,
    /// What works, but probably not as meant.
    pub warnings: Vec<Finding>,
}

impl Handler<Reload> for Supervisor {
    type Result = AtomicResponse<Self, Result<Reloaded, ReloadError>>;

    fn handle(&mut self, _: Reload, _: &mut Context<Self>) -> Self::Result {
        let state = self.state.clone();
        let reload = async move {
            let mut state = state.lock().await;
            state.reload_and_report().await
        };
        AtomicResponse::new(Box::pin(reload.into_actor(self).map(|result, _, _| result)))
    }
}

impl State {
    pub(super) async fn reload_and_report(&mut self) -> Result<Reloaded, ReloadError> {
        self.service_manager.reloading();
        let was_refused = self.board.is_refused();
        let reloaded = self.reload().await;
        if let Err(error) = &reloaded {
            self.board.refused(error);
        }
        self.report(&reloaded, was_refused);
        self.service_manager.ready(&self.board.line());
        reloaded
    }

    async fn reload(&mut self) -> Result<Reloaded, ReloadError> {
        // What changes while it is read is newer than what was read.
        let began = SystemTime::now();
        let (plan, addresses) = self.read().await?;
        self.states.wait_for_closing().await;
        let ours = self.states.directories();
        let new =
            start_tracking(&plan, &self.tracking, Denial::Mistake, &ours, &self.logger).await?;
        let (new_sockets, new_admin, state_store) =
            match self.put_in_force(&plan, &addresses, &new).await {
                Ok(in_force) => in_force,
                Err(error) => {
                    for unused in new {
                        unused.handle.stop().await;
                    }
                    return Err(error.into());
                }
            };
        self.states.put_in_force(state_store, &plan.configuration.state_store);
        self.exchange_listeners(&plan.listen, new_sockets);
        if let Some(admin) = &mut self.admin {
            admin.exchange(&plan, new_admin);
        }
        let server = &plan.configuration.common.policy_server;
        descriptors::make_room(server.max_connections.0, &self.logger);
        self.intake.max_connections.store(server.max_connections.0, Ordering::Relaxed);
        let is_silent = plan.on_overload == OnOverload::Silence;
        self.intake.is_silent.store(is_silent, Ordering::Relaxed);
        self.drain_timeout = server.drain_timeout.0;
        self.exchange_tracking(&plan.trackers(), new);
        self.warn_of_what_stays(&plan, &addresses);
        self.move_control(&plan.configuration.common.state_directory);
        self.board.reloaded(&plan, handles(&self.tracking), began);
        let Configuration { sources, warnings, .. } = plan.configuration;
        Ok(Reloaded { sources, warnings })
    }

    /// Reads the files on another thread: a list of a million entries must not hold up accepts,
    /// nor a name server that says nothing.
    async fn read(&self) -> Result<(Plan, Addresses), ReloadError> {
        let (Origin { request, kinds }, logger) = (self.origin.clone(), self.logger.clone());
        let read = move || {
            let plan = Plan::load(&request, &kinds, &logger)?;
            let addresses = Addresses::find(&plan.sockets());
            Ok((plan, addresses))
        };
        let read = actix_rt::task::spawn_blocking(read);
        let plan = read.await.map_err(|panic| ReloadError::Panicked(panic.to_string()))?;
        plan.map_err(ReloadError::Rejected)
    }

    /// Does what can fail; the sockets that are new, and the state store.
    async fn put_in_force(
        &mut self,
        plan: &Plan,
        addresses: &Addresses,
        new: &[Tracking],
    ) -> Result<(Vec<Ready>, Vec<Sockets>, Option<Arc<state::State>>), StartError> {
        let new_sockets = self.open_new(&plan.listen, addresses)?;
        let new_admin = match &self.admin {
            Some(admin) => admin.prepare(&plan.admin, addresses, &self.handed_over)?,
            None => Vec::new(),
        };
        let is_ours = |plan: &ListenPlan| match &plan.endpoint {
            Endpoint::Unix(path) => !self.handed_over.has_file(path),
            Endpoint::Inet { .. } => true,
        };
        let has_changed = |plan: &&ListenPlan| {
            is_ours(plan) && self.is_open(plan) && self.listeners.iter().all(|o| o.plan != **plan)
        };
        for plan in plan.listen.iter().filter(has_changed) {
            plan.apply_permissions()?;
        }
        let trackers = || self.tracking.iter().chain(new);
        let state_store = self.states.open(plan, trackers(), &self.logger).await?;
        let installation = Arc::new(installation(plan, &self.tracking, new));
        self.install(&installation).await?;
        self.installation = installation;
        Ok((new_sockets, new_admin, state_store))
    }

    fn is_open(&self, plan: &ListenPlan) -> bool {
        self.listeners.iter().any(|open| open.plan.endpoint == plan.endpoint)
    }

    fn open_new(
        &self,
        plans: &[ListenPlan],
        addresses: &Addresses,
    ) -> Result<Vec<Ready>, StartError> {
        let new: Vec<ListenPlan> =
            plans.iter().filter(|plan| !self.is_open(plan)).cloned().collect();
        ready(Socket::open_all(&new, addresses, &self.handed_over)?)
    }

    /// Raises the installation on every worker, then puts it in force on all, or on none.
    async fn install(&self, installation: &Arc<Installation>) -> Result<(), StartError> {
        let mut outcome = Ok(());
        for (number, worker) in self.workers.iter().enumerate() {
            outcome = self.prepare(number, worker, installation).await;
            if outcome.is_err() {
                break;
            }
        }
        for worker in &self.workers {
            worker.do_send(Conclude { accept: outcome.is_ok() });
        }
        self.wait_for_conclusions().await;
        outcome
    }

    /// Who is told that a configuration is in force finds it so. A worker that is held up at this
    /// very moment is not waited for: it concludes before it does anything else.
    async fn wait_for_conclusions(&self) {
        let concluded = self.workers.iter().map(|worker| worker.send(Concluded));
        let concluded = futures_util::future::join_all(concluded);
        let _held_up = tokio::time::timeout(MOST_PATIENCE, concluded).await;
    }

    async fn prepare(
        &self,
        number: usize,
        worker: &Addr<Worker>,
        installation: &Arc<Installation>,
    ) -> Result<(), StartError> {
        if self.posts.is_held_up(number) {
            return Err(StartError::HeldUp(number));
        }
        let prepared = worker.send(Prepare(installation.clone()));
        let prepared = tokio::time::timeout(MOST_PATIENCE, prepared).await;
        let prepared = prepared.map_err(|_| StartError::HeldUp(number))?;
        Ok(prepared.map_err(|_| StartError::Worker(number))??)
    }

    fn exchange_listeners(&mut self, plans: &[ListenPlan], new: Vec<Ready>) {
        for mut open in std::mem::take(&mut self.listeners) {
            match plans.iter().find(|plan| plan.endpoint == open.plan.endpoint) {
                Some(plan) => {
                    open.plan = plan.clone();
                    self.listeners.push(open);
                }
                None => open.close(&self.logger),
            }
        }
        let opened = new.into_iter().map(|(plan, listeners)| accept(plan, listeners, &self.intake));
        self.listeners.extend(opened);
    }

    /// Trackers whose options are as before stay. One that is wanted no more goes on until every
    /// request that began with it has been answered.
    fn exchange_tracking(&mut self, wanted: &[TrackerOptions], new: Vec<Tracking>) {
        let running = std::mem::take(&mut self.tracking);
        let (kept, old): (Vec<Tracking>, Vec<Tracking>) =
            running.into_iter().partition(|tracking| wanted.contains(&tracking.options));
        self.tracking.extend(kept.into_iter().chain(new));
        self.retiring.retain(|handle| !handle.has_ended());
        for old in old {
            self.retiring.push(old.handle.clone());
            actix_rt::spawn(old.retire());
        }
    }

    fn warn_of_what_stays(&self, plan: &Plan, addresses: &Addresses) {
        if plan.workers() != self.workers.len() {
            warn!(self.logger, "another number of workers takes a restart";
                "running" => self.workers.len(), "configured" => plan.workers());
        }
        let (old, new) = (&self.log, &plan.configuration.common.log);
        if (old.level, old.format) != (new.level, new.format) {
            warn!(self.logger, "other options of <log> take a restart");
        }
        if plan.rights != self.rights {
            warn!(self.logger, "another <user> or <group> takes a restart");
        }
        for socket in self.handed_over.unwanted(&plan.sockets(), addresses) {
            warn!(self.logger, "a socket was handed over that no <listen> names";
                "socket" => socket);
        }
    }

    fn report(&self, reloaded: &Result<Reloaded, ReloadError>, was_refused: bool) {
        match reloaded {
            Ok(Reloaded { sources, warnings }) => {
                info!(self.logger, "configuration reloaded");
                if was_refused {
                    info!(self.logger, "the configuration that was refused is mended");
                }
                self.log_findings(sources, warnings);
            }
            Err(ReloadError::Rejected(rejected)) => {
                error!(self.logger, "reload refused, the old configuration stays in force";
                    "findings" => rejected.findings.len());
                self.log_findings(&rejected.sources, &rejected.findings);
            }
            Err(error) => {
                error!(self.logger, "reload failed, the old configuration stays in force";
                    "reason" => %error);
            }
        }
    }

    fn log_findings(&self, sources: &SourceMap, findings: &[Finding]) {
        for finding in findings {
            let what = one_line(sources, finding);
            match finding.severity {
                Severity::Error => error!(self.logger, "configuration error"; "what" => what),
                Severity::Warning => warn!(self.logger, "configuration warning"; "what" => what),
            }
        }
    }

    /// It moves with the state directory; whoever has asked already gets an answer.
    fn move_control(&mut self, directory: &Path) {
        let moves = |(control, _): &mut (Control, Rc<FrontDesk>)| control.directory() != directory;
        if let Some((_, desk)) = self.control.take_if(moves) {
            self.open_control(directory, desk);
        }
    }
}
