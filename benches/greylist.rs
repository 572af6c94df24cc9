//! What greylisting costs when what it looks for is in memory: a triplet that is known, by its
//! network and by its domain, a client that need not wait, and one that comes too early.
//!
//! `cargo bench --bench greylist`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use mppd_engine::Exchange;
use mppd_engine::testkit::{Configured, Ready, exchange_at};
use mppd_state::StateStore;

const BEGIN: Duration = Duration::from_secs(1_790_000_000);

fn mail(name: &str, sender: &str, second: u64) -> Arc<Exchange> {
    let time = SystemTime::UNIX_EPOCH + BEGIN + Duration::from_secs(second);
    exchange_at(
        time,
        [
            ("protocol_state", "RCPT"),
            ("client_address", "192.0.2.7"),
            ("client_name", name),
            ("sender", sender),
            ("recipient", "bob@example.org"),
        ],
    )
}

fn engine(options: &str) -> Option<Ready> {
    let kind = mppd_engines::ENGINES.iter().find(|kind| kind.name() == "greylist")?;
    let store = Arc::new(StateStore::in_memory());
    let configured = Configured::xml(&format!("<greylist {options}/>")).with_service(store);
    configured.build(*kind).ok()
}

fn checks(criterion: &mut Criterion) {
    const ALICE: &str = "alice@example.com";
    const LIST: &str = "list-return-7-bob=example.org@lists.example";
    for (words, status, options, name, sender) in [
        ("known by network", "known", "auto_whitelist='0'", "unknown", ALICE),
        ("known by network, list", "known", "auto_whitelist='0'", "unknown", LIST),
        ("known by domain", "known", "", "out1.mail.example.com", ALICE),
        ("whitelisted", "whitelisted", "auto_whitelist='1'", "out1.mail.example.com", ALICE),
        ("early", "early", "delay='1d'", "unknown", ALICE),
    ] {
        let Some(engine) = engine(options) else { continue };
        let [first, second, third] = [0, 400, 401].map(|second| mail(name, sender, second));
        let before = [&first, &second].map(|exchange| engine.run(exchange).is_ok());
        let warm = engine.run(&third);
        if before != [true; 2] || !warm.is_ok_and(|outcome| outcome.status == status) {
            eprintln!("{words}: not {status}");
            continue;
        }
        criterion.bench_function(words, |bencher| {
            bencher.iter(|| black_box(engine.run(&third).is_ok()));
        });
    }
}

criterion_group!(benches, checks);
criterion_main!(benches);
