//! The actor around an engine: one for each engine and worker, on the worker's own arbiter.
//!
//! It gives an engine what its author does not write: a limit on runs that wait, a limit on time,
//! and protection from panics. A panic is an exception of the one request in whose run it
//! happened; the engine is made anew before the next one.
//!
//! actix bounds no mailbox that is reached by `send`, so the bound is here, in [`HostAddress`];
//! and its supervisor does not survive a panic, so panics are caught before it sees them.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Addr, Context, Handler, Message};
use futures_util::FutureExt;
use mppd_engine::engine::Run as Running;
use mppd_engine::{Action, Exchange, Failure, Outcome, Prototype};

/// Why a run gave no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The engine said so.
    #[error("{0}")]
    Failed(String),
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
    /// The actor is gone.
    #[error("the engine's actor has ended")]
    Gone,
}

impl RunError {
    /// One word for the records.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            RunError::Failed(_) | RunError::Answered(..) => "failed",
            RunError::Panicked(_) => "panic",
            RunError::TimedOut(_) => "timeout",
            RunError::Overloaded(_) => "overloaded",
            RunError::Gone => "gone",
        }
    }
}

impl From<Failure> for RunError {
    fn from(failure: Failure) -> Self {
        let whole = failure.whole();
        match failure.reply() {
            Some(reply) => RunError::Answered(whole, reply.clone()),
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

/// The actor.
pub struct Host {
    prototype: Arc<dyn Prototype>,
    engine: Rc<dyn mppd_engine::Running>,
    /// Set by a run that panicked; the engine is made anew before the next one.
    broken: Rc<Cell<bool>>,
}

impl Host {
    /// Starts the actor of one engine on the current arbiter.
    ///
    /// # Errors
    /// When the engine can't be copied, which is a panic of its author's making.
    pub fn start(
        prototype: &Arc<dyn Prototype>,
        most_waiting: u32,
    ) -> Result<HostAddress, RunError> {
        let host = Host {
            engine: copy(prototype)?,
            prototype: prototype.clone(),
            broken: Rc::new(Cell::new(false)),
        };
        Ok(HostAddress { actor: Actor::start(host), waiting: Rc::default(), most_waiting })
    }

    fn repair(&mut self) -> Result<(), RunError> {
        if self.broken.get() {
            let broken = std::mem::replace(&mut self.engine, copy(&self.prototype)?);
            self.broken.set(false);
            // What a panic left half-way may panic again when it is dropped.
            let _dropped = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        }
        Ok(())
    }

    /// Starts a run. One that need not wait is done when this returns.
    fn run(&mut self, run: Run) -> Result<Answer, RunError> {
        self.repair()?;
        let engine = self.engine.clone();
        let started = catch_unwind(AssertUnwindSafe(|| {
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
                let broken = self.broken.clone();
                Ok(Answer::Later(Box::pin(finish(future, run.limit, broken))))
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

async fn finish(future: Running, limit: Duration, broken: Rc<Cell<bool>>) -> RunResult {
    match tokio::time::timeout(limit, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(result)) => result.map_err(RunError::from),
        Ok(Err(panic)) => {
            broken.set(true);
            Err(RunError::Panicked(panic_text(panic.as_ref())))
        }
        Err(_) => Err(RunError::TimedOut(limit)),
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
    actor: Addr<Host>,
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
        self.actor.send(run).await.unwrap_or(Err(RunError::Gone))
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
