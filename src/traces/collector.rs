//! The collector, and how it is reached: HTTP/1.1 without encryption, one connection for each call.
//! A collector stands beside the server, and encrypts what it passes on.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use mppd_engine::{Probe, Unreached};

/// The port of OTLP over HTTP.
const PORT: u16 = 4318;

/// Where traces are taken in.
const PATH: &str = "/v1/traces";

/// Most octets of an answer that are looked at.
const LONGEST_ANSWER: usize = 4 << 10;

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Collector {
    host: String,
    port: u16,
    path: String,
    timeout: Duration,
}

/// Why a text is no place of a collector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoCollector {
    #[error("\"{0}\" is no place of a collector that can be reached")]
    Text(String),
    #[error("\"{0}\" asks for encryption, and traces are sent without")]
    Encrypted(String),
}

/// Why a collector did not take traces in.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the collector can't be reached: {0}")]
    Connect(#[source] io::Error),
    #[error("the collector can't be told: {0}")]
    Exchange(#[from] io::Error),
    #[error("the collector took too long")]
    TooLong,
    #[error("the collector answered with {0}")]
    Refused(String),
}

impl Collector {
    pub(super) fn parse(text: &str, timeout: Duration) -> Result<Self, NoCollector> {
        let text = text.trim();
        if text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(NoCollector::Encrypted(text.to_owned()));
        }
        let parsed = text.strip_prefix("http://").and_then(|rest| {
            let (place, path) = match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, PATH),
            };
            let (host, port) = split_port(place)?;
            let path = if path == "/" { PATH } else { path };
            let is_plain = |text: &str| text.bytes().all(|octet| octet.is_ascii_graphic());
            let is_sound = !host.is_empty() && !host.contains('@') && is_plain(host);
            (is_sound && is_plain(path)).then(|| Collector {
                host: host.to_owned(),
                port,
                path: path.to_owned(),
                timeout,
            })
        });
        parsed.ok_or_else(|| NoCollector::Text(text.to_owned()))
    }

    /// A probe: whether it takes connections. It is given nothing.
    pub(super) fn probe(&self) -> Probe {
        let (host, port) = (self.host.clone(), self.port);
        Probe::new(format!("http://{}", self.place()), async move {
            let connected = tokio::net::TcpStream::connect((host.as_str(), port)).await;
            connected.map_err(Unreached::no_connection)?;
            Ok("takes connections".to_owned())
        })
    }

    /// Host and port, as a URL has them.
    fn place(&self) -> String {
        if self.host.contains(':') {
            return format!("[{}]:{}", self.host, self.port);
        }
        format!("{}:{}", self.host, self.port)
    }

    /// Gives it traces.
    pub(super) fn post(&self, body: &[u8]) -> Result<(), PostError> {
        let end = Instant::now() + self.timeout;
        let mut stream = self.connect(end)?;
        stream.set_write_timeout(Some(self.timeout))?;
        let place = self.place();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: mppd/{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.path,
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let line = first_line(&mut stream, end)?;
        match line.split(' ').nth(1) {
            Some(code) if code.starts_with('2') => Ok(()),
            _ => Err(PostError::Refused(line)),
        }
    }

    fn connect(&self, end: Instant) -> Result<TcpStream, PostError> {
        let addresses = (&*self.host, self.port).to_socket_addrs().map_err(PostError::Connect)?;
        let mut last = PostError::Connect(io::ErrorKind::AddrNotAvailable.into());
        for address in addresses {
            match TcpStream::connect_timeout(&address, left(end)?) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = PostError::Connect(error),
            }
        }
        Err(last)
    }
}

/// The host without its brackets, and the port.
fn split_port(place: &str) -> Option<(&str, u16)> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => Some((host, port.parse().ok()?)),
            None => port.is_empty().then_some((host, PORT)),
        };
    }
    match place.split_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((place, PORT)),
    }
}

fn left(end: Instant) -> Result<Duration, PostError> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(PostError::TooLong) } else { Ok(left) }
}

/// The first line of the answer, by the end.
fn first_line(stream: &mut TcpStream, end: Instant) -> Result<String, PostError> {
    let (mut answer, mut piece) = (Vec::new(), [0; 512]);
    while !answer.contains(&b'\n') && answer.len() < LONGEST_ANSWER {
        stream.set_read_timeout(Some(left(end)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            octets => answer.extend_from_slice(&piece[..octets]),
        }
    }
    let line = answer.split(|octet| *octet == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim_end().escape_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(text: &str) -> Option<(String, u16, String)> {
        let collector = Collector::parse(text, Duration::from_secs(1)).ok()?;
        Some((collector.host, collector.port, collector.path))
    }

    #[test]
    fn a_place_has_a_usual_port_and_path() {
        let at = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(collector("http://otel"), at("otel", 4318, "/v1/traces"));
        assert_eq!(collector("http://otel:80/"), at("otel", 80, "/v1/traces"));
        assert_eq!(collector(" http://[::1]:9/a/b "), at("::1", 9, "/a/b"));
        assert_eq!(collector("http://[::1]"), at("::1", 4318, "/v1/traces"));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in
            ["", "otel:4318", "https://otel", "http://", "http://a:b", "http://u@h", "http://a b"]
        {
            assert_eq!(collector(text), None, "{text}");
        }
    }

    #[test]
    fn encryption_is_refused_as_such() {
        let refused = Collector::parse("HTTPS://otel:4318", Duration::from_secs(1)).unwrap_err();
        let expected = "\"HTTPS://otel:4318\" asks for encryption, and traces are sent without";
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn nobody_there_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let collector =
            Collector::parse(&format!("http://127.0.0.1:{port}"), Duration::from_secs(9));
        assert!(matches!(collector.unwrap().post(b"{}"), Err(PostError::Connect(_))));
    }
}
