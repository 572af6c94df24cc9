//! Looking on while a request goes through the chains, and standing in for engines that are not to
//! be asked. Who explains a request does so; the sessions of the server have nobody who looks on.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use mppd_engine::{Action, Exchange, Outcome};

use super::blueprint::{EnginePlan, Place};
use super::effect::Verdict;
use super::host::RunError;

/// What stands in for a run of an engine.
#[derive(Debug, Clone)]
pub enum StandIn {
    /// Nothing, for this reason: the chain goes on as if the engine had no opinion.
    NotAsked(&'static str),
    /// What it is taken to have come to.
    CameTo(Result<Outcome, RunError>),
}

/// An engine's turn, when it is over.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Where it stands.
    pub place: Place,
    /// The engine.
    pub plan: &'a EnginePlan,
    /// The request, as it was for the engine: its own result is not yet among the others.
    pub exchange: &'a Exchange,
    /// What became of it.
    pub end: TurnEnd<'a>,
}

/// What became of an engine's turn.
#[derive(Debug)]
pub enum TurnEnd<'a> {
    /// It makes no sense at this stage.
    OtherStage,
    /// Its precondition does not hold.
    Skipped,
    /// It was not asked, for this reason.
    NotAsked(&'static str),
    /// It was asked, or something stood in for it.
    Ran {
        /// What it came to, with the named results; status `exception` where it failed.
        outcome: &'a Outcome,
        /// The word of the failure.
        failure: Option<&'static str>,
        /// How long it took.
        elapsed: Duration,
        /// What follows: in a dry run always to go on.
        consequence: Consequence<'a>,
    },
}

/// What follows from an engine's run.
#[derive(Debug, Clone, Copy)]
pub enum Consequence<'a> {
    /// This.
    Verdict(&'a Verdict),
    /// The chains end, with this reply in place of `on_error` if there is one.
    Exception(Option<&'a Action>),
}

/// Who looks on while requests go through the chains.
pub trait Observer {
    /// What stands in for a run of this engine; `None` has it run.
    fn stand_in(&self, plan: &EnginePlan, exchange: &Exchange) -> Option<StandIn>;

    /// An engine's turn is over.
    fn turn(&self, turn: &Turn<'_>);
}

/// Nobody, or somebody.
#[derive(Clone, Default)]
pub(super) struct Onlooker(pub(super) Option<Rc<dyn Observer>>);

impl Onlooker {
    #[inline]
    pub(super) fn turn(&self, turn: &Turn<'_>) {
        if let Some(observer) = &self.0 {
            observer.turn(turn);
        }
    }

    #[inline]
    pub(super) fn stand_in(&self, plan: &EnginePlan, exchange: &Exchange) -> Option<StandIn> {
        self.0.as_ref()?.stand_in(plan, exchange)
    }
}

impl fmt::Debug for Onlooker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Onlooker").field(&self.0.is_some()).finish()
    }
}
