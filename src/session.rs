//! One policy connection: reads requests, has each answered, writes one reply for each in one
//! write, in lock step. A connection never leaves its worker.
//!
//! What a peer can take up is bounded: a request that has begun must come whole in time, a reply
//! must be read in time, and octets are held from the first of a request to its answer only, as far
//! as `max_memory` allows. Octets are read into memory of the worker's, so that a connection that
//! says nothing holds none.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use mppd_engine::exchange::Receipt;
use mppd_engine::slog::{Drain as _, Level, Logger, debug, info, warn};
use mppd_engine::{Action, Attribute, Decision, Escaped, Exception, Exchange, Request, RequestKey};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::config::settings::PolicyServerOptions;
use crate::listener::Peer;
use crate::overload::OnOverload;
use crate::policy::codec::{BadInput, Decoder};
use crate::policy::reply;
use crate::policy::skip::Skip;
use crate::repeats::{Asked, Claim, Repeats};
use crate::seat::{Orphan, Seat, UnderWay};
use crate::supervisor::installation::{Installed, WorkerState};
use crate::tracking::new_key;
use crate::traffic::{self, Held, Limit, Traffic, count};

/// How much is read at once: most requests fit.
const READ_SIZE: usize = 16 << 10;

/// Most octets of bad input that are shown in the log.
const SHOWN_INPUT: usize = 80;

/// How long a new connection may take for its first request when the server stops.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How long a connection that came when there were too many may take for its one request and for
/// reading the answer. Postfix sends a request as soon as it is connected.
const TURNED_AWAY: Duration = Duration::from_secs(2);

/// How much connections may take, and how long.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// From the first octet of a request to its last.
    pub request_timeout: Duration,
    /// Until a reply has been taken.
    pub write_timeout: Duration,
    /// Requests under way.
    pub max_requests: u32,
    /// Octets of all requests.
    pub max_memory: u64,
    /// What a request gets that goes beyond.
    pub on_overload: OnOverload,
}

impl Bounds {
    /// As configured.
    #[must_use]
    pub fn of(options: &PolicyServerOptions, on_overload: OnOverload) -> Self {
        Bounds {
            request_timeout: options.request_timeout.0.0,
            write_timeout: options.write_timeout.0.0,
            max_requests: options.max_requests.0,
            max_memory: options.max_memory.0.0,
            on_overload,
        }
    }
}

/// What octets are read into, one after the other by all connections of a worker.
#[derive(Debug)]
pub struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Scratch(RefCell::new(vec![0; READ_SIZE].into()))
    }
}

/// Why a connection ended, other than by its peer between two requests.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("bad input: {0}")]
    BadInput(#[from] BadInput),
    #[error("can't read: {0}")]
    Read(io::Error),
    #[error("can't write the reply: {0}")]
    Write(io::Error),
    #[error("nothing came for too long (idle_timeout)")]
    Idle,
    #[error("a request took too long to come whole (request_timeout)")]
    SlowRequest,
    #[error("a reply was not read in time (write_timeout)")]
    SlowReader,
    #[error("a limit is reached (on_overload)")]
    Overload,
    #[error("its worker was held up, and another one has answered")]
    TakenOver,
}

/// Serves one connection to its end.
pub async fn serve<S>(stream: S, peer: Peer, worker: Rc<WorkerState>, seat: Arc<Seat>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut session = Session::new(stream, peer, worker, seat);
    let ended = session.run().await;
    session.tell(ended);
}

/// Answers the one request of a connection that came when there were too many, without a look at
/// it, and closes it; soon, whatever the peer does.
pub async fn turn_away<S>(stream: S, peer: Peer, worker: Rc<WorkerState>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // There is nothing on it that somebody else could answer.
    let mut session = Session::new(stream, peer, worker, Arc::default());
    let answered = tokio::time::timeout(TURNED_AWAY, session.answer_one_unread()).await;
    if !matches!(answered, Ok(Ok(()))) {
        count(&session.traffic().refused);
    }
}

