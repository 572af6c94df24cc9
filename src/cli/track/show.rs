//! `mppd track show`: the story of a message.

use std::io;
use std::process::ExitCode;

use clap::Args;
use mppd_engine::Escaped;

use super::cells::{local_time, print_json, show};
use super::filter::Patience;
use super::paint::Paint;
use super::{Output, TrackError, report};
use crate::cli::table::{table, trimmed};
use crate::tracking::row::Cell;
use crate::tracking::search::{Found, Place};
use crate::tracking::story::{Ran, Told, story};
use crate::tracking::table::{COLUMNS, Kind};

/// Most requests of one instance that are shown.
const MOST_OF_AN_INSTANCE: u32 = 10_000;

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The `instance` of a message, or the key of a request
    #[arg(value_name = "INSTANCE|ID")]
    id: String,
    /// Also shows every column
    #[arg(long)]
    all: bool,
    /// Prints one JSON object a line, as `search` does
    #[arg(long, conflicts_with = "all")]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(
    arguments: &ShowArguments,
    places: &[Place],
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let time = arguments.patience.time();
    let story = story(places, &arguments.id, MOST_OF_AN_INSTANCE, time).await;
    if arguments.json {
        print_json(&story.rows, output.out)?;
    } else {
        print_story(&story.requests, output)?;
    }
    if arguments.all {
        story.rows.iter().try_for_each(|found| print_row(found, output))?;
    }
    let code = report(&story.failures, output)?;
    if story.rows.is_empty() {
        writeln!(output.errors, "no such request: {}", Escaped(arguments.id.as_bytes()))?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(code)
}

fn print_story(requests: &[Told], output: &mut Output<'_>) -> io::Result<()> {
    let Some(first) = requests.first() else { return Ok(()) };
    let paint = Paint::new(output.is_terminal);
    if !first.instance.is_empty() {
        let title = format!("message {}", safe(&first.instance));
        write!(output.out, "{}: ", paint.strong(title))?;
    }
    let count = match requests.len() {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    };
    writeln!(output.out, "{count} of {}", client(first))?;
    let mut before = first.received;
    for (number, told) in requests.iter().enumerate() {
        writeln!(output.out)?;
        print_request(number + 1, told, before, paint, output)?;
        before = told.received;
    }
    Ok(())
}

fn client(told: &Told) -> String {
    let (address, name) = (safe(&told.client_address), safe(&told.client_name));
    let helo = safe(&told.helo_name);
    let mut text = if name.is_empty() { address } else { format!("{name} [{address}]") };
    if !helo.is_empty() {
        text = format!("{text}, helo {helo}");
    }
    if !told.sasl_username.is_empty() {
        text = format!("{text}, logged in as {}", safe(&told.sasl_username));
    }
    text
}

fn print_request(
    number: usize,
    told: &Told,
    before: Option<i64>,
    paint: Paint,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let received = local_time(told.received.map_or(Cell::Null, Cell::Time));
    let since = told.received.zip(before).map_or(0, |(now, before)| now - before);
    let later = if number > 1 { format!("  (+{})", span(since)) } else { String::new() };
    let stage = paint.strong(safe(&told.stage));
    writeln!(output.out, "{number}. {received}{later}  {stage}  {}", envelope(told))?;
    let mut about =
        vec![format!("group {}", safe(&told.group)), format!("node {}", safe(&told.node))];
    about.push(format!("id {}", told.id));
    if let Some(key) = &told.repeat_of {
        about.push(format!("repeats {key}"));
    }
    if told.spooled {
        about.push("waits for its database".to_owned());
    }
    writeln!(output.out, "   {}", paint.dim(about.join(", ")))?;
    let width = |of: fn(&Ran) -> &str| {
        told.engines.iter().map(|ran| safe(of(ran)).chars().count()).max().unwrap_or(0)
    };
    let (ids, statuses) = (width(|ran| &ran.id), width(|ran| &ran.status));
    for Ran { id, status, milliseconds, text } in &told.engines {
        let time = milliseconds.map(|time| format!("{time:.3} ms")).unwrap_or_default();
        let text = text.as_deref().map(safe).unwrap_or_default();
        let (id, status) = (safe(id), safe(status));
        let line = format!("   {id:ids$}  {status:statuses$}  {time:>12}  {text}");
        writeln!(output.out, "{}", line.trim_end())?;
    }
    let took = told.took.map(|time| format!("  (after {})", span(time))).unwrap_or_default();
    writeln!(output.out, "   → {}{took}", decision(told, paint))
}

fn envelope(told: &Told) -> String {
    let sender = if told.sender.is_empty() { "<>".to_owned() } else { safe(&told.sender) };
    match (told.sender.is_empty(), told.recipient.is_empty()) {
        (true, true) => String::new(),
        (_, true) => format!("from {sender}"),
        (_, false) => format!("from {sender} to {}", safe(&told.recipient)),
    }
}

fn decision(told: &Told, paint: Paint) -> String {
    let mut text = match (&told.decision, &told.decision_text) {
        (Some(word), Some(text)) => safe(&format!("{word} {text}")),
        (Some(word), None) => safe(word),
        (None, _) if told.error.is_some() || told.took.is_some() => "failed".to_owned(),
        (None, _) => return "not decided yet".to_owned(),
    };
    if let Some(error) = &told.error {
        text = format!("{text}: {}", safe(error));
    }
    paint.decision(text, told.decision.as_deref()).to_string()
}

fn safe(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

/// A span of time to people: `12.3 ms`, `4.56 s`, `1:02:03`.
fn span(microseconds: i64) -> String {
    let (milliseconds, rest) = (microseconds / 1_000, microseconds % 1_000);
    match milliseconds / 1_000 {
        0 => format!("{milliseconds}.{} ms", rest.abs() / 100),
        seconds @ 1..60 => format!("{seconds}.{:02} s", milliseconds % 1_000 / 10),
        seconds => {
            format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds.abs() % 60)
        }
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
    writeln!(output.out, "\n{}", trimmed(&columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_written_as_people_read_it() {
        assert_eq!(span(12_345), "12.3 ms");
        assert_eq!(span(4_567_000), "4.56 s");
        assert_eq!(span(3_723_000_000), "1:02:03");
    }
}
