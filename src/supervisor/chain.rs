//! One request through the chains: begin, checks, decision, end; and the end-exception chain when
//! something fails on the way.

mod step;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mppd_engine::slog::Logger;
use mppd_engine::{Action, Decision, Exception, Exchange};

use super::blueprint::{Blueprint, Chains, EnginePlan, Place};
use super::effect::Verdict;
use super::host::{Host, HostAddress, RunError};
use super::observer::{Observer, Onlooker};
use super::watchdog::Post;
use crate::metrics::Tally;
#[cfg(feature = "otel")]
use crate::traces::Recorder;

/// The status of an engine that an observer does not want asked.
pub const NOT_ASKED: &str = "not_asked";

/// The engines of one blueprint, raised on one worker.
#[derive(Debug)]
pub struct EngineSet {
    blueprint: Arc<Blueprint>,
    hosts: Vec<HostAddress>,
    /// Where it is counted; nowhere for requests that nobody has sent.
    tally: Option<Tally>,
    onlooker: Onlooker,
    #[cfg(feature = "otel")]
    recorder: Option<Recorder>,
    logger: Logger,
}

/// An engine could not be raised.
#[derive(Debug, thiserror::Error)]
#[error("engine {engine} can't be started: {source}")]
pub struct RaiseError {
    /// Its full ID.
    pub engine: Arc<str>,
    /// Why.
    pub source: RunError,
}

impl EngineSet {
    /// Starts the actors of every engine on the current arbiter.
    ///
    /// # Errors
    /// The first engine that could not be started.
    pub fn raise(
        blueprint: &Arc<Blueprint>,
        engine_queue: u32,
        logger: &Logger,
        post: &Arc<Post>,
    ) -> Result<Self, RaiseError> {
        let start = |plan: &EnginePlan| {
            Host::start(plan, engine_queue, post)
                .map_err(|source| RaiseError { engine: plan.id.clone(), source })
        };
        let hosts = blueprint.engines.iter().map(start).collect::<Result<_, _>>()?;
        let tally = Some(Tally::of(blueprint, &post.counts));
        Ok(EngineSet {
            blueprint: blueprint.clone(),
            hosts,
            tally,
            onlooker: Onlooker::default(),
            #[cfg(feature = "otel")]
            recorder: blueprint.services.get().map(Recorder::new),
            logger: logger.clone(),
        })
    }

