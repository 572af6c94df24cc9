//! What was decided in an hour, and why: as a page of Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::harness::records::Row;

use super::player::Fate;
use super::traffic::{Message, Sender};

/// What became of all messages of one sender.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Summary {
    pub(super) messages: usize,
    /// Accepted at the first attempt.
    pub(super) at_once: usize,
    /// Accepted at a later one.
    pub(super) later: usize,
    /// Refused for good, or given up.
    pub(super) refused: usize,
    pub(super) given_up: usize,
    /// Of those that were accepted later, in minutes.
    pub(super) longest_delay: f64,
}

impl Summary {
    pub(super) fn accepted(&self) -> usize {
        self.at_once + self.later
    }

    fn add(&mut self, fate: &Fate) {
        self.messages += 1;
        match (fate.code / 100, fate.attempts) {
            (2, 1) => self.at_once += 1,
            (2, _) => {
                self.later += 1;
                self.longest_delay = self.longest_delay.max(fate.delay);
            }
            (5, _) => self.refused += 1,
            _ => self.given_up += 1,
        }
    }
}

/// What became of the messages of each sender.
pub(super) fn summaries(fates: &[Fate]) -> BTreeMap<Sender, Summary> {
    let mut summaries: BTreeMap<Sender, Summary> = BTreeMap::new();
    for fate in fates {
        summaries.entry(fate.who).or_default().add(fate);
    }
    summaries
}

/// The page.
pub(super) fn page(seed: u64, messages: &[Message], fates: &[Fate], rows: &[Row]) -> String {
    let mut page = format!(
        "# An hour in the life of example.com\n\nSeed {seed}: {} messages, {} requests on record. \
         \n\n| sender | messages | at once | later | longest delay | refused | given up |\n\
         |---|---|---|---|---|---|---|\n",
        messages.len(),
        rows.len(),
    );
    for (who, summary) in summaries(fates) {
        let Summary { messages, at_once, later, refused, given_up, longest_delay } = summary;
        let words = who.words();
        writeln!(
            page,
            "| {words} | {messages} | {at_once} | {later} | {longest_delay:.0} min | {refused} | \
             {given_up} |"
        )
        .unwrap();
    }
    page.push_str("\nWhat was decided, and why:\n");
    for (who, reasons) in reasons(messages, rows) {
        writeln!(page, "\n{}:\n", who.words()).unwrap();
        for (reason, count) in reasons {
            writeln!(page, "- {count} × {reason}").unwrap();
        }
    }
    page
}

/// How often each reason was given to each sender.
pub(super) fn reasons(
    messages: &[Message],
    rows: &[Row],
) -> BTreeMap<Sender, BTreeMap<String, usize>> {
    let by_address: BTreeMap<String, Sender> = messages
        .iter()
        .flat_map(|message| {
            message.hosts.iter().map(|host| (host.address.to_string(), message.who))
        })
        .collect();
    let mut reasons: BTreeMap<Sender, BTreeMap<String, usize>> = BTreeMap::new();
    for row in rows {
        let Some(who) = by_address.get(&row.text("client_address")) else { continue };
        *reasons.entry(*who).or_default().entry(reason(row)).or_default() += 1;
    }
    reasons
}

/// The stage, the statuses of the checks and the decision of a row.
fn reason(row: &Row) -> String {
    let checks: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(row.octets("checks")).unwrap_or_default();
    let dull = ["none", "skipped", "recorded", "under"];
    let told: Vec<String> = checks
        .iter()
        .filter_map(|(id, check)| Some((id, check["status"].as_str()?)))
        .filter(|(_, status)| !dull.contains(status))
        .map(|(id, status)| format!("{id} {status}"))
        .collect();
    let why = if told.is_empty() { "nothing found".to_owned() } else { told.join(", ") };
    format!("{} at {}: {why}", row.text("decision"), row.text("protocol_state"))
}
