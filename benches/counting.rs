//! What counting costs: requests through a chain of engines that do nothing, with and without
//! counting, in instructions as callgrind counts them, which do not depend on what else the machine
//! does; and, for what it is worth on a busy machine, in time.
//!
//! `cargo bench --bench counting`; needs valgrind.

mod trivial;

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mppd::log;
use mppd::supervisor::blueprint::{Blueprint, Chains, EnginePlan, GroupPlan, Place};
use mppd::supervisor::chain::EngineSet;
use mppd::supervisor::effect::Effect;
use mppd_engine::{Built, Request, Tracker};

use self::trivial::{NotTracked, Trivial, exchange};

/// The engines of a chain.
const LENGTHS: [usize; 3] = [1, 10, 30];

/// Requests of the shorter and of the longer run: their difference leaves out the start.
const REQUESTS: [u32; 2] = [500, 1_500];

/// Requests of a run that is timed.
const TIMED: u32 = 20_000;

/// Runs that are timed; the quickest counts.
const ROUNDS: usize = 9;

fn raise(length: usize, counts: bool) -> Option<EngineSet> {
    let mut chains = Chains::default();
    (0..length).for_each(|engine| chains.add(Place::Check, engine));
    let plan = |number: usize| EnginePlan {
        effects: HashMap::from([("none", Effect::Continue)]),
        ..EnginePlan::new(
            format!("e{number}").into(),
            "trivial",
            Built::engine(Trivial { waits: false }).prototype,
        )
    };
    let engines = (0..length).map(plan).collect();
    let blueprint = Blueprint::new(engines, vec![GroupPlan::new("default", chains)]);
    let set = EngineSet::raise(&Arc::new(blueprint), 1_000, &log::silent(), &Arc::default());
    let set = set.ok()?;
    Some(if counts { set } else { set.uncounted() })
}

/// Takes so many requests through a chain; how long that took.
fn process(length: usize, counts: bool, requests: u32) -> Option<Duration> {
    let attributes = [("protocol_state", "RCPT"), ("sender", "alice@example.org")];
    let request = Arc::new(Request::from_attributes(attributes).ok()?);
    let tracker = Arc::new(NotTracked) as Arc<dyn Tracker>;
    actix_rt::System::new().block_on(async {
        let set = raise(length, counts)?;
        let begun = Instant::now();
        for _ in 0..requests {
            let exchange = exchange(&request, &tracker);
            let started = Instant::now();
            set.process(&exchange, None, |decision| decision).await;
            set.count(&exchange, started);
        }
        Some(begun.elapsed())
    })
}

/// The instructions of a run in a process of its own.
fn instructions(length: usize, counts: bool, requests: u32) -> Option<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().ok()?)
        .args([length.to_string(), counts.to_string(), requests.to_string()])
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().find_map(|line| line.split_once("Collected : "))?;
    line.1.trim().parse().ok()
}

/// The instructions of one request.
fn each(length: usize, counts: bool) -> Option<f64> {
    let [fewer, more] = REQUESTS;
    let difference = instructions(length, counts, more)? - instructions(length, counts, fewer)?;
    Some(difference / f64::from(more - fewer))
}

/// The nanoseconds of one request: the quickest of several runs, in turn with and without.
fn times(length: usize) -> Option<[f64; 2]> {
    let mut quickest = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        for (counts, quickest) in [false, true].into_iter().zip(&mut quickest) {
            *quickest = process(length, counts, TIMED)?.min(*quickest);
        }
    }
    Some(quickest.map(|time| time.as_secs_f64() * 1e9 / f64::from(TIMED)))
}

fn compare() -> Option<()> {
    println!("engines  instructions without      with    ratio     ns without      with    ratio");
    for length in LENGTHS {
        let (without, with) = (each(length, false)?, each(length, true)?);
        let [ns_without, ns_with] = times(length)?;
        println!(
            "{length:7}  {without:20.0}  {with:8.0}  {:7.3}  {ns_without:13.0}  {ns_with:8.0}  {:7.3}",
            with / without,
            ns_with / ns_without
        );
    }
    Some(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [length, counts, requests] = arguments.as_slice() else {
        if compare().is_none() {
            eprintln!(
                "valgrind is not installed, or could not run this; on Debian: apt install valgrind"
            );
        }
        return;
    };
    let (Ok(length), Ok(counts), Ok(requests)) = (length.parse(), counts.parse(), requests.parse())
    else {
        return;
    };
    let _time = process(length, counts, requests);
}
