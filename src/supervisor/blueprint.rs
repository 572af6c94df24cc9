//! What the configuration means: engines built, chains resolved, actions understood. A blueprint
//! is made once for a configuration; every worker raises its own copy of the engines from it.

mod builder;
mod records;
mod whole;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mppd_engine::config::{DEFAULT_TIMEOUT, Services};
use mppd_engine::slog::Logger;
use mppd_engine::trouble::Trouble;
use mppd_engine::{
    Action, Condition, EngineKind, Exchange, Finding, Outcome, Prototype, Reach, Span, Stages,
    StatusDoc, View,
};
use mppd_state::StateStore;

use super::breaker::{Breaker, BreakerPlan, BreakerStatus};
use super::effect::Effect;
use super::references::Listed;
use super::results::NamedResult;
use crate::config::Draft;

/// One engine, or one method of one, as the chains call it.
pub struct EnginePlan {
    /// Its full ID.
    pub id: Arc<str>,
    /// Name of its kind.
    pub kind: &'static str,
    /// Where it makes sense.
    pub stages: Stages,
    /// Where it has something to do, as it is configured.
    pub useful_at: Stages,
    /// Whom it asks.
    pub reach: Reach,
    /// The statuses that it can give, in the order of its kind.
    pub statuses: &'static [StatusDoc],
    /// What each of its statuses does.
    pub effects: HashMap<&'static str, Effect>,
    /// Names of the options that every engine has and that the configuration gives to this one.
    pub given: BTreeSet<String>,
    /// How long one run may take.
    pub timeout: Duration,
    /// What an exception does; by place in the chains unless configured.
    pub on_exception: Option<Effect>,
    /// Whether it computes without deciding.
    pub dry_run: bool,
    /// Whether it runs at all.
    pub precondition: Option<Condition>,
    /// What it gives besides its own values.
    pub results: Vec<NamedResult>,
    /// Suspends it while it keeps failing; one that puts requests on record has none, because a
    /// record must not be passed over.
    pub breaker: Option<Arc<Breaker>>,
    /// Its queue is full.
    pub overload: Trouble,
    /// Gives each worker its copy.
    pub prototype: Arc<dyn Prototype>,
}

/// The kind that puts requests on record.
const TRACK: &str = "track";

impl EnginePlan {
    /// An engine that runs at every stage, and whose statuses are still to be given effects.
    #[must_use]
    pub fn new(id: Arc<str>, kind: &'static str, prototype: Arc<dyn Prototype>) -> Self {
        let breaker = Breaker::new(id.clone(), BreakerPlan::default());
        EnginePlan {
            id,
            kind,
            breaker: (kind != TRACK).then(|| Arc::new(breaker)),
            overload: Trouble::default(),
            stages: Stages::ALL,
            useful_at: Stages::ALL,
            reach: Reach::Inside,
            statuses: &[],
            effects: HashMap::new(),
            given: BTreeSet::new(),
            timeout: DEFAULT_TIMEOUT.0,
            on_exception: None,
            dry_run: false,
            precondition: None,
            results: Vec::new(),
            prototype,
        }
    }

    /// The same, suspended as this plan says.
    #[must_use]
    pub fn with_breaker(mut self, plan: BreakerPlan) -> Self {
        self.breaker = self.breaker.map(|_| Arc::new(Breaker::new(self.id.clone(), plan)));
        self
    }

    /// Whether it puts requests on record.
    #[must_use]
    pub fn tracks(&self) -> bool {
        self.kind == TRACK
    }

    /// Whether its precondition keeps it from this request.
    #[must_use]
    pub fn is_skipped(&self, exchange: &Exchange) -> bool {
        match &self.precondition {
            Some(condition) => !condition.holds(&View::of(exchange)),
            None => false,
        }
    }

    /// Adds the named results to what the engine came to.
    pub fn add_results(&self, exchange: &Exchange, outcome: &mut Outcome) {
        for result in &self.results {
            let value = result.evaluate(&View::after(exchange, &self.id, outcome));
            outcome.values.push(value);
        }
    }
}

impl std::fmt::Debug for EnginePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnginePlan")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Where in the life of a request an engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before the checks.
    Begin,
    /// The checks.
    Check,
    /// After the decision.
    End,
    /// After an exception.
    EndException,
}

impl Place {
    /// Every place, in the order of a request's life.
    pub const ALL: [Place; 4] = [Place::Begin, Place::Check, Place::End, Place::EndException];

