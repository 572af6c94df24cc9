//! Questions to the records in people's words, and the places where the answers are.
//!
//! Every function here opens connections of its own, needs no more than the right to SELECT, and
//! comes back within the time it is given.

mod address;
mod column;
mod times;

use std::path::PathBuf;
use std::time::Duration;

use jiff::{Timestamp, Zoned};
use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;
use tokio::time::Instant;

use super::plan;
use super::reader::{Reader, is_without_table, readers};
use super::row::{Row, storable};
use super::spool;
use super::store::{Condition, Query, StoreError};
use super::table::{COLUMNS, position};

pub use super::plan::{bounded, bounded_always};

/// How long a question may take where nobody says how long.
pub const PATIENCE: Duration = Duration::from_mins(10);

/// What is asked for. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// An address, a domain, `.domain` for a domain and all below it, or `<>` for the null sender.
    pub sender: Option<String>,
    /// An address, a domain, or `.domain`.
    pub recipient: Option<String>,
    /// The domain of sender or recipient, or one above it.
    pub domain: Option<String>,
    /// An address, the beginning of one, or a network.
    pub client: Option<String>,
    /// The word or code of the decision.
    pub decision: Option<String>,
    /// A text that stands somewhere in the decision, its text, the exception or the reason of a
    /// list, whatever the case of its letters.
    pub text: Option<String>,
    /// Conditions on any column: `spf=fail`, `greylist=*`, `error_text=`, `size>1000`.
    pub conditions: Vec<String>,
    /// When the request came, at the earliest.
    pub since: Option<String>,
    /// When the request came, at the latest.
    pub until: Option<String>,
    /// The day on which the request came.
    pub on: Option<String>,
    /// The mail transaction.
    pub instance: Option<String>,
    /// Only requests that came before the one of this key: the next page.
    pub before: Option<RequestKey>,
    /// At most so many rows.
    pub limit: u32,
}

/// Why a question cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// No time that people write.
    #[error(
        "\"{0}\" is no time; try 2h, \"3 days\", yesterday, 13:00, 2026-11-22 or \"2026-11-22 \
         13:00\""
    )]
    Time(String),
    /// A time of day where a day is wanted.
    #[error("\"{0}\" is no day; try today, yesterday or 2026-11-22")]
    Day(String),
    /// A network that is none.
    #[error("\"{0}\" is no network; try 192.0.2.0/24, 192.0.2. or 2001:db8::/32")]
    Network(String),
    /// No condition on a column.
    #[error(
        "\"{0}\" is no condition; try COLUMN=VALUE, COLUMN!=VALUE, COLUMN=BEGINNING*, COLUMN~PART, \
         COLUMN=* (is there), COLUMN= (is not there), or COLUMN>NUMBER"
    )]
    Where(String),
    /// No column of the table.
    #[error("there is no column \"{name}\"{}", hint(near.as_deref()))]
    Column {
        /// What was given.
        name: String,
        /// The column that was probably meant.
        near: Option<String>,
    },
    /// A value that a column cannot be compared with.
    #[error("the column {column} is {wanted}, not \"{value}\"")]
    Value {
        /// The column.
        column: &'static str,
        /// What it can be compared with.
        wanted: &'static str,
        /// What was given.
        value: String,
    },
}

fn hint(near: Option<&str>) -> String {
    match near {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => "; the columns are those of docs/track_policy_request.md".to_owned(),
    }
}

/// Where a free text is looked for.
const TEXTS: [&str; 5] = ["decision", "decision_text", "error_text", "rbl_site", "rbl_reason"];

impl Question {
    /// The question in the store's words; times are those of `now`'s time zone.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn query(&self, now: &Zoned) -> Result<Query, QuestionError> {
        let mut all = Vec::new();
        if let Some(sender) = &self.sender {
            all.push(address::mailbox("sender_local", "sender_reverse_domain", sender));
        }
        if let Some(recipient) = &self.recipient {
            all.push(address::mailbox("recipient_local", "recipient_reverse_domain", recipient));
        }
        if let Some(domain) = &self.domain {
            all.push(address::in_domain(domain));
        }
        if let Some(client) = &self.client {
            all.push(address::client(client)?);
        }
        if let Some(decision) = &self.decision {
            all.push(equals("decision", &decision.to_ascii_uppercase()));
        }
        if let Some(instance) = &self.instance {
            all.push(equals("instance", instance));
        }
        if let Some(text) = &self.text {
            let in_column = |column| Condition::Contains(column, text.clone());
            all.push(Condition::Any(TEXTS.map(in_column).to_vec()));
        }
        for condition in &self.conditions {
            all.push(column::condition(condition, now)?);
        }
        if let Some(key) = self.before {
            all.push(Condition::Below(key));
        }
        self.add_times(now, &mut all)?;
        let mut flat = Vec::with_capacity(all.len());
        for part in all {
            flatten(part, &mut flat);
        }
        Ok(Query { condition: Condition::All(flat), limit: self.limit, newest_first: true })
    }

    fn add_times(&self, now: &Zoned, all: &mut Vec<Condition>) -> Result<(), QuestionError> {
        if let Some(text) = &self.since {
            all.push(Condition::Since(times::moment(text, now)?.begin));
        }
        if let Some(text) = &self.until {
            all.push(Condition::Before(times::moment(text, now)?.end));
        }
        if let Some(text) = &self.on {
            let day = times::moment(text, now)?;
            if !day.is_day {
                return Err(QuestionError::Day(text.clone()));
            }
            all.extend([Condition::Since(day.begin), Condition::Before(day.end)]);
        }
        Ok(())
    }
}

