//! One request on its way through the chains: what every engine can see, and what the server adds
//! as it goes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use crate::action::{Action, Decision};
use crate::outcome::EngineResult;
use crate::request::Request;
use crate::score::{Contribution, Score};
use crate::stage::Stage;
use crate::tracking::{RequestKey, Tracker};

/// Why the end-exception chain runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The engine that failed; `None` for the request as a whole (its deadline passed).
    pub engine: Option<Arc<str>>,
    /// One word: `timeout`, `panic`, `failed`, `overloaded`, `suspended`, `deadline`,
    /// `gone`.
    pub kind: &'static str,
    /// What happened, for people.
    pub message: String,
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.engine {
            Some(engine) => write!(f, "{engine}: {}: {}", self.kind, self.message),
            None => write!(f, "{}: {}", self.kind, self.message),
        }
    }
}

/// What is known of a request when it comes.
pub struct Receipt {
    /// The request.
    pub request: Arc<Request>,
    /// Its key in the records.
    pub key: RequestKey,
    /// When it came.
    pub received: SystemTime,
    /// When an answer must be given at the latest.
    pub deadline: Instant,
    /// ID of the policy group that was selected for it.
    pub group: Arc<str>,
    /// Name of this node.
    pub node: Arc<str>,
    /// Where it is put on record.
    pub tracker: Arc<dyn Tracker>,
    /// The request that this one repeats octet for octet, if it does.
    pub repeat_of: Option<RequestKey>,
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt")
            .field("request", &self.request)
            .field("key", &self.key)
            .field("received", &self.received)
            .field("deadline", &self.deadline)
            .field("group", &self.group)
            .field("node", &self.node)
            .field("repeat_of", &self.repeat_of)
            .finish_non_exhaustive()
    }
}

/// One request, what the engines made of it so far, and the decision once there is one.
pub struct Exchange {
    receipt: Receipt,
    stage: Stage,
    dry_run: bool,
    results: Mutex<Vec<Arc<EngineResult>>>,
    globals: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    score: AtomicI64,
    contributions: Mutex<Vec<Contribution>>,
    decision: OnceLock<Decision>,
    failed: OnceLock<(Exception, Decision)>,
    taken_over: AtomicBool,
}

impl Exchange {
    /// Begins the exchange for a request that has just come.
    #[must_use]
    pub fn new(receipt: Receipt) -> Self {
        Exchange {
            stage: receipt.request.stage(),
            receipt,
            dry_run: false,
            results: Mutex::new(Vec::new()),
            globals: Mutex::new(BTreeMap::new()),
            score: AtomicI64::new(0),
            contributions: Mutex::new(Vec::new()),
            decision: OnceLock::new(),
            failed: OnceLock::new(),
            taken_over: AtomicBool::new(false),
        }
    }

    /// The same, as a request of this policy group, put on record there. For the server, before any
    /// engine has seen it.
    #[must_use]
    pub fn in_group(mut self, group: Arc<str>, tracker: Arc<dyn Tracker>) -> Self {
        self.receipt.group = group;
        self.receipt.tracker = tracker;
        self
    }

    /// The same, to be answered with DUNNO whatever is decided. For the server.
    #[must_use]
    pub fn in_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Whether the request is answered with DUNNO, whatever is decided: its policy group says
    /// `dry_run`. [`Exchange::decision`] is what would be answered.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The request.
    #[must_use]
    #[inline]
    pub fn request(&self) -> &Arc<Request> {
        &self.receipt.request
    }

    /// Its key in the records.
    #[must_use]
    pub fn key(&self) -> RequestKey {
        self.receipt.key
    }

    /// When it came.
    #[must_use]
    pub fn received(&self) -> SystemTime {
        self.receipt.received
    }

