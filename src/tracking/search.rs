//! Questions to the records in people's words, and the places where the answers are.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, ToSpan as _, Zoned};
use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;

use super::mysql::MySqlStore;
use super::row::{Row, reverse_domain, storable};
use super::spool;
use super::sqlite::SqliteStore;
use super::store::{Condition, Query, Store, StoreError};
use super::table::{COLUMNS, position};
use super::tracker::EMBEDDED;

/// How long a question may take; without a key it reads the whole table.
const PATIENCE: Duration = Duration::from_mins(10);

/// What is asked for. Everything that is said must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// An address, a domain, or `<>` for the null sender.
    pub sender: Option<String>,
    /// An address or a domain.
    pub recipient: Option<String>,
    /// The domain of sender or recipient, or one above it.
    pub domain: Option<String>,
    /// An address, or the beginning of one.
    pub client: Option<String>,
    /// The word or code of the decision.
    pub decision: Option<String>,
    /// When the request came, at the earliest.
    pub since: Option<String>,
    /// When the request came, at the latest.
    pub until: Option<String>,
    /// The day on which the request came.
    pub on: Option<String>,
    /// The mail transaction.
    pub instance: Option<String>,
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
    /// A network that is not a beginning of addresses.
    #[error(
        "\"{0}\" is no beginning of addresses; try 192.0.2.0/24 (/8, /16, /24), 192.0.2. or \
         2001:db8:"
    )]
    Network(String),
}

impl Question {
    /// The question in the store's words; times are those of `now`'s time zone.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn query(&self, now: &Zoned) -> Result<Query, QuestionError> {
        let mut all = Vec::new();
        if let Some(sender) = &self.sender {
            all.push(mailbox("sender_local", "sender_reverse_domain", sender));
        }
        if let Some(recipient) = &self.recipient {
            all.push(mailbox("recipient_local", "recipient_reverse_domain", recipient));
        }
        if let Some(domain) = &self.domain {
            all.push(in_domain(domain));
        }
        if let Some(client) = &self.client {
            all.push(client_address(client)?);
        }
        if let Some(decision) = &self.decision {
            all.push(equals("decision", &decision.to_ascii_uppercase()));
        }
        if let Some(instance) = &self.instance {
            all.push(equals("instance", instance));
        }
        self.add_times(now, &mut all)?;
        Ok(Query { condition: Condition::All(all), limit: self.limit, newest_first: true })
    }

    fn add_times(&self, now: &Zoned, all: &mut Vec<Condition>) -> Result<(), QuestionError> {
        if let Some(text) = &self.since {
            all.push(Condition::Since(moment(text, now)?.begin));
        }
        if let Some(text) = &self.until {
            all.push(Condition::Before(moment(text, now)?.end));
        }
        if let Some(text) = &self.on {
            let day = moment(text, now)?;
            if !day.is_day {
                return Err(QuestionError::Day(text.clone()));
            }
            all.extend([Condition::Since(day.begin), Condition::Before(day.end)]);
        }
        Ok(())
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

fn mailbox(local: &'static str, domain: &'static str, text: &str) -> Condition {
    if matches!(text, "" | "<>") {
        return Condition::All(vec![equals(local, ""), Condition::Absent(domain)]);
    }
    match text.rsplit_once('@') {
        Some(("", name)) => equals(domain, &reverse_domain(name)),
        Some((name, rest)) => {
            Condition::All(vec![equals(domain, &reverse_domain(rest)), equals(local, name)])
        }
        // An address without a domain looks like a domain.
        None => Condition::Any(vec![
            equals(domain, &reverse_domain(text)),
            Condition::All(vec![equals(local, text), Condition::Absent(domain)]),
        ]),
    }
}

fn in_domain(text: &str) -> Condition {
    let name = text.trim_start_matches(['@', '.']).trim_end_matches('.');
    let reversed = reverse_domain(name);
    let below = format!("{reversed}.");
    let columns = ["sender_reverse_domain", "recipient_reverse_domain"];
    let either = |column| [equals(column, &reversed), Condition::Begins(column, below.clone())];
    Condition::Any(columns.into_iter().flat_map(either).collect())
}

fn client_address(text: &str) -> Result<Condition, QuestionError> {
    const COLUMN: &str = "client_address";
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(equals(COLUMN, &address.to_string()));
    }
    if let Some((network, bits)) = text.split_once('/') {
        let octets = match bits {
            "8" => 1,
            "16" => 2,
            "24" => 3,
            _ => return Err(QuestionError::Network(text.to_owned())),
        };
        let parts: Vec<&str> = network.split('.').take(octets).collect();
        let is_number = |part: &&str| part.parse::<u8>().is_ok();
        if parts.len() < octets || !parts.iter().all(is_number) {
            return Err(QuestionError::Network(text.to_owned()));
        }
        return Ok(Condition::Begins(COLUMN, format!("{}.", parts.join("."))));
    }
    if text.ends_with(['.', ':']) {
        return Ok(Condition::Begins(COLUMN, text.to_owned()));
    }
    let is_beginning =
        text.contains('.') && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    if is_beginning {
        return Ok(Condition::Begins(COLUMN, format!("{text}.")));
    }
    // `unknown`, and whatever else Postfix may have said.
    Ok(equals(COLUMN, text))
}

