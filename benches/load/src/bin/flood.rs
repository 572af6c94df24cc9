//! A flood: most connections are silent, drop an octet now and then, send lines without end, or
//! connect over and over again; some are honest. Prints how long the honest ones wait for their
//! answers before the flood and during it, and what the server takes.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use mppd_load::histogram::Histogram;
use mppd_load::requests::Requests;
use mppd_load::socket::{Endpoint, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// How long a connection of the flood rests when the server has refused it.
const REST: Duration = Duration::from_millis(200);

/// Between two octets of a slow peer.
const DRIP: Duration = Duration::from_millis(500);

/// Floods a policy server, and asks it honestly all the while.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// `HOST:PORT` or `unix:PATH`.
    endpoint: Endpoint,
    /// All connections.
    #[arg(short, long, default_value_t = 10_000)]
    connections: u32,
    /// Those of them that are honest.
    #[arg(long, default_value_t = 100)]
    honest: u32,
    /// Requests a second of all honest connections together.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds before the flood, and of it, that count.
    #[arg(short, long, default_value_t = 10.0)]
    duration: f64,
    /// The server's process, to tell its memory and descriptors.
    #[arg(long)]
    pid: Option<u32>,
}

/// What peers of the flood do.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Silent,
    Dripping,
    Endless,
    Reconnecting,
}

impl Manner {
    /// Most are silent: they cost the flood nothing.
    fn of(number: u32) -> Self {
        match number % 20 {
            0 => Manner::Endless,
            1 => Manner::Reconnecting,
            2..8 => Manner::Dripping,
            _ => Manner::Silent,
        }
    }
}

/// What all tasks share.
#[derive(Debug, Default)]
struct Shared {
    is_flooding: AtomicBool,
    is_over: AtomicBool,
    /// Connections that the flood opened.
    opened: AtomicU64,
    /// Those of them that could not be opened.
    refused: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Honest {
    before: Histogram,
    during: Histogram,
    /// Requests that were not answered, each followed by a new connection.
    lost: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(Arc::new(arguments)))
}

async fn run(arguments: Arc<Arguments>) -> Result<(), Box<dyn Error>> {
    let shared = Arc::new(Shared::default());
    let period = Duration::try_from_secs_f64(arguments.duration)?;
    let mut honest = JoinSet::new();
    for number in 0..arguments.honest {
        honest.spawn(be_honest(Arc::clone(&arguments), Arc::clone(&shared), number));
    }
    tokio::time::sleep(period).await;
    let calm = arguments.pid.and_then(usage);
    let mut flood = JoinSet::new();
    for number in 0..arguments.connections.saturating_sub(arguments.honest) {
        flood.spawn(be_bad(Arc::clone(&arguments), Arc::clone(&shared), number));
        if number % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // What counts begins when all are there.
    tokio::time::sleep(Duration::from_secs(2)).await;
    shared.is_flooding.store(true, Ordering::Relaxed);
    tokio::time::sleep(period).await;
    let flooded = arguments.pid.and_then(usage);
    shared.is_over.store(true, Ordering::Relaxed);
    let mut all = Honest::default();
    while let Some(one) = honest.join_next().await {
        let one = one?;
        all.before.merge(&one.before);
        all.during.merge(&one.during);
        all.lost += one.lost;
    }
    flood.shutdown().await;
    report(&arguments, &shared, &all, &[calm, flooded]);
    Ok(())
}

fn report(arguments: &Arguments, shared: &Shared, honest: &Honest, usages: &[Option<Usage>; 2]) {
    let milliseconds = |latency: Duration| latency.as_secs_f64() * 1e3;
    println!(
        "{} connections, {} of them honest; the flood opened {} and was refused {} times",
        arguments.connections,
        arguments.honest,
        shared.opened.load(Ordering::Relaxed),
        shared.refused.load(Ordering::Relaxed),
    );
    println!("{:<8} {:>9} {:>9} {:>9} {:>9}", "", "requests", "p50 ms", "p99 ms", "max ms");
    let figures = |latencies: &Histogram| {
        [latencies.percentile(500), latencies.percentile(990), latencies.longest()]
            .map(milliseconds)
    };
    let (before, during) = (figures(&honest.before), figures(&honest.during));
    for (name, count, [p50, p99, max]) in
        [("before", honest.before.count(), before), ("during", honest.during.count(), during)]
    {
        println!("{name:<8} {count:>9} {p50:>9.3} {p99:>9.3} {max:>9.3}");
    }
    let ratio = |index: usize| during[index] / before[index].max(f64::EPSILON);
    println!("{:<8} {:>9} {:>9.1} {:>9.1} {:>9.1}", "ratio", "", ratio(0), ratio(1), ratio(2));
    println!("honest requests that were not answered: {}", honest.lost);
    for (name, usage) in ["before", "during"].into_iter().zip(usages) {
        if let Some(usage) = usage {
            println!("{name}: {} MiB resident, {} descriptors", usage.kib >> 10, usage.descriptors);
        }
    }
}

/// What the server takes.
#[derive(Debug, Clone, Copy)]
struct Usage {
    kib: u64,
    descriptors: usize,
}

fn usage(process: u32) -> Option<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.split_whitespace().next()?.parse().ok()?;
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    Some(Usage { kib, descriptors })
}