    /// The same, for requests that are not to be counted.
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.tally = None;
        self
    }

    /// The same, with somebody who looks on.
    #[must_use]
    pub fn observed(mut self, observer: Rc<dyn Observer>) -> Self {
        self.onlooker = Onlooker(Some(observer));
        #[cfg(feature = "otel")]
        {
            self.recorder = None;
        }
        self
    }

    /// Takes a request through the chains. Afterwards the exchange has its decision.
    ///
    /// `settle` turns the decision of the checks into the one that is answered and recorded;
    /// `given` is the decision of the request that this one repeats, whose checks are not run
    /// again.
    pub async fn process(
        &self,
        exchange: &Arc<Exchange>,
        given: Option<Decision>,
        settle: impl FnOnce(Decision) -> Decision,
    ) {
        // A request is given to a group of this blueprint.
        let Some(group) = self.blueprint.group(exchange.group()) else { return };
        let chains = &group.chains;
        let decided = self.decide(chains, exchange, given, settle).await;
        if exchange.is_taken_over() {
            return;
        }
        if let Err(stopped) = decided {
            let Stopped { exception, reply } = stopped;
            let action = reply.unwrap_or_else(|| group.on_error.clone());
            exchange.fail(exception, Decision { action, engine: None });
            self.run_all(chains.at(Place::EndException), exchange, Role::First).await;
        }
    }

    /// Ends a request with an exception that was begun elsewhere, on a worker that can't go on.
    /// Whoever began it must have been told ([`Exchange::take_over`]).
    pub async fn adopt(&self, exchange: &Arc<Exchange>, exception: Exception) {
        let group = self.blueprint.group(exchange.group());
        let action = group.map_or(Action::Dunno, |group| group.on_error.clone());
        exchange.fail(exception, Decision { action, engine: None });
        // A reload may have removed its group; nothing says then how it is put on record.
        if let Some(group) = group {
            self.run_all(group.chains.at(Place::EndException), exchange, Role::Second).await;
        }
    }

    /// Counts a request that has its decision, and was begun at a time.
    pub fn count(&self, exchange: &Exchange, started: Instant) {
        let elapsed = started.elapsed();
        if let Some(tally) = &self.tally {
            tally.decided(&self.blueprint, exchange, elapsed);
        }
        #[cfg(feature = "otel")]
        if let Some(recorder) = &self.recorder {
            recorder.decided(exchange, started, elapsed);
        }
    }

    async fn decide(
        &self,
        chains: &Chains,
        exchange: &Arc<Exchange>,
        given: Option<Decision>,
        settle: impl FnOnce(Decision) -> Decision,
    ) -> Result<(), Stopped> {
        self.pass(Place::Begin, chains, exchange).await?;
        let decision = match given {
            Some(decision) => decision,
            None => self.check(chains.at(Place::Check), exchange).await?,
        };
        if exchange.is_taken_over() {
            return Err(Stopped::elsewhere());
        }
        exchange.decide(settle(decision));
        self.pass(Place::End, chains, exchange).await
    }

    /// Runs the checks until one decides, or to the end.
    async fn check(&self, chain: &[usize], exchange: &Arc<Exchange>) -> Result<Decision, Stopped> {
        let mut kept = Kept::default();
        for index in chain {
            let plan = &self.blueprint.engines[*index];
            let verdict = self.step(Place::Check, *index, exchange).await?;
            match verdict {
                Verdict::Continue | Verdict::Score(_) | Verdict::Fail => {}
                Verdict::Permit => return Ok(kept.or_dunno_of(&plan.id)),
                Verdict::Act(action) if action.is_final() => {
                    return Ok(Decision { action, engine: Some(plan.id.clone()) });
                }
                Verdict::Act(action) => kept.add(action, &plan.id),
            }
        }
        Ok(kept.or_dunno())
    }

    /// Runs the engines of a place that does not decide, up to the first that fails.
    async fn pass(
        &self,
        place: Place,
        chains: &Chains,
        exchange: &Arc<Exchange>,
    ) -> Result<(), Stopped> {
        for index in chains.at(place) {
            self.step(place, *index, exchange).await?;
        }
        Ok(())
    }

    /// Runs every engine of the end-exception chain, whatever becomes of each.
    async fn run_all(&self, chain: &[usize], exchange: &Arc<Exchange>, role: Role) {
        for index in chain {
            if role == Role::First && exchange.is_taken_over() {
                return;
            }
            // Its failure is among the results; nothing comes after the end-exception chain.
            let _recorded = self.step(Place::EndException, *index, exchange).await;
        }
    }
}

/// The chains ended by an exception.
struct Stopped {
    exception: Exception,
    /// The answer, if it is another one than `on_error`.
    reply: Option<Action>,
}

impl Stopped {
    /// Somebody else finishes the request: what is done here is of no account.
    fn elsewhere() -> Self {
        let message = "another worker has answered".to_owned();
        Stopped { exception: Exception { engine: None, kind: "timeout", message }, reply: None }
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Of whoever began it.
    First,
    /// Of whoever has taken it over.
    Second,
}

/// The weightiest of the actions that do not end the checks.
#[derive(Default)]
struct Kept(Option<Decision>);

impl Kept {
    fn add(&mut self, action: Action, engine: &Arc<str>) {
        let heavier = |kept: &Decision| action.weight() > kept.action.weight();
        if self.0.as_ref().is_none_or(heavier) {
            self.0 = Some(Decision { action, engine: Some(engine.clone()) });
        }
    }

    fn or_dunno(self) -> Decision {
        self.0.unwrap_or_else(Decision::dunno)
    }

    fn or_dunno_of(self, engine: &Arc<str>) -> Decision {
        self.0.unwrap_or_else(|| Decision { action: Action::Dunno, engine: Some(engine.clone()) })
    }
}
