//! The supervisor: raises workers, engines and tracker from a configuration, exchanges the whole
//! set on reload, and ends everything in order.
//!
//! | module | what lives there |
//! |---|---|
//! | [`breaker`] | suspending an engine that keeps failing |
//! | [`blueprint`] | engines built and chains resolved: what a configuration means |
//! | [`host`] | the actor around an engine |
//! | `board` | what is known of the server, for whoever asks |
//! | [`chain`] | one request through the chains |
//! | [`effect`] | what a status does |
//! | [`results`] | what an engine gives besides its own values |
//! | [`installation`] | one configuration in force, and what a session sees of it |
//! | [`state`] | the state store in force |
//! | [`state_directory`] | one mppd for each state directory |
//! | [`watchdog`] | noticing threads that are stuck |
//! | `trackers` | the trackers in force |
//! | [`worker`] | an arbiter with a copy of every chain, and its connections |

pub mod blueprint;
mod board;
pub mod breaker;
pub mod chain;
mod common_options;
pub mod effect;
pub mod host;
pub mod installation;
mod references;
pub mod results;
mod services;
pub mod state;
pub mod state_directory;
#[cfg(test)]
mod tests;
mod trackers;
pub mod watchdog;
pub mod worker;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext as _, AtomicResponse, Context, Handler, Message,
    WrapFuture,
};
use actix_rt::Arbiter;
use actix_rt::task::JoinHandle;
use mppd_engine::config::{Severity, SourceMap};
use mppd_engine::slog::{Logger, crit, error, info, warn};
use mppd_engine::{EngineKind, Exception, Finding};
use tokio::sync::{Mutex, oneshot, watch};

use self::blueprint::GroupPlan;
use self::board::{Board, Sights};
use self::chain::RaiseError;
use self::installation::{Group, Installation, PolicyGroups, Shared};
use self::state::{StateStoreError, States};
use self::state_directory::StateDirectoryError;
use self::trackers::{NotTracked, Tracking, handles, start_tracking};
use self::watchdog::{GiveUp, MOST_STUCK, Post, Posts, Watchdog};
use self::worker::{Adopt, Conclude, Concluded, Prepare, Worker};
use crate::admin::Admin;
use crate::config::report::{Look, one_line, render};
use crate::config::settings::LogOptions;
use crate::config::{Configuration, LoadRequest, Rejected};
use crate::control::{self, Control, Desk, Refusal};
use crate::listener::{
    self, Endpoint, HandedOver, Intake, ListenError, ListenPlan, Listener, Socket, Sockets,
    WorkerSlot, descriptors,
};
use crate::overload::{self, OnOverload};
use crate::plan::Plan;
use crate::ration::Ration;
use crate::repeats::Repeats;
use crate::rights::Rights;
use crate::seat::{Seats, Taken};
use crate::service_manager::ServiceManager;
use crate::session::Bounds;
use crate::status::ServerStatus;
use crate::tracking::{TrackerHandle, TrackerOptions, TrackingStartError};
use crate::traffic::Traffic;

/// How often the end of the last connections is looked for.
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);

/// How long a worker may take to raise a configuration.
const MOST_PATIENCE: Duration = Duration::from_secs(10);

