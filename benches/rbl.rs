//! What five lists, and a look at a name, cost when every answer is at hand: through the resolver's
//! cache, as a warm server has it.
//!
//! `cargo bench --bench rbl`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use mppd_dns::testkit::{Server, Zones};
use mppd_dns::{Dns, Resolver, ResolverOptions};
use mppd_engine::testkit::{Configured, exchange};

const LISTS: &str = r#"<rbl>
    <list zone="a.example"/> <list zone="b.example"/> <list zone="c.example"/>
    <list zone="d.example" reply="127.0.0.[2..11]"/> <allow zone="w.example"/>
  </rbl>"#;

fn zones() -> Zones {
    Zones::default()
        .a("2.2.0.192.b.example", "127.0.0.2")
        .txt("2.2.0.192.b.example", "see https://b.example/192.0.2.2")
        .a("mail.example", "192.0.2.1")
}

fn checks(criterion: &mut Criterion) {
    let server = Server::start(zones());
    let dns = Arc::new(Dns::new(Resolver::new(ResolverOptions {
        servers: vec![server.address()],
        timeout: Duration::from_secs(5),
        max_in_flight: 100,
        cache_size: 1 << 20,
    })));
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    for (words, xml, client, status) in [
        ("five lists that have nothing", LISTS, "192.0.2.1", "none"),
        ("five lists of which one has the client", LISTS, "192.0.2.2", "listed"),
        ("a name that is right", "<helo/>", "192.0.2.1", "ok"),
    ] {
        let name = if xml == LISTS { "rbl" } else { "helo" };
        let kind = mppd_engines::ENGINES.iter().find(|kind| kind.name() == name);
        let Some(kind) = kind else { continue };
        let configured = Configured::xml(xml).with_service(dns.clone());
        let Ok(engine) = configured.build(*kind) else { continue };
        let exchange = exchange([
            ("protocol_state", "RCPT"),
            ("client_address", client),
            ("helo_name", "mail.example"),
            ("sender", "alice@example.com"),
        ]);
        // The first asks the server, inside a runtime, whose timers it needs.
        let first = runtime.block_on(engine.outcome(None, &exchange));
        if !first.is_ok_and(|outcome| outcome.status == status) {
            eprintln!("{words}: not {status}");
            continue;
        }
        criterion.bench_function(words, |bencher| {
            bencher.iter(|| black_box(engine.run(&exchange).is_ok()));
        });
    }
}

criterion_group!(benches, checks);
criterion_main!(benches);
