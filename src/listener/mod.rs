//! Sockets: opening them with the permissions that were asked for, and handing what they accept
//! to the workers, in one accept loop for each.

mod addresses;
mod connection;
pub mod descriptors;
mod handover;
mod plan;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Recipient;
use mppd_engine::slog::{Logger, info, warn};
use tokio::net::{TcpListener, UnixListener};

pub use self::addresses::Addresses;
pub use self::connection::{Connection, Counted, Peer, Room, Serve};
pub use self::handover::HandedOver;
pub use self::socket::{Permissions, SocketFile, find_group, find_user};
pub use mppd_engine::Endpoint;

use crate::seat::Seats;
use crate::traffic::{Limit, Traffic, count};

/// Pause after an accept that failed for lack of descriptors or memory, so as not to spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// How often it is logged at most that connections can't be accepted.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Most connections at once that are given one answer although there are too many: beyond these
/// they are closed, so that they can't take what is left either.
pub const MAX_TURNING_AWAY: u32 = 1_000;

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

/// One socket that is open. Connections wait in it from now on, and nobody accepts them yet: it
/// needs no runtime, so that it can be opened before there are threads, with rights that are given
/// up afterwards.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Inet(std::net::TcpListener),
    /// A socket file.
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The sockets of one `<listen>`.
pub type Sockets = (ListenPlan, Vec<Socket>);

impl Socket {
    /// Takes what was handed over for a plan, and opens the rest: a host name may stand for several
    /// addresses.
    ///
    /// # Errors
    /// The first that could not be opened.
    pub fn open(
        plan: &ListenPlan,
        addresses: &Addresses,
        handed_over: &HandedOver,
    ) -> Result<Vec<Socket>, ListenError> {
        let endpoint = &plan.endpoint;
        let failed = |source| ListenError::Io { endpoint: endpoint.clone(), source };
        match endpoint {
            Endpoint::Unix(path) => match handed_over.at_path(path).map_err(failed)? {
                Some(socket) => Ok(vec![socket]),
                None => Ok(vec![socket::open_unix(path, &plan.permissions)?]),
            },
            Endpoint::Inet { .. } => {
                let open = |address: &SocketAddr| match handed_over.at_address(*address)? {
                    Some(socket) => Ok(socket),
                    None => socket::open_inet(*address),
                };
                let addresses = addresses.of(endpoint).map_err(failed)?;
                addresses.iter().map(|at| open(at).map_err(failed)).collect()
            }
        }
    }

    /// Opens the sockets of all plans, or none.
    ///
    /// # Errors
    /// The first that could not be opened.
    pub fn open_all(
        plans: &[ListenPlan],
        addresses: &Addresses,
        handed_over: &HandedOver,
    ) -> Result<Vec<Sockets>, ListenError> {
        let open =
            |plan: &ListenPlan| Ok((plan.clone(), Socket::open(plan, addresses, handed_over)?));
        plans.iter().map(open).collect()
    }

    /// Makes it ready to be accepted from, in the current runtime.
    ///
    /// # Errors
    /// The runtime can't have it.
    pub fn into_listener(self) -> io::Result<Listener> {
        match self {
            Socket::Inet(socket) => Ok(Listener::Inet(TcpListener::from_std(socket)?)),
            Socket::Unix(socket, file) => Ok(Listener::Unix(UnixListener::from_std(socket)?, file)),
        }
    }
}

/// One socket that is accepted from.
pub enum Listener {
    /// TCP.
    Inet(TcpListener),
    /// A socket file. One of our own is removed when the listener goes.
    Unix(UnixListener, SocketFile),
}

impl Listener {
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
                // A reply is one write, so without it nothing is lost but a little time.
                let _unset = stream.set_nodelay(true);
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
    /// Counts them.
    pub traffic: Arc<Traffic>,
    /// How many connections there may be.
    pub max_connections: AtomicU32,
    /// Whether one more is closed without an answer.
    pub is_silent: AtomicBool,
    /// The server's logger.
    pub logger: Logger,
}

/// Accepts connections until the task is ended.
pub async fn accept_all(listener: Listener, intake: Arc<Intake>) {
    let name = listener.name();
    info!(intake.logger, "listening"; "endpoint" => &name);
    let mut failures = Failures::default();
    loop {
        match listener.accept().await {
            Ok(connection) => intake.admit(connection),
            // It went away before it was accepted; the next one may be good.
            Err(error) if concerns_one_connection(&error) => tokio::task::yield_now().await,
            Err(error) => {
                if let Some(count) = failures.tell(Instant::now()) {
                    warn!(intake.logger, "can't accept connections, they wait";
                        "endpoint" => &name, "reason" => %error, "attempts" => count);
                }
                // Whoever wants to connect waits in the system's queue meanwhile.
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// Whether accepting failed for what a peer or the network did, not for want of anything here.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

impl Intake {
    /// Hands a connection to the worker with the fewest; at the limit for one answer only, and
    /// where there is no room for that either, closes it.
    fn admit(&self, connection: Connection) {
        let traffic = &self.traffic;
        let most = self.max_connections.load(Ordering::Relaxed);
        let room = if traffic.connections.load(Ordering::Relaxed) < most {
            count(&traffic.accepted);
            Room::Whole
        } else {
            traffic.reached(Limit::Connections);
            let turning_away = traffic.turning_away.load(Ordering::Relaxed);
            if self.is_silent.load(Ordering::Relaxed) || turning_away >= MAX_TURNING_AWAY {
                count(&traffic.refused);
                return;
            }
            Room::OneAnswer
        };
        let load = |slot: &&WorkerSlot| {
            (slot.is_busy.load(Ordering::Relaxed), slot.connections.load(Ordering::Relaxed))
        };
        let Some(slot) = self.workers.iter().min_by_key(load) else { return };
        let counted = Counted::enter(room, traffic.clone(), slot.connections.clone());
        slot.admit(connection, counted);
    }
}

/// Counts attempts to accept that failed, and says when it is time to log them.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    logged: Option<Instant>,
}

impl Failures {
    /// Counts one; how many there were since the last line, if a line is due.
    fn tell(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let due = self.logged.is_none_or(|logged| now - logged >= FAILURE_LOG_INTERVAL);
        due.then(|| {
            self.logged = Some(now);
            std::mem::take(&mut self.count)
        })
    }
}
