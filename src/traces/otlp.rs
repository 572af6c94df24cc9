//! Traces as the collector reads them: OTLP in JSON, after opentelemetry-proto 1.x and the JSON
//! mapping of the OTLP specification (IDs in hexadecimal, times in nanoseconds as text).
//!
//! What peers chose is data only: serde escapes it, and nothing of it names a span or an attribute.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mppd_engine::{RequestKey, Stage};
use serde_json::{Value, json};

use super::mix;
use crate::supervisor::blueprint::Place;

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// What became of one request.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    /// Its key in the records; the ID of the trace.
    pub(super) key: RequestKey,
    pub(super) node: Arc<str>,
    pub(super) instance: String,
    pub(super) queue_id: String,
    pub(super) stage: Stage,
    pub(super) group: Arc<str>,
    pub(super) decision: String,
    /// The engine that decided.
    pub(super) decided_by: Option<Arc<str>>,
    pub(super) exception: Option<&'static str>,
    pub(super) repeat_of: Option<RequestKey>,
    pub(super) received: SystemTime,
    pub(super) elapsed: Duration,
    pub(super) runs: Vec<Run>,
}

/// What one engine did.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) engine: Arc<str>,
    pub(super) kind: &'static str,
    pub(super) place: Place,
    pub(super) status: &'static str,
    pub(super) failure: Option<&'static str>,
    /// How long after the request it began.
    pub(super) offset: Duration,
    pub(super) elapsed: Duration,
}

/// The body of one call.
pub(super) fn encode(traces: &[Trace]) -> Vec<u8> {
    let node = traces.first().map(|trace| trace.node.to_string()).unwrap_or_default();
    let resource = [
        ("service.name", "mppd"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &node),
    ];
    let spans: Vec<Value> = traces.iter().flat_map(spans).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(&resource) },
            "scopeSpans": [{
                "scope": { "name": "mppd", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans,
            }],
        }],
    })
    .to_string()
    .into_bytes()
}

/// Attributes that have a value.
fn attributes(named: &[(&str, &str)]) -> Value {
    let known = named.iter().filter(|(_, value)| !value.is_empty());
    let known =
        known.map(|(name, value)| json!({ "key": name, "value": { "stringValue": value } }));
    Value::Array(known.collect())
}

/// The span of a request, and those of its engines.
fn spans(trace: &Trace) -> Vec<Value> {
    let own = span_id(trace.key, 0);
    let repeat_of = trace.repeat_of.map(|key| key.to_string()).unwrap_or_default();
    let key = trace.key.to_string();
    let root = Span {
        trace: trace_id(trace.key),
        own: &own,
        parent: "",
        name: trace.stage.name(),
        kind: SERVER,
        start: trace.received,
        elapsed: trace.elapsed,
        failure: trace.exception,
    };
    let mut spans = vec![root.with(&[
        ("mppd.id", &key),
        ("mppd.instance", &trace.instance),
        ("mppd.queue_id", &trace.queue_id),
        ("mppd.group", &trace.group),
        ("mppd.decision", &trace.decision),
        ("mppd.engine", trace.decided_by.as_deref().unwrap_or_default()),
        ("mppd.exception", trace.exception.unwrap_or_default()),
        ("mppd.repeat_of", &repeat_of),
    ])];
    for (number, run) in (1..).zip(&trace.runs) {
        let span = Span {
            trace: trace_id(trace.key),
            own: &span_id(trace.key, number),
            parent: &own,
            name: &run.engine,
            kind: INTERNAL,
            start: trace.received + run.offset,
            elapsed: run.elapsed,
            failure: run.failure,
        };
        spans.push(span.with(&[
            ("mppd.engine", &run.engine),
            ("mppd.kind", run.kind),
            ("mppd.chain", run.place.element()),
            ("mppd.status", run.status),
            ("mppd.exception", run.failure.unwrap_or_default()),
        ]));
    }
    spans
}

struct Span<'a> {
    trace: String,
    own: &'a str,
    parent: &'a str,
    name: &'a str,
    kind: u8,
    start: SystemTime,
    elapsed: Duration,
    failure: Option<&'static str>,
}

impl Span<'_> {
    fn with(&self, named: &[(&str, &str)]) -> Value {
        let status = match self.failure {
            Some(word) => json!({ "code": ERROR, "message": word }),
            None => json!({}),
        };
        json!({
            "traceId": self.trace,
            "spanId": self.own,
            "parentSpanId": self.parent,
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": nanoseconds(self.start),
            "endTimeUnixNano": nanoseconds(self.start + self.elapsed),
            "attributes": attributes(named),
            "status": status,
        })
    }
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

fn trace_id(key: RequestKey) -> String {
    key.to_string().replace('-', "")
}

/// The ID of the span of a request (0), or of one of its engines.
fn span_id(key: RequestKey, number: u32) -> String {
    let octets = [&key.0[..], &number.to_be_bytes()].concat();
    // Zero is no ID.
    format!("{:016x}", mix(&octets).max(1))
}
