//! `mppd status` and `mppd reload`: asks the server that runs.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mppd_engine::Escaped;

use super::{EXIT_CONFIGURATION, Settings, print_text};
use crate::config::draft;
use crate::config::limits::Limits;
use crate::control::client::{ControlError, ask};
use crate::control::{Answer, Question};
use crate::status::{ServerStatus, StateStoreStatus, troubles};
use crate::tracking::TrackerStatus;
use crate::traffic::TrafficStatus;

/// Exit code where no server runs.
const EXIT_NOT_RUNNING: u8 = 3;

/// Which server is asked.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Its state directory; unless given that of the configuration
    #[arg(long, value_name = "DIRECTORY")]
    state_directory: Option<PathBuf>,
}

/// Options of `mppd status`.
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    server: ServerArguments,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Options of `mppd reload`.
#[derive(Debug, Args)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) fn status(settings: &Settings, arguments: &StatusArguments) -> ExitCode {
    match question(settings, &arguments.server, Question::Status) {
        Ok(Answer::Status { status }) if arguments.json => match serde_json::to_string(&status) {
            Ok(json) => print_text(&format!("{}\n", super::track::plain(&json))),
            Err(error) => fail("status", &error.to_string()),
        },
        Ok(Answer::Status { status }) => {
            let printed = print_text(&screen(&status));
            if troubles(&status).is_empty() { printed } else { ExitCode::FAILURE }
        }
        Ok(Answer::Failed { reason }) => fail("status", &reason),
        Ok(_) => fail("status", "mppd answered another question"),
        Err(code) => code,
    }
}

pub(super) fn reload(settings: &Settings, arguments: &ReloadArguments) -> ExitCode {
    let color = std::io::stderr().is_terminal();
    match question(settings, &arguments.server, Question::Reload { color }) {
        Ok(Answer::Reloaded { report }) => {
            eprint!("{report}");
            println!("The configuration is in force.");
            ExitCode::SUCCESS
        }
        Ok(Answer::Refused { report, is_faulty: true }) => {
            eprint!("{report}");
            eprintln!("The old configuration stays in force.");
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Ok(Answer::Refused { report, is_faulty: false }) => {
            let reason = Escaped(report.as_bytes()).to_string();
            fail("reload", &format!("{reason}\nThe old configuration stays in force."))
        }
        Ok(Answer::Failed { reason }) => fail("reload", &reason),
        Ok(Answer::Status { .. }) => fail("reload", "mppd answered another question"),
        Err(code) => code,
    }
}

fn fail(command: &str, reason: &str) -> ExitCode {
    eprintln!("mppd {command}: {reason}");
    ExitCode::FAILURE
}

fn question(
    settings: &Settings,
    server: &ServerArguments,
    question: Question,
) -> Result<Answer, ExitCode> {
    let Some(directory) = server.state_directory.clone().or_else(|| configured(settings)) else {
        eprintln!(
            "mppd: the configuration does not say where the server is; --state-directory does"
        );
        return Err(ExitCode::FAILURE);
    };
    ask(&directory, question).map_err(|error| {
        eprintln!("mppd: {}", Escaped(error.to_string().as_bytes()));
        match error {
            ControlError::NotRunning(_) => ExitCode::from(EXIT_NOT_RUNNING),
            _ => ExitCode::FAILURE,
        }
    })
}

/// The state directory of a configuration that may be broken: that it is, is a reason to ask.
fn configured(settings: &Settings) -> Option<PathBuf> {
    let draft = draft(&settings.load_request(), &Limits::default());
    draft.common.map(|common| common.state_directory)
}

/// The status on a screen.
fn screen(status: &ServerStatus) -> String {
    let mut screen = Screen::default();
    show_process(&mut screen, status);
    show_traffic(&mut screen, &status.traffic);
    for tracker in &status.trackers {
        let TrackerStatus { records, rows, spooled, waiting, .. } = tracker;
        let text =
            format!("{records}: {rows} rows written, {spooled} in the spool, {waiting} waiting");
        screen.line("records", &text);
    }
    if let Some(store) = &status.state_store {
        screen.line("state store", &state_store(store));
    }
    for trouble in troubles(status) {
        screen.line("!", &trouble);
    }
    for finding in status.configuration.refused.iter().flat_map(|refused| &refused.findings) {
        screen.line("", finding);
    }
    screen.0
}

fn show_process(screen: &mut Screen, status: &ServerStatus) {
    let ServerStatus { configuration, version, node, pid, started, .. } = status;
    let stopping = if status.stopping { ", about to end" } else { "" };
    let text = format!("{version} on {node}, process {pid}, since {started}{stopping}");
    screen.line("mppd", &text);
    screen.line("listening", &status.listening.join("  "));
    screen.line("configuration", &format!("in force since {}", configuration.loaded));
    for file in &configuration.changed {
        screen.line("", &format!("changed since then: {file}"));
    }
}

fn show_traffic(screen: &mut Screen, traffic: &TrafficStatus) {
    let connections = format!(
        "{} open, {} taken in, {} refused at a limit, {} too slow, {} with bad input",
        traffic.connections, traffic.accepted, traffic.refused, traffic.too_slow, traffic.bad_input
    );
    screen.line("connections", &connections);
    let requests = format!(
        "{} under way ({} octets), {} answered, {} of them shed",
        traffic.requests, traffic.memory, traffic.answered, traffic.shed
    );
    screen.line("requests", &requests);
}

fn state_store(status: &StateStoreStatus) -> String {
    let is_there = if status.away_since.is_some() { "away" } else { "there" };
    let mut text = format!("{}: {is_there}", status.store);
    let counts = [("records", status.records), ("gave way to others", status.evicted)];
    for (what, count) in counts {
        if let Some(count) = count {
            // Writing to a String can't fail.
            let _infallible = write!(text, ", {count} {what}");
        }
    }
    text
}

/// Lines of a name and what there is to say.
#[derive(Default)]
struct Screen(String);

impl Screen {
    fn line(&mut self, name: &str, text: &str) {
        // Writing to a String can't fail.
        let _infallible = writeln!(self.0, "{name:<15}{}", Escaped(text.as_bytes()));
    }
}
