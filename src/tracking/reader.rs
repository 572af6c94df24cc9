//! The places where records may be, opened to be read: with connections of their own, so that
//! nobody who answers Postfix waits for a question.

use std::path::{Path, PathBuf};

use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::mysql::MySqlStore;
use super::plan::{self, Step};
use super::query::{self, Condition, Query, Route, Statement};
use super::row::Row;
use super::search::Place;
use super::spool;
use super::sqlite::SqliteStore;
use super::store::{Store as _, StoreError};
use super::table::{Dialect, TABLE};
use super::tracker::EMBEDDED;

/// What no key answers is often soon found: the first stretch of the table that is looked at is this
/// many times shorter than the longest.
const FIRST_STRETCH: u32 = 10;

/// A value that a statement gave.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field {
    Null,
    Integer(i64),
    Real(f64),
    Octets(Vec<u8>),
}

impl Field {
    /// A number; 0 where there is none. MySQL gives sums as text.
    #[allow(clippy::cast_possible_truncation, reason = "no count is that large")]
    pub(super) fn number(&self) -> i64 {
        match self {
            Field::Null => 0,
            Field::Integer(number) => *number,
            Field::Real(number) => *number as i64,
            Field::Octets(octets) => {
                std::str::from_utf8(octets).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
            }
        }
    }

    /// A text; none where the value is NULL.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Field::Null => None,
            Field::Integer(number) => Some(number.to_string()),
            Field::Real(number) => Some(number.to_string()),
            Field::Octets(octets) => Some(String::from_utf8_lossy(octets).into_owned()),
        }
    }

    pub(super) fn key(&self) -> Option<RequestKey> {
        match self {
            Field::Octets(octets) => octets.as_slice().try_into().ok().map(RequestKey),
            _ => None,
        }
    }
}

/// A place that can be asked.
#[derive(Debug)]
pub(super) struct Reader {
    /// What people call it: the database, or the path of the file.
    pub(super) name: String,
    /// Whether it is the spool in front of a database.
    pub(super) is_spool: bool,
    source: Source,
    until: Instant,
    /// How many of the newest rows are looked at first.
    newest: u32,
    /// Where a search that ran out of time has come to: nothing before this key was looked at.
    reached: Option<RequestKey>,
}

#[expect(clippy::large_enum_variant, reason = "there are no more than places to ask")]
#[derive(Debug)]
enum Source {
    Database { connection: Box<ResolvedConnection>, open: Option<MySqlStore> },
    File { path: PathBuf, open: Option<SqliteStore> },
}

/// The places that are there. Each opens when it is first asked, and gives up at this time.
pub(super) fn readers(places: &[Place], until: Instant) -> Vec<Reader> {
    let mut readers = Vec::new();
    for (connection, directory) in places {
        let Some(connection) = connection else {
            readers.push(Reader::file(directory.join(EMBEDDED), false, until));
            continue;
        };
        let name = connection.database.clone();
        let source = Source::Database { connection: Box::new(connection.clone()), open: None };
        readers.push(Reader {
            name,
            is_spool: false,
            source,
            until,
            newest: plan::NEWEST,
            reached: None,
        });
        readers.push(Reader::file(spool::path(directory, connection), true, until));
    }
    readers
}

impl Reader {
    fn file(path: PathBuf, is_spool: bool, until: Instant) -> Self {
        let name = path.display().to_string();
        let source = Source::File { path, open: None };
        Reader { name, is_spool, source, until, newest: plan::NEWEST, reached: None }
    }

    /// Goes on until another time.
    pub(super) fn extend(&mut self, until: Instant) {
        self.until = until;
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.source {
            Source::Database { .. } => Dialect::MySql,
            Source::File { .. } => Dialect::Sqlite,
        }
    }

    /// Whether there is nothing to ask: the file was not made yet.
    pub(super) fn is_missing(&self) -> bool {
        matches!(&self.source, Source::File { path, .. } if !path.exists())
    }

