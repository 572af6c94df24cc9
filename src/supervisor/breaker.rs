//! A circuit breaker for each engine, shared by the copies on all workers: an engine that fails
//! again and again is left alone for a while, so that requests do not wait for what will not come.
//!
//! ```text
//!            failures in a row          the pause is over
//!   closed ────────────────────► open ────────────────────► half open: one run, on trial
//!      ▲                          ▲                             │   │
//!      │                          └───── it failed: twice the ──┘   │
//!      └───────────────────────── pause ── it succeeded ────────────┘
//! ```
//!
//! While the engine is suspended, each run that is asked for is the exception `suspended` at once.
//! Runs that began before count no more when they end. As long as a thread is stuck in the engine
//! there is no trial: it would cost another thread.
//!
//! A reload makes new breakers, which are closed: whoever has mended something need not wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mppd_engine::Escaped;
use mppd_engine::slog::{Logger, info, warn};
use mppd_engine::trouble::{Trouble, Word};
use serde::{Deserialize, Serialize};

use super::host::RunError;

/// The pause doubles with each trial that fails, up to this.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// When an engine is suspended, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPlan {
    /// After so many failures in a row; 0 for never.
    pub failures: u32,
    /// How long at first.
    pub pause: Duration,
}

impl Default for BreakerPlan {
    fn default() -> Self {
        use mppd_engine::config::{DEFAULT_BREAKER_FAILURES, DEFAULT_BREAKER_PAUSE};
        BreakerPlan { failures: DEFAULT_BREAKER_FAILURES, pause: DEFAULT_BREAKER_PAUSE.0 }
    }
}

/// Whether an engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// It does.
    Closed,
    /// It is suspended.
    Open,
    /// It is suspended, and one run is on trial.
    HalfOpen,
}

/// How a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// Full ID of the engine.
    pub engine: String,
    /// Whether it runs.
    pub state: BreakerState,
    /// How often it has failed in a row.
    pub failures: u32,
    /// Runs that were not made since it was suspended.
    pub suspended_runs: u64,
    /// When it was suspended (RFC 3339).
    pub since: Option<String>,
    /// When the next run is tried (RFC 3339); nothing while a thread is stuck in it.
    pub until: Option<String>,
    /// Why it was suspended, or what went wrong in the last trial.
    pub reason: Option<String>,
}

/// The breaker of one engine.
#[derive(Debug)]
pub struct Breaker {
    engine: Arc<str>,
    /// The number of times that the engine was suspended, doubled; odd unless it is closed and
    /// nothing has failed since the last success. All that most runs look at.
    word: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    circuit: Circuit,
    since: Timestamp,
    reason: Arc<str>,
    /// What a run that is not made is told.
    told: Arc<str>,
    skipped: u64,
    reminder: Trouble,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(engine: Arc<str>, plan: BreakerPlan) -> Self {
        let nothing: Arc<str> = Arc::from("");
        let inner = Inner {
            circuit: Circuit::new(plan),
            since: Timestamp::UNIX_EPOCH,
            reason: nothing.clone(),
            told: nothing,
            skipped: 0,
            reminder: Trouble::default(),
        };
        Breaker { engine, word: AtomicU64::new(0), inner: Mutex::new(inner) }
    }

    /// Asks whether the engine may run now.
    ///
    /// # Errors
    /// [`RunError::Suspended`] where it may not.
    pub fn enter(self: &Arc<Self>, logger: &Logger) -> Result<Permit, RunError> {
        let word = self.word.load(Ordering::Relaxed);
        let ticket =
            if word.is_multiple_of(2) { Ticket::Usual(word / 2) } else { self.ask(logger)? };
        Ok(Permit { breaker: self.clone(), ticket: Some(ticket) })
    }

    fn ask(&self, logger: &Logger) -> Result<Ticket, RunError> {
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some(ticket) = inner.circuit.enter(now) {
            return Ok(ticket);
        }
        inner.skipped += 1;
        if let Some(Word::Lasts { .. }) = inner.reminder.happened(now) {
            warn!(logger, "engine is still suspended"; "engine" => &*self.engine,
                "since" => %inner.since, "runs" => inner.skipped,
                "reason" => %Escaped(inner.reason.as_bytes()));
        }
        Err(RunError::Suspended(inner.told.clone()))
    }

