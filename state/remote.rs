//! What stores on other machines have in common: a thread that asks the server, one exchange at a
//! time for each key, and knows whether the server is there.
//!
//! A change is made by comparing and exchanging: the record is read, the change applied, and the
//! result put in place only if the record is still of the version that was read; else all of it
//! begins anew. Every version is drawn at random, so an exchange that was sent twice happens once,
//! and one whose answer was lost can be told from that of somebody else.
//!
//! Changes of one key that come while an exchange of this key is under way wait for its end, and
//! are then made all together by one more. So a counter that everybody wants costs no more
//! exchanges than the server can do one after the other, and this process never disturbs itself.
//!
//! A server that does not answer is away: until it has been seen to work again, everything that
//! needs it fails at once instead of waiting for it.

mod condition;
mod office;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::Logger;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use self::office::{Office, serve};
use crate::StateError;
use crate::backend::{Backend, BoxedChange, Pending, Stored};
use crate::connections::Connections;
use crate::counted::{Absence, StateStatus};
use crate::table::{Millis, millis};

/// How long a list may take, beside the time for anything: a server may have to look at all that it
/// has.
const LISTED_WITHIN: Duration = Duration::from_mins(2);

/// A record as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Another one with each change.
    pub(crate) version: u64,
    /// When it is forgotten.
    pub(crate) until: Millis,
    /// What it holds.
    pub(crate) octets: Vec<u8>,
}

/// Why a server did not do what it was asked; in words for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// Nothing is to be had of it.
    #[error("{0}")]
    Away(String),
    /// It is well, and what it keeps under this key is not of mppd's making.
    #[error("{0}")]
    Key(String),
}

/// What a server can do.
pub(crate) trait Server: 'static {
    /// Does what must be done before the first exchange, and after the server was away.
    async fn prepare(&self) -> Result<(), ServerError>;

    /// The record of a key, whether or not it is forgotten by now.
    async fn read(&self, key: &[u8]) -> Result<Option<Held>, ServerError>;

    /// Puts a record in the place of the one that was read; whether that was still there. An error
    /// says nothing about whether it has happened.
    async fn exchange(
        &self,
        key: &[u8],
        held: Option<&Held>,
        new: Option<&Held>,
        now: Millis,
    ) -> Result<bool, ServerError>;

    /// Whether what is below us sends an exchange again whose answer it did not get.
    fn may_send_twice(&self) -> bool {
        false
    }

    /// A page of the records whose keys begin so, in the order of their keys.
    async fn list(&self, page: &Page) -> Result<Vec<Stored>, ServerError>;

    /// Removes what is forgotten, and what is too much; called every now and then.
    async fn tend(&self) -> Result<(), ServerError>;
}

/// A server that is read and in no way changed.
pub(crate) struct ReadOnly<S>(pub(crate) S);

impl<S: Server> Server for ReadOnly<S> {
    async fn prepare(&self) -> Result<(), ServerError> {
        // It might make what is missing.
        Ok(())
    }

    async fn read(&self, key: &[u8]) -> Result<Option<Held>, ServerError> {
        self.0.read(key).await
    }

    async fn exchange(
        &self,
        _: &[u8],
        _: Option<&Held>,
        _: Option<&Held>,
        _: Millis,
    ) -> Result<bool, ServerError> {
        // Whoever changes anything keeps that to himself.
        Ok(true)
    }

    async fn list(&self, page: &Page) -> Result<Vec<Stored>, ServerError> {
        self.0.list(page).await
    }

    async fn tend(&self) -> Result<(), ServerError> {
        Ok(())
    }
}

/// Which records are listed.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) prefix: Vec<u8>,
    pub(crate) behind: Option<Vec<u8>>,
    pub(crate) limit: usize,
    pub(crate) now: Millis,
}

/// How a server is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manners {
    /// How long anything may take.
    pub(crate) timeout: Duration,
    /// About how often the server is tended.
    pub(crate) tended_every: Duration,
}

enum Job {
    Update(Vec<u8>, Update),
    List(Page, Instant, oneshot::Sender<Result<Vec<Stored>, StateError>>),
}

struct Update {
    now: Millis,
    change: BoxedChange,
    deadline: Instant,
    reply: oneshot::Sender<Result<(), StateError>>,
}

/// A store on another machine.
#[derive(Debug)]
pub(crate) struct Remote {
    jobs: mpsc::UnboundedSender<Job>,
    timeout: Duration,
    absence: Arc<Mutex<Option<Absence>>>,
    connections: Connections,
}

impl Remote {
    /// Starts the thread, which makes the server there, one that counts its connections so, and at
    /// once tries to reach it.
    pub(crate) fn start<S: Server>(
        server: impl FnOnce(Connections) -> S + Send + 'static,
        manners: Manners,
        logger: &Logger,
    ) -> Result<Self, StateError> {
        let unstarted = |error| StateError::new("can't start its thread").with_source(error);
        let (jobs, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(unstarted)?;
        let (logger, absence) = (logger.clone(), Arc::default());
        let noted = Arc::clone(&absence);
        let connections = Connections::default();
        let counted = connections.clone();
        let serve = move || {
            let office = Rc::new(Office::new(server(counted), manners, noted, logger));
            LocalSet::new().block_on(&runtime, serve(office, receiver));
        };
        std::thread::Builder::new().name("state".to_owned()).spawn(serve).map_err(unstarted)?;
        Ok(Remote { jobs, timeout: manners.timeout, absence, connections })
    }

    fn send<T: Send + 'static>(
        &self,
        job: impl FnOnce(Instant, oneshot::Sender<Result<T, StateError>>) -> Job,
    ) -> Pending<T> {
        let (reply, receiver) = oneshot::channel();
        // Where the thread has ended, nobody will reply.
        let _ended = self.jobs.send(job(Instant::now() + self.timeout, reply));
        Box::pin(async move {
            receiver.await.unwrap_or_else(|_| Err(StateError::new("did not apply a change")))
        })
    }
}

impl Backend for Remote {
    fn update(&self, key: Vec<u8>, now: Timestamp, change: BoxedChange) -> Pending<()> {
        let now = millis(now);
        self.send(|deadline, reply| Job::Update(key, Update { now, change, deadline, reply }))
    }

    fn list(
        &self,
        prefix: Vec<u8>,
        behind: Option<Vec<u8>>,
        limit: usize,
        now: Timestamp,
    ) -> Pending<Vec<Stored>> {
        let page = Page { prefix, behind, limit, now: millis(now) };
        self.send(|deadline, reply| Job::List(page, deadline + LISTED_WITHIN, reply))
    }

    fn status(&self) -> Option<StateStatus> {
        let absence = self.absence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let connections = Some(self.connections.count());
        Some(StateStatus { connections, absence, ..StateStatus::default() })
    }
}