/// Asks at its rate until it is over; connects anew where it has to, as Postfix does.
async fn be_honest(arguments: Arc<Arguments>, shared: Arc<Shared>, number: u32) -> Honest {
    let mut honest = Honest::default();
    let mut requests = Requests::new(u64::from(number));
    let mut octets = Vec::with_capacity(1_024);
    let interval = Duration::from_secs_f64(f64::from(arguments.honest) / arguments.rate);
    let mut due = Instant::now() + interval * number / arguments.honest;
    let mut socket = None;
    while !shared.is_over() {
        tokio::time::sleep_until(due.into()).await;
        requests.next_into(&mut octets);
        match ask(&arguments.endpoint, &mut socket, &octets).await {
            Ok(()) if shared.is_flooding.load(Ordering::Relaxed) => {
                honest.during.add(due.elapsed());
            }
            // What is asked while the flood builds up counts for neither.
            Ok(()) if shared.opened.load(Ordering::Relaxed) > 0 => {}
            Ok(()) => honest.before.add(due.elapsed()),
            Err(_) => {
                honest.lost += 1;
                socket = None;
            }
        }
        due += interval;
    }
    honest
}

async fn ask(endpoint: &Endpoint, socket: &mut Option<Socket>, octets: &[u8]) -> io::Result<()> {
    let socket = match socket {
        Some(socket) => socket,
        None => socket.insert(endpoint.connect().await?),
    };
    socket.write_all(octets).await?;
    let mut reply = [0; 1_024];
    let mut length = 0;
    while !reply[..length].ends_with(b"\n\n") {
        match socket.read(&mut reply[length..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
    }
    Ok(())
}

async fn be_bad(arguments: Arc<Arguments>, shared: Arc<Shared>, number: u32) {
    let manner = Manner::of(number);
    let mut requests = Requests::new(u64::from(number) + 1_000_000);
    let mut octets = Vec::with_capacity(1_024);
    while !shared.is_over() {
        let opened = arguments.endpoint.connect().await;
        shared.opened.fetch_add(1, Ordering::Relaxed);
        requests.next_into(&mut octets);
        if let Ok(mut socket) = opened {
            // However it ends, it begins anew.
            drop(misbehave(&mut socket, manner, &octets).await);
        } else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(REST).await;
    }
}

async fn misbehave(socket: &mut Socket, manner: Manner, request: &[u8]) -> io::Result<()> {
    match manner {
        Manner::Silent => {
            // Until the server has enough of it.
            socket.read(&mut [0; 64]).await.map(drop)
        }
        Manner::Dripping => {
            for octet in request {
                socket.write_all(&[*octet]).await?;
                tokio::time::sleep(DRIP).await;
            }
            Ok(())
        }
        Manner::Endless => loop {
            socket.write_all(&[b'x'; 4_096]).await?;
        },
        Manner::Reconnecting => Ok(()),
    }
}
