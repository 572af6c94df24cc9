//! What a configuration would decide otherwise, by its cause.

use std::collections::BTreeMap;

use mppd_engine::Exchange;
use serde::Serialize;

use super::recorded::{RECORDED, Recorded};
use super::worker::Replayed;
use crate::supervisor::chain::NOT_ASKED;
use crate::tracking::story::Told;

/// The status of an engine that did not run.
const NOT_RUN: &str = "not run";

/// What has changed. Texts are as peers gave them; whoever shows them makes them safe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Requests that were decided anew.
    pub requests: u64,
    /// Requests whose decision is the same.
    pub same: u64,
    /// Of those, requests that would be told another text.
    pub other_text: u64,
    /// Requests whose decision is another one.
    pub changed: u64,
    /// Requests that repeat others, whose answer they get.
    pub repeats: u64,
    /// Requests that were never decided, or whose row holds no request.
    pub undecided: u64,
    /// Runs of engines that were not asked, although they may have had an opinion.
    pub not_asked: BTreeMap<String, u64>,
    /// Runs of engines that failed now, or were not made because the engine kept failing: what they
    /// would have come to is not known.
    pub failed: BTreeMap<String, u64>,
    /// Why decisions have changed, most frequent first.
    pub causes: Vec<Cause>,
    #[serde(skip)]
    found: BTreeMap<CauseKey, (u64, Vec<Example>)>,
    #[serde(skip)]
    examples: usize,
}

/// Requests whose decisions have changed for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The first engine that came to something else, or whose status does something else; none
    /// where no engine did.
    pub engine: Option<String>,
    /// What it came to then.
    pub old_status: String,
    /// What it comes to now.
    pub new_status: String,
    /// What was decided.
    pub old_decision: String,
    /// What is decided now.
    pub new_decision: String,
    /// How many requests.
    pub requests: u64,
    /// Some of them, the oldest first.
    pub examples: Vec<Example>,
}

/// A request whose decision has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Example {
    /// Its key in the records.
    pub id: String,
    /// The client's address.
    pub client_address: String,
    /// What the client said after HELO.
    pub helo_name: String,
    /// The sender.
    pub sender: String,
    /// The recipient.
    pub recipient: String,
    /// The old decision, with its text.
    pub old: String,
    /// The new one.
    pub new: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CauseKey {
    engine: Option<String>,
    old_status: String,
    new_status: String,
    old_decision: String,
    new_decision: String,
}

impl Report {
    pub(super) fn new(examples: usize) -> Self {
        Report { examples, ..Report::default() }
    }

    pub(super) fn add(&mut self, replayed: Replayed) {
        match replayed {
            Replayed::Repeat => self.repeats += 1,
            Replayed::Undecided => self.undecided += 1,
            Replayed::Decided(recorded, exchange) => self.compare(&recorded, &exchange),
        }
    }

    fn compare(&mut self, recorded: &Recorded, exchange: &Exchange) {
        let told = &recorded.told;
        self.requests += 1;
        for result in exchange.results() {
            if result.outcome.status == NOT_ASKED {
                *self.not_asked.entry(result.engine.to_string()).or_default() += 1;
            }
        }
        let (word, text) = exchange.answer().unwrap_or_default();
        let old_word = told.decision.clone().unwrap_or_default();
        let old_text = told.decision_text.clone().unwrap_or_default();
        let new_text = text.as_deref().unwrap_or_default();
        let is_dry_run = old_text.starts_with(DRY_RUN) || new_text.starts_with(DRY_RUN);
        if old_word == word && !(is_dry_run && dry(&old_text) != dry(new_text)) {
            self.same += 1;
            self.other_text += u64::from(old_text != new_text);
            return;
        }
        self.changed += 1;
        let (engine, old_status, new_status) = cause(told, exchange);
        let (old, new) = (line(&old_word, &old_text), line(&word, new_text));
        let key = CauseKey {
            engine,
            old_status,
            new_status,
            old_decision: shown(&old_word, &old_text),
            new_decision: shown(&word, new_text),
        };
        let example = Example {
            id: told.id.clone(),
            client_address: told.client_address.clone(),
            helo_name: told.helo_name.clone(),
            sender: told.sender.clone(),
            recipient: told.recipient.clone(),
            old,
            new,
        };
        let (count, examples) = self.found.entry(key).or_default();
        *count += 1;
        if examples.len() < self.examples {
            examples.push(example);
        }
    }

    pub(super) fn merge(&mut self, other: Report) {
        self.requests += other.requests;
        self.same += other.same;
        self.other_text += other.other_text;
        self.changed += other.changed;
        self.repeats += other.repeats;
        self.undecided += other.undecided;
        for (engine, count) in other.not_asked {
            *self.not_asked.entry(engine).or_default() += count;
        }
        for (engine, count) in other.failed {
            *self.failed.entry(engine).or_default() += count;
        }
        for (key, (count, examples)) in other.found {
            let known = self.found.entry(key).or_default();
            known.0 += count;
            known.1.extend(examples);
            // Keys of requests are in the order of time.
            known.1.sort();
            known.1.truncate(self.examples);
        }
    }

    pub(super) fn sort(&mut self) {
        let found = std::mem::take(&mut self.found);
        let cause = |(key, (requests, examples))| {
            let CauseKey { engine, old_status, new_status, old_decision, new_decision } = key;
            Cause { engine, old_status, new_status, old_decision, new_decision, requests, examples }
        };
        self.causes = found.into_iter().map(cause).collect();
        self.causes.sort_by_key(|cause| std::cmp::Reverse(cause.requests));
    }
}

const DRY_RUN: &str = "dry run: ";

/// The word of what a dry run would have decided.
fn dry(text: &str) -> &str {
    text.strip_prefix(DRY_RUN).and_then(|rest| rest.split(' ').next()).unwrap_or_default()
}

/// A decision without its text, but for the word of what a dry run would have decided.
fn shown(word: &str, text: &str) -> String {
    match dry(text) {
        "" => word.to_owned(),
        dry => format!("{word} ({DRY_RUN}{dry})"),
    }
}

fn line(word: &str, text: &str) -> String {
    if text.is_empty() { word.to_owned() } else { format!("{word} {text}") }
}

/// The first engine that came to something else than then: in the new order, else in the old one. If
/// all came to the same, it is the one that decides now.
fn cause(told: &Told, exchange: &Exchange) -> (Option<String>, String, String) {
    let then =
        |id: &str| told.engines.iter().find(|ran| ran.id == id).map(|ran| ran.status.as_str());
    let results = exchange.results();
    for result in &results {
        let (old, new) = (then(&result.engine), result.outcome.status);
        if old != Some(new) && new != RECORDED {
            let old = old.unwrap_or(NOT_RUN).to_owned();
            return (Some(result.engine.to_string()), old, new.to_owned());
        }
    }
    let decider = exchange.decision().and_then(|decision| decision.engine.clone());
    if let Some(engine) = decider {
        let status = then(&engine).unwrap_or(NOT_RUN).to_owned();
        return (Some(engine.to_string()), status.clone(), status);
    }
    let gone = told.engines.iter().find(|ran| {
        ran.status != RECORDED && !results.iter().any(|result| *result.engine == *ran.id)
    });
    match gone {
        Some(ran) => (Some(ran.id.clone()), ran.status.clone(), NOT_RUN.to_owned()),
        None => (None, String::new(), String::new()),
    }
}
