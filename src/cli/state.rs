//! The state store as commands open it: the one that the configuration names, whether or not a
//! server runs.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use mppd_engine::slog::Logger;
use mppd_state::{StateError, StateStore};

use crate::config::Configuration;
use crate::supervisor::state_directory::{StateDirectory, StateDirectoryError};

/// Why a command has no state store.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateAccessError {
    /// There is no directory that it could be in.
    #[error("the state directory {} does not exist; mppd makes it when it starts", .0.display())]
    NoDirectory(PathBuf),
    /// It can't be written.
    #[error(transparent)]
    Directory(#[from] StateDirectoryError),
    /// The store itself.
    #[error("{}{}", .0, .0.causes())]
    Store(#[from] StateError),
}

/// The state store of a command. What the command changes is sure to be kept, and known to the
/// server if one runs, once [`StateStore::settle`] has said so.
pub(super) struct CommandState {
    store: Arc<StateStore>,
    /// Keeps a server from starting while the command changes its file.
    _directory: Option<StateDirectory>,
}

impl CommandState {
    /// Opens the store that the configuration names. What a server that runs here has in memory is
    /// seen as well.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub(super) fn open(
        configuration: &Configuration,
        logger: &Logger,
    ) -> Result<Self, StateAccessError> {
        let plan = &configuration.state_store;
        let path = &configuration.common.state_directory;
        let (directory, server_runs) = match plan.is_embedded() {
            false => (None, false),
            true if !path.is_dir() => return Err(StateAccessError::NoDirectory(path.clone())),
            true => match StateDirectory::take(path) {
                Ok(directory) => (Some(directory), false),
                Err(StateDirectoryError::InUse(_)) => (None, true),
                Err(error) => return Err(error.into()),
            },
        };
        let store = Arc::new(plan.open_beside(path, server_runs, logger)?);
        Ok(CommandState { store, _directory: directory })
    }
}

impl Deref for CommandState {
    type Target = Arc<StateStore>;

    fn deref(&self) -> &Arc<StateStore> {
        &self.store
    }
}
