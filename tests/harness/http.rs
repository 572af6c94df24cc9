//! A client of HTTP/1.1 that does what it is told, also what no browser would.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Asks for a path with these headers; one named Host takes the place of the usual one.
pub(crate) fn get(at: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    request(at, "GET", path, headers, "")
}

/// Sends a form.
pub(crate) fn post(at: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    request(at, "POST", path, headers, body)
}

fn request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut stream = send(at, method, path, headers, body);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    parse(&octets)
}

/// Asks for a path on a connection of any kind.
pub(crate) fn exchange(mut stream: impl Read + Write, path: &str) -> Response {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    parse(&octets)
}

/// Sends a request, and leaves the reading to whoever has the connection.
pub(crate) fn send(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> TcpStream {
    let mut stream = TcpStream::connect(at).unwrap();
    let mut head = String::new();
    write!(head, "{method} {path} HTTP/1.1\r\nConnection: close\r\n").unwrap();
    if !headers.iter().any(|(name, _)| *name == "Host") {
        write!(head, "Host: {at}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    if method == "POST" {
        head.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    stream
}

fn parse(octets: &[u8]) -> Response {
    let mut reader = BufReader::new(octets);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("this is no answer: {line}"));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    let body = if is_chunked { unchunked(&rest) } else { rest };
    Response { status, headers, body: String::from_utf8(body).unwrap() }
}

fn unchunked(mut octets: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = octets.windows(2).position(|pair| pair == b"\r\n") {
        let length = std::str::from_utf8(&octets[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        body.extend_from_slice(&octets[end + 2..end + 2 + length]);
        octets = &octets[end + 4 + length..];
    }
    body
}