/// What must all hold stands side by side, so that a key is seen in it.
fn flatten(condition: Condition, all: &mut Vec<Condition>) {
    match condition {
        Condition::All(parts) => parts.into_iter().for_each(|part| flatten(part, all)),
        part => all.push(part),
    }
}

fn equals(column: &'static str, text: &str) -> Condition {
    // The column holds no more than this of a longer text.
    let kind = position(column).and_then(|place| COLUMNS.get(place)).map(|column| column.kind);
    match kind {
        Some(kind) => Condition::Equals(column, storable(text.as_bytes(), kind).into_owned()),
        None => Condition::Equals(column, text.to_owned()),
    }
}

/// The instant that a text says, as people write it; of a day its beginning.
///
/// # Errors
/// A text that is no time.
pub fn instant(text: &str, now: &Zoned) -> Result<Timestamp, QuestionError> {
    let begin = times::moment(text, now)?.begin;
    Timestamp::from_microsecond(begin).map_err(|_| QuestionError::Time(text.to_owned()))
}

/// A place where records may be: a database with its spool, or the embedded store.
pub type Place = (Option<ResolvedConnection>, PathBuf);

/// A row that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The row.
    pub row: Row,
    /// Whether it waits in the spool and is not in the database yet.
    pub spooled: bool,
}

/// What was found, and which places could not be asked.
#[derive(Debug, Default)]
pub struct Answer {
    /// The rows, in the order asked for; each request once.
    pub rows: Vec<Found>,
    /// The key before which the next page begins; none where there was not more than this page.
    pub next: Option<RequestKey>,
    /// Where the time was over: nothing before this key was looked at, and it is where the next
    /// page begins.
    pub reached: Option<RequestKey>,
    /// What went wrong, and where.
    pub failures: Vec<(String, StoreError)>,
}

/// How many rows answer a question, and which places could not be asked.
#[derive(Debug, Default)]
pub struct Count {
    /// How many requests. One that is just being moved from a spool into its database may be
    /// counted in both.
    pub rows: u64,
    /// What went wrong, and where.
    pub failures: Vec<(String, StoreError)>,
}

impl Answer {
    /// When the request came before which nothing was looked at, in microseconds since 1970.
    #[must_use]
    pub fn reached_time(&self) -> Option<i64> {
        self.reached.map(super::key::time)
    }
}

/// Asks every place, for at most ten minutes.
pub async fn search(places: &[Place], query: &Query) -> Answer {
    page(places, query, PATIENCE).await
}

/// Asks every place; each for no longer than until the time is over. A question that no key
/// answers reads every row of its time: see [`bounded`].
pub async fn page(places: &[Place], query: &Query, time: Duration) -> Answer {
    let mut answer = Answer::default();
    for mut reader in readers(places, Instant::now() + time) {
        let rows = reader.search(query).await;
        answer.add(&reader, rows);
        answer.reached = answer.reached.max(reader.reached());
        reader.end().await;
    }
    answer.finish(query);
    answer
}

/// Counts the rows that answer a question, whatever its limit.
pub async fn count(places: &[Place], condition: &Condition, time: Duration) -> Count {
    let mut count = Count::default();
    for mut reader in readers(places, Instant::now() + time) {
        match reader.count(condition).await {
            Ok(rows) => count.rows += rows,
            Err(error) if is_without_table(&error) => {}
            Err(error) => count.failures.push((reader.name.clone(), error)),
        }
        reader.end().await;
    }
    count
}

/// Looks for one request everywhere.
pub async fn find(places: &[Place], key: RequestKey, time: Duration) -> Answer {
    let mut answer = Answer::default();
    for mut reader in readers(places, Instant::now() + time) {
        let row = reader.find(key).await;
        answer.add(&reader, row.map(|row| row.into_iter().collect()));
        reader.end().await;
    }
    answer.finish(&everything());
    answer.next = None;
    answer
}

