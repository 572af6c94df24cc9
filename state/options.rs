//! `<state_store>`: where engines keep what they remember.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use mppd_database::Files;
use mppd_engine::config::Positive;
use mppd_engine::{Finding, options};
use slog::Logger;

use crate::backend::Backend;
use crate::beside::Beside;
use crate::embedded::Embedded;
use crate::file::path_in;
use crate::{StateError, StateStore};

options! {
    /// `<state_store>`: where engines keep what they remember. The embedded store unless given.
    pub struct StateStoreOptions: Default {
        /// In this process, and in a file in the state directory.
        embedded: Option<EmbeddedOptions> = None,
    }
}

options! {
    /// `<embedded>`: in memory, and within a second in the file `state.sqlite` in the state
    /// directory.
    pub struct EmbeddedOptions: Default {
        /// Most records; where there are as many, those that expire first give way to new ones. A
        /// record takes about 200 octets of memory.
        max_entries: Positive<usize> = Positive(1_000_000),
    }
}

/// The store that is meant: options whose secrets have been read. Stores of equal plans are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorePlan {
    /// The embedded one.
    Embedded {
        /// Most records.
        max_entries: usize,
    },
}

impl Default for StorePlan {
    fn default() -> Self {
        StorePlan::Embedded { max_entries: EmbeddedOptions::default().max_entries.0 }
    }
}

impl StateStoreOptions {
    /// The store that is meant. Nobody is asked anything yet.
    ///
    /// # Errors
    /// Everything that is wrong with the options and the files that they name.
    pub fn resolve(&self, _files: &mut impl Files) -> Result<StorePlan, Vec<Finding>> {
        let embedded = self.embedded.clone().unwrap_or_default();
        Ok(StorePlan::Embedded { max_entries: embedded.max_entries.0 })
    }
}

impl StorePlan {
    /// Opens the store for a command, beside a server that may be running. Where the store is in
    /// the state directory, `server_runs` says whether a server has it; if none has, the command
    /// must keep others from taking it.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub fn open_beside(
        &self,
        directory: &Path,
        server_runs: bool,
        _logger: &Logger,
    ) -> Result<StateStore, StateError> {
        match self {
            StorePlan::Embedded { .. } => {
                Ok(StateStore::new(Beside::open(directory, server_runs)?))
            }
        }
    }

    /// Whether the store is in the state directory.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self, StorePlan::Embedded { .. })
    }
}

/// A store that is open for a server.
pub struct OpenStore {
    plan: StorePlan,
    directory: PathBuf,
    backend: Arc<dyn Backend>,
    embedded: Option<Weak<Embedded>>,
}

impl OpenStore {
    /// Opens the store that is meant. The server has the state directory for itself. This may take
    /// a while where there is much to read.
    ///
    /// # Errors
    /// What keeps it from being used at all. One that is away is no fault: it may come back.
    pub fn open(plan: &StorePlan, directory: &Path, logger: &Logger) -> Result<Self, StateError> {
        let (backend, embedded): (Arc<dyn Backend>, _) = match plan {
            StorePlan::Embedded { max_entries } => {
                let embedded = Embedded::open(&path_in(directory), *max_entries, logger)?;
                let embedded = Arc::new(embedded);
                let known = Arc::downgrade(&embedded);
                (embedded, Some(known))
            }
        };
        Ok(OpenStore { plan: plan.clone(), directory: directory.to_owned(), backend, embedded })
    }

    /// Whether it is, or can become, the store that is meant: two stores in one state directory
    /// would write the same file.
    #[must_use]
    pub fn serves(&self, plan: &StorePlan, directory: &Path) -> bool {
        match plan {
            StorePlan::Embedded { .. } => self.embedded.is_some() && self.directory == directory,
        }
    }

    /// Takes over what may change while a store is open.
    pub fn adjust(&self, plan: &StorePlan) {
        let StorePlan::Embedded { max_entries } = plan;
        if let Some(embedded) = self.embedded.as_ref().and_then(Weak::upgrade) {
            embedded.set_max_entries(*max_entries);
        }
    }

    /// Its records.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Whether any engine has it still.
    #[must_use]
    pub fn is_used(&self) -> bool {
        Arc::strong_count(&self.backend) > 1
    }
}

impl fmt::Debug for OpenStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenStore").field("plan", &self.plan).finish_non_exhaustive()
    }
}