    /// Its name: `begin`, `check`, `end` or `end_exception`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Place::Begin => "begin",
            Place::Check => "check",
            Place::End => "end",
            Place::EndException => "end_exception",
        }
    }

    /// The element that lists its engines.
    #[must_use]
    pub const fn element(self) -> &'static str {
        match self {
            Place::Begin => "policy_begin_engines",
            Place::Check => "policy_check_engines",
            Place::End => "policy_end_engines",
            Place::EndException => "policy_end_exception_engines",
        }
    }

    /// What an exception does here unless configured: checks fail open.
    #[must_use]
    pub const fn default_on_exception(self) -> Effect {
        match self {
            Place::Check => Effect::Continue,
            Place::Begin | Place::End | Place::EndException => Effect::Fail,
        }
    }
}

/// The engines at each place, as indexes into [`Blueprint::engines`]. Groups share the lists that
/// they do not set themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains([Arc<Chain>; 4]);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    engines: Vec<usize>,
    /// Where the configuration names each.
    places: Vec<Span>,
}

impl Chains {
    /// The engines at one place, in order.
    #[must_use]
    pub fn at(&self, place: Place) -> &[usize] {
        &self.0[place as usize].engines
    }

    /// Adds an engine at the end of one place.
    pub fn add(&mut self, place: Place, engine: usize) {
        Arc::make_mut(&mut self.0[place as usize]).engines.push(engine);
    }

    /// Whether both have the same list at a place: one of them does not set its own, or neither does.
    #[must_use]
    pub fn share(&self, other: &Chains, place: Place) -> bool {
        Arc::ptr_eq(&self.0[place as usize], &other.0[place as usize])
    }

    fn set(&mut self, place: Place, chain: Chain) {
        self.0[place as usize] = Arc::new(chain);
    }

    fn engines(&self) -> impl Iterator<Item = usize> {
        Place::ALL.into_iter().flat_map(|place| self.at(place)).copied()
    }

    /// Every engine that the configuration names, in the order of a request's life.
    fn listed(&self) -> Vec<Listed> {
        let listed = Place::ALL.into_iter().flat_map(|place| {
            let Chain { engines, places } = &*self.0[place as usize];
            let named = engines.iter().zip(places);
            named.map(move |(engine, span)| Listed { place, engine: *engine, span: *span })
        });
        listed.collect()
    }
}

/// What a policy group means for its requests.
#[derive(Debug, Clone)]
pub struct GroupPlan {
    /// Its ID.
    pub id: Arc<str>,
    /// Its chains.
    pub chains: Chains,
    /// The reply after an exception.
    pub on_error: Action,
    /// Whether its requests are answered with DUNNO, whatever is decided.
    pub dry_run: bool,
}

impl GroupPlan {
    /// A group that is answered as decided, with DUNNO after an exception.
    #[must_use]
    pub fn new(id: &str, chains: Chains) -> Self {
        GroupPlan { id: id.into(), chains, on_error: Action::Dunno, dry_run: false }
    }
}

/// Everything that the workers need to know of one configuration.
#[derive(Debug)]
pub struct Blueprint {
    /// Every engine that a chain names, once for all groups.
    pub engines: Vec<EnginePlan>,
    /// The policy groups, in the order of the configuration.
    pub groups: Vec<GroupPlan>,
    /// What the engines share.
    pub services: Services,
    positions: HashMap<Arc<str>, usize>,
}

impl Blueprint {
    /// A blueprint of engines and groups that are known already.
    #[must_use]
    pub fn new(engines: Vec<EnginePlan>, groups: Vec<GroupPlan>) -> Self {
        let places = groups.iter().enumerate();
        let positions = places.map(|(place, group)| (group.id.clone(), place)).collect();
        Blueprint { engines, groups, services: Services::default(), positions }
    }

    /// With what the engines share.
    #[must_use]
    pub fn with_services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// The group of this ID.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&GroupPlan> {
        self.groups.get(self.position(id)?)
    }

    /// Where the group of this ID stands among the groups.
    #[must_use]
    pub fn position(&self, id: &str) -> Option<usize> {
        self.positions.get(id).copied()
    }

    /// How the breakers of the engines stand.
    #[must_use]
    pub fn breakers(&self) -> Vec<BreakerStatus> {
        let breakers = self.engines.iter().filter_map(|engine| engine.breaker.as_ref());
        breakers.map(|breaker| breaker.status()).collect()
    }

    /// Whether a group's chains put requests on record.
    #[must_use]
    pub fn tracks(&self, group: &GroupPlan) -> bool {
        group.chains.engines().any(|engine| self.engines[engine].tracks())
    }

    /// Builds the engines that the chains name. The blueprint is of use only where no finding is
    /// an error, neither one of these nor one of the draft's own.
    #[must_use]
    pub fn build(
        draft: &Draft,
        kinds: &[&'static dyn EngineKind],
        state_store: &Arc<StateStore>,
        logger: &Logger,
    ) -> (Blueprint, Vec<Finding>) {
        builder::build(draft, kinds, state_store, logger)
    }
}
