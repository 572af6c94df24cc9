//! What the thread does: one exchange at a time for each key, in the order in which changes came.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::{Logger, error};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;

use super::{Held, Job, Manners, Server, ServerError, Update};
use crate::StateError;
use crate::backend::Step;
use crate::counted::Absence;
use crate::table::{Millis, millis};

/// The longest pause before an exchange that somebody else was faster than is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_millis(20);

/// Whether the server is there.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// Nobody knows yet.
    Starting,
    Up,
    Away(Arc<str>),
}

/// The changes that wait for the end of an exchange of their key; there is an entry for each key
/// that somebody works at.
type Waiting = HashMap<Vec<u8>, Vec<Update>>;

/// Everything that the thread knows.
pub(super) struct Office<S> {
    pub(super) server: S,
    pub(super) manners: Manners,
    waiting: RefCell<Waiting>,
    pub(super) condition: watch::Sender<Condition>,
    /// Whether it is away, for whoever asks from another thread.
    pub(super) absence: Arc<Mutex<Option<Absence>>>,
    /// When the server last answered anybody.
    answered: Cell<Option<Instant>>,
    random: RandomState,
    pub(super) logger: Logger,
}

pub(super) async fn serve<S: Server>(
    office: Rc<Office<S>>,
    mut jobs: mpsc::UnboundedReceiver<Job>,
) {
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
    pub(super) fn new(
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

    pub(super) fn note_answer(&self) {
        self.answered.set(Some(Instant::now()));
    }

    pub(super) fn has_just_answered(&self) -> bool {
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

    pub(super) fn note_away(&self, reason: &str) -> StateError {
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

    pub(super) fn note_absence(&self, reason: &str) {
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

    pub(super) fn random(&self) -> u64 {
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
