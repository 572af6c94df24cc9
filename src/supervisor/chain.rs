//! One request through the chains: begin, checks, decision, end; and the end-exception chain when
//! something fails on the way.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mppd_engine::slog::{Logger, warn};
use mppd_engine::trouble::Word;
use mppd_engine::{Action, Decision, EngineResult, Escaped, Exception, Exchange, Outcome, View};

use super::blueprint::{Blueprint, Chains, EnginePlan, Place};
use super::breaker::Permit;
use super::effect::Verdict;
use super::host::{Host, HostAddress, RunError};
use super::observer::{Consequence, Observer, Onlooker, StandIn, Turn, TurnEnd};
use super::watchdog::Post;
use crate::metrics::Tally;
#[cfg(feature = "otel")]
use crate::traces::Recorder;

/// The status of an engine whose precondition does not hold.
const SKIPPED: &str = "skipped";

/// The status of an engine that an observer does not want asked.
pub const NOT_ASKED: &str = "not_asked";

/// The status of an engine that failed.
const EXCEPTION: &str = "exception";

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

    /// Runs one engine and says what that does.
    async fn step(
        &self,
        place: Place,
        index: usize,
        exchange: &Arc<Exchange>,
    ) -> Result<Verdict, Stopped> {
        if place != Place::EndException && exchange.is_taken_over() {
            return Err(Stopped::elsewhere());
        }
        let plan = &self.blueprint.engines[index];
        if !plan.stages.contains(exchange.stage()) {
            self.turn(place, plan, exchange, TurnEnd::OtherStage);
            return Ok(Verdict::Continue);
        }
        if plan.is_skipped(exchange) {
            self.turn(place, plan, exchange, TurnEnd::Skipped);
            pass_over(plan, exchange, SKIPPED);
            if let Some(tally) = &self.tally {
                tally.skipped(index);
            }
            return Ok(Verdict::Continue);
        }
        let started = Instant::now();
        let limit = time_left(place, plan, exchange, started)?;
        let result = match self.onlooker.stand_in(plan, exchange) {
            None => self.run(place, index, exchange, limit).await,
            Some(StandIn::CameTo(result)) => result,
            Some(StandIn::NotAsked(why)) => {
                self.turn(place, plan, exchange, TurnEnd::NotAsked(why));
                pass_over(plan, exchange, NOT_ASKED);
                return Ok(Verdict::Continue);
            }
        };
        let elapsed = started.elapsed();
        let failure = result.as_ref().err().map(RunError::kind);
        let (outcome, effect) = match result {
            Ok(outcome) => self.consequence(plan, place, exchange, outcome),
            Err(error) => failed(plan, place, exchange, &error),
        };
        if let Some(tally) = &self.tally {
            tally.ran(index, outcome.status, failure, elapsed);
        }
        let consequence = match &effect {
            StepEffect::Of(verdict) => Consequence::Verdict(verdict),
            StepEffect::Exception(_, reply) => Consequence::Exception(reply.as_ref()),
        };
        let end = TurnEnd::Ran { outcome: &outcome, failure, elapsed, consequence };
        self.turn(place, plan, exchange, end);
        #[cfg(feature = "otel")]
        if let Some(recorder) = &self.recorder {
            recorder.ran(exchange, (plan, place), (&outcome, failure), started, elapsed);
        }
        let verdict = match effect {
            _ if plan.dry_run => Ok(Verdict::Continue),
            StepEffect::Of(Verdict::Score(score)) => {
                exchange.add_score(&plan.id, outcome.status, score);
                Ok(Verdict::Score(score))
            }
            StepEffect::Of(verdict) => Ok(verdict),
            StepEffect::Exception(kind, reply) => {
                let engine = Some(plan.id.clone());
                let message = outcome.text.to_string();
                Err(Stopped { exception: Exception { engine, kind, message }, reply })
            }
        };
        exchange.add_result(EngineResult { engine: plan.id.clone(), outcome, elapsed });
        verdict
    }
}

impl EngineSet {
    #[inline]
    fn turn(&self, place: Place, plan: &EnginePlan, exchange: &Exchange, end: TurnEnd<'_>) {
        self.onlooker.turn(&Turn { place, plan, exchange, end });
    }

    /// Runs an engine, unless it is suspended.
    async fn run(
        &self,
        place: Place,
        index: usize,
        exchange: &Arc<Exchange>,
        limit: Duration,
    ) -> Result<Outcome, RunError> {
        let (plan, host) = (&self.blueprint.engines[index], &self.hosts[index]);
        let permit = match &plan.breaker {
            Some(breaker) => Some(breaker.enter(&self.logger)?),
            None => None,
        };
        let result = match place {
            Place::Check => host.run(exchange, limit).await,
            // A request that was taken in is put on record, and its decision stands, however slow
            // the store is. A session has one run here at most, so that they are bounded as well.
            Place::Begin | Place::End | Place::EndException => {
                host.run_in_any_case(exchange, limit).await
            }
        };
        self.judge(plan, permit, &result, limit, exchange);
        result
    }