/// Why the server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A socket that is open can't be accepted from.
    #[error("can't accept connections: {0}")]
    Accept(#[source] std::io::Error),
    /// An engine.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// Where the records are kept.
    #[error(transparent)]
    StateDirectory(#[from] StateDirectoryError),
    /// The records.
    #[error(transparent)]
    Tracking(#[from] TrackingStartError),
    /// What engines remember.
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    /// A worker's thread.
    #[error("worker {0} ended before it had begun")]
    Worker(usize),
    /// A worker that does nothing.
    #[error("worker {0} does not answer; the log says what holds it up")]
    HeldUp(usize),
    /// The thread that watches over them.
    #[error("can't start the watchdog: {0}")]
    Watchdog(#[source] std::io::Error),
}

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

/// Where the configuration comes from, at the start and with every reload.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The files, and what overrides them.
    pub request: LoadRequest,
    /// The engines that it can name.
    pub kinds: Vec<&'static dyn EngineKind>,
}

/// The sockets of a plan, opened before anything else is started.
#[derive(Debug)]
pub struct Doors {
    sockets: Vec<Sockets>,
    admin: Vec<Sockets>,
    handed_over: HandedOver,
}

impl Doors {
    /// Opens all sockets of a plan that nobody has handed over.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn open(plan: &Plan, handed_over: HandedOver) -> Result<Self, ListenError> {
        let sockets = Socket::open_all(&plan.listen, &handed_over)?;
        let admin = Socket::open_all(&plan.admin.listen, &handed_over)?;
        Ok(Doors { sockets, admin, handed_over })
    }

    /// The sockets that were handed over and that a plan does not want, in words.
    #[must_use]
    pub fn unwanted(&self, plan: &Plan) -> Vec<String> {
        self.handed_over.unwanted(&plan.sockets())
    }
}

/// The actor that owns all others.
pub struct Supervisor {
    state: Rc<Mutex<State>>,
    board: Rc<Board>,
}

struct State {
    origin: Origin,
    logger: Logger,
    stopping: watch::Sender<bool>,
    arbiters: Vec<Arbiter>,
    workers: Vec<Addr<Worker>>,
    intake: Arc<Intake>,
    /// What is in force, for a worker that takes the place of another.
    installation: Arc<Installation>,
    shared: Arc<Shared>,
    posts: Arc<Posts>,
    watchdog: Option<Watchdog>,
    listeners: Vec<Open>,
    /// What whoever started mppd has opened for it.
    handed_over: HandedOver,
    /// One for each connection.
    tracking: Vec<Tracking>,
    /// Trackers that a reload has replaced, for as long as requests are under way with them.
    retiring: Vec<TrackerHandle>,
    /// What engines remember.
    states: States,
    drain_timeout: Duration,
    board: Rc<Board>,
    service_manager: ServiceManager,
    /// Where the server is asked how it is, if it can be.
    control: Option<(Control, Rc<FrontDesk>)>,
    /// The web console, and what monitoring asks; `None` while it is being started or has ended.
    admin: Option<Admin>,
    /// How it was started to log.
    log: LogOptions,
    /// Whose rights it was started to keep.
    rights: Option<Rights>,
}

/// A socket that is listened on.
struct Open {
    plan: ListenPlan,
    tasks: Vec<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the server as planned. Afterwards it answers.
    ///
    /// # Errors
    /// What keeps it from starting; nothing is left running then.
    pub async fn start(
        plan: &Plan,
        origin: Origin,
        doors: Doors,
        logger: Logger,
    ) -> Result<Addr<Supervisor>, StartError> {
        let server = &plan.configuration.common.policy_server;
        descriptors::make_room(server.max_connections.0, &logger);
        let tracking = start_tracking(plan, &[], &[], &logger).await?;
        let mut states = States::default();
        let state_store = states.open(plan, tracking.iter(), &logger).await?;
        states.put_in_force(state_store, &plan.configuration.state_store);
        let installation = Arc::new(installation(plan, &[], &tracking));
        let (stopping, stopping_receiver) = watch::channel(false);
        let (traffic, ration) = (Arc::new(Traffic::default()), Arc::new(Ration::default()));
        actix_rt::spawn(overload::tell(traffic.clone(), ration.clone(), logger.clone()));
        let shared = Arc::new(Shared {
            repeats: Arc::new(Repeats::default()),
            traffic: traffic.clone(),
            feed: Arc::default(),
            ration,
            logger: logger.clone(),
            stopping: stopping_receiver,
        });
        let mut arbiters = Vec::new();
        let mut workers = Vec::new();
        let posts = Arc::<Posts>::default();
        for number in 0..plan.workers() {
            let arbiter = Arbiter::new();
            let post = Arc::<Post>::default();
            let raised = raise_worker(&arbiter, &installation, &shared, &post, number);
            workers.push((raised.await?, post.seats.clone()));
            posts.man(number, post, arbiter.handle());
            arbiters.push(arbiter);
        }
        let slot = |(worker, seats): &(Addr<Worker>, Arc<Seats>)| {
            WorkerSlot::new(worker.clone().recipient(), seats.clone())
        };
        let intake = Arc::new(Intake {
            workers: workers.iter().map(slot).collect(),
            traffic,
            max_connections: AtomicU32::new(server.max_connections.0),
            is_silent: AtomicBool::new(plan.on_overload == OnOverload::Silence),
            logger: logger.clone(),
        });
        let accept = |(plan, listeners)| accept(plan, listeners, &intake);
        let sights = Sights {
            traffic: shared.traffic.clone(),
            posts: posts.clone(),
            intake: intake.clone(),
        };
        let state = State {
            board: Board::new(plan, handles(&tracking), sights),
            service_manager: ServiceManager::new(logger.clone()),
            control: None,
            admin: None,
            listeners: ready(doors.sockets)?.into_iter().map(accept).collect(),
            handed_over: doors.handed_over,
            origin,
            logger,
            stopping,
            arbiters,
            workers: workers.into_iter().map(|(worker, _)| worker).collect(),
            intake: intake.clone(),
            installation,
            shared,
            posts: posts.clone(),
            watchdog: None,
            tracking,
            retiring: Vec::new(),
            states,
            drain_timeout: server.drain_timeout.0,
            log: plan.configuration.common.log.clone(),
            rights: plan.rights.clone(),
        };
        Supervisor::of(state, plan, doors.admin).await
    }

    /// The actor of a server that answers, and what goes on beside it.
    async fn of(
        mut state: State,
        plan: &Plan,
        admin: Vec<Sockets>,
    ) -> Result<Addr<Supervisor>, StartError> {
        let (board, service_manager) = (state.board.clone(), state.service_manager.clone());
        let (logger, posts, intake) =
            (state.logger.clone(), state.posts.clone(), state.intake.clone());
        let directory = &plan.configuration.common.state_directory;
        let (mut shared_state, mut opened) = (None, Ok(()));
        let supervisor = Supervisor::create(|context| {
            let desk = FrontDesk { supervisor: context.address(), board: board.clone() };
            let desk = Rc::new(desk);
            state.open_control(directory, desk.clone());
            opened = state.open_admin(plan, admin, desk);
            let state = Rc::new(Mutex::new(state));
            shared_state = Some(state.clone());
            Supervisor { state, board: board.clone() }
        });
        opened.map_err(StartError::Accept)?;
        let watchdog =
            Watchdog::start(posts, intake, supervisor.clone().recipient(), logger.clone());
        let watchdog = watchdog.map_err(StartError::Watchdog)?;
        if let Some(state) = shared_state {
            state.lock().await.watchdog = Some(watchdog);
        }
        actix_rt::spawn(board.clone().remind(logger));
        actix_rt::spawn(service_manager.clone().keep_watchdog_quiet());
        service_manager.ready(&board.line());
        Ok(supervisor)
    }
}

/// Who answers at the control socket.
struct FrontDesk {
    supervisor: Addr<Supervisor>,
    board: Rc<Board>,
}

impl Desk for FrontDesk {
    async fn status(&self) -> ServerStatus {
        self.board.status()
    }

    async fn reload(&self, color: bool) -> control::Reloaded {
        let look = Look { color, ..Look::default() };
        match self.supervisor.send(Reload).await {
            Ok(Ok(Reloaded { sources, warnings })) => Ok(render(&sources, &warnings, look)),
            Ok(Err(ReloadError::Rejected(rejected))) => {
                let report = render(&rejected.sources, &rejected.findings, look);
                Err(Refusal { report, is_faulty: true })
            }
            Ok(Err(error)) => Err(Refusal { report: error.to_string(), is_faulty: false }),
            Err(_) => {
                let report = "mppd is about to end".to_owned();
                Err(Refusal { report, is_faulty: false })
            }
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
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

/// End in order: no new connections, answers to what is under way, everything on record.
#[derive(Debug)]
pub struct Stop;

impl Message for Stop {
    type Result = ();
}

impl Handler<Stop> for Supervisor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Stop, _: &mut Context<Self>) -> Self::Result {
        let state = self.state.clone();
        // What is said from now on is that it stops, whatever has to end before.
        self.board.stopping();
        let stop = async move { state.lock().await.stop().await };
        AtomicResponse::new(Box::pin(stop.into_actor(self).map(|(), _, _| ())))
    }
}

impl Handler<GiveUp> for Supervisor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, held_up: GiveUp, _: &mut Context<Self>) -> Self::Result {
        let state = self.state.clone();
        let give_up = async move { state.lock().await.give_up(held_up).await };
        AtomicResponse::new(Box::pin(give_up.into_actor(self).map(|(), _, _| ())))
    }
}

