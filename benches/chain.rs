//! What an engine costs before it does anything: a request through chains of trivial engines, each
//! an actor of its own. The difference between two lengths, divided, is the cost of a hop.
//!
//! `cargo bench --bench chain`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actix_rt::SystemRunner;
use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use mppd::log;
use mppd::supervisor::blueprint::{Blueprint, Chains, EnginePlan, GroupPlan, Place};
use mppd::supervisor::chain::EngineSet;
use mppd::supervisor::effect::Effect;
use mppd_engine::config::{Origin, Source, SourceMap};
use mppd_engine::exchange::Receipt;
use mppd_engine::language::Scope;
use mppd_engine::tracking::Recorded;
use mppd_engine::{
    BuildContext, Built, Condition, Engine, Exchange, Failure, Finding, Outcome, Request,
    RequestKey, Span, Spanned, StatusDoc, Tracker, Transition, options,
};

options! {
    /// A trivial engine has none.
    struct NoOptions: Default {}
}

/// Gives its status at once, or after its task was woken again.
#[derive(Clone)]
struct Trivial {
    waits: bool,
}

impl Engine for Trivial {
    const NAME: &'static str = "trivial";
    const SUMMARY: &'static str = "does nothing";
    const STATUSES: &'static [StatusDoc] = &[];
    type Options = NoOptions;

    fn build(_: NoOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Trivial { waits: false })
    }

    async fn run(&self, _: &Exchange) -> Result<Outcome, Failure> {
        if self.waits {
            tokio::task::yield_now().await;
        }
        Ok(Outcome::new("none"))
    }
}

struct NotTracked;

impl Tracker for NotTracked {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Engines that answer at once, with what their elements may say besides.
#[derive(Clone, Copy)]
enum Extra {
    Nothing,
    /// A precondition that holds.
    Runs,
    /// A precondition that does not hold.
    IsSkipped,
}

impl Extra {
    fn precondition(self) -> Option<Condition> {
        let text = match self {
            Extra::Nothing => return None,
            Extra::Runs => "$stage $EQ policy-rcpt $AND $sender.domain $EQ example.org",
            Extra::IsSkipped => "$stage $EQ policy-rcpt $AND $sender.domain $NE example.org",
        };
        let origin = Origin::Embedded("precondition");
        let source = SourceMap::default().add(Source { origin, text: text.to_owned() });
        let span = Span { source, start: 0, end: text.len() };
        Condition::compile(&Spanned { value: text, span }, &mut Scope::default()).ok()
    }
}

fn plan(number: usize, waits: bool, extra: Extra) -> EnginePlan {
    let prototype = Built::engine(Trivial { waits }).prototype;
    EnginePlan {
        effects: HashMap::from([("none", Effect::Continue)]),
        precondition: extra.precondition(),
        ..EnginePlan::new(format!("e{number}").into(), "trivial", prototype)
    }
}

fn raise(length: usize, waits: bool, extra: Extra) -> Option<EngineSet> {
    let mut chains = Chains::default();
    (0..length).for_each(|engine| chains.add(Place::Check, engine));
    let engines = (0..length).map(|number| plan(number, waits, extra)).collect();
    let blueprint = Blueprint::new(engines, vec![GroupPlan::new("default", chains)]);
    EngineSet::raise(&Arc::new(blueprint), 1_000, &log::silent(), &Arc::default()).ok()
}

fn exchange(request: &Arc<Request>, tracker: &Arc<dyn Tracker>) -> Arc<Exchange> {
    Arc::new(Exchange::new(Receipt {
        request: request.clone(),
        key: RequestKey([0; 16]),
        received: SystemTime::UNIX_EPOCH,
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: tracker.clone(),
        repeat_of: None,
    }))
}

/// One request after another, as a worker has them: many for each entry into the runtime.
fn measure(bencher: &mut Bencher<'_>, system: &SystemRunner, set: &EngineSet) {
    let attributes = [("protocol_state", "RCPT"), ("sender", "alice@example.org")];
    let Ok(request) = Request::from_attributes(attributes) else { return };
    let (request, tracker) = (Arc::new(request), Arc::new(NotTracked) as Arc<dyn Tracker>);
    bencher.iter_custom(|iterations| {
        system.block_on(async {
            let begin = Instant::now();
            for _ in 0..iterations {
                let exchange = exchange(&request, &tracker);
                set.process(&exchange, None, |decision| decision).await;
            }
            begin.elapsed()
        })
    });
}

fn chain(criterion: &mut Criterion) {
    let system = actix_rt::System::new();
    for waits in [false, true] {
        let name = if waits { "engines that wait once" } else { "engines that answer at once" };
        let mut group = criterion.benchmark_group(name);
        for length in [0_usize, 1, 10, 30] {
            let raised = system.block_on(async { raise(length, waits, Extra::Nothing) });
            let Some(set) = raised else { continue };
            group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
                measure(bencher, &system, &set);
            });
        }
        group.finish();
    }
}

/// The same ten engines without preconditions, with some that hold, and with some that do not.
fn preconditions(criterion: &mut Criterion) {
    let system = actix_rt::System::new();
    let mut group = criterion.benchmark_group("ten engines");
    for (name, extra) in [
        ("without preconditions", Extra::Nothing),
        ("whose preconditions hold", Extra::Runs),
        ("whose preconditions do not hold", Extra::IsSkipped),
    ] {
        let Some(set) = system.block_on(async { raise(10, false, extra) }) else { continue };
        group.bench_function(name, |bencher| measure(bencher, &system, &set));
    }
    group.finish();
}

criterion_group!(benches, chain, preconditions);
criterion_main!(benches);
