//! `mppd replay`: recorded requests through the configuration, and which decisions would change.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, Zoned};
use mppd_engine::Escaped;

use super::paint::Paint;
use super::track::filter::{Filter, Period, question};
use super::{Settings, UnknownGroup, places, print_text, refuse, track};
use crate::config::{Configuration, ConfigurationFile, LoadRequest, Rejected, load};
use crate::explain;
use crate::replay::report::{Cause, Example, Report};
use crate::replay::{DnsChoice, Replay, ReplayError};
use crate::tracking::search::QuestionError;

/// Exit codes: some decisions would change, and the replay could not be made.
const EXIT_CHANGED: u8 = 1;
const EXIT_FAILED: u8 = 2;

/// Options of `mppd replay`
#[derive(Debug, Args)]
pub(super) struct ReplayArguments {
    /// The configuration that says where the records are; the same one unless given
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Only the records of this policy group
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    #[command(flatten)]
    period: Period,
    #[command(flatten)]
    filter: Filter,
    /// What engines that ask name servers come to
    #[arg(long, value_enum, default_value_t = Dns::Recorded)]
    dns: Dns,
    /// An engine that comes to what it came to then, by its full ID; may be given many times. Those that
    /// ask databases, directories, web services, mail or policy servers always do
    #[arg(long, value_name = "ENGINE")]
    recorded: Vec<String>,
    /// Threads; one for each core unless given, and one only where engines remember (greylist,
    /// threshold, …), as what they come to depends on the order of the requests
    #[arg(long, value_name = "NUMBER")]
    workers: Option<usize>,
    /// Requests that are shown of each cause
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    examples: usize,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dns {
    /// What they came to then
    Recorded,
    /// What they come to now
    Live,
    /// Nothing
    None,
}

impl From<Dns> for DnsChoice {
    fn from(dns: Dns) -> Self {
        match dns {
            Dns::Recorded => DnsChoice::Recorded,
            Dns::Live => DnsChoice::Live,
            Dns::None => DnsChoice::None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the configuration has errors")]
    Rejected(Rejected),
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    #[error(transparent)]
    Question(#[from] QuestionError),
    #[error("no chain names an engine {0}")]
    Engine(String),
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error("can't print: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(settings: &Settings, arguments: &ReplayArguments) -> ExitCode {
    let report = match replay(settings, arguments) {
        Ok(report) => report,
        Err(Error::Rejected(rejected)) => return refuse(&rejected),
        Err(error) => return failed(&error),
    };
    let shown = match shown(&report, arguments.json) {
        Ok(shown) => shown,
        Err(error) => return failed(&error),
    };
    match (print_text(&shown), report.changed) {
        (ExitCode::SUCCESS, 0) => ExitCode::SUCCESS,
        (ExitCode::SUCCESS, _) => ExitCode::from(EXIT_CHANGED),
        _ => ExitCode::from(EXIT_FAILED),
    }
}

fn shown(report: &Report, as_json: bool) -> Result<String, Error> {
    if as_json {
        return Ok(format!("{}\n", track::plain(&serde_json::to_string(report)?)));
    }
    Ok(text(report, Paint { is_terminal: std::io::stdout().is_terminal() }))
}

fn failed(error: &Error) -> ExitCode {
    eprintln!("mppd replay: {error}");
    ExitCode::from(EXIT_FAILED)
}

fn replay(settings: &Settings, arguments: &ReplayArguments) -> Result<Report, Error> {
    let request = settings.load_request();
    let plan = explain::load(&request, &settings.kinds).map_err(Error::Rejected)?;
    let records = records(&plan.configuration, request, arguments)?;
    if let Some(unknown) = arguments
        .recorded
        .iter()
        .find(|id| !plan.blueprint.engines.iter().any(|engine| *engine.id == **id))
    {
        return Err(Error::Engine(Escaped(unknown.as_bytes()).to_string()));
    }
    let question = question(&arguments.filter, Some(&arguments.period));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let replay = Replay {
        places: records,
        condition: question.query(&Zoned::now())?.condition,
        dns: arguments.dns.into(),
        recorded: arguments.recorded.iter().cloned().collect(),
        workers: arguments.workers.unwrap_or(cores),
        examples: arguments.examples,
    };
    let remembering = replay.in_order_for(&plan);
    if arguments.workers.is_some_and(|workers| workers > 1) && !remembering.is_empty() {
        let engines = remembering.join(", ");
        eprintln!(
            "mppd replay: one thread is used, as requests must keep their order for {engines}"
        );
    }
    let bar = progress(&replay)?;
    let report = replay.run(plan, &|count| {
        if let Some(bar) = &bar {
            bar.inc(count);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(report?)
}

/// Where the records are.
fn records(
    configuration: &Configuration,
    request: LoadRequest,
    arguments: &ReplayArguments,
) -> Result<Vec<crate::tracking::search::Place>, Error> {
    let group = arguments.group.as_deref();
    let Some(path) = &arguments.records else { return Ok(places(configuration, group)?) };
    let file = ConfigurationFile::Path(path.clone());
    let other = load(&LoadRequest { file, ..request }).map_err(Error::Rejected)?;
    Ok(places(&other, group)?)
}

/// A bar for people who wait.
fn progress(replay: &Replay) -> Result<Option<ProgressBar>, Error> {
    if !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len}, {eta}");
    let bar = ProgressBar::new(replay.count()?);
    Ok(Some(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))))
}

fn text(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{}", line.trim_end());
    };
    let Report { requests, same, changed, other_text, repeats, undecided, .. } = report;
    line(format!("{requests} requests: {same} decided the same, {changed} otherwise"));
    if *other_text > 0 {
        line(format!("{other_text} of the same decisions have another text"));
    }
    if *repeats > 0 {
        line(format!("{repeats} repeat others and were passed over"));
    }
    if *undecided > 0 {
        line(format!("{undecided} were never decided and were passed over"));
    }
    for (engine, count) in &report.not_asked {
        let said = "was not asked, and the records do not say what it came to:";
        line(paint.yellow(format!("{} {said} {count} times", safe(engine))));
    }
    for (engine, count) in &report.failed {
        let said = "failed, or was suspended as it kept failing:";
        line(paint.yellow(format!("{} {said} {count} times", safe(engine))));
    }
    for cause in &report.causes {
        line(String::new());
        line(heading(cause, paint));
        for example in &cause.examples {
            line(format!("  {}", paint.dim(about(example))));
            line(format!("    {} -> {}", safe(&example.old), safe(&example.new)));
        }
    }
    text
}

fn heading(cause: &Cause, paint: Paint) -> String {
    let Cause { engine, old_status, new_status, old_decision, new_decision, .. } = cause;
    let decisions = format!("{} -> {}", safe(old_decision), safe(new_decision));
    let why = match engine {
        Some(engine) if old_status == new_status => {
            format!("{} {}, which now does something else", safe(engine), safe(new_status))
        }
        Some(engine) => {
            format!("{} {} -> {}", safe(engine), safe(old_status), safe(new_status))
        }
        None => "what happens without an engine that decides".to_owned(),
    };
    format!("{}  {}  ({why})", paint.bold(cause.requests), paint.bold(decisions))
}

fn about(example: &Example) -> String {
    let received = crate::tracking::key::parse(&example.id).and_then(|key| {
        let milliseconds =
            key.0.get(..6)?.iter().fold(0i64, |sum, octet| (sum << 8) | i64::from(*octet));
        Timestamp::from_millisecond(milliseconds).ok()
    });
    let time = received.map(|time| format!("  {time:.0}")).unwrap_or_default();
    let Example { id, client_address, sender, recipient, .. } = example;
    let (client, sender) = (safe(client_address), safe(sender));
    format!("{id}{time}  {client}  from <{sender}> to <{}>", safe(recipient))
}

fn safe(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}
