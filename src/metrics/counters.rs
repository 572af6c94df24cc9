//! What is counted on the way of a request, by engine and by policy group.
//!
//! Each worker has a [`Shard`] of its own, to which only its thread adds; [`Counters`] knows all of
//! them, and whoever asks gets the sums. The numbers of an engine go on over reloads for as long as
//! the configuration names it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mppd_engine::{Action, Exchange, Stage};

use super::count::{Count, Histogram, HistogramReading, TIMES};
use crate::supervisor::blueprint::{Blueprint, EnginePlan};

/// The status of an engine whose precondition does not hold.
const SKIPPED: &str = "skipped";

/// The status of an engine that failed.
const EXCEPTION: &str = "exception";

/// The words of [`mppd_engine::Exception`], of engines and of whole requests.
pub const EXCEPTIONS: [&str; 7] =
    ["failed", "panic", "timeout", "overloaded", "suspended", "gone", "deadline"];

/// What is decided: the words of access(5), and codes by their class.
pub const DECISIONS: [&str; 16] = [
    "DUNNO",
    "OK",
    "REJECT",
    "DEFER",
    "DEFER_IF_PERMIT",
    "DEFER_IF_REJECT",
    "HOLD",
    "DISCARD",
    "FILTER",
    "REDIRECT",
    "BCC",
    "PREPEND",
    "WARN",
    "INFO",
    "4xx",
    "5xx",
];

/// Where an action stands in [`DECISIONS`].
fn place_of(action: &Action) -> usize {
    match action {
        Action::Dunno => 0,
        Action::Ok => 1,
        Action::Reject(_) => 2,
        Action::Defer(_) => 3,
        Action::DeferIfPermit(_) => 4,
        Action::DeferIfReject(_) => 5,
        Action::Hold(_) => 6,
        Action::Discard(_) => 7,
        Action::Filter(_) => 8,
        Action::Redirect(_) => 9,
        Action::Bcc(_) => 10,
        Action::Prepend(_) => 11,
        Action::Warn(_) => 12,
        Action::Info(_) => 13,
        Action::Code(code, _) if code.get() < 500 => 14,
        Action::Code(..) => 15,
    }
}

/// Adds one to the exception of this word.
fn count_exception(counts: &[Count; EXCEPTIONS.len()], kind: &str) {
    let place = EXCEPTIONS.iter().position(|known| *known == kind);
    counts[place.unwrap_or_default()].add(1);
}

fn absorb(counts: &[Count], others: &[Count]) {
    for (count, other) in counts.iter().zip(others) {
        count.add(other.get());
    }
}

/// What one worker has counted of one engine.
#[derive(Debug)]
struct EngineCounts {
    /// Those that the engine declares, in alphabetical order, then those of the framework.
    statuses: Box<[&'static str]>,
    runs: Box<[Count]>,
    exceptions: [Count; EXCEPTIONS.len()],
    decided: Count,
    times: Histogram,
}

impl EngineCounts {
    fn of(plan: &EnginePlan) -> Self {
        let statuses = statuses(plan);
        EngineCounts {
            runs: statuses.iter().map(|_| Count::default()).collect(),
            statuses,
            exceptions: Default::default(),
            decided: Count::default(),
            times: Histogram::of_times(),
        }
    }

    fn nothing_like(other: &EngineCounts) -> Self {
        EngineCounts {
            runs: other.statuses.iter().map(|_| Count::default()).collect(),
            statuses: other.statuses.clone(),
            exceptions: Default::default(),
            decided: Count::default(),
            times: Histogram::of_times(),
        }
    }

    fn is_of(&self, plan: &EnginePlan) -> bool {
        self.statuses == statuses(plan)
    }

    fn count_status(&self, status: &'static str) {
        // The words are mostly the same pieces of memory.
        let is_same = |known: &&'static str| std::ptr::eq(*known, status) || *known == status;
        if let Some(place) = self.statuses.iter().position(is_same) {
            self.runs[place].add(1);
        }
    }

