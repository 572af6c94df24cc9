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
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::{Logger, error};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::timeout_at;

use crate::StateError;
use crate::backend::{Backend, BoxedChange, Pending, Step, Stored};
use crate::counted::{Absence, StateStatus};
use crate::table::{Millis, millis};

/// How long a list may take, beside the time for anything: a server may have to look at all that it
/// has.
const LISTED_WITHIN: Duration = Duration::from_mins(2);

/// The longest pause before an exchange that somebody else was faster than is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_millis(20);

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
}

impl Remote {
    /// Starts the thread, which makes the server there and at once tries to reach it.
    pub(crate) fn start<S: Server>(
        server: impl FnOnce() -> S + Send + 'static,
        manners: Manners,
        logger: &Logger,
    ) -> Result<Self, StateError> {
        let unstarted = |error| StateError::new("can't start its thread").with_source(error);
        let (jobs, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(unstarted)?;
        let (logger, absence) = (logger.clone(), Arc::default());
        let noted = Arc::clone(&absence);
        let serve = move || {
            let office = Rc::new(Office::new(server(), manners, noted, logger));
            LocalSet::new().block_on(&runtime, serve(office, receiver));
        };
        std::thread::Builder::new().name("state".to_owned()).spawn(serve).map_err(unstarted)?;
        Ok(Remote { jobs, timeout: manners.timeout, absence })
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

    fn remove(&self, key: Vec<u8>) -> Pending<bool> {
        let removed = Arc::new(Mutex::new(false));
        let seen = removed.clone();
        let change: BoxedChange = Box::new(move |octets| {
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = octets.is_some();
            Step::Remove
        });
        let update = self.update(key, Timestamp::now(), change);
        Box::pin(async move {
            update.await?;
            Ok(*removed.lock().unwrap_or_else(PoisonError::into_inner))
        })
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
        Some(StateStatus { absence, ..StateStatus::default() })
    }
}

/// Whether the server is there.
#[derive(Debug, Clone)]
enum Condition {
    /// Nobody knows yet.
    Starting,
    Up,
    Away(Arc<str>),
}

/// The changes that wait for the end of an exchange of their key; there is an entry for each key
/// that somebody works at.
type Waiting = HashMap<Vec<u8>, Vec<Update>>;

/// Everything that the thread knows.
struct Office<S> {
    server: S,
    manners: Manners,
    waiting: RefCell<Waiting>,
    condition: watch::Sender<Condition>,
    /// Whether it is away, for whoever asks from another thread.
    absence: Arc<Mutex<Option<Absence>>>,
    /// When the server last answered anybody.
    answered: Cell<Option<Instant>>,
    random: RandomState,
    logger: Logger,
}

async fn serve<S: Server>(office: Rc<Office<S>>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let keeper = tokio::task::spawn_local(Rc::clone(&office).watch());
    let tender = tokio::task::spawn_local(Rc::clone(&office).tend());
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Update(key, update) => office.take(key, update),
            Job::List(page, deadline, reply) => {
                let office = Rc::clone(&office);
                let _task = tokio::task::spawn_local(async move {
                    let listed = office.within(deadline, office.server.list(&page)).await;
                    // Whoever asked may have gone.
                    let _gone = reply.send(listed);
                });
            }
        }
    }
    // What was begun is ended, within its time.
    while !office.waiting.borrow().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keeper.abort();
    tender.abort();
}

/// Whoever works at a key. When she is done, also by a panic of a change, the key is free.
struct Leader<S: Server> {
    office: Rc<Office<S>>,
    key: Vec<u8>,
}

impl<S: Server> Drop for Leader<S> {
    fn drop(&mut self) {
        self.office.waiting.borrow_mut().remove(&self.key);
    }
}

impl<S: Server> Leader<S> {
    async fn lead(self) {
        loop {
            let batch = self.office.take_waiting(&self.key);
            if batch.is_empty() {
                return;
            }
            self.work(batch).await;
        }
    }

    async fn work(&self, mut batch: Vec<Update>) {
        let Some(deadline) = batch.iter().map(|update| update.deadline).min() else { return };
        let office = &self.office;
        let outcome = office.within(deadline, office.apply(&self.key, &mut batch)).await;
        for update in batch {
            let outcome = outcome.as_ref().map_or_else(|error| Err(error.again()), |()| Ok(()));
            // Whoever asked may have gone.
            let _gone = update.reply.send(outcome);
        }
    }
}

impl<S: Server> Office<S> {
    fn new(
        server: S,
        manners: Manners,
        absence: Arc<Mutex<Option<Absence>>>,
        logger: Logger,
    ) -> Self {
        Office {
            server,
            manners,
            waiting: RefCell::default(),
            condition: watch::Sender::new(Condition::Starting),
            absence,
            answered: Cell::default(),
            random: RandomState::new(),
            logger,
        }
    }

    fn take(self: &Rc<Self>, key: Vec<u8>, update: Update) {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(waiting) = waiting.get_mut(&key) {
            return waiting.push(update);
        }
        waiting.insert(key.clone(), vec![update]);
        let leader = Leader { office: Rc::clone(self), key };
        let _task = tokio::task::spawn_local(leader.lead());
    }

    /// The changes that wait and that somebody still waits for.
    fn take_waiting(&self, key: &[u8]) -> Vec<Update> {
        let mut waiting = self.waiting.borrow_mut();
        let mut updates = waiting.get_mut(key).map(std::mem::take).unwrap_or_default();
        updates.retain(|update| !update.reply.is_closed());
        updates
    }

