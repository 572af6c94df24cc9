//! `mppd track`: what became of requests. Finds rows in the records and shows them, as tables to
//! people and as JSON to machines.

mod refused;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::{Timestamp, Zoned};
use mppd_engine::{Attribute, Escaped};

use super::table::{table, trimmed};
use crate::tracking::key;
use crate::tracking::row::{Cell, Row};
use crate::tracking::search::{Answer, Found, Place, Question, QuestionError, find, search};
use crate::tracking::store::{Condition, Query};
use crate::tracking::table::{COLUMNS, Kind};

/// Most requests of one instance that are shown.
const MOST_OF_AN_INSTANCE: u32 = 10_000;

/// Looks into the records
#[derive(Debug, Args)]
pub struct TrackArguments {
    #[command(subcommand)]
    command: TrackCommand,
    /// Only where the requests of this policy group are put on record
    #[arg(long, global = true, value_name = "ID")]
    pub group: Option<String>,
}

#[derive(Debug, Subcommand)]
enum TrackCommand {
    /// Finds requests, newest first
    Search(SearchArguments),
    /// Shows everything about one request, or about all of one message
    Show(ShowArguments),
    /// Lists the rows that a database refused for what they hold, and why: they are set aside in its
    /// spool
    Refused(RefusedArguments),
    /// Has refused rows tried again: by a running mppd within seconds, else when it starts
    Retry(RetryArguments),
}

