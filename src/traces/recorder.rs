//! Writing down what the engines of a request did, on its worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mppd_engine::{Attribute, Exchange, Outcome, RequestKey};

use super::Tracer;
use super::otlp::{Run, Trace};
use crate::supervisor::blueprint::{EnginePlan, Place};

/// Requests that may be under way and traced on one worker; more would be a defect.
const MOST: usize = 10_000;

/// Writes down what the engines of sampled requests do.
#[derive(Debug)]
pub struct Recorder {
    tracer: Arc<Tracer>,
    under_way: RefCell<HashMap<RequestKey, Vec<Ran>>>,
}

#[derive(Debug)]
struct Ran {
    engine: Arc<str>,
    kind: &'static str,
    place: Place,
    status: &'static str,
    failure: Option<&'static str>,
    started: Instant,
    elapsed: Duration,
}

impl Recorder {
    /// One for a worker.
    #[must_use]
    pub fn new(tracer: Arc<Tracer>) -> Self {
        Recorder { tracer, under_way: RefCell::default() }
    }

    /// An engine has run; `failure` is the word of what kept it from a status.
    pub fn ran(
        &self,
        exchange: &Exchange,
        (plan, place): (&EnginePlan, Place),
        (outcome, failure): (&Outcome, Option<&'static str>),
        started: Instant,
        elapsed: Duration,
    ) {
        if !self.tracer.samples(exchange) {
            return;
        }
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= MOST {
            under_way.clear();
        }
        under_way.entry(exchange.key()).or_default().push(Ran {
            engine: plan.id.clone(),
            kind: plan.kind,
            place,
            status: outcome.status,
            failure,
            started,
            elapsed,
        });
    }

    /// A request has its decision.
    pub fn decided(&self, exchange: &Exchange, started: Instant, elapsed: Duration) {
        if !self.tracer.samples(exchange) {
            return;
        }
        let ran = self.under_way.borrow_mut().remove(&exchange.key()).unwrap_or_default();
        let runs = ran.into_iter().map(|ran| Run {
            engine: ran.engine,
            kind: ran.kind,
            place: ran.place,
            status: ran.status,
            failure: ran.failure,
            offset: ran.started.saturating_duration_since(started),
            elapsed: ran.elapsed,
        });
        let request = exchange.request();
        let text = |attribute| String::from_utf8_lossy(request.get(attribute)).into_owned();
        let decision = exchange.answer().map(|(word, _)| word.into_owned());
        self.tracer.send(Trace {
            key: exchange.key(),
            node: exchange.node().clone(),
            instance: text(Attribute::Instance),
            queue_id: text(Attribute::QueueId),
            stage: exchange.stage(),
            group: exchange.group().clone(),
            decision: decision.unwrap_or_default(),
            decided_by: exchange.decision().and_then(|decision| decision.engine.clone()),
            exception: exchange.exception().map(|exception| exception.kind),
            repeat_of: exchange.repeat_of(),
            received: exchange.received(),
            elapsed,
            runs: runs.collect(),
        });
    }
}
