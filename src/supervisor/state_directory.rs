//! One mppd for each state directory: two that wrote the same spool would move each other's rows.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file that is locked for as long as the directory is in use.
const LOCK: &str = "lock";

/// A state directory that is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

/// Why a state directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirectoryError {
    /// Somebody else has it.
    #[error("another mppd uses the state directory {}", .0.display())]
    InUse(PathBuf),
    /// It can't be made, or not be written.
    #[error("the state directory {} can't be used: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StateDirectory {
    /// Makes the directory where it is missing, and takes it.
    ///
    /// # Errors
    /// Somebody else has it, or it can't be written.
    pub fn take(path: &Path) -> Result<Self, StateDirectoryError> {
        let failed = |source| StateDirectoryError::Io { path: path.to_owned(), source };
        make(path).map_err(failed)?;
        let lock = open_lock(path).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(StateDirectory { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateDirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a state directory where it is missing: what is in there is nobody else's business.
///
/// # Errors
/// What the system said.
pub fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Opens the file that is locked. One that is made belongs to whoever has the directory, so that a
/// command that root gives does not lock the server out.
fn open_lock(directory: &Path) -> io::Result<File> {
    let path = directory.join(LOCK);
    let is_new = !path.exists();
    let lock = File::create(&path)?;
    let owner = std::fs::metadata(directory)?;
    if is_new && owner.uid() != lock.metadata()?.uid() {
        // Only root may give it away, and for anybody else it is right as it is.
        let _kept = std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()));
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let first = StateDirectory::take(&path).unwrap();
        let second = StateDirectory::take(&path);
        assert!(matches!(second, Err(StateDirectoryError::InUse(_))));
        drop(first);
        StateDirectory::take(&path).unwrap();
    }
}
