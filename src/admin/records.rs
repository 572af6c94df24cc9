//! The records as the pages show them: asked with connections of their own, few at once.

use std::time::Duration;

use actix_web::web;
use jiff::{Timestamp, Zoned};
use mppd_engine::{Attribute, Escaped, RequestKey};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::InForce;
use super::page::PageError;
use crate::tracking::row::{Cell, Row};
use crate::tracking::search::{self, Answer, Question};
use crate::tracking::table::{COLUMNS, Kind};

/// Questions that are asked at once.
const AT_ONCE: usize = 2;

/// Questions that may wait for those.
const MOST_WAITING: usize = 16;

/// How long a question may take, the waiting included.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long it is looked for requests: there is time left to tell how far that has come.
const SEARCHING: Duration = Duration::from_secs(15);

/// Asks the records.
#[derive(Debug)]
pub struct Records {
    seats: Semaphore,
    queue: Semaphore,
}

impl Default for Records {
    fn default() -> Self {
        Records { seats: Semaphore::new(AT_ONCE), queue: Semaphore::new(AT_ONCE + MOST_WAITING) }
    }
}

/// What was found, and since when it was looked for where nobody said: a question that no key answers
/// would read the whole table.
#[derive(Debug)]
pub struct Found(pub Answer, pub Option<String>);

impl Records {
    /// Looks for requests.
    ///
    /// # Errors
    /// The question can't be understood, or takes too long, or too many are asked.
    pub async fn search(
        &self,
        in_force: &InForce,
        question: &Question,
    ) -> Result<Found, PageError> {
        let query = question.query(&Zoned::now());
        let query = query.map_err(|error| PageError::Bad(error.to_string()))?;
        let (query, since) = search::bounded(query, Timestamp::now());
        let since = since.map(|since| local(since.as_microsecond()));
        let places = in_force.places.clone();
        let asked = async move || search::page(&places, &query, SEARCHING).await;
        self.ask(asked).await.map(|answer| Found(answer, since))
    }

    /// Looks for all requests of one mail transaction, in order; at most so many.
    ///
    /// # Errors
    /// It takes too long, or too many are asked.
    pub async fn instance(
        &self,
        in_force: &InForce,
        instance: &str,
        most: u32,
    ) -> Result<Found, PageError> {
        let (places, instance) = (in_force.places.clone(), instance.to_owned());
        let asked = async move || search::instance(&places, &instance, most, PATIENCE).await;
        self.ask(asked).await.map(|answer| Found(answer, None))
    }

    /// Looks for one request.
    ///
    /// # Errors
    /// It takes too long, or too many are asked.
    pub async fn find(&self, in_force: &InForce, key: RequestKey) -> Result<Found, PageError> {
        let places = in_force.places.clone();
        self.ask(async move || search::find(&places, key, PATIENCE).await)
            .await
            .map(|answer| Found(answer, None))
    }

    /// Asks on another thread, so that reading a file holds up no other page.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, PageError> {
        let too_many = |_| PageError::TooMany(5);
        let _place = self.queue.try_acquire().map_err(too_many)?;
        let asked = async {
            // Nobody closes it.
            let seat = self.seats.acquire().await.map_err(|_| PageError::TooMany(5))?;
            let answered = web::block(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime
                    .block_on(async { timeout(PATIENCE, question()).await })
                    .map_err(std::io::Error::from)
            });
            let answered = answered.await.map_err(|_| PageError::TooMany(5))?;
            drop(seat);
            answered.map_err(|error| PageError::Unavailable(error.to_string()))
        };
        let late = || {
            let message = "the records take too long to answer; ask for a shorter time";
            PageError::Unavailable(message.to_owned())
        };
        timeout(PATIENCE + Duration::from_secs(1), asked).await.map_err(|_| late())?
    }

    /// What could not be asked, in words.
    #[must_use]
    pub fn failures(found: &Found) -> Vec<String> {
        let words = |(place, error): &(String, _)| format!("{place}: {error}");
        let reached = found.0.reached_time().map(|time| {
            let time = local(time);
            format!("the time was over: requests before {time} were not looked at")
        });
        found.0.failures.iter().map(words).chain(reached).collect()
    }
}

