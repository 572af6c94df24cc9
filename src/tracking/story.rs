//! A row as it is told to people: who asked for what, what each engine said, what was decided.
//!
//! The texts are those of the peers and are not made harmless here: whoever shows them must.

use std::time::Duration;

use mppd_engine::{Attribute, RequestKey};
use serde::{Deserialize, Serialize};

use super::row::{Cell, Row};
use super::search::{Found, Place, find, instance};
use super::store::StoreError;

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Told {
    /// Its key.
    pub id: String,
    /// When it came, in microseconds since 1970.
    pub received: Option<i64>,
    /// How long it took until the decision was recorded, in microseconds; none until then.
    pub took: Option<i64>,
    /// The SMTP command that was to be decided.
    pub stage: String,
    /// The client's address.
    pub client_address: String,
    /// The client's name.
    pub client_name: String,
    /// What the client said after HELO.
    pub helo_name: String,
    /// The sender; empty for the null sender.
    pub sender: String,
    /// The recipient.
    pub recipient: String,
    /// Who was logged in.
    pub sasl_username: String,
    /// The mail transaction.
    pub instance: String,
    /// The policy group.
    pub group: String,
    /// The node that answered.
    pub node: String,
    /// The request that this one repeats, and whose answer it got.
    pub repeat_of: Option<String>,
    /// What every engine said, in the order in which they ran.
    pub engines: Vec<Ran>,
    /// The action's word or code.
    pub decision: Option<String>,
    /// What follows that word.
    pub decision_text: Option<String>,
    /// The exception that ended the chains.
    pub error: Option<String>,
    /// Whether the row waits in the spool and is not in the database yet.
    pub spooled: bool,
}

/// What an engine said.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Ran {
    /// Its ID, `ID#2` where it ran again.
    pub id: String,
    /// Its status.
    pub status: String,
    /// How long it took.
    pub milliseconds: Option<f64>,
    /// What it said about it.
    pub text: Option<String>,
}

/// A message: all requests of one mail transaction.
#[derive(Debug, Default)]
pub struct Story {
    /// The requests, in the order in which they came.
    pub requests: Vec<Told>,
    /// The same as rows.
    pub rows: Vec<Found>,
    /// What went wrong, and where.
    pub failures: Vec<(String, StoreError)>,
}

/// Tells a mail transaction by its instance, or one request by its key: at most so many requests,
/// in at most this time for each place.
pub async fn story(places: &[Place], id: &str, limit: u32, time: Duration) -> Story {
    let answer = match super::key::parse(id) {
        Some(key) => find(places, key, time).await,
        None => instance(places, id, limit, time).await,
    };
    let requests = answer.rows.iter().map(Told::from).collect();
    Story { requests, rows: answer.rows, failures: answer.failures }
}

impl From<&Found> for Told {
    fn from(found: &Found) -> Self {
        let row = &found.row;
        let request = row.to_request().ok();
        let attribute = |attribute| {
            let octets = request.as_ref().map_or(&[][..], |request| request.get(attribute));
            String::from_utf8_lossy(octets).into_owned()
        };
        let given = |name| Some(text(row, name)).filter(|text| !text.is_empty());
        let received = time(row, "received_timestamp");
        let processed = time(row, "processed_timestamp");
        Told {
            id: row.key().map(|key| key.to_string()).unwrap_or_default(),
            received,
            took: received.zip(processed).map(|(begin, end)| end - begin),
            stage: attribute(Attribute::ProtocolState),
            client_address: attribute(Attribute::ClientAddress),
            client_name: attribute(Attribute::ClientName),
            helo_name: attribute(Attribute::HeloName),
            sender: attribute(Attribute::Sender),
            recipient: attribute(Attribute::Recipient),
            sasl_username: attribute(Attribute::SaslUsername),
            instance: attribute(Attribute::Instance),
            group: text(row, "group_id"),
            node: text(row, "node"),
            repeat_of: key(row, "repeat_of").map(|key| key.to_string()),
            engines: engines(row),
            decision: given("decision"),
            decision_text: given("decision_text"),
            error: given("error_text"),
            spooled: found.spooled,
        }
    }
}

fn text(row: &Row, column: &str) -> String {
    match row.get(column) {
        Cell::Text(text) => text.to_owned(),
        _ => String::new(),
    }
}

fn time(row: &Row, column: &str) -> Option<i64> {
    match row.get(column) {
        Cell::Time(microseconds) => Some(microseconds),
        _ => None,
    }
}

fn key(row: &Row, column: &str) -> Option<RequestKey> {
    match row.get(column) {
        Cell::Octets(octets) => octets.try_into().ok().map(RequestKey),
        _ => None,
    }
}

/// What every engine said; nothing where somebody else wrote what stands there.
fn engines(row: &Row) -> Vec<Ran> {
    match row.get("checks") {
        Cell::Text(checks) => read_checks(checks).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[derive(Deserialize)]
struct Check {
    #[serde(default)]
    status: String,
    ms: Option<f64>,
    text: Option<String>,
}

/// The checks in the order in which they ran, which a map would not keep.
pub(super) fn read_checks(text: &str) -> Option<Vec<Ran>> {
    serde_json::from_str(text).ok().map(|Checks(checks)| checks)
}

/// Whether this is what mppd writes about what the engines said.
#[must_use]
pub fn is_checks(text: &str) -> bool {
    read_checks(text).is_some()
}

struct Checks(Vec<Ran>);

impl<'de> Deserialize<'de> for Checks {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Checks;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of checks")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Checks, A::Error> {
                let mut checks = Vec::new();
                while let Some((id, Check { status, ms, text })) = map.next_entry()? {
                    checks.push(Ran { id, status, milliseconds: ms, text });
                }
                Ok(Checks(checks))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_stay_in_the_order_in_which_they_ran() {
        let checks = r#"{"b":{"status":"x","ms":0.25},"a":{"status":"y","ms":1.000,"text":"t"}}"#;
        let checks = read_checks(checks).unwrap();
        let ran = |id: &str, status: &str, ms, text: Option<&str>| Ran {
            id: id.into(),
            status: status.into(),
            milliseconds: Some(ms),
            text: text.map(Into::into),
        };
        assert_eq!(checks, [ran("b", "x", 0.25, None), ran("a", "y", 1.0, Some("t"))]);
        assert_eq!(read_checks("no json"), None);
        assert_eq!(read_checks("[1]"), None);
    }
}
