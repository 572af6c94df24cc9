//! A long run of one server: load, peers that misbehave, reloads, a fault now and then; what it
//! takes of the machine must stay as it is. `./test soak [MINUTES]`; plotted as
//! `target/tmp/soak.svg`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::load::Load;
use super::plot::{self, Curve};
use super::report::{Report, Round};
use super::site::Site;
use super::{seed, setting, settled, wanted};
use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};

/// How long it takes unless told.
const SECONDS: u64 = 24;

/// What a growth of the memory that is none may come to: the allocator's caches, and pages that a
/// reload touches.
const MEMORY_MARGIN: f64 = 1.1;

/// What the server takes of the machine at one time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    seconds: f64,
    kibibytes: f64,
    descriptors: f64,
    threads: f64,
}

impl Sample {
    fn take(pid: u32, since: Instant) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        let entries = |name: &str| std::fs::read_dir(process.join(name)).unwrap().count();
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Sample {
            seconds: since.elapsed().as_secs_f64(),
            kibibytes: memory.trim().trim_end_matches(" kB").parse().unwrap(),
            descriptors: f64::from(u32::try_from(entries("fd")).unwrap()),
            threads: f64::from(u32::try_from(entries("task")).unwrap()),
        }
    }
}

/// Looks at the server, and has it reload now and then.
struct Watch {
    stop: Arc<AtomicBool>,
    samples: JoinHandle<Vec<Sample>>,
}

impl Watch {
    fn begin(pid: u32, period: Duration, reload_every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let samples = std::thread::spawn(move || {
            let (begin, mut reloads) = (Instant::now(), 0);
            let mut samples = Vec::new();
            while !told.load(Ordering::Relaxed) {
                samples.push(Sample::take(pid, begin));
                if begin.elapsed() > reload_every * (reloads + 1) {
                    reloads += 1;
                    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGHUP).unwrap();
                }
                pause(period);
            }
            samples
        });
        Watch { stop, samples }
    }

    fn end(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.samples.join().unwrap()
    }
}

/// Peers that come, do what no Postfix does, and go.
struct Nuisance {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Nuisance {
    fn begin(endpoint: Endpoint) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                disturb(&endpoint);
                pause(Duration::from_millis(20));
            }
        });
        Nuisance { stop, thread }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// What comes of it is the server's business; here it need only go on.
fn disturb(endpoint: &Endpoint) {
    let Ok(mut client) = PolicyClient::connect(endpoint) else { return };
    let request = PolicyRequest::new().octets();
    let octets = match fastrand::u8(..5) {
        0 => request[..fastrand::usize(..request.len())].to_vec(),
        1 => vec![b'x'; 100_000],
        2 => vec![fastrand::u8(..); 500],
        3 => request.repeat(20),
        _ => Vec::new(),
    };
    drop(client.send(&octets));
}

#[test]
fn what_the_server_takes_of_the_machine_stays_as_it_is() {
    let total = Duration::from_secs(setting("MPPD_SOAK_SECONDS").unwrap_or(SECONDS));
    // Every ten seconds and every thirty in an hour; oftener where there is less time.
    let reload_every = (total / 12).min(Duration::from_secs(10));
    let fault_every = (total / 4).min(Duration::from_secs(30));
    let mut random = Rng::with_seed(seed());
    let mut site = Site::start("answer");
    let mut report = Report::new("soak", seed());
    let pid = site.daemon().pid();
    let watch = Watch::begin(pid, (total / 400).min(Duration::from_secs(5)), reload_every);
    let begin = Instant::now();
    while begin.elapsed() < total {
        report.add(stretch(&mut site, fault_every, &mut random));
    }
    let samples = watch.end();
    report.keep();
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak.svg"), drawn(&samples))
        .unwrap();
    assert!(report.is_clean(), "{}", report.page());
    assert_flat(&samples);
}

/// One fault under load, and what became of the requests.
fn stretch(site: &mut Site, time: Duration, random: &mut Rng) -> Round {
    let end = Instant::now() + time;
    let wanted = wanted();
    let fault = wanted[random.usize(..wanted.len())];
    let endpoint = site.daemon().endpoint();
    let (load, nuisance) = (Load::begin(&endpoint), Nuisance::begin(endpoint));
    pause(time / 3);
    fault.inject(site, random);
    pause(time / 6);
    fault.mend(site);
    pause(end.saturating_duration_since(Instant::now()));
    nuisance.end();
    let history = load.end();
    let records = settled(site, &history);
    site.clear();
    Round::compare(fault.words().to_owned(), &history, &records, false)
}

fn drawn(samples: &[Sample]) -> String {
    let curve = |name: &'static str, value: fn(&Sample) -> f64| Curve {
        name,
        points: samples.iter().map(|sample| (sample.seconds, value(sample))).collect(),
    };
    plot::svg(&[
        curve("memory (MiB)", |sample| sample.kibibytes / 1024.0),
        curve("descriptors", |sample| sample.descriptors),
        curve("threads", |sample| sample.threads),
    ])
}

/// Compares the last quarter with the second: in the first, caches fill.
fn assert_flat(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let (early, late) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let grown = |value: fn(&Sample) -> f64| (median(early, value), median(late, value));
    let (before, after) = grown(|sample| sample.descriptors);
    assert!(after <= before + 16.0, "descriptors: {before}, later {after}");
    let (before, after) = grown(|sample| sample.threads);
    assert!(after <= before + 4.0, "threads: {before}, later {after}");
    // In less than ten minutes the memory of the core is not full yet, and so still grows.
    if samples.last().is_some_and(|last| last.seconds > 600.0) {
        let (before, after) = grown(|sample| sample.kibibytes);
        assert!(after <= before * MEMORY_MARGIN, "memory: {before} KiB, later {after} KiB");
    }
}

fn median(samples: &[Sample], value: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
