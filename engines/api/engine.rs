//! What an engine is: the typed trait that an author implements ([`Engine`]), the description that
//! the server's table lists ([`EngineKind`]), and the running copy that an actor holds
//! ([`Running`]).
//!
//! Most engines implement [`Engine`] and are registered with [`kind`]. A kind whose element holds
//! several engines of their own (methods, `<id>.<method>`) implements [`EngineKind`] itself.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::action::Action;
use crate::config::{
    BuildContext, Element, Finding, OptionDoc, Options, is_common_option, salvage,
};
use crate::exchange::Exchange;
use crate::language::{PatternLibrary, Reference};
use crate::outcome::Outcome;
use crate::probe::Probe;
use crate::reach::Reach;
use crate::stage::Stages;

/// A status that an engine can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusDoc {
    /// The word, lower case: `black`.
    pub name: &'static str,
    /// What it says about the request.
    pub meaning: &'static str,
    /// What `on_STATUS` is unless configured, in its own words: `continue`, `permit`,
    /// `REJECT listed`.
    pub default_action: &'static str,
}

impl StatusDoc {
    /// A status with its meaning and default action.
    #[must_use]
    pub const fn new(
        name: &'static str,
        meaning: &'static str,
        default_action: &'static str,
    ) -> Self {
        StatusDoc { name, meaning, default_action }
    }
}

/// A named value that an engine may give with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValueDoc {
    /// The name, as in `$engines.ID.NAME`.
    pub name: &'static str,
    /// What it holds, and with which statuses.
    pub meaning: &'static str,
}

/// A method of an engine: something with a full ID of its own inside the engine's element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodDoc {
    /// Its name or, where the configuration names it, the element that declares it.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// An engine could not compute a status: an exception of this one request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
    of_request: bool,
    reply: Option<Action>,
}

impl Failure {
    /// A failure in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), source: None, reply: None, of_request: false }
    }

    /// With the error behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// As one that lies in this very request, and says nothing of how the engine fares with others:
    /// a number that is none, say. It does not count towards suspending the engine, so that nobody
    /// can suspend a check by what he sends.
    #[must_use]
    pub fn of_request(mut self) -> Self {
        self.of_request = true;
        self
    }

    /// Whether it lies in the request.
    #[must_use]
    pub fn is_of_request(&self) -> bool {
        self.of_request
    }

    /// With what the request is to be answered, unless the engine's `on_exception` says otherwise;
    /// the chains end as by any exception.
    #[must_use]
    pub fn with_reply(mut self, reply: impl Into<Option<Action>>) -> Self {
        self.reply = reply.into();
        self
    }

    /// What the request is to be answered with.
    #[must_use]
    pub fn reply(&self) -> Option<&Action> {
        self.reply.as_ref()
    }

    /// The message with that of every error behind it, for the log and the records.
    ///
    /// ```
    /// # use mppd_engine::Failure;
    /// let cause = std::io::Error::other("connection refused");
    /// let failure = Failure::new("can't ask the list").with_source(cause);
    /// assert_eq!(failure.whole(), "can't ask the list: connection refused");
    /// ```
    #[must_use]
    pub fn whole(&self) -> String {
        let mut text = self.message.clone();
        let mut next = StdError::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

/// A check, or anything else that stands in a chain.
///
/// One value is built from the configuration; each worker runs a clone of it on its own thread, so
/// what the clones share goes behind an [`Arc`], and what they don't needs no lock. After a panic
/// the clone is thrown away and made anew.
pub trait Engine: Clone + Send + 'static {
    /// Name of the configuration element, lower case: the file name of the engine as well.
    const NAME: &'static str;
    /// What it decides, in one line.
    const SUMMARY: &'static str;
    /// The statuses it can give.
    const STATUSES: &'static [StatusDoc];
    /// The named values that it can give.
    const VALUES: &'static [ValueDoc] = &[];
    /// Whether the configuration names more values, as
    /// [`value_names`](Engine::value_names) gives them.
    const NAMES_VALUES: bool = false;
    /// The stages at which it makes sense; elsewhere it is skipped.
    const STAGES: Stages = Stages::ALL;
    /// Its options, declared with [`options!`](crate::options).
    type Options: Options;

    /// Makes an engine of its options: compiles, loads, checks. Nothing is connected to yet.
    ///
    /// # Errors
    /// Every fault of the options, each with its place; one without a place, made by
    /// [`Finding::nowhere`], gets that of the element.
    fn build(options: Self::Options, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>>;

    /// Names of the values that it gives besides [`VALUES`](Self::VALUES): those that the
    /// configuration chose.
    fn value_names(&self) -> Vec<Cow<'static, str>> {
        Vec::new()
    }

    /// The stages at which it has something to do: those of its kind, or fewer where its options say
    /// so. At others it is run all the same, and says that there is nothing.
    fn useful_at(&self) -> Stages {
        Self::STAGES
    }

    /// What it connects to, each with a try to reach it that changes nothing; for
    /// `mppd check --connect`. What the server gives it as a service is not among them.
    fn probes(&self) -> Vec<Probe> {
        Vec::new()
    }

    /// Whom it asks, as it is configured, for those who want to know what would be decided without
    /// asking anybody. What engines remember is not meant.
    fn reach(&self) -> Reach {
        Reach::Inside
    }

    /// Looks at one request.
    ///
    /// The future may wait for anything; it is dropped when the engine's `timeout` or the
    /// request's deadline passes. An engine that never waits costs no task. A function that
    /// computes for long blocks its worker: give such work to a thread.
    ///
    /// # Errors
    /// What kept the engine from a status. `on_exception` says what follows.
    fn run(&self, exchange: &Exchange) -> impl Future<Output = Result<Outcome, Failure>>;
}

