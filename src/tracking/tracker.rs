//! The tracker: the actor that owns the stores of one connection, on a thread of its own, and the
//! handle by which engines reach it.

use std::os::unix::fs::DirBuilderExt as _;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{Actor, ActorContext as _, Arbiter, AsyncContext as _, Context};
use futures_util::FutureExt as _;
use mppd_database::ResolvedConnection;
use mppd_engine::tracking::Recorded;
use mppd_engine::{Exchange, Tracker, TrackingError, Transition};
use slog::{Logger, crit, o};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::alive::begin_run;
use super::batch::State;
use super::bounds::Bounds;
use super::database::{Database, Denial};
use super::embedded::Embedded;
use super::queue::{Content, Entry, Queue, ended};
use super::retention::{Removal, Retention, remove_for_ever};
use super::snapshot::Snapshot;
use super::spool::{self, Spool};
use super::status::{Batches, Place, TrackerStatus};
use super::store::StoreError;
use super::target::Target;
use super::writer::{Endings, Manner, Writer, endings};
use crate::config::settings::{CommonOptions, Durability, Interrupted};

/// File name of the embedded store.
pub const EMBEDDED: &str = "requests.sqlite";

/// What a tracker needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerOptions {
    /// Name of this node in the records.
    pub node: Arc<str>,
    /// Where the embedded store and the spool are.
    pub state_directory: PathBuf,
    /// The database; the embedded store where there is none.
    pub connection: Option<ResolvedConnection>,
    /// What an answer waits for.
    pub durability: Durability,
    /// How long a `received` may wait for its decision.
    pub received_delay: Duration,
    /// Most rows in one transaction.
    pub batch_rows: usize,
    /// Most transitions that may wait to be written.
    pub queue: usize,
    /// Most octets that may wait to be written, about.
    pub max_memory: usize,
    /// Bounds of the spool, and what happens where rows can be kept nowhere.
    pub bounds: Bounds,
    /// What becomes of requests that were under way when mppd ended without stopping.
    pub interrupted: Interrupted,
    /// How long such a request may have been under way.
    pub request_deadline: Duration,
    /// How long rows are kept; for ever unless given.
    pub retention: Option<Retention>,
}

impl TrackerOptions {
    /// The embedded store in this directory, and the defaults.
    #[must_use]
    pub fn new(node: Arc<str>, state_directory: PathBuf) -> Self {
        Self::of(node, state_directory, &CommonOptions::default())
    }

    /// The embedded store in this directory, and what the configuration says.
    #[must_use]
    pub fn of(node: Arc<str>, state_directory: PathBuf, common: &CommonOptions) -> Self {
        let tracking = &common.tracking;
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let retention = tracking.retention.as_ref().map(|retention| Retention {
            keep: retention.keep.0.0,
            step_rows: count(retention.step_rows.0),
            step_pause: retention.step_pause.0,
        });
        TrackerOptions {
            node,
            state_directory,
            connection: None,
            durability: tracking.durability,
            received_delay: tracking.received_delay.0,
            batch_rows: count(tracking.batch_rows.0),
            queue: count(tracking.queue.0),
            max_memory: common.policy_server.max_memory.0.octets(),
            bounds: Bounds {
                max_size: tracking.spool.max_size.0.octets() as u64,
                max_age: tracking.spool.max_age.map(|period| period.0.0),
                at_bound: tracking.spool.at_bound,
            },
            interrupted: tracking.interrupted,
            request_deadline: common.policy_server.request_deadline.0.0,
            retention,
        }
    }

    /// The file, or the server and its database, for people.
    fn records(&self) -> String {
        let Some(connection) = &self.connection else {
            return self.state_directory.join(EMBEDDED).display().to_string();
        };
        let database = &connection.database;
        match (&connection.unix_socket, &connection.host) {
            (Some(socket), _) => format!("{} {database}", socket.display()),
            (None, Some(host)) => format!("{host}:{} {database}", connection.port),
            (None, None) => format!("localhost:{} {database}", connection.port),
        }
    }
}

/// Why a tracker could not start.
#[derive(Debug, thiserror::Error)]
pub enum TrackingStartError {
    /// The state directory cannot be made.
    #[error("the state directory {} cannot be made: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file in the state directory cannot be written.
    #[error("the file {} for records cannot be written: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: StoreError,
    },
    /// The database is there, but of no use.
    #[error("the tracking database {database} cannot be used: {source}")]
    Database {
        /// Its name.
        database: String,
        /// Why.
        source: StoreError,
    },
    /// The system gives no thread.
    #[error("the tracker's thread cannot start: {0}")]
    Thread(#[source] std::io::Error),
    /// It ended before it had begun.
    #[error("the tracker ended while it started")]
    Ended,
}