    fn absorb(&self, other: &EngineCounts) {
        if self.statuses != other.statuses {
            return;
        }
        absorb(&self.runs, &other.runs);
        absorb(&self.exceptions, &other.exceptions);
        self.decided.add(other.decided.get());
        self.times.absorb(&other.times);
    }
}

fn statuses(plan: &EnginePlan) -> Box<[&'static str]> {
    let mut declared: Vec<&'static str> = plan.effects.keys().copied().collect();
    declared.sort_unstable();
    declared.extend([SKIPPED, EXCEPTION]);
    declared.into()
}

/// What one worker has counted of one policy group.
#[derive(Debug, Default)]
struct GroupCounts {
    stages: [Count; Stage::ALL.len()],
    decisions: [Count; DECISIONS.len()],
    exceptions: [Count; EXCEPTIONS.len()],
    repeats: Count,
}

impl GroupCounts {
    fn absorb(&self, other: &GroupCounts) {
        absorb(&self.stages, &other.stages);
        absorb(&self.decisions, &other.decisions);
        absorb(&self.exceptions, &other.exceptions);
        self.repeats.add(other.repeats.get());
    }
}

/// What an engine is counted under: a reload may give its ID to another kind.
type EngineKey = (Arc<str>, &'static str);

/// What one worker counts. Only its thread adds to it.
#[derive(Debug)]
pub struct Shard {
    engines: Mutex<HashMap<EngineKey, Arc<EngineCounts>>>,
    groups: Mutex<HashMap<Arc<str>, Arc<GroupCounts>>>,
    times: Histogram,
}

impl Default for Shard {
    fn default() -> Self {
        Shard { engines: Mutex::default(), groups: Mutex::default(), times: Histogram::of_times() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change leaves what is inside half-way, so a poisoned lock is as good as any.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn engine(&self, plan: &EnginePlan) -> Arc<EngineCounts> {
        let mut engines = lock(&self.engines);
        let key = (plan.id.clone(), plan.kind);
        if let Some(known) = engines.get(&key).filter(|known| known.is_of(plan)) {
            return known.clone();
        }
        let new = Arc::new(EngineCounts::of(plan));
        engines.insert(key, new.clone());
        new
    }

    fn group(&self, id: &Arc<str>) -> Arc<GroupCounts> {
        lock(&self.groups).entry(id.clone()).or_default().clone()
    }

    /// Takes over what a worker has counted that counts no more.
    fn absorb(&self, other: &Shard) {
        self.times.absorb(&other.times);
        for (id, counts) in &*lock(&other.groups) {
            self.group(id).absorb(counts);
        }
        let mut engines = lock(&self.engines);
        for (key, counts) in &*lock(&other.engines) {
            let own = engines.entry(key.clone());
            own.or_insert_with(|| Arc::new(EngineCounts::nothing_like(counts))).absorb(counts);
        }
    }

    /// Forgets what a blueprint does not name.
    fn keep(&self, blueprint: &Blueprint) {
        let is_named = |(id, kind): &EngineKey| {
            blueprint.engines.iter().any(|plan| plan.id == *id && plan.kind == *kind)
        };
        lock(&self.engines).retain(|key, _| is_named(key));
        lock(&self.groups).retain(|id, _| blueprint.group(id).is_some());
    }
}

/// Where the engines of one blueprint, raised on one worker, are counted.
#[derive(Debug)]
pub struct Tally {
    shard: Arc<Shard>,
    /// As in the blueprint.
    engines: Vec<Arc<EngineCounts>>,
    /// As in the blueprint.
    groups: Vec<Arc<GroupCounts>>,
}

impl Tally {
    /// Goes on with what the worker has counted so far.
    #[must_use]
    pub fn of(blueprint: &Blueprint, shard: &Arc<Shard>) -> Self {
        Tally {
            shard: shard.clone(),
            engines: blueprint.engines.iter().map(|plan| shard.engine(plan)).collect(),
            groups: blueprint.groups.iter().map(|group| shard.group(&group.id)).collect(),
        }
    }

    /// An engine was skipped.
    pub fn skipped(&self, engine: usize) {
        self.engines[engine].count_status(SKIPPED);
    }

    /// An engine came to a status; `failure` is the word of what kept it from one.
    pub fn ran(
        &self,
        engine: usize,
        status: &'static str,
        failure: Option<&'static str>,
        elapsed: Duration,
    ) {
        let counts = &self.engines[engine];
        counts.count_status(status);
        if status == EXCEPTION {
            count_exception(&counts.exceptions, failure.unwrap_or(EXCEPTIONS[0]));
        }
        // A run that was not made took no time that says anything.
        if !matches!(failure, Some("suspended" | "overloaded")) {
            counts.times.observe_time(elapsed);
        }
    }

    /// A request of a group has its decision.
    pub fn decided(&self, blueprint: &Blueprint, exchange: &Exchange, elapsed: Duration) {
        self.shard.times.observe_time(elapsed);
        let Some(place) = blueprint.position(exchange.group()) else { return };
        let group = &self.groups[place];
        let stage = Stage::ALL.iter().position(|stage| *stage == exchange.stage());
        group.stages[stage.unwrap_or_default()].add(1);
        if exchange.repeat_of().is_some() {
            group.repeats.add(1);
        }
        if let Some(exception) = exchange.exception() {
            count_exception(&group.exceptions, exception.kind);
        }
        let Some(decision) = exchange.decision() else { return };
        let action = if exchange.is_dry_run() { &Action::Dunno } else { &decision.action };
        group.decisions[place_of(action)].add(1);
        // What is repeated was decided by the engine once.
        let engine = decision.engine.as_ref().filter(|_| exchange.repeat_of().is_none());
        let decider = engine.and_then(|id| blueprint.engines.iter().position(|e| e.id == *id));
        if let Some(engine) = decider {
            self.engines[engine].decided.add(1);
        }
    }
}

/// What all workers count.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Shards>);

#[derive(Debug, Default)]
struct Shards {
    counting: Vec<Arc<Shard>>,
    /// What those have counted that are gone.
    gone: Shard,
}

impl Counters {
    /// A worker begins to count.
    pub fn join(&self, shard: Arc<Shard>) {
        let mut shards = lock(&self.0);
        let Shards { counting, gone } = &mut *shards;
        counting.retain(|shard| {
            // Nobody else can add to it, or will.
            let is_left = Arc::strong_count(shard) == 1;
            if is_left {
                gone.absorb(shard);
            }
            !is_left
        });
        counting.push(shard);
    }

    /// Forgets the engines and groups that a configuration has no more.
    pub fn keep(&self, blueprint: &Blueprint) {
        let shards = lock(&self.0);
        for shard in shards.counting.iter().map(|shard| &**shard).chain([&shards.gone]) {
            shard.keep(blueprint);
        }
    }

    /// How they stand, in the order of the configuration.
    #[must_use]
    pub fn read(&self, blueprint: &Blueprint) -> Reading {
        let mut reading = Reading::nothing(blueprint);
        let shards = lock(&self.0);
        for shard in shards.counting.iter().map(|shard| &**shard).chain([&shards.gone]) {
            reading.add(shard);
        }
        reading
    }
}

/// What was counted by the time somebody asked. Counts are since the start of the server, or since
/// the configuration names the engine or group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The engines, in the order of the configuration.
    pub engines: Vec<EngineReading>,
    /// The policy groups, in the order of the configuration.
    pub groups: Vec<GroupReading>,
    /// How long requests took, in nanoseconds: from the last octet to the decision.
    pub times: HistogramReading,
}

/// What was counted of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReading {
    /// Its full ID.
    pub id: Arc<str>,
    /// Name of its kind.
    pub kind: &'static str,
    /// How often it came to each status; `skipped` and `exception` are the last.
    pub statuses: Vec<(&'static str, u64)>,
    /// How often it failed, by word.
    pub exceptions: Vec<(&'static str, u64)>,
    /// Requests that it decided.
    pub decided: u64,
    /// How long its runs took, in nanoseconds.
    pub times: HistogramReading,
}

/// What was counted of one policy group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReading {
    /// Its ID.
    pub id: Arc<str>,
    /// Its requests, by stage.
    pub stages: Vec<(&'static str, u64)>,
    /// What was answered, by word; see [`DECISIONS`].
    pub decisions: Vec<(&'static str, u64)>,
    /// Requests that ended with an exception, by word.
    pub exceptions: Vec<(&'static str, u64)>,
    /// Requests that repeated another one.
    pub repeats: u64,
}

type Named = Vec<(&'static str, u64)>;

fn zeros(names: impl IntoIterator<Item = &'static str>) -> Named {
    names.into_iter().map(|name| (name, 0)).collect()
}

fn add(named: &mut Named, counts: &[Count]) {
    for ((_, sum), count) in named.iter_mut().zip(counts) {
        *sum += count.get();
    }
}

impl Reading {
    fn nothing(blueprint: &Blueprint) -> Self {
        let engine = |plan: &EnginePlan| EngineReading {
            id: plan.id.clone(),
            kind: plan.kind,
            statuses: zeros(statuses(plan)),
            exceptions: zeros(EXCEPTIONS),
            decided: 0,
            times: HistogramReading::nothing(TIMES),
        };
        let group = |id: &Arc<str>| GroupReading {
            id: id.clone(),
            stages: zeros(Stage::ALL.iter().map(|stage| stage.name())),
            decisions: zeros(DECISIONS),
            exceptions: zeros(EXCEPTIONS),
            repeats: 0,
        };
        Reading {
            engines: blueprint.engines.iter().map(engine).collect(),
            groups: blueprint.groups.iter().map(|plan| group(&plan.id)).collect(),
            times: HistogramReading::nothing(TIMES),
        }
    }

    fn add(&mut self, shard: &Shard) {
        self.times.add(&shard.times.read());
        let engines = lock(&shard.engines);
        for engine in &mut self.engines {
            let Some(counts) = engines.get(&(engine.id.clone(), engine.kind)) else { continue };
            add(&mut engine.statuses, &counts.runs);
            add(&mut engine.exceptions, &counts.exceptions);
            engine.decided += counts.decided.get();
            engine.times.add(&counts.times.read());
        }
        let groups = lock(&shard.groups);
        for group in &mut self.groups {
            let Some(counts) = groups.get(&group.id) else { continue };
            add(&mut group.stages, &counts.stages);
            add(&mut group.decisions, &counts.decisions);
            add(&mut group.exceptions, &counts.exceptions);
            group.repeats += counts.repeats.get();
        }
    }
}

#[cfg(test)]
mod tests;
