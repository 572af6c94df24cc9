//! `mppd run`: the server, from its start to the last signal.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use actix::{Addr, MailboxError};
use clap::Args;
use mppd_engine::slog::{Logger, error, info, warn};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::next_steps::next_steps;
use super::{Settings, refuse};
use crate::config::report::one_line;
use crate::config::settings::LogFormat;
use crate::listener::HandedOver;
use crate::plan::Plan;
use crate::rights::RightsError;
use crate::supervisor::{Doors, Origin, Reload, StartError, Stop, Supervisor};
use crate::{log, rights};

/// Why the server ended badly.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("can't listen to signals: {0}")]
    Signals(#[from] std::io::Error),
    #[error("the supervisor has ended: {0}")]
    Supervisor(#[from] MailboxError),
    #[error(transparent)]
    Rights(#[from] RightsError),
    #[error("can't forbid core dumps: {0}")]
    CoreDumps(#[source] std::io::Error),
}

/// Options of `mppd run`.
#[derive(Debug, Default, Args)]
pub(super) struct RunArguments {
    /// Lets the system write a core when mppd crashes: passwords are in it
    #[arg(long)]
    core_dumps: bool,
}

/// Sockets and rights come before the first thread: what is read from peers is read without the
/// rights of root, and so is the configuration that comes into force, so that no reload is the
/// first to find out what can't be read any more.
pub(super) fn run(settings: &Settings, arguments: &RunArguments) -> ExitCode {
    // To read the configuration again is for later, and no reason to die.
    let hangup = SigSet::from(NixSignal::SIGHUP);
    if let Err(error) = hangup.thread_block() {
        eprintln!("mppd: SIGHUP can't be put off: {error}");
    }
    let request = settings.load_request();
    // Engines log through a logger that does not exist before the configuration is read; what is
    // said while it is read comes out as findings.
    let plan = match Plan::load(&request, &settings.kinds, &log::silent()) {
        Ok(plan) => plan,
        Err(rejected) => return refuse(&rejected),
    };
    let doors = prepare(&plan, arguments);
    let (logger, _flush) = log::start(&plan.configuration.common.log);
    let doors = match doors {
        Ok(doors) => doors,
        Err(error) => return give_up(&logger, &error),
    };
    // The engines are built anew with the logger that they keep.
    let rights = plan.rights;
    let plan = match Plan::load(&request, &settings.kinds, &logger) {
        Ok(plan) => plan,
        Err(rejected) => {
            if let Some(rights) = rights {
                eprintln!("mppd: what user {} can't read is refused", rights.who());
            }
            return refuse(&rejected);
        }
    };
    warn_of(&plan, &doors, &logger);
    let system = actix_rt::System::new();
    match system.block_on(serve(plan, settings, doors, logger.clone())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => give_up(&logger, &error),
    }
}

fn give_up(logger: &Logger, error: &RunError) -> ExitCode {
    error!(logger, "mppd can't go on"; "reason" => %error);
    ExitCode::FAILURE
}

/// Opens the sockets and gives up the rights that are not to be kept.
fn prepare(plan: &Plan, arguments: &RunArguments) -> Result<Doors, RunError> {
    let doors = Doors::open(plan, HandedOver::from_environment()).map_err(StartError::from)?;
    if let Some(rights) = plan.rights.as_ref().filter(|_| rights::is_root()) {
        rights.keep(&plan.configuration.common.state_directory)?;
    }
    if !arguments.core_dumps {
        // After the rights have changed, which has a say in this as well.
        rights::forbid_core_dumps().map_err(RunError::CoreDumps)?;
    }
    Ok(doors)
}

fn warn_of(plan: &Plan, doors: &Doors, logger: &Logger) {
    for warning in &plan.configuration.warnings {
        warn!(logger, "configuration warning";
            "what" => one_line(&plan.configuration.sources, warning));
    }
    for socket in doors.unwanted(plan) {
        warn!(logger, "a socket was handed over that no <listen> names"; "socket" => socket);
    }
    match &plan.rights {
        Some(rights) if !rights.are_kept() => {
            warn!(logger, "mppd was not started as root and can't become another user";
                "user" => rights.who());
        }
        None if rights::is_root() => {
            warn!(logger, "mppd has the rights of root; <user> in <common> has it give them up");
        }
        _ => {}
    }
}

async fn serve(
    plan: Plan,
    settings: &Settings,
    doors: Doors,
    logger: Logger,
) -> Result<(), RunError> {
    // Before anything is started, so that no signal finds its default action, which is death.
    let mut signals = Signals::new()?;
    let origin = Origin { request: settings.load_request(), kinds: settings.kinds.clone() };
    let supervisor = Supervisor::start(&plan, origin, doors, logger.clone()).await?;
    info!(logger, "mppd is ready"; "version" => env!("CARGO_PKG_VERSION"),
        "workers" => plan.workers(), "engines" => plan.blueprint.engines.len());
    if plan.configuration.common.log.format == LogFormat::Terminal {
        print_next_steps(&plan, settings.source.config.as_deref());
    }
    drop(plan);
    obey(&mut signals, &supervisor, &logger).await
}

struct Signals {
    hangup: Signal,
    stop: StopSignals,
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let stop = StopSignals { terminate, interrupt };
        let hangup = signal(SignalKind::hangup())?;
        // It was put off until somebody would hear it.
        SigSet::from(NixSignal::SIGHUP).thread_unblock()?;
        Ok(Signals { hangup, stop })
    }
}

impl StopSignals {
    /// Ready when somebody wants the server to end.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reloads and, in the end, stops as the signals say. A second signal to stop does not wait for
/// what is under way.
async fn obey(
    signals: &mut Signals,
    supervisor: &Addr<Supervisor>,
    logger: &Logger,
) -> Result<(), RunError> {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => info!(logger, "SIGHUP, reloading"),
            () = signals.stop.recv() => break,
        }
        tokio::select! {
            // What became of it is logged by the supervisor.
            reported = supervisor.send(Reload) => drop(reported?),
            () = signals.stop.recv() => break,
        }
    }
    tokio::select! {
        stopped = supervisor.send(Stop) => Ok(stopped?),
        () = signals.stop.recv() => {
            warn!(logger, "told to stop once more, ending at once");
            Ok(())
        }
    }
}

/// What a newcomer can do now.
fn print_next_steps(plan: &Plan, named: Option<&Path>) {
    let mppd = std::env::args().next().unwrap_or_else(|| "mppd".to_owned());
    // The server does not depend on anybody who reads this.
    let _unread = std::io::stdout().write_all(next_steps(plan, &mppd, named).as_bytes());
}
