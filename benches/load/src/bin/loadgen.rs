//! Load for a policy server: persistent connections with one request under way on each, as a busy
//! Postfix holds them. Prints one line of `name=value` pairs.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use mppd_load::cpu;
use mppd_load::histogram::Histogram;
use mppd_load::requests::Requests;
use mppd_load::socket::{Endpoint, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// Asks a policy server as fast as it answers, or at a fixed rate.
#[derive(Debug, Clone, Parser)]
struct Arguments {
    /// `HOST:PORT` or `unix:PATH`.
    endpoint: Endpoint,
    /// Connections.
    #[arg(short, long, default_value_t = 10)]
    connections: u32,
    /// Seconds that count.
    #[arg(short, long, default_value_t = 5.0)]
    duration: f64,
    /// Seconds of load before those that count.
    #[arg(short, long, default_value_t = 1.0)]
    warm_up: f64,
    /// Requests a second over all connections; as fast as possible unless given. Latency then
    /// counts from the time when a request was due.
    #[arg(long)]
    rate: Option<f64>,
    /// A process of the server, to tell its CPU time; may stand several times.
    #[arg(long)]
    pid: Vec<u32>,
    /// What to print in front.
    #[arg(long)]
    label: Option<String>,
}

/// The part of the load that counts.
#[derive(Debug, Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

#[derive(Debug, Default)]
struct Outcome {
    latencies: Histogram,
    served: u32,
    lost: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(Arc::new(arguments)))
}

async fn run(arguments: Arc<Arguments>) -> Result<(), Box<dyn Error>> {
    let begin = Instant::now() + Duration::try_from_secs_f64(arguments.warm_up)?;
    let end = begin + Duration::try_from_secs_f64(arguments.duration)?;
    let window = Window { begin, end };
    let mut connections = JoinSet::new();
    for index in 0..arguments.connections {
        connections.spawn(connection(Arc::clone(&arguments), index, window));
    }
    tokio::time::sleep_until(begin.into()).await;
    let cpu_before = cpu_time(&arguments.pid);
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_time(&arguments.pid).saturating_sub(cpu_before);
    let mut outcome = Outcome::default();
    while let Some(one) = connections.join_next().await {
        let (latencies, lost) = one?;
        outcome.served += u32::from(latencies.count() > 0);
        outcome.lost += u32::from(lost);
        outcome.latencies.merge(&latencies);
    }
    report(&arguments, &outcome, cpu);
    Ok(())
}

fn report(arguments: &Arguments, outcome: &Outcome, cpu: Duration) {
    let latencies = &outcome.latencies;
    let per_second = as_f64(latencies.count()) / arguments.duration;
    let milliseconds = |latency: Duration| latency.as_secs_f64() * 1e3;
    if let Some(label) = &arguments.label {
        print!("label={label}\t");
    }
    print!(
        "connections={}\trequests={}\tper_second={per_second:.0}\tp50_ms={:.3}\tp99_ms={:.3}\t\
         max_ms={:.3}\tserved={}\tlost={}",
        arguments.connections,
        latencies.count(),
        milliseconds(latencies.percentile(500)),
        milliseconds(latencies.percentile(990)),
        milliseconds(latencies.longest()),
        outcome.served,
        outcome.lost,
    );
    if !arguments.pid.is_empty() {
        let each = cpu.as_secs_f64() * 1e6 / as_f64(latencies.count().max(1));
        print!("\tcpu_us={each:.2}");
    }
    println!();
}

fn as_f64(count: u64) -> f64 {
    // Counts of one run fit by far; what does not is of no use anyway.
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn cpu_time(processes: &[u32]) -> Duration {
    processes.iter().filter_map(|process| cpu::time_of(*process)).sum()
}

/// The latencies of one connection within the window, and whether it was lost.
async fn connection(arguments: Arc<Arguments>, index: u32, window: Window) -> (Histogram, bool) {
    let mut latencies = Histogram::default();
    let asked = tokio::time::timeout_at(
        // Whoever is not answered by then is not served.
        (window.end + Duration::from_secs(1)).into(),
        ask_on_and_on(&arguments, index, window, &mut latencies),
    );
    let lost = !matches!(asked.await, Ok(Ok(())));
    (latencies, lost)
}

async fn ask_on_and_on(
    arguments: &Arguments,
    index: u32,
    window: Window,
    latencies: &mut Histogram,
) -> io::Result<()> {
    let mut requests = Requests::new(u64::from(index));
    let mut octets = Vec::with_capacity(1024);
    let mut socket = arguments.endpoint.connect().await?;
    let interval =
        arguments.rate.map(|rate| Duration::from_secs_f64(f64::from(arguments.connections) / rate));
    let offset = interval.map(|interval| interval * index / arguments.connections);
    let mut due = Instant::now() + offset.unwrap_or_default();
    loop {
        if interval.is_some() {
            tokio::time::sleep_until(due.into()).await;
        } else {
            due = Instant::now();
        }
        requests.next_into(&mut octets);
        ask(&mut socket, &octets).await?;
        count(latencies, window, due);
        due += interval.unwrap_or_default();
        if Instant::now() >= window.end {
            return Ok(());
        }
    }
}

fn count(latencies: &mut Histogram, window: Window, sent: Instant) {
    let now = Instant::now();
    if now >= window.begin && now < window.end {
        latencies.add(now.saturating_duration_since(sent));
    }
}

async fn ask(socket: &mut Socket, octets: &[u8]) -> io::Result<()> {
    socket.write_all(octets).await?;
    let mut reply = [0; 1024];
    let mut length = 0;
    loop {
        let read = socket.read(&mut reply[length..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += read;
        if reply[..length].ends_with(b"\n\n") {
            return reply.starts_with(b"action=").then_some(()).ok_or_else(no_action);
        }
    }
}

fn no_action() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the reply holds no action")
}
