//! What an engine costs before it does anything: a request through chains of trivial engines, each
//! an actor of its own. The difference between two lengths, divided, is the cost of a hop.
//!
//! `cargo bench --bench chain`

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mppd::log;
use mppd::supervisor::blueprint::{Blueprint, Chains, EnginePlan, GroupPlan, Place};
use mppd::supervisor::chain::EngineSet;
use mppd::supervisor::effect::Effect;
use mppd_engine::exchange::Receipt;
use mppd_engine::tracking::Recorded;
use mppd_engine::{
    BuildContext, Built, Engine, Exchange, Failure, Finding, Outcome, Request, RequestKey,
    StatusDoc, Tracker, Transition, options,
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

fn plan(number: usize, waits: bool) -> EnginePlan {
    let prototype = Built::engine(Trivial { waits }).prototype;
    EnginePlan {
        effects: HashMap::from([("none", Effect::Continue)]),
        ..EnginePlan::new(format!("e{number}").into(), "trivial", prototype)
    }
}

fn raise(length: usize, waits: bool) -> Option<EngineSet> {
    let mut chains = Chains::default();
    (0..length).for_each(|engine| chains.add(Place::Check, engine));
    let engines = (0..length).map(|number| plan(number, waits)).collect();
    let blueprint = Blueprint::new(engines, vec![GroupPlan::new("default", chains)]);
    EngineSet::raise(&Arc::new(blueprint), 1_000, &log::silent()).ok()
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

fn chain(criterion: &mut Criterion) {
    let system = actix_rt::System::new();
    let Ok(request) = Request::from_attributes([("protocol_state", "RCPT")]) else { return };
    let (request, tracker) = (Arc::new(request), Arc::new(NotTracked) as Arc<dyn Tracker>);
    for waits in [false, true] {
        let name = if waits { "engines that wait once" } else { "engines that answer at once" };
        let mut group = criterion.benchmark_group(name);
        for length in [0_usize, 1, 10, 30] {
            let Some(set) = system.block_on(async { raise(length, waits) }) else { continue };
            group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
                // Many requests for each entry into the runtime, as a worker has it.
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
            });
        }
        group.finish();
    }
}

criterion_group!(benches, chain);
criterion_main!(benches);
