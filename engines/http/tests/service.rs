//! A Web service that gives prepared answers and keeps what it was asked, octet for octet.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_rustls::TlsAcceptor;

/// One request, as it came.
#[derive(Debug)]
pub(super) struct Seen {
    /// The how manieth connection it came on, from 0.
    pub(super) connection: usize,
    pub(super) line: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    #[track_caller]
    pub(super) fn header(&self, name: &str) -> &[u8] {
        let mut found = self.headers.iter().filter(|(found, _)| found == name);
        let (_, value) = found.next().unwrap();
        assert!(found.next().is_none(), "{name} stands there twice");
        value
    }
}

pub(super) struct Service {
    pub(super) origin: String,
    seen: UnboundedReceiver<Seen>,
}

/// An answer of success.
pub(super) fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

impl Service {
    /// Gives these answers, one to each request; the last one again and again.
    pub(super) async fn start(answers: Vec<Vec<u8>>) -> Self {
        Service::start_with(answers, None).await
    }

    pub(super) async fn start_tls(answers: Vec<Vec<u8>>) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/harness/tls");
        let certificate = fs::read(directory.join("server.pem")).unwrap();
        let key = fs::read(directory.join("server-key.pem")).unwrap();
        let certificates = CertificateDer::pem_slice_iter(&certificate).map(Result::unwrap);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.collect(), PrivateKeyDer::from_pem_slice(&key).unwrap())
            .unwrap();
        Service::start_with(answers, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(answers: Vec<Vec<u8>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (sender, seen) = unbounded_channel();
        tokio::spawn(async move {
            let mut answers = Answers(answers);
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                match &tls {
                    None => serve(connection, stream, &mut answers, &sender).await,
                    Some(tls) => {
                        let Ok(stream) = tls.accept(stream).await else { continue };
                        serve(connection, stream, &mut answers, &sender).await;
                    }
                }
            }
        });
        Service { origin, seen }
    }

    /// The next request that came.
    pub(super) async fn seen(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    /// The next request, if one has come.
    pub(super) fn taken(&mut self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }
}

struct Answers(Vec<Vec<u8>>);

impl Answers {
    fn next(&mut self) -> Vec<u8> {
        if self.0.len() > 1 { self.0.remove(0) } else { self.0[0].clone() }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    connection: usize,
    mut stream: S,
    answers: &mut Answers,
    sender: &UnboundedSender<Seen>,
) {
    while let Some(seen) = read_request(connection, &mut stream).await {
        // Nobody looks at it any more where the test has ended.
        drop(sender.send(seen));
        if stream.write_all(&answers.next()).await.is_err() {
            return;
        }
    }
}

/// Reads strictly: whatever is not one request, framed by its length, panics.
async fn read_request<S: AsyncRead + Unpin>(connection: usize, stream: &mut S) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        if stream.read(&mut octet).await.unwrap_or(0) == 0 {
            assert!(head.is_empty(), "a request without an end: {head:?}");
            return None;
        }
        head.push(octet[0]);
    }
    head.truncate(head.len() - 4);
    let mut lines =
        head.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = String::from_utf8(lines.next().unwrap().to_vec()).unwrap();
    let header = |line: &[u8]| {
        let colon = line.iter().position(|octet| *octet == b':').expect("a header has a colon");
        let name = String::from_utf8(line[..colon].to_vec()).unwrap().to_lowercase();
        (name, line[colon + 1..].trim_ascii().to_vec())
    };
    let headers: Vec<(String, Vec<u8>)> = lines.map(header).collect();
    let mut seen = Seen { connection, line, headers, body: Vec::new() };
    if seen.headers.iter().any(|(name, _)| name == "content-length") {
        let length = String::from_utf8(seen.header("content-length").to_vec()).unwrap();
        seen.body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut seen.body).await.unwrap();
    }
    Some(seen)
}
