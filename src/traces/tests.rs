//! What a collector is sent.

use std::net::TcpListener;

use mppd_engine::config::{Origin, Period, Positive, Source, SourceMap};
use mppd_engine::testkit::exchange;
use mppd_engine::{RequestKey, Span, Stage};
use serde_json::Value;

use super::otlp::Run;
use super::*;
use crate::config::traces_settings::Ratio;
use crate::supervisor::blueprint::Place;

fn tracer(endpoint: &str, ratio: u32, queue: u32) -> Tracer {
    let origin = Origin::Embedded("traces");
    let source = SourceMap::default().add(Source { origin, text: endpoint.to_owned() });
    let span = Span { source, start: 0, end: endpoint.len() };
    let options = TracesOptions {
        endpoint: Spanned { value: endpoint.to_owned(), span },
        sample_ratio: Ratio::parts_per_million(ratio),
        queue: Positive(queue),
        timeout: Positive(Period::seconds(5)),
    };
    Tracer::new(&Spanned { value: options, span }, &crate::log::silent()).unwrap()
}

fn trace(instance: &str) -> Trace {
    let run = Run {
        engine: "spf".into(),
        kind: "spf",
        place: Place::Check,
        status: "exception",
        failure: Some("timeout"),
        offset: Duration::from_micros(2),
        elapsed: Duration::from_micros(5),
    };
    Trace {
        key: RequestKey([7; 16]),
        node: "mx1".into(),
        instance: instance.to_owned(),
        queue_id: String::new(),
        stage: Stage::Rcpt,
        group: "default".into(),
        decision: "REJECT".to_owned(),
        decided_by: Some("wbl".into()),
        exception: None,
        repeat_of: None,
        received: std::time::UNIX_EPOCH + Duration::from_secs(1),
        elapsed: Duration::from_micros(9),
        runs: vec![run],
    }
}

fn spans(traces: &[Trace]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&otlp::encode(traces)).unwrap();
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

#[test]
fn an_engine_is_a_span_below_that_of_its_request() {
    let spans = spans(&[trace("1")]);
    let [request, engine] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(request["traceId"], "07070707070707070707070707070707");
    assert_eq!(request["traceId"], engine["traceId"]);
    assert_eq!(engine["parentSpanId"], request["spanId"]);
    assert_eq!(request["parentSpanId"], "");
    assert_eq!(request["spanId"].as_str().unwrap().len(), 16);
    assert_ne!(engine["spanId"], request["spanId"]);
    assert_eq!((&request["name"], &engine["name"]), (&"policy-rcpt".into(), &"spf".into()));
    assert_eq!(request["startTimeUnixNano"], "1000000000");
    assert_eq!(request["endTimeUnixNano"], "1000009000");
    assert_eq!(engine["startTimeUnixNano"], "1000002000");
    assert_eq!(engine["endTimeUnixNano"], "1000007000");
    assert_eq!(engine["status"]["message"], "timeout");
}

#[test]
fn what_a_peer_chose_is_the_value_of_an_attribute_and_nothing_else() {
    let hostile = "\"}],\u{202e}\u{1b}[31m<script>";
    let spans = spans(&[trace(hostile)]);
    let attributes = spans[0]["attributes"].as_array().unwrap();
    let instance = attributes.iter().find(|entry| entry["key"] == "mppd.instance").unwrap();
    assert_eq!(instance["value"]["stringValue"], hostile);
    assert!(!attributes.iter().any(|entry| entry["key"] == "mppd.queue_id"), "it has no value");
}

#[test]
fn all_requests_of_a_message_are_sampled_or_none_and_of_messages_the_share() {
    let some = tracer("http://127.0.0.1:1", 100_000, 1);
    let samples = |number: u32, state: &'static str| {
        let instance = format!("a1b2.{number:x}.0");
        some.samples(&exchange([("instance", &*instance), ("protocol_state", state)]))
    };
    let count = (0..5_000).filter(|number| samples(*number, "RCPT")).count();
    assert!((350..650).contains(&count), "{count} of 5000");
    assert!((0..100).all(|number| samples(number, "RCPT") == samples(number, "DATA")));
    let request = exchange([("instance", "1")]);
    assert!(tracer("http://127.0.0.1:1", 1_000_000, 1).samples(&request));
    assert!(!tracer("http://127.0.0.1:1", 0, 1).samples(&request));
}

#[test]
fn a_collector_that_takes_nothing_in_costs_nobody_time_and_is_counted() {
    // Connections are taken in by the system, and nobody reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tracer = tracer(&format!("http://{}", listener.local_addr().unwrap()), 1_000_000, 4);
    for number in 0..2_000 {
        tracer.send(trace(&number.to_string()));
    }
    let TracesStatus { sent, dropped, failed } = tracer.status();
    assert_eq!((sent, failed), (0, 0));
    // The queue, a batch that is gathered or on its way, and what was taken meanwhile.
    assert!(dropped >= 1_000, "{dropped}");
}