    /// Does some work, if the server is there, and notices when it is not.
    async fn within<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, StateError> {
        let work = async {
            self.wait_until_started().await?;
            match work.await {
                Ok(done) => {
                    self.note_answer();
                    Ok(done)
                }
                Err(ServerError::Key(reason)) => {
                    self.note_answer();
                    Err(StateError::new(reason))
                }
                Err(ServerError::Away(reason)) => Err(self.note_away(&reason)),
            }
        };
        match timeout_at(deadline.into(), work).await {
            Ok(done) => done,
            // One key may be locked, or wanted by everybody, on a server that is well.
            Err(_) if self.has_just_answered() => Err(StateError::new(format!(
                "is too busy: not done within {:?}",
                self.manners.timeout
            ))),
            Err(_) => Err(self.note_away(&format!("no answer within {:?}", self.manners.timeout))),
        }
    }

    fn note_answer(&self) {
        self.answered.set(Some(Instant::now()));
    }

    fn has_just_answered(&self) -> bool {
        self.answered.get().is_some_and(|answered| answered.elapsed() < self.manners.timeout / 2)
    }

    async fn wait_until_started(&self) -> Result<(), StateError> {
        let mut condition = self.condition.subscribe();
        let known = condition.wait_for(|known| !matches!(known, Condition::Starting)).await;
        match known.as_deref() {
            Ok(Condition::Away(reason)) => Err(away(reason)),
            _ => Ok(()),
        }
    }

    fn note_away(&self, reason: &str) -> StateError {
        let was_there = self.condition.send_if_modified(|condition| {
            let was_there = !matches!(condition, Condition::Away(_));
            if was_there {
                *condition = Condition::Away(reason.into());
            }
            was_there
        });
        self.note_absence(reason);
        if was_there {
            error!(self.logger, "the state store is away"; "reason" => reason);
        }
        away(reason)
    }

    fn note_absence(&self, reason: &str) {
        let mut absence = self.absence.lock().unwrap_or_else(PoisonError::into_inner);
        let since = absence.take().map_or_else(Timestamp::now, |absence| absence.since);
        *absence = Some(Absence { since, reason: reason.to_owned() });
    }

    /// Applies changes in their order, as one.
    async fn apply(&self, key: &[u8], batch: &mut Vec<Update>) -> Result<(), ServerError> {
        let mut held = self.server.read(key).await?;
        for attempt in 0u32.. {
            let now = batch.iter().map(|update| update.now).max().unwrap_or_default();
            let (record, has_changed) = fold(held.as_ref(), batch);
            if !has_changed {
                return Ok(());
            }
            let version = self.random();
            let new = record.map(|(until, octets)| Held { version, until, octets });
            if self.exchange(key, held.as_ref(), new.as_ref(), now).await? {
                return Ok(());
            }
            // It has answered, though somebody else was faster.
            self.note_answer();
            tokio::time::sleep(self.backoff(attempt)).await;
            batch.extend(self.take_waiting(key));
            held = self.server.read(key).await?;
        }
        Ok(())
    }

    /// Exchanges records for sure or not at all, as long as the server can be asked what became of
    /// an exchange whose answer was lost.
    async fn exchange(
        &self,
        key: &[u8],
        held: Option<&Held>,
        new: Option<&Held>,
        now: Millis,
    ) -> Result<bool, ServerError> {
        let lost = match self.server.exchange(key, held, new, now).await {
            Ok(true) => return Ok(true),
            Ok(false) if !self.server.may_send_twice() => return Ok(false),
            // It may have met itself.
            Ok(false) => {
                return Ok(new.is_some() && is_same(self.server.read(key).await?.as_ref(), new));
            }
            Err(lost) => lost,
        };
        let found = self.server.read(key).await?;
        if is_same(found.as_ref(), new) {
            return Ok(true);
        }
        if !is_same(found.as_ref(), held) {
            // Somebody has changed it before or after us.
            return Err(lost);
        }
        // It may still be under way; it will not happen twice.
        if self.server.exchange(key, held, new, now).await? {
            return Ok(true);
        }
        if is_same(self.server.read(key).await?.as_ref(), new) { Ok(true) } else { Err(lost) }
    }

    fn random(&self) -> u64 {
        // The hasher's keys are drawn at random, and no two calls hash the same.
        self.random.hash_one((Instant::now(), RandomState::new().hash_one(0)))
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let most = Duration::from_millis(1 << attempt.min(10)).min(LONGEST_BACKOFF);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.random() % micros)
    }
}

/// What the record becomes by all changes in their order, and whether that is another one.
fn fold(held: Option<&Held>, batch: &mut [Update]) -> (Option<(Millis, Vec<u8>)>, bool) {
    let mut record = held.map(|held| (held.until, held.octets.clone()));
    let mut has_changed = false;
    for update in batch {
        let alive = record.as_ref().filter(|(until, _)| *until > update.now);
        match (update.change)(alive.map(|(_, octets)| octets.as_slice())) {
            Step::Keep => {}
            Step::Put(octets, until) => {
                record = Some((millis(until), octets));
                has_changed = true;
            }
            Step::Remove => has_changed |= record.take().is_some(),
        }
    }
    (record, has_changed)
}

fn is_same(one: Option<&Held>, other: Option<&Held>) -> bool {
    one.map(|held| held.version) == other.map(|held| held.version)
}

fn away(reason: &str) -> StateError {
    StateError::new(format!("is away: {reason}"))
}
