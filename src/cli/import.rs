//! `mppd import`: takes over what another program remembered, into the state of an engine.

pub mod dump;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use mppd_engine::config::nearest;
use mppd_engine::{BuildContext, Element, Escaped, Finding};
use mppd_engines::greylist::import::{Entry, Importer, Taken};
use mppd_state::StateError;

use self::dump::{Dump, DumpError};
use super::state::{CommandState, StateAccessError};
use super::{Settings, print_findings, refuse};
use crate::config::{Configuration, engine_id};
use crate::log;
use crate::plan::Plan;

/// The element that can take over what postgrey remembered.
const GREYLIST: &str = "greylist";

/// How many entries are on their way to the store at once: one on another machine answers each of
/// them late, but many together.
const AT_ONCE: usize = 64;

/// How many entries that can't be read are told one by one.
const TOLD: usize = 10;

/// After how many entries a line tells how far it is, where there is no terminal.
const LINE_EVERY: usize = 100_000;

/// Takes over what another program remembered
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// What postgrey remembered, for a <greylist>
    Postgrey(PostgreyArguments),
}

/// postgrey may run meanwhile, and so may mppd. What is known better already stays as it is
#[derive(Debug, Args)]
struct PostgreyArguments {
    /// postgrey's directory (/var/lib/postgrey), one of the databases in it, or what `db_dump
    /// -p` printed of one; - for standard input
    path: PathBuf,
    /// ID of the <greylist>; needed where the configuration has several
    #[arg(long, value_name = "ID")]
    engine: Option<String>,
}