    /// The rows that answer a question, in its order.
    pub(super) async fn search(&mut self, query: &Query) -> Result<Vec<Row>, StoreError> {
        let mut found: Vec<Row> = Vec::new();
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let mut edge = None;
        let mut are_few = false;
        for step in plan::steps(self.dialect(), query, self.newest) {
            let step = match step {
                Step::Few(statement) => {
                    are_few = self.number(statement).await? < i64::from(plan::FEW);
                    continue;
                }
                Step::Newest(_) if are_few => continue,
                Step::Time(query) if query.newest_first && plan::is_selective(&query.condition) => {
                    return self.stretches(&query, None, self.newest / FIRST_STRETCH).await;
                }
                Step::Newest(statement) => {
                    edge = self.fields(statement).await?.first().and_then(|row| row.first()?.key());
                    found = self.newest(query, edge).await?;
                    let Some(edge) = edge else { return Ok(found) };
                    if found.len() >= wanted {
                        return Ok(found);
                    }
                    if self.is_frequent(&query.condition, edge).await? {
                        found.extend(self.stretches(query, Some(edge), self.newest).await?);
                        found.truncate(wanted);
                        return Ok(found);
                    }
                    continue;
                }
                step => older_than(step, edge),
            };
            found.extend(self.rows(plan::statement(self.dialect(), &step)).await?);
        }
        // A row can answer the question in two ways.
        found.sort_by_key(Row::key);
        found.dedup_by_key(|row| row.key());
        if query.newest_first {
            found.reverse();
        }
        found.truncate(wanted);
        Ok(found)
    }

    /// Whether many of the newest rows have what a secondary key answers.
    async fn is_frequent(
        &mut self,
        condition: &Condition,
        edge: RequestKey,
    ) -> Result<bool, StoreError> {
        let condition = plan::keyed(condition).and(Condition::From(edge));
        let statement = query::count(self.dialect(), Route::Time, std::slice::from_ref(&condition));
        let count = self.number(statement).await?;
        Ok(count * plan::FREQUENT >= i64::from(self.newest))
    }

    /// The one number that a statement gives.
    async fn number(&mut self, statement: Statement) -> Result<i64, StoreError> {
        let rows = self.fields(statement).await?;
        Ok(rows.first().and_then(|row| row.first()).map_or(0, Field::number))
    }

    /// The rows before a key, in the order of time: one stretch of the table after the other, so
    /// that what was found is told, and how far it was looked, when the time is over.
    async fn stretches(
        &mut self,
        query: &Query,
        edge: Option<RequestKey>,
        length: u32,
    ) -> Result<Vec<Row>, StoreError> {
        let wanted = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let (mut found, mut from, mut length) = (Vec::new(), edge, length.max(1));
        loop {
            let (begun, rest) = (Instant::now(), plan::before(query, from));
            let next = self.fields(plan::edge(self.dialect(), &rest, length)).await;
            let next = next.map(|rows| rows.first().and_then(|row| row.first()?.key()));
            let rows = match next {
                Ok(next) => self.newest(&rest, next).await.map(|rows| (rows, next)),
                Err(error) => Err(error),
            };
            match (rows, from) {
                (Ok((rows, next)), _) => {
                    found.extend(rows);
                    if found.len() >= wanted || next.is_none() {
                        found.truncate(wanted);
                        return Ok(found);
                    }
                    from = next;
                }
                // What was looked at before is an answer.
                (Err(StoreError::Timeout(_)), Some(_)) => {
                    self.reached = from;
                    return Ok(found);
                }
                (Err(error), _) => return Err(error),
            }
            length = length.saturating_mul(2).min(self.newest);
            // A stretch that is given up half-way tells nothing.
            if Instant::now() + begun.elapsed() * 2 > self.until {
                self.reached = from;
                return Ok(found);
            }
        }
    }

    /// Where a search that ran out of time has come to.
    pub(super) fn reached(&self) -> Option<RequestKey> {
        self.reached
    }

