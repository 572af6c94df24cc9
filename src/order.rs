//! The chains as resolved: which engines a request of each group goes through, what each of them is
//! told, and what its statuses do. Plain data, for whoever draws it: `mppd order`, and machines.

use mppd_engine::{Stage, Stages};
use serde::Serialize;

use crate::groups::Groups;
use crate::plan::Plan;
use crate::supervisor::blueprint::{Blueprint, EnginePlan, GroupPlan, Place};

/// The chains of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Order {
    /// The methods that look for the group of a request, in the order in which they are asked; what
    /// none finds belongs to group `default`.
    pub members_global_sequence: Vec<&'static str>,
    /// The groups, in the order of the configuration.
    pub groups: Vec<GroupOrder>,
    /// Every engine that a chain names, once.
    pub engines: Vec<EngineOrder>,
}

/// A policy group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupOrder {
    /// Its ID.
    pub id: String,
    /// The group whose chains are used in its stead while Postfix is under stress.
    pub under_stress: Option<String>,
    /// Whether its requests are answered with DUNNO, whatever is decided.
    pub dry_run: bool,
    /// The reply after an exception.
    pub on_error: String,
    /// Its chains, in the order of a request's life.
    pub chains: Vec<ChainOrder>,
}

/// The engines at one place of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainOrder {
    /// The place: `begin`, `check`, `end` or `end_exception`.
    pub place: &'static str,
    /// The element that lists its engines.
    pub element: &'static str,
    /// Full IDs of its engines, in order.
    pub engines: Vec<String>,
    /// The groups that have this very list as well, because they set none of their own.
    pub shared_with: Vec<String>,
    /// What an exception does here where the engine has no `on_exception`.
    pub on_exception: String,
}

/// An engine, or one method of one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineOrder {
    /// Its full ID.
    pub id: String,
    /// Name of its kind.
    pub kind: &'static str,
    /// Whether it runs at all: the condition in canonical form.
    pub precondition: Option<String>,
    /// The stages at which it makes sense; elsewhere it is skipped.
    pub stages: Vec<&'static str>,
    /// How long one run may take, in seconds.
    pub timeout: f64,
    /// Whether it computes without deciding.
    pub dry_run: bool,
    /// What each of its statuses does, in the order of its kind.
    pub statuses: Vec<StatusOrder>,
    /// What an exception does, where the configuration says so; else what its chain says.
    pub on_exception: Option<String>,
    /// Names of the results that it gives besides its own values.
    pub results: Vec<String>,
}

/// What a status does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusOrder {
    /// The status.
    pub status: &'static str,
    /// What it says about the request.
    pub meaning: &'static str,
    /// What it does: `continue`, `permit`, `score N` or an action, in canonical form.
    pub effect: String,
    /// Whether that is so because nothing else is configured.
    pub by_default: bool,
}

impl Order {
    /// The chains of a configuration, of every group.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Order::drawn(&plan.groups, &plan.blueprint)
    }

    /// The same from its parts.
    #[must_use]
    pub fn drawn(groups: &Groups, blueprint: &Blueprint) -> Self {
        let group = |(number, plan)| group(number, plan, groups, blueprint);
        Order {
            members_global_sequence: groups.sequence().iter().map(|method| method.name()).collect(),
            groups: blueprint.groups.iter().enumerate().map(group).collect(),
            engines: blueprint.engines.iter().map(engine).collect(),
        }
    }

    /// What is left with one group alone, and its engines; `None` without a group of this ID.
    #[must_use]
    pub fn only(mut self, id: &str) -> Option<Self> {
        self.groups.retain(|group| group.id == id);
        let group = self.groups.first()?;
        let named: Vec<&String> = group.chains.iter().flat_map(|chain| &chain.engines).collect();
        self.engines.retain(|engine| named.contains(&&engine.id));
        Some(self)
    }

    /// The engine of a full ID.
    #[must_use]
    pub fn engine(&self, id: &str) -> Option<&EngineOrder> {
        self.engines.iter().find(|engine| engine.id == id)
    }
}

impl EngineOrder {
    /// Whether it makes sense at every stage.
    #[must_use]
    pub fn is_for_every_stage(&self) -> bool {
        self.stages.len() == Stage::ALL.len()
    }
}

fn group(number: usize, plan: &GroupPlan, groups: &Groups, blueprint: &Blueprint) -> GroupOrder {
    let used = groups.under_stress(number);
    let under_stress = blueprint.groups.get(used).filter(|_| used != number);
    GroupOrder {
        id: plan.id.to_string(),
        under_stress: under_stress.map(|group| group.id.to_string()),
        dry_run: plan.dry_run,
        on_error: plan.on_error.to_string(),
        chains: Place::ALL.into_iter().map(|place| chain(place, plan, blueprint)).collect(),
    }
}

fn chain(place: Place, plan: &GroupPlan, blueprint: &Blueprint) -> ChainOrder {
    let name = |number: &usize| Some(blueprint.engines.get(*number)?.id.to_string());
    let shares =
        |other: &&GroupPlan| other.id != plan.id && plan.chains.share(&other.chains, place);
    let sharing = blueprint.groups.iter().filter(shares);
    ChainOrder {
        place: place.name(),
        element: place.element(),
        engines: plan.chains.at(place).iter().filter_map(name).collect(),
        shared_with: sharing.map(|other| other.id.to_string()).collect(),
        on_exception: place.default_on_exception().to_string(),
    }
}

/// An engine as the chains have it.
pub(crate) fn engine(plan: &EnginePlan) -> EngineOrder {
    EngineOrder {
        id: plan.id.to_string(),
        kind: plan.kind,
        precondition: plan.precondition.as_ref().map(ToString::to_string),
        stages: stages(plan.stages),
        timeout: plan.timeout.as_secs_f64(),
        dry_run: plan.dry_run,
        statuses: statuses(plan),
        on_exception: plan.on_exception.as_ref().map(ToString::to_string),
        results: plan.results.iter().map(|result| result.name.clone()).collect(),
    }
}

fn stages(stages: Stages) -> Vec<&'static str> {
    let contained = Stage::ALL.iter().filter(|stage| stages.contains(**stage));
    contained.map(|stage| stage.name()).collect()
}

fn statuses(plan: &EnginePlan) -> Vec<StatusOrder> {
    let known = plan.statuses.iter().filter_map(|status| {
        Some(StatusOrder {
            status: status.name,
            meaning: status.meaning,
            effect: plan.effects.get(status.name)?.to_string(),
            by_default: !plan.given.contains(&format!("on_{}", status.name)),
        })
    });
    known.collect()
}