/// The future of one run.
pub type Run = Pin<Box<dyn Future<Output = Result<Outcome, Failure>>>>;

/// An engine's copy on one worker.
pub trait Running {
    /// Starts one run.
    fn run(self: Rc<Self>, exchange: Arc<Exchange>) -> Run;

    /// What it connects to, as [`Engine::probes`] says.
    fn probes(&self) -> Vec<Probe> {
        Vec::new()
    }
}

/// What the configuration made of one engine element: gives each worker its copy.
pub trait Prototype: Send + Sync {
    /// A fresh copy, on the thread that will run it.
    fn copy(&self) -> Rc<dyn Running>;
}

/// One engine made from an element, or one of its methods.
pub struct Built {
    /// `None` for the engine itself, else the part of the full ID behind the dot.
    pub method: Option<String>,
    /// Gives each worker its copy.
    pub prototype: Arc<dyn Prototype>,
    /// Names of the values that it can give besides those that its kind declares.
    pub values: Vec<Cow<'static, str>>,
    /// Whether it may give values of any other name as well: those of the columns that a database
    /// finds, say.
    pub has_open_values: bool,
    /// The stages at which it has something to do.
    pub useful_at: Stages,
    /// Whom it asks.
    pub reach: Reach,
    /// What its texts refer to, apart from the rest of its element.
    pub references: Vec<Reference>,
    /// The element of the method, where it may say what every engine's element can (`on_STATUS`
    /// and so on), over what the engine's element says.
    pub element: Option<Element>,
}

impl Built {
    /// The only engine of an element.
    #[must_use]
    pub fn engine<E: Engine>(engine: E) -> Self {
        let (useful_at, reach) = (engine.useful_at(), engine.reach());
        Built { useful_at, reach, ..Built::new(None, Arc::new(Cloned::new(engine))) }
    }

    /// One method of an element.
    #[must_use]
    pub fn method<E: Engine>(name: impl Into<String>, engine: E) -> Self {
        let (useful_at, reach) = (engine.useful_at(), engine.reach());
        Built { useful_at, reach, ..Built::new(Some(name.into()), Arc::new(Cloned::new(engine))) }
    }

    /// An engine, or one method, whose copies are made by its own prototype.
    #[must_use]
    pub fn new(method: Option<String>, prototype: Arc<dyn Prototype>) -> Self {
        Built {
            method,
            prototype,
            values: Vec::new(),
            has_open_values: false,
            useful_at: Stages::ALL,
            reach: Reach::Inside,
            references: Vec::new(),
            element: None,
        }
    }

    /// With values that the configuration names.
    #[must_use]
    pub fn with_values(
        mut self,
        names: impl IntoIterator<Item = impl Into<Cow<'static, str>>>,
    ) -> Self {
        self.values.extend(names.into_iter().map(Into::into));
        self
    }

    /// With values whose names only a run can tell. Texts may then ask for any name; one that is
    /// not given is empty.
    #[must_use]
    pub fn with_open_values(mut self) -> Self {
        self.has_open_values = true;
        self
    }

    /// With what its texts refer to: what
    /// [`take_references`](crate::BuildContext::take_references) gave after they were compiled.
    #[must_use]
    pub fn with_references(mut self, references: Vec<Reference>) -> Self {
        self.references.extend(references);
        self
    }

