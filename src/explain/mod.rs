//! Why a request is decided as it is: it goes through the chains of a configuration as every request
//! does, and each step is written down. Nothing is put on record, and nothing is remembered.
//!
//! What is here knows nothing of printing: `mppd explain` shows an [`Explanation`] as a tree, the web
//! console as a page, and machines get it as JSON.
//!
//! | module | what lives there |
//! |---|---|
//! | [`rehearsal`] | a configuration raised to see what it would decide |
//! | [`step`] | what is written down of one engine |
//!
//! What is not as in the server that runs:
//!
//! - A request that repeats another one is checked anew; a server gives it the answer of the first.
//! - A header (`PREPEND`) is answered whenever it is decided; a server gives it once per message.
//! - No limit of the server is in the way: no engine is suspended or has too many runs waiting. The
//!   time limits of engines and of the request are as configured.
//! - Engines have asked nobody before: nothing is in their caches.
//! - What engines remember is that of the state store as it is now: of the embedded one as it was
//!   written to its file, at most a second ago. What they change is seen by later steps of the same
//!   request, and then forgotten.
//! - Engines that put requests on record are not asked; neither are those that ask somebody who may
//!   change something because of it: statements of SQL that write, web services asked with `POST`,
//!   other policy servers.
//! - Unless [`Mode::Connect`] is wanted, nobody else is asked either: no name server, no database, no
//!   directory, no web service, no mail server. The chains go on as if these engines had no opinion.

pub mod rehearsal;
pub mod step;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use mppd_engine::{Action, EngineKind, Exchange};
use serde::Serialize;

use self::rehearsal::{Answered, MemoryOpened, Rehearsal, open_memory};
pub use self::rehearsal::{Memory, Question, RehearsalError};
use self::step::{Recorder, Step};
use crate::config::{LoadRequest, Rejected};
use crate::groups::method::Method;
use crate::log::silent;
use crate::plan::Plan;
use crate::policy::reply;

/// Who may be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nobody: lists, expressions and the embedded state store are all there is.
    #[default]
    Offline,
    /// Everybody who changes nothing because of it.
    Connect,
}

/// How a configuration decides one request. All texts are as peers and engines gave them; whoever
/// shows them makes them safe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Who was asked.
    pub mode: Mode,
    /// The attributes, in their order.
    pub request: Vec<Named>,
    /// The stage: `policy-rcpt` and its kin.
    pub stage: &'static str,
    /// When it came, as engines see it (RFC 3339).
    pub received: String,
    /// Its policy group.
    pub group: GroupTold,
    /// What each engine did, in order.
    pub steps: Vec<Step>,
    /// What the effects `score N` came to; none where there was none.
    pub score: Option<ScoreTold>,
    /// The exception that ended the chains.
    pub exception: Option<ExceptionTold>,
    /// What is decided.
    pub decision: DecisionTold,
    /// The reply, as Postfix would read it.
    pub reply: String,
    /// What a server that runs would do otherwise, as far as it matters here.
    pub notes: Vec<String>,
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The value; what is no UTF-8 is replaced.
    pub value: String,
}

impl Named {
    fn of(name: impl AsRef<[u8]>, value: &[u8]) -> Self {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Named { name: text(name.as_ref()), value: text(value) }
    }
}

/// A policy group, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupTold {
    /// Its ID.
    pub id: String,
    /// The method of `<members_global_sequence>` that found it; none for `default`.
    pub method: Option<&'static str>,
    /// The group that the request is a member of, where it is another one because Postfix is under
    /// stress.
    pub in_stead_of: Option<String>,
    /// A method that was not asked, although it stands before.
    pub not_asked: Option<&'static str>,
    /// Whether its requests are answered with DUNNO, whatever is decided.
    pub dry_run: bool,
}

/// What speaks against the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScoreTold {
    /// The sum.
    pub sum: String,
    /// What it is made of.
    pub parts: Vec<ScorePart>,
}

/// What one engine added to the score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScorePart {
    /// Its full ID.
    pub engine: String,
    /// Its status.
    pub status: &'static str,
    /// How much.
    pub score: String,
}

/// Why the end-exception chain ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExceptionTold {
    /// The engine that failed; none for the request as a whole.
    pub engine: Option<String>,
    /// One word: `timeout`, `panic`, `failed`, `deadline` and their kin.
    pub kind: &'static str,
    /// What happened.
    pub message: String,
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecisionTold {
    /// The action's word or code.
    pub action: String,
    /// Its text.
    pub text: Option<String>,
    /// The engine that decided; none where the checks ran to their end, or after an exception.
    pub engine: Option<String>,
    /// Whether DUNNO is answered in its place, because the group is in a dry run.
    pub is_dry_run: bool,
}

