//! What tests of engines need: requests, exchanges, a tracker that remembers, and an engine built
//! from its XML. Behind the feature `testkit`; what goes wrong here panics, as a test should.
//!
//! ```
//! use mppd_engine::testkit::{Configured, exchange};
//! use mppd_engine::{
//!     BuildContext, Engine, Exchange, Failure, Finding, Outcome, StatusDoc, kind, options,
//! };
//!
//! options! {
//!     /// No options.
//!     struct NullSenderOptions {}
//! }
//!
//! #[derive(Clone)]
//! struct NullSender;
//!
//! impl Engine for NullSender {
//!     const NAME: &'static str = "null_sender";
//!     const SUMMARY: &'static str = "tells bounces from other mail";
//!     const STATUSES: &'static [StatusDoc] = &[
//!         StatusDoc { name: "bounce", meaning: "sent by `<>`", default_action: "continue" },
//!         StatusDoc { name: "mail", meaning: "sent by somebody", default_action: "continue" },
//!     ];
//!     type Options = NullSenderOptions;
//!
//!     fn build(_: NullSenderOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
//!         Ok(NullSender)
//!     }
//!
//!     async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
//!         let is_bounce = exchange.request().sender().is_null();
//!         Ok(Outcome::new(if is_bounce { "bounce" } else { "mail" }))
//!     }
//! }
//!
//! let engine = Configured::xml("<null_sender/>").build(kind::<NullSender>()).unwrap();
//! let outcome = engine.run(&exchange([("sender", "")])).unwrap();
//! assert_eq!(outcome.status, "bounce");
//! ```

#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

mod xml;

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use slog::Logger;

use crate::config::{BuildContext, Element, Finding, Origin, Services, Source, SourceMap, Span};
use crate::engine::{EngineKind, Failure, Running};
use crate::exchange::{Exchange, Receipt};
use crate::outcome::Outcome;
use crate::request::Request;
use crate::tracking::{Recorded, RequestKey, Tracker, TrackingError, Transition};

/// A request with these attributes, `request=smtpd_access_policy` put in front.
#[track_caller]
pub fn request<N, V>(attributes: impl IntoIterator<Item = (N, V)>) -> Arc<Request>
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    Arc::new(Request::from_attributes(attributes).expect("the attributes of a request"))
}

/// The exchange of a request with these attributes, in group `default`, with a tracker that takes
/// everything.
#[track_caller]
pub fn exchange<N, V>(attributes: impl IntoIterator<Item = (N, V)>) -> Arc<Exchange>
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    exchange_on(request(attributes), Arc::new(RecordingTracker::default()))
}

/// The same for a request that came at this time.
#[track_caller]
pub fn exchange_at<N, V>(
    received: SystemTime,
    attributes: impl IntoIterator<Item = (N, V)>,
) -> Arc<Exchange>
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
{
    received_on(received, request(attributes), Arc::new(RecordingTracker::default()))
}

/// The exchange of a request that is put on record by this tracker.
pub fn exchange_on(request: Arc<Request>, tracker: Arc<dyn Tracker>) -> Arc<Exchange> {
    received_on(SystemTime::now(), request, tracker)
}

fn received_on(
    received: SystemTime,
    request: Arc<Request>,
    tracker: Arc<dyn Tracker>,
) -> Arc<Exchange> {
    Arc::new(Exchange::new(Receipt {
        request,
        key: RequestKey(*b"a request's key."),
        received,
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker,
        repeat_of: None,
    }))
}

/// A tracker that remembers what it was told.
#[derive(Debug, Default)]
pub struct RecordingTracker {
    transitions: Mutex<Vec<(RequestKey, Transition)>>,
    refusal: Option<String>,
}

impl RecordingTracker {
    /// A tracker that puts nothing on record, for this reason.
    #[must_use]
    pub fn refusing(reason: impl Into<String>) -> Self {
        RecordingTracker { refusal: Some(reason.into()), ..RecordingTracker::default() }
    }

