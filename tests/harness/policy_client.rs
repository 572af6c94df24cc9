//! A blocking client of the policy protocol that can cut its octets anywhere.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::PATIENCE;

/// Where a policy server listens.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet(address) => write!(f, "inet:{address}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

enum Stream {
    Inet(TcpStream),
    Unix(UnixStream),
}

/// One policy connection.
pub(crate) struct PolicyClient {
    stream: Stream,
    received: Vec<u8>,
}

impl PolicyClient {
    pub(crate) fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        let stream = match endpoint {
            Endpoint::Inet(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                Stream::Inet(stream)
            }
            Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        let mut client = PolicyClient { stream, received: Vec::new() };
        client.wait_at_most(PATIENCE)?;
        Ok(client)
    }

    /// How long a read or write may take from now on.
    pub(crate) fn wait_at_most(&mut self, time: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Inet(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.set_write_timeout(Some(time))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(time))?;
                stream.set_write_timeout(Some(time))
            }
        }
    }

    /// The port at this end; 0 on a `unix:` connection.
    pub(crate) fn local_port(&self) -> u16 {
        match &self.stream {
            Stream::Inet(stream) => stream.local_addr().unwrap().port(),
            Stream::Unix(_) => 0,
        }
    }

    /// Sends the octets in one write.
    pub(crate) fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Inet(stream) => stream.write_all(octets),
            Stream::Unix(stream) => stream.write_all(octets),
        }
    }

    /// Says that nothing more will be sent; the server can still answer.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match &self.stream {
            Stream::Inet(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads one reply, without the empty line that ends it.
    pub(crate) fn reply(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.received.split_off(end + 2);
                self.received.truncate(end);
                let reply = std::mem::replace(&mut self.received, rest);
                return String::from_utf8(reply).map_err(io::Error::other);
            }
            if !self.read_more()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The action of the reply to `octets`.
    pub(crate) fn ask(&mut self, octets: &[u8]) -> io::Result<String> {
        self.send(octets)?;
        let reply = self.reply()?;
        let action = reply.strip_prefix("action=");
        let action = action.ok_or_else(|| io::Error::other(format!("no action: {reply:?}")))?;
        Ok(action.to_owned())
    }

    /// Everything that still comes until the server closes.
    pub(crate) fn until_closed(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.read_more() {
                Ok(true) => {}
                Ok(false) => return Ok(std::mem::take(&mut self.received)),
                // The server closed with octets of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(std::mem::take(&mut self.received));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn read_more(&mut self) -> io::Result<bool> {
        let mut octets = [0; 8192];
        let count = match &mut self.stream {
            Stream::Inet(stream) => stream.read(&mut octets)?,
            Stream::Unix(stream) => stream.read(&mut octets)?,
        };
        self.received.extend_from_slice(&octets[..count]);
        Ok(count > 0)
    }
}

/// A request in the making, as Postfix 3.7 sends one at RCPT; each has an instance of its own.
#[derive(Debug, Clone)]
pub(crate) struct PolicyRequest {
    attributes: Vec<(String, Vec<u8>)>,
}

impl PolicyRequest {
    /// One that says only that it is a policy request.
    pub(crate) fn empty() -> Self {
        PolicyRequest { attributes: vec![("request".to_owned(), b"smtpd_access_policy".to_vec())] }
    }

    pub(crate) fn new() -> Self {
        let attributes = [
            ("request", "smtpd_access_policy"),
            ("protocol_state", "RCPT"),
            ("protocol_name", "ESMTP"),
            ("client_address", "192.0.2.17"),
            ("client_name", "mail.example.net"),
            ("client_port", "40025"),
            ("reverse_client_name", "mail.example.net"),
            ("server_address", "198.51.100.25"),
            ("server_port", "25"),
            ("helo_name", "mail.example.net"),
            ("sender", "alice@example.org"),
            ("recipient", "bob@example.com"),
            ("recipient_count", "0"),
            ("queue_id", ""),
            ("instance", &fresh_instance()),
            ("size", "0"),
            ("etrn_domain", ""),
            ("stress", ""),
            ("sasl_method", ""),
            ("sasl_username", ""),
            ("sasl_sender", ""),
            ("ccert_subject", ""),
            ("ccert_issuer", ""),
            ("ccert_fingerprint", ""),
            ("ccert_pubkey_fingerprint", ""),
            ("encryption_protocol", ""),
            ("encryption_cipher", ""),
            ("encryption_keysize", "0"),
            ("policy_context", ""),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.into()));
        PolicyRequest { attributes: attributes.into() }
    }

    /// The request with this value of an attribute, known or not.
    pub(crate) fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref().to_vec();
        match self.attributes.iter_mut().find(|(found, _)| found == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
        self
    }

    /// The key of the request's mail transaction.
    pub(crate) fn instance(&self) -> String {
        let instance = self.attributes.iter().find(|(name, _)| name == "instance");
        String::from_utf8(instance.unwrap().1.clone()).unwrap()
    }

    /// What goes over the wire.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(700);
        for (name, value) in &self.attributes {
            octets.extend_from_slice(name.as_bytes());
            octets.push(b'=');
            octets.extend_from_slice(value);
            octets.push(b'\n');
        }
        octets.push(b'\n');
        octets
    }
}

/// A key of a mail transaction, in Postfix's form, that no other request of this run has.
pub(crate) fn fresh_instance() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{process:x}.{:x}.{:x}.{count:x}", now.as_secs(), now.subsec_micros())
}
