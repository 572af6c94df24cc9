//! What a check of both identities costs when every answer is at hand: through the resolver's
//! cache, as a warm server has it.
//!
//! `cargo bench --bench spf`

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use mppd_dns::testkit::{Server, Zones};
use mppd_dns::{Dns, Name, Resolver, ResolverOptions};
use mppd_engine::testkit::{Configured, exchange};

fn zones() -> Zones {
    Zones::default()
        .txt("ip4.example", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all")
        .txt("mx.example", "v=spf1 mx -all")
        .mx("mx.example", 10, "mail.mx.example")
        .a("mail.mx.example", "192.0.2.1")
        .txt("include.example", "v=spf1 include:a.include.example include:ip4.example ~all")
        .txt("a.include.example", "v=spf1 ip4:203.0.113.0/24 ip6:2001:db8::/32 -all")
        .txt("mail.example", "v=spf1 ip4:192.0.2.1 -all")
}

fn checks(criterion: &mut Criterion) {
    let Some(kind) = mppd_engines::ENGINES.iter().find(|kind| kind.name() == "spf") else { return };
    let server = Server::start(zones());
    let dns = Dns::new(Resolver::new(ResolverOptions {
        servers: vec![server.address()],
        timeout: Duration::from_secs(5),
        max_in_flight: 100,
        cache_size: 1 << 20,
    }));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let Ok(name) = Name::parse(b"mx.example") else { return };
    runtime.block_on(dns.mx(&name, Instant::now() + Duration::from_secs(5)));
    criterion.bench_function("one answer at hand", |bencher| {
        let deadline = Instant::now();
        bencher.iter(|| black_box(runtime.block_on(dns.mx(&name, deadline))));
    });
    let configured = Configured::xml("<spf/>").with_service(Arc::new(dns));
    let Ok(engine) = configured.build(*kind) else { return };
    for (words, sender) in [
        ("networks", "alice@ip4.example"),
        ("mail exchangers", "alice@mx.example"),
        ("two includes", "alice@include.example"),
    ] {
        let exchange = exchange([
            ("protocol_state", "RCPT"),
            ("client_address", "192.0.2.1"),
            ("helo_name", "mail.example"),
            ("sender", sender),
        ]);
        // The first asks the server, inside a runtime, whose timers it needs.
        let first = runtime.block_on(async { engine.run(&exchange) });
        if !first.is_ok_and(|outcome| outcome.status == "pass") {
            eprintln!("{words}: not a pass");
            continue;
        }
        criterion.bench_function(words, |bencher| {
            bencher.iter(|| black_box(engine.run(&exchange).is_ok()));
        });
    }
}

criterion_group!(benches, checks);
criterion_main!(benches);
