//! TCP and `unix:` connections behind one type.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Where a policy server listens: `HOST:PORT`, or the path of a `unix:` socket.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// A TCP address.
    Inet(String),
    /// A socket file.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("unix:").or_else(|| text.starts_with('/').then_some(text));
        Ok(match path {
            Some(path) => Endpoint::Unix(path.into()),
            None => Endpoint::Inet(text.strip_prefix("inet:").unwrap_or(text).to_owned()),
        })
    }
}

impl Endpoint {
    /// Connects.
    ///
    /// # Errors
    /// Whatever the system says.
    pub async fn connect(&self) -> io::Result<Socket> {
        match self {
            Endpoint::Inet(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Inet(stream))
            }
            Endpoint::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Listens; a socket file that is in the way is replaced.
    ///
    /// # Errors
    /// Whatever the system says.
    pub async fn listen(&self) -> io::Result<Listener> {
        match self {
            Endpoint::Inet(address) => Ok(Listener::Inet(TcpListener::bind(address).await?)),
            Endpoint::Unix(path) => {
                if path.exists() {
                    std::fs::remove_file(path)?;
                }
                Ok(Listener::Unix(UnixListener::bind(path)?))
            }
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Inet(TcpListener),
    /// A socket file.
    Unix(UnixListener),
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// Whatever the system says.
    pub async fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Inet(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Socket::Inet(stream))
            }
            Listener::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Inet(TcpStream),
    /// A socket file.
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Inet(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Inet(stream) => Pin::new(stream).poll_write(cx, octets),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Inet(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Inet(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
