//! The resolver: asks name servers, keeps what they answer, and never lets anybody wait for longer
//! than agreed.
//!
//! Questions are asked on a thread of the resolver's own: a connection to a name server lives on
//! the thread that opened it, and a worker that is busy, or ends, must not hold up the questions of
//! the others. What the cache holds never leaves the asker's thread. The same question asked again
//! while it is under way is asked once.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::ConnectionProvider;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Looked;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name as WireName, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use mppd_engine::slog::{Discard, Logger, o};
use mppd_engine::trouble::Trouble;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::answer::{Answer, Question, Record, RecordKind, TemporaryFailure};
use crate::cache::Cache;
use crate::counts::{Counts, DnsStatus};
use crate::name::Name;
use crate::{Lookup, Pending};

pub(crate) mod checking;

use self::checking::Checking;

/// What asks, over connections that look at what comes: a question goes to the second of them
/// where the first has had half of the time and got no answer.
#[derive(Clone)]
struct Resolvers<P: ConnectionProvider>([hickory_resolver::Resolver<P>; 2]);

/// What the resolver is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverOptions {
    /// The name servers; those of the system where there is none.
    pub servers: Vec<SocketAddr>,
    /// How long to wait for the answer to a question, asked again as it may be.
    pub timeout: Duration,
    /// Most questions under way.
    pub max_in_flight: usize,
    /// About how many octets of memory the answers that are kept may take.
    pub cache_size: u64,
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// `/etc/resolv.conf`
    #[error("can't tell the name servers of this machine from /etc/resolv.conf")]
    System(#[source] NetError),
    /// What asks them.
    #[error("can't make a resolver")]
    Resolver(#[source] NetError),
    /// Its thread.
    #[error("can't start the resolver's thread")]
    Thread(#[source] io::Error),
}

impl From<ResolverError> for TemporaryFailure {
    fn from(error: ResolverError) -> Self {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        TemporaryFailure::Failed(format!("{error}{cause}"))
    }
}

/// Asks name servers.
pub struct Resolver {
    shared: Arc<Shared>,
    options: ResolverOptions,
    background: Mutex<Option<Arc<Background>>>,
}

/// What the asker and the resolver's thread have in common.
struct Shared {
    cache: Cache,
    under_way: Mutex<HashMap<Question, Flight>>,
    turns: Arc<Semaphore>,
    timeout: Duration,
    silence: Silence,
    counts: Counts,
}

/// After so many questions in a row without any answer the log says that nobody answers: a single
/// one may be the fault of whoever is asked about.
const SILENT_AFTER: u32 = 5;

/// Whether anybody answers at all.
struct Silence {
    /// Questions in a row that nobody has answered.
    unanswered: AtomicU32,
    trouble: Trouble,
    logger: Logger,
}

impl Silence {
    fn note(&self, answer: &Answer) {
        let Answer::Temporary(reason @ (TemporaryFailure::TimedOut | TemporaryFailure::Failed(_))) =
            answer
        else {
            if self.unanswered.load(Ordering::Relaxed) > 0 {
                self.unanswered.store(0, Ordering::Relaxed);
                self.trouble.log_end(&self.logger, "name servers answer again");
            }
            return;
        };
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) >= SILENT_AFTER {
            self.trouble.log(&self.logger, "no name server answers", &reason.to_string());
        }
    }
}

type Flight = watch::Receiver<Option<Answer>>;

/// The thread; it ends with this.
struct Background {
    runtime: Handle,
    resolvers: Resolvers<Checking>,
    _stop: oneshot::Sender<()>,
}

impl Resolver {
    /// A resolver that has asked nobody yet. With the first question its thread begins, and the
    /// system's name servers are looked up if they are wanted.
    #[must_use]
    pub fn new(options: ResolverOptions) -> Self {
        Resolver::with_logger(options, &Logger::root(Discard, o!()))
    }

    /// The same; it is logged when nobody answers any more.
    #[must_use]
    pub fn with_logger(options: ResolverOptions, logger: &Logger) -> Self {
        let shared = Arc::new(Shared::new(&options, logger));
        Resolver { shared, options, background: Mutex::default() }
    }

    /// The thread; one that could not begin is tried anew with the next question.
    fn background(&self) -> Result<Arc<Background>, ResolverError> {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*background {
            return Ok(running.clone());
        }
        let started = Arc::new(start(&self.options)?);
        *background = Some(started.clone());
        Ok(started)
    }

    /// Where the answer will be; begins to ask unless somebody has.
    fn flight(&self, question: Question) -> Result<Flight, TemporaryFailure> {
        let background = self.background()?;
        let mut under_way = self.shared.lock_under_way();
        if let Some(flight) = under_way.get(&question) {
            return Ok(flight.clone());
        }
        let (landing, flight) = watch::channel(None);
        under_way.insert(question.clone(), flight.clone());
        drop(under_way);
        let (shared, resolvers) = (self.shared.clone(), background.resolvers.clone());
        background.runtime.spawn(async move {
            let end = Ended { shared: &shared, question: &question };
            let answer = shared.ask(&resolvers, &question).await;
            // Whoever asks from now on finds the answer in the cache or asks anew.
            drop(end);
            // Nobody may be waiting any more.
            let _waiting = landing.send(Some(answer));
        });
        Ok(flight)
    }
}

impl Lookup for Resolver {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        self.shared.cache.get(question).inspect(|_| self.shared.counts.at_hand())
    }

    fn look_up(&self, question: Question, deadline: Instant) -> Pending {
        let flight = self.flight(question);
        let deadline = deadline.min(Instant::now() + self.options.timeout);
        Box::pin(async move {
            match flight {
                Ok(flight) => landed(flight, deadline).await,
                Err(failure) => Answer::Temporary(failure),
            }
        })
    }

    fn status(&self) -> Option<DnsStatus> {
        let under_way = self.shared.lock_under_way().len();
        Some(self.shared.counts.status(under_way))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("options", &self.options).finish_non_exhaustive()
    }
}

