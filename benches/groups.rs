//! What finding the group of a request costs: few groups with few members, and many with many.
//!
//! `cargo bench --bench groups`; it also says once how long the members took to read, and how much
//! memory they take.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use mppd::config::limits::Limits;
use mppd::config::{ConfigurationFile, LoadRequest, draft};
use mppd::groups::Groups;
use mppd::log;
use mppd_engine::exchange::Receipt;
use mppd_engine::tracking::Recorded;
use mppd_engine::{Exchange, Request, RequestKey, Tracker, Transition};

const SIZES: [(usize, usize); 2] = [(10, 1_000), (5_000, 1_000_000)];

/// Writes the members of every group, a quarter for each method, and a configuration that names
/// them.
fn write(directory: &Path, groups: usize, members: usize) -> std::io::Result<()> {
    let mut xml = "<mppd><groups><group id='default'/>".to_owned();
    for group in 0..groups {
        write_group(directory, group, members / groups / 4)?;
        let file = |name: &str| format!("<{name} file='{name}{group}'/>");
        let lists = ["ip_list", "address_list_recipient", "address_list_sender", "sasl_user"];
        let lists = lists.map(file).concat();
        // Writing to a String cannot fail.
        let _infallible = write!(xml, "<group id='g{group}'><members>{lists}</members></group>");
    }
    xml.push_str("</groups></mppd>");
    std::fs::write(directory.join("mppd.conf.xml"), xml)
}

fn write_group(directory: &Path, group: usize, count: usize) -> std::io::Result<()> {
    let numbers = group * count..(group + 1) * count;
    let list = |name: &str, entry: &dyn Fn(usize) -> String| {
        let text: String = numbers.clone().map(|number| entry(number) + "\n").collect();
        std::fs::write(directory.join(format!("{name}{group}")), text)
    };
    list("ip_list", &address)?;
    list("address_list_recipient", &|number| format!("user{number}@example.org"))?;
    list("address_list_sender", &|number| format!("d{number}.example.com"))?;
    list("sasl_user", &|number| format!("login{number}"))
}

fn address(number: usize) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

/// The memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

fn read(groups: usize, members: usize) -> Option<Groups> {
    let directory = tempfile::tempdir().ok()?;
    write(directory.path(), groups, members).ok()?;
    let file = ConfigurationFile::Path(directory.path().join("mppd.conf.xml"));
    let request = LoadRequest { file, environment: [].into(), set: Vec::new() };
    let draft = draft(&request, &Limits::default());
    let (before, begin) = (resident(), Instant::now());
    let (read, findings) = Groups::build(&draft, &log::silent());
    let took = begin.elapsed();
    assert!(findings.is_empty() && draft.findings.is_empty(), "{findings:?} {:?}", draft.findings);
    let grown = resident().saturating_sub(before) >> 10;
    println!("{groups} groups, {members} members: read in {took:?}, {grown} MiB");
    Some(read)
}

struct NotTracked;

impl Tracker for NotTracked {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn exchange(attributes: &[(&str, &str)]) -> Option<Exchange> {
    let state = [("protocol_state", "RCPT")];
    let request = Request::from_attributes(state.iter().chain(attributes).copied()).ok()?;
    Some(Exchange::new(Receipt {
        request: Arc::new(request),
        key: RequestKey([0; 16]),
        received: SystemTime::UNIX_EPOCH,
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: Arc::new(NotTracked),
        repeat_of: None,
    }))
}

fn select(criterion: &mut Criterion) {
    let sets: Vec<_> = SIZES
        .into_iter()
        .filter_map(|(groups, members)| Some((members, read(groups, members)?)))
        .collect();
    let asked: [(&str, &[(&str, &str)]); 5] = [
        ("by network", &[("client_address", "10.0.0.200")]),
        ("by recipient", &[("recipient", "user200@example.org")]),
        ("by domain of the sender", &[("sender", "x@mail.d200.example.com")]),
        ("by login", &[("sasl_username", "login200")]),
        (
            "by none",
            &[
                ("client_address", "192.0.2.1"),
                ("recipient", "bob@mail.example.net"),
                ("sender", "alice@mail.example.net"),
                ("sasl_username", "carol"),
            ],
        ),
    ];
    for (name, attributes) in asked {
        let Some(exchange) = exchange(attributes) else { continue };
        let mut group = criterion.benchmark_group(name);
        for (members, groups) in &sets {
            group.bench_function(BenchmarkId::from_parameter(members), |bencher| {
                bencher.iter(|| groups.select(black_box(&exchange)).now_or_never());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, select);
criterion_main!(benches);
