//! One policy connection: reads requests, has each answered, writes one reply for each in one
//! write, in lock step. A connection never leaves its worker.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mppd_engine::exchange::Receipt;
use mppd_engine::slog::{Drain as _, Level, Logger, debug, info, warn};
use mppd_engine::{Action, Attribute, Decision, Escaped, Exception, Exchange, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::listener::Peer;
use crate::policy::codec::{BadInput, Decoder};
use crate::policy::reply;
use crate::repeats::{Asked, Repeats};
use crate::seat::{Orphan, Seat, UnderWay};
use crate::supervisor::installation::{Installed, WorkerState};
use crate::tracking::new_key;

/// How much is asked for in one read: most requests fit.
const READ_SIZE: usize = 4_096;

/// Most octets of bad input that are shown in the log.
const SHOWN_INPUT: usize = 80;

/// Why a connection ended, other than by its peer between two requests.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("bad input: {0}")]
    BadInput(#[from] BadInput),
    #[error("can't read: {0}")]
    Read(std::io::Error),
    #[error("can't write the reply: {0}")]
    Write(std::io::Error),
    #[error("nothing came for too long (idle_timeout)")]
    Idle,
    #[error("its worker was held up, and another one has answered")]
    TakenOver,
}

/// Serves one connection to its end.
pub async fn serve<S>(stream: S, peer: Peer, worker: Rc<WorkerState>, seat: Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = worker.installed().limits;
    let mut session = Session { stream, peer, decoder: Decoder::new(limits), worker, seat };
    let ended = session.run().await;
    let (logger, peer) = (&session.worker.shared.logger, &session.peer);
    match ended {
        Ok(()) => debug!(logger, "connection closed"; "peer" => %peer),
        Err(Ended::BadInput(error)) => {
            let input = session.decoder.pending();
            let start = &input[..input.len().min(SHOWN_INPUT)];
            warn!(logger, "bad input, connection closed without a reply";
                "peer" => %peer, "reason" => %error, "input" => %Escaped(start));
        }
        Err(error) => info!(logger, "connection ended"; "peer" => %peer, "reason" => %error),
    }
}

struct Session<S> {
    stream: S,
    peer: Peer,
    decoder: Decoder,
    worker: Rc<WorkerState>,
    seat: Arc<Seat>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            while let Some(request) = self.decoder.decode()? {
                self.answer(request).await?;
            }
            if self.read().await? == 0 {
                return Ok(self.decoder.finish()?);
            }
        }
    }

    /// Reads what has come; 0 at the end of the connection, be it the peer's or ours.
    async fn read(&mut self) -> Result<usize, Ended> {
        let idle_timeout = self.worker.installed().idle_timeout;
        let mut stopping = self.worker.shared.stopping.clone();
        let between_requests = self.decoder.is_empty();
        let buffer = self.decoder.buffer();
        buffer.reserve(READ_SIZE);
        let read = self.stream.read_buf(buffer);
        tokio::select! {
            biased;
            octets = read => octets.map_err(Ended::Read),
            _ = stopping.wait_for(|stopping| *stopping), if between_requests => Ok(0),
            () = sleep(idle_timeout) => Err(Ended::Idle),
        }
    }

    async fn answer(&mut self, request: Request) -> Result<(), Ended> {
        let installed = self.worker.installed();
        let request = Arc::new(request);
        let decided = decide(&installed, &self.worker.shared.repeats, &request, self).await;
        let Answer { decision, is_dry_run } = decided.ok_or(Ended::TakenOver)?;
        let action = if is_dry_run { &Action::Dunno } else { &decision.action };
        let reply = reply::encode(action, &request);
        let written = self.stream.write_all(&reply).await;
        written.map_err(|error| {
            self.worker.shared.repeats.not_delivered(&request, &decision);
            Ended::Write(error)
        })
    }

    fn log(&self, exchange: &Exchange, started: Instant) {
        log_decision(&self.worker.shared.logger, exchange, started, &self.peer);
    }
}

async fn sleep(period: Option<std::time::Duration>) {
    match period {
        Some(period) => tokio::time::sleep(period).await,
        None => std::future::pending().await,
    }
}

/// What becomes of a request.
struct Answer {
    decision: Decision,
    /// Whether DUNNO is answered in its place.
    is_dry_run: bool,
}