    async fn newest(
        &mut self,
        query: &Query,
        edge: Option<RequestKey>,
    ) -> Result<Vec<Row>, StoreError> {
        let condition = match edge {
            Some(edge) => query.condition.clone().and(Condition::From(edge)),
            None => query.condition.clone(),
        };
        let newest = Query { condition, ..query.clone() };
        self.rows(query::routed(self.dialect(), Route::Time, &newest)).await
    }

    /// How many rows answer a question, whatever its limit.
    pub(super) async fn count(&mut self, condition: &Condition) -> Result<u64, StoreError> {
        let branches = plan::branches(condition);
        let (route, branches) = match branches {
            Some(branches) => (Route::Free, branches),
            None => (Route::Time, vec![condition.clone()]),
        };
        let count = self.number(query::count(self.dialect(), route, &branches)).await?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// The row of a key.
    pub(super) async fn find(&mut self, key: RequestKey) -> Result<Option<Row>, StoreError> {
        let condition = Condition::IsKey("id", key);
        let query = Query { condition, limit: 1, newest_first: true };
        Ok(self.rows(query::statement(self.dialect(), &query)).await?.pop())
    }

    /// How the store goes about a statement, in its own words.
    pub(super) async fn explain(
        &mut self,
        statement: &Statement,
    ) -> Result<Vec<String>, StoreError> {
        let word = match self.dialect() {
            // MySQL 9 draws a tree unless asked for lines.
            Dialect::MySql => "EXPLAIN FORMAT=TRADITIONAL",
            Dialect::Sqlite => "EXPLAIN QUERY PLAN",
        };
        let sql = format!("{word} {}", statement.sql);
        let rows = self.fields(Statement { sql, bound: statement.bound.clone() }).await?;
        let line = |fields: Vec<Field>| {
            let texts: Vec<String> =
                fields.iter().map(|field| field.text().unwrap_or_else(|| "-".into())).collect();
            texts.join("  ")
        };
        Ok(rows.into_iter().map(line).collect())
    }

    /// The rows that a statement gives.
    pub(super) async fn rows(&mut self, statement: Statement) -> Result<Vec<Row>, StoreError> {
        self.open().await?;
        match &mut self.source {
            Source::Database { open, .. } => match open {
                Some(store) => store.rows(statement).await,
                None => Ok(Vec::new()),
            },
            Source::File { open, .. } => {
                blocking(open, self.until, move |store| store.rows(&statement)).await
            }
        }
    }

    /// Whatever a statement gives.
    pub(super) async fn fields(
        &mut self,
        statement: Statement,
    ) -> Result<Vec<Vec<Field>>, StoreError> {
        self.open().await?;
        match &mut self.source {
            Source::Database { open, .. } => match open {
                Some(store) => store.fields(statement).await,
                None => Ok(Vec::new()),
            },
            Source::File { open, .. } => {
                blocking(open, self.until, move |store| store.fields(&statement)).await
            }
        }
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(StoreError::Timeout(rest));
        }
        match &mut self.source {
            Source::Database { connection, open } if open.is_none() => {
                let connect_timeout = connection.connect_timeout.min(rest);
                let bound = ResolvedConnection {
                    write_timeout: rest,
                    connect_timeout,
                    ..(**connection).clone()
                };
                *open = Some(MySqlStore::connect_to_read(&bound).await?);
            }
            Source::Database { open: Some(store), .. } => store.wait_at_most(rest),
            Source::File { path, open } if open.is_none() => *open = open_file(path)?,
            Source::Database { .. } | Source::File { .. } => {}
        }
        Ok(())
    }

    /// Gives up a connection that may be lost, so that the next question makes another one.
    pub(super) fn close(&mut self) {
        match &mut self.source {
            Source::Database { open, .. } => *open = None,
            Source::File { open, .. } => *open = None,
        }
    }