#[derive(Debug, Args)]
struct RefusedArguments {
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RetryArguments {
    /// Keys of requests; all refused rows unless given
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

/// What to search for; everything that is said must hold. Times are local: 2h, "3 days",
/// yesterday, 13:00, 2026-11-22, "2026-11-22 13:00"
#[derive(Debug, Args)]
struct SearchArguments {
    /// Sender: an address, a domain, or <> for the null sender
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    sender: Option<String>,
    /// Recipient: an address or a domain
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    recipient: Option<String>,
    /// Sender or recipient in this domain or below it
    #[arg(long)]
    domain: Option<String>,
    /// Client: an address, or the beginning of one (192.0.2.0/24, 192.0.2., 2001:db8:)
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Decision: an action such as REJECT, or a code such as 450
    #[arg(long, value_name = "ACTION")]
    decision: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after this time, or this day
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// On this day
    #[arg(long, value_name = "DAY", conflicts_with_all = ["since", "until"])]
    on: Option<String>,
    /// Requests of this mail transaction
    #[arg(long)]
    instance: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: u32,
    /// Prints one JSON object a line: every column, NULL as null; `raw_request` as text in which
    /// every octet that is not printable US-ASCII is \xHH, a backslash \\ and a line feed \n
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// Key of a request, or the `instance` of a message
    #[arg(value_name = "ID|INSTANCE")]
    id: String,
    /// Prints one JSON object a line, as `search` does
    #[arg(long)]
    json: bool,
}

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// The question cannot be understood.
    #[error(transparent)]
    Question(#[from] QuestionError),
    /// Not the key of a request.
    #[error("\"{}\" is no key of a request", Escaped(.0.as_bytes()))]
    Key(String),
    /// Nobody reads what is printed.
    #[error("the answer cannot be printed: {0}")]
    Output(#[from] io::Error),
}

/// Where the answer goes.
pub struct Output<'a> {
    /// What is found.
    pub out: &'a mut dyn Write,
    /// What went wrong.
    pub errors: &'a mut dyn Write,
    /// Whether `out` is a terminal.
    pub is_terminal: bool,
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("is_terminal", &self.is_terminal).finish_non_exhaustive()
    }
}

/// Does what the arguments say with the records in these places. Exit code 1 where something could
/// not be looked at, or where the request to be shown is not there.
///
/// # Errors
/// A question that cannot be understood; an output that is closed.
pub async fn run(
    arguments: &TrackArguments,
    places: &[Place],
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    match &arguments.command {
        TrackCommand::Search(arguments) => {
            let query = arguments.question().query(&Zoned::now())?;
            let answer = search(places, &query).await;
            if arguments.json {
                print_json(&answer.rows, output.out)?;
            } else {
                print_list(&answer.rows, output)?;
            }
            report(&answer, output)
        }
        TrackCommand::Show(arguments) => {
            let answer = look_up(&arguments.id, places).await;
            if arguments.json {
                print_json(&answer.rows, output.out)?;
            } else {
                answer.rows.iter().try_for_each(|found| print_row(found, output))?;
            }
            let code = report(&answer, output)?;
            if answer.rows.is_empty() {
                writeln!(output.errors, "no such request: {}", Escaped(arguments.id.as_bytes()))?;
                return Ok(ExitCode::FAILURE);
            }
            Ok(code)
        }
        TrackCommand::Refused(arguments) => refused::list(places, arguments.json, output),
        TrackCommand::Retry(arguments) => refused::retry(places, &arguments.ids, output),
    }
}

impl SearchArguments {
    fn question(&self) -> Question {
        Question {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            domain: self.domain.clone(),
            client: self.client.clone(),
            decision: self.decision.clone(),
            since: self.since.clone(),
            until: self.until.clone(),
            on: self.on.clone(),
            instance: self.instance.clone(),
            limit: self.limit,
        }
    }
}

async fn look_up(id: &str, places: &[Place]) -> Answer {
    if let Some(key) = key::parse(id) {
        return find(places, key).await;
    }
    let query = Query {
        condition: Condition::Equals("instance", id.to_owned()),
        limit: MOST_OF_AN_INSTANCE,
        newest_first: false,
    };
    search(places, &query).await
}

fn report(answer: &Answer, output: &mut Output<'_>) -> Result<ExitCode, TrackError> {
    for (place, error) in &answer.failures {
        let error = error.to_string();
        writeln!(output.errors, "cannot look into {place}: {}", Escaped(error.as_bytes()))?;
    }
    Ok(if answer.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_list(rows: &[Found], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.errors, "nothing found");
    }
    let mut table = table(output.is_terminal);
    table.set_header(["received", "client", "sender", "recipient", "stage", "decision", "id"]);
    for Found { row, spooled } in rows {
        let request = row.to_request().ok();
        let attribute = |attribute| {
            let octets = request.as_ref().map_or(&[][..], |request| request.get(attribute));
            Escaped(octets).to_string()
        };
        let note = if *spooled { " (in the spool)" } else { "" };
        table.add_row([
            local_time(row.get("received_timestamp")),
            attribute(Attribute::ClientAddress),
            attribute(Attribute::Sender),
            attribute(Attribute::Recipient),
            attribute(Attribute::ProtocolState),
            decision(row),
            format!("{}{note}", show(row.cell(0), Kind::Key)),
        ]);
    }
    writeln!(output.out, "{}", trimmed(&table))
}

fn decision(row: &Row) -> String {
    match (row.get("decision"), row.get("decision_text")) {
        (Cell::Text(word), Cell::Text(text)) => {
            Escaped(format!("{word} {text}").as_bytes()).to_string()
        }
        (Cell::Text(word), _) => Escaped(word.as_bytes()).to_string(),
        _ => "(none yet)".to_owned(),
    }
}

fn print_row(found: &Found, output: &mut Output<'_>) -> io::Result<()> {
    let mut columns = table(output.is_terminal);
    for (column, cell) in COLUMNS.iter().zip(found.row.cells()) {
        if cell == Cell::Null || column.kind == Kind::Json {
            continue;
        }
        let value = match column.kind {
            Kind::Time => local_time(cell),
            kind => show(cell, kind),
        };
        columns.add_row([column.name.to_owned(), value]);
    }
    if found.spooled {
        columns.add_row(["spooled", "waits for its database"]);
    }
    writeln!(output.out, "{}\n", trimmed(&columns))?;
    print_checks(&found.row, output)
}

fn print_checks(row: &Row, output: &mut Output<'_>) -> io::Result<()> {
    let Cell::Text(checks) = row.get("checks") else { return Ok(()) };
    let Ok(Checks(checks)) = serde_json::from_str(checks) else {
        return writeln!(output.out, "checks {}\n", Escaped(checks.as_bytes()));
    };
    let mut table = table(output.is_terminal);
    table.set_header(["check", "status", "milliseconds", "text"]);
    for (id, check) in checks {
        let text = |name| match check.get(name) {
            Some(serde_json::Value::String(text)) => Escaped(text.as_bytes()).to_string(),
            Some(other) => Escaped(other.to_string().as_bytes()).to_string(),
            None => String::new(),
        };
        table.add_row([
            Escaped(id.as_bytes()).to_string(),
            text("status"),
            text("ms"),
            text("text"),
        ]);
    }
    writeln!(output.out, "{}\n", trimmed(&table))
}

// The checks in the order in which they ran, which a map of serde_json would not keep.
struct Checks(Vec<(String, serde_json::Value)>);

impl<'de> serde::Deserialize<'de> for Checks {
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
                while let Some(check) = map.next_entry()? {
                    checks.push(check);
                }
                Ok(Checks(checks))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

fn local_time(cell: Cell<'_>) -> String {
    let Cell::Time(microseconds) = cell else { return String::new() };
    let Ok(time) = Timestamp::from_microsecond(microseconds) else { return String::new() };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

fn show(cell: Cell<'_>, kind: Kind) -> String {
    match (cell, kind) {
        (Cell::Null, _) => String::new(),
        (Cell::Integer(number), _) => number.to_string(),
        (Cell::Time(_), _) => local_time(cell),
        (Cell::Text(text), _) => Escaped(text.as_bytes()).to_string(),
        (Cell::Octets(octets), Kind::Key) => show_key(octets),
        (Cell::Octets(octets), _) => escaped_octets(octets),
    }
}

fn show_key(octets: &[u8]) -> String {
    match octets.try_into() {
        Ok(key) => mppd_engine::RequestKey(key).to_string(),
        Err(_) => escaped_octets(octets),
    }
}

fn escaped_octets(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 16);
    for octet in octets {
        match octet {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(*octet)),
            _ => {
                // Writing to a String cannot fail.
                let _infallible = write!(text, "\\x{octet:02x}");
            }
        }
    }
    text
}

fn print_json(rows: &[Found], out: &mut dyn Write) -> io::Result<()> {
    for Found { row, spooled } in rows {
        write!(out, "{{")?;
        for (column, cell) in COLUMNS.iter().zip(row.cells()) {
            write!(out, "\"{}\":{},", column.name, json(cell, column.kind))?;
        }
        writeln!(out, "\"spooled\":{spooled}}}")?;
    }
    Ok(())
}

fn json(cell: Cell<'_>, kind: Kind) -> String {
    match (cell, kind) {
        (Cell::Null, _) => "null".to_owned(),
        (Cell::Integer(number), _) => number.to_string(),
        (Cell::Time(microseconds), _) => match Timestamp::from_microsecond(microseconds) {
            Ok(time) => format!("\"{time:.6}\""),
            Err(_) => "null".to_owned(),
        },
        (Cell::Text(text), Kind::Json) if serde_json::from_str::<Checks>(text).is_ok() => {
            plain(text)
        }
        (Cell::Text(text), _) => plain(&serde_json::Value::from(text).to_string()),
        (Cell::Octets(octets), Kind::Key) => format!("\"{}\"", show_key(octets)),
        (Cell::Octets(octets), _) => serde_json::Value::from(escaped_octets(octets)).to_string(),
    }
}

// JSON in which everything that a terminal could obey is an escape.
pub(super) fn plain(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        let is_shown = character.is_ascii_graphic()
            || character == ' '
            || (!character.is_ascii() && character.escape_debug().len() == 1);
        if is_shown {
            plain.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            // Writing to a String cannot fail.
            let _infallible = write!(plain, "\\u{unit:04x}");
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_command_a_terminal() {
        let hostile = "a\"\u{1b}[2J\u{9b}\u{202e}\u{7f}\u{e0001}ö";
        let shown = json(Cell::Text(hostile), Kind::Text);
        assert_eq!(shown, r#""a\"\u001b[2J\u009b\u202e\u007f\udb40\udc01ö""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), hostile);
    }

    #[test]
    fn octets_are_shown_as_escapes() {
        assert_eq!(escaped_octets(b"a=\\\xff\n\x1b"), "a=\\\\\\xff\\n\\x1b");
    }

    #[test]
    fn checks_stay_in_the_order_in_which_they_ran() {
        let checks = r#"{"b":{"status":"x","ms":0.001},"a":{"status":"y","ms":1.000}}"#;
        assert_eq!(json(Cell::Text(checks), Kind::Json), checks);
        let Checks(checks) = serde_json::from_str(checks).unwrap();
        assert_eq!(checks.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(json(Cell::Text("no json"), Kind::Json), "\"no json\"");
    }

    #[test]
    fn a_time_in_json_is_utc() {
        let shown = json(Cell::Time(1_795_352_400_000_042), Kind::Time);
        assert_eq!(shown, "\"2026-11-22T13:00:00.000042Z\"");
    }
}