/// Takes one request through the chains of its group and gives the decision that is to be answered;
/// `None` where somebody else has answered.
async fn decide<S: AsyncRead + AsyncWrite + Unpin>(
    installed: &Installed,
    repeats: &Arc<Repeats>,
    request: &Arc<Request>,
    session: &Session<S>,
) -> Option<Answer> {
    let (started, received, key) = (Instant::now(), SystemTime::now(), new_key());
    let deadline = started + installed.request_deadline;
    let (claim, repeated) = match repeats.ask(request, key) {
        Asked::First(claim) => (Some(claim), None),
        Asked::Again(original) => {
            let first = original.key;
            let answer = tokio::time::timeout_at(deadline.into(), original.answer()).await;
            // A first that came to no answer leaves this one to be checked on its own.
            (None, answer.ok().flatten().map(|decision| (first, decision)))
        }
    };
    let (repeat_of, given) = repeated.unzip();
    let default = installed.groups.default_group();
    let receipt = Receipt {
        request: request.clone(),
        key,
        received,
        deadline,
        group: default.id.clone(),
        node: installed.node.clone(),
        tracker: default.tracker.clone(),
        repeat_of,
    };
    let exchange = Exchange::new(receipt);
    let group = installed.groups.of(&exchange).await;
    let exchange = exchange.in_group(group.id.clone(), group.tracker.clone());
    let exchange = Arc::new(exchange.in_dry_run(group.dry_run));
    session.seat.begin(UnderWay { exchange: exchange.clone(), claim, started });
    let mut header = None;
    let settle = |decision| {
        let decision = repeats.once_per_message(request, decision);
        header = matches!(decision.action, Action::Prepend(_)).then(|| decision.clone());
        decision
    };
    installed.engines.process(&exchange, given, settle).await;
    let UnderWay { claim, .. } = session.seat.finish()?;
    if let Some(header) = header.filter(|_| exchange.exception().is_some()) {
        // What is answered in its place is `on_error`; the message still has to get it.
        repeats.not_delivered(request, &header);
    }
    let decision = exchange.decision().cloned().unwrap_or_else(Decision::dunno);
    if let Some(claim) = claim {
        claim.answer(decision.clone());
    }
    session.log(&exchange, started);
    Some(Answer { decision, is_dry_run: exchange.is_dry_run() })
}

/// Answers a request that another worker began and can't go on with, and ends its connection.
pub async fn answer_orphan(worker: &WorkerState, orphan: Orphan, exception: Exception) {
    let (installed, shared) = (worker.installed(), &worker.shared);
    let Orphan { line, peer, request, counted: _counted } = orphan;
    let UnderWay { exchange, claim, started } = request;
    let request = exchange.request();
    if let Some(header) = exchange.decision().filter(|d| matches!(d.action, Action::Prepend(_))) {
        shared.repeats.not_delivered(request, header);
    }
    installed.engines.adopt(&exchange, exception).await;
    let decision = exchange.decision().cloned().unwrap_or_else(Decision::dunno);
    let action = if exchange.is_dry_run() { &Action::Dunno } else { &decision.action };
    if let Err(error) = line.end_with(&reply::encode(action, request)) {
        info!(shared.logger, "connection ended"; "peer" => %peer, "reason" => %error);
    }
    if let Some(claim) = claim {
        claim.answer(decision);
    }
    log_decision(&shared.logger, &exchange, started, &peer);
}

/// One line for each decision.
fn log_decision(logger: &Logger, exchange: &Exchange, started: Instant, peer: &Peer) {
    if !logger.is_enabled(Level::Info) {
        return;
    }
    let request = exchange.request();
    let text = |attribute: Attribute| Escaped(request.get(attribute));
    let (word, reason) = exchange.answer().unwrap_or_default();
    let reason = reason.unwrap_or_default();
    let engine = exchange.decision().and_then(|decision| decision.engine.as_deref());
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    info!(logger, "decision";
        "decision" => &*word,
        "text" => &*reason,
        "engine" => engine.unwrap_or_default(),
        "group" => &**exchange.group(),
        "stage" => exchange.stage().name(),
        "client" => %text(Attribute::ClientAddress),
        "client_name" => %text(Attribute::ClientName),
        "helo" => %text(Attribute::HeloName),
        "sender" => %text(Attribute::Sender),
        "recipient" => %text(Attribute::Recipient),
        "instance" => %text(Attribute::Instance),
        "queue_id" => %text(Attribute::QueueId),
        "id" => %exchange.key(),
        "repeat_of" => %OrNothing(exchange.repeat_of()),
        "exception" => %OrNothing(exchange.exception()),
        "ms" => (milliseconds * 1e3).round() / 1e3,
        "peer" => %peer,
    );
}

struct OrNothing<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrNothing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => Ok(()),
        }
    }
}
