//! Charts over time: how many requests there were in each step of time, split by a value.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::{Limits, or_fail, unsigned};
use crate::tracking::query::{Route, Statement, from, write};
use crate::tracking::reader::readers;
use crate::tracking::search::Place;
use crate::tracking::store::{Condition, StoreError};
use crate::tracking::table::{COLUMNS, Dialect, position};

/// Most steps of a chart.
const MOST_STEPS: i64 = 10_000;

/// By what a chart has several lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// One line for all requests.
    None,
    /// One for each action's word; the empty one is of requests without a decision.
    Decision,
    /// One for each policy group.
    Group,
    /// One for each node.
    Node,
    /// One for each status of the engine of this ID, which has a column of its own.
    Status(&'static str),
}

impl Split {
    fn column(self) -> Option<&'static str> {
        match self {
            Split::None => None,
            Split::Decision => Some("decision"),
            Split::Group => Some("group_id"),
            Split::Node => Some("node"),
            Split::Status(id) => position(id).map(|place| COLUMNS[place].name),
        }
    }
}

/// A chart over time.
#[derive(Debug, Default, Serialize)]
pub struct Series {
    /// Where its first step begins, in microseconds since 1970.
    pub begin: i64,
    /// How long a step is, in microseconds.
    pub step: i64,
    /// The lines, those with the most requests first.
    pub lines: Vec<Line>,
    /// What went wrong, and where.
    #[serde(skip)]
    pub failures: Vec<(String, StoreError)>,
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The value that its requests have.
    pub value: String,
    /// How many requests there were in each step.
    pub requests: Vec<u64>,
}

/// Counts the requests that came between `begin` and `end`, in microseconds since 1970, in steps
/// of whole seconds; a step that would make more than 10,000 of them is made longer. There are
/// [`Limits::top`] lines at most; the rest is summed up in one whose value is `others`.
pub async fn series(
    places: &[Place],
    condition: &Condition,
    (begin, end): (i64, i64),
    step: Duration,
    split: Split,
    limits: Limits,
) -> Series {
    let seconds = i64::try_from(step.as_secs()).unwrap_or(i64::MAX).max(1);
    let least = (end - begin) / 1_000_000 / MOST_STEPS + 1;
    let seconds = seconds.max(least);
    let times = Condition::All(vec![Condition::Since(begin), Condition::Before(end)]);
    let condition = times.and(condition.clone());
    let mut steps: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let count = usize::try_from((end - begin) / 1_000_000 / seconds + 1).unwrap_or(1);
    let mut failures = Vec::new();
    for mut reader in readers(places, Instant::now() + limits.time) {
        let statement = stepped(reader.dialect(), &condition, split, begin, seconds);
        for fields in or_fail(&mut reader, statement, &mut failures).await {
            let [step, value, requests] = fields.as_slice() else { continue };
            let line =
                steps.entry(value.text().unwrap_or_default()).or_insert_with(|| vec![0; count]);
            let place = usize::try_from(step.number()).ok();
            if let Some(slot) = place.and_then(|place| line.get_mut(place)) {
                *slot += unsigned(requests);
            }
        }
        reader.end().await;
    }
    Series { begin, step: seconds * 1_000_000, lines: lines(steps, limits.top), failures }
}

fn lines(steps: BTreeMap<String, Vec<u64>>, most: usize) -> Vec<Line> {
    let line = |(value, requests)| Line { value, requests };
    let mut lines: Vec<Line> = steps.into_iter().map(line).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.requests.iter().sum::<u64>()));
    if lines.len() <= most.max(1) {
        return lines;
    }
    let rest = lines.split_off(most.max(1) - 1);
    let mut others = Line { value: "others".to_owned(), requests: Vec::new() };
    for line in rest {
        others.requests.resize(line.requests.len(), 0);
        others.requests.iter_mut().zip(line.requests).for_each(|(sum, part)| *sum += part);
    }
    lines.push(others);
    lines
}

fn stepped(
    dialect: Dialect,
    condition: &Condition,
    split: Split,
    begin: i64,
    seconds: i64,
) -> Statement {
    let (condition, bound) = write(dialect, Route::Time, condition);
    let value = split.column().map_or_else(|| "''".to_owned(), |name| dialect.quote(name));
    let table = from(dialect, Route::Time);
    let begin = begin.div_euclid(1_000_000);
    let step = match dialect {
        Dialect::MySql => {
            format!(
                "(TIMESTAMPDIFF(SECOND, '1970-01-01', received_timestamp) - {begin}) DIV {seconds}"
            )
        }
        Dialect::Sqlite => format!("(unixepoch(received_timestamp) - {begin}) / {seconds}"),
    };
    let sql = format!(
        "SELECT {step} AS step, {value} AS value, count(*) FROM {table} WHERE {condition} \
         GROUP BY step, value"
    );
    Statement { sql, bound }
}

impl Series {
    /// The sum of all lines in each step.
    #[must_use]
    pub fn totals(&self) -> Vec<u64> {
        let steps = self.lines.iter().map(|line| line.requests.len()).max().unwrap_or(0);
        let mut totals = vec![0; steps];
        for line in &self.lines {
            totals.iter_mut().zip(&line.requests).for_each(|(total, part)| *total += part);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_largest_lines_is_summed_up() {
        let steps = [("a", vec![1, 1]), ("b", vec![9, 0]), ("c", vec![0, 3])];
        let lines = lines(steps.map(|(value, steps)| (value.to_owned(), steps)).into(), 2);
        let told: Vec<(&str, &[u64])> =
            lines.iter().map(|line| (line.value.as_str(), line.requests.as_slice())).collect();
        assert_eq!(told, [("b", &[9, 0][..]), ("others", &[1, 4])]);
    }
}
