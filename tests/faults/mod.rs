//! Whatever fails, nothing is lost and nothing is doubled: rounds of faults at random instants,
//! under a load of requests whose answers are known. After each round what was answered is compared
//! with what is on record, row by row. `./test faults [ROUNDS [SEED]]`; the report is printed and
//! kept as `target/tmp/faults-*.md`. `MPPD_FAULT=frozen` has the database do only that.

mod fault;
mod load;
mod plot;
mod postfix;
mod proxy;
mod report;
mod site;
mod soak;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use self::fault::{DatabaseFault, ServerFault};
use self::load::{History, Load};
use self::report::{Report, Round};
use self::site::{Record, Site};
use crate::harness::pause;

/// Rounds of the two tests together, unless told.
const ROUNDS: usize = 24;

/// How long the records may take to be complete once nothing is at fault any more.
const SETTLED_WITHIN: Duration = Duration::from_mins(3);

/// What fails in one round.
#[derive(Debug, Clone, Copy)]
struct Faults {
    database: Option<DatabaseFault>,
    server: Option<ServerFault>,
}

impl Faults {
    /// The round's own fault of the database, so that each comes up; beside it, or alone, one of
    /// mppd's by chance.
    fn of(round: usize, random: &mut Rng) -> Self {
        let server = random.choice(ServerFault::ALL);
        if round % 4 == 3 {
            return Faults { database: None, server };
        }
        let wanted: Vec<DatabaseFault> = wanted();
        let database = wanted[(round - round / 4) % wanted.len()];
        let server = server.filter(|_| random.bool());
        Faults { database: Some(database), server }
    }

    fn words(self) -> String {
        let database = self.database.map(DatabaseFault::words);
        let server = self.server.map(ServerFault::words);
        [database, server].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Those of the database whose words hold `MPPD_FAULT`; all, unless it is set.
fn wanted() -> Vec<DatabaseFault> {
    let part = setting::<String>("MPPD_FAULT").unwrap_or_default();
    let wanted: Vec<DatabaseFault> =
        DatabaseFault::ALL.into_iter().filter(|fault| fault.words().contains(&part)).collect();
    assert!(!wanted.is_empty(), "no fault has the words {part:?}");
    wanted
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Another one each time, so that more is found than was thought of.
fn seed() -> u64 {
    setting("MPPD_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000))
}

fn play(durability: &'static str) {
    let rounds = setting("MPPD_ROUNDS").unwrap_or(ROUNDS) / 2;
    let seed = seed();
    println!("durability {durability}, {rounds} rounds, MPPD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut site = Site::start(durability);
    let mut report = Report::new(durability, seed);
    // Another seed begins with another fault.
    let first = random.usize(..DatabaseFault::ALL.len() * 4);
    for number in first..first + rounds {
        let faults = Faults::of(number, &mut random);
        let round = play_round(&mut site, faults, &mut random);
        println!("{round}");
        report.add(round);
    }
    report.keep();
    assert!(report.is_clean(), "{}", report.page());
}

fn play_round(site: &mut Site, faults: Faults, random: &mut Rng) -> Round {
    let load = Load::begin(&site.daemon().endpoint());
    rest(random, 50..500);
    if let Some(fault) = faults.database {
        fault.inject(site, random);
        rest(random, 0..1_500);
    }
    if let Some(fault) = faults.server {
        fault.inject(site, random);
        rest(random, 0..700);
        fault.mend(site);
    }
    if let Some(fault) = faults.database {
        rest(random, 0..500);
        fault.mend(site);
    }
    rest(random, 50..500);
    let history = load.end();
    let records = settled(site, &history);
    let ends_mppd = faults.server.is_some_and(ServerFault::ends_mppd);
    let round = Round::compare(faults.words(), &history, &records, ends_mppd);
    site.clear();
    round
}

fn rest(random: &mut Rng, milliseconds: std::ops::Range<u64>) {
    pause(Duration::from_millis(random.u64(milliseconds)));
}

/// The records, as soon as all that was answered is among them and no request is left undecided,
/// or when that takes too long.
fn settled(site: &Site, history: &History) -> HashMap<String, Vec<Record>> {
    let is_settled = |records: &HashMap<String, Vec<Record>>| {
        history.iter().all(|(instance, asked)| {
            let rows = records.get(instance).map_or(&[][..], Vec::as_slice);
            let is_missing = asked.answer.is_some() && rows.is_empty();
            !is_missing && rows.iter().all(Record::is_processed)
        })
    };
    let begin = Instant::now();
    while !is_settled(&site.records()) && begin.elapsed() < SETTLED_WITHIN {
        pause(Duration::from_millis(50));
    }
    // What nobody was told of may still be on its way.
    pause(Duration::from_millis(200));
    site.records()
}

#[test]
fn what_was_answered_is_on_record_once_whatever_fails() {
    play("answer");
}

#[test]
fn what_was_answered_is_on_record_once_whatever_fails_when_it_is_received_first() {
    play("strict");
}
