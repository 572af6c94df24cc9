//! A worker: an arbiter with a complete copy of every chain, and the connections it was given.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use mppd_engine::Tracker;
use mppd_engine::slog::{Logger, error, warn};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::blueprint::Blueprint;
use super::chain::{EngineSet, RaiseError};
use crate::policy::codec::Limits;
use crate::repeats::Repeats;
use crate::session::{self, Peer};

/// What all workers share for as long as the server runs.
#[derive(Debug)]
pub struct Shared {
    /// The memory of the core.
    pub repeats: Arc<Repeats>,
    /// The server's logger.
    pub logger: Logger,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// One configuration in force: what a worker needs to raise it.
pub struct Installation {
    /// Engines and chains.
    pub blueprint: Arc<Blueprint>,
    /// The group's records.
    pub tracker: Arc<dyn Tracker>,
    /// ID of the group.
    pub group: Arc<str>,
    /// How much a peer may send.
    pub limits: Limits,
    /// When a request must be answered.
    pub request_deadline: Duration,
    /// How long a connection may say nothing.
    pub idle_timeout: Option<Duration>,
    /// How many runs of one engine may wait.
    pub engine_queue: u32,
}

/// One configuration in force on one worker.
pub struct Installed {
    /// The engines, raised.
    pub engines: EngineSet,
    /// The group's records.
    pub tracker: Arc<dyn Tracker>,
    /// ID of the group.
    pub group: Arc<str>,
    /// How much a peer may send.
    pub limits: Limits,
    /// When a request must be answered.
    pub request_deadline: Duration,
    /// How long a connection may say nothing.
    pub idle_timeout: Option<Duration>,
}

impl Installed {
    fn raise(installation: &Installation, logger: &Logger) -> Result<Self, RaiseError> {
        let Installation { blueprint, engine_queue, .. } = installation;
        Ok(Installed {
            engines: EngineSet::raise(blueprint, *engine_queue, logger)?,
            tracker: installation.tracker.clone(),
            group: installation.group.clone(),
            limits: installation.limits,
            request_deadline: installation.request_deadline,
            idle_timeout: installation.idle_timeout,
        })
    }
}

/// What the sessions of one worker see of it.
pub struct WorkerState {
    installed: RefCell<Rc<Installed>>,
    /// What all workers share.
    pub shared: Arc<Shared>,
}

impl WorkerState {
    /// The configuration in force; a request keeps the one that it began with.
    #[must_use]
    pub fn installed(&self) -> Rc<Installed> {
        self.installed.borrow().clone()
    }
}

/// The actor of one worker.
pub struct Worker {
    state: Rc<WorkerState>,
    /// Raised, but not yet in force.
    prepared: Option<Installed>,
}

impl Worker {
    /// Raises the first configuration on the current arbiter.
    ///
    /// # Errors
    /// The first engine that could not be started.
    pub fn new(installation: &Installation, shared: Arc<Shared>) -> Result<Self, RaiseError> {
        let installed = RefCell::new(Rc::new(Installed::raise(installation, &shared.logger)?));
        Ok(Worker { state: Rc::new(WorkerState { installed, shared }), prepared: None })
    }
}

impl Actor for Worker {
    type Context = Context<Self>;
}

/// Raise a configuration beside the one in force.
pub struct Prepare(pub Arc<Installation>);

impl Message for Prepare {
    type Result = Result<(), RaiseError>;
}

impl Handler<Prepare> for Worker {
    type Result = Result<(), RaiseError>;

    fn handle(&mut self, Prepare(installation): Prepare, _: &mut Context<Self>) -> Self::Result {
        self.prepared = Some(Installed::raise(&installation, &self.state.shared.logger)?);
        Ok(())
    }
}

/// Put the prepared configuration in force, or drop it. Requests that are under way finish with
/// the engines that they began with.
pub struct Conclude {
    /// Whether every worker could prepare it.
    pub accept: bool,
}

impl Message for Conclude {
    type Result = ();
}

impl Handler<Conclude> for Worker {
    type Result = ();

    fn handle(&mut self, conclude: Conclude, _: &mut Context<Self>) {
        let Some(prepared) = self.prepared.take() else { return };
        if conclude.accept {
            self.state.installed.replace(Rc::new(prepared));
        }
    }
}

/// A connection, on its way from the listener to a worker.
pub enum Connection {
    /// Over TCP.
    Inet(std::net::TcpStream, Peer),
    /// Over a socket file.
    Unix(std::os::unix::net::UnixStream, Peer),
}

/// Counts one for as long as it lives.
pub struct Counted(Vec<Arc<AtomicU32>>);

impl Counted {
    /// Adds one to each counter.
    #[must_use]
    pub fn enter(counters: Vec<Arc<AtomicU32>>) -> Self {
        for counter in &counters {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Counted(counters)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for counter in &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Serve this connection.
pub struct Serve {
    /// The connection.
    pub connection: Connection,
    /// Counts it until it ends.
    pub counted: Counted,
}

impl Message for Serve {
    type Result = ();
}

impl Handler<Serve> for Worker {
    type Result = ();

    fn handle(&mut self, Serve { connection, counted }: Serve, _: &mut Context<Self>) {
        let state = self.state.clone();
        let logger = state.shared.logger.clone();
        let served = actix_rt::spawn(async move {
            let _counted = counted;
            match connection {
                Connection::Inet(stream, peer) => match TcpStream::from_std(stream) {
                    Ok(stream) => session::serve(stream, peer, state).await,
                    Err(error) => warn!(state.shared.logger, "connection lost"; "reason" => %error),
                },
                Connection::Unix(stream, peer) => match UnixStream::from_std(stream) {
                    Ok(stream) => session::serve(stream, peer, state).await,
                    Err(error) => warn!(state.shared.logger, "connection lost"; "reason" => %error),
                },
            }
        });
        actix_rt::spawn(async move {
            // Engines' panics are caught around each run; this would be a defect of our own.
            if let Err(panic) = served.await {
                error!(logger, "a connection's task panicked"; "reason" => %panic);
            }
        });
    }
}