struct Session<S> {
    stream: S,
    peer: Peer,
    decoder: Decoder,
    /// What the decoder, and the request that is under way, take up.
    held: Held,
    /// Since when the server waits for the rest of a request.
    begun: Option<Instant>,
    /// Whether a whole request has come.
    has_asked: bool,
    worker: Rc<WorkerState>,
    seat: Arc<Seat>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S, peer: Peer, worker: Rc<WorkerState>, seat: Arc<Seat>) -> Self {
        let decoder = Decoder::new(worker.installed().limits);
        let held = Held::nothing(worker.shared.traffic.clone());
        Session { stream, peer, decoder, held, begun: None, has_asked: false, worker, seat }
    }

    fn traffic(&self) -> &Traffic {
        &self.worker.shared.traffic
    }

    async fn run(&mut self) -> Result<(), Ended> {
        loop {
            while let Some(request) = self.decoder.decode()? {
                (self.begun, self.has_asked) = (None, true);
                self.answer(request).await?;
            }
            if !self.hold(0) {
                let skip = self.decoder.give_up();
                self.pass_over(skip).await?;
                self.shed(Limit::Memory).await?;
            } else if self.read().await? == 0 {
                return Ok(self.decoder.finish()?);
            }
        }
    }

    /// Takes into account what has come, and so many octets more; `false` where there is no room.
    fn hold(&mut self, more: usize) -> bool {
        let most = self.worker.installed().bounds.max_memory;
        self.held.resize(self.decoder.held() + more, most)
    }

    /// Reads what has come; 0 at the end of the connection, be it the peer's or ours.
    async fn read(&mut self) -> Result<usize, Ended> {
        let is_between_requests = self.decoder.is_empty();
        let keep =
            |decoder: &mut Decoder, octets: &[u8]| decoder.buffer().extend_from_slice(octets);
        self.receive(is_between_requests, keep).await
    }

    /// Reads to the end of a request for which there is no room.
    async fn pass_over(&mut self, mut skip: Skip) -> Result<(), Ended> {
        self.held.release();
        let mut end = Ok(None);
        while end == Ok(None) {
            let pass = |decoder: &mut Decoder, octets: &[u8]| {
                end = skip.pass(octets);
                if let Ok(Some(end)) = end {
                    decoder.buffer().extend_from_slice(&octets[end..]);
                }
            };
            if self.receive(false, pass).await? == 0 {
                return Err(BadInput::Cut { octets: skip.octets() }.into());
            }
        }
        self.begun = None;
        end.map(drop).map_err(Ended::BadInput)
    }

    /// Hands to `take` what has come or comes next, and says how much it was; 0 at the end of the
    /// connection. No timer is set where octets are there already.
    async fn receive(
        &mut self,
        is_between_requests: bool,
        mut take: impl FnMut(&mut Decoder, &[u8]),
    ) -> Result<usize, Ended> {
        // Not the configuration itself: a connection that says nothing would keep an old one.
        let (request_timeout, idle_timeout) = self.timeouts();
        let whole_by = if is_between_requests {
            None
        } else {
            let begun = *self.begun.get_or_insert_with(Instant::now);
            begun.checked_add(request_timeout)
        };
        let stopping = self.told_to_stop();
        let Session { stream, decoder, worker, .. } = self;
        let received = poll_fn(|cx| {
            let mut scratch = worker.scratch.0.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            take(decoder, buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        });
        tokio::select! {
            biased;
            octets = received => octets.map_err(Ended::Read),
            () = stopping, if is_between_requests => Ok(0),
            () = until(whole_by) => Err(Ended::SlowRequest),
            () = sleep(idle_timeout) => Err(Ended::Idle),
        }
    }

    fn timeouts(&self) -> (Duration, Option<Duration>) {
        let installed = self.worker.installed();
        (installed.bounds.request_timeout, installed.idle_timeout)
    }

    /// Ready when the server stops and nothing is to be waited for here. Whoever has just connected
    /// is about to ask, and would ask only once more of the next server.
    fn told_to_stop(&self) -> impl Future<Output = ()> + use<S> {
        let mut stopping = self.worker.shared.stopping.clone();
        let grace = if self.has_asked { Duration::ZERO } else { FIRST_REQUEST };
        async move {
            // Without a sender the server has ended.
            let _ended = stopping.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(grace).await;
        }
    }

    async fn answer(&mut self, request: Request) -> Result<(), Ended> {
        if !self.hold(request.memory()) {
            drop(request);
            return self.shed(Limit::Memory).await;
        }
        let worker = self.worker.clone();
        let installed = worker.installed();
        let Some(under_way) = worker.shared.traffic.begin(installed.bounds.max_requests) else {
            return self.shed(Limit::Requests).await;
        };
        let request = Arc::new(request);
        let decided = decide(&installed, &worker.shared.repeats, &request, self, under_way).await;
        let Answer { decision, is_dry_run } = decided.ok_or(Ended::TakenOver)?;
        let action = if is_dry_run { &Action::Dunno } else { &decision.action };
        let reply = reply::encode(action, &request);
        let written = self.write(&reply).await;
        written.inspect_err(|_| worker.shared.repeats.not_delivered(&request, &decision))
    }

    /// Gives a request what it gets at a limit.
    async fn shed(&mut self, limit: Limit) -> Result<(), Ended> {
        self.traffic().reached(limit);
        count(&self.traffic().shed);
        match &self.worker.installed().bounds.on_overload {
            OnOverload::Reply(reply) => self.write(reply).await,
            OnOverload::Silence => Err(Ended::Overload),
        }
    }

    async fn answer_one_unread(&mut self) -> Result<(), Ended> {
        let installed = self.worker.installed();
        let OnOverload::Reply(reply) = &installed.bounds.on_overload else {
            return Err(Ended::Overload);
        };
        self.pass_over(Skip::new(installed.limits)).await?;
        self.write(reply).await?;
        count(&self.traffic().shed);
        Ok(())
    }

    async fn write(&mut self, reply: &[u8]) -> Result<(), Ended> {
        let timeout = self.worker.installed().bounds.write_timeout;
        tokio::select! {
            biased;
            written = self.stream.write_all(reply) => written.map_err(Ended::Write)?,
            () = sleep(Some(timeout)) => return Err(Ended::SlowReader),
        }
        count(&self.traffic().answered);
        Ok(())
    }

    fn log(&self, exchange: &Exchange, started: Instant) {
        log_decision(&self.worker.shared.logger, exchange, started, &self.peer);
    }

    /// Counts and logs how it ended.
    fn tell(&self, ended: Result<(), Ended>) {
        let (shared, peer) = (&self.worker.shared, &self.peer);
        let logger = &shared.logger;
        let Err(error) = ended else {
            debug!(logger, "connection closed"; "peer" => %peer);
            return;
        };
        match &error {
            Ended::BadInput(_) => count(&shared.traffic.bad_input),
            Ended::SlowRequest | Ended::SlowReader => count(&shared.traffic.too_slow),
            Ended::Overload | Ended::TakenOver => return,
            Ended::Read(_) | Ended::Write(_) | Ended::Idle => {}
        }
        if !shared.ration.allows(Instant::now()) {
            return;
        }
        if let Ended::BadInput(error) = &error {
            let input = self.decoder.pending();
            let start = &input[..input.len().min(SHOWN_INPUT)];
            warn!(logger, "bad input, connection closed without a reply";
                "peer" => %peer, "reason" => %error, "input" => %Escaped(start));
        } else {
            info!(logger, "connection ended"; "peer" => %peer, "reason" => %error);
        }
    }
}

