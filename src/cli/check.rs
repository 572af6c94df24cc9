//! `mppd check`: reads the configuration, builds everything, touches nothing.

use std::process::ExitCode;

use clap::Args;

use super::{EXIT_CONFIGURATION, Settings, print_findings, refuse};
use crate::log;
use crate::plan::Plan;

/// Options of `mppd check`.
#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// Warnings count as errors
    #[arg(long)]
    deny_warnings: bool,
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
    println!("The configuration is good.");
    ExitCode::SUCCESS
}
