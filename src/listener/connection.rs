//! A connection on its way from its socket to a worker.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix::Message;

use crate::seat::Seated;
use crate::traffic::Traffic;

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A TCP client.
    Inet(SocketAddr),
    /// A process on this machine, by its ID where the system tells.
    Unix(Option<i32>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Inet(address) => write!(f, "{address}"),
            Peer::Unix(Some(pid)) => write!(f, "unix:pid={pid}"),
            Peer::Unix(None) => f.write_str("unix"),
        }
    }
}

/// A connection, on its way from the listener to a worker.
#[derive(Debug)]
pub enum Connection {
    /// Over TCP.
    Inet(std::net::TcpStream, Peer),
    /// Over a socket file.
    Unix(std::os::unix::net::UnixStream, Peer),
}

/// How much room there is for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It is served to its end.
    Whole,
    /// There are too many: it gets one answer, and is closed.
    OneAnswer,
}

/// Counts a connection for as long as it lives.
#[derive(Debug)]
pub struct Counted {
    room: Room,
    traffic: Arc<Traffic>,
    /// Those of its worker.
    worker: Arc<AtomicU32>,
}

impl Counted {
    /// Counts one more.
    #[must_use]
    pub fn enter(room: Room, traffic: Arc<Traffic>, worker: Arc<AtomicU32>) -> Self {
        let counted = Counted { room, traffic, worker };
        counted.all().fetch_add(1, Ordering::Relaxed);
        counted.worker.fetch_add(1, Ordering::Relaxed);
        counted
    }

    /// How much room there is for it.
    #[must_use]
    pub fn room(&self) -> Room {
        self.room
    }

    fn all(&self) -> &AtomicU32 {
        match self.room {
            Room::Whole => &self.traffic.connections,
            Room::OneAnswer => &self.traffic.turning_away,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all().fetch_sub(1, Ordering::Relaxed);
        self.worker.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serve the connection that waits on this seat.
pub struct Serve {
    /// The seat.
    pub seated: Seated,
}

impl Message for Serve {
    type Result = ();
}