    /// Suspends the engine because a thread is stuck in it, until [`Breaker::release`].
    pub fn hold(&self, reason: &str, logger: &Logger) {
        let mut inner = self.lock();
        let change = inner.circuit.hold(Instant::now());
        self.follow(&mut inner, change, reason, logger);
    }

    /// The thread is free again; a run is tried after a pause.
    pub fn release(&self) {
        self.lock().circuit.release(Instant::now());
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> BreakerStatus {
        let inner = self.lock();
        let now = Instant::now();
        let (state, until) = match inner.circuit.position {
            Position::Closed => (BreakerState::Closed, None),
            Position::Open { until } => (BreakerState::Open, until),
            Position::Trial { .. } => (BreakerState::HalfOpen, None),
        };
        let is_suspended = state != BreakerState::Closed;
        let at = |until: Instant| Timestamp::now() + until.saturating_duration_since(now);
        BreakerStatus {
            engine: self.engine.to_string(),
            state,
            failures: inner.circuit.failures,
            suspended_runs: if is_suspended { inner.skipped } else { 0 },
            since: is_suspended.then(|| inner.since.to_string()),
            until: until.map(|until| at(until).to_string()),
            reason: is_suspended.then(|| inner.reason.to_string()),
        }
    }

    /// Says what has changed, and keeps it at hand.
    fn follow(&self, inner: &mut Inner, change: Change, reason: &str, logger: &Logger) {
        match change {
            Change::None => {}
            Change::Reopened => inner.reason = reason.into(),
            Change::Opened { pause } => {
                inner.since = Timestamp::now();
                inner.reason = reason.into();
                inner.told = format!("suspended since {:.0}: {reason}", inner.since).into();
                inner.skipped = 0;
                inner.reminder = Trouble::default();
                // The line below is the first that says so.
                let _begun = inner.reminder.happened(Instant::now());
                let next = pause.map_or_else(|| "when its thread is free".into(), in_words);
                warn!(logger, "engine suspended"; "engine" => &*self.engine,
                    "failures" => inner.circuit.failures, "next_run" => next,
                    "reason" => %Escaped(reason.as_bytes()));
            }
            Change::Closed => {
                info!(logger, "engine runs again"; "engine" => &*self.engine,
                    "suspended_since" => %inner.since, "runs" => inner.skipped);
            }
        }
        self.word.store(inner.circuit.word(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No panic can leave it half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_words(pause: Duration) -> String {
    format!("in {pause:?}")
}

/// Leave for one run; what comes of it is to be told.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    ticket: Option<Ticket>,
}

impl Permit {
    /// The engine has run.
    pub fn succeeded(mut self, logger: &Logger) {
        let Some(ticket) = self.ticket.take() else { return };
        let breaker = &self.breaker;
        if let Ticket::Usual(epoch) = ticket
            && breaker.word.load(Ordering::Relaxed) == epoch * 2
        {
            return;
        }
        let mut inner = breaker.lock();
        let change = inner.circuit.succeeded(ticket);
        breaker.follow(&mut inner, change, "", logger);
    }

    /// The engine has failed; whether the log is to tell of this one failure. While the engine is
    /// suspended, what is told of that is enough.
    #[must_use]
    pub fn failed(mut self, error: &RunError, logger: &Logger) -> bool {
        let Some(ticket) = self.ticket.take() else { return true };
        let breaker = &self.breaker;
        let mut inner = breaker.lock();
        let is_told = matches!(inner.circuit.position, Position::Closed);
        let change = inner.circuit.failed(ticket, Instant::now());
        breaker.follow(&mut inner, change, &error.to_string(), logger);
        is_told
    }
}

impl Drop for Permit {
    /// What came of the run says nothing of the engine.
    fn drop(&mut self) {
        if let Some(ticket @ Ticket::Trial(_)) = self.ticket.take() {
            self.breaker.lock().circuit.left(ticket, Instant::now());
        }
    }
}

/// Where a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ticket {
    /// Begun when the engine had been suspended so often.
    Usual(u64),
    /// The trial of this number.
    Trial(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Closed,
    /// `until` is nothing while a thread is stuck.
    Open {
        until: Option<Instant>,
    },
    Trial {
        number: u64,
    },
}

/// What an event has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Opened {
        pause: Option<Duration>,
    },
    /// A trial has failed.
    Reopened,
    Closed,
}

/// The state machine; the time is told to it.
#[derive(Debug, Clone)]
struct Circuit {
    plan: BreakerPlan,
    position: Position,
    /// In a row.
    failures: u32,
    /// How long it is suspended next time.
    pause: Duration,
    /// How often it was suspended.
    epoch: u64,
    trials: u64,
    /// Threads that are stuck in the engine.
    stuck: u32,
}

impl Circuit {
    fn new(plan: BreakerPlan) -> Self {
        Circuit {
            plan,
            position: Position::Closed,
            failures: 0,
            pause: plan.pause,
            epoch: 0,
            trials: 0,
            stuck: 0,
        }
    }

    /// What [`Breaker::word`] is.
    fn word(&self) -> u64 {
        let is_calm = self.position == Position::Closed && self.failures == 0;
        self.epoch * 2 + u64::from(!is_calm)
    }

    fn enter(&mut self, now: Instant) -> Option<Ticket> {
        match self.position {
            Position::Closed => Some(Ticket::Usual(self.epoch)),
            Position::Open { until: Some(until) } if until <= now => {
                self.trials += 1;
                self.position = Position::Trial { number: self.trials };
                Some(Ticket::Trial(self.trials))
            }
            Position::Open { .. } | Position::Trial { .. } => None,
        }
    }

    fn succeeded(&mut self, ticket: Ticket) -> Change {
        match (self.position, ticket) {
            (Position::Closed, Ticket::Usual(epoch)) if epoch == self.epoch => {
                self.failures = 0;
                Change::None
            }
            (Position::Trial { number }, Ticket::Trial(own)) if number == own => {
                self.failures = 0;
                self.pause = self.plan.pause;
                self.position = Position::Closed;
                Change::Closed
            }
            _ => Change::None,
        }
    }

    fn failed(&mut self, ticket: Ticket, now: Instant) -> Change {
        match (self.position, ticket) {
            (Position::Closed, Ticket::Usual(epoch)) if epoch == self.epoch => {
                if self.plan.failures == 0 {
                    return Change::None;
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures < self.plan.failures { Change::None } else { self.open(now) }
            }
            (Position::Trial { number }, Ticket::Trial(own)) if number == own => {
                self.failures = self.failures.saturating_add(1);
                self.pause_again(now);
                Change::Reopened
            }
            _ => Change::None,
        }
    }

    /// A run on trial came to nothing that says anything; the next one is on trial.
    fn left(&mut self, ticket: Ticket, now: Instant) {
        if let (Position::Trial { number }, Ticket::Trial(own)) = (self.position, ticket)
            && number == own
        {
            self.position = Position::Open { until: Some(now) };
        }
    }

    fn hold(&mut self, now: Instant) -> Change {
        self.stuck = self.stuck.saturating_add(1);
        match self.position {
            Position::Closed => self.open(now),
            Position::Open { .. } | Position::Trial { .. } => {
                self.position = Position::Open { until: None };
                Change::Reopened
            }
        }
    }

    fn release(&mut self, now: Instant) {
        self.stuck = self.stuck.saturating_sub(1);
        if self.stuck == 0 && self.position == (Position::Open { until: None }) {
            self.pause_again(now);
        }
    }

    fn open(&mut self, now: Instant) -> Change {
        self.epoch += 1;
        let pause = (self.stuck == 0).then_some(self.pause);
        match pause {
            Some(_) => self.pause_again(now),
            None => self.position = Position::Open { until: None },
        }
        Change::Opened { pause }
    }

    fn pause_again(&mut self, now: Instant) {
        self.position = Position::Open { until: Some(now + self.pause) };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE.max(self.plan.pause));
    }
}

#[cfg(test)]
mod tests;