    /// Asking these.
    #[must_use]
    pub fn with_reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// With an element of its own, in which it may have the options of every engine.
    #[must_use]
    pub fn with_element(mut self, element: Element) -> Self {
        self.element = Some(element);
        self
    }
}

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Built").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A kind of engine, as the server's table lists it and the manual prints it.
pub trait EngineKind: Sync {
    /// Name of the configuration element.
    fn name(&self) -> &'static str;
    /// What it decides, in one line.
    fn summary(&self) -> &'static str;
    /// Its own options, without those that every engine has.
    fn options(&self) -> Vec<OptionDoc>;
    /// The statuses it can give.
    fn statuses(&self) -> &'static [StatusDoc];
    /// The named values that it can give.
    fn values(&self) -> &'static [ValueDoc] {
        &[]
    }
    /// Whether the configuration names more values, which only a [`Built`] engine knows.
    fn names_values(&self) -> bool {
        false
    }
    /// The stages at which it makes sense.
    fn stages(&self) -> Stages {
        Stages::ALL
    }
    /// Its methods, for a kind that has them.
    fn methods(&self) -> &'static [MethodDoc] {
        &[]
    }
    /// The named regular expressions that an element declares for the conditions of the whole
    /// configuration; read before any engine is built.
    ///
    /// # Errors
    /// Every fault of the expressions, each with its place.
    fn patterns(
        &self,
        _element: &Element,
        _cx: &mut BuildContext<'_>,
    ) -> Result<Option<PatternLibrary>, Vec<Finding>> {
        Ok(None)
    }
    /// Makes the engines of one element.
    ///
    /// # Errors
    /// Every fault of the element, each with its place.
    fn build(
        &self,
        element: &Element,
        cx: &mut BuildContext<'_>,
    ) -> Result<Vec<Built>, Vec<Finding>>;
}

impl std::fmt::Debug for dyn EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EngineKind({})", self.name())
    }
}

/// The table entry of an engine without methods: registration in one line.
#[must_use]
pub const fn kind<E: Engine>() -> &'static dyn EngineKind {
    &const { Typed::<E>(PhantomData) }
}

struct Typed<E>(PhantomData<fn() -> E>);

impl<E: Engine> EngineKind for Typed<E> {
    fn name(&self) -> &'static str {
        E::NAME
    }

    fn summary(&self) -> &'static str {
        E::SUMMARY
    }

    fn options(&self) -> Vec<OptionDoc> {
        E::Options::docs()
    }

    fn statuses(&self) -> &'static [StatusDoc] {
        E::STATUSES
    }

    fn values(&self) -> &'static [ValueDoc] {
        E::VALUES
    }

    fn names_values(&self) -> bool {
        E::NAMES_VALUES
    }

    fn stages(&self) -> Stages {
        E::STAGES
    }

    fn build(
        &self,
        element: &Element,
        cx: &mut BuildContext<'_>,
    ) -> Result<Vec<Built>, Vec<Finding>> {
        // What is sound of the options is built from, so that all faults are told at once.
        let (options, mut findings) = salvage::<E::Options>(element, is_common_option);
        let built = options.map(|options| E::build(options, cx));
        cx.place_warnings(element.name_span);
        match built {
            Some(Ok(engine)) if findings.is_empty() => {
                let values = engine.value_names();
                return Ok(vec![Built::engine(engine).with_values(values)]);
            }
            Some(Err(faults)) => findings.extend(faults),
            _ => {}
        }
        Err(findings.into_iter().map(|finding| finding.or_at(element.name_span)).collect())
    }
}

// The mutex only lends `Sync` to prototypes whose engines need not have it; it is locked when a
// worker starts and after a panic, never by a request.
struct Cloned<E>(std::sync::Mutex<E>);

impl<E> Cloned<E> {
    fn new(engine: E) -> Self {
        Cloned(std::sync::Mutex::new(engine))
    }
}

impl<E: Engine> Prototype for Cloned<E> {
    fn copy(&self) -> Rc<dyn Running> {
        let engine = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Rc::new(Copied(engine.clone()))
    }
}

struct Copied<E>(E);

impl<E: Engine> Running for Copied<E> {
    fn run(self: Rc<Self>, exchange: Arc<Exchange>) -> Run {
        Box::pin(async move { self.0.run(&exchange).await })
    }

    fn probes(&self) -> Vec<Probe> {
        self.0.probes()
    }
}
