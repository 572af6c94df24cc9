//! What evaluating costs in memory. In a binary of its own, whose allocator counts.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use allocation_counter::measure;
use mppd_engine::config::{Origin, Source, SourceMap, Span, Spanned};
use mppd_engine::exchange::Receipt;
use mppd_engine::language::Scope;
use mppd_engine::tracking::Recorded;
use mppd_engine::{Condition, Exchange, Request, RequestKey, Template, Tracker, Transition, View};

struct Forgetful;

impl Tracker for Forgetful {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn exchange() -> Exchange {
    let attributes = [("protocol_state", "RCPT"), ("helo_name", "mail.example.net"), ("size", "7")];
    Exchange::new(Receipt {
        request: Arc::new(Request::from_attributes(attributes).unwrap()),
        key: RequestKey([0; 16]),
        received: SystemTime::now(),
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: Arc::new(Forgetful),
        repeat_of: None,
    })
}

fn spanned(text: &str) -> Spanned<&str> {
    let source = Source { origin: Origin::CommandLine, text: text.to_owned() };
    let source = SourceMap::default().add(source);
    Spanned { value: text, span: Span { source, start: 0, end: text.len() } }
}

fn template(text: &str) -> Template {
    Template::compile(&spanned(text), &mut Scope::default()).unwrap()
}

fn condition(text: &str) -> Condition {
    Condition::compile(&spanned(text), &mut Scope::default()).unwrap()
}

#[track_caller]
fn assert_lends(text: &str) {
    let (exchange, template) = (exchange(), template(text));
    let view = View::of(&exchange);
    let cost = measure(|| assert!(matches!(template.evaluate(&view), Cow::Borrowed(_))));
    assert_eq!(cost.count_total, 0, "{text}");
}

#[test]
fn constants_and_single_attributes_are_lent() {
    assert_lends("not today");
    assert_lends("${upper ${md5 a}} $lf ${substr abc 1}");
    assert_lends("$helo");
    assert_lends("$sender.domain");
    assert_lends("$request.not_known");
    assert_lends("$stage");
    assert_lends("$engines.wbl.status");
    assert_lends("${if_not_empty $helo $helo bounce}");
}

#[test]
fn a_constant_appended_costs_nothing_where_there_is_room() {
    let (exchange, template) = (exchange(), template("not $helo today"));
    let view = View::of(&exchange);
    let mut octets = Vec::with_capacity(100);
    let cost = measure(|| template.append_to(&view, &mut octets));
    assert_eq!(cost.count_total, 0);
    assert_eq!(octets, b"not mail.example.net today");
}

#[test]
fn a_short_template_is_one_allocation() {
    let (exchange, template) = (exchange(), template("$helo at $stage of $group: $request.size"));
    let view = View::of(&exchange);
    let cost = measure(|| drop(template.evaluate(&view)));
    assert_eq!(cost.count_total, 1);
}

#[test]
fn a_condition_over_attributes_allocates_nothing() {
    let exchange = exchange();
    let view = View::of(&exchange);
    let texts = [
        "1 $AND a $EQ a",
        "$helo $EQ mail.example.net $AND $request.size $LT 10 $AND $stage $EQ policy-rcpt",
        "$NOT { $sender $OR $engines.wbl.status $EQ black }",
    ];
    for text in texts {
        let condition = condition(text);
        let cost = measure(|| assert!(condition.holds(&view)));
        assert_eq!(cost.count_total, 0, "{text}");
    }
}
