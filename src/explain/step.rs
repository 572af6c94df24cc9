//! What is written down of one engine while a request goes through the chains.

use std::cell::RefCell;

use mppd_engine::{Exchange, Outcome, Reach};
use serde::Serialize;

use super::{Mode, Named};
use crate::supervisor::blueprint::{EnginePlan, Place};
use crate::supervisor::effect::Verdict;
use crate::supervisor::observer::{Consequence, Observer, StandIn, Turn, TurnEnd};

/// One engine's turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Where it stands: `begin`, `check`, `end` or `end_exception`.
    pub place: &'static str,
    /// Its full ID.
    pub engine: String,
    /// Name of its kind.
    pub kind: &'static str,
    /// Its precondition, if it has one.
    pub precondition: Option<PreconditionTold>,
    /// What became of it.
    pub end: StepEnd,
    /// Why it was not asked, or makes no sense here.
    pub reason: Option<&'static str>,
    /// What it came to, where it was asked.
    pub outcome: Option<OutcomeTold>,
}

/// What became of an engine's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// It makes no sense at this stage.
    OtherStage,
    /// Its precondition does not hold.
    Skipped,
    /// It was not asked.
    NotAsked,
    /// It gave a status.
    Ran,
    /// It failed.
    Failed,
}

/// Whether an engine runs at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreconditionTold {
    /// The condition, as it is written.
    pub condition: String,
    /// Whether it holds.
    pub holds: bool,
}

/// What an engine came to, and what follows from it.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, for machines")]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutcomeTold {
    /// Its status; `exception` where it failed.
    pub status: &'static str,
    /// The word of the failure: `timeout`, `failed` and their kin.
    pub failure: Option<&'static str>,
    /// How long it took.
    pub milliseconds: f64,
    /// What it says about it.
    pub text: String,
    /// The values and named results that it gives.
    pub values: Vec<Named>,
    /// The option that says what follows: `on_STATUS` or `on_exception`.
    pub option: String,
    /// What the option says, as it is written.
    pub written: String,
    /// Whether that is so because nothing else is configured.
    pub by_default: bool,
    /// What that comes to: `continue`, `permit`, `score N`, an action, or `exception`.
    pub effect: String,
    /// Whether the chains end here, or those of the checks.
    pub ends: bool,
    /// Whether the action is kept until the checks end, and lost if a weightier one comes.
    pub is_kept: bool,
    /// Whether it computes without deciding: then it always goes on.
    pub dry_run: bool,
}

impl Step {
    /// Whether it was not asked.
    #[must_use]
    pub fn is_not_asked(&self) -> bool {
        self.end == StepEnd::NotAsked
    }

    fn of(turn: &Turn<'_>) -> Self {
        let plan = turn.plan;
        let (end, reason, outcome) = match &turn.end {
            TurnEnd::OtherStage => (StepEnd::OtherStage, Some("it makes no sense here"), None),
            TurnEnd::Skipped => (StepEnd::Skipped, None, None),
            TurnEnd::NotAsked(why) => (StepEnd::NotAsked, Some(*why), None),
            TurnEnd::Ran { outcome, failure, elapsed, consequence } => {
                let milliseconds = elapsed.as_secs_f64() * 1e3;
                let told = outcome_told(turn, outcome, *failure, *consequence, milliseconds);
                let end = if told.option == ON_EXCEPTION { StepEnd::Failed } else { StepEnd::Ran };
                (end, None, Some(told))
            }
        };
        let condition = plan.precondition.as_ref().filter(|_| end != StepEnd::OtherStage);
        let precondition = condition.map(|condition| PreconditionTold {
            condition: condition.to_string(),
            holds: end != StepEnd::Skipped,
        });
        let (place, engine, kind) = (turn.place.name(), plan.id.to_string(), plan.kind);
        Step { place, engine, kind, precondition, end, reason, outcome }
    }
}

const ON_EXCEPTION: &str = "on_exception";

fn outcome_told(
    turn: &Turn<'_>,
    outcome: &Outcome,
    failure: Option<&'static str>,
    consequence: Consequence<'_>,
    milliseconds: f64,
) -> OutcomeTold {
    let plan = turn.plan;
    let (option, written) = match plan.effects.get(outcome.status) {
        Some(effect) => (format!("on_{}", outcome.status), effect.to_string()),
        None => (ON_EXCEPTION.to_owned(), on_exception(plan, turn.place)),
    };
    let (effect, ends) = match consequence {
        Consequence::Exception(None) => ("exception".to_owned(), true),
        Consequence::Exception(Some(reply)) => (format!("exception, answered {reply}"), true),
        Consequence::Verdict(verdict) => (verdict.to_string(), ends(verdict, turn.place)),
    };
    OutcomeTold {
        status: outcome.status,
        failure,
        milliseconds: (milliseconds * 1e3).round() / 1e3,
        text: outcome.text.to_string(),
        values: outcome
            .values
            .iter()
            .map(|value| Named::of(value.name.as_bytes(), &value.value))
            .collect(),
        by_default: !plan.given.contains(&option),
        option,
        written,
        is_kept: !ends && effect_acts(consequence) && turn.place == Place::Check,
        effect,
        ends,
        dry_run: plan.dry_run,
    }
}

fn effect_acts(consequence: Consequence<'_>) -> bool {
    matches!(consequence, Consequence::Verdict(Verdict::Act(_)))
}

fn on_exception(plan: &EnginePlan, place: Place) -> String {
    match &plan.on_exception {
        Some(effect) => effect.to_string(),
        None => place.default_on_exception().to_string(),
    }
}

fn ends(verdict: &Verdict, place: Place) -> bool {
    place == Place::Check
        && match verdict {
            Verdict::Permit => true,
            Verdict::Act(action) => action.is_final(),
            Verdict::Continue | Verdict::Score(_) | Verdict::Fail => false,
        }
}

/// Writes down each turn, and keeps engines from asking whom they are not to ask.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) mode: Mode,
    pub(super) steps: RefCell<Vec<Step>>,
}

impl Observer for Recorder {
    fn stand_in(&self, plan: &EnginePlan, _: &Exchange) -> Option<StandIn> {
        not_asked(plan, self.mode).map(StandIn::NotAsked)
    }

    fn turn(&self, turn: &Turn<'_>) {
        self.steps.borrow_mut().push(Step::of(turn));
    }
}

/// Why an engine is not asked.
fn not_asked(plan: &EnginePlan, mode: Mode) -> Option<&'static str> {
    if plan.tracks() {
        return Some("nothing is put on record");
    }
    match (mode, plan.reach) {
        (_, Reach::Changes) => Some("whom it asks may change something because of it"),
        (Mode::Offline, Reach::Dns) => Some("it would ask name servers"),
        (Mode::Offline, Reach::Services) => Some("it would ask other services"),
        (_, Reach::Inside) | (Mode::Connect, Reach::Dns | Reach::Services) => None,
    }
}
