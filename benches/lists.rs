//! What it costs to look a request up on a list: of addresses, names, mailboxes and pairs, of a
//! thousand entries and of a million. The entries asked for are spread over the whole list, so that
//! no cache holds what a long list needs.
//!
//! `cargo bench --bench lists`; it also says once how long each list took to read, and how much
//! memory it takes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mppd_engine::Exchange;
use mppd_engine::testkit::{Configured, Ready, exchange};

const SIZES: [usize; 2] = [1_000, 1_000_000];

/// How many requests are asked in turn.
const REQUESTS: usize = 4_096;

/// A kind of list: its element, its entries, and the attributes of a request for each.
struct Kind {
    element: &'static str,
    entry: fn(usize) -> String,
    attributes: fn(usize) -> Vec<(&'static str, String)>,
}

const KINDS: [Kind; 4] = [
    Kind {
        element: "client_address",
        entry: network,
        attributes: |number| vec![("client_address", address(number))],
    },
    Kind {
        element: "client_name",
        entry: name,
        attributes: |number| vec![("client_name", format!("mail.{}", name(number)))],
    },
    Kind {
        element: "sender",
        entry: mailbox,
        attributes: |number| vec![("sender", mailbox(number))],
    },
    Kind {
        element: "pair",
        entry: |number| format!("{} {}", mailbox(number), recipient(number)),
        attributes: |number| vec![("sender", mailbox(number)), ("recipient", recipient(number))],
    },
];

/// Scattered over the whole of IPv4, as far as it is not reserved.
fn address(number: usize) -> String {
    let spread = u32::try_from(number).unwrap_or_default().wrapping_mul(2_654_435_761);
    std::net::Ipv4Addr::from(spread).to_string()
}

/// Nine of ten are addresses.
fn network(number: usize) -> String {
    let address = address(number);
    let (net, _) = address.rsplit_once('.').unwrap_or_default();
    if number.is_multiple_of(10) { format!("{net}.0/24") } else { address }
}

fn name(number: usize) -> String {
    format!("host{number}.d{}.example", number / 7)
}

fn mailbox(number: usize) -> String {
    format!("user{number}@d{}.example", number / 7)
}

fn recipient(number: usize) -> String {
    format!("user{}@example.org", number % 10_000)
}

/// The memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn build(kind: &Kind, size: usize) -> Option<Ready> {
    let directory = tempfile::tempdir().ok()?;
    let text: String = (0..size).map(|number| (kind.entry)(number) + "\n").collect();
    std::fs::write(directory.path().join("list"), &text).ok()?;
    let element = kind.element;
    let xml = format!("<wbl><black><{element} file='list'/></black></wbl>");
    let configured = Configured::xml_in(directory.path(), &xml);
    let wbl = *mppd_engines::ENGINES.iter().find(|kind| kind.name() == "wbl")?;
    let (before, begin) = (resident(), Instant::now());
    let engine = configured.build(wbl).ok()?;
    let took = begin.elapsed();
    let grown = resident().saturating_sub(before) >> 10;
    let file = text.len() >> 20;
    println!("{element}, {size} entries: read in {took:.0?}, {grown} MiB (the file is {file} MiB)");
    Some(engine)
}

fn requests(kind: &Kind, size: usize) -> Vec<Arc<Exchange>> {
    let step = size.div_ceil(REQUESTS) | 1;
    let numbers = (0..REQUESTS).map(|index| index * step % size);
    numbers
        .map(|number| {
            let state = [("protocol_state", "RCPT".to_owned())];
            exchange(state.into_iter().chain((kind.attributes)(number)))
        })
        .collect()
}

fn look_up(criterion: &mut Criterion) {
    for kind in KINDS {
        let mut group = criterion.benchmark_group(kind.element);
        for size in SIZES {
            let Some(engine) = build(&kind, size) else { continue };
            let nobody = exchange([
                ("protocol_state", "RCPT"),
                ("client_address", "127.0.0.1"),
                ("client_name", "mail.example.net"),
                ("sender", "alice@mail.example.net"),
                ("recipient", "bob@example.net"),
            ]);
            for (words, status, requests) in
                [("found", "black", requests(&kind, size)), ("not found", "none", vec![nobody])]
            {
                let asked = requests.iter().map(|exchange| engine.run(exchange));
                let answered = asked.filter(|outcome| {
                    outcome.as_ref().is_ok_and(|outcome| outcome.status == status)
                });
                assert_eq!(answered.count(), requests.len(), "{} {words}", kind.element);
                let mut next = requests.iter().cycle();
                group.bench_function(BenchmarkId::new(words, size), |bencher| {
                    bencher.iter(|| {
                        next.next().map(|exchange| black_box(engine.run(exchange).is_ok()))
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, look_up);
criterion_main!(benches);
