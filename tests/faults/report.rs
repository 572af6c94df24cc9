//! What a round came to, and all of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::load::{Asked, History};
use super::site::Record;

/// Examples of what is wrong that are shown of a round.
const EXAMPLES: usize = 5;

/// One round, or several of the same kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    faults: String,
    rounds: usize,
    requests: usize,
    answered: usize,
    /// Not answered although mppd was there all the time.
    ignored: usize,
    /// Answered, and not on record as processed.
    lost: usize,
    /// Not answered, since mppd died, and left on record as if it were still under way.
    open: usize,
    /// On record more than once.
    doubled: usize,
    /// Answered otherwise than it must be, or than is on record.
    wrong: usize,
    longest: Duration,
    examples: Vec<String>,
}

impl Round {
    pub(super) fn compare(
        faults: String,
        history: &History,
        records: &HashMap<String, Vec<Record>>,
        ends_mppd: bool,
    ) -> Self {
        let mut round = Round { faults, rounds: 1, requests: history.len(), ..Round::default() };
        for (instance, asked) in history {
            let rows = records.get(instance).map_or(&[][..], Vec::as_slice);
            round.add_request(instance, asked, rows, ends_mppd);
        }
        round
    }

    fn add_request(&mut self, instance: &str, asked: &Asked, rows: &[Record], ends_mppd: bool) {
        let processed = rows.iter().find(|record| record.is_processed());
        let mut complaint = None;
        if rows.len() > 1 {
            self.doubled += 1;
            complaint = Some("doubled");
        }
        match (&asked.answer, processed) {
            (None, _) if !ends_mppd => {
                self.ignored += 1;
                complaint = Some("not answered");
            }
            (None, None) if !rows.is_empty() => {
                self.open += 1;
                complaint = Some("open");
            }
            (Some(_), None) => {
                self.lost += 1;
                complaint = Some("lost");
            }
            (Some(answer), Some(row)) if *answer != asked.expected || row.decision != *answer => {
                self.wrong += 1;
                complaint = Some("wrong");
            }
            _ => {}
        }
        if asked.answer.is_some() {
            self.answered += 1;
            self.longest = self.longest.max(asked.took);
        }
        if let Some(complaint) = complaint.filter(|_| self.examples.len() < EXAMPLES) {
            self.examples.push(format!("{complaint}: {instance} {asked:?} {rows:?}"));
        }
    }

    fn add(&mut self, other: &Round) {
        self.rounds += other.rounds;
        self.requests += other.requests;
        self.answered += other.answered;
        self.ignored += other.ignored;
        self.lost += other.lost;
        self.open += other.open;
        self.doubled += other.doubled;
        self.wrong += other.wrong;
        self.longest = self.longest.max(other.longest);
        self.examples.extend(other.examples.iter().take(EXAMPLES).cloned());
    }

    fn is_clean(&self) -> bool {
        [self.ignored, self.lost, self.open, self.doubled, self.wrong] == [0; 5]
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} ms |",
            self.faults,
            self.rounds,
            self.requests,
            self.answered,
            self.ignored,
            self.lost,
            self.open,
            self.doubled,
            self.wrong,
            self.longest.as_secs_f64() * 1e3,
        )?;
        self.examples.iter().try_for_each(|example| write!(f, "\n{example}"))
    }
}

/// All rounds.
pub(super) struct Report {
    durability: &'static str,
    seed: u64,
    rounds: Vec<Round>,
}

impl Report {
    pub(super) fn new(durability: &'static str, seed: u64) -> Self {
        Report { durability, seed, rounds: Vec::new() }
    }

    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.rounds.iter().all(Round::is_clean)
    }

    /// A table with a line for each kind of fault, and one for all.
    pub(super) fn page(&self) -> String {
        let mut kinds: BTreeMap<&str, Round> = BTreeMap::new();
        let mut all = Round { faults: "all".to_owned(), ..Round::default() };
        for round in &self.rounds {
            kinds.entry(&round.faults).or_default().add(round);
            all.add(round);
        }
        all.examples.clear();
        let mut page = format!(
            "# Faults, durability {}, seed {}\n\n\
             | what fails | rounds | requests | answered | ignored | lost | open | doubled | \
             wrong | longest answer |\n|---|---|---|---|---|---|---|---|---|---|\n",
            self.durability, self.seed
        );
        for (faults, round) in kinds {
            writeln!(page, "{}", Round { faults: faults.to_owned(), ..round }).unwrap();
        }
        writeln!(page, "{all}").unwrap();
        page
    }

    pub(super) fn keep(&self) {
        let page = self.page();
        let name = format!("faults-{}.md", self.durability);
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), &page).unwrap();
        println!("{page}");
    }
}
