//! The actor around an engine: one for each engine and worker, on the worker's own arbiter.
//!
//! It gives an engine what its author does not write: a limit on runs that wait, a limit on time,
//! and protection from panics. A panic is an exception of the one request in whose run it
//! happened; the engine is made anew before the next one.
//!
//! actix bounds no mailbox that is reached by `send`, so the bound is here, in [`HostAddress`];
//! and its supervisor does not survive a panic, so panics are caught before it sees them.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Addr, Context, Handler, Message};
use futures_util::FutureExt;
use mppd_engine::engine::Run as Running;
use mppd_engine::{Action, Exchange, Failure, Outcome, Prototype};

use super::blueprint::EnginePlan;
use super::watchdog::{Post, Watch};

/// Why a run gave no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The engine said so.
    #[error("{0}")]
    Failed(String),
    /// The engine said so, and that it lies in the request.
    #[error("{0}")]
    Unfit(String),
    /// The engine said so, and what is answered in place of `on_error`.
    #[error("{0}")]
    Answered(String, Action),
    /// The engine panicked.
    #[error("the engine panicked: {0}")]
    Panicked(String),
    /// The time for one run was up.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// Too many runs were waiting.
    #[error("{0} runs are waiting already")]
    Overloaded(u32),
    /// It has failed too often; it was not asked.
    #[error("{0}")]
    Suspended(Arc<str>),
    /// The actor is gone.
    #[error("the engine's actor has ended")]
    Gone,
}

impl RunError {
    /// One word for the records.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            RunError::Failed(_) | RunError::Unfit(_) | RunError::Answered(..) => "failed",
            RunError::Panicked(_) => "panic",
            RunError::TimedOut(_) => "timeout",
            RunError::Overloaded(_) => "overloaded",
            RunError::Suspended(_) => "suspended",
            RunError::Gone => "gone",
        }
    }

    /// Whether it says that the engine does not work, and not that a request was too much for it.
    #[must_use]
    pub fn is_of_engine(&self) -> bool {
        !matches!(self, RunError::Unfit(_) | RunError::Overloaded(_) | RunError::Suspended(_))
    }
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        let whole = failure.whole();
        match failure.reply() {
            Some(reply) => RunError::Answered(whole, reply.clone()),
            None if failure.is_of_request() => RunError::Unfit(whole),
            None => RunError::Failed(whole),
        }
    }
}

type RunResult = Result<Outcome, RunError>;

/// One run of the engine: what it looks at, and how long it may take.
struct Run {
    exchange: Arc<Exchange>,
    limit: Duration,
}

impl Message for Run {
    type Result = RunResult;
}

/// The pause before an engine that could not be made anew is made once more, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After so long the next failure is taken for a first one.
const SOUND: Duration = Duration::from_secs(10);

/// When something that has failed is to be tried again.
#[derive(Debug, Default)]
struct Backoff(Option<Rest>);

#[derive(Debug)]
struct Rest {
    until: Instant,
    pause: Duration,
}

impl Backoff {
    fn is_over(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|rest| rest.until <= now)
    }

    /// It has failed once more.
    fn failed(&mut self, now: Instant) {
        let recent = self.0.as_ref().filter(|rest| now < rest.until + SOUND);
        let pause = recent.map_or(FIRST_PAUSE, |rest| (rest.pause * 2).min(LONGEST_PAUSE));
        self.0 = Some(Rest { until: now + pause, pause });
    }
}

/// The actor.
pub struct Host {
    prototype: Arc<dyn Prototype>,
    engine: Rc<dyn mppd_engine::Running>,
    /// Set by a run that panicked; the engine is made anew before the next one.
    broken: Rc<Cell<bool>>,
    /// Why that could not be done, and when it is tried again.
    unmade: Option<RunError>,
    backoff: Backoff,
    watch: Rc<Watch>,
}

impl Host {
    /// Starts the actor of one engine on the current arbiter.
    ///
    /// # Errors
    /// When the engine can't be copied, which is a panic of its author's making.
    pub fn start(
        plan: &EnginePlan,
        most_waiting: u32,
        post: &Arc<Post>,
    ) -> Result<HostAddress, RunError> {
        let (prototype, watch) = (plan.prototype.clone(), Rc::new(post.watch(plan)));
        let actor = RefCell::new(Host::begin(&prototype, &watch)?);
        let desk = Desk { prototype, watch, actor, backoff: RefCell::default() };
        Ok(HostAddress { desk: Rc::new(desk), waiting: Rc::default(), most_waiting })
    }

    fn begin(prototype: &Arc<dyn Prototype>, watch: &Rc<Watch>) -> Result<Addr<Host>, RunError> {
        Ok(Actor::start(Host {
            engine: copy(prototype)?,
            prototype: prototype.clone(),
            broken: Rc::new(Cell::new(false)),
            unmade: None,
            backoff: Backoff::default(),
            watch: watch.clone(),
        }))
    }

    fn repair(&mut self) -> Result<(), RunError> {
        if !self.broken.get() {
            return Ok(());
        }
        let now = Instant::now();
        if let Some(error) = self.unmade.as_ref().filter(|_| !self.backoff.is_over(now)) {
            return Err(error.clone());
        }
        let copied = copy(&self.prototype).inspect_err(|error| {
            self.backoff.failed(now);
            self.unmade = Some(error.clone());
        });
        let broken = std::mem::replace(&mut self.engine, copied?);
        self.unmade = None;
        self.broken.set(false);
        // What a panic left half-way may panic again when it is dropped.
        let _dropped = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        Ok(())
    }