/// Why no other worker takes the place of one that is stuck.
#[derive(Debug, thiserror::Error)]
enum ReplaceError {
    #[error("{MOST_STUCK} threads are stuck already; restart mppd")]
    TooMany,
    #[error(transparent)]
    Start(#[from] StartError),
}

impl State {
    /// Opens the control socket in a state directory. Without one the server goes on all the same.
    fn open_control(&mut self, directory: &Path, desk: Rc<FrontDesk>) {
        match Control::open(directory, desk.clone(), self.logger.clone()) {
            Ok(control) => self.control = Some((control, desk)),
            Err(error) => {
                warn!(self.logger, "mppd status and mppd reload do not work";
                    "reason" => %error);
            }
        }
    }

    /// Lets people and monitoring look.
    fn open_admin(
        &mut self,
        plan: &Plan,
        sockets: Vec<Sockets>,
        desk: Rc<FrontDesk>,
    ) -> std::io::Result<()> {
        let (monitor, feed) = (self.board.monitor().clone(), self.shared.feed.clone());
        let admin = Admin::start(plan, sockets, desk, monitor, feed, self.logger.clone())?;
        self.admin = Some(admin);
        Ok(())
    }

    /// It moves with the state directory; whoever has asked already gets an answer.
    fn move_control(&mut self, directory: &Path) {
        let moves = |(control, _): &mut (Control, Rc<FrontDesk>)| control.directory() != directory;
        if let Some((_, desk)) = self.control.take_if(moves) {
            self.open_control(directory, desk);
        }
    }

