//! The seats of a worker: its connections, as somebody else can see them and take them over.
//!
//! A worker whose thread is stuck can't answer anybody. What its connections need for an answer
//! (the socket, and the request that is under way) is therefore kept here, where the watchdog can
//! take it. Whoever takes a request answers it: the session that began it, or somebody else; never
//! both.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use mppd_engine::Exchange;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::listener::{Connection, Counted, Peer, Room};
use crate::repeats::Claim;
use crate::traffic;

/// A request that is under way.
#[derive(Debug)]
pub struct UnderWay {
    /// The request, and what has become of it so far.
    pub exchange: Arc<Exchange>,
    /// Those who ask the same wait for this.
    pub claim: Option<Claim>,
    /// When it began.
    pub started: Instant,
    /// Counts it as long as it is under way.
    pub counted: traffic::UnderWay,
}

/// The socket of a connection. The session reads and writes; whoever takes the seat over has it as
/// well.
#[derive(Debug)]
pub enum Line {
    /// TCP.
    Inet(TcpStream),
    /// A socket file.
    Unix(UnixStream),
}

impl Line {
    /// Sends a last answer and ends the connection, whatever the runtime of its worker does. What
    /// does not go out at once does not go out: the peer does not read.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn end_with(&self, reply: &[u8]) -> io::Result<()> {
        let sent = self.socket().send(reply);
        self.end();
        sent.map(drop)
    }

    /// Ends the connection.
    pub fn end(&self) {
        // One that has ended already is as it should be.
        let _ended = self.socket().shutdown(Shutdown::Both);
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Line::Inet(stream) => SockRef::from(stream),
            Line::Unix(stream) => SockRef::from(stream),
        }
    }
}

/// The session's end of a line.
#[derive(Debug, Clone)]
pub struct Stream(pub Arc<Line>);

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let read = match &*self.0 {
                Line::Inet(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_read(buffer.initialize_unfilled())
                }
                Line::Unix(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_read(buffer.initialize_unfilled())
                }
            };
            match read {
                Ok(octets) => {
                    buffer.advance(octets);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let written = match &*self.0 {
                Line::Inet(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_write(octets)
                }
                Line::Unix(stream) => {
                    ready!(stream.poll_write_ready(cx))?;
                    stream.try_write(octets)
                }
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.end();
        Poll::Ready(Ok(()))
    }
}

/// The place of one connection.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    place: Place,
    under_way: Option<UnderWay>,
}

#[derive(Debug, Default)]
enum Place {
    /// It has come, and nobody serves it yet.
    Waiting(Connection, Counted),
    /// A session serves it.
    Served(Arc<Line>, Peer, Counted),
    /// It has ended, or somebody has taken it over.
    #[default]
    Empty,
}

impl Seat {
    /// The connection that waits here, to be served; `None` if somebody else has it. Its place is
    /// [filled](Seat::serve) at once.
    fn take_waiting(&self) -> Option<(Connection, Counted)> {
        let mut state = self.lock();
        match std::mem::take(&mut state.place) {
            Place::Waiting(connection, counted) => Some((connection, counted)),
            other => {
                state.place = other;
                None
            }
        }
    }

    /// Begins to serve the connection that waits here; `None` if somebody else does.
    ///
    /// # Errors
    /// The runtime can't have the socket.
    pub fn serve(&self) -> io::Result<Option<(Stream, Peer, Room)>> {
        let Some((connection, counted)) = self.take_waiting() else { return Ok(None) };
        let (line, peer) = match connection {
            Connection::Inet(stream, peer) => (Line::Inet(TcpStream::from_std(stream)?), peer),
            Connection::Unix(stream, peer) => (Line::Unix(UnixStream::from_std(stream)?), peer),
        };
        let (line, room) = (Arc::new(line), counted.room());
        self.lock().place = Place::Served(line.clone(), peer.clone(), counted);
        Ok(Some((Stream(line), peer, room)))
    }

    /// A request is under way from now on.
    pub fn begin(&self, request: UnderWay) {
        self.lock().under_way = Some(request);
    }

    /// The request that is under way, to be answered; `None` if somebody else answers it.
    pub fn finish(&self) -> Option<UnderWay> {
        self.lock().under_way.take()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let state = self.lock();
        state.under_way.as_ref().is_some_and(|request| request.exchange.deadline() <= now)
    }

    fn take(&self) -> Taken {
        let mut state = self.lock();
        if let Some(request) = &state.under_way {
            request.exchange.take_over();
        }
        let state = std::mem::take(&mut *state);
        match (state.place, state.under_way) {
            (Place::Waiting(connection, counted), _) => Taken::Connection(connection, counted),
            (Place::Served(line, peer, counted), Some(request)) => {
                Taken::Request(Orphan { line, peer, request, counted })
            }
            (Place::Served(line, ..), None) => Taken::Line(line),
            (Place::Empty, _) => Taken::Nothing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can leave it half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A seat without a connection: for sessions that nobody can take over.
impl Default for Seat {
    fn default() -> Self {
        Seat { number: 0, state: Mutex::default() }
    }
}

/// A request whose worker can't answer it, with all that an answer takes.
#[derive(Debug)]
pub struct Orphan {
    /// Where the answer goes.
    pub line: Arc<Line>,
    /// Who has asked.
    pub peer: Peer,
    /// What.
    pub request: UnderWay,
    /// Counts the connection until then.
    pub counted: Counted,
}

/// What was found on a seat that was taken over.
#[derive(Debug)]
pub enum Taken {
    /// Nobody has served it yet.
    Connection(Connection, Counted),
    /// A request is under way.
    Request(Orphan),
    /// None is.
    Line(Arc<Line>),
    /// It had ended.
    Nothing,
}

/// The seats of one worker.
#[derive(Debug, Default)]
pub struct Seats {
    next: AtomicU64,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
}

impl Seats {
    /// Gives a connection a seat, until what is returned is dropped.
    #[must_use]
    pub fn admit(self: &Arc<Self>, connection: Connection, counted: Counted) -> Seated {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let state = State { place: Place::Waiting(connection, counted), under_way: None };
        let seat = Arc::new(Seat { number, state: Mutex::new(state) });
        self.lock().insert(number, seat.clone());
        Seated { seats: self.clone(), seat }
    }

    /// Whether a request should have been answered by now.
    #[must_use]
    pub fn are_overdue(&self, now: Instant) -> bool {
        self.lock().values().any(|seat| seat.is_overdue(now))
    }

    /// Takes over everything.
    #[must_use]
    pub fn take_all(&self) -> Vec<Taken> {
        let seats = std::mem::take(&mut *self.lock());
        seats.into_values().map(|seat| seat.take()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection has a seat as long as this lives.
#[derive(Debug)]
pub struct Seated {
    seats: Arc<Seats>,
    seat: Arc<Seat>,
}

impl Seated {
    /// The seat.
    #[must_use]
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        self.seats.lock().remove(&self.seat.number);
        // A session that panicked has left a request behind; its claim must not wait for ever.
        *self.seat.lock() = State::default();
    }
}
