//! What a request costs that is counted for a key with three limits, all of them well used, in a
//! store in memory.
//!
//! `cargo bench --bench threshold`

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use mppd_engine::testkit::{Configured, Ready, exchange_at};
use mppd_state::StateStore;

const LIMITS: &[(&str, &str)] = &[
    ("one limit", r#"<limit max="1000000000" per="1h"/>"#),
    (
        "three limits",
        r#"<limit max="1000000000" per="1h"/> <limit max="1000000000" per="day"/>
           <limit max="1000000000" per="1m" burst="1000000000"/>"#,
    ),
];

fn engine(limits: &str) -> Option<Ready> {
    let kind = mppd_engines::ENGINES.iter().find(|kind| kind.name() == "threshold")?;
    let xml = format!(r#"<threshold key="$sasl_username">{limits}</threshold>"#);
    let configured = Configured::xml(&xml).with_service(Arc::new(StateStore::in_memory()));
    configured.build(*kind).ok()
}

fn counts(criterion: &mut Criterion) {
    for (words, limits) in LIMITS {
        let Some(engine) = engine(limits) else { return eprintln!("the engine is not built") };
        // An hour of traffic, one request in ten seconds, so that every part of the window is in
        // use; then the clock stands still.
        let clock = Cell::new(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
        let serial = Cell::new(0_u64);
        let exchange = || {
            serial.set(serial.get() + 1);
            let instance = format!("1a2b.{:x}.0", serial.get());
            exchange_at(
                clock.get(),
                [
                    ("protocol_state", "RCPT"),
                    ("instance", &instance),
                    ("sasl_username", "alice"),
                    ("recipient", "bob@example.org"),
                ],
            )
        };
        for _ in 0..360 {
            clock.set(clock.get() + Duration::from_secs(10));
            let passes = engine.run(&exchange()).is_ok_and(|outcome| outcome.status == "under");
            assert!(passes, "{words}: not counted");
        }
        criterion.bench_function(words, |bencher| {
            bencher.iter_batched(
                exchange,
                |exchange| black_box(engine.run(&exchange).is_ok()),
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, counts);
criterion_main!(benches);
