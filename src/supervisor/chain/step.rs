//! One engine's turn: whether it runs, for how long it may, and what follows from what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mppd_engine::slog::warn;
use mppd_engine::trouble::Word;
use mppd_engine::{Action, EngineResult, Escaped, Exception, Exchange, Outcome, View};

use super::{EngineSet, NOT_ASKED, Stopped};
use crate::supervisor::blueprint::{EnginePlan, Place};
use crate::supervisor::breaker::Permit;
use crate::supervisor::effect::Verdict;
use crate::supervisor::host::RunError;
use crate::supervisor::observer::{Consequence, StandIn, Turn, TurnEnd};

/// The status of an engine whose precondition does not hold.
const SKIPPED: &str = "skipped";

/// The status of an engine that failed.
const EXCEPTION: &str = "exception";

/// What follows from a run.
enum StepEffect {
    Of(Verdict),
    Exception(&'static str, Option<Action>),
}

impl StepEffect {
    /// As it is told to who looks on.
    fn as_told(&self) -> Consequence<'_> {
        match self {
            StepEffect::Of(verdict) => Consequence::Verdict(verdict),
            StepEffect::Exception(_, reply) => Consequence::Exception(reply.as_ref()),
        }
    }
}

impl EngineSet {
    /// Runs one engine and says what that does.
    pub(super) async fn step(
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
        self.conclude(place, index, exchange, started, result)
    }

    /// What follows from a run, which is told to all who want to know.
    fn conclude(
        &self,
        place: Place,
        index: usize,
        exchange: &Exchange,
        started: Instant,
        result: Result<Outcome, RunError>,
    ) -> Result<Verdict, Stopped> {
        let elapsed = started.elapsed();
        let plan = &self.blueprint.engines[index];
        let failure = result.as_ref().err().map(RunError::kind);
        let (outcome, effect) = match result {
            Ok(outcome) => self.consequence(plan, place, exchange, outcome),
            Err(error) => failed(plan, place, exchange, &error),
        };
        if let Some(tally) = &self.tally {
            tally.ran(index, outcome.status, failure, elapsed);
        }
        let end =
            TurnEnd::Ran { outcome: &outcome, failure, elapsed, consequence: effect.as_told() };
        self.turn(place, plan, exchange, end);
        #[cfg(feature = "otel")]
        if let Some(recorder) = &self.recorder {
            recorder.ran(exchange, (plan, place), (&outcome, failure), started, elapsed);
        }
        let verdict = take_effect(plan, exchange, &outcome, effect);
        exchange.add_result(EngineResult { engine: plan.id.clone(), outcome, elapsed });
        verdict
    }

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

/// Has a run take effect on the request; that of a dry run has none.
fn take_effect(
    plan: &EnginePlan,
    exchange: &Exchange,
    outcome: &Outcome,
    effect: StepEffect,
) -> Result<Verdict, Stopped> {
    match effect {
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
