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
//! | `desk` | who answers at the control socket |
//! | [`effect`] | what a status does |
//! | `reload` | another configuration, all of it or nothing |
//! | [`observer`] | looking on while a request goes through the chains |
//! | [`results`] | what an engine gives besides its own values |
//! | [`installation`] | one configuration in force, and what a session sees of it |
//! | [`state`] | the state store in force |
//! | [`state_directory`] | one mppd for each state directory |
//! | `succession` | a worker in the place of one that is stuck |
//! | [`watchdog`] | noticing threads that are stuck |
//! | `trackers` | the trackers in force |
//! | [`worker`] | an arbiter with a copy of every chain, and its connections |

pub mod blueprint;
mod board;
pub mod breaker;
pub mod chain;
mod common_options;
mod crew;
mod desk;
pub mod effect;
pub mod host;
pub mod installation;
pub mod observer;
mod references;
mod reload;
pub mod results;
mod services;
pub mod state;
pub mod state_directory;
mod succession;
#[cfg(test)]
mod tests;
mod trackers;
pub mod watchdog;
pub mod worker;

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext as _, AtomicResponse, Context, Handler, Message,
    WrapFuture,
};
use actix_rt::Arbiter;
use actix_rt::task::JoinHandle;
use mppd_engine::EngineKind;
use mppd_engine::slog::{Logger, info, warn};
use tokio::sync::{Mutex, watch};

use self::blueprint::GroupPlan;
use self::board::{Board, Sights};
use self::chain::RaiseError;
use self::crew::Crew;
use self::desk::FrontDesk;
use self::installation::{Group, Installation, PolicyGroups, Shared};
use self::state::{StateStoreError, States};
use self::state_directory::StateDirectoryError;
use self::trackers::{NotTracked, Tracking, handles, start_tracking};
use self::watchdog::{Posts, Watchdog};
use self::worker::Worker;
use crate::admin::Admin;
use crate::config::LoadRequest;
use crate::config::settings::LogOptions;
use crate::control::Control;
use crate::listener::{
    self, Addresses, HandedOver, Intake, ListenError, ListenPlan, Listener, Socket, Sockets,
    descriptors,
};
use crate::overload::{self, OnOverload};
use crate::plan::Plan;
use crate::rights::Rights;
use crate::service_manager::ServiceManager;
use crate::session::Bounds;
use crate::tracking::{Denial, TrackerHandle, TrackingStartError};

pub use self::reload::{Reload, ReloadError, Reloaded};

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
    addresses: Addresses,
    handed_over: HandedOver,
}

impl Doors {
    /// Opens all sockets of a plan that nobody has handed over.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn open(plan: &Plan, handed_over: HandedOver) -> Result<Self, ListenError> {
        let addresses = Addresses::find(&plan.sockets());
        let sockets = Socket::open_all(&plan.listen, &addresses, &handed_over)?;
        let admin = Socket::open_all(&plan.admin.listen, &addresses, &handed_over)?;
        Ok(Doors { sockets, admin, addresses, handed_over })
    }

    /// The sockets that were handed over and that a plan does not want, in words.
    #[must_use]
    pub fn unwanted(&self, plan: &Plan) -> Vec<String> {
        self.handed_over.unwanted(&plan.sockets(), &self.addresses)
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
        let tracking = start_tracking(plan, &[], Denial::Absence, &[], &logger).await?;
        let mut states = States::default();
        let state_store = states.open(plan, tracking.iter(), &logger).await?;
        states.put_in_force(state_store, &plan.configuration.state_store);
        let installation = Arc::new(installation(plan, &[], &tracking));
        let (stopping, stopping_receiver) = watch::channel(false);
        let shared = Arc::new(shared(stopping_receiver, &logger));
        actix_rt::spawn(overload::tell(
            shared.traffic.clone(),
            shared.ration.clone(),
            logger.clone(),
        ));
        let crew = Crew::raise(plan, &installation, &shared).await?;
        let intake = Arc::new(Intake {
            workers: crew.slots(),
            traffic: shared.traffic.clone(),
            max_connections: AtomicU32::new(server.max_connections.0),
            is_silent: AtomicBool::new(plan.on_overload == OnOverload::Silence),
            logger: logger.clone(),
        });
        let accept = |(plan, listeners)| accept(plan, listeners, &intake);
        let sights = Sights {
            traffic: shared.traffic.clone(),
            posts: crew.posts.clone(),
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
            arbiters: crew.arbiters,
            workers: crew.workers.into_iter().map(|(worker, _)| worker).collect(),
            intake: intake.clone(),
            installation,
            shared,
            posts: crew.posts,
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

/// What the workers of a server that has just been started have in common.
fn shared(stopping: watch::Receiver<bool>, logger: &Logger) -> Shared {
    Shared {
        repeats: Arc::default(),
        traffic: Arc::default(),
        feed: Arc::default(),
        ration: Arc::default(),
        logger: logger.clone(),
        stopping,
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;
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
        let admin = Admin::start(
            plan,
            sockets,
            desk,
            monitor,
            feed,
            self.origin.clone(),
            self.logger.clone(),
        )?;
        self.admin = Some(admin);
        Ok(())
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
        #[cfg(feature = "otel")]
        self.flush_traces().await;
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

    /// Has sent what is known of the last requests.
    #[cfg(feature = "otel")]
    async fn flush_traces(&self) {
        let services = &self.installation.blueprint.services;
        let Some(tracer) = services.get::<crate::traces::Tracer>() else { return };
        // It takes no longer than its collector may, and what could be lost is no request.
        let _ended = actix_rt::task::spawn_blocking(move || tracer.flush()).await;
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
