//! Watches over the workers' threads. An engine that blocks its thread, by sleeping or by an
//! endless loop, can't be interrupted: no timeout of its worker fires, and all connections of the
//! worker wait with it.
//!
//! Each worker has a heart, a task that beats ten times a second; the watchdog is a thread of its
//! own that listens to all of them. What it does when a heart stands still:
//!
//! | after | it does |
//! |---|---|
//! | 300 ms | new connections go to other workers |
//! | the `timeout` of the engine that runs, at least 1 s | it says so in the log, and suspends the engine on all workers |
//! | the deadline of a request that is under way | the worker is given up: another one takes its place, answers its requests with `on_error`, puts them on record, and ends its connections |
//!
//! The thread is left behind; should it come to itself, it finds nothing to do any more, and ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::Recipient;
use actix_rt::ArbiterHandle;
use jiff::Timestamp;
use mppd_engine::config::DEFAULT_TIMEOUT;
use mppd_engine::slog::{Logger, info, warn};
use serde::{Deserialize, Serialize};

use super::blueprint::EnginePlan;
use super::breaker::Breaker;
use crate::listener::Intake;
use crate::metrics::{Counters, Shard};
use crate::seat::Seats;

/// How often a worker's heart beats, and how often it is looked at.
pub const BEAT: Duration = Duration::from_millis(100);

/// New connections go elsewhere.
const BUSY: Duration = Duration::from_millis(300);

/// The shortest time after which an engine is said to hold up its worker.
const SHORTEST_LIMIT: Duration = Duration::from_secs(1);

/// A worker that nobody waits for is given up as well.
const LONGEST: Duration = Duration::from_mins(1);

/// After how many beats a worker that could not be replaced is given up again.
const ASKED_AGAIN: u32 = 100;

/// Threads that may be left behind at once. Each has the memory of a worker, its connections'
/// descriptors, and perhaps a core.
pub const MOST_STUCK: usize = 8;

/// How a worker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its number, from 0.
    pub number: usize,
    /// Its connections.
    pub connections: u32,
    /// What holds it up: the full ID of an engine, or `mppd` itself.
    pub held_up_by: Option<String>,
    /// Since when (RFC 3339).
    pub since: Option<String>,
    /// How often another one has taken its place.
    pub replaced: u32,
}

/// What others see of a worker's thread.
#[derive(Debug)]
pub struct Post {
    beats: AtomicU64,
    /// The engine that has the thread; 0 for none.
    running: AtomicU32,
    engines: Mutex<HashMap<u32, Watched>>,
    next: AtomicU32,
    /// Its connections.
    pub seats: Arc<Seats>,
    /// What it counts.
    pub counts: Arc<Shard>,
}

impl Default for Post {
    fn default() -> Self {
        Post {
            beats: AtomicU64::new(0),
            running: AtomicU32::new(0),
            engines: Mutex::default(),
            next: AtomicU32::new(1),
            seats: Arc::default(),
            counts: Arc::default(),
        }
    }
}

/// An engine that a worker has.
#[derive(Debug, Clone)]
struct Watched {
    id: Arc<str>,
    timeout: Duration,
    breaker: Option<Arc<Breaker>>,
}

impl Post {
    /// The worker's heart has beaten.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Watches an engine, until what is returned is dropped.
    #[must_use]
    pub fn watch(self: &Arc<Self>, plan: &EnginePlan) -> Watch {
        let (id, timeout, breaker) = (plan.id.clone(), plan.timeout, plan.breaker.clone());
        let mut engines = self.lock();
        let mut number = self.next.fetch_add(1, Ordering::Relaxed);
        while number == 0 || engines.contains_key(&number) {
            number = self.next.fetch_add(1, Ordering::Relaxed);
        }
        engines.insert(number, Watched { id, timeout, breaker });
        Watch { post: self.clone(), number }
    }

    fn running(&self) -> Option<Watched> {
        self.lock().get(&self.running.load(Ordering::Relaxed)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Watched>> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine is watched as long as this lives.
#[derive(Debug)]
pub struct Watch {
    post: Arc<Post>,
    number: u32,
}

impl Watch {
    /// The engine has the thread, until what is returned is dropped.
    #[must_use]
    pub fn enter(&self) -> Turn<'_> {
        self.post.running.store(self.number, Ordering::Relaxed);
        Turn(&self.post)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.post.lock().remove(&self.number);
    }
}

/// The engine has the thread as long as this lives.
#[derive(Debug)]
pub struct Turn<'a>(&'a Post);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.running.store(0, Ordering::Relaxed);
    }
}

