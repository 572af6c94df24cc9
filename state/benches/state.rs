//! What remembering costs: one record read or changed, by one thread and by all at once, in the
//! embedded store and on servers; and ten million records in memory and in the file.
//!
//! `cargo bench -p mppd-state`. `MPPD_BENCH_MILLIONS=10` fills a store first and tells once what that
//! took; `MPPD_BENCH_REDIS=redis://127.0.0.1:6379` and `MPPD_BENCH_MYSQL=PORT` (user, password and
//! database `mppd` on 127.0.0.1) measure a server.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use mppd_database::ResolvedConnection;
use mppd_state::{
    Change, MySqlPlan, OpenStore, Reader, Record, RedisAddress, RedisPlan, Space, StateStore,
    StorePlan, Writer,
};
use slog::{Discard, Logger, o};

/// What greylisting keeps for a triplet: when it came first and last, and how often.
struct Triplet {
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

impl Record for Triplet {
    const KIND: u8 = b'T';

    fn write(&self, writer: &mut Writer) {
        writer.time(self.first);
        writer.time(self.last);
        writer.number(self.count);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (first, last) = (reader.time()?, reader.time()?);
        Some(Triplet { first, last, count: reader.number()? })
    }
}

fn key(number: u64) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(number & 0xffff_ffff).unwrap_or_default().to_be_bytes();
    format!("10.{a}.{b}.0/24 user{number}@example.com recipient{c}@example.org").into_bytes()
}

/// Counts an attempt.
fn attempt(now: Timestamp) -> impl FnMut(Option<Triplet>) -> Change<Triplet, u64> + Send + 'static {
    move |triplet| {
        let (first, count) = triplet.map_or((now, 0), |triplet| (triplet.first, triplet.count));
        let until = now + Duration::from_hours(24 * 35);
        Change::Put(Triplet { first, last: now, count: count + 1 }, until, count)
    }
}

fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    work.now_or_never()
}

fn open(plan: &StorePlan, directory: &Path) -> Option<Arc<StateStore>> {
    let store = StateStore::unopened();
    let open = OpenStore::open(plan, directory, &Logger::root(Discard, o!())).ok()?;
    store.open(open.backend().clone());
    Some(Arc::new(store))
}

/// The memory of this process, in octets.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() << 10
}

fn millions(plan: &StorePlan, directory: &Path, count: u64) -> Option<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let now = Timestamp::now();
    let (begin, memory) = (Instant::now(), resident());
    let store = open(plan, directory)?;
    let space = store.space("greylist");
    let mut slowest = Duration::ZERO;
    for number in 0..count {
        let begin = Instant::now();
        black_box(at_once(space.update(&key(number), now, attempt(now))));
        slowest = slowest.max(begin.elapsed());
    }
    println!("{count} records put in {:?}, the slowest in {slowest:?}", begin.elapsed());
    runtime.block_on(store.settle()).ok()?;
    println!("written to the file {:?} after the first was put", begin.elapsed());
    println!("memory for each: {} octets", (resident() - memory) / count);
    drop((space, store));
    let size = std::fs::metadata(directory.join("state.sqlite")).map_or(0, |file| file.len());
    println!("file for each: {} octets", size / count);
    let begin = Instant::now();
    let store = open(plan, directory)?;
    println!("read from the file in {:?}", begin.elapsed());
    let begin = Instant::now();
    for number in 0..1_000 {
        let number = number * count / 1_000;
        black_box(at_once(store.space("greylist").update(&key(number), now, attempt(now))));
    }
    println!("a thousand of them changed in {:?}", begin.elapsed());
    Some(())
}

