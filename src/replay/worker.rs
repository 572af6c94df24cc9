//! A thread with a copy of every chain: takes one recorded request after the other.

use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use jiff::Timestamp;

use super::recorded::{Answering, Recorded};
use super::report::Report;
use super::{DnsChoice, Replay, ReplayError};
use crate::explain::Mode;
use crate::explain::rehearsal::{Question, Rehearsal};
use crate::plan::Plan;
use crate::repeats::Repeats;
use crate::tracking::search::Found;
use crate::tracking::story::Told;

/// How many requests of a worker may wait for name servers at once.
const AT_ONCE: usize = 32;

/// One of the threads.
pub(super) struct Worker<'a> {
    pub(super) replay: &'a Replay,
    /// Whether what is decided depends on the order of the requests.
    pub(super) in_order: bool,
    pub(super) plan: Arc<Plan>,
    pub(super) repeats: Arc<Repeats>,
    pub(super) chunks: &'a Mutex<Receiver<Vec<Found>>>,
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

impl Worker<'_> {
    /// Takes chunks until there are no more.
    pub(super) fn work(self) -> Result<Report, ReplayError> {
        let system = actix_rt::System::new();
        let Replay { dns, recorded, examples, .. } = self.replay;
        let answering = Rc::new(Answering::new(*dns, recorded.clone()));
        let raised = system
            .block_on(async { Rehearsal::raise(&self.plan, Mode::Offline, answering.clone()) });
        let rehearsal = raised?.with_repeats(self.repeats.clone());
        let mut report = Report::new(*examples);
        // Those that ask nobody wait for nothing.
        let at_once = if *dns == DnsChoice::Live && !self.in_order { AT_ONCE } else { 1 };
        while let Some(chunk) = self.next() {
            let count = chunk.len();
            let answered = system.block_on(
                iter(chunk)
                    .map(|found| replayed(&rehearsal, &answering, found))
                    .buffered(at_once)
                    .collect::<Vec<_>>(),
            );
            for one in answered {
                report.add(one);
            }
            (self.progress)(u64::try_from(count).unwrap_or_default());
        }
        report.failed = answering.failed();
        Ok(report)
    }

    fn next(&self) -> Option<Vec<Found>> {
        // No panic can leave the receiver half-way.
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// What became of one recorded request.
pub(super) enum Replayed {
    /// It repeats another one, whose answer it got.
    Repeat,
    /// It was never decided, or its row holds no request.
    Undecided,
    /// It is decided anew.
    Decided(Rc<Recorded>, Arc<mppd_engine::Exchange>),
}

async fn replayed(rehearsal: &Rehearsal, answering: &Answering, found: Found) -> Replayed {
    let told = Told::from(&found);
    if told.repeat_of.is_some() {
        return Replayed::Repeat;
    }
    let (Some(key), Ok(request)) = (found.row.key(), found.row.to_request()) else {
        return Replayed::Undecided;
    };
    let received = told.received.and_then(|at| Timestamp::from_microsecond(at).ok());
    let (Some(received), Some(_)) = (received, &told.decision) else { return Replayed::Undecided };
    let recorded_group = Some(told.group.clone());
    let recorded = Rc::new(Recorded { told, row: found.row });
    answering.begin(key, recorded.clone());
    let received = SystemTime::from(received);
    let question = Question { request: request.into(), received, key, recorded_group };
    let answered = rehearsal.ask(question).await;
    answering.end(key);
    Replayed::Decided(recorded, answered.exchange)
}