    /// When an answer must be given at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.receipt.deadline
    }

    /// ID of the policy group.
    #[must_use]
    pub fn group(&self) -> &Arc<str> {
        &self.receipt.group
    }

    /// Name of this node.
    #[must_use]
    pub fn node(&self) -> &Arc<str> {
        &self.receipt.node
    }

    /// The group's records.
    #[must_use]
    pub fn tracker(&self) -> &Arc<dyn Tracker> {
        &self.receipt.tracker
    }

    /// The stage of the request.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The request that this one repeats, octet for octet. Its checks do not run; its answer is
    /// that of the first.
    #[must_use]
    pub fn repeat_of(&self) -> Option<RequestKey> {
        self.receipt.repeat_of
    }

    /// What the engines that ran so far came to, in the order in which they ran.
    #[must_use]
    pub fn results(&self) -> Vec<Arc<EngineResult>> {
        self.lock_results().clone()
    }

    /// What the engine of this full ID came to; `None` where it has not run.
    #[must_use]
    pub fn result(&self, engine: &str) -> Option<Arc<EngineResult>> {
        self.lock_results().iter().rev().find(|result| &*result.engine == engine).cloned()
    }

    /// Looks at what the engine of this full ID came to, where it has run.
    pub fn with_result<T>(&self, engine: &str, look: impl FnOnce(&EngineResult) -> T) -> Option<T> {
        let results = self.lock_results();
        results.iter().rev().find(|result| &*result.engine == engine).map(|result| look(result))
    }

    /// Looks at the variables that the texts of this request have set (`globals_set`), or changes
    /// them.
    pub fn with_globals<T>(&self, look: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>) -> T) -> T {
        // No change leaves the map half-way, so a poisoned lock is as good as any.
        look(&mut self.globals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the effects `score N` of this request have come to.
    #[must_use]
    pub fn score(&self) -> Score {
        Score(self.score.load(Ordering::Relaxed))
    }

    /// Looks at what the score is made of, in the order in which it came.
    pub fn with_contributions<T>(&self, look: impl FnOnce(&[Contribution]) -> T) -> T {
        look(&self.lock_contributions())
    }

    /// Adds to the score what the status of an engine is worth. For the server.
    pub fn add_score(&self, engine: &Arc<str>, status: &'static str, score: Score) {
        // A request is with one engine at a time; the sum cannot be read half-way.
        self.score.store(self.score().0.saturating_add(score.0), Ordering::Relaxed);
        self.lock_contributions().push(Contribution { engine: engine.clone(), status, score });
    }

    /// The decision: that of the check chain once it has ended; after an exception, that of
    /// `on_error`.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        self.failed.get().map(|(_, decision)| decision).or_else(|| self.decision.get())
    }

    /// What is answered, as the log and the records tell it: the action's word or code, and its
    /// text. In a dry run that is DUNNO, with what would have been answered as the text.
    #[must_use]
    pub fn answer(&self) -> Option<(Cow<'_, str>, Option<Cow<'_, str>>)> {
        let action = &self.decision()?.action;
        if self.dry_run {
            return Some((Action::Dunno.word(), Some(format!("dry run: {action}").into())));
        }
        Some((action.word(), action.text().map(Cow::Borrowed)))
    }

    /// The exception, in the end-exception chain.
    #[must_use]
    pub fn exception(&self) -> Option<&Exception> {
        self.failed.get().map(|(exception, _)| exception)
    }

    /// Adds what an engine came to. For the server.
    pub fn add_result(&self, result: EngineResult) {
        self.lock_results().push(Arc::new(result));
    }

    /// Sets the decision; the first one stands. For the server.
    pub fn decide(&self, decision: Decision) {
        // A second decision would be a defect of the chain; the first is what was recorded.
        let _first_stands = self.decision.set(decision);
    }

    /// Sets the exception and the decision that follows from it; the first one stands. For the
    /// server.
    pub fn fail(&self, exception: Exception, decision: Decision) {
        let _first_stands = self.failed.set((exception, decision));
    }

    /// Says that somebody else finishes the request than whoever began it. For the server.
    pub fn take_over(&self) {
        self.taken_over.store(true, Ordering::Release);
    }

    /// Whether somebody else finishes it. For the server.
    #[must_use]
    pub fn is_taken_over(&self) -> bool {
        self.taken_over.load(Ordering::Acquire)
    }

    fn lock_contributions(&self) -> MutexGuard<'_, Vec<Contribution>> {
        // A push cannot leave the vector half-way, so a poisoned lock is as good as any.
        self.contributions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_results(&self) -> MutexGuard<'_, Vec<Arc<EngineResult>>> {
        // A push cannot leave the vector half-way, so a poisoned lock is as good as any.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("key", &self.receipt.key)
            .field("stage", &self.stage)
            .field("results", &self.lock_results())
            .field("decision", &self.decision())
            .field("exception", &self.exception())
            .finish_non_exhaustive()
    }
}