impl Found {
    /// A line for each request.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.0.rows.iter().map(|found| Line::of(&found.row, found.spooled)).collect()
    }
}

/// A request in a line; every text is fit to be read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// Its key.
    pub id: String,
    /// When it came, in the server's time zone.
    pub time: String,
    /// When it came (RFC 3339).
    pub timestamp: String,
    /// The decision's word or code; empty while there is none.
    pub decision: String,
    /// What kind of decision that is: `passed`, `deferred`, `refused`, or nothing of these.
    pub kind: &'static str,
    /// The text of the decision.
    pub text: String,
    /// The stage.
    pub stage: String,
    /// The client's address.
    pub client: String,
    /// The client's name.
    pub client_name: String,
    /// What it says it is.
    pub helo: String,
    /// The sender.
    pub sender: String,
    /// The recipient.
    pub recipient: String,
    /// The client's address as it came: for an address of a page only.
    #[serde(skip)]
    pub raw_client: String,
    /// The sender as it came.
    #[serde(skip)]
    pub raw_sender: String,
    /// The recipient as it came.
    #[serde(skip)]
    pub raw_recipient: String,
    /// The mail transaction.
    pub instance: String,
    /// The mail transaction as part of an address of a page.
    pub instance_link: String,
    /// What went wrong.
    pub error: String,
    /// Whether it waits in the spool.
    pub is_spooled: bool,
}

impl Line {
    /// A row in a line.
    #[must_use]
    pub fn of(row: &Row, is_spooled: bool) -> Self {
        let text = |name: &str| shown(row.get(name), Kind::Text);
        let request = row.to_request().ok();
        let attribute = |attribute: Attribute| {
            request.as_ref().map(|request| Escaped(request.get(attribute)).to_string())
        };
        let instance = attribute(Attribute::Instance).unwrap_or_default();
        let raw = request.as_ref().map(|request| request.get(Attribute::Instance));
        let raw_text = |attribute: Attribute| {
            let raw = request.as_ref().map(|request| request.get(attribute));
            String::from_utf8_lossy(raw.unwrap_or_default()).into_owned()
        };
        let decision = text("decision");
        Line {
            id: row.key().map(|key| key.to_string()).unwrap_or_default(),
            time: shown(row.get("received_timestamp"), Kind::Time),
            timestamp: timestamp(row.get("received_timestamp")),
            kind: kind_of(&decision),
            decision,
            text: text("decision_text"),
            stage: text("protocol_state"),
            client: attribute(Attribute::ClientAddress).unwrap_or_default(),
            client_name: attribute(Attribute::ClientName).unwrap_or_default(),
            helo: attribute(Attribute::HeloName).unwrap_or_default(),
            sender: attribute(Attribute::Sender).unwrap_or_default(),
            recipient: attribute(Attribute::Recipient).unwrap_or_default(),
            raw_client: raw_text(Attribute::ClientAddress),
            raw_sender: raw_text(Attribute::Sender),
            raw_recipient: raw_text(Attribute::Recipient),
            instance,
            instance_link: super::page::escaped(&String::from_utf8_lossy(raw.unwrap_or_default())),
            error: text("error_text"),
            is_spooled,
        }
    }
}

/// What kind of answer a word or code of access(5) is.
#[must_use]
pub fn kind_of(decision: &str) -> &'static str {
    match decision {
        "REJECT" | "DISCARD" => "refused",
        "DEFER" | "DEFER_IF_PERMIT" | "DEFER_IF_REJECT" => "deferred",
        "DUNNO" | "OK" => "passed",
        code if code.starts_with('5') => "refused",
        code if code.starts_with('4') => "deferred",
        _ => "other",
    }
}

fn timestamp(cell: Cell<'_>) -> String {
    let Cell::Time(microseconds) = cell else { return String::new() };
    Timestamp::from_microsecond(microseconds).map_or_else(|_| String::new(), |at| at.to_string())
}