/// A worker is to be given up.
#[derive(Debug)]
pub struct GiveUp {
    /// Its number.
    pub number: usize,
    /// What holds it up.
    pub held_up_by: Option<Arc<str>>,
}

impl actix::Message for GiveUp {
    type Result = ();
}

/// The posts that are manned, and what is known of those that were given up.
#[derive(Debug, Default)]
pub struct Posts {
    known: Mutex<Vec<Known>>,
    /// What the workers count, those among them that were given up.
    pub counters: Arc<Counters>,
}

#[derive(Debug)]
struct Known {
    number: usize,
    post: Arc<Post>,
    arbiter: ArbiterHandle,
    beats: u64,
    still: u32,
    held_up: Option<HeldUp>,
    given_up: bool,
    /// Whether another has its place.
    replaced: bool,
}

#[derive(Debug)]
struct HeldUp {
    engine: Option<Watched>,
    since: Timestamp,
}

impl Posts {
    /// A worker's post is manned; whoever had it before has lost it.
    pub fn man(&self, number: usize, post: Arc<Post>, arbiter: ArbiterHandle) {
        self.counters.join(post.counts.clone());
        let mut known = self.lock();
        known.iter_mut().filter(|known| known.number == number).for_each(|k| k.replaced = true);
        let new = Known {
            number,
            post,
            arbiter,
            beats: 0,
            still: 0,
            held_up: None,
            given_up: false,
            replaced: false,
        };
        known.push(new);
    }

    /// The post of this number, as it is manned now.
    #[must_use]
    pub fn current(&self, number: usize) -> Option<Arc<Post>> {
        let known = self.lock();
        let current = known.iter().find(|known| known.number == number && !known.replaced);
        current.map(|known| known.post.clone())
    }

    /// Whether the worker of this number can't do anything.
    #[must_use]
    pub fn is_held_up(&self, number: usize) -> bool {
        let known = self.lock();
        known.iter().any(|known| known.number == number && !known.replaced && known.is_still(BUSY))
    }

    /// How many threads are stuck that were given up.
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.lock().iter().filter(|known| known.replaced).count()
    }

    /// How the workers stand.
    #[must_use]
    pub fn status(&self, intake: &Intake) -> Vec<WorkerStatus> {
        let known = self.lock();
        let current = known.iter().filter(|known| !known.replaced);
        let status = current.map(|known| {
            let slot = intake.workers.get(known.number);
            let held_up = known.held_up.as_ref();
            WorkerStatus {
                number: known.number,
                connections: slot.map_or(0, |s| s.connections.load(Ordering::Relaxed)),
                held_up_by: held_up.map(|held_up| name_of(held_up.engine.as_ref()).to_owned()),
                since: held_up.map(|held_up| held_up.since.to_string()),
                replaced: slot.map_or(0, |s| s.replaced.load(Ordering::Relaxed)),
            }
        });
        let mut status: Vec<WorkerStatus> = status.collect();
        status.sort_by_key(|status| status.number);
        status
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(engine: Option<&Watched>) -> &str {
    engine.map_or("mppd", |engine| &engine.id)
}

impl Known {
    fn is_still(&self, time: Duration) -> bool {
        BEAT * self.still >= time
    }
}

/// The thread that watches; it ends when this is dropped.
#[derive(Debug)]
pub struct Watchdog {
    _ends: Sender<()>,
}

struct Rounds {
    posts: Arc<Posts>,
    intake: Arc<Intake>,
    supervisor: Recipient<GiveUp>,
    logger: Logger,
}

impl Watchdog {
    /// Begins to watch.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(
        posts: Arc<Posts>,
        intake: Arc<Intake>,
        supervisor: Recipient<GiveUp>,
        logger: Logger,
    ) -> std::io::Result<Self> {
        let (ends, end) = channel();
        let rounds = Rounds { posts, intake, supervisor, logger };
        let watch = move || rounds.make(&end);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { _ends: ends })
    }
}