// A time, or a day; the end is not part of it.
struct Moment {
    begin: i64,
    end: i64,
    is_day: bool,
}

fn moment(text: &str, now: &Zoned) -> Result<Moment, QuestionError> {
    let text = text.trim();
    let wrong = || QuestionError::Time(text.to_owned());
    if let Some(date) = day(text, now) {
        return whole_day(date, now).ok_or_else(wrong);
    }
    let instant = instant(text, now).ok_or_else(wrong)?;
    Ok(Moment { begin: instant, end: instant, is_day: false })
}

fn day(text: &str, now: &Zoned) -> Option<Date> {
    match text.to_ascii_lowercase().as_str() {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        // A date parser takes the date out of a date and time as well.
        text if text.len() > 10 => None,
        text => text.parse().ok(),
    }
}

fn whole_day(date: Date, now: &Zoned) -> Option<Moment> {
    let begin = date.to_zoned(now.time_zone().clone()).ok()?;
    let end = date.tomorrow().ok()?.to_zoned(now.time_zone().clone()).ok()?;
    let [begin, end] = [begin, end].map(|at| at.timestamp().as_microsecond());
    Some(Moment { begin, end, is_day: true })
}

fn instant(text: &str, now: &Zoned) -> Option<i64> {
    if text.eq_ignore_ascii_case("now") {
        return Some(now.timestamp().as_microsecond());
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let local = |time: DateTime| {
        let zoned = time.to_zoned(now.time_zone().clone()).ok()?;
        Some(zoned.timestamp().as_microsecond())
    };
    if let Ok(time) = text.parse::<DateTime>() {
        return local(time);
    }
    if text.contains(':')
        && let Ok(time) = text.parse::<Time>()
    {
        return local(now.date().to_datetime(time));
    }
    let ago: Span = text.trim_end_matches("ago").trim_end().parse().ok()?;
    let then = now.checked_sub(ago.abs()).ok()?;
    // "In the last 0 seconds" is no question.
    (ago.fieldwise() != 0.seconds().fieldwise()).then(|| then.timestamp().as_microsecond())
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
    /// What went wrong, and where.
    pub failures: Vec<(String, StoreError)>,
}

/// Asks every place.
pub async fn search(places: &[Place], query: &Query) -> Answer {
    let mut answer = Answer::default();
    for (name, spooled, store) in open(places).await {
        let rows = match store {
            Ok(mut store) => store.search(query).await,
            Err(error) => Err(error),
        };
        answer.add(name, spooled, rows);
    }
    answer.finish(query);
    answer
}

/// Looks for one request everywhere.
pub async fn find(places: &[Place], key: RequestKey) -> Answer {
    let mut answer = Answer::default();
    for (name, spooled, store) in open(places).await {
        let row = match store {
            Ok(mut store) => store.find(key).await,
            Err(error) => Err(error),
        };
        answer.add(name, spooled, row.map(|row| row.into_iter().collect()));
    }
    let query =
        Query { condition: Condition::All(Vec::new()), limit: u32::MAX, newest_first: true };
    answer.finish(&query);
    answer
}

impl Answer {
    fn add(&mut self, place: String, spooled: bool, rows: Result<Vec<Row>, StoreError>) {
        match rows {
            Ok(rows) => self.rows.extend(rows.into_iter().map(|row| Found { row, spooled })),
            Err(error) => self.failures.push((place, error)),
        }
    }

    fn finish(&mut self, query: &Query) {
        // Of one request in two places the one that is decided says more, then the one in the
        // database, since it need not be moved.
        self.rows.sort_by_key(|found| (found.row.key(), !found.row.is_processed(), found.spooled));
        self.rows.dedup_by_key(|found| found.row.key());
        if query.newest_first {
            self.rows.reverse();
        }
        self.rows.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
    }
}

type Opened = (String, bool, Result<Box<dyn Store>, StoreError>);

async fn open(places: &[Place]) -> Vec<Opened> {
    let mut opened: Vec<Opened> = Vec::new();
    for (connection, directory) in places {
        let file = match connection {
            None => directory.join(EMBEDDED),
            Some(connection) => {
                let patient = ResolvedConnection { write_timeout: PATIENCE, ..connection.clone() };
                let store = MySqlStore::connect(&patient).await;
                let store = store.map(|store| Box::new(store) as Box<dyn Store>);
                opened.push((connection.database.clone(), false, store));
                spool::path(directory, connection)
            }
        };
        if file.exists() {
            opened.push((file.display().to_string(), connection.is_some(), open_file(&file)));
        }
    }
    opened
}

fn open_file(path: &Path) -> Result<Box<dyn Store>, StoreError> {
    Ok(Box::new(SqliteStore::open_to_read(path)?))
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

    fn now() -> Zoned {
        "2026-11-22T13:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn begin(text: &str) -> i64 {
        moment(text, &now()).unwrap().begin
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(begin("2h"), at("2026-11-22T10:00:00Z"));
        assert_eq!(begin("2 hours ago"), at("2026-11-22T10:00:00Z"));
        assert_eq!(begin("3 days"), at("2026-11-19T12:00:00Z"));
        assert_eq!(begin("yesterday"), at("2026-11-20T23:00:00Z"));
        assert_eq!(begin("today"), at("2026-11-21T23:00:00Z"));
        assert_eq!(begin("2026-11-22"), at("2026-11-21T23:00:00Z"));
        assert_eq!(begin("2026-11-22 12:30"), at("2026-11-22T11:30:00Z"));
        assert_eq!(begin("2026-11-22 12:30:15"), at("2026-11-22T11:30:15Z"));
        assert_eq!(begin("2026-11-22T12:30:00Z"), at("2026-11-22T12:30:00Z"));
        assert_eq!(begin("09:15"), at("2026-11-22T08:15:00Z"));
        assert_eq!(begin("now"), at("2026-11-22T12:00:00Z"));
        for wrong in ["", "soon", "25:00", "2026-13-01", "0s"] {
            assert!(moment(wrong, &now()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_day_ends_where_the_next_begins() {
        assert_eq!(moment("yesterday", &now()).unwrap().end, at("2026-11-21T23:00:00Z"));
        let question = Question { on: Some("2h".into()), ..Question::default() };
        assert_eq!(question.query(&now()), Err(QuestionError::Day("2h".into())));
    }

    #[test]
    fn a_domain_is_itself_and_all_below_it() {
        let Condition::Any(parts) = in_domain("Example.com") else { panic!() };
        assert_eq!(parts[0], Condition::Equals("sender_reverse_domain", "com.example".into()));
        assert_eq!(parts[1], Condition::Begins("sender_reverse_domain", "com.example.".into()));
        assert_eq!(parts[2], Condition::Equals("recipient_reverse_domain", "com.example".into()));
        assert_eq!(parts.len(), 4);
    }

    #[test]
    fn an_address_is_its_local_part_and_its_domain() {
        let condition = mailbox("sender_local", "sender_reverse_domain", "A@mail.Example.com");
        let domain = Condition::Equals("sender_reverse_domain", "com.example.mail".into());
        let local = Condition::Equals("sender_local", "A".into());
        assert_eq!(condition, Condition::All(vec![domain, local]));
    }

    #[test]
    fn a_client_is_an_address_or_the_beginning_of_one() {
        let begins = |text: &str| Ok(Condition::Begins("client_address", text.into()));
        let equals = |text: &str| Ok(Condition::Equals("client_address", text.into()));
        assert_eq!(client_address("192.0.2.1"), equals("192.0.2.1"));
        assert_eq!(client_address("2001:DB8:0::1"), equals("2001:db8::1"));
        assert_eq!(client_address("unknown"), equals("unknown"));
        assert_eq!(client_address("192.0.2.0/24"), begins("192.0.2."));
        assert_eq!(client_address("10.0.0.0/8"), begins("10."));
        assert_eq!(client_address("192.0.2."), begins("192.0.2."));
        assert_eq!(client_address("192.0"), begins("192.0."));
        assert_eq!(client_address("2001:db8:"), begins("2001:db8:"));
        for wrong in ["192.0.2.0/25", "2001:db8::/32", "x/8", "/8"] {
            assert!(client_address(wrong).is_err(), "{wrong}");
        }
    }
}
