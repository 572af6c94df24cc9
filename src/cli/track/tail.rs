//! `mppd track tail`: one line for each decision, as they are made.

use std::io;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::Zoned;
use mppd_engine::Escaped;
use tokio::signal::unix::{SignalKind, signal};

use super::cells::{local_time, print_json};
use super::filter::{Filter, question};
use super::paint::Paint;
use super::{Output, TrackError};
use crate::tracking::row::Cell;
use crate::tracking::search::{Found, Place};
use crate::tracking::story::Told;
use crate::tracking::tail::{News, Tail, TailOptions};

/// How long to wait until looking again.
const PAUSE: Duration = Duration::from_secs(1);

/// What to follow. Rows that appear late, out of a spool or from a node that is slow, are shown when
/// they appear, unless they are older than --look-back
#[derive(Debug, Args)]
pub(super) struct TailArguments {
    #[command(flatten)]
    filter: Filter,
    /// Begins with the last so many of those within --look-back
    #[arg(short = 'n', long, default_value_t = 10, value_name = "NUMBER")]
    lines: usize,
    /// How long after its request a row may appear and still be shown, in seconds
    #[arg(long, default_value_t = 180, value_name = "SECONDS")]
    look_back: u32,
    /// Prints one JSON object a line, as `search` does
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    arguments: &TailArguments,
    places: &[Place],
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let condition = question(&arguments.filter, None).query(&Zoned::now())?.condition;
    let look_back = Duration::from_secs(arguments.look_back.into());
    let options = TailOptions { look_back, ..TailOptions::default() };
    let mut tail = Tail::new(places, condition, options);
    let mut end = pin!(end_wanted());
    loop {
        let news = tokio::select! {
            news = tail.look(arguments.lines) => news,
            () = &mut end => break,
        };
        print(&news, arguments.json, output)?;
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = &mut end => break,
        }
    }
    tail.end().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits until somebody wants the end, which is heard from when this is called. Where nobody can say
/// so it never comes.
fn end_wanted() -> impl Future<Output = ()> {
    let interrupts = signal(SignalKind::interrupt());
    async {
        match interrupts {
            Ok(mut interrupts) => drop(interrupts.recv().await),
            Err(_) => std::future::pending().await,
        }
    }
}

fn print(news: &News, as_json: bool, output: &mut Output<'_>) -> io::Result<()> {
    for place in &news.back {
        writeln!(output.errors, "{place} can be looked at again")?;
    }
    for (place, error) in &news.lost {
        let error = error.to_string();
        let error = Escaped(error.as_bytes());
        writeln!(output.errors, "cannot look into {place}: {error}; going on without it")?;
    }
    if as_json {
        print_json(&news.rows, output.out)?;
    } else {
        let paint = Paint::new(output.is_terminal);
        news.rows.iter().try_for_each(|found| print_line(found, paint, output))?;
    }
    output.out.flush()
}

fn print_line(found: &Found, paint: Paint, output: &mut Output<'_>) -> io::Result<()> {
    let told = Told::from(found);
    let safe = |text: &str| Escaped(text.as_bytes()).to_string();
    let time = paint.dim(local_time(told.received.map_or(Cell::Null, Cell::Time)));
    let (stage, client) = (safe(&told.stage), safe(&told.client_address));
    let sender = if told.sender.is_empty() { "<>".to_owned() } else { safe(&told.sender) };
    let recipient = if told.recipient.is_empty() { "-".to_owned() } else { safe(&told.recipient) };
    let text = match (&told.decision, &told.decision_text, &told.error) {
        (Some(word), Some(text), _) => safe(&format!("{word} {text}")),
        (Some(word), None, _) => safe(word),
        (None, _, Some(error)) => format!("failed: {}", safe(error)),
        (None, _, None) => "failed".to_owned(),
    };
    let decision = paint.decision(text, told.decision.as_deref());
    let note = if told.spooled { "  (in the spool)" } else { "" };
    let line = format!("{time}  {stage}  {client}  {sender} → {recipient}  {decision}{note}");
    writeln!(output.out, "{line}")
}
