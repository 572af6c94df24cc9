//! The state store in force. A reload that does not change it leaves it as it is; one that does
//! opens the new store first, and the old one goes on until no request needs it.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mppd_engine::slog::{Logger, error};
use mppd_state::{OpenStore, StateError, StorePlan};
use tokio::sync::watch;

use super::Tracking;
use super::state_directory::{StateDirectory, StateDirectoryError};
use crate::plan::Plan;

/// How often is looked whether a store is still in use.
const LOOKED_EVERY: Duration = Duration::from_millis(100);

/// Why there is no state store.
#[derive(Debug, thiserror::Error)]
pub enum StateStoreError {
    /// Somebody else has the state directory, or it can't be written.
    #[error(transparent)]
    Directory(#[from] StateDirectoryError),
    /// The store itself.
    #[error("{error}{}", error.causes())]
    Open {
        /// What it said.
        error: StateError,
    },
    /// Opening it panicked: a defect.
    #[error("opening the state store failed: {0}")]
    Panicked(String),
}

/// A store that is open, with the directory that it may be in.
#[derive(Debug)]
pub(super) struct State {
    store: OpenStore,
    directory: Option<Arc<StateDirectory>>,
}

/// The store in force, if any engine needs one, and those that are no longer in force.
#[derive(Debug, Default)]
pub(super) struct States {
    current: Option<Arc<State>>,
    retiring: Vec<Retiring>,
}

/// A store that is no longer in force.
#[derive(Debug)]
struct Retiring {
    state: Weak<State>,
    /// Turns true when it has written everything and is closed.
    closed: watch::Receiver<bool>,
}

impl States {
    /// The store that the plan needs, opened if it is not, and given to the plan's engines. It is
    /// not in force before [`States::put_in_force`].
    pub(super) async fn open<'a>(
        &self,
        plan: &Plan,
        tracking: impl Iterator<Item = &'a Tracking>,
        logger: &Logger,
    ) -> Result<Option<Arc<State>>, StateStoreError> {
        if !plan.state_store.is_wanted() {
            return Ok(None);
        }
        let wanted = &plan.configuration.state_store;
        let directory = &plan.configuration.common.state_directory;
        self.wait_for_closing().await;
        let known = self.known().find(|known| known.store.serves(wanted, directory));
        let state = match known {
            Some(known) => known,
            None => {
                Arc::new(open(wanted, directory, self.lock(directory, tracking), logger).await?)
            }
        };
        plan.state_store.open(state.store.backend().clone());
        Ok(Some(state))
    }

    /// The directory, if it is ours already.
    fn lock<'a>(
        &self,
        directory: &Path,
        tracking: impl Iterator<Item = &'a Tracking>,
    ) -> Option<Arc<StateDirectory>> {
        let of_states = self.known().filter_map(|state| state.directory.clone());
        let mut ours = tracking.map(|tracking| tracking.directory.clone()).chain(of_states);
        ours.find(|ours| ours.path() == directory)
    }

    /// The store in force and those that are still in use.
    fn known(&self) -> impl Iterator<Item = Arc<State>> {
        let retiring = self.retiring.iter().filter_map(|retiring| retiring.state.upgrade());
        self.current.iter().cloned().chain(retiring)
    }

    /// Waits for stores that nobody uses any more and that are about to write their last changes:
    /// what they have written must be there when their file is opened again.
    pub(super) async fn wait_for_closing(&self) {
        for Retiring { state, closed } in &self.retiring {
            if state.strong_count() == 0 {
                // One whose task has ended is closed as well.
                let mut closed = closed.clone();
                let _ended = closed.wait_for(|closed| *closed).await;
            }
        }
    }

    /// The directories that stores are in.
    pub(super) fn directories(&self) -> Vec<Arc<StateDirectory>> {
        self.known().filter_map(|state| state.directory.clone()).collect()
    }

    /// Puts in force what [`States::open`] gave for this plan.
    pub(super) fn put_in_force(&mut self, state: Option<Arc<State>>, plan: &StorePlan) {
        self.retiring.retain(|retiring| !*retiring.closed.borrow());
        if let Some(state) = &state {
            state.store.adjust(plan);
        }
        let old = std::mem::replace(&mut self.current, state);
        let is_other = |old: &Arc<State>| {
            self.current.as_ref().is_none_or(|current| !Arc::ptr_eq(old, current))
        };
        // One that was put in force again while it was about to end is waited for already; whoever
        // waits holds it, so that two would wait for each other for ever.
        let waits = |old: &Arc<State>| {
            self.retiring.iter().any(|known| known.state.as_ptr() == Arc::as_ptr(old))
        };
        if let Some(old) = old.filter(is_other).filter(|old| !waits(old)) {
            let (sender, closed) = watch::channel(false);
            self.retiring.push(Retiring { state: Arc::downgrade(&old), closed });
            actix_rt::spawn(retire(old, sender));
        }
    }

    /// Waits until everything is where it is to stay.
    pub(super) async fn settle(&self, logger: &Logger) {
        self.wait_for_closing().await;
        for state in self.known().collect::<Vec<_>>() {
            if let Err(error) = state.store.backend().settle().await {
                error!(logger, "state is lost"; "reason" => %error);
            }
        }
    }
}

async fn open(
    plan: &StorePlan,
    path: &Path,
    ours: Option<Arc<StateDirectory>>,
    logger: &Logger,
) -> Result<State, StateStoreError> {
    let directory = match ours {
        _ if !plan.is_embedded() => None,
        Some(ours) => Some(ours),
        None => Some(Arc::new(StateDirectory::take(path)?)),
    };
    let (plan, path, logger) = (plan.clone(), path.to_owned(), logger.clone());
    // A million records take a second to read.
    let open = actix_rt::task::spawn_blocking(move || OpenStore::open(&plan, &path, &logger));
    let store = open.await.map_err(|panic| StateStoreError::Panicked(panic.to_string()))?;
    let store = store.map_err(|error| StateStoreError::Open { error })?;
    Ok(State { store, directory })
}

/// Ends a store as soon as no engine has it any more.
async fn retire(state: Arc<State>, closed: watch::Sender<bool>) {
    while state.store.is_used() || Arc::strong_count(&state) > 1 {
        tokio::time::sleep(LOOKED_EVERY).await;
    }
    // What is yet to be written takes time.
    let ended = actix_rt::task::spawn_blocking(move || drop(state)).await;
    drop(ended);
    closed.send_replace(true);
}

#[cfg(test)]
mod tests {
    use mppd_engine::slog::{Discard, o};

    use super::*;

    fn in_directory(path: &Path) -> Arc<State> {
        let logger = Logger::root(Discard, o!());
        let store = OpenStore::open(&StorePlan::default(), path, &logger).unwrap();
        Arc::new(State { store, directory: None })
    }

    #[test]
    fn a_store_that_came_back_while_it_was_about_to_end_ends_all_the_same() {
        let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
        actix_rt::System::new().block_on(async {
            let [one, other] = directories.each_ref().map(|path| in_directory(path.path()));
            let (still_used, ended) = (one.store.backend().clone(), Arc::downgrade(&one));
            let (mut states, plan) = (States::default(), StorePlan::default());
            for next in [&one, &other, &one, &other] {
                states.put_in_force(Some(next.clone()), &plan);
            }
            drop((one, other, still_used));
            let end = async {
                while ended.strong_count() > 0 {
                    tokio::time::sleep(LOOKED_EVERY).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), end).await.unwrap();
        });
    }
}
