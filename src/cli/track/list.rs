//! `mppd track search`: the requests that were found, one a line.

use std::io;
use std::process::ExitCode;

use clap::Args;
use jiff::{Timestamp, Zoned};
use mppd_engine::{Attribute, Escaped};

use super::cells::{local_time, print_json, show};
use super::filter::{Filter, Patience, Period, question};
use super::paint::Paint;
use super::{Output, TrackError, report};
use crate::cli::table::{table, trimmed};
use crate::tracking::key;
use crate::tracking::row::{Cell, Row};
use crate::tracking::search::{
    Answer, Found, Place, Question, bounded, bounded_always, count, page, plan,
};
use crate::tracking::store::Query;
use crate::tracking::table::Kind;

/// What to search for. What no key answers is looked for in the last 24 hours unless a time is given
#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    period: Period,
    /// Requests before the one of this key: the next page of a search
    #[arg(long, value_name = "KEY")]
    before: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "NUMBER")]
    limit: u32,
    /// Only prints how many there are
    #[arg(long, conflicts_with_all = ["limit", "plan"])]
    count: bool,
    /// Only prints the statements, and how the database goes about them
    #[arg(long)]
    plan: bool,
    /// Prints one JSON object a line: every column, NULL as null; `raw_request` as text in which
    /// every octet that is not printable US-ASCII is \xHH, a backslash \\ and a line feed \n
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

pub(super) async fn run(
    arguments: &SearchArguments,
    places: &[Place],
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let key = |text: &String| key::parse(text).ok_or_else(|| TrackError::Key(text.clone()));
    let before = arguments.before.as_ref().map(key).transpose()?;
    let question = question(&arguments.filter, Some(&arguments.period));
    let question = Question { before, limit: arguments.limit, ..question };
    let now = Zoned::now();
    let query = question.query(&now)?;
    if arguments.count {
        return print_count(arguments, places, bounded_always(query, now.timestamp()), output)
            .await;
    }
    let (query, since) = bounded(query, now.timestamp());
    if arguments.plan {
        return print_plan(arguments, places, &query, output).await;
    }
    let answer = page(places, &query, arguments.patience.time()).await;
    if arguments.json {
        print_json(&answer.rows, output.out)?;
    } else {
        print_list(&answer.rows, output)?;
    }
    if let (Some(since), None) = (since, answer.next) {
        say_since(since, output)?;
    }
    let code = report(&answer.failures, output)?;
    Ok(if say_reached(&answer, output)? { ExitCode::FAILURE } else { code })
}

/// Says how far a search has come whose time was over, and how it goes on.
fn say_reached(answer: &Answer, output: &mut Output<'_>) -> io::Result<bool> {
    let (Some(reached), Some(time)) = (answer.reached, answer.reached_time()) else {
        return Ok(false);
    };
    let time = local_time(Cell::Time(time));
    writeln!(
        output.errors,
        "the time was over: requests before {time} were not looked at; go on with --before \
         {reached}, or give it a longer --timeout"
    )?;
    Ok(true)
}

fn say_since(since: Timestamp, output: &mut Output<'_>) -> io::Result<()> {
    let since = local_time(Cell::Time(since.as_microsecond()));
    writeln!(output.errors, "only requests since {since} were looked at; --since goes further back")
}

async fn print_count(
    arguments: &SearchArguments,
    places: &[Place],
    (query, since): (Query, Option<Timestamp>),
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let count = count(places, &query.condition, arguments.patience.time()).await;
    if arguments.json {
        writeln!(output.out, "{{\"count\":{}}}", count.rows)?;
    } else {
        writeln!(output.out, "{}", count.rows)?;
    }
    if let Some(since) = since {
        say_since(since, output)?;
    }
    Ok(report(&count.failures, output)?)
}

async fn print_plan(
    arguments: &SearchArguments,
    places: &[Place],
    query: &Query,
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let (planned, failures) = plan(places, query, arguments.patience.time()).await;
    for step in planned {
        if arguments.json {
            writeln!(output.out, "{}", serde_json::to_string(&step).unwrap_or_default())?;
            continue;
        }
        writeln!(output.out, "{}: {}", step.place, step.sql)?;
        for line in step.plan {
            writeln!(output.out, "    {}", Escaped(line.as_bytes()))?;
        }
    }
    Ok(report(&failures, output)?)
}

fn print_list(rows: &[Found], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.errors, "nothing found");
    }
    let paint = Paint::new(output.is_terminal);
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
            decision(row, paint),
            format!("{}{note}", show(row.cell(0), Kind::Key)),
        ]);
    }
    writeln!(output.out, "{}", trimmed(&table))
}

fn decision(row: &Row, paint: Paint) -> String {
    let (text, word) = match (row.get("decision"), row.get("decision_text")) {
        (Cell::Text(word), Cell::Text(text)) => {
            (Escaped(format!("{word} {text}").as_bytes()).to_string(), Some(word))
        }
        (Cell::Text(word), _) => (Escaped(word.as_bytes()).to_string(), Some(word)),
        _ if row.is_processed() => ("(failed)".to_owned(), None),
        _ => return "(none yet)".to_owned(),
    };
    paint.decision(text, word).to_string()
}
