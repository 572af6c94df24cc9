//! What it costs to tell a recipient that exists from one that does not, and where a client belongs,
//! when nobody has to be asked: lists, an answer of a callout that is kept, a database of networks.
//!
//! `cargo bench --bench recipient`

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use mppd_engine::Exchange;
use mppd_engine::testkit::{Configured, Ready, exchange};
use mppd_engines::testkit::{Mmdb, SmtpScript, SmtpServer};
use mppd_state::StateStore;

fn build(directory: &Path, xml: &str) -> Option<Ready> {
    let name = xml.split(['<', ' ', '>']).nth(1)?;
    let kind = mppd_engines::ENGINES.iter().find(|kind| kind.name() == name)?;
    let configured = Configured::xml_in(directory, xml);
    let configured = configured.with_service(Arc::new(StateStore::in_memory()));
    configured.build(*kind).map_err(|faults| eprintln!("{name}: {faults:?}")).ok()
}

fn request(recipient: &str) -> Arc<Exchange> {
    exchange([
        ("protocol_state", "RCPT"),
        ("client_address", "192.0.2.77"),
        ("helo_name", "mail.example.net"),
        ("sender", "alice@example.net"),
        ("recipient", recipient),
    ])
}

fn recipients(criterion: &mut Criterion) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let mut list = String::new();
    for number in 0..100_000 {
        // Writing to a string cannot fail.
        let _infallible = writeln!(list, "user{number}@example.org");
    }
    if std::fs::write(directory.path().join("list"), list).is_err() {
        return;
    }
    let script = SmtpScript::default().rcpt("alice@example.org", "250 ok");
    let server = SmtpServer::start(script);
    let listed = r#"<domain name="example.org"><list file="list"/></domain>"#;
    let guessing = r#"<guessing after="10"/>"#;
    let port = server.port();
    let callout =
        format!(r#"<domain name="example.org"><callout host="127.0.0.1" port="{port}"/></domain>"#);
    for (words, options, recipient) in [
        ("on a list of 100,000", listed.to_owned(), "user4711@example.org"),
        ("not on it", listed.to_owned(), "nobody@example.org"),
        ("on it, and the client is watched", format!("{listed}{guessing}"), "user1@example.org"),
        ("a callout's answer that is kept", callout, "alice@example.org"),
        ("of another domain", listed.to_owned(), "alice@example.com"),
    ] {
        let xml = format!("<recipient>{options}</recipient>");
        let Some(engine) = build(directory.path(), &xml) else { continue };
        let exchange = request(recipient);
        warm(&engine, &exchange);
        criterion.bench_function(words, |bencher| {
            bencher.iter(|| black_box(engine.run(&exchange).is_ok()));
        });
    }
}

fn countries(criterion: &mut Criterion) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let mut lines = String::new();
    for number in 0..20_000 {
        let (high, low) = (number >> 8, number & 255);
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            lines,
            "10.{high}.{low}.0/24 country=DE continent=EU asn={number} organization=Example"
        );
    }
    lines.push_str("192.0.2.0/24 country=DE continent=EU asn=64496 organization=Example Ltd");
    if std::fs::write(directory.path().join("x.mmdb"), Mmdb::read(&lines).octets()).is_err() {
        return;
    }
    let xml = r#"<country><database file="x.mmdb"/><countries>FR DE</countries></country>"#;
    let Some(engine) = build(directory.path(), xml) else { return };
    let exchange = request("bob@example.org");
    criterion.bench_function("the country of a client", |bencher| {
        bencher.iter(|| black_box(engine.run(&exchange).is_ok()));
    });
}

/// The first asks the server, inside a runtime, whose sockets it needs.
fn warm(engine: &Ready, exchange: &Arc<Exchange>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map(|runtime| runtime.block_on(engine.outcome(None, exchange)));
    if !asked.is_ok_and(|outcome| outcome.is_ok()) {
        eprintln!("no answer");
    }
}

criterion_group!(benches, recipients, countries);
criterion_main!(benches);
