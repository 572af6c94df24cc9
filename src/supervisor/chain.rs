//! One request through the chains: begin, checks, decision, end; and the end-exception chain when
//! something fails on the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mppd_engine::slog::{Logger, warn};
use mppd_engine::{Action, Decision, EngineResult, Escaped, Exception, Exchange, Outcome};

use super::blueprint::{Blueprint, Chains, EnginePlan, Place};
use super::effect::Effect;
use super::host::{Host, HostAddress, RunError};

/// The engines of one blueprint, raised on one worker.
#[derive(Debug)]
pub struct EngineSet {
    blueprint: Arc<Blueprint>,
    hosts: Vec<HostAddress>,
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
    ) -> Result<Self, RaiseError> {
        let start = |plan: &EnginePlan| {
            Host::start(&plan.prototype, engine_queue)
                .map_err(|source| RaiseError { engine: plan.id.clone(), source })
        };
        let hosts = blueprint.engines.iter().map(start).collect::<Result<_, _>>()?;
        Ok(EngineSet { blueprint: blueprint.clone(), hosts, logger: logger.clone() })
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
        if let Err(stopped) = self.decide(chains, exchange, given, settle).await {
            let Stopped { exception, reply } = stopped;
            let action = reply.unwrap_or_else(|| group.on_error.clone());
            exchange.fail(exception, Decision { action, engine: None });
            self.run_all(chains.at(Place::EndException), exchange).await;
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
        exchange.decide(settle(decision));
        self.pass(Place::End, chains, exchange).await
    }

    /// Runs the checks until one decides, or to the end.
    async fn check(&self, chain: &[usize], exchange: &Arc<Exchange>) -> Result<Decision, Stopped> {
        let mut kept = Kept::default();
        for index in chain {
            let plan = &self.blueprint.engines[*index];
            let effect = self.step(Place::Check, *index, exchange).await?;
            match effect {
                Effect::Continue | Effect::Fail => {}
                Effect::Permit => return Ok(kept.or_dunno_of(&plan.id)),
                Effect::Act(action) if action.is_final() => {
                    return Ok(Decision { action, engine: Some(plan.id.clone()) });
                }
                Effect::Act(action) => kept.add(action, &plan.id),
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
    async fn run_all(&self, chain: &[usize], exchange: &Arc<Exchange>) {
        for index in chain {
            // Its failure is among the results; nothing comes after the end-exception chain.
            let _recorded = self.step(Place::EndException, *index, exchange).await;
        }
    }

    /// Runs one engine and says what that does.
    async fn step(
        &self,
        place: Place,
        index: usize,
        exchange: &Arc<Exchange>,
    ) -> Result<Effect, Stopped> {
        let plan = &self.blueprint.engines[index];
        if !plan.stages.contains(exchange.stage()) {
            return Ok(Effect::Continue);
        }
        let started = Instant::now();
        let limit = time_left(place, plan, exchange, started)?;
        let host = &self.hosts[index];
        let result = match place {
            Place::Check => host.run(exchange, limit).await,
            // A request that was taken in is put on record, and its decision stands, however slow
            // the store is. A session has one run here at most, so that they are bounded as well.
            Place::Begin | Place::End | Place::EndException => {
                host.run_in_any_case(exchange, limit).await
            }
        };
        let elapsed = started.elapsed();
        let (outcome, effect) = match result {
            Ok(outcome) => known_status(plan, outcome),
            Err(error) => {
                self.log_failure(plan, exchange, &error);
                failed(plan, place, &error)
            }
        };
        let text = outcome.text.clone();
        exchange.add_result(EngineResult { engine: plan.id.clone(), outcome, elapsed });
        match effect {
            _ if plan.dry_run => Ok(Effect::Continue),
            StepEffect::Of(effect) => Ok(effect),
            StepEffect::Exception(kind, reply) => {
                let engine = Some(plan.id.clone());
                Err(Stopped {
                    exception: Exception { engine, kind, message: text.into_owned() },
                    reply,
                })
            }
        }
    }
}

impl EngineSet {
    /// A check that fails open must not fail unseen.
    fn log_failure(&self, plan: &EnginePlan, exchange: &Exchange, error: &RunError) {
        warn!(self.logger, "engine failed"; "engine" => &*plan.id, "exception" => error.kind(),
            "reason" => %Escaped(error.to_string().as_bytes()), "id" => %exchange.key());
    }
}

/// The chains ended by an exception.
struct Stopped {
    exception: Exception,
    /// The answer, if it is another one than `on_error`.
    reply: Option<Action>,
}

enum StepEffect {
    Of(Effect),
    Exception(&'static str, Option<Action>),
}

fn known_status(plan: &EnginePlan, outcome: Outcome) -> (Outcome, StepEffect) {
    if let Some(effect) = plan.effects.get(outcome.status) {
        return (outcome, StepEffect::Of(effect.clone()));
    }
    // A defect of the engine; better seen than guessed at.
    let text = format!("the engine gave the status {}, which it does not declare", outcome.status);
    (Outcome::new("exception").with_text(text), StepEffect::Exception("failed", None))
}

fn failed(plan: &EnginePlan, place: Place, error: &RunError) -> (Outcome, StepEffect) {
    let kind = error.kind();
    let outcome = Outcome::new("exception").with_text(error.to_string());
    let effect = plan.on_exception.clone().unwrap_or(place.default_on_exception());
    match effect {
        Effect::Fail => (outcome, StepEffect::Exception(kind, None)),
        // Actions decide among the checks; elsewhere one that is asked for must not be passed over.
        Effect::Act(action) if place != Place::Check => {
            (outcome, StepEffect::Exception(kind, Some(action)))
        }
        effect => (outcome, StepEffect::Of(effect)),
    }
}

/// How long a run may take: the engine's own limit, and not past the request's deadline. The
/// end-exception chain runs when the deadline may have passed; there the own limit is all.
fn time_left(
    place: Place,
    plan: &EnginePlan,
    exchange: &Exchange,
    now: Instant,
) -> Result<Duration, Stopped> {
    if place == Place::EndException {
        return Ok(plan.timeout);
    }
    let left = exchange.deadline().saturating_duration_since(now);
    if left.is_zero() {
        let message = format!("the request's time was up before {} could run", plan.id);
        let exception = Exception { engine: None, kind: "deadline", message };
        return Err(Stopped { exception, reply: None });
    }
    Ok(plan.timeout.min(left))
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