async fn landed(mut flight: Flight, deadline: Instant) -> Answer {
    let landing = flight.wait_for(Option::is_some);
    let answer = match tokio::time::timeout_at(deadline.into(), landing).await {
        Ok(Ok(answer)) => answer.clone(),
        Ok(Err(_)) => {
            let reason = "the resolver's thread has ended".to_owned();
            Some(Answer::Temporary(TemporaryFailure::Failed(reason)))
        }
        Err(_) => None,
    };
    answer.unwrap_or(Answer::Temporary(TemporaryFailure::TimedOut))
}

/// Asks one server over connections of another kind, as a resolver that has asked nobody yet.
#[cfg(feature = "testkit")]
pub(crate) async fn ask_over<P: ConnectionProvider>(
    provider: P,
    server: SocketAddr,
    question: &Question,
) -> Answer {
    let (timeout, cache_size) = (std::time::Duration::from_secs(5), 1 << 16);
    let options = ResolverOptions { servers: vec![server], timeout, max_in_flight: 1, cache_size };
    match Resolvers::new(&options, &provider) {
        Ok(resolvers) => {
            Shared::new(&options, &Logger::root(Discard, o!())).ask(&resolvers, question).await
        }
        Err(error) => Answer::Temporary(error.into()),
    }
}

impl Shared {
    fn new(options: &ResolverOptions, logger: &Logger) -> Self {
        let (unanswered, trouble) = (AtomicU32::new(0), Trouble::default());
        Shared {
            silence: Silence { unanswered, trouble, logger: logger.clone() },
            cache: Cache::new(options.cache_size),
            under_way: Mutex::default(),
            turns: Arc::new(Semaphore::new(options.max_in_flight.clamp(1, Semaphore::MAX_PERMITS))),
            timeout: options.timeout,
            counts: Counts::default(),
        }
    }

