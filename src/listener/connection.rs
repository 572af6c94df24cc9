//! A connection on its way from its socket to a worker.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix::Message;

use crate::seat::Seated;

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

/// Counts one for as long as it lives.
#[derive(Debug)]
pub struct Counted(Vec<Arc<AtomicU32>>);

impl Counted {
    /// Adds one to each counter.
    #[must_use]
    pub fn enter(counters: Vec<Arc<AtomicU32>>) -> Self {
        for counter in &counters {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Counted(counters)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for counter in &self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
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
