//! Which decisions another configuration would change: recorded requests go through its chains, as
//! those of a server do, and what is decided is compared with what was.
//!
//! The records are only read, a page at a time, and nothing is written anywhere. The clock of the
//! engines is that of the records; what they remember begins empty, so that a client that was known
//! when the period began is a new one here.
//!
//! | module | what lives there |
//! |---|---|
//! | [`report`] | what has changed, by its cause |
//! | `recorded` | engines that are not asked: what the records say of them |
//! | `reading` | pages of the records |
//! | `worker` | a thread with a copy of every chain |

mod reading;
mod recorded;
pub mod report;
mod worker;

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use self::reading::Pages;
use self::report::Report;
use self::worker::Worker;
use crate::explain::rehearsal::open_memory;
use crate::explain::{Memory, RehearsalError};
use crate::plan::Plan;
use crate::tracking::StoreError;
use crate::tracking::search::{Found, Place};
use crate::tracking::store::Condition;

/// Chunks of requests that wait for a worker.
const AHEAD: usize = 4;

/// What engines that ask name servers come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DnsChoice {
    /// What they came to then.
    #[default]
    Recorded,
    /// What they come to now: name servers are asked.
    Live,
    /// Nothing: they are taken to have no opinion.
    None,
}

/// What is to be replayed, and how.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Where the records are.
    pub places: Vec<Place>,
    /// Which of them.
    pub condition: Condition,
    /// What engines that ask name servers come to.
    pub dns: DnsChoice,
    /// The full IDs of engines that come to what they came to then, although they ask nobody.
    pub recorded: BTreeSet<String>,
    /// How many threads; one where what is decided depends on the order of the requests.
    pub workers: usize,
    /// How many examples of each cause.
    pub examples: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The configuration can't be rehearsed.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// The records can't be read.
    #[error("the records can't be read: {place}: {source}")]
    Records {
        /// Where.
        place: String,
        /// Why.
        source: StoreError,
    },
    /// A thread can't be started.
    #[error("can't start a thread: {0}")]
    Thread(#[source] io::Error),
    /// A thread has ended before its work was done: a defect.
    #[error("a thread has ended before its work was done")]
    Ended,
}

impl Replay {
    /// How many requests there are to be.
    ///
    /// # Errors
    /// The records can't be read.
    pub fn count(&self) -> Result<u64, ReplayError> {
        Pages::new(self)?.count()
    }

    /// The engines of a plan that remember, and so need the requests in their order.
    #[must_use]
    pub fn in_order_for(&self, plan: &Plan) -> Vec<String> {
        let users = plan.state_store.users();
        users.into_iter().filter(|engine| !self.recorded.contains(engine)).collect()
    }

    /// Takes the requests through the chains of a plan that was read for this alone, and tells of
    /// each chunk how many were in it.
    ///
    /// # Errors
    /// The records can't be read, or the engines can't be started.
    pub fn run(&self, plan: Plan, progress: &(dyn Fn(u64) + Sync)) -> Result<Report, ReplayError> {
        open_memory(&plan, Memory::Empty)?;
        let in_order = !self.in_order_for(&plan).is_empty();
        let workers = if in_order { 1 } else { self.workers.max(1) };
        let (plan, repeats) = (Arc::new(plan), Arc::default());
        let mut pages = Pages::new(self)?;
        let (sender, receiver) = sync_channel::<Vec<Found>>(AHEAD);
        let chunks = Mutex::new(receiver);
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..workers {
                let worker = Worker {
                    replay: self,
                    in_order,
                    plan: plan.clone(),
                    repeats: Arc::clone(&repeats),
                    chunks: &chunks,
                    progress,
                };
                let thread = std::thread::Builder::new().name(format!("replay {number}"));
                let thread = thread.spawn_scoped(scope, || worker.work());
                threads.push(thread.map_err(ReplayError::Thread)?);
            }
            let is_working = || threads.iter().any(|worker| !worker.is_finished());
            let read = pages.send_all(&sender, is_working);
            // Whoever waits for more sees that there is none.
            drop(sender);
            let mut report = Report::new(self.examples);
            for thread in threads {
                report.merge(thread.join().map_err(|_| ReplayError::Ended)??);
            }
            read?;
            report.sort();
            Ok(report)
        })
    }
}
