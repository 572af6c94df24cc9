//! `mppd check`: reads the configuration, builds everything, touches nothing. With `--connect` it
//! tries everything that the configuration connects to.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mppd_engine::Escaped;
use mppd_engine::config::Period;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as ValueError, StrDeserializer};

use super::paint::Paint;
use super::{EXIT_CONFIGURATION, Settings, print_findings, print_text, refuse};
use crate::connections::{self, Tried};
use crate::log;
use crate::plan::Plan;

/// Options of `mppd check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Warnings count as errors
    #[arg(long)]
    deny_warnings: bool,
    /// Also tries everything that the configuration connects to: databases, the state store, name
    /// servers, directories, services. Nothing is written. Exit code 1 where something is out of
    /// reach
    #[arg(long)]
    connect: bool,
    /// With --connect: how long each try may take
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = period, requires = "connect")]
    timeout: Duration,
    /// With --connect: prints one JSON object a line, of each try
    #[arg(long, requires = "connect")]
    json: bool,
}

/// A time as the configuration writes it.
fn period(text: &str) -> Result<Duration, String> {
    let text: StrDeserializer<'_, ValueError> = text.into_deserializer();
    match Period::deserialize(text) {
        Ok(Period(time)) if time.is_zero() => Err("0 makes no sense here".to_owned()),
        Ok(Period(time)) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(settings: &Settings, arguments: &CheckArguments) -> ExitCode {
    let plan = match Plan::load(&settings.load_request(), &settings.kinds, &log::silent()) {
        Ok(plan) => plan,
        Err(rejected) => return refuse(&rejected),
    };
    if !plan.configuration.warnings.is_empty() {
        print_findings(&plan.configuration.sources, &plan.configuration.warnings);
        if arguments.deny_warnings {
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    }
    if !arguments.json {
        println!("The configuration is good.");
    }
    if !arguments.connect {
        return ExitCode::SUCCESS;
    }
    match attempt_all(&plan, arguments.timeout) {
        Ok(tried) => show(&tried, arguments.json),
        Err(error) => fail(&error.to_string()),
    }
}

fn attempt_all(plan: &Plan, limit: Duration) -> std::io::Result<Vec<Tried>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { connections::attempt_all(connections::of(plan), limit).await }))
}

fn show(tried: &[Tried], as_json: bool) -> ExitCode {
    let text = if as_json {
        match objects(tried) {
            Ok(text) => text,
            Err(error) => return fail(&error.to_string()),
        }
    } else {
        screen(tried, Paint { is_terminal: std::io::stdout().is_terminal() })
    };
    let printed = print_text(&text);
    if tried.iter().all(|tried| tried.reached) { printed } else { ExitCode::FAILURE }
}

/// One object a line.
fn objects(tried: &[Tried]) -> serde_json::Result<String> {
    let mut text = String::new();
    for tried in tried {
        text.push_str(&super::track::plain(&serde_json::to_string(tried)?));
        text.push('\n');
    }
    Ok(text)
}

/// One line for each, and how many failed.
fn screen(tried: &[Tried], paint: Paint) -> String {
    let lines: String = tried.iter().map(|tried| line(tried, paint)).collect();
    let failed = tried.iter().filter(|tried| !tried.reached).count();
    let end = match (tried.len(), failed) {
        (0, _) => "It connects to nothing.".to_owned(),
        (1, 0) => "The one connection works.".to_owned(),
        (all, 0) => format!("All {all} connections work."),
        (all, failed) => format!("{failed} of {all} connections failed."),
    };
    format!("{lines}{end}\n")
}

fn line(Tried { by, target, reached, text, help, .. }: &Tried, paint: Paint) -> String {
    let result = if *reached { paint.green("ok    ") } else { paint.red("failed") };
    let shown = |text: &str| Escaped(text.as_bytes()).to_string();
    let help = help.as_ref().map(|help| format!("; {}", paint.yellow(help)));
    let (by, target) = (paint.bold(by), shown(target));
    format!("{result}  {by}  {target}  {}{}\n", shown(text), help.unwrap_or_default())
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("mppd check: {reason}");
    ExitCode::FAILURE
}