impl Rounds {
    fn make(&self, end: &Receiver<()>) {
        while end.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            self.posts.lock().retain_mut(|known| self.look_at(known));
        }
    }

    /// Looks at one post; whether it is still to be watched.
    fn look_at(&self, known: &mut Known) -> bool {
        let beats = known.post.beats.load(Ordering::Relaxed);
        if beats == known.beats {
            known.still = known.still.saturating_add(1);
            self.worry(known);
            return true;
        }
        (known.beats, known.still) = (beats, 0);
        let held_up = known.held_up.take();
        if let Some(HeldUp { engine, since }) = held_up {
            if let Some(breaker) = engine.as_ref().and_then(|engine| engine.breaker.as_ref()) {
                breaker.release();
            }
            info!(self.logger, "a worker goes on that was held up"; "worker" => known.number,
                "by" => name_of(engine.as_ref()), "since" => %since,
                "given_up" => known.given_up);
        }
        if known.replaced {
            known.arbiter.stop();
            return false;
        }
        known.given_up = false;
        self.set_busy(known, false);
        true
    }

    fn worry(&self, known: &mut Known) {
        if known.is_still(BUSY) {
            self.set_busy(known, true);
        }
        if known.held_up.is_none() {
            self.accuse(known);
        }
        let Some(held_up) = &known.held_up else { return };
        // Where no other worker could take its place, connections may have come to it since.
        let is_time = if known.given_up {
            known.still.is_multiple_of(ASKED_AGAIN)
        } else {
            known.is_still(LONGEST) || known.post.seats.are_overdue(Instant::now())
        };
        if is_time && !known.replaced {
            known.given_up = true;
            let held_up_by = held_up.engine.as_ref().map(|engine| engine.id.clone());
            self.supervisor.do_send(GiveUp { number: known.number, held_up_by });
        }
    }

    /// Says what holds a worker up, once it has done so for too long.
    fn accuse(&self, known: &mut Known) {
        let engine = known.post.running();
        let limit = engine.as_ref().map_or(DEFAULT_TIMEOUT.0, |engine| engine.timeout);
        if !known.is_still(limit.max(SHORTEST_LIMIT)) {
            return;
        }
        let held = BEAT * known.still;
        let since = Timestamp::now() - held;
        let by = name_of(engine.as_ref());
        warn!(self.logger, "a worker is held up, its connections wait"; "worker" => known.number,
            "by" => by, "since" => %since);
        if let Some(breaker) = engine.as_ref().and_then(|engine| engine.breaker.as_ref()) {
            breaker.hold("it blocks its thread", &self.logger);
        }
        known.held_up = Some(HeldUp { engine, since });
    }

    fn set_busy(&self, known: &Known, is_busy: bool) {
        if let Some(slot) = self.intake.workers.get(known.number)
            && !known.replaced
        {
            slot.is_busy.store(is_busy, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use actix::{Actor, Context, Handler};
    use actix_rt::Arbiter;

    use super::*;

    type Given = Arc<Mutex<Vec<(usize, Option<Arc<str>>)>>>;

    /// Keeps whom it is told to give up.
    struct Supervisor(Given);

    impl Actor for Supervisor {
        type Context = Context<Self>;
    }

    impl Handler<GiveUp> for Supervisor {
        type Result = ();

        fn handle(&mut self, GiveUp { number, held_up_by }: GiveUp, _: &mut Context<Self>) {
            self.0.lock().unwrap().push((number, held_up_by));
        }
    }

    fn rounds(given_up: &Given) -> Rounds {
        let logger = crate::log::silent();
        let intake = Intake {
            workers: Vec::new(),
            traffic: Arc::default(),
            max_connections: AtomicU32::new(1),
            is_silent: AtomicBool::new(false),
            logger: logger.clone(),
        };
        let supervisor = Supervisor(given_up.clone()).start().recipient();
        Rounds { posts: Arc::default(), intake: Arc::new(intake), supervisor, logger }
    }

    impl Rounds {
        fn look(&self, times: u32) {
            for _ in 0..times {
                self.posts.lock().retain_mut(|known| self.look_at(known));
            }
        }

        fn held_up_by(&self) -> Option<String> {
            self.posts.status(&self.intake)[0].held_up_by.clone()
        }
    }

    #[actix_rt::test]
    async fn a_thread_that_is_blocked_outside_of_any_engine_is_given_up_as_well() {
        let given_up = Given::default();
        let rounds = rounds(&given_up);
        let (arbiter, post) = (Arbiter::new(), Arc::<Post>::default());
        rounds.posts.man(0, post.clone(), arbiter.handle());
        post.beat();
        rounds.look(20);
        assert_eq!(rounds.held_up_by(), None);
        rounds.look(200);
        assert_eq!(rounds.held_up_by().as_deref(), Some("mppd"));
        // Nobody's deadline is over, but the thread is of no use.
        rounds.look(400);
        tokio::task::yield_now().await;
        assert_eq!(*given_up.lock().unwrap(), [(0, None)]);
        // It has come to itself before another took its place.
        post.beat();
        rounds.look(1);
        assert_eq!(rounds.held_up_by(), None);
        arbiter.stop();
    }
}