    async fn reload_and_report(&mut self) -> Result<Reloaded, ReloadError> {
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
        let plan = self.read().await?;
        self.states.wait_for_closing().await;
        let ours = self.states.directories();
        let new = start_tracking(&plan, &self.tracking, &ours, &self.logger).await?;
        let (new_sockets, new_admin, state_store) = match self.put_in_force(&plan, &new).await {
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
        self.warn_of_what_stays(&plan);
        self.move_control(&plan.configuration.common.state_directory);
        self.board.reloaded(&plan, handles(&self.tracking), began);
        let Configuration { sources, warnings, .. } = plan.configuration;
        Ok(Reloaded { sources, warnings })
    }

    /// Reads the files on another thread: a list of a million entries must not hold up accepts.
    async fn read(&self) -> Result<Plan, ReloadError> {
        let (Origin { request, kinds }, logger) = (self.origin.clone(), self.logger.clone());
        let read = actix_rt::task::spawn_blocking(move || Plan::load(&request, &kinds, &logger));
        let plan = read.await.map_err(|panic| ReloadError::Panicked(panic.to_string()))?;
        plan.map_err(ReloadError::Rejected)
    }

    /// Does what can fail; the sockets that are new, and the state store.
    async fn put_in_force(
        &mut self,
        plan: &Plan,
        new: &[Tracking],
    ) -> Result<(Vec<Ready>, Vec<Sockets>, Option<Arc<state::State>>), StartError> {
        let new_sockets = self.open_new(&plan.listen)?;
        let admin = self.admin.as_ref().map(|admin| admin.prepare(&plan.admin, &self.handed_over));
        let new_admin = admin.transpose()?.unwrap_or_default();
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

    fn open_new(&self, plans: &[ListenPlan]) -> Result<Vec<Ready>, StartError> {
        let new: Vec<ListenPlan> =
            plans.iter().filter(|plan| !self.is_open(plan)).cloned().collect();
        ready(Socket::open_all(&new, &self.handed_over)?)
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

    /// Puts another worker in the place of one that is stuck, and has its requests answered.
    async fn give_up(&mut self, GiveUp { number, held_up_by }: GiveUp) {
        let Some(post) = self.posts.current(number).filter(|_| self.posts.is_held_up(number))
        else {
            return;
        };
        let by = held_up_by.as_deref().unwrap_or("mppd");
        match self.replace(number).await {
            Ok(()) => error!(self.logger, "a worker that is held up has been replaced";
                "worker" => number, "by" => by, "stuck_threads" => self.posts.stuck()),
            Err(error) => crit!(self.logger, "a worker that is held up can't be replaced";
                "worker" => number, "by" => by, "reason" => %error,
                "stuck_threads" => self.posts.stuck()),
        }
        let able = (number..self.workers.len()).chain(0..number);
        let heir = able.into_iter().find(|number| !self.posts.is_held_up(*number));
        let mut orphans = Vec::new();
        for taken in post.seats.take_all() {
            match taken {
                Taken::Connection(connection, counted) => {
                    let heir = heir.unwrap_or(number);
                    self.intake.workers[heir].admit(connection, counted);
                }
                Taken::Request(orphan) => orphans.push(orphan),
                Taken::Line(line) => line.end(),
                Taken::Nothing => {}
            }
        }
        let message = "the engine blocks its thread".to_owned();
        let exception = Exception { engine: held_up_by, kind: "timeout", message };
        match heir {
            Some(heir) => self.workers[heir].do_send(Adopt { orphans, exception }),
            // Postfix asks again, and then does what it does without an answer.
            None => orphans.iter().for_each(|orphan| orphan.line.end()),
        }
    }

    async fn replace(&mut self, number: usize) -> Result<(), ReplaceError> {
        if self.posts.stuck() >= MOST_STUCK {
            return Err(ReplaceError::TooMany);
        }
        let (arbiter, post) = (Arbiter::new(), Arc::<Post>::default());
        let raised = raise_worker(&arbiter, &self.installation, &self.shared, &post, number);
        let raised = tokio::time::timeout(MOST_PATIENCE, raised).await;
        let worker = raised.map_err(|_| StartError::HeldUp(number))??;
        self.posts.man(number, post.clone(), arbiter.handle());
        self.intake.workers[number].replace(worker.clone().recipient(), post.seats.clone());
        self.workers[number] = worker;
        self.arbiters.push(arbiter);
        Ok(())
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

    fn warn_of_what_stays(&self, plan: &Plan) {
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
        for socket in self.handed_over.unwanted(&plan.sockets()) {
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

    async fn stop(&mut self) {
        info!(self.logger, "stopping");
        self.service_manager.stopping();
        for open in self.listeners.drain(..) {
            open.close(&self.logger);
        }
        self.stopping.send_replace(true);
        let end = Instant::now() + self.drain_timeout;
        while self.intake.traffic.connections.load(Ordering::Relaxed) > 0 && Instant::now() < end {
            tokio::time::sleep(DRAIN_INTERVAL).await;
        }
        let left = self.intake.traffic.connections.load(Ordering::Relaxed);
        if left > 0 {
            warn!(self.logger, "connections cut off, their requests took too long"; "count" => left);
        }
        let current = self.tracking.drain(..).map(|tracking| tracking.handle);
        for handle in self.retiring.drain(..).chain(current) {
            handle.stop().await;
        }
        self.states.settle(&self.logger).await;
        self.watchdog = None;
        for arbiter in self.arbiters.drain(..) {
            arbiter.stop();
        }
        // The last word: until now it could be asked how far the end is.
        self.control = None;
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
        info!(self.logger, "stopped");
    }
}

impl Open {
    /// Closing a socket leaves the connections that came in by it.
    fn close(self, logger: &Logger) {
        info!(logger, "no longer listening"; "endpoint" => %self.plan.endpoint);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// The sockets of one `<listen>`, ready to be accepted from.
type Ready = (ListenPlan, Vec<Listener>);

fn ready(sockets: Vec<Sockets>) -> Result<Vec<Ready>, StartError> {
    let ready = |(plan, sockets): Sockets| {
        let listeners: Result<_, _> = sockets.into_iter().map(Socket::into_listener).collect();
        Ok((plan, listeners.map_err(StartError::Accept)?))
    };
    sockets.into_iter().map(ready).collect()
}

fn accept(plan: ListenPlan, listeners: Vec<Listener>, intake: &Arc<Intake>) -> Open {
    let tasks = listeners
        .into_iter()
        .map(|listener| actix_rt::spawn(listener::accept_all(listener, intake.clone())));
    Open { plan, tasks: tasks.collect() }
}

async fn raise_worker(
    arbiter: &Arbiter,
    installation: &Arc<Installation>,
    shared: &Arc<Shared>,
    post: &Arc<Post>,
    number: usize,
) -> Result<Addr<Worker>, StartError> {
    let (sender, raised) = oneshot::channel();
    let (installation, shared, post) = (installation.clone(), shared.clone(), post.clone());
    arbiter.spawn_fn(move || {
        let worker = Worker::new(&installation, shared, post).map(Actor::start);
        // The starter waits; if it is gone, so is the server.
        let _gone = sender.send(worker);
    });
    let worker = raised.await.map_err(|_| StartError::Worker(number))?;
    Ok(worker?)
}

/// What the workers raise; the trackers are among those that run and those that are new.
fn installation(plan: &Plan, running: &[Tracking], new: &[Tracking]) -> Installation {
    let server = &plan.configuration.common.policy_server;
    let group = |group: &GroupPlan| {
        let options = plan.tracker_of(group);
        let tracking =
            running.iter().chain(new).find(|known| Some(&known.options) == options.as_ref());
        let tracker = tracking.map(|tracking| tracking.tracker.clone());
        Group {
            id: group.id.clone(),
            dry_run: group.dry_run,
            tracker: tracker.unwrap_or_else(|| Arc::new(NotTracked)),
        }
    };
    let groups = plan.blueprint.groups.iter().map(group).collect();
    Installation {
        blueprint: plan.blueprint.clone(),
        groups: Arc::new(PolicyGroups { selection: plan.groups.clone(), groups }),
        node: plan.node(),
        limits: plan.limits(),
        request_deadline: server.request_deadline.0.0,
        idle_timeout: server.idle_timeout.map(|period| period.0.0),
        bounds: Bounds::of(server, plan.on_overload.clone()),
        engine_queue: server.engine_queue.0,
    }
}
