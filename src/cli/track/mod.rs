//! `mppd track`: what became of requests. Finds rows in the records and shows them, as tables to
//! people and as JSON to machines.

mod cells;
pub(super) mod filter;
mod list;
mod paint;
pub(super) mod recorded;
mod refused;
mod show;
mod stats;
mod tail;

pub(super) use cells::plain;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use mppd_engine::Escaped;

use crate::tracking::search::{Place, QuestionError};
use crate::tracking::store::StoreError;

/// Looks into the records
#[derive(Debug, Args)]
pub struct TrackArguments {
    #[command(subcommand)]
    command: TrackCommand,
    /// Only where the requests of this policy group are put on record
    #[arg(long, global = true, value_name = "ID")]
    pub group: Option<String>,
}

impl TrackArguments {
    /// Whether rows of the records are looked for, and not those that were set aside.
    pub(super) fn looks_for_rows(&self) -> bool {
        !matches!(self.command, TrackCommand::Refused(_) | TrackCommand::Retry(_))
    }
}

#[derive(Debug, Subcommand)]
enum TrackCommand {
    /// Finds requests, newest first
    Search(list::SearchArguments),
    /// Tells the story of one message, or of one request
    Show(show::ShowArguments),
    /// Shows decisions as they are made, until it is interrupted
    Tail(tail::TailArguments),
    /// Counts what requests came to, those of the last 24 hours unless told otherwise
    Stats(stats::StatsArguments),
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

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub enum TrackError {
    /// The question cannot be understood.
    #[error("{}", Escaped(.0.to_string().as_bytes()))]
    Question(#[from] QuestionError),
    /// Not the key of a request.
    #[error("\"{}\" is no key of a request", Escaped(.0.as_bytes()))]
    Key(String),
    /// An engine whose statuses have no column.
    #[error(
        "the engine \"{}\" has no column of its own{}; --by engine counts what all engines said",
        Escaped(.id.as_bytes()),
        .near.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
    )]
    Engine {
        /// What was given.
        id: String,
        /// The one that was probably meant.
        near: Option<String>,
    },
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
        TrackCommand::Search(arguments) => list::run(arguments, places, output).await,
        TrackCommand::Show(arguments) => show::run(arguments, places, output).await,
        TrackCommand::Tail(arguments) => tail::run(arguments, places, output).await,
        TrackCommand::Stats(arguments) => stats::run(arguments, places, output).await,
        TrackCommand::Refused(arguments) => refused::list(places, arguments.json, output),
        TrackCommand::Retry(arguments) => refused::retry(places, &arguments.ids, output),
    }
}

/// Says which places could not be looked at.
fn report(failures: &[(String, StoreError)], output: &mut Output<'_>) -> io::Result<ExitCode> {
    for (place, error) in failures {
        let error = error.to_string();
        writeln!(output.errors, "cannot look into {place}: {}", Escaped(error.as_bytes()))?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