/// A cell for people: one line that cannot deceive.
#[must_use]
pub fn shown(cell: Cell<'_>, kind: Kind) -> String {
    match (cell, kind) {
        (Cell::Null, _) => String::new(),
        (Cell::Integer(number), _) => number.to_string(),
        (Cell::Time(microseconds), _) => local(microseconds),
        (Cell::Text(text), _) => Escaped(text.as_bytes()).to_string(),
        (Cell::Octets(octets), Kind::Key) => octets
            .try_into()
            .map_or_else(|_| Escaped(octets).to_string(), |key| RequestKey(key).to_string()),
        (Cell::Octets(octets), _) => Escaped(octets).to_string(),
    }
}

/// A time for people, in the server's time zone.
#[must_use]
pub fn local(microseconds: i64) -> String {
    let Ok(time) = Timestamp::from_microsecond(microseconds) else { return String::new() };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// What stands in one column of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The column.
    pub name: &'static str,
    /// What it means.
    pub meaning: String,
    /// What stands there.
    pub value: String,
}

/// The columns of a request that have something in them, but for the checks.
#[must_use]
pub fn fields(row: &Row) -> Vec<Field> {
    let field = |(column, cell): (&crate::tracking::table::Column, Cell<'_>)| {
        let value = shown(cell, column.kind);
        (!value.is_empty() && column.name != "checks").then_some(Field {
            name: column.name,
            meaning: column.meaning.replace('`', ""),
            value,
        })
    };
    COLUMNS.iter().zip(row.cells()).filter_map(field).collect()
}

/// What one engine has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its ID.
    pub engine: String,
    /// The status that it gave.
    pub status: String,
    /// How long that took, in milliseconds.
    pub milliseconds: String,
    /// The text.
    pub text: String,
}

#[derive(Debug, Deserialize)]
struct Written {
    #[serde(default)]
    status: String,
    ms: Option<f64>,
    #[serde(default)]
    text: String,
}

/// What the engines have come to, in the order in which they ran.
#[must_use]
pub fn checks(row: &Row) -> Vec<Check> {
    let Cell::Text(text) = row.get("checks") else { return Vec::new() };
    in_order(text).unwrap_or_default()
}

/// The entries of an object in the order in which they are written.
fn in_order(text: &str) -> Result<Vec<Check>, serde_json::Error> {
    struct Entries;
    impl<'de> serde::de::Visitor<'de> for Entries {
        type Value = Vec<Check>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object with the outcome of every engine")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut checks = Vec::new();
            while let Some((engine, written)) = map.next_entry::<String, Written>()? {
                let shown = |text: &str| Escaped(text.as_bytes()).to_string();
                checks.push(Check {
                    engine: shown(&engine),
                    status: shown(&written.status),
                    milliseconds: written.ms.map(|ms| format!("{ms:.3}")).unwrap_or_default(),
                    text: shown(&written.text),
                });
            }
            Ok(checks)
        }
    }
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(text), Entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_told_in_the_order_in_which_they_ran_and_cannot_deceive() {
        let text =
            r#"{"spf":{"status":"fail","ms":1.5,"text":"<b>\u202e"},"rbl":{"status":"none"}}"#;
        let checks = in_order(text).unwrap();
        assert_eq!(checks[0].engine, "spf");
        assert_eq!(checks[0].milliseconds, "1.500");
        assert_eq!(checks[0].text, r"<b>\u{202e}");
        assert_eq!((checks[1].engine.as_str(), checks[1].text.as_str()), ("rbl", ""));
    }

    #[test]
    fn decisions_are_of_one_kind_by_word_or_code() {
        for (decision, kind) in [
            ("REJECT", "refused"),
            ("554", "refused"),
            ("450", "deferred"),
            ("DEFER_IF_PERMIT", "deferred"),
            ("DUNNO", "passed"),
            ("PREPEND", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of(decision), kind, "{decision}");
        }
    }
}
