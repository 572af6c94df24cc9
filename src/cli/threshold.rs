//! `mppd threshold`: what the engines `threshold` have counted, as a table to people and as JSON to
//! machines; and keys that are to begin anew.

use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mppd_engine::Escaped;
use mppd_engine::config::nearest;
use mppd_engines::threshold::{Counted, Listed, listed};
use mppd_state::{Space, StateError, StateStore, Stored};
use serde_json::{Value, json};

use super::state::{CommandState, StateAccessError};
use super::table::{table, trimmed};
use super::{Settings, refuse};
use crate::config::{Configuration, engine_id, load};
use crate::log;

/// The kind of engine whose records these are.
const KIND: &str = "threshold";

/// How many records are looked at in one step.
const PAGE: usize = 1_000;

/// Shows and resets what the engines `threshold` have counted
#[derive(Debug, Args)]
pub(super) struct ThresholdArguments {
    #[command(subcommand)]
    command: ThresholdCommand,
    /// Only those of this engine
    #[arg(long, global = true, value_name = "ID")]
    engine: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ThresholdCommand {
    /// Lists what has been counted for each key
    List {
        /// Only keys that begin so
        prefix: Option<OsString>,
        /// Prints one JSON object a line; `max` is null where there is no limit
        #[arg(long)]
        json: bool,
    },
    /// Has keys begin anew, and takes them off the blacklist
    Reset {
        /// The keys, as `list` shows them
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "KEY")]
        keys: Vec<OsString>,
        /// All keys
        #[arg(long)]
        all: bool,
    },
}

