//! `mppd man` and `mppd completions`: what comes with a program, made from its declarations.

use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, ValueEnum};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Settings, print_text};
use crate::manual::{Page, pages, program};

/// The time of a build that can be repeated, in seconds since 1970 (reproducible-builds.org).
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Options of `mppd man`.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// Writes all pages below this directory, in man5, man7 and man8; unless given, mppd(8) is
    /// printed
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Options of `mppd completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl From<Shell> for clap_complete::Shell {
    fn from(shell: Shell) -> Self {
        match shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        }
    }
}

/// A page can't be written.
#[derive(Debug, thiserror::Error)]
#[error("can't write {file}: {source}")]
struct Unwritten {
    file: String,
    source: io::Error,
}

pub(super) fn man(settings: &Settings, command: &Command, arguments: &ManArguments) -> ExitCode {
    let date = date();
    let Some(directory) = &arguments.directory else {
        return print_text(&program(command, &settings.kinds, &date).roff);
    };
    let pages = pages(command, &settings.kinds, &date);
    match pages.iter().try_for_each(|page| write(directory, page)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mppd man: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, page: &Page) -> Result<(), Unwritten> {
    let Page { name, section, roff } = page;
    let directory = directory.join(format!("man{section}"));
    let file = directory.join(format!("{name}.{section}"));
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&file, roff))
        .map_err(|source| Unwritten { file: file.display().to_string(), source })
}

/// Today, or the day that a build is to be as of.
fn date() -> String {
    let epoch = std::env::var(SOURCE_DATE_EPOCH).ok();
    let epoch = epoch.and_then(|seconds| Timestamp::from_second(seconds.parse().ok()?).ok());
    let time = epoch.unwrap_or_else(Timestamp::now);
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

pub(super) fn completions(mut command: Command, arguments: &CompletionsArguments) -> ExitCode {
    let shell = clap_complete::Shell::from(arguments.shell);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "mppd", &mut script);
    if matches!(arguments.shell, Shell::Fish) {
        script.extend(fish_values(&command).into_bytes());
    }
    let mut out = io::stdout().lock();
    match out.write_all(&script).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("mppd completions: can't print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// What `clap_complete` leaves out for fish: the values of arguments without a name.
fn fish_values(command: &Command) -> String {
    let line = |inner: &Command| {
        let values = inner.get_positionals().flat_map(clap::Arg::get_possible_values);
        let values: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        let (name, words) = (inner.get_name(), values.join(" "));
        (!values.is_empty()).then(|| {
            format!(
                "complete -c mppd -n \"__fish_mppd_using_subcommand {name}\" -f -a \"{words}\"\n"
            )
        })
    };
    command.get_subcommands().filter(|inner| inner.get_name() != "help").filter_map(line).collect()
}
