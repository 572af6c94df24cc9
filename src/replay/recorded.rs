//! Engines that are not asked again: what the records say of them stands in for a run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use mppd_engine::{Exchange, Outcome, Reach, RequestKey};

use super::DnsChoice;
use crate::supervisor::blueprint::EnginePlan;
use crate::supervisor::host::RunError;
use crate::supervisor::observer::{Observer, StandIn, Turn, TurnEnd};
use crate::tracking::row::{Cell, Row};
use crate::tracking::story::Told;
use crate::tracking::table::{COLUMNS, Source};

/// The word of an engine that failed.
const EXCEPTION: &str = "exception";

/// The status of an engine that has put a request on record.
pub(super) const RECORDED: &str = "recorded";

/// One recorded request.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) told: Told,
    pub(super) row: Row,
}

impl Recorded {
    /// What an engine came to; none where the records do not say, or say what this engine can't.
    fn outcome(&self, plan: &EnginePlan) -> Option<Result<Outcome, RunError>> {
        let ran = self.told.engines.iter().find(|ran| ran.id == *plan.id)?;
        let text = ran.text.clone().unwrap_or_default();
        if ran.status == EXCEPTION {
            return Some(Err(RunError::Failed(text)));
        }
        let (status, _) = plan.effects.get_key_value(ran.status.as_str())?;
        Some(Ok(self.with_values(plan, Outcome::new(status).with_text(text))))
    }

    /// With the values that have columns of their own; others are not on record.
    fn with_values(&self, plan: &EnginePlan, outcome: Outcome) -> Outcome {
        let values = COLUMNS.iter().filter_map(|column| match column.source {
            Source::Value(engine, name) if *engine == *plan.id => match self.row.get(column.name) {
                Cell::Text(value) => Some((name, value)),
                _ => None,
            },
            _ => None,
        });
        values.fold(outcome, |outcome, (name, value)| outcome.with_value(name, value))
    }
}

/// Has the records answer for engines, each request by its key.
#[derive(Debug)]
pub(super) struct Answering {
    dns: DnsChoice,
    engines: BTreeSet<String>,
    under_way: RefCell<HashMap<RequestKey, Rc<Recorded>>>,
    failed: RefCell<BTreeMap<String, u64>>,
}

impl Answering {
    pub(super) fn new(dns: DnsChoice, engines: BTreeSet<String>) -> Self {
        Answering { dns, engines, under_way: RefCell::default(), failed: RefCell::default() }
    }

    pub(super) fn begin(&self, key: RequestKey, recorded: Rc<Recorded>) {
        self.under_way.borrow_mut().insert(key, recorded);
    }

    pub(super) fn end(&self, key: RequestKey) {
        self.under_way.borrow_mut().remove(&key);
    }

    /// How often which engine was asked in vain.
    pub(super) fn failed(&self) -> BTreeMap<String, u64> {
        self.failed.borrow().clone()
    }

    /// Whether an engine runs.
    fn asks(&self, plan: &EnginePlan) -> bool {
        match plan.reach {
            _ if plan.tracks() => false,
            Reach::Inside => !self.engines.contains(&*plan.id),
            Reach::Dns => self.dns == DnsChoice::Live && !self.engines.contains(&*plan.id),
            _ => false,
        }
    }

    fn by_records(&self, plan: &EnginePlan, exchange: &Exchange) -> StandIn {
        let under_way = self.under_way.borrow();
        let recorded = under_way.get(&exchange.key());
        match recorded.and_then(|recorded| recorded.outcome(plan)) {
            Some(result) => StandIn::CameTo(result),
            None => StandIn::NotAsked("the records do not say what it came to"),
        }
    }
}

impl Observer for Answering {
    fn stand_in(&self, plan: &EnginePlan, exchange: &Exchange) -> Option<StandIn> {
        if plan.tracks() {
            // Nothing is, but what follows from it is what followed then.
            return Some(StandIn::CameTo(Ok(Outcome::new(RECORDED))));
        }
        if self.asks(plan) {
            return None;
        }
        let is_recorded = self.engines.contains(&*plan.id);
        if plan.reach == Reach::Dns && self.dns == DnsChoice::None && !is_recorded {
            return Some(StandIn::NotAsked("name servers are not asked"));
        }
        Some(self.by_records(plan, exchange))
    }

    fn turn(&self, turn: &Turn<'_>) {
        if let TurnEnd::Ran { failure: Some(_), .. } = turn.end
            && self.asks(turn.plan)
        {
            *self.failed.borrow_mut().entry(turn.plan.id.to_string()).or_default() += 1;
        }
    }
}
