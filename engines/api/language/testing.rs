//! What the tests of the language share.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::tz::TimeZone;

use super::{Condition, Scope, Template, View, example_attributes};
use crate::config::{Finding, Origin, Source, SourceMap, Span, Spanned};
use crate::exchange::{Exchange, Receipt};
use crate::outcome::{EngineResult, Outcome};
use crate::request::Request;
use crate::tracking::{Recorded, RequestKey, Tracker, Transition};
use crate::{Action, Decision};

/// A place in the one source of a test.
pub(super) fn place(start: usize, end: usize) -> Span {
    let origin = Origin::Embedded("test");
    let source = SourceMap::default().add(Source { origin, text: String::new() });
    Span { source, start, end }
}

/// A text that is all of the source.
pub(super) fn spanned(text: &str) -> Spanned<String> {
    Spanned { value: text.to_owned(), span: place(0, text.len()) }
}

#[derive(Debug)]
struct Forgetful;

impl Tracker for Forgetful {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The exchange of a request with these attributes, received at 2024-02-09 07:05:03 UTC.
pub(super) fn exchange<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    attributes: impl IntoIterator<Item = (N, V)>,
) -> Exchange {
    Exchange::new(Receipt {
        request: Arc::new(Request::from_attributes(attributes).unwrap()),
        key: RequestKey(*b"a request's key."),
        received: SystemTime::UNIX_EPOCH + Duration::from_secs(1_707_462_303),
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: Arc::new(Forgetful),
        repeat_of: None,
    })
}

/// What the examples of the table are about: a request that the engine `wbl` knew.
pub(super) fn example() -> Exchange {
    let exchange = exchange(example_attributes().iter().copied());
    let outcome = Outcome::new("black").with_text("on the black list");
    exchange.add_result(EngineResult {
        engine: "wbl".into(),
        outcome: outcome.with_value("entry", "example.com"),
        elapsed: Duration::ZERO,
    });
    let action = Action::Reject(Some("not today".to_owned()));
    exchange.decide(Decision { action, engine: Some("wbl".into()) });
    exchange
}

pub(super) fn scope() -> Scope {
    Scope::default().with_time_zone(TimeZone::UTC)
}

pub(super) fn template(text: &str) -> Result<Template, Vec<Finding>> {
    Template::compile(&spanned(text).as_deref(), &mut scope())
}

pub(super) fn condition(text: &str) -> Result<Condition, Vec<Finding>> {
    Condition::compile(&spanned(text).as_deref(), &mut scope())
}

/// The value of a template for the example.
#[track_caller]
pub(super) fn value(text: &str) -> Vec<u8> {
    let exchange = example();
    template(text).unwrap().evaluate(&View::of(&exchange)).into_owned()
}

/// The value of a template for the example, as text.
#[track_caller]
pub(super) fn shown(text: &str) -> String {
    String::from_utf8(value(text)).unwrap()
}

/// Whether a condition holds for the example.
#[track_caller]
pub(super) fn holds(text: &str) -> bool {
    condition(text).unwrap().holds(&View::of(&example()))
}

/// Each finding in short: what it points at, and its message.
pub(super) fn told<'t>(text: &'t str, findings: &[Finding]) -> Vec<(&'t str, String)> {
    let told = findings.iter().map(|finding| {
        let span = finding.span.unwrap();
        (&text[span.start..span.end], finding.message.clone())
    });
    told.collect()
}