    /// Starts a run. One that need not wait is done when this returns.
    fn run(&mut self, run: Run) -> Result<Answer, RunError> {
        self.repair()?;
        let engine = self.engine.clone();
        let started = catch_unwind(AssertUnwindSafe(|| {
            let _turn = self.watch.enter();
            let mut future = engine.run(run.exchange);
            let mut nobody = TaskContext::from_waker(Waker::noop());
            match future.as_mut().poll(&mut nobody) {
                Poll::Ready(result) => Started::Done(result),
                // It is polled again, with a waker, when it is spawned.
                Poll::Pending => Started::Waits(future),
            }
        }));
        match started {
            Ok(Started::Done(result)) => Ok(Answer::Now(result.map_err(RunError::from))),
            Ok(Started::Waits(future)) => {
                let run_on = RunOn { future, watch: self.watch.clone() };
                Ok(Answer::Later(Box::pin(finish(run_on, run.limit, self.broken.clone()))))
            }
            Err(panic) => {
                self.broken.set(true);
                Err(RunError::Panicked(panic_text(panic.as_ref())))
            }
        }
    }
}

enum Started {
    Done(Result<Outcome, Failure>),
    Waits(Running),
}

/// A run that is polled again.
struct RunOn {
    future: Running,
    watch: Rc<Watch>,
}

impl Future for RunOn {
    type Output = Result<Outcome, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let RunOn { future, watch } = &mut *self;
        let _turn = watch.enter();
        future.as_mut().poll(cx)
    }
}

async fn finish(run: RunOn, limit: Duration, broken: Rc<Cell<bool>>) -> RunResult {
    let watch = run.watch.clone();
    let mut run = AssertUnwindSafe(run).catch_unwind();
    let ended = tokio::time::timeout(limit, &mut run).await;
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        let _turn = watch.enter();
        drop(run);
    }));
    match (ended, dropped) {
        (Ok(Err(panic)), _) | (_, Err(panic)) => {
            broken.set(true);
            Err(RunError::Panicked(panic_text(panic.as_ref())))
        }
        (Ok(Ok(result)), Ok(())) => result.map_err(RunError::from),
        (Err(_), Ok(())) => Err(RunError::TimedOut(limit)),
    }
}

fn copy(prototype: &Arc<dyn Prototype>) -> Result<Rc<dyn mppd_engine::Running>, RunError> {
    catch_unwind(AssertUnwindSafe(|| prototype.copy()))
        .map_err(|panic| RunError::Panicked(panic_text(panic.as_ref())))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

impl Actor for Host {
    type Context = Context<Self>;
}

impl Handler<Run> for Host {
    type Result = Answer;

    fn handle(&mut self, run: Run, _: &mut Context<Self>) -> Answer {
        self.run(run).unwrap_or_else(|error| Answer::Now(Err(error)))
    }
}

/// What a run gives: at once for an engine that need not wait, which then costs no task.
enum Answer {
    Now(RunResult),
    Later(Pin<Box<dyn Future<Output = RunResult>>>),
}

impl MessageResponse<Host, Run> for Answer {
    fn handle(self, _: &mut Context<Host>, caller: Option<OneshotSender<RunResult>>) {
        match self {
            Answer::Now(result) => reply(caller, result),
            Answer::Later(future) => {
                actix_rt::spawn(async move { reply(caller, future.await) });
            }
        }
    }
}

fn reply(caller: Option<OneshotSender<RunResult>>, result: RunResult) {
    if let Some(caller) = caller {
        // A caller that is gone wants no answer.
        let _gone = caller.send(result);
    }
}

/// Where runs are asked for, by the sessions of one worker. Bounds what waits.
#[derive(Clone)]
pub struct HostAddress {
    desk: Rc<Desk>,
    waiting: Rc<Cell<u32>>,
    most_waiting: u32,
}

impl HostAddress {
    /// Asks for one run, unless too many wait already.
    ///
    /// # Errors
    /// Whatever kept the engine from an outcome.
    pub async fn run(&self, exchange: &Arc<Exchange>, limit: Duration) -> RunResult {
        if self.waiting.get() >= self.most_waiting {
            return Err(RunError::Overloaded(self.most_waiting));
        }
        self.run_in_any_case(exchange, limit).await
    }

    /// Asks for one run, however many wait.
    ///
    /// # Errors
    /// Whatever kept the engine from an outcome.
    pub async fn run_in_any_case(&self, exchange: &Arc<Exchange>, limit: Duration) -> RunResult {
        let _waiting = Waiting::enter(&self.waiting);
        let run = Run { exchange: exchange.clone(), limit };
        let actor = self.desk.actor()?;
        actor.send(run).await.unwrap_or(Err(RunError::Gone))
    }
}

/// Where the actor is found, and started again when it has ended.
struct Desk {
    prototype: Arc<dyn Prototype>,
    watch: Rc<Watch>,
    actor: RefCell<Addr<Host>>,
    backoff: RefCell<Backoff>,
}

impl Desk {
    fn actor(&self) -> Result<Addr<Host>, RunError> {
        let mut actor = self.actor.borrow_mut();
        if !actor.connected() {
            let (mut backoff, now) = (self.backoff.borrow_mut(), Instant::now());
            if !backoff.is_over(now) {
                return Err(RunError::Gone);
            }
            // Counted as a failure, so that one that ends at once is not started all the time.
            backoff.failed(now);
            *actor = Host::begin(&self.prototype, &self.watch)?;
        }
        Ok(actor.clone())
    }
}

impl std::fmt::Debug for HostAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostAddress").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Counts one run for as long as its caller waits.
struct Waiting(Rc<Cell<u32>>);

impl Waiting {
    fn enter(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Waiting(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests;