fn embedded(criterion: &mut Criterion) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let variable = std::env::var("MPPD_BENCH_MILLIONS").ok();
    if let Some(count) = variable.and_then(|count| count.parse::<u64>().ok()) {
        let max_entries = usize::try_from(count * 1_000_000).unwrap_or(usize::MAX);
        millions(&StorePlan::Embedded { max_entries }, directory.path(), count * 1_000_000);
        drop(std::fs::remove_file(directory.path().join("state.sqlite")));
    }
    let plan = StorePlan::Embedded { max_entries: 1_000_000 };
    let Some(store) = open(&plan, directory.path()) else { return };
    let space = store.space("greylist");
    let now = Timestamp::now();
    let keys: Vec<Vec<u8>> = (0..100_000).map(key).collect();
    for key in &keys {
        black_box(at_once(space.update(key, now, attempt(now))));
    }
    let mut group = criterion.benchmark_group("embedded");
    let mut turn = keys.iter().cycle();
    let mut next = || turn.next().map_or(&[][..], |key| key.as_slice());
    group.bench_function("get", |bencher| {
        bencher.iter(|| at_once(space.get::<Triplet>(next(), now)).is_some());
    });
    group.bench_function("update", |bencher| {
        bencher.iter(|| at_once(space.update(next(), now, attempt(now))).is_some());
    });
    group.bench_function("update of one key", |bencher| {
        bencher.iter(|| at_once(space.update(b"key", now, attempt(now))).is_some());
    });
    for threads in [2, 8] {
        group.bench_function(format!("update of one key by {threads} threads"), |bencher| {
            bencher.iter_custom(|rounds| by_threads(&space, threads, rounds));
        });
    }
}

/// How long so many changes take that some threads make together.
fn by_threads(space: &Space, threads: u64, rounds: u64) -> Duration {
    let now = Timestamp::now();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..rounds / threads {
                    black_box(at_once(space.update(b"key", now, attempt(now))));
                }
            });
        }
    });
    begin.elapsed()
}

fn mysql() -> Option<StorePlan> {
    let port = std::env::var("MPPD_BENCH_MYSQL").ok()?.parse().ok()?;
    let timeout = Duration::from_secs(10);
    let connection = ResolvedConnection {
        host: Some("127.0.0.1".to_owned()),
        port,
        database: "mppd".to_owned(),
        unix_socket: None,
        user: "mppd".to_owned(),
        password: Some("mppd".to_owned().into()),
        tls: None,
        connect_timeout: timeout,
        write_timeout: timeout,
    };
    let sweep_interval = Duration::from_mins(1);
    let (connections, max_entries) = (8, 10_000_000);
    Some(StorePlan::MySql(MySqlPlan {
        connection,
        connections,
        max_entries,
        timeout,
        sweep_interval,
    }))
}

fn redis() -> Option<StorePlan> {
    let url = std::env::var("MPPD_BENCH_REDIS").ok()?;
    Some(StorePlan::Redis(RedisPlan {
        nodes: vec![RedisAddress::parse(&url).ok()?],
        cluster: false,
        user: None,
        password: None,
        prefix: "mppd".to_owned(),
        timeout: Duration::from_secs(10),
    }))
}

fn servers(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let (Ok(runtime), Ok(directory)) = (runtime, tempfile::tempdir()) else { return };
    let plans = [("mysql", mysql()), ("redis", redis())];
    for (name, plan) in plans.iter().filter_map(|(name, plan)| Some((name, plan.as_ref()?))) {
        let Some(store) = open(plan, directory.path()) else { continue };
        let space = store.space("greylist");
        let now = Timestamp::now();
        let mut group = criterion.benchmark_group(*name);
        let mut number = 0;
        group.sample_size(20).bench_function("update", |bencher| {
            bencher.iter(|| {
                number += 1;
                runtime.block_on(space.update(&key(number % 10_000), now, attempt(now))).is_ok()
            });
        });
        group.throughput(Throughput::Elements(100));
        for (name, keys) in [("100 updates at once", 10_000), ("100 updates of one key", 1)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let updates = (0..100).map(|_| {
                        number += 1;
                        let (space, key) = (&space, key(number % keys));
                        async move { space.update(&key, now, attempt(now)).await.is_ok() }
                    });
                    runtime.block_on(join_all(updates))
                });
            });
        }
    }
}

criterion_group!(benches, embedded, servers);
criterion_main!(benches);
