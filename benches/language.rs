//! What a text costs once it is compiled: a template, a condition, a thousand regular expressions
//! at once, and constants.
//!
//! `cargo bench -p mppd-engine --bench language`

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use mppd_engine::config::{Origin, Source, SourceMap, Span, Spanned};
use mppd_engine::exchange::Receipt;
use mppd_engine::language::{PatternItem, PatternLibrary, Patterns, Scope};
use mppd_engine::tracking::Recorded;
use mppd_engine::{
    Condition, EngineResult, Exchange, Outcome, Request, RequestKey, Template, Tracker, Transition,
    View,
};

struct Forgetful;

impl Tracker for Forgetful {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn exchange() -> Exchange {
    let attributes = [
        ("protocol_state", "RCPT"),
        ("protocol_name", "ESMTP"),
        ("client_address", "192.0.2.25"),
        ("client_name", "dsl-192-0-2-25.example.net"),
        ("helo_name", "mail.example.net"),
        ("sender", "alice@mail.example.com"),
        ("recipient", "bob@example.org"),
        ("size", "4096"),
    ];
    let exchange = Exchange::new(Receipt {
        request: Arc::new(Request::from_attributes(attributes).unwrap()),
        key: RequestKey([0; 16]),
        received: SystemTime::now(),
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: Arc::new(Forgetful),
        repeat_of: None,
    });
    for engine in ["ch_wbl", "spam_traps", "wbl"] {
        exchange.add_result(EngineResult {
            engine: engine.into(),
            outcome: Outcome::new("none"),
            elapsed: Duration::ZERO,
        });
    }
    exchange
}

fn spanned(text: &str) -> Spanned<String> {
    let source = Source { origin: Origin::CommandLine, text: text.to_owned() };
    let source = SourceMap::default().add(source);
    Spanned { value: text.to_owned(), span: Span { source, start: 0, end: text.len() } }
}

/// A thousand names of hosts that no client of the bench has, but for the last.
fn patterns() -> Patterns {
    let mut items: Vec<PatternItem> = (0..999)
        .map(|number| PatternItem {
            name: spanned(&format!("host{number}")),
            expression: spanned(&format!(r"^[a-z]+-{number}[.]dial[.]example{number}[.]org$")),
            ignores_case: false,
        })
        .collect();
    items.push(PatternItem {
        name: spanned("dsl"),
        expression: spanned(r"^dsl-[0-9-]+[.]"),
        ignores_case: false,
    });
    let groups = vec![mppd_engine::language::PatternGroup {
        name: spanned("all"),
        members: items.iter().map(|item| item.name.clone()).collect(),
    }];
    let mut patterns = Patterns::default();
    patterns.add("hosts", PatternLibrary::new(items, groups).unwrap());
    patterns
}

fn templates(criterion: &mut Criterion) {
    let exchange = exchange();
    let view = View::of(&exchange);
    let mut group = criterion.benchmark_group("template");
    for (name, text) in [
        ("constant", "5.7.1 not today, see https://example.org/why"),
        ("one attribute", "$sender"),
        ("five macros", "$sender.domain has no business with $recipient from $ip ($host, $helo)"),
        (
            "five macros, two of engines",
            "$ip $engines.ch_wbl.status $engines.wbl.status $helo $stage",
        ),
        ("functions", "${lower $sender.domain} ${length $helo} ${if_not_empty $helo yes no}"),
        ("time", "$current_time"),
    ] {
        let template = Template::compile(&spanned(text).as_deref(), &mut Scope::default()).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&template).evaluate(black_box(&view)).len());
        });
        let mut octets = Vec::with_capacity(1000);
        group.bench_function(format!("{name}, appended"), |bencher| {
            bencher.iter(|| {
                octets.clear();
                black_box(&template).append_to(black_box(&view), &mut octets);
                octets.len()
            });
        });
    }
    group.finish();
}

fn conditions(criterion: &mut Criterion) {
    let exchange = exchange();
    let view = View::of(&exchange);
    let mut scope = Scope::before(Arc::new(patterns()));
    let mut group = criterion.benchmark_group("condition");
    for (name, text) in [
        ("constant", "1 $LT 2 $AND a $NE b"),
        (
            "four comparisons",
            "$helo $NE $host $AND $request.size $LT 10000 $AND $sender.domain $NE example.org \
             $AND $stage $EQ policy-rcpt",
        ),
        (
            "three engines",
            "$engines.ch_wbl.status $EQ white $OR $engines.wbl.status $EQ white \
             $OR $engines.spam_traps.status $NE none",
        ),
        ("1000 expressions, found", "$host ~= all"),
        ("1000 expressions, not found", "$helo ~= all"),
    ] {
        let condition = Condition::compile(&spanned(text).as_deref(), &mut scope).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(&condition).holds(black_box(&view)));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    targets = templates, conditions
}
criterion_main!(benches);
