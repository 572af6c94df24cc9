//! Traces of requests, for a collector of OpenTelemetry: a span for each request, and one below it
//! for each engine that ran.
//!
//! They are written down on the way of a request, for the messages that are sampled, and sent by a
//! thread of their own. A request never waits for that: what finds no room in the queue is dropped
//! and counted, and so is what the collector does not take. When the server ends, what still waits
//! is sent before, if the collector takes it in soon.
//!
//! | module | what lives there |
//! |---|---|
//! | `recorder` | writing down what the engines of a request did |
//! | `otlp` | traces as the collector reads them |
//! | `collector` | the collector, and how it is reached |

mod collector;
mod otlp;
mod recorder;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mppd_engine::slog::Logger;
use mppd_engine::trouble::Trouble;
use mppd_engine::{Attribute, Exchange, Finding, Probe, Spanned};

use self::collector::Collector;
use self::otlp::Trace;
pub use self::recorder::Recorder;
use crate::config::traces_settings::TracesOptions;

/// Most requests whose traces are sent at once.
const BATCH: usize = 256;

/// The queue has its room from the start.
const LONGEST_QUEUE: usize = 1 << 17;

/// How long a trace may wait for others to be sent with it.
const GATHERED: Duration = Duration::from_secs(1);

/// How long is waited before it is looked again whether the queue has room.
const PAUSE: Duration = Duration::from_millis(5);

/// What became of traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TracesStatus {
    /// The collector has taken them in.
    pub sent: u64,
    /// There was no room in the queue.
    pub dropped: u64,
    /// The collector did not take them in.
    pub failed: u64,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// What the thread that sends is given.
#[derive(Debug)]
enum Given {
    Trace(Box<Trace>),
    /// Everything before this is to be sent at once; whoever waits for it is told by the end of
    /// this channel.
    Flush(#[expect(dead_code, reason = "its end is what is waited for")] SyncSender<()>),
}

/// Takes traces, and has them sent.
#[derive(Debug)]
pub struct Tracer {
    collector: Collector,
    /// Of a million messages.
    sampled: u32,
    queue: usize,
    counts: Arc<Counts>,
    /// The way to the thread that sends, once there is one.
    sender: OnceLock<Option<SyncSender<Given>>>,
    timeout: Duration,
    logger: Logger,
}

impl Tracer {
    /// As configured. Nobody is asked anything yet.
    ///
    /// # Errors
    /// The collector can't be reached by what is said of it.
    pub fn new(options: &Spanned<TracesOptions>, logger: &Logger) -> Result<Self, Finding> {
        let options = &options.value;
        let collector = Collector::parse(&options.endpoint.value, options.timeout.0.0);
        let collector = collector.map_err(|error| {
            let help = "such as http://127.0.0.1:4318; a collector beside mppd can pass traces on encrypted";
            Finding::error(options.endpoint.span, error.to_string()).with_help(help)
        })?;
        Ok(Tracer {
            collector,
            sampled: options.sample_ratio.millionths(),
            queue: usize::try_from(options.queue.0).unwrap_or(usize::MAX),
            counts: Arc::default(),
            sender: OnceLock::new(),
            timeout: options.timeout.0.0,
            logger: logger.clone(),
        })
    }

    /// A probe of the collector.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.collector.probe()
    }

    /// What became of traces so far.
    #[must_use]
    pub fn status(&self) -> TracesStatus {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { sent, dropped, failed } = &*self.counts;
        TracesStatus { sent: of(sent), dropped: of(dropped), failed: of(failed) }
    }

    /// Whether a request is traced: all of a message are, or none.
    fn samples(&self, exchange: &Exchange) -> bool {
        if self.sampled == 0 {
            return false;
        }
        let instance = exchange.request().get(Attribute::Instance);
        let number = if instance.is_empty() { mix(&exchange.key().0) } else { mix(instance) };
        number % 1_000_000 < u64::from(self.sampled)
    }

    /// Has a trace sent, unless there is no room.
    fn send(&self, trace: Trace) {
        let sender = self.sender.get_or_init(|| self.start());
        let given = Given::Trace(Box::new(trace));
        let is_taken = sender.as_ref().is_some_and(|sender| sender.try_send(given).is_ok());
        if !is_taken {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has sent what waits, and waits for that no longer than the collector may take; on a thread
    /// that may wait.
    pub fn flush(&self) {
        let Some(Some(sender)) = self.sender.get() else { return };
        let end = Instant::now() + self.timeout;
        let (done, is_done) = sync_channel(0);
        let mut given = Given::Flush(done);
        // It may take a while until the queue has room.
        while let Err(TrySendError::Full(back)) = sender.try_send(given) {
            if Instant::now() >= end {
                return;
            }
            given = back;
            std::thread::park_timeout(PAUSE);
        }
        // Nothing is ever sent by this channel: it ends.
        let _ended = is_done.recv_timeout(end.saturating_duration_since(Instant::now()));
    }

    fn start(&self) -> Option<SyncSender<Given>> {
        let (sender, receiver) = sync_channel(self.queue.min(LONGEST_QUEUE));
        let (collector, counts) = (self.collector.clone(), self.counts.clone());
        let logger = self.logger.clone();
        let send = move || send_all(&receiver, &collector, &counts, &logger);
        let thread = std::thread::Builder::new().name("traces".to_owned()).spawn(send);
        thread.is_ok().then_some(sender)
    }
}

/// Sends until nobody can have anything sent any more.
fn send_all(receiver: &Receiver<Given>, collector: &Collector, counts: &Counts, logger: &Logger) {
    let trouble = Trouble::default();
    while let Ok(first) = receiver.recv() {
        // Whoever waits for the traces is told when this is dropped, after they were sent.
        let (batch, _waiting) = gather(first, receiver);
        if batch.is_empty() {
            continue;
        }
        let number = batch.len() as u64;
        match collector.post(&otlp::encode(&batch)) {
            Ok(()) => {
                counts.sent.fetch_add(number, Ordering::Relaxed);
                trouble.log_end(logger, "the collector takes traces again");
            }
            Err(error) => {
                counts.failed.fetch_add(number, Ordering::Relaxed);
                trouble.log(logger, "traces can't be sent", &error.to_string());
            }
        }
    }
}

/// What is to be sent with the first, and who waits for that.
fn gather(first: Given, receiver: &Receiver<Given>) -> (Vec<Trace>, Option<Given>) {
    let (mut batch, end) = (Vec::new(), Instant::now() + GATHERED);
    let mut next = first;
    loop {
        match next {
            Given::Trace(trace) => batch.push(*trace),
            Given::Flush(_) => return (batch, Some(next)),
        }
        if batch.len() >= BATCH {
            return (batch, None);
        }
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(given) => next = given,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return (batch, None);
            }
        }
    }
}

/// A number that looks like any other, and is always the same for these octets: FNV-1a, and what
/// murmur does in the end.
fn mix(octets: &[u8]) -> u64 {
    let fold = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = octets.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53_u64] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests;
