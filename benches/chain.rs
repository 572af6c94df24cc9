//! What an engine costs before it does anything: a request through chains of trivial engines, each
//! an actor of its own. The difference between two lengths, divided, is the cost of a hop.
//!
//! `cargo bench --bench chain`

mod trivial;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use actix_rt::SystemRunner;
use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use mppd::log;
use mppd::supervisor::blueprint::{Blueprint, Chains, EnginePlan, GroupPlan, Place};
use mppd::supervisor::chain::EngineSet;
use mppd::supervisor::effect::Effect;
use mppd_engine::config::{Origin, Source, SourceMap};
use mppd_engine::language::Scope;
use mppd_engine::{Built, Condition, Request, Span, Spanned, Tracker};

use self::trivial::{NotTracked, Trivial, exchange};

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
