//! Asks a mail server whether it would take a message for an address, and sends none (RFC 5321).
//!
//! The dialogue is as short as it can be: HELO, MAIL FROM:<>, RCPT TO, QUIT. Only what the server
//! says to RCPT is about the address; a refusal before that, silence, and all that is no reply leave
//! the question open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mppd_engine::config::{Period, Positive};
use mppd_engine::slog::{Logger, debug};
use mppd_engine::{BuildContext, Escaped, Finding, Probe, Spanned, Unreached, options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::address::{Path, is_domain};
use super::kept::KeepOptions;
use super::reply::{BadReply, Reply};
use super::source::Verdict;

options! {
    /// `<callout>`
    pub(crate) struct CalloutOptions {
        /// Name or address of the mail server that knows the addresses of the domain; an IPv6
        /// address without brackets.
        host: Spanned<String>,
        /// Its port.
        port: Positive<u16> = Positive(25),
        /// The name to give with HELO; that of this node unless given.
        helo: Option<Spanned<String>> = None,
        /// How long one callout may take, from the connection to the answer; 5 seconds unless
        /// given. Where the engine's own `timeout` is shorter, that comes first.
        timeout: Option<Spanned<Positive<Period>>> = None,
        /// Most callouts to this server at once; more wait for their turn, within `timeout`. Where
        /// several domains ask the same server, what the first of them says holds for all.
        connections: Positive<u32> = Positive(5),
        /// How long answers are kept.
        cache: KeepOptions = KeepOptions::default(),
    }
}

/// How long one callout may take unless told otherwise.
const LIMIT: Period = Period::seconds(5);

/// How long a server is left alone that could not be connected to.
const REST: Duration = Duration::from_secs(10);

/// How long the end of a dialogue may take, after the answer is known.
const FAREWELL: Duration = Duration::from_secs(2);

/// A mail server to ask. A clone asks the same one, under the same limits.
#[derive(Debug, Clone)]
pub(super) struct Callout {
    host: String,
    port: u16,
    helo: Option<String>,
    limit: Duration,
    shared: Arc<Shared>,
    logger: Logger,
}

#[derive(Debug)]
struct Shared {
    turns: Semaphore,
    /// Until when the server is left alone.
    resting: Mutex<Option<Instant>>,
}

impl Shared {
    fn of(options: &CalloutOptions) -> Arc<Self> {
        let turns = usize::try_from(options.connections.0).unwrap_or(usize::MAX);
        let turns = Semaphore::new(turns.min(Semaphore::MAX_PERMITS));
        Arc::new(Shared { turns, resting: Mutex::new(None) })
    }
}

/// Why a callout has no answer.
#[derive(Debug, thiserror::Error)]
enum CalloutError {
    #[error("it could not be reached a moment ago")]
    Resting,
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("can't connect: {0}")]
    Connect(std::io::Error),
    #[error("the connection broke: {0}")]
    Broken(std::io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    BadReply(BadReply),
    #[error("it says more than it was asked")]
    TooMuch,
    #[error("to {to} it says {reply}")]
    Refused { to: &'static str, reply: Reply },
    #[error("it is this host itself: it calls itself by the name that was given with HELO")]
    Ourselves,
    #[error("it takes no international addresses (SMTPUTF8)")]
    NotInternational,
}

impl Callout {
    /// Reads `<callout>`; those of one server share its limits with one that was read before.
    pub(super) fn read(
        options: &CalloutOptions,
        before: &[Callout],
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let host = options.host.value.trim();
        if !is_host(host) {
            let message = format!("\"{host}\" is neither a name nor an address");
            let finding = Finding::error(options.host.span, message);
            findings.push(match host.rsplit_once(':').filter(|(name, _)| is_host(name)) {
                Some((name, port)) => {
                    finding.with_help(format!("did you mean host=\"{name}\" port=\"{port}\"?"))
                }
                None => finding.with_help("an IPv6 address is written without brackets"),
            });
        }
        if let Some(helo) = options.helo.as_ref().filter(|helo| !is_domain(helo.value.as_bytes())) {
            let message = format!("\"{}\" is not a name", helo.value);
            findings.push(Finding::error(helo.span, message));
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let limit = options.timeout.as_ref().map_or(LIMIT, |limit| limit.value.0);
        if limit.0 > cx.timeout() {
            let place = options.timeout.as_ref().map_or(options.host.span, |limit| limit.span);
            let own = Period(cx.timeout());
            let message = format!("a callout may take {limit}, but the engine only {own}");
            let help = "where the engine's time is up first, that is an exception, and no other \
                        source is asked";
            cx.warn(Finding::warning(place, message).with_help(help));
        }
        let port = options.port.0;
        let same = before.iter().find(|other| other.host == host && other.port == port);
        Ok(Callout {
            host: host.to_owned(),
            port,
            helo: options.helo.as_ref().map(|helo| helo.value.clone()),
            limit: limit.0,
            shared: same.map_or_else(|| Shared::of(options), |other| other.shared.clone()),
            logger: cx.logger().clone(),
        })
    }

    /// The server, as it is told.
    pub(super) fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A probe: whether the server takes the connection and greets. It is told QUIT.
    pub(super) fn probe(&self) -> Probe {
        let callout = self.clone();
        Probe::new(format!("smtp://{}", self.server()), async move {
            match timeout(callout.limit, callout.greeting()).await {
                Ok(Ok(greeting)) => Ok(greeting.to_string()),
                Ok(Err(CalloutError::Connect(error))) => Err(Unreached::no_connection(error)),
                Ok(Err(error)) => Err(Unreached::new(error.to_string())),
                Err(_) => Err(Unreached::new(CalloutError::Timeout(callout.limit).to_string())),
            }
        })
    }

    async fn greeting(&self) -> Result<Reply, CalloutError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(CalloutError::Connect)?;
        let mut dialogue = Dialogue { stream, received: Vec::new() };
        let greeting = dialogue.reply().await?;
        accepted("the connection", 220, &greeting)?;
        dialogue.command("QUIT").await?;
        Ok(greeting)
    }

    /// The name that is given with HELO, on a node of this name.
    pub(super) fn helo<'a>(&'a self, node: &'a str) -> &'a str {
        let node = if is_domain(node.as_bytes()) { node } else { "localhost" };
        self.helo.as_deref().unwrap_or(node)
    }

    /// Asks for an address; the text is what the server said, or why there is no answer.
    pub(super) async fn ask(&self, path: &Path, node: &str) -> (Verdict, String) {
        let begin = Instant::now();
        let (verdict, said) = match self.ask_in_time(path, self.helo(node)).await {
            Ok(reply) => (verdict(&reply), reply.to_string()),
            Err(error) => (Verdict::Unknown, error.to_string()),
        };
        debug!(self.logger, "a mail server was asked for an address"; "server" => self.server(),
            "address" => %Escaped(path.as_str().as_bytes()), "said" => %Escaped(said.as_bytes()),
            "seconds" => begin.elapsed().as_secs_f32());
        (verdict, said)
    }

    async fn ask_in_time(&self, path: &Path, helo: &str) -> Result<Reply, CalloutError> {
        if self.is_resting() {
            return Err(CalloutError::Resting);
        }
        let begin = Instant::now();
        let late = |_| CalloutError::Timeout(self.limit);
        // A semaphore that nobody closes gives its turns to all.
        let _turn = timeout(self.limit, self.shared.turns.acquire()).await.map_err(late)?;
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = self.connected(connecting, self.left(begin)).await?;
        let mut dialogue = Dialogue { stream, received: Vec::new() };
        let reply = timeout(self.left(begin), dialogue.ask(path, helo)).await.map_err(late)??;
        // The answer need not wait for a polite end.
        tokio::spawn(async move { drop(timeout(FAREWELL, dialogue.command("QUIT")).await) });
        Ok(reply)
    }

    async fn connected<T>(
        &self,
        connecting: impl Future<Output = std::io::Result<T>>,
        left: Duration,
    ) -> Result<T, CalloutError> {
        match timeout(left, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                self.rest();
                Err(CalloutError::Connect(error))
            }
            Err(_) => {
                // Whoever waited for a turn until there was no time left has not tried the server.
                if left >= self.limit / 2 {
                    self.rest();
                }
                Err(CalloutError::Timeout(self.limit))
            }
        }
    }

    fn left(&self, begin: Instant) -> Duration {
        self.limit.saturating_sub(begin.elapsed())
    }

    fn is_resting(&self) -> bool {
        let resting = self.shared.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.is_some_and(|end| Instant::now() < end)
    }

    /// Requests need not wait one after the other for a server that is away.
    fn rest(&self) {
        let mut resting = self.shared.resting.lock().unwrap_or_else(PoisonError::into_inner);
        *resting = Some(Instant::now() + REST);
    }
}

/// What the reply to RCPT says.
fn verdict(reply: &Reply) -> Verdict {
    match reply.code() {
        200..=299 => Verdict::Valid,
        _ if reply.says_there_is_no_such_address() => Verdict::Invalid,
        _ => Verdict::Unknown,
    }
}

fn is_host(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
        || (is_domain(host.as_bytes()) && !host.starts_with('['))
}

/// A connection to a mail server.
struct Dialogue {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Dialogue {
    /// The reply to RCPT.
    async fn ask(&mut self, path: &Path, helo: &str) -> Result<Reply, CalloutError> {
        let greeting = self.reply().await?;
        accepted("the connection", 220, &greeting)?;
        not_ourselves(&greeting, helo)?;
        let is_international = self.greet(helo).await?;
        let mail = match (path.is_international(), is_international) {
            (false, _) => "MAIL FROM:<>",
            (true, true) => "MAIL FROM:<> SMTPUTF8",
            (true, false) => return Err(CalloutError::NotInternational),
        };
        accepted("MAIL", 250, &self.command(mail).await?)?;
        self.command(&format!("RCPT TO:<{}>", path.as_str())).await
    }

    /// Says EHLO, or HELO to a server that knows nothing else; whether it takes international
    /// addresses.
    async fn greet(&mut self, helo: &str) -> Result<bool, CalloutError> {
        let reply = self.command(&format!("EHLO {helo}")).await?;
        if (500..=599).contains(&reply.code()) {
            let reply = self.command(&format!("HELO {helo}")).await?;
            accepted("HELO", 250, &reply)?;
            not_ourselves(&reply, helo)?;
            return Ok(false);
        }
        accepted("EHLO", 250, &reply)?;
        not_ourselves(&reply, helo)?;
        Ok(reply.offers("SMTPUTF8"))
    }

    async fn command(&mut self, command: &str) -> Result<Reply, CalloutError> {
        let line = format!("{command}\r\n");
        self.stream.write_all(line.as_bytes()).await.map_err(CalloutError::Broken)?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply, CalloutError> {
        loop {
            let read = Reply::parse(&self.received).map_err(CalloutError::BadReply)?;
            if let Some((reply, length)) = read {
                self.received.drain(..length);
                // What comes before it was asked for would be taken for the next reply.
                return if self.received.is_empty() {
                    Ok(reply)
                } else {
                    Err(CalloutError::TooMuch)
                };
            }
            let mut piece = [0; 1024];
            match self.stream.read(&mut piece).await.map_err(CalloutError::Broken)? {
                0 => return Err(CalloutError::Closed),
                count => self.received.extend_from_slice(&piece[..count]),
            }
        }
    }
}

fn accepted(to: &'static str, code: u16, reply: &Reply) -> Result<(), CalloutError> {
    if reply.code() == code {
        return Ok(());
    }
    Err(CalloutError::Refused { to, reply: reply.clone() })
}

/// A host that asks itself would ask for ever.
fn not_ourselves(reply: &Reply, helo: &str) -> Result<(), CalloutError> {
    if reply.first_word().eq_ignore_ascii_case(helo.as_bytes()) {
        return Err(CalloutError::Ourselves);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mppd_engine::config::{Origin, Source, SourceMap, Span};

    use super::*;

    fn callout() -> Callout {
        let mut sources = SourceMap::default();
        let source = sources.add(Source { origin: Origin::Embedded("test"), text: String::new() });
        let span = Span { source, start: 0, end: 0 };
        let options = CalloutOptions {
            host: Spanned { value: "127.0.0.1".to_owned(), span },
            port: Positive(25),
            helo: None,
            timeout: None,
            connections: Positive(1),
            cache: KeepOptions::default(),
        };
        let logger = Logger::root(mppd_engine::slog::Discard, mppd_engine::slog::o!());
        let mut cx = BuildContext::new(&sources, logger);
        Callout::read(&options, &[], &mut cx).unwrap()
    }

    #[tokio::test]
    async fn who_has_no_time_left_after_the_queue_says_nothing_about_the_server() {
        let callout = callout();
        let late = callout.connected::<()>(std::future::pending(), Duration::ZERO).await;
        assert!(matches!(late, Err(CalloutError::Timeout(_))));
        assert!(!callout.is_resting());
    }
}