async fn sleep(period: Option<Duration>) {
    match period {
        Some(period) => tokio::time::sleep(period).await,
        None => std::future::pending().await,
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
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
    counted: traffic::UnderWay,
) -> Option<Answer> {
    let (started, received, key) = (Instant::now(), SystemTime::now(), new_key());
    let deadline = started + installed.request_deadline;
    let (claim, repeated) = asked_before(repeats.ask(request, key), deadline).await;
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
    session.seat.begin(UnderWay { exchange: exchange.clone(), claim, started, counted });
    let mut header = None;
    let settle = |decision| {
        let decision = repeats.once_per_message(request, decision);
        header = matches!(decision.action, Action::Prepend(_)).then(|| decision.clone());
        decision
    };
    installed.engines.process(&exchange, given, settle).await;
    let UnderWay { claim, counted, .. } = session.seat.finish()?;
    drop(counted);
    if let Some(header) = header.filter(|_| exchange.exception().is_some()) {
        // What is answered in its place is `on_error`; the message still has to get it.
        repeats.not_delivered(request, &header);
    }
    let decision = exchange.decision().cloned().unwrap_or_else(Decision::dunno);
    if let Some(claim) = claim {
        claim.answer(decision.clone());
    }
    installed.engines.count(&exchange, started);
    session.log(&exchange, started);
    session.worker.shared.feed.say(&exchange, started);
    Some(Answer { decision, is_dry_run: exchange.is_dry_run() })
}

/// The claim of a request that is the first of its kind, or which one it repeats and what that came
/// to. A first that came to no answer leaves this one to be checked on its own.
async fn asked_before(
    asked: Asked,
    deadline: Instant,
) -> (Option<Claim>, Option<(RequestKey, Decision)>) {
    match asked {
        Asked::First(claim) => (Some(claim), None),
        Asked::Again(original) => {
            let first = original.key;
            let answer = tokio::time::timeout_at(deadline.into(), original.answer()).await;
            (None, answer.ok().flatten().map(|decision| (first, decision)))
        }
    }
}

/// Answers a request that another worker began and can't go on with, and ends its connection.
pub async fn answer_orphan(worker: &WorkerState, orphan: Orphan, exception: Exception) {
    let (installed, shared) = (worker.installed(), &worker.shared);
    let Orphan { line, peer, request, counted: _counted } = orphan;
    let UnderWay { exchange, claim, started, counted: _under_way } = request;
    let request = exchange.request();
    if let Some(header) = exchange.decision().filter(|d| matches!(d.action, Action::Prepend(_))) {
        shared.repeats.not_delivered(request, header);
    }
    installed.engines.adopt(&exchange, exception).await;
    let decision = exchange.decision().cloned().unwrap_or_else(Decision::dunno);
    let action = if exchange.is_dry_run() { &Action::Dunno } else { &decision.action };
    match line.end_with(&reply::encode(action, request)) {
        Ok(()) => count(&shared.traffic.answered),
        Err(error) => {
            info!(shared.logger, "connection ended"; "peer" => %peer, "reason" => %error);
        }
    }
    if let Some(claim) = claim {
        claim.answer(decision);
    }
    installed.engines.count(&exchange, started);
    log_decision(&shared.logger, &exchange, started, &peer);
    shared.feed.say(&exchange, started);
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