    async fn ask<P: ConnectionProvider>(
        &self,
        resolvers: &Resolvers<P>,
        question: &Question,
    ) -> Answer {
        let asking = async {
            // The semaphore is never closed.
            let turn = self.turns.clone().acquire_owned().await.ok();
            let name = wire_name(&question.name)?;
            let kind = wire_kind(question.kind);
            Ok(resolvers.look_up(name, kind, self.timeout / 2, turn).await)
        };
        let begun = Instant::now();
        let looked = tokio::time::timeout(self.timeout, asking).await;
        let (answer, lasts) = match looked {
            Ok(Ok(Ok(looked))) => found(question.kind, &looked),
            Ok(Ok(Err(error))) => not_found(&error),
            Ok(Err(failure)) => (Answer::Temporary(failure), Duration::ZERO),
            Err(_) => (Answer::Temporary(TemporaryFailure::TimedOut), Duration::ZERO),
        };
        self.counts.answered(&answer, begun.elapsed());
        self.silence.note(&answer);
        self.cache.put(question.clone(), answer.clone(), lasts);
        answer
    }

    fn lock_under_way(&self) -> MutexGuard<'_, HashMap<Question, Flight>> {
        // No change leaves the map half-way, so a poisoned lock is as good as any.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question off those under way, also after a panic.
struct Ended<'a> {
    shared: &'a Shared,
    question: &'a Question,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.shared.lock_under_way().remove(self.question);
    }
}

fn config(servers: &[SocketAddr]) -> Result<ResolverConfig, ResolverError> {
    let name_servers: Vec<NameServerConfig> = if servers.is_empty() {
        match read_system_conf() {
            Ok((config, _)) => config.name_servers().to_vec(),
            // As resolv.conf(5) has it.
            Err(NetError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                vec![name_server(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53))]
            }
            Err(error) => return Err(ResolverError::System(error)),
        }
    } else {
        servers.iter().copied().map(name_server).collect()
    };
    // Names are asked for as they are: there is no domain to search.
    Ok(ResolverConfig::from_parts(None, Vec::new(), name_servers))
}