    /// Ends the connection politely.
    pub(super) async fn end(self) {
        if let Source::Database { open: Some(store), .. } = self.source {
            Box::new(store).end().await;
        }
    }
}

/// A file that was not made yet holds nothing.
fn open_file(path: &Path) -> Result<Option<SqliteStore>, StoreError> {
    path.exists().then(|| SqliteStore::open_to_read(path)).transpose()
}

fn older_than(step: Step, edge: Option<RequestKey>) -> Step {
    match (step, edge) {
        (Step::Secondary(query), Some(edge)) => {
            let condition = query.condition.clone().and(Condition::Below(edge));
            Step::Secondary(Query { condition, ..query })
        }
        (step, _) => step,
    }
}

/// SQLite's calls block, so they are made on a thread of their own, and interrupted in time.
async fn blocking<T: Send + 'static>(
    open: &mut Option<SqliteStore>,
    until: Instant,
    work: impl FnOnce(&mut SqliteStore) -> Result<Vec<T>, StoreError> + Send + 'static,
) -> Result<Vec<T>, StoreError> {
    let Some(mut store) = open.take() else { return Ok(Vec::new()) };
    let (interrupter, begin) = (store.interrupter(), Instant::now());
    let mut working = spawn_blocking(move || {
        let result = work(&mut store);
        (store, result)
    });
    let is_late = tokio::time::timeout_at(until, &mut working).await;
    let (done, is_late) = if let Ok(done) = is_late {
        (done, false)
    } else {
        interrupter.interrupt();
        (working.await, true)
    };
    let (store, result) = done.map_err(|error| StoreError::Away(Box::new(error)))?;
    *open = Some(store);
    if is_late { Err(StoreError::Timeout(until - begin)) } else { result }
}