    /// What it was told, in order, refused or not.
    #[must_use]
    pub fn transitions(&self) -> Vec<(RequestKey, Transition)> {
        self.transitions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tracker for RecordingTracker {
    fn record(&self, transition: Transition, exchange: &Exchange) -> Recorded {
        let mut transitions = self.transitions.lock().unwrap_or_else(PoisonError::into_inner);
        transitions.push((exchange.key(), transition));
        let refusal = self.refusal.clone();
        Box::pin(async move {
            match refusal {
                Some(reason) => Err(TrackingError::new(reason)),
                None => Ok(()),
            }
        })
    }
}

/// A value that an engine gave, as text; empty where there is none, as it is for a macro.
///
/// # Panics
/// If it is not UTF-8.
#[must_use]
#[track_caller]
pub fn value(outcome: &Outcome, name: &str) -> String {
    let found = outcome.value(name).unwrap_or_default();
    String::from_utf8(found.to_vec()).expect("the value is UTF-8")
}

/// An engine's element, as the configuration would hold it.
#[derive(Debug)]
pub struct Configured {
    sources: SourceMap,
    element: Element,
    logger: Logger,
    services: Services,
}

impl Configured {
    /// Reads an element. Includes are the server's, so `file` with `xpath` stays as it is.
    #[must_use]
    #[track_caller]
    pub fn xml(text: &str) -> Self {
        Self::read(Origin::Embedded("test"), text)
    }

    /// Reads an element as if it stood in a file in this directory, from where the files that it
    /// names are looked up.
    #[must_use]
    #[track_caller]
    pub fn xml_in(directory: impl AsRef<Path>, text: &str) -> Self {
        Self::read(Origin::File(directory.as_ref().join("mppd.conf.xml")), text)
    }

    #[track_caller]
    fn read(origin: Origin, text: &str) -> Self {
        let mut sources = SourceMap::default();
        let source = sources.add(Source { origin, text: text.to_owned() });
        let element = xml::read(source, text);
        let logger = Logger::root(slog::Discard, slog::o!());
        Configured { sources, element, logger, services: Services::default() }
    }

    /// With a logger for the engine; without, what it logs is thrown away.
    #[must_use]
    pub fn with_logger(mut self, logger: Logger) -> Self {
        self.logger = logger;
        self
    }

    /// With something that the server shares with its engines, known by its type.
    #[must_use]
    pub fn with_service<T: Any + Send + Sync>(mut self, service: Arc<T>) -> Self {
        self.services = self.services.with(service);
        self
    }

    /// The element.
    #[must_use]
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// What stands at a place: what a finding points at.
    #[must_use]
    pub fn text(&self, place: Span) -> &str {
        self.sources.text(place)
    }

    /// Builds the engine.
    ///
    /// # Errors
    /// The findings of the kind.
    #[track_caller]
    pub fn build(&self, kind: &'static dyn EngineKind) -> Result<Ready, Vec<Finding>> {
        assert_eq!(self.element.name, kind.name(), "the element is that of another kind");
        let id = self.element.attribute("id").map_or(kind.name(), |id| &id.value);
        let cx = BuildContext::new(&self.sources, self.logger.clone()).with_id(id);
        let mut cx = cx.with_services(self.services.clone());
        let built = kind.build(&self.element, &mut cx)?;
        let engines = built.into_iter().map(|built| (built.method, built.prototype.copy()));
        Ok(Ready { kind, engines: engines.collect(), warnings: cx.into_warnings() })
    }

    /// The findings that keep the engine from being built: each message with what it points at.
    #[track_caller]
    pub fn faults(&self, kind: &'static dyn EngineKind) -> Vec<(String, &str)> {
        let Err(findings) = self.build(kind) else { panic!("the engine was built") };
        self.show(findings)
    }

    /// Findings in short: each message with what it points at.
    #[must_use]
    pub fn show(&self, findings: impl IntoIterator<Item = Finding>) -> Vec<(String, &str)> {
        let show = |finding: Finding| {
            (finding.message, finding.span.map(|place| self.text(place)).unwrap_or_default())
        };
        findings.into_iter().map(show).collect()
    }
}

/// An engine that was built, ready to run.
pub struct Ready {
    kind: &'static dyn EngineKind,
    engines: Vec<(Option<String>, Rc<dyn Running>)>,
    warnings: Vec<Finding>,
}

impl Ready {
    /// What was warned of while it was built.
    #[must_use]
    pub fn warnings(&self) -> &[Finding] {
        &self.warnings
    }

    /// The names of its methods.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.engines.iter().filter_map(|(method, _)| method.as_deref())
    }

    /// Runs an engine that has no methods, and waits for its outcome.
    ///
    /// # Errors
    /// The engine's failure.
    #[track_caller]
    pub fn run(&self, exchange: &Arc<Exchange>) -> Result<Outcome, Failure> {
        self.run_engine(None, exchange)
    }

    /// Runs one method, and waits for its outcome.
    ///
    /// # Errors
    /// The method's failure.
    #[track_caller]
    pub fn run_method(&self, method: &str, exchange: &Arc<Exchange>) -> Result<Outcome, Failure> {
        self.run_engine(Some(method), exchange)
    }

    #[track_caller]
    fn run_engine(
        &self,
        method: Option<&str>,
        exchange: &Arc<Exchange>,
    ) -> Result<Outcome, Failure> {
        block_on(self.outcome(method, exchange))
    }

    /// Runs the engine, or one method of it, on the runtime that the test is on.
    ///
    /// # Errors
    /// The failure.
    pub async fn outcome(
        &self,
        method: Option<&str>,
        exchange: &Arc<Exchange>,
    ) -> Result<Outcome, Failure> {
        let mut engines = self.engines.iter();
        let found = engines.find(|(name, _)| name.as_deref() == method);
        let (_, engine) = found.expect("an engine, or a method, of this name");
        let outcome = Rc::clone(engine).run(Arc::clone(exchange)).await?;
        let known = self.kind.statuses().iter().any(|status| status.name == outcome.status);
        assert!(known, "the kind does not declare the status \"{}\"", outcome.status);
        Ok(outcome)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Waits for a future on this thread. An engine that needs a runtime's timers or sockets is run
/// on that runtime instead, by [`Ready::outcome`].
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_is_woken_later_is_waited_for() {
        let mut polls = 0;
        let counted = std::future::poll_fn(|cx| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(polls);
            }
            let waker = cx.waker().clone();
            std::thread::spawn(move || waker.wake());
            Poll::Pending
        });
        assert_eq!(block_on(counted), 3);
    }

    #[test]
    fn the_tracker_remembers_in_order() {
        let tracker = Arc::new(RecordingTracker::refusing("disk full"));
        let exchange = exchange_on(request([("sender", "a")]), tracker.clone());
        let refused = block_on(exchange.tracker().record(Transition::Received, &exchange));
        assert_eq!(refused.unwrap_err().reason, "disk full");
        assert_eq!(tracker.transitions(), [(exchange.key(), Transition::Received)]);
    }
}
