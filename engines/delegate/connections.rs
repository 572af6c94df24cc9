//! The connections of one worker to one policy server.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mppd_engine::{Endpoint, Unreached};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Why a server was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("no connection")]
    Connect(#[source] io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("the server closed the connection without a reply")]
    Closed,
    #[error("the server closed the connection in the middle of its reply")]
    Cut,
    #[error("the reply is longer than {0} octets")]
    TooLong(usize),
}

/// The limits of the connections to one server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How many there are at a time.
    pub(super) connections: u32,
    /// How long opening one may take.
    pub(super) connect: Duration,
    /// For how long an unused one is kept.
    pub(super) idle: Duration,
    /// How many octets a reply may have.
    pub(super) reply: usize,
}

/// The connections of one worker to one server. A clone is another worker's: sockets belong to the
/// runtime on which they were opened, so it starts without any.
#[derive(Debug)]
pub(super) struct Connections {
    server: Arc<Endpoint>,
    limits: Limits,
    permits: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Clone for Connections {
    fn clone(&self) -> Self {
        Connections::of(self.server.clone(), self.limits)
    }
}

impl Connections {
    pub(super) fn new(server: Endpoint, limits: Limits) -> Self {
        Connections::of(Arc::new(server), limits)
    }

    fn of(server: Arc<Endpoint>, limits: Limits) -> Self {
        let most = usize::try_from(limits.connections).unwrap_or(usize::MAX);
        let permits = Semaphore::new(most.min(Semaphore::MAX_PERMITS));
        Connections { server, limits, permits, idle: Mutex::default() }
    }

    pub(super) fn server(&self) -> &Endpoint {
        &self.server
    }

    /// Asks one question; the reply without the empty line that ends it.
    pub(super) async fn ask(&self, question: &[u8]) -> Result<Vec<u8>, AskError> {
        // The semaphore is never closed; a permit that is missing would only lift the limit.
        let _permit = self.permits.acquire().await.ok();
        if let Some(connection) = self.take_idle() {
            match self.ask_on(connection, question).await {
                // Closed between two questions: only now is it seen.
                Err(AskError::Broken(_) | AskError::Closed) => {}
                answered => return answered,
            }
        }
        let connection = self.connect().await?;
        self.ask_on(connection, question).await
    }

    /// The connection is given back only after a whole reply and nothing more; in any other case,
    /// also when this future is dropped, it is closed.
    async fn ask_on(
        &self,
        mut connection: Connection,
        question: &[u8],
    ) -> Result<Vec<u8>, AskError> {
        let (reply, surplus) = connection.ask(question, self.limits.reply).await?;
        if !surplus {
            self.lock_idle().push(Idle { connection, since: Instant::now() });
        }
        Ok(reply)
    }

    /// The connection that was used last, if it is still good; the outdated ones are closed.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock_idle();
        idle.retain(|idle| idle.since.elapsed() <= self.limits.idle);
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A push or pop cannot leave the vector half-way, so a poisoned lock is as good as any.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server takes connections; it is asked nothing.
    pub(super) async fn reach(&self) -> Result<String, Unreached> {
        match self.connect().await {
            Ok(_) => Ok("takes connections".to_owned()),
            Err(AskError::Connect(error)) => Err(Unreached::no_connection(error)),
            Err(error) => Err(Unreached::new(error.to_string())),
        }
    }

    async fn connect(&self) -> Result<Connection, AskError> {
        let limit = self.limits.connect;
        match timeout(limit, Connection::open(&self.server)).await {
            Ok(opened) => opened.map_err(AskError::Connect),
            Err(_) => Err(AskError::ConnectTimeout(limit)),
        }
    }
}

#[derive(Debug)]
enum Connection {
    Inet(TcpStream),
    Unix(UnixStream),
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Connection {
    async fn open(server: &Endpoint) -> io::Result<Self> {
        match server {
            Endpoint::Inet { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Inet(stream))
            }
            Endpoint::Unix(path) => Ok(Connection::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Whether an idle connection has neither been closed nor sent what nobody asked for.
    fn is_quiet(&self) -> bool {
        let mut octet = [0];
        let read = match self {
            Connection::Inet(stream) => stream.try_read(&mut octet),
            Connection::Unix(stream) => stream.try_read(&mut octet),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn stream(&mut self) -> &mut dyn Stream {
        match self {
            Connection::Inet(stream) => stream,
            Connection::Unix(stream) => stream,
        }
    }

    /// The reply to a question, and whether more than the reply came.
    async fn ask(&mut self, question: &[u8], most: usize) -> Result<(Vec<u8>, bool), AskError> {
        let stream = self.stream();
        stream.write_all(question).await.map_err(AskError::Broken)?;
        let mut reply = Vec::new();
        loop {
            let known = reply.len();
            let mut piece = [0; 1024];
            let count = match stream.read(&mut piece).await {
                Ok(0) | Err(_) if known > 0 => return Err(AskError::Cut),
                Ok(0) => return Err(AskError::Closed),
                Ok(count) => count,
                Err(error) => return Err(AskError::Broken(error)),
            };
            reply.extend_from_slice(&piece[..count]);
            if let Some(end) = end_of_reply(&reply, known) {
                let surplus = reply.len() > end + END.len();
                reply.truncate(end);
                return if end > most {
                    Err(AskError::TooLong(most))
                } else {
                    Ok((reply, surplus))
                };
            }
            if reply.len() > most {
                return Err(AskError::TooLong(most));
            }
        }
    }
}

/// What ends a reply.
const END: &[u8] = b"\n\n";

/// Where the end of the reply begins, if it has come; the first `known` octets do not hold it
/// whole.
fn end_of_reply(reply: &[u8], known: usize) -> Option<usize> {
    let start = known.saturating_sub(END.len() - 1);
    let found = reply[start..].windows(END.len()).position(|octets| octets == END)?;
    Some(start + found)
}