    /// Tells the breaker what came of a run, and the log if it was a failure.
    fn judge(
        &self,
        plan: &EnginePlan,
        permit: Option<Permit>,
        result: &Result<Outcome, RunError>,
        limit: Duration,
        exchange: &Exchange,
    ) {
        let error = match (result, permit) {
            (Ok(_), Some(permit)) => return permit.succeeded(&self.logger),
            (Err(RunError::Overloaded(_)), _) => return self.tell_overload(plan),
            // What answers for itself is the same for every request, and is logged where it begins.
            (Ok(_), None) | (Err(RunError::Answered(..)), _) => return,
            // Others have used up most of the request's time.
            (Err(error @ RunError::TimedOut(_)), _) if limit < plan.timeout / 2 => error,
            (Err(error), Some(permit)) if error.is_of_engine() => {
                if !permit.failed(error, &self.logger) {
                    return;
                }
                error
            }
            (Err(error), _) => error,
        };
        self.tell_failure(plan, exchange, error);
    }

    /// A check that fails open must not fail unseen.
    fn tell_failure(&self, plan: &EnginePlan, exchange: &Exchange, error: &RunError) {
        warn!(self.logger, "engine failed"; "engine" => &*plan.id, "exception" => error.kind(),
            "reason" => %Escaped(error.to_string().as_bytes()), "id" => %exchange.key());
    }

    fn tell_overload(&self, plan: &EnginePlan) {
        let times = match plan.overload.happened(Instant::now()) {
            Some(Word::Begins) => 1,
            Some(Word::Lasts { times, .. }) => times,
            Some(Word::Ends { .. }) | None => return,
        };
        warn!(self.logger, "engine has too many runs waiting, the next ones are passed over";
            "engine" => &*plan.id, "exception" => "overloaded", "runs" => times);
    }

    /// What follows from an outcome, which gets its named results on the way.
    fn consequence(
        &self,
        plan: &EnginePlan,
        place: Place,
        exchange: &Exchange,
        mut outcome: Outcome,
    ) -> (Outcome, StepEffect) {
        let Some(effect) = plan.effects.get(outcome.status) else {
            // A defect of the engine; better seen than guessed at.
            let status = outcome.status;
            let text = format!("the engine gave the status {status}, which it does not declare");
            let outcome = Outcome::new(EXCEPTION).with_text(text);
            return (outcome, StepEffect::Exception("failed", None));
        };
        plan.add_results(exchange, &mut outcome);
        match effect.resolve(&View::after(exchange, &plan.id, &outcome)) {
            Ok(verdict) if plan.dry_run => {
                tell_dry_run(&verdict, &mut outcome);
                (outcome, StepEffect::Of(Verdict::Continue))
            }
            Ok(verdict) => (outcome, StepEffect::Of(verdict)),
            Err(unusable) => {
                let error = RunError::Unfit(format!("on_{}: {unusable}", outcome.status));
                self.tell_failure(plan, exchange, &error);
                failed(plan, place, exchange, &error)
            }
        }
    }
}

/// Puts among the results that an engine did not run.
fn pass_over(plan: &EnginePlan, exchange: &Exchange, status: &'static str) {
    let (engine, outcome) = (plan.id.clone(), Outcome::new(status));
    exchange.add_result(EngineResult { engine, outcome, elapsed: Duration::ZERO });
}

/// What follows from a failure.
fn failed(
    plan: &EnginePlan,
    place: Place,
    exchange: &Exchange,
    error: &RunError,
) -> (Outcome, StepEffect) {
    let kind = error.kind();
    let outcome = Outcome::new(EXCEPTION).with_text(error.to_string());
    if plan.dry_run {
        return (outcome, StepEffect::Of(Verdict::Continue));
    }
    // What the engine wants answered stands unless the configuration says what follows.
    if let (None, RunError::Answered(_, reply)) = (&plan.on_exception, error) {
        return (outcome, StepEffect::Exception(kind, Some(reply.clone())));
    }
    let default = place.default_on_exception();
    let effect = plan.on_exception.as_ref().unwrap_or(&default);
    match effect.resolve(&View::after(exchange, &plan.id, &outcome)) {
        Ok(Verdict::Fail) => (outcome, StepEffect::Exception(kind, None)),
        // Actions decide among the checks; elsewhere one that is asked for must not be passed
        // over.
        Ok(Verdict::Act(action)) if place != Place::Check => {
            (outcome, StepEffect::Exception(kind, Some(action)))
        }
        Ok(verdict) => (outcome, StepEffect::Of(verdict)),
        // Nothing is left that could say what follows.
        Err(unusable) => {
            let text = format!("{error}; on_exception: {unusable}");
            (Outcome::new(EXCEPTION).with_text(text), StepEffect::Exception("failed", None))
        }
    }
}

/// Has the records say what a dry run would have done, in front of what the engine says.
fn tell_dry_run(verdict: &Verdict, outcome: &mut Outcome) {
    if *verdict == Verdict::Continue {
        return;
    }
    let said = match &*outcome.text {
        "" => String::new(),
        text => format!("; {text}"),
    };
    outcome.text = format!("dry run: {verdict}{said}").into();
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

enum StepEffect {
    Of(Verdict),
    Exception(&'static str, Option<Action>),
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