/// Whether a table was never made there.
pub(super) fn is_without_table(error: &StoreError) -> bool {
    matches!(error, StoreError::Away(reason) if reason.to_string().contains(TABLE)
        && reason.to_string().contains("no such table"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tracking::batch::{State, Write};
    use crate::tracking::row::Cell;
    use crate::tracking::table::COLUMNS;

    /// The row of a request of this number: its sender's domain and its decision.
    fn row(number: u8, domain: &str, decision: &str) -> Row {
        let (mut row, key) = (Row::with_capacity(64), [number; 16]);
        for column in COLUMNS {
            row.push(match column.name {
                "id" => Cell::Octets(&key),
                "state" => Cell::Text("processed"),
                "received_timestamp" => Cell::Time(number.into()),
                "sender_local" => Cell::Text("a"),
                "sender_reverse_domain" => Cell::Text(domain),
                "recipient_reverse_domain" => Cell::Text("example"),
                "decision" => Cell::Text(decision),
                _ => Cell::Null,
            });
        }
        row
    }

    /// 200 requests: one of 50 is of a rare sender, and one of 40 is refused.
    fn filled(directory: &Path) -> Reader {
        let path = directory.join("requests.sqlite");
        let mut store = SqliteStore::open(&path).unwrap();
        store.create().unwrap();
        let write = |number: u8| {
            let domain = if number.is_multiple_of(50) { "example.rare" } else { "example.often" };
            let decision = if number.is_multiple_of(40) { "REJECT" } else { "DUNNO" };
            let content = Arc::new(row(number, domain, decision));
            Write { key: RequestKey([number; 16]), state: State::Processed, fresh: true, content }
        };
        store.insert(&(0..200).map(write).collect::<Vec<_>>()).unwrap();
        let until = Instant::now() + std::time::Duration::from_mins(1);
        Reader { newest: 20, ..Reader::file(path, false, until) }
    }

    async fn found(reader: &mut Reader, condition: Condition, limit: u32) -> Vec<u8> {
        let query = Query { condition, limit, newest_first: true };
        let rows = reader.search(&query).await.unwrap();
        rows.iter().map(|row| row.key().unwrap().0[0]).collect()
    }

    #[tokio::test]
    async fn rows_are_found_among_the_newest_over_a_key_and_in_the_order_of_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = filled(directory.path());
        let sender = |domain: &str| Condition::Begins("sender_reverse_domain", domain.into());
        let all = |parts: &[Condition]| Condition::All(parts.to_vec());
        let refused = Condition::Equals("decision", "REJECT".into());
        for (condition, limit, wanted) in [
            (all(&[sender("example.often")]), 3, vec![199, 198, 197]),
            (all(&[sender("example.often")]), 22, { (177..200).rev().collect() }),
            (all(&[sender("example.rare")]), 9, vec![150, 100, 50, 0]),
            (all(&[sender("example.rare")]), 2, vec![150, 100]),
            (all(&[sender("example.often"), refused.clone()]), 9, vec![160, 120, 80, 40]),
            (all(&[sender("example.rare"), refused]), 9, vec![0]),
            (all(&[sender("nobody")]), 9, vec![]),
            (all(&[sender("example"), Condition::Below(RequestKey([3; 16]))]), 9, vec![2, 1, 0]),
        ] {
            let mut wanted: Vec<u8> = wanted;
            wanted.truncate(limit as usize);
            assert_eq!(found(&mut reader, condition.clone(), limit).await, wanted, "{condition:?}");
        }
        let either = Condition::Any(vec![
            sender("example.rare"),
            Condition::Equals("recipient_reverse_domain", "example".into()),
        ]);
        assert_eq!(found(&mut reader, either.clone(), 40).await.len(), 40);
        assert_eq!(reader.count(&either).await.unwrap(), 200);
    }

    #[tokio::test]
    async fn a_search_that_runs_out_of_time_tells_how_far_it_has_come() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = filled(directory.path());
        let often = Condition::Begins("sender_reverse_domain", "example.often".into());
        let never = Condition::Equals("decision", "NEVER".into());
        let query = Query { condition: often.and(never), limit: 9, newest_first: true };
        let edge = Some(RequestKey([180; 16]));
        // It has time enough to look at everything.
        assert_eq!(reader.stretches(&query, edge, 20).await.unwrap(), []);
        assert_eq!(reader.reached(), None);
        // It has opened the file, and no more time.
        reader.extend(Instant::now());
        assert_eq!(reader.stretches(&query, edge, 20).await.unwrap(), []);
        let reached = reader.reached().unwrap();
        assert!(reached <= RequestKey([180; 16]) && reached > RequestKey([100; 16]), "{reached}");
    }

    #[tokio::test]
    async fn a_stretch_is_walked_over_the_primary_key_from_its_first_to_its_last() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = filled(directory.path());
        let condition = Condition::Begins("sender_reverse_domain", "example.often".into());
        let query = Query { condition, limit: 9, newest_first: true };
        let rest = plan::before(&query, Some(RequestKey([150; 16])));
        let whole = rest.condition.clone().and(Condition::From(RequestKey([100; 16])));
        let stretch = Query { condition: whole, ..rest.clone() };
        for statement in [
            plan::edge(Dialect::Sqlite, &rest, 20),
            query::routed(Dialect::Sqlite, Route::Time, &stretch),
        ] {
            let plan = reader.explain(&statement).await.unwrap().join("\n");
            assert!(plan.contains("sqlite_autoindex_track_policy_request_1 (id"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[tokio::test]
    async fn a_question_to_a_file_ends_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut reader = filled(directory.path());
        reader.extend(Instant::now() + std::time::Duration::from_millis(50));
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
                       SELECT count(*) FROM n";
        let statement = Statement { sql: endless.to_owned(), bound: Vec::new() };
        assert!(matches!(reader.fields(statement).await, Err(StoreError::Timeout(_))));
        reader.extend(Instant::now() + std::time::Duration::from_mins(1));
        assert_eq!(reader.count(&Condition::All(Vec::new())).await.unwrap(), 200);
    }
}