/// The name servers that are asked: these, or else those of the system.
pub(crate) fn servers(configured: &[SocketAddr]) -> Result<Vec<SocketAddr>, ResolverError> {
    let config = config(configured)?;
    let address = |server: &NameServerConfig| {
        let port = server.connections.first().map_or(53, |connection| connection.port);
        SocketAddr::new(server.ip, port)
    };
    let mut servers: Vec<SocketAddr> = config.name_servers().iter().map(address).collect();
    servers.dedup();
    Ok(servers)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

impl<P: ConnectionProvider> Resolvers<P> {
    fn new(options: &ResolverOptions, provider: &P) -> Result<Self, ResolverError> {
        let first = config(&options.servers)?;
        // Not all of many are asked at once; the second question begins with the others.
        let name_servers = first.name_servers().iter().rev().cloned().collect();
        let again = ResolverConfig::from_parts(None, Vec::new(), name_servers);
        let build = |config| {
            hickory_resolver::Resolver::builder_with_config(config, provider.clone())
                .with_options(resolver_options(options))
                .build()
                .map_err(ResolverError::Resolver)
        };
        Ok(Resolvers([build(first)?, build(again)?]))
    }

    /// Asks, and after a while without an answer once more. Whichever is answered first counts.
    async fn look_up(
        &self,
        name: WireName,
        kind: RecordType,
        patience: Duration,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Looked, NetError> {
        let [first, again] = self.0.clone();
        let of = name.clone();
        // It goes on although the second is answered before: that a server does not answer must
        // come to be known, so that others are asked first.
        let mut first = tokio::spawn(async move {
            let _turn = turn;
            first.lookup(of, kind).await
        });
        let again = again.lookup(name, kind);
        match tokio::time::timeout(patience, &mut first).await {
            Ok(Ok(looked)) if is_answer(&looked) => return looked,
            Ok(_) => return again.await,
            Err(_) => {}
        }
        tokio::pin!(again);
        tokio::select! {
            looked = &mut first => match looked {
                Ok(looked) if is_answer(&looked) => looked,
                _ => again.await,
            },
            looked = &mut again => {
                if is_answer(&looked) {
                    return looked;
                }
                first.await.ok().filter(is_answer).unwrap_or(looked)
            }
        }
    }
}

/// Whether a server has said what there is to say.
fn is_answer(looked: &Result<Looked, NetError>) -> bool {
    match looked {
        Ok(_) => true,
        Err(error) => matches!(error, NetError::Dns(DnsError::NoRecordsFound(_))),
    }
}

fn resolver_options(options: &ResolverOptions) -> ResolverOpts {
    let mut resolver = ResolverOpts::default();
    resolver.timeout = options.timeout;
    // Who asks again is the asker.
    resolver.attempts = 0;
    resolver.max_active_requests = options.max_in_flight;
    resolver.use_hosts_file = ResolveHosts::Never;
    // Answers are kept by our own cache, which costs the asker less.
    resolver.cache_size = 0;
    // An answer that can't be read over UDP may be better over TCP.
    resolver.try_tcp_on_error = true;
    resolver.case_randomization = false;
    resolver
}

fn start(options: &ResolverOptions) -> Result<Background, ResolverError> {
    let resolvers = Resolvers::new(options, &Checking::default())?;
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(ResolverError::Thread)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("mppd-dns".to_owned())
        .spawn(move || {
            // It ends when the sender is gone, which is all that it ever does.
            let _gone = runtime.block_on(stopped);
        })
        .map_err(ResolverError::Thread)?;
    Ok(Background { runtime: handle, resolvers, _stop: stop })
}

const fn wire_kind(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::Txt => RecordType::TXT,
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Ptr => RecordType::PTR,
    }
}

/// From labels, so that any octet may stand in one.
fn wire_name(name: &Name) -> Result<WireName, TemporaryFailure> {
    WireName::from_labels(name.labels())
        .map_err(|error| TemporaryFailure::Failed(format!("{name} can't be asked for: {error}")))
}

fn found(kind: RecordKind, looked: &Looked) -> (Answer, Duration) {
    let records = looked.answers().iter().filter_map(|record| read(&record.data));
    // Aliases on the way are answered as well.
    let records = records.filter(|record| record.kind() == kind).collect();
    let lasts = looked.valid_until().saturating_duration_since(Instant::now());
    (Answer::of(records), lasts)
}

fn read(data: &RData) -> Option<Record> {
    let name = |name: &WireName| Name::from_labels(name.iter()).ok();
    match data {
        RData::TXT(text) => Some(Record::Txt(text.txt_data.concat().into())),
        RData::A(address) => Some(Record::A(address.0)),
        RData::AAAA(address) => Some(Record::Aaaa(address.0)),
        RData::MX(mx) => {
            Some(Record::Mx { preference: mx.preference, exchange: name(&mx.exchange)? })
        }
        RData::PTR(ptr) => Some(Record::Ptr(name(&ptr.0)?)),
        _ => None,
    }
}

fn not_found(error: &NetError) -> (Answer, Duration) {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: code @ (ResponseCode::NoError | ResponseCode::NXDomain),
            negative_ttl,
            ..
        })) => {
            let lasts = Duration::from_secs(u64::from(negative_ttl.unwrap_or(0)));
            let is_unknown = *code == ResponseCode::NXDomain;
            (if is_unknown { Answer::NoSuchName } else { Answer::NoRecords }, lasts)
        }
        error => (Answer::Temporary(failure(error)), Duration::ZERO),
    }
}

fn failure(error: &NetError) -> TemporaryFailure {
    match error {
        NetError::Timeout => TemporaryFailure::TimedOut,
        NetError::Dns(DnsError::ResponseCode(code)) => TemporaryFailure::Refused(code.to_string()),
        error => TemporaryFailure::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