/// Why nothing could be shown or reset.
#[derive(Debug, thiserror::Error)]
enum ThresholdError {
    /// The configuration has no such engine.
    #[error("there is no <{KIND}> \"{id}\" in the configuration{hint}")]
    UnknownEngine {
        /// Its ID, as given.
        id: String,
        /// What was probably meant.
        hint: String,
    },
    /// The configuration has none at all.
    #[error("there is no <{KIND}> in the configuration")]
    NoEngine,
    /// There is no store.
    #[error(transparent)]
    Access(#[from] StateAccessError),
    /// Nothing can be waited for.
    #[error("can't run: {0}")]
    Runtime(#[source] io::Error),
    /// The store can't be asked, or not be changed.
    #[error("{}{}", .0, .0.causes())]
    State(#[from] StateError),
    /// Nobody reads what is printed.
    #[error("the answer cannot be printed: {0}")]
    Output(#[from] io::Error),
}

/// Where the answer goes.
struct Output<'a> {
    out: &'a mut dyn Write,
    errors: &'a mut dyn Write,
    is_terminal: bool,
}

/// Does what the arguments say. Exit code 1 where a key to be reset is not there.
pub(super) fn run(settings: &Settings, arguments: &ThresholdArguments) -> ExitCode {
    let configuration = match load(&settings.load_request()) {
        Ok(configuration) => configuration,
        Err(rejected) => return refuse(&rejected),
    };
    match answer(&configuration, arguments) {
        Ok(code) => code,
        Err(ThresholdError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mppd threshold: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(
    configuration: &Configuration,
    arguments: &ThresholdArguments,
) -> Result<ExitCode, ThresholdError> {
    let ids = engines(configuration, arguments.engine.as_deref())?;
    let state = CommandState::open(configuration, &log::silent())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ThresholdError::Runtime)?;
    let (mut out, mut errors) = (io::stdout().lock(), io::stderr().lock());
    let is_terminal = out.is_terminal();
    let mut output = Output { out: &mut out, errors: &mut errors, is_terminal };
    let now = Timestamp::now();
    runtime.block_on(async {
        match &arguments.command {
            ThresholdCommand::List { prefix, json } => {
                let prefix = prefix.as_deref().map_or(&b""[..], |prefix| prefix.as_bytes());
                list(&ids, &state, prefix, *json, now, &mut output).await
            }
            ThresholdCommand::Reset { keys, all } => {
                let keys = (!all).then_some(keys.as_slice());
                reset(&ids, &state, keys, now, &mut output).await
            }
        }
    })
}

/// The IDs of the engines that are meant.
fn engines(
    configuration: &Configuration,
    wanted: Option<&str>,
) -> Result<Vec<String>, ThresholdError> {
    let of_kind = configuration.engines.iter().filter(|engine| engine.name == KIND);
    let ids: Vec<String> = of_kind.map(|engine| engine_id(engine).value).collect();
    let Some(wanted) = wanted else {
        return if ids.is_empty() { Err(ThresholdError::NoEngine) } else { Ok(ids) };
    };
    if ids.iter().any(|id| id == wanted) {
        return Ok(vec![wanted.to_owned()]);
    }
    let nearest = nearest(wanted, ids.iter().map(String::as_str));
    let hint = nearest.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
    Err(ThresholdError::UnknownEngine { id: wanted.to_owned(), hint })
}

/// All records of a space whose keys begin so.
async fn records(space: &Space, prefix: &[u8], now: Timestamp) -> Result<Vec<Stored>, StateError> {
    let mut found: Vec<Stored> = Vec::new();
    let mut behind: Option<Vec<u8>> = None;
    loop {
        let page = space.list_of(prefix, behind.as_deref(), PAGE, now).await?;
        let Some(last) = page.last() else { return Ok(found) };
        behind = Some(last.key.clone());
        found.extend(page);
    }
}

async fn list(
    ids: &[String],
    store: &Arc<StateStore>,
    prefix: &[u8],
    as_json: bool,
    now: Timestamp,
    output: &mut Output<'_>,
) -> Result<ExitCode, ThresholdError> {
    let mut table = table(output.is_terminal);
    table.set_header(["engine", "key", "counted", "blacklisted until"]);
    let mut is_empty = true;
    for id in ids {
        for stored in records(&store.space(id), prefix, now).await? {
            // What is no such record was left by another engine of this ID.
            let Some(account) = listed(&stored.octets, now) else { continue };
            is_empty = false;
            let key = Escaped(&stored.key).to_string();
            if as_json {
                writeln!(output.out, "{}", object(id, &key, &account))?;
            } else {
                let counted: Vec<String> = account.limits.iter().map(Counted::to_string).collect();
                let until = account.blacklisted_until.map(local_time).unwrap_or_default();
                table.add_row([id.clone(), key, counted.join("; "), until]);
            }
        }
    }
    if is_empty {
        writeln!(output.errors, "nothing has been counted")?;
    } else if !as_json {
        writeln!(output.out, "{}", trimmed(&table))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn object(id: &str, key: &str, account: &Listed) -> Value {
    let limit = |limit: &Counted| {
        json!({
            "per": limit.per,
            "count": limit.count,
            "max": limit.max,
            "burst": limit.burst,
            "remaining": limit.remaining,
        })
    };
    json!({
        "engine": id,
        "key": key,
        "limits": account.limits.iter().map(limit).collect::<Vec<_>>(),
        "blacklisted_until": account.blacklisted_until.map(|until| until.to_string()),
    })
}

fn local_time(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The key that `list` shows so, where it can't show it as it is.
async fn shown_as(
    space: &Space,
    shown: &[u8],
    now: Timestamp,
) -> Result<Option<Vec<u8>>, StateError> {
    let Some(plain) = shown.iter().position(|octet| *octet == b'\\') else { return Ok(None) };
    let mut keys = records(space, &shown[..plain], now).await?.into_iter().map(|stored| stored.key);
    Ok(keys.find(|key| Escaped(key).to_string().as_bytes() == shown))
}

/// Forgets these keys, or all.
async fn reset(
    ids: &[String],
    store: &Arc<StateStore>,
    keys: Option<&[OsString]>,
    now: Timestamp,
    output: &mut Output<'_>,
) -> Result<ExitCode, ThresholdError> {
    let mut count = 0_usize;
    let mut missing: Vec<&[u8]> =
        keys.unwrap_or_default().iter().map(|key| key.as_bytes()).collect();
    for id in ids {
        let space = store.space(id);
        let wanted: Vec<Vec<u8>> = match keys {
            Some(keys) => keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            None => records(&space, b"", now).await?.into_iter().map(|stored| stored.key).collect(),
        };
        for key in wanted {
            let is_there = space.remove(&key).await?
                || match shown_as(&space, &key, now).await? {
                    Some(meant) => space.remove(&meant).await?,
                    None => false,
                };
            if is_there {
                count += 1;
                missing.retain(|missing| *missing != key.as_slice());
            }
        }
    }
    store.settle().await?;
    for key in &missing {
        writeln!(output.errors, "nothing has been counted for {}", Escaped(key))?;
    }
    writeln!(output.out, "{count} reset")?;
    Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::block_on;
    use mppd_state::{Change, Mark};

    use super::*;

    #[test]
    fn a_key_is_reset_as_it_is_shown() {
        let store = Arc::new(StateStore::in_memory());
        let space = store.space("limits");
        let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let mark = move || Mark { since: now, reason: String::new() };
        for key in [&b"a\xff b"[..], b"a\\b", b"plain"] {
            block_on(space.update(key, now, move |_| Change::Put(mark(), later, ()))).unwrap();
        }
        let shown = [r"a\xff b", r"a\\b", "plain", r"a\x00"].map(OsString::from);
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let mut output = Output { out: &mut out, errors: &mut errors, is_terminal: false };
        let ids = ["limits".to_owned()];
        block_on(reset(&ids, &store, Some(&shown), now, &mut output)).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "3 reset\n");
        assert!(block_on(space.list(None, 10, now)).unwrap().is_empty());
    }
}
