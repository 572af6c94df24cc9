//! A configuration raised to see what it would decide: the same engines and chains as the server's,
//! but nobody who has asked, nothing that is put on record, and nothing that is remembered
//! afterwards.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mppd_engine::exchange::Receipt;
use mppd_engine::tracking::Recorded;
use mppd_engine::{Exchange, Request, RequestKey, Tracker, Transition};
use mppd_state::{Backend, Overlay, StateError};

use super::Mode;
use crate::groups::Found;
use crate::log::silent;
use crate::plan::Plan;
use crate::repeats::Repeats;
use crate::supervisor::chain::{EngineSet, RaiseError};
use crate::supervisor::observer::Observer;
use crate::tracking::new_key;

/// Why a configuration can't be rehearsed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// An engine can't be started.
    #[error(transparent)]
    Raise(#[from] RaiseError),
    /// What engines remember can't be read.
    #[error("{error}{}", error.causes())]
    State {
        /// What it said.
        error: StateError,
    },
    /// The plan is in force, or was rehearsed already: what its engines remember would change.
    #[error("the configuration is in use; read it anew")]
    InUse,
}

/// What engines remember while nothing of it is to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Nothing at first, and no more than a store in memory holds.
    Empty,
    /// What the server's engines remember, as far as this mode reads it.
    Present(Mode),
}

/// What engines remember, once that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryOpened {
    /// Nothing at first: they need none, or that was wanted.
    Empty,
    /// What is in the state store.
    Read,
    /// Nothing, because the state store would have to be asked.
    NotAsked,
    /// Nothing, because the file of the state store can't be read, for this reason.
    Unreadable(String),
}

/// Gives the engines of a plan something to remember with; once, before any of them runs.
///
/// # Errors
/// The store is to be asked and can't be, or the plan has one already.
pub fn open_memory(plan: &Plan, memory: Memory) -> Result<MemoryOpened, RehearsalError> {
    let (store, opened) = memory.store(plan)?;
    if plan.state_store.open(store) { Ok(opened) } else { Err(RehearsalError::InUse) }
}

impl Memory {
    fn store(self, plan: &Plan) -> Result<(Arc<dyn Backend>, MemoryOpened), RehearsalError> {
        let Memory::Present(mode) = self else {
            return Ok((Arc::new(mppd_state::Memory::default()), MemoryOpened::Empty));
        };
        let store = &plan.configuration.state_store;
        let empty = Arc::new(Overlay::empty());
        if !plan.state_store.is_wanted() {
            return Ok((empty, MemoryOpened::Empty));
        }
        // The file beside us is no connection.
        if mode == Mode::Offline && !store.is_embedded() {
            return Ok((empty, MemoryOpened::NotAsked));
        }
        match store.open_to_look(&plan.configuration.common.state_directory, &silent()) {
            Ok(overlay) => Ok((Arc::new(overlay), MemoryOpened::Read)),
            Err(error) if mode == Mode::Offline => {
                let why = format!("{error}{}", error.causes());
                Ok((empty, MemoryOpened::Unreadable(why)))
            }
            Err(error) => Err(RehearsalError::State { error }),
        }
    }
}

/// A request that nobody has sent, or that was answered long ago.
#[derive(Debug, Clone)]
pub struct Question {
    /// The request.
    pub request: Arc<Request>,
    /// When it came: the clock that engines go by.
    pub received: SystemTime,
    /// Its key in the records.
    pub key: RequestKey,
    /// The group that it had in the records, for where a database that is not asked would find it.
    pub recorded_group: Option<String>,
}

impl Question {
    /// A request that comes now.
    #[must_use]
    pub fn now(request: Request) -> Self {
        Question {
            request: Arc::new(request),
            received: SystemTime::now(),
            key: new_key(),
            recorded_group: None,
        }
    }
}

/// What became of it.
#[derive(Debug)]
pub struct Answered {
    /// The request, with what every engine came to, and the decision.
    pub exchange: Arc<Exchange>,
    /// How its group was found.
    pub found: Found,
}

/// A plan whose engines are raised on the current arbiter.
pub struct Rehearsal {
    plan: Arc<Plan>,
    engines: EngineSet,
    tracker: Arc<dyn Tracker>,
    node: Arc<str>,
    asks_database: bool,
    /// Which headers were given to which message, where that matters.
    repeats: Option<Arc<Repeats>>,
}

impl Rehearsal {
    /// Raises the engines of a plan whose [memory](open_memory) is open. An actix system must be
    /// running on this thread.
    ///
    /// # Errors
    /// The first engine that can't be started.
    pub fn raise(
        plan: &Arc<Plan>,
        mode: Mode,
        observer: Rc<dyn Observer>,
    ) -> Result<Self, RehearsalError> {
        let queue = plan.configuration.common.policy_server.engine_queue.0;
        let engines = EngineSet::raise(&plan.blueprint, queue, &silent(), &Arc::default())?;
        Ok(Rehearsal {
            engines: engines.uncounted().observed(observer),
            tracker: Arc::new(OffTheRecord),
            node: plan.node(),
            asks_database: mode == Mode::Connect,
            repeats: None,
            plan: plan.clone(),
        })
    }

    /// The same, giving each header once per message, as a server does.
    #[must_use]
    pub fn with_repeats(mut self, repeats: Arc<Repeats>) -> Self {
        self.repeats = Some(repeats);
        self
    }

    /// Takes a request through the chains of its group.
    pub async fn ask(&self, question: Question) -> Answered {
        let (groups, plan) = (&self.plan.groups, &self.plan);
        let group = |place: usize| plan.blueprint.groups.get(place);
        let default = group(groups.default_group()).map(|group| group.id.clone());
        let deadline = plan.configuration.common.policy_server.request_deadline.0.0;
        let exchange = Exchange::new(Receipt {
            request: question.request,
            key: question.key,
            received: question.received,
            deadline: Instant::now() + deadline,
            group: default.unwrap_or_else(|| "default".into()),
            node: self.node.clone(),
            tracker: self.tracker.clone(),
            repeat_of: None,
        });
        let mut found = groups.find(&exchange, self.asks_database).await;
        let recorded = question.recorded_group.filter(|_| found.not_asked.is_some());
        if let Some(group) = recorded.and_then(|id| plan.blueprint.position(&id)) {
            found.group = group;
        }
        let exchange = match group(found.group) {
            Some(group) => {
                exchange.in_group(group.id.clone(), self.tracker.clone()).in_dry_run(group.dry_run)
            }
            None => exchange,
        };
        let exchange = Arc::new(exchange);
        let settle = |decision| match &self.repeats {
            Some(repeats) => repeats.once_per_message(exchange.request(), decision),
            None => decision,
        };
        self.engines.process(&exchange, None, settle).await;
        Answered { exchange, found }
    }
}

impl fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rehearsal").field("engines", &self.engines).finish_non_exhaustive()
    }
}

/// Puts nothing on record.
struct OffTheRecord;

impl Tracker for OffTheRecord {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}