/// Why nothing, or not all, could be taken over.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("the <{GREYLIST}> has errors")]
    Findings(Vec<Finding>),
    #[error("the configuration has no <{GREYLIST}>")]
    NoEngine,
    #[error("the configuration has no <{GREYLIST}> of the ID \"{id}\"{hint}")]
    UnknownEngine { id: String, hint: String },
    #[error("the configuration has several <{GREYLIST}>; say with --engine which: {0}")]
    WhichEngine(String),
    #[error(transparent)]
    Dump(#[from] DumpError),
    #[error(transparent)]
    Access(#[from] StateAccessError),
    #[error("{}{}", .0, .0.causes())]
    State(#[from] StateError),
    #[error("can't wait for the state store: {0}")]
    Runtime(std::io::Error),
    #[error("can't print: {0}")]
    Output(#[from] std::io::Error),
}

/// Does what the arguments say.
pub(super) fn run(settings: &Settings, arguments: &ImportArguments) -> ExitCode {
    let Program::Postgrey(arguments) = &arguments.program;
    let plan = match Plan::load(&settings.load_request(), &settings.kinds, &log::silent()) {
        Ok(plan) => plan,
        Err(rejected) => return refuse(&rejected),
    };
    let configuration = &plan.configuration;
    match import(configuration, arguments) {
        Ok(code) => code,
        Err(ImportError::Findings(findings)) => {
            print_findings(&configuration.sources, &findings);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("mppd import: {error}");
            ExitCode::FAILURE
        }
    }
}

fn import(
    configuration: &Configuration,
    arguments: &PostgreyArguments,
) -> Result<ExitCode, ImportError> {
    let element = engine(configuration, arguments.engine.as_deref())?;
    let dumps = dump::read(&arguments.path)?;
    let state = CommandState::open(configuration, &log::silent())?;
    let cx = BuildContext::new(&configuration.sources, log::silent());
    let mut cx = cx.with_id(&engine_id(element).value).with_service(state.clone());
    let importer = Importer::build(element, &mut cx).map_err(ImportError::Findings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ImportError::Runtime)?;
    let mut summary = Summary::default();
    runtime.block_on(async {
        take(&importer, &dumps, &mut summary).await?;
        state.settle().await
    })?;
    write!(std::io::stdout(), "{summary}")?;
    Ok(if summary.unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The element that is meant.
fn engine<'a>(
    configuration: &'a Configuration,
    id: Option<&str>,
) -> Result<&'a Element, ImportError> {
    let all = configuration.engines.iter().filter(|element| element.name == GREYLIST);
    let all: Vec<(String, &Element)> =
        all.map(|element| (engine_id(element).value, element)).collect();
    let ids = || all.iter().map(|(id, _)| id.as_str());
    match (id, all.as_slice()) {
        (_, []) => Err(ImportError::NoEngine),
        (None, [(_, only)]) => Ok(only),
        (None, _) => Err(ImportError::WhichEngine(ids().collect::<Vec<_>>().join(", "))),
        (Some(wanted), _) => {
            let found = all.iter().find(|(id, _)| id == wanted).map(|(_, element)| *element);
            found.ok_or_else(|| ImportError::UnknownEngine {
                id: wanted.to_owned(),
                hint: nearest(wanted, ids())
                    .map(|near| format!("; did you mean \"{near}\"?"))
                    .unwrap_or_default(),
            })
        }
    }
}

/// Takes over every entry, many at once.
async fn take(
    importer: &Importer,
    dumps: &[Dump],
    summary: &mut Summary,
) -> Result<(), StateError> {
    let now = Timestamp::now();
    let mut progress = Progress::begin(dumps.iter().map(|dump| dump.pairs.len()).sum());
    for dump in dumps {
        for (line, fault) in &dump.faults {
            summary.tell(dump, *line, fault);
        }
        let entries = dump.pairs.iter().filter_map(|pair| {
            match Entry::parse(&pair.key, &pair.value) {
                Ok(entry) => return Some(entry),
                Err(fault) => summary.tell(dump, pair.line, &fault),
            }
            None
        });
        let entries: Vec<Entry> = entries.collect();
        progress.advance(dump.pairs.len() - entries.len());
        let taken = stream::iter(&entries)
            .map(|entry| async move { (entry, importer.take(entry, now).await) });
        let mut taken = taken.buffer_unordered(AT_ONCE);
        while let Some((entry, taken)) = taken.next().await {
            summary.count(entry, taken?);
            progress.advance(1);
        }
    }
    progress.end();
    Ok(())
}

/// How far it is: a bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    done: usize,
    total: usize,
}

impl Progress {
    fn begin(total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len}, {eta}");
            let bar = ProgressBar::new(total as u64);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Progress { bar, done: 0, total }
    }

    fn advance(&mut self, count: usize) {
        let before = self.done / LINE_EVERY;
        self.done += count;
        match &self.bar {
            Some(bar) => bar.inc(count as u64),
            None if self.done / LINE_EVERY > before => {
                eprintln!("{} of {}", self.done, self.total);
            }
            None => {}
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What became of all entries.
#[derive(Debug, Default)]
struct Summary {
    triplets: Counts,
    clients: Counts,
    unreadable: usize,
    /// The first that could not be read, and why.
    told: Vec<String>,
}

/// What became of the entries of one kind.
#[derive(Debug, Default)]
struct Counts(BTreeMap<&'static str, usize>);

impl Summary {
    fn count(&mut self, entry: &Entry, taken: Taken) {
        let counts = match entry {
            Entry::Triplet { .. } => &mut self.triplets,
            Entry::Client { .. } => &mut self.clients,
        };
        let words = match taken {
            Taken::Imported => "imported",
            Taken::Expired => "skipped, as they have expired",
            Taken::Known => "skipped, as much was known of them",
            Taken::Unwanted => "skipped, as auto_whitelist is 0",
        };
        *counts.0.entry(words).or_default() += 1;
    }

    fn tell(&mut self, dump: &Dump, line: usize, fault: &dyn fmt::Display) {
        self.unreadable += 1;
        if self.told.len() < TOLD {
            self.told.push(format!("{}, line {line}: {fault}", dump.name));
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counts) in [("triplets", &self.triplets), ("clients", &self.clients)] {
            writeln!(f, "{name}: {}", counts.0.values().sum::<usize>())?;
            for (words, count) in &counts.0 {
                writeln!(f, "  {count} {words}")?;
            }
        }
        if self.unreadable > 0 {
            writeln!(f, "not readable: {}", self.unreadable)?;
        }
        for told in &self.told {
            writeln!(f, "  {}", Escaped(told.as_bytes()))?;
        }
        let more = self.unreadable - self.told.len();
        if more > 0 { writeln!(f, "  and {more} more") } else { Ok(()) }
    }
}
