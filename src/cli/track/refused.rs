//! `mppd track refused` and `retry`: rows that a database refused for what they hold.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use mppd_engine::{Attribute, Escaped, RequestKey};

use super::cells::{json, local_time, plain, show};
use super::{Output, TrackError};
use crate::cli::table::{table, trimmed};
use crate::tracking::key;
use crate::tracking::row::Cell;
use crate::tracking::search::{Place, spools};
use crate::tracking::sqlite::{Refused, SqliteStore};
use crate::tracking::store::StoreError;
use crate::tracking::table::Kind;

/// Lists them. Exit code 1 where a spool can't be read.
pub(super) fn list(
    places: &[Place],
    as_json: bool,
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in spools(places) {
        match SqliteStore::open_to_read(&path).and_then(|store| store.refused()) {
            Ok(refused) => rows.extend(refused),
            Err(error) => code = cannot(&path, &error, output)?,
        }
    }
    if as_json {
        print_json(&rows, output.out)?;
    } else {
        print_list(&rows, output)?;
    }
    Ok(code)
}

/// Has them tried again. Exit code 1 where a spool can't be written.
pub(super) fn retry(
    places: &[Place],
    ids: &[String],
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let parse = |id: &String| key::parse(id).ok_or_else(|| TrackError::Key(id.clone()));
    let keys: Vec<RequestKey> = ids.iter().map(parse).collect::<Result<_, _>>()?;
    let mut code = ExitCode::SUCCESS;
    let mut count = 0;
    for path in spools(places) {
        match SqliteStore::open_to_read(&path).and_then(|mut store| store.retry_refused(&keys)) {
            Ok(tried) => count += tried,
            Err(error) => code = cannot(&path, &error, output)?,
        }
    }
    writeln!(output.out, "{count} to be tried again")?;
    Ok(if count < keys.len() { ExitCode::FAILURE } else { code })
}

fn cannot(path: &Path, error: &StoreError, output: &mut Output<'_>) -> io::Result<ExitCode> {
    let (path, error) = (path.display(), error.to_string());
    writeln!(output.errors, "cannot use the spool {path}: {}", Escaped(error.as_bytes()))?;
    Ok(ExitCode::FAILURE)
}

fn print_list(rows: &[Refused], output: &mut Output<'_>) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(output.errors, "no row was refused");
    }
    let mut table = table(output.is_terminal);
    table.set_header(["refused", "id", "sender", "recipient", "reason"]);
    for Refused { row, refused_at, reason } in rows {
        let request = row.to_request().ok();
        let attribute = |attribute| {
            let octets = request.as_ref().map_or(&[][..], |request| request.get(attribute));
            Escaped(octets).to_string()
        };
        table.add_row([
            local_time(Cell::Time(*refused_at)),
            show(row.cell(0), Kind::Key),
            attribute(Attribute::Sender),
            attribute(Attribute::Recipient),
            Escaped(reason.as_bytes()).to_string(),
        ]);
    }
    writeln!(output.out, "{}", trimmed(&table))
}

fn print_json(rows: &[Refused], out: &mut dyn Write) -> io::Result<()> {
    for Refused { row, refused_at, reason } in rows {
        let reason = plain(&serde_json::Value::from(reason.as_str()).to_string());
        let (id, time) = (json(row.cell(0), Kind::Key), json(Cell::Time(*refused_at), Kind::Time));
        writeln!(out, "{{\"id\":{id},\"refused_timestamp\":{time},\"reason\":{reason}}}")?;
    }
    Ok(())
}