/// All requests of one mail transaction, in the order in which they came, at most so many.
pub async fn instance(places: &[Place], instance: &str, limit: u32, time: Duration) -> Answer {
    let query = Query { condition: equals("instance", instance), limit, newest_first: false };
    page(places, &query, time).await
}

fn everything() -> Query {
    Query { condition: Condition::All(Vec::new()), limit: u32::MAX, newest_first: true }
}

/// How a store goes about one of the statements that a question becomes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// The place.
    pub place: String,
    /// The statement; every `?` is a value.
    pub sql: String,
    /// What the store says about it.
    pub plan: Vec<String>,
}

/// How the stores would go about a question; and which places could not be asked.
pub async fn plan(
    places: &[Place],
    query: &Query,
    time: Duration,
) -> (Vec<Planned>, Vec<(String, StoreError)>) {
    let (mut planned, mut failures) = (Vec::new(), Vec::new());
    for mut reader in readers(places, Instant::now() + time) {
        if reader.is_missing() {
            continue;
        }
        for step in plan::steps(reader.dialect(), query, plan::NEWEST) {
            let statement = plan::statement(reader.dialect(), &step);
            match reader.explain(&statement).await {
                Ok(plan) => {
                    planned.push(Planned { place: reader.name.clone(), sql: statement.sql, plan });
                }
                Err(error) => failures.push((reader.name.clone(), error)),
            }
        }
        reader.end().await;
    }
    (planned, failures)
}

impl Answer {
    fn add(&mut self, from: &Reader, rows: Result<Vec<Row>, StoreError>) {
        let spooled = from.is_spool;
        match rows {
            Ok(rows) => self.rows.extend(rows.into_iter().map(|row| Found { row, spooled })),
            Err(error) if is_without_table(&error) => {}
            Err(error) => self.failures.push((from.name.clone(), error)),
        }
    }

    fn finish(&mut self, query: &Query) {
        unique(&mut self.rows);
        if query.newest_first {
            self.rows.reverse();
        }
        // Other places may have come further back; what they found there is of a later page.
        if let Some(reached) = self.reached {
            self.rows.retain(|found| found.row.key() >= Some(reached));
        }
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        if self.rows.len() >= limit {
            self.rows.truncate(limit);
            self.next = self.rows.last().and_then(|found| found.row.key());
            // There is a page before it comes to that.
            self.reached = None;
        } else {
            self.next = self.reached;
        }
    }
}

/// Leaves each request once, in the order of keys. Of one in two places the row that is decided
/// says more, then the one in the database, since it need not be moved.
pub(super) fn unique(rows: &mut Vec<Found>) {
    rows.sort_by_key(|found| (found.row.key(), !found.row.is_processed(), found.spooled));
    rows.dedup_by_key(|found| found.row.key());
}

/// The spools of these places that are there.
#[must_use]
pub fn spools(places: &[Place]) -> Vec<PathBuf> {
    let paths = places
        .iter()
        .map(|(connection, directory)| spool::path_for(directory, connection.as_ref()));
    paths.filter(|path| path.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_no_day() {
        let question = Question { on: Some("2h".into()), ..Question::default() };
        assert_eq!(question.query(&Zoned::now()), Err(QuestionError::Day("2h".into())));
    }

    #[test]
    fn a_question_that_no_key_answers_is_bound_in_time() {
        let now: Timestamp = "2026-11-22T13:00:00Z".parse().unwrap();
        let bound = |question: Question| {
            bounded(question.query(&Zoned::now()).unwrap(), now).1.map(|time| time.to_string())
        };
        let text = || Question { text: Some("listed".into()), ..Question::default() };
        let since = Question { since: Some("9 days".into()), ..text() };
        let client = Question { client: Some("192.0.2.1".into()), ..text() };
        assert_eq!(bound(text()), Some("2026-11-21T13:00:00Z".into()));
        assert_eq!(bound(since), None);
        assert_eq!(bound(client), None);
        assert_eq!(bound(Question::default()), None);
        let next_page = Question { before: Some(RequestKey([1; 16])), ..Question::default() };
        assert_eq!(bound(next_page), None);
    }

    #[test]
    fn a_question_that_says_its_end_is_bound_to_the_day_before_that() {
        let now: Timestamp = "2026-11-22T13:00:00Z".parse().unwrap();
        let until = || Some("2026-11-03T07:00:00Z".to_owned());
        let only = Question { until: until(), ..Question::default() };
        assert_eq!(bounded(only.query(&Zoned::now()).unwrap(), now).1, None);
        let text = Question { until: until(), text: Some("x".into()), ..Question::default() };
        let since = bounded(text.query(&Zoned::now()).unwrap(), now).1;
        assert_eq!(since.map(|time| time.to_string()), Some("2026-11-02T07:00:00Z".into()));
    }
}