/// Reads a configuration to explain requests with. Its engines say nothing in any log.
///
/// # Errors
/// All that is wrong with it.
pub fn load(request: &LoadRequest, kinds: &[&'static dyn EngineKind]) -> Result<Plan, Rejected> {
    Plan::load(request, kinds, &silent())
}

/// Takes a request through a configuration and writes down each step.
///
/// The plan must have been read for this alone, by [`load`]: one in force shares with the server what
/// its engines remember. An actix system must be running on this thread, as on every arbiter; the
/// engines run on it, and are gone when this is done. From elsewhere:
///
/// ```no_run
/// # use mppd::explain::{self, Mode, Question};
/// # fn explain(plan: mppd::plan::Plan, request: mppd_engine::Request) {
/// let thread = std::thread::spawn(move || {
///     let question = Question::now(request);
///     actix_rt::System::new().block_on(explain::run(plan, question, Mode::Offline))
/// });
/// # }
/// ```
///
/// # Errors
/// An engine can't be started, or what engines remember can't be read.
pub async fn run(
    plan: Plan,
    question: Question,
    mode: Mode,
) -> Result<Explanation, RehearsalError> {
    let plan = Arc::new(plan);
    let opened = open_memory(&plan, Memory::Present(mode))?;
    let recorder = Rc::new(Recorder { mode, steps: RefCell::default() });
    let rehearsal = Rehearsal::raise(&plan, mode, recorder.clone())?;
    let answered = rehearsal.ask(question).await;
    let steps = recorder.steps.take();
    let notes = notes(&answered, &opened, &steps);
    Ok(Explanation { notes, ..told(&plan, mode, &answered, steps) })
}

fn told(plan: &Plan, mode: Mode, answered: &Answered, steps: Vec<Step>) -> Explanation {
    let exchange = &answered.exchange;
    let request = exchange.request();
    let decision = exchange.decision();
    let action = decision.map_or(&Action::Dunno, |decision| &decision.action);
    let is_dry_run = exchange.is_dry_run();
    let replied = if is_dry_run { &Action::Dunno } else { action };
    let reply = String::from_utf8_lossy(&reply::encode(replied, request)).into_owned();
    let received = Timestamp::try_from(exchange.received()).unwrap_or(Timestamp::UNIX_EPOCH);
    Explanation {
        mode,
        request: request.attributes().map(|(name, value)| Named::of(name, value)).collect(),
        stage: exchange.stage().name(),
        received: received.to_string(),
        group: group(plan, answered),
        score: score(exchange),
        exception: exchange.exception().map(|exception| ExceptionTold {
            engine: exception.engine.as_ref().map(ToString::to_string),
            kind: exception.kind,
            message: exception.message.clone(),
        }),
        decision: DecisionTold {
            action: action.word().into_owned(),
            text: action.text().map(str::to_owned),
            engine: decision.and_then(|decision| decision.engine.as_ref()).map(ToString::to_string),
            is_dry_run,
        },
        reply,
        notes: Vec::new(),
        steps,
    }
}

fn group(plan: &Plan, answered: &Answered) -> GroupTold {
    let found = answered.found;
    let member_of = plan.blueprint.groups.get(found.member_of);
    let other = member_of.filter(|_| found.member_of != found.group);
    GroupTold {
        id: answered.exchange.group().to_string(),
        method: found.method.map(Method::name),
        in_stead_of: other.map(|group| group.id.to_string()),
        not_asked: found.not_asked.map(Method::name),
        dry_run: answered.exchange.is_dry_run(),
    }
}

fn score(exchange: &Exchange) -> Option<ScoreTold> {
    let parts = exchange.with_contributions(|contributions| {
        let part = |part: &mppd_engine::Contribution| ScorePart {
            engine: part.engine.to_string(),
            status: part.status,
            score: part.score.to_string(),
        };
        contributions.iter().map(part).collect::<Vec<_>>()
    });
    (!parts.is_empty()).then(|| ScoreTold { sum: exchange.score().to_string(), parts })
}

/// What a server that runs would do otherwise.
fn notes(answered: &Answered, opened: &MemoryOpened, steps: &[Step]) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |text: &str| notes.push(text.to_owned());
    let checks_not_asked =
        steps.iter().filter(|step| step.is_not_asked() && step.place == "check").count();
    if checks_not_asked > 0 {
        note("engines that were not asked are taken to have no opinion");
    }
    match opened {
        MemoryOpened::Empty => {}
        MemoryOpened::Read => {
            note("what engines remember is that of now; what they would change is forgotten");
        }
        MemoryOpened::NotAsked => note("the state store was not asked: engines remember nothing"),
        MemoryOpened::Unreadable(why) => note(&format!("{why}; engines remember nothing")),
    }
    if !answered.exchange.request().instance().is_empty() {
        note("a server that has answered this very request within ten minutes repeats that answer");
    }
    if matches!(answered.exchange.decision().map(|it| &it.action), Some(Action::Prepend(_))) {
        note("a server gives each header once per message");
    }
    notes
}
