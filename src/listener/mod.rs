//! Sockets: opening them with the permissions that were asked for, and handing what they accept
//! to the workers, in one accept loop for each.

mod connection;
mod plan;
mod socket;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Recipient;
use mppd_engine::slog::{Logger, info, warn};
use tokio::net::{TcpListener, UnixListener};

pub use self::connection::{Connection, Counted, Peer, Serve};
pub use self::socket::Permissions;
pub use mppd_engine::Endpoint;

use crate::seat::Seats;

/// Pause after an accept that failed for lack of descriptors or memory, so as not to spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How often a limit that is reached is logged at most.
const LIMIT_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A socket to listen on, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenPlan {
    /// Where.
    pub endpoint: Endpoint,
    /// Whose a socket file is.
    pub permissions: Permissions,
}

impl ListenPlan {
    /// Gives the file of a socket that is open the permissions of this plan, where it says any.
    ///
    /// # Errors
    /// What keeps it from having them.
    pub fn apply_permissions(&self) -> Result<(), ListenError> {
        match &self.endpoint {
            Endpoint::Unix(path) => socket::apply(path, &self.permissions),
            Endpoint::Inet { .. } => Ok(()),
        }
    }
}

/// Why a socket can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The host name means nothing.
    #[error("can't listen on {endpoint}: {source}")]
    Io {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        source: io::Error,
    },
    /// Somebody answers at the socket file.
    #[error("can't listen on unix:{}: another server answers there", .0.display())]
    Live(PathBuf),
    /// Something else than a socket has that name.
    #[error("can't listen on unix:{}: it exists and is no socket; remove it or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Owner, group or mode could not be set.
    #[error("can't set {what} of unix:{}: {source}", path.display())]
    Permissions {
        /// The socket file.
        path: PathBuf,
        /// What of it.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// One open socket.
pub enum Listener {
    /// TCP.
    Inet(TcpListener),
    /// A socket file, removed when the listener goes.
    Unix(UnixListener, socket::SocketFile),
}

impl Listener {
    /// Opens every socket of a plan: a host name may stand for several addresses.
    ///
    /// # Errors
    /// The first that could not be opened.
    pub fn open(plan: &ListenPlan) -> Result<Vec<Listener>, ListenError> {
        match &plan.endpoint {
            Endpoint::Unix(path) => Ok(vec![socket::open_unix(path, &plan.permissions)?]),
            inet @ Endpoint::Inet { .. } => {
                let failed = |source| ListenError::Io { endpoint: inet.clone(), source };
                let addresses = inet.addresses().map_err(failed)?;
                addresses.into_iter().map(|at| socket::open_inet(at).map_err(failed)).collect()
            }
        }
    }

    /// Where it listens, for people: the port that the system chose in place of 0.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Listener::Inet(listener) => listener.local_addr().map_or_else(
                |error| format!("inet:?({error})"),
                |address| format!("inet:{address}"),
            ),
            Listener::Unix(_, file) => format!("unix:{}", file.path().display()),
        }
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Listener::Inet(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Inet(stream.into_std()?, Peer::Inet(address)))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
                Ok(Connection::Unix(stream.into_std()?, Peer::Unix(pid)))
            }
        }
    }
}

/// A worker as the listeners see it.
pub struct WorkerSlot {
    manned: Mutex<Manned>,
    /// How many connections it has.
    pub connections: Arc<AtomicU32>,
    /// Whether it is held up; connections go to others then.
    pub is_busy: AtomicBool,
    /// How often another worker has taken the place of the one before.
    pub replaced: AtomicU32,
}

/// Who has a slot.
struct Manned {
    worker: Recipient<Serve>,
    seats: Arc<Seats>,
}

impl WorkerSlot {
    /// The slot of a worker, with the seats for its connections.
    #[must_use]
    pub fn new(worker: Recipient<Serve>, seats: Arc<Seats>) -> Self {
        WorkerSlot {
            manned: Mutex::new(Manned { worker, seats }),
            connections: Arc::default(),
            is_busy: AtomicBool::new(false),
            replaced: AtomicU32::new(0),
        }
    }

    /// Puts another worker in the place of the one that has it.
    pub fn replace(&self, worker: Recipient<Serve>, seats: Arc<Seats>) {
        *self.lock() = Manned { worker, seats };
        self.is_busy.store(false, Ordering::Relaxed);
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }

    /// Hands a connection to the worker.
    pub fn admit(&self, connection: Connection, counted: Counted) {
        let manned = self.lock();
        let seated = manned.seats.admit(connection, counted);
        manned.worker.do_send(Serve { seated });
    }

    fn lock(&self) -> MutexGuard<'_, Manned> {
        // No panic can leave it half-way.
        self.manned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where accepted connections go, and how many there may be.
pub struct Intake {
    /// The workers.
    pub workers: Vec<WorkerSlot>,
    /// How many connections there are.
    pub connections: Arc<AtomicU32>,
    /// How many there may be.
    pub max_connections: AtomicU32,
    /// The server's logger.
    pub logger: Logger,
}

/// Accepts connections until the task is ended.
pub async fn accept_all(listener: Listener, intake: Arc<Intake>) {
    let name = listener.name();
    info!(intake.logger, "listening"; "endpoint" => &name);
    let mut limit = LimitLog::default();
    loop {
        match listener.accept().await {
            Ok(connection) => intake.admit(connection, &name, &mut limit),
            Err(error) => {
                warn!(intake.logger, "can't accept a connection"; "endpoint" => &name,
                    "reason" => %error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

impl Intake {
    /// Hands a connection that a worker could not serve to another one.
    pub fn take_back(&self, connection: Connection) {
        let name = "another worker";
        self.admit(connection, name, &mut LimitLog::default());
    }

    /// Hands a connection to the worker with the fewest, or closes it at the limit.
    fn admit(&self, connection: Connection, name: &str, limit: &mut LimitLog) {
        let most = self.max_connections.load(Ordering::Relaxed);
        if self.connections.load(Ordering::Relaxed) >= most {
            if let Some(refused) = limit.refuse(Instant::now()) {
                warn!(self.logger, "limit of connections reached, new ones are closed";
                    "max_connections" => most, "refused" => refused, "endpoint" => name);
            }
            return;
        }
        let load = |slot: &&WorkerSlot| {
            (slot.is_busy.load(Ordering::Relaxed), slot.connections.load(Ordering::Relaxed))
        };
        let Some(slot) = self.workers.iter().min_by_key(load) else { return };
        let counted = Counted::enter(vec![self.connections.clone(), slot.connections.clone()]);
        slot.admit(connection, counted);
    }
}

/// Counts refused connections, and says when it is time to log them.
#[derive(Debug, Default)]
struct LimitLog {
    refused: u64,
    logged: Option<Instant>,
}

impl LimitLog {
    /// Counts one; how many were refused since the last line, if a line is due.
    fn refuse(&mut self, now: Instant) -> Option<u64> {
        self.refused += 1;
        let due = self.logged.is_none_or(|logged| now - logged >= LIMIT_LOG_INTERVAL);
        due.then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.refused)
        })
    }
}
