//! What many requests came to: how many of each decision, of each client network, at each hour.
//!
//! Every function opens connections of its own, needs no more than the right to SELECT, and comes
//! back within the time it is given. What is counted must be bound in time
//! ([`super::search::bounded_always`]): the primary key is the order of time, and only the rows of
//! that time are read.
//!
//! All counts are exact, with two exceptions, which the answers tell: what engines said is taken
//! from a sample where it would have to be read from more than [`Limits::sample`] rows, and a
//! request that is just being moved from a spool into its database may be counted in both.

mod engines;
mod fold;
mod series;

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::query::{Route, Statement, from, write};
use super::reader::{Field, Reader, is_without_table, readers};
use super::search::Place;
use super::store::{Condition, StoreError};
use super::table::Dialect;

pub use engines::{EngineCounts, EngineStats, engines};
pub use series::{Line, Series, Split, series};

/// By what requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// The action's word.
    Decision,
    /// The action's word and its text, or the exception.
    Reason,
    /// The client's address.
    Client,
    /// The client's network: 24 bits of an IPv4 address, 64 of an IPv6 address.
    Network,
    /// The client's name.
    ClientName,
    /// The sender's address.
    Sender,
    /// The sender's domain.
    SenderDomain,
    /// The recipient's address.
    Recipient,
    /// The recipient's domain.
    RecipientDomain,
    /// Who was logged in.
    SaslUser,
    /// The SMTP command.
    Stage,
    /// The policy group.
    Group,
    /// The node that answered.
    Node,
    /// What the engine of this ID said, which has a column of its own.
    Status(&'static str),
}

impl By {
    /// The columns that say it.
    fn columns(self) -> &'static [&'static str] {
        match self {
            By::Decision => &["decision"],
            By::Reason => &["decision", "decision_text", "error_text"],
            By::Client | By::Network => &["client_address"],
            By::ClientName => &["client_name"],
            By::Sender => &["sender_local", "sender_reverse_domain"],
            By::SenderDomain => &["sender_reverse_domain"],
            By::Recipient => &["recipient_local", "recipient_reverse_domain"],
            By::RecipientDomain => &["recipient_reverse_domain"],
            By::SaslUser => &["sasl_username"],
            By::Stage => &["protocol_state"],
            By::Group => &["group_id"],
            By::Node => &["node"],
            By::Status(id) => match super::table::position(id) {
                Some(place) => std::slice::from_ref(&super::table::COLUMNS[place].name),
                None => &[],
            },
        }
    }
}

/// How much may be spent on an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long all places together may take.
    pub time: Duration,
    /// How many different values are told; the rest is summed up.
    pub top: usize,
    /// From how many rows at most it is read what engines without a column said.
    pub sample: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { time: Duration::from_mins(10), top: 20, sample: 200_000 }
    }
}

/// How many requests have a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The value as people write it; empty where a request has none. It is the peers' text, and
    /// not harmless.
    pub value: String,
    /// How many requests have it.
    pub requests: u64,
}

/// How many requests have which values.
#[derive(Debug, Default, Serialize)]
pub struct Counts {
    /// All requests that were counted.
    pub total: u64,
    /// The most frequent values.
    pub top: Vec<Count>,
    /// How many different values there are.
    pub values: u64,
    /// How many requests have a value that is not among [`Counts::top`].
    pub others: u64,
    /// What went wrong, and where.
    #[serde(skip)]
    pub failures: Vec<(String, StoreError)>,
}

/// Counts requests by a value.
pub async fn counts(places: &[Place], condition: &Condition, by: By, limits: Limits) -> Counts {
    let mut sums: HashMap<String, u64> = HashMap::new();
    let mut failures = Vec::new();
    for mut reader in readers(places, Instant::now() + limits.time) {
        let statement = grouped(reader.dialect(), condition, by.columns());
        for fields in or_fail(&mut reader, statement, &mut failures).await {
            let Some((count, values)) = fields.split_last() else { continue };
            *sums.entry(fold::value(by, values)).or_default() += unsigned(count);
        }
        reader.end().await;
    }
    Counts { failures, ..top(sums, limits.top) }
}

fn top(sums: HashMap<String, u64>, most: usize) -> Counts {
    let mut all: Vec<Count> =
        sums.into_iter().map(|(value, requests)| Count { value, requests }).collect();
    all.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.value.cmp(&b.value)));
    let total = all.iter().map(|count| count.requests).sum();
    let values = all.len() as u64;
    let others = all.iter().skip(most).map(|count| count.requests).sum();
    all.truncate(most);
    Counts { total, top: all, values, others, failures: Vec::new() }
}

/// Counts the rows for each combination of the values of some columns.
fn grouped(dialect: Dialect, condition: &Condition, columns: &[&str]) -> Statement {
    let (condition, bound) = write(dialect, Route::Time, condition);
    // A key that has the values in order would have SQLite read all rows there are, one by one.
    let plus = if dialect == Dialect::Sqlite { "+" } else { "" };
    let quoted = |name: &&str| format!("{plus}{}", dialect.quote(name));
    let names: Vec<String> = columns.iter().map(quoted).collect();
    let (names, table) = (names.join(", "), from(dialect, Route::Time));
    let sql = format!("SELECT {names}, count(*) FROM {table} WHERE {condition} GROUP BY {names}");
    Statement { sql, bound }
}

async fn or_fail(
    reader: &mut Reader,
    statement: Statement,
    failures: &mut Vec<(String, StoreError)>,
) -> Vec<Vec<Field>> {
    match reader.fields(statement).await {
        Ok(rows) => rows,
        Err(error) if is_without_table(&error) => Vec::new(),
        Err(error) => {
            failures.push((reader.name.clone(), error));
            Vec::new()
        }
    }
}

fn unsigned(field: &Field) -> u64 {
    u64::try_from(field.number()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_values_come_first_and_the_rest_is_summed_up() {
        let sums = [("a", 1), ("b", 5), ("c", 5), ("d", 2)];
        let counts = top(sums.map(|(value, sum)| (value.to_owned(), sum)).into(), 2);
        let told: Vec<(&str, u64)> =
            counts.top.iter().map(|count| (count.value.as_str(), count.requests)).collect();
        assert_eq!(told, [("b", 5), ("c", 5)]);
        assert_eq!((counts.total, counts.values, counts.others), (13, 4, 3));
    }

    #[test]
    fn what_requests_are_counted_by_are_columns_of_the_table() {
        use By::{
            Client, ClientName, Decision, Group, Network, Node, Reason, Recipient, RecipientDomain,
            SaslUser, Sender, SenderDomain, Stage, Status,
        };
        for by in [
            Decision,
            Reason,
            Client,
            Network,
            ClientName,
            Sender,
            SenderDomain,
            Recipient,
            RecipientDomain,
            SaslUser,
            Stage,
            Group,
            Node,
            Status("spf"),
        ] {
            assert!(!by.columns().is_empty(), "{by:?}");
            for column in by.columns() {
                assert!(super::super::table::position(column).is_some(), "{column}");
            }
        }
    }
}
