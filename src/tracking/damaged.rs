//! Files that are damaged beyond reading: they are set aside, never removed, and a new one takes
//! their place, so that a torn file does not stop the mail.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use slog::{Logger, crit};

use super::store::StoreError;
use super::time;

/// Opens a file; where it is damaged, sets it aside and opens a new one.
pub(super) fn open_or_set_aside<T>(
    path: &Path,
    logger: &Logger,
    open: impl Fn(&Path) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    match open(path) {
        Err(StoreError::Damaged(reason)) => {
            set_aside(path, &reason, logger)?;
            open(path)
        }
        opened => opened,
    }
}

/// Gives a damaged file, which nobody has open, and its log another name.
pub(super) fn set_aside(path: &Path, reason: &str, logger: &Logger) -> Result<(), StoreError> {
    let aside = name_aside(path);
    let renamed = std::fs::rename(path, &aside);
    renamed.map_err(|error| StoreError::Away(Box::new(error)))?;
    // What was written last may be in the log only. The index of the log is made anew by whoever
    // opens it.
    let _absent = std::fs::rename(with(path, "-wal"), with(&aside, "-wal"));
    let _absent = std::fs::remove_file(with(path, "-shm"));
    crit!(logger, "a file of records is damaged and was set aside; what can be read of it is \
        still in it, and a new one is begun";
        "file" => %path.display(), "set_aside" => %aside.display(), "reason" => reason);
    Ok(())
}

fn name_aside(path: &Path) -> PathBuf {
    let now: String = time::show(time::microseconds(SystemTime::now()));
    let stamp: String = now.chars().filter(char::is_ascii_digit).collect();
    with(path, &format!(".damaged-{stamp}"))
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