/// Reaches a tracker; clones reach the same one.
#[derive(Debug, Clone)]
pub struct TrackerHandle {
    node: Arc<str>,
    durability: Durability,
    queue: Arc<Queue>,
    status: Arc<Mutex<TrackerStatus>>,
    batches: Arc<Batches>,
    ended: watch::Receiver<()>,
}

impl TrackerHandle {
    /// Starts a tracker on a thread of its own; within an actix `System`. A database that is away
    /// or lets nobody in does not keep it from starting.
    ///
    /// # Errors
    /// Records could be kept neither here nor there, or those of the database are none of this
    /// version's.
    pub async fn start(
        options: TrackerOptions,
        logger: Logger,
    ) -> Result<Self, TrackingStartError> {
        Self::start_with(options, Denial::Absence, logger).await
    }

    /// The same, where a database that lets nobody in is a mistake ([`Denial::Mistake`]), or not.
    ///
    /// # Errors
    /// Also what the database says that must be mended.
    pub async fn start_with(
        options: TrackerOptions,
        denial: Denial,
        logger: Logger,
    ) -> Result<Self, TrackingStartError> {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        let arbiter = Arbiter::try_with_tokio_rt(runtime).map_err(TrackingStartError::Thread)?;
        let place = match options.connection {
            Some(_) => Place::Connected,
            None => Place::Embedded,
        };
        let status = TrackerStatus::new(options.records(), place);
        begin_run();
        let (end, ended) = watch::channel(());
        let handle = TrackerHandle {
            node: Arc::clone(&options.node),
            durability: options.durability,
            queue: Arc::new(Queue::new(options.queue, options.max_memory)),
            status: Arc::new(Mutex::new(status)),
            batches: Arc::default(),
            ended,
        };
        let (started, result) = oneshot::channel();
        let opening = Opening { options, denial, handle: handle.clone(), logger, started, end };
        TrackingActor::start_in_arbiter(&arbiter.handle(), |_| TrackingActor(Some(opening)));
        result.await.map_err(|_| TrackingStartError::Ended)??;
        Ok(handle)
    }

    /// Takes nothing more in, writes everything, and ends.
    pub async fn stop(&self) {
        self.queue.close();
        let mut ended = self.ended.clone();
        // The actor drops the other side when it ends; it never sends.
        while ended.changed().await.is_ok() {}
    }

    /// Whether it has written everything and ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // The actor drops the other side when it ends.
        self.ended.has_changed().is_err()
    }

    /// How the tracker is.
    #[must_use]
    pub fn status(&self) -> TrackerStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        TrackerStatus { waiting: self.queue.len(), ..status }
    }

    /// How large its batches were, and how long it took to write them.
    #[must_use]
    pub fn batches(&self) -> &Batches {
        &self.batches
    }

    fn waits(&self, state: State) -> bool {
        match self.durability {
            Durability::Relaxed => false,
            Durability::Answer => state == State::Processed,
            Durability::Strict => true,
        }
    }
}

impl TrackerHandle {
    // While requests are put off, what becomes of this one is only known when it is written.
    fn must_wait(&self, state: State) -> bool {
        state == State::Processed && self.queue.refuses()
    }
}

impl Tracker for TrackerHandle {
    fn record(&self, transition: Transition, exchange: &Exchange) -> Recorded {
        let snapshot = Snapshot::take(transition, exchange, &self.node);
        let key = snapshot.key();
        let (state, content) = match transition {
            Transition::Received => (State::Received, Content::later(snapshot)),
            // Made here, on the worker's thread, which has more time than the tracker's.
            Transition::Processed | Transition::Exception => {
                (State::Processed, Content::row(Arc::new(snapshot.row())))
            }
        };
        let (acknowledgement, written) = if self.waits(state) || self.must_wait(state) {
            Some(oneshot::channel())
        } else {
            None
        }
        .unzip();
        if let Err(error) = self.queue.push(Entry { key, state, content, acknowledgement }) {
            return Box::pin(std::future::ready(Err(error)));
        }
        if let Some(written) = written {
            return Box::pin(async { written.await.map_err(|_| ended())? });
        }
        if !self.queue.is_full() {
            return Box::pin(std::future::ready(Ok::<(), TrackingError>(())));
        }
        let queue = Arc::clone(&self.queue);
        Box::pin(async move {
            queue.room().await;
            Ok(())
        })
    }
}

struct Opening {
    options: TrackerOptions,
    denial: Denial,
    handle: TrackerHandle,
    logger: Logger,
    started: oneshot::Sender<Result<(), TrackingStartError>>,
    end: watch::Sender<()>,
}

