//! The command line: what `mppd` can be told, and with which engines it runs.

mod ask;
mod check;
mod control;
mod explain;
mod grants;
pub mod import;
mod manual;
mod next_steps;
mod order;
mod paint;
mod password;
mod postfix;
mod reference;
mod replay;
mod run;
mod state;
mod table;
mod threshold;
pub mod track;

use std::collections::BTreeMap;
use std::io::{ErrorKind, IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use mppd_database::ResolvedConnection;
use mppd_engine::config::{SourceMap, nearest};
use mppd_engine::{EngineKind, Finding};

use crate::config::limits::Limits;
use crate::config::report::{self, Look};
use crate::config::settings::GroupOptions;
use crate::config::{Configuration, ConfigurationFile, LoadRequest, Rejected, draft, load};
use crate::groups::Groups;
use crate::tracking::search::Place;
use crate::tracking::table::Dialect;

/// Where the configuration is looked for unless named.
const INSTALLED: &str = "/etc/mppd/mppd.conf.xml";

/// The configuration where none is installed: the one that is shipped, compiled in.
const EMBEDDED: ConfigurationFile = ConfigurationFile::Embedded {
    main: ("mppd.conf.xml", include_str!("../../conf/mppd.conf.xml")),
    included: &[("esm/PPXX0001.xml", include_str!("../../conf/esm/PPXX0001.xml"))],
};

/// Exit code for a faulty configuration (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIGURATION: u8 = 78;

/// mppd with a set of engines: the whole program, for `main` functions.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     mppd::Program::new().engines(mppd_engines::ENGINES).main()
/// }
/// ```
#[derive(Debug, Default)]
pub struct Program {
    kinds: Vec<&'static dyn EngineKind>,
}

impl Program {
    /// A program without engines.
    #[must_use]
    pub fn new() -> Self {
        Program::default()
    }

    /// Adds engines. One of a name that is there already takes its place.
    #[must_use]
    pub fn engines(mut self, kinds: &[&'static dyn EngineKind]) -> Self {
        for kind in kinds {
            self.kinds.retain(|known| known.name() != kind.name());
            self.kinds.push(*kind);
        }
        self
    }

    /// Does what the command line says.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let command = command(&self.kinds);
        let arguments = Arguments::from_arg_matches(&command.clone().get_matches());
        let arguments = arguments.unwrap_or_else(|error| error.format(&mut command.clone()).exit());
        let settings = Settings { source: arguments.source, kinds: self.kinds };
        match arguments.command.unwrap_or(Command::Run(run::RunArguments::default())) {
            Command::Run(arguments) => run::run(&settings, &arguments),
            Command::Status(arguments) => control::status(&settings, &arguments),
            Command::Reload(arguments) => control::reload(&settings, &arguments),
            Command::Check(arguments) => check::run(&settings, &arguments),
            Command::Order(arguments) => order::run(&settings, &arguments),
            Command::Schema(arguments) => schema(&settings, &arguments),
            Command::Ask(arguments) => ask::run(&settings, &arguments),
            Command::Explain(arguments) => explain::run(&settings, &arguments),
            Command::Replay(arguments) => replay::run(&settings, &arguments),
            Command::Track(arguments) => search_records(&settings, &arguments),
            Command::Import(arguments) => import::run(&settings, &arguments),
            Command::Threshold(arguments) => threshold::run(&settings, &arguments),
            Command::Password(arguments) => password::run(&arguments),
            Command::Reference(arguments) => reference::run(&settings, &arguments),
            Command::Postfix(arguments) => postfix::run(&settings, &arguments),
            Command::Man(arguments) => manual::man(&settings, &command, &arguments),
            Command::Completions(arguments) => manual::completions(command, &arguments),
        }
    }
}

/// A policy server for Postfix.
#[derive(Debug, Parser)]
#[command(name = "mppd", version, about, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Where the configuration comes from.
#[derive(Debug, Args)]
struct SourceArguments {
    /// The configuration file; unless given that of the variable `MPPD_CONFIG`, else
    /// /etc/mppd/mppd.conf.xml, else a built-in one
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides a scalar option of <common>, as in common.log.level=debug
    #[arg(long, global = true, value_name = "OPTION=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers Postfix (the default)
    Run(run::RunArguments),
    /// Shows how the server is that runs. Exit code 1 where something needs attention, 3 where none
    /// runs
    Status(control::StatusArguments),
    /// Has the server read its configuration again, and waits. Exit code 78 where that has errors, 1
    /// where it can't be put in force, 3 where no server runs
    Reload(control::ReloadArguments),
    /// Checks the configuration and touches nothing. Exit code 78 where it has errors, 1 where
    /// something is out of reach that --connect tries
    Check(check::CheckArguments),
    /// Shows the chains of every policy group as resolved: engines, preconditions, what each status
    /// does
    Order(order::OrderArguments),
    /// Prints the SQL that makes the table of the records, or that of the state store, or that grants
    /// what is needed
    Schema(SchemaArguments),
    /// Sends a request and prints the reply
    Ask(ask::AskArguments),
    /// Shows how the configuration decides a request, engine by engine. Nothing is put on record, and
    /// nobody is asked unless --connect is given
    Explain(explain::ExplainArguments),
    /// Takes recorded requests through the configuration, and shows which decisions would change. Exit
    /// code 1 where some would
    Replay(replay::ReplayArguments),
    /// Searches the records
    Track(track::TrackArguments),
    /// Takes over what another program remembered
    Import(import::ImportArguments),
    /// Shows and resets what the engines `threshold` have counted
    Threshold(threshold::ThresholdArguments),
    /// Asks for a password, or reads it from standard input, and prints its hash for <admin>
    Password(password::PasswordArguments),
    /// Prints the reference of every option, engine and macro: tables on a terminal, else Markdown
    Reference(reference::ReferenceArguments),
    /// Prints what main.cf of Postfix must say so that it asks as the configuration wants to be
    /// asked, or sets it
    Postfix(postfix::PostfixArguments),
    /// Writes the manual pages, for man(1)
    Man(manual::ManArguments),
    /// Prints what completes the words of mppd's command line in a shell
    Completions(manual::CompletionsArguments),
}

/// The command line; what it takes for granted are the engines.
fn command(kinds: &[&'static dyn EngineKind]) -> clap::Command {
    let others = [reference::MACROS, reference::METRICS, reference::OPTIONS];
    let parts = kinds.iter().map(|kind| kind.name()).chain(others);
    let parts = PossibleValuesParser::new(parts);
    let with_parts = |it: clap::Command| it.mut_arg("part", |part| part.value_parser(parts));
    Arguments::command().mut_subcommand("reference", with_parts)
}

/// For which database
#[derive(Debug, Args)]
struct SchemaArguments {
    /// Of this kind
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    dialect: Option<SchemaDialect>,
    /// That of this policy group
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// With `grants`: also what is needed to make the tables, and to bring them up to date
    #[arg(long)]
    create: bool,
    /// With `grants`: the host that mppd connects from, as the database knows it
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    client: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaDialect {
    /// The records, in MySQL or MariaDB
    Mysql,
    /// The records, in SQLite
    Sqlite,
    /// The state store, in MySQL or MariaDB
    #[value(name = "state_store")]
    StateStore,
    /// What the database users of the configuration must be allowed to do
    Grants,
}

impl SchemaDialect {
    /// The SQL, where it does not depend on the configuration.
    fn schema(self) -> Option<String> {
        Some(match self {
            SchemaDialect::Mysql => Dialect::MySql.schema(),
            SchemaDialect::Sqlite => Dialect::Sqlite.schema(),
            SchemaDialect::StateStore => mppd_state::SCHEMA.to_owned(),
            SchemaDialect::Grants => return None,
        })
    }
}

/// What every command starts from.
#[derive(Debug)]
pub struct Settings {
    source: SourceArguments,
    kinds: Vec<&'static dyn EngineKind>,
}

impl Settings {
    /// Where the configuration is to be read from.
    fn load_request(&self) -> LoadRequest {
        // A variable that is empty counts as not set.
        let variable = std::env::var_os("MPPD_CONFIG").filter(|path| !path.is_empty());
        let file = match self.source.config.clone().or(variable.map(PathBuf::from)) {
            Some(path) => ConfigurationFile::Path(path),
            None if std::path::Path::new(INSTALLED).exists() => {
                ConfigurationFile::Path(PathBuf::from(INSTALLED))
            }
            None => EMBEDDED,
        };
        // A variable that is not UTF-8 can't override anything of ours.
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        LoadRequest { file, environment, set: self.source.set.clone() }
    }
}

/// No policy group has the name that was given.
#[derive(Debug, thiserror::Error)]
#[error("there is no group \"{group}\" in the configuration{hint}")]
struct UnknownGroup {
    group: String,
    /// The name that was probably meant.
    hint: String,
}

/// The configured group of this name.
fn group<'a>(
    configuration: &'a Configuration,
    name: &str,
) -> Result<&'a GroupOptions, UnknownGroup> {
    let groups = &configuration.groups;
    groups.iter().find(|group| group.id.value == name).ok_or_else(|| {
        let nearest = nearest(name, groups.iter().map(|group| group.id.value.as_str()));
        UnknownGroup {
            group: name.to_owned(),
            hint: nearest.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default(),
        }
    })
}

/// Where records may be: those of one group, or of all.
fn places(configuration: &Configuration, name: Option<&str>) -> Result<Vec<Place>, UnknownGroup> {
    let groups: Vec<&GroupOptions> = match name {
        Some(name) => vec![group(configuration, name)?],
        None => configuration.groups.iter().collect(),
    };
    let mut connections: Vec<Option<&ResolvedConnection>> = Vec::new();
    for group in groups {
        let connection = configuration.connection(&group.id.value);
        if !connections.contains(&connection) {
            connections.push(connection);
        }
    }
    let directory = &configuration.common.state_directory;
    let place = |connection: Option<&ResolvedConnection>| (connection.cloned(), directory.clone());
    Ok(connections.into_iter().map(place).collect())
}

/// Prints the table for a kind of database, or for that of a group.
fn schema(settings: &Settings, arguments: &SchemaArguments) -> ExitCode {
    if let Some(schema) = arguments.dialect.and_then(SchemaDialect::schema) {
        return print_text(&schema);
    }
    let configuration = match load(&settings.load_request()) {
        Ok(configuration) => configuration,
        Err(rejected) => return refuse(&rejected),
    };
    let Some(name) = &arguments.group else {
        let SchemaArguments { create, client, .. } = arguments;
        let draft = draft(&settings.load_request(), &Limits::default());
        let (groups, _) = Groups::build(&draft, &crate::log::silent());
        let question = groups.question();
        return print_text(&grants::statements(&configuration, question, *create, client));
    };
    match group(&configuration, name).map(|group| configuration.connection(&group.id.value)) {
        Ok(Some(_)) => print_text(&Dialect::MySql.schema()),
        Ok(None) => print_text(&Dialect::Sqlite.schema()),
        Err(error) => {
            eprintln!("mppd schema: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Looks into the records that the configuration names.
fn search_records(settings: &Settings, arguments: &track::TrackArguments) -> ExitCode {
    let configuration = match load(&settings.load_request()) {
        Ok(configuration) => configuration,
        Err(rejected) => return refuse(&rejected),
    };
    let places = match places(&configuration, arguments.group.as_deref()) {
        Ok(places) => places,
        Err(error) => {
            eprintln!("mppd track: {error}");
            return ExitCode::FAILURE;
        }
    };
    let is_recorded = || track::recorded::is_any(&configuration, arguments.group.as_deref());
    if arguments.looks_for_rows() && !is_recorded() {
        eprintln!("mppd track: {}", track::recorded::NOTHING);
    }
    let (mut out, mut errors) = (std::io::stdout().lock(), std::io::stderr().lock());
    let is_terminal = out.is_terminal();
    let mut output = track::Output { out: &mut out, errors: &mut errors, is_terminal };
    let found = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(track::TrackError::from)
        .and_then(|runtime| runtime.block_on(track::run(arguments, &places, &mut output)));
    match found {
        Ok(code) => code,
        Err(track::TrackError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mppd track: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a long text; a reader that has seen enough of it is no fault.
fn print_text(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("mppd: can't print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Prints what is wrong with a configuration.
fn refuse(rejected: &Rejected) -> ExitCode {
    print_findings(&rejected.sources, &rejected.findings);
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Prints findings for people, in colour on a terminal.
fn print_findings(sources: &SourceMap, findings: &[Finding]) {
    let color = std::io::stderr().is_terminal();
    eprint!("{}", report::render(sources, findings, Look { color, ..Look::default() }));
}