/// The actor. Transitions do not come as messages: a message is lost when its sender gives up.
struct TrackingActor(Option<Opening>);

impl Actor for TrackingActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(opening) = self.0.take() {
            let work = wrap_future::<_, Self>(work(opening));
            context.spawn(work.map(|(), _, context: &mut Context<Self>| context.stop()));
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        Arbiter::current().stop();
    }
}

async fn work(opening: Opening) {
    let Opening { options, denial, handle, logger, started, end } = opening;
    let target = match open(&options, denial, &logger).await {
        Ok(target) => target,
        Err(error) => {
            // Whoever started it does not want to know any more.
            let _gone = started.send(Err(error));
            return;
        }
    };
    let delay = match options.durability {
        Durability::Strict => Duration::ZERO,
        Durability::Answer | Durability::Relaxed => options.received_delay,
    };
    let logger = logger.new(o!("node" => options.node.to_string()));
    let manner = Manner {
        node: Arc::clone(&options.node),
        batch_rows: options.batch_rows,
        received_delay: delay,
        bounds: options.bounds.clone(),
    };
    let (queue, status) = (Arc::clone(&handle.queue), Arc::clone(&handle.status));
    let (removal, remover) = retention(&options, &status, &logger);
    let mut writer = Writer::new(target, manner, queue, status, logger.clone())
        .with_endings(find_endings(&options, &logger))
        .with_removal(removal)
        .with_batches(Arc::clone(&handle.batches));
    writer.note();
    let _gone = started.send(Ok(()));
    while AssertUnwindSafe(writer.run()).catch_unwind().await.is_err() {
        crit!(logger, "the tracker panicked; it goes on with the rows that wait");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    writer.close().await;
    if let Some(remover) = remover {
        remover.abort();
    }
    drop(end);
}

/// Who removes old rows: the writer, from the embedded store, or a task of its own.
fn retention(
    options: &TrackerOptions,
    status: &Arc<Mutex<TrackerStatus>>,
    logger: &Logger,
) -> (Option<Removal>, Option<JoinHandle<()>>) {
    let Some(retention) = &options.retention else { return (None, None) };
    let removal = Removal::new(retention.clone(), Arc::clone(status), logger.clone());
    match &options.connection {
        None => (Some(removal), None),
        Some(connection) => {
            let work = remove_for_ever(connection.clone(), removal, logger.clone());
            (None, Some(actix_rt::spawn(work)))
        }
    }
}

fn find_endings(options: &TrackerOptions, logger: &Logger) -> Endings {
    let path = match &options.connection {
        Some(connection) => spool::path(&options.state_directory, connection),
        None => options.state_directory.join(EMBEDDED),
    };
    let records = path.file_stem().unwrap_or_default().to_string_lossy();
    let closes = options.interrupted == Interrupted::Close;
    endings(&options.state_directory, &records, options.request_deadline, closes, logger)
}

async fn open(
    options: &TrackerOptions,
    denial: Denial,
    logger: &Logger,
) -> Result<Target, TrackingStartError> {
    let directory = &options.state_directory;
    // What the records say about people's mail is not for every user of the machine.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)
        .map_err(|source| TrackingStartError::Directory { path: directory.clone(), source })?;
    let bounds = options.bounds.clone();
    let Some(connection) = &options.connection else {
        let path = directory.join(EMBEDDED);
        let embedded = Embedded::open(path.clone(), bounds, logger.clone());
        let embedded = embedded.map_err(|source| TrackingStartError::File { path, source })?;
        return Ok(Target::Embedded(Box::new(embedded)));
    };
    let path = spool::path(directory, connection);
    let spool = Spool::open(&path, bounds, logger.clone());
    let spool = spool.map_err(|source| TrackingStartError::File { path, source })?;
    let connector = Rc::new(connection.clone());
    let database = Database::open(connector, spool, denial, logger.clone()).await;
    let database = database.map_err(|source| TrackingStartError::Database {
        database: connection.database.clone(),
        source,
    })?;
    Ok(Target::Database(Box::new(database)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    fn options(state_directory: PathBuf) -> TrackerOptions {
        TrackerOptions { queue: 10, ..TrackerOptions::new("node".into(), state_directory) }
    }

    #[actix_rt::test]
    async fn records_are_not_for_everybody_to_read() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("var/mppd");
        let tracker = TrackerHandle::start(options(state.clone()), crate::log::silent()).await;
        assert_eq!(std::fs::metadata(&state).unwrap().mode() & 0o7, 0);
        tracker.unwrap().stop().await;
    }
}
