//! `mppd ask`: a policy client. Sends requests as Postfix would and prints the replies.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mppd_engine::endpoint::EndpointError;
use mppd_engine::request::Malformed;
use mppd_engine::{Escaped, Request};

use super::Settings;
use crate::listener::Endpoint;
use crate::plan::Plan;
use crate::policy::codec::{BadInput, Decoder, Limits};

/// Options of `mppd ask`.
#[derive(Debug, Args)]
pub(super) struct AskArguments {
    /// A file with one or more requests; standard input unless given or --attr is used
    #[arg(value_name = "FILE", conflicts_with = "attr")]
    file: Option<PathBuf>,
    /// An attribute of the request, in order; may be given many times
    #[arg(long, value_name = "NAME=VALUE")]
    attr: Vec<String>,
    /// Whom to ask: inet:HOST:PORT or unix:PATH; the first <listen> unless given
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    /// How many seconds to wait for each reply
    #[arg(long, value_name = "SECONDS", default_value_t = 100)]
    timeout: u64,
    /// Prints one JSON object a reply
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("can't read {file}: {source}")]
    Read { file: String, source: io::Error },
    #[error("\"{0}\" is not NAME=VALUE")]
    Attribute(String),
    #[error("not a request that mppd would accept: {0}")]
    BadInput(#[from] BadInput),
    #[error("not a request that mppd would accept: {0}")]
    Malformed(#[from] Malformed),
    #[error("no request was given")]
    Nothing,
    #[error("{0}; give inet:HOST:PORT or unix:PATH")]
    Endpoint(#[from] EndpointError),
    #[error("whom to ask? The configuration can't be read; name it by --to ENDPOINT")]
    Unknown,
    #[error("can't reach {endpoint}: {source}; is mppd running there?")]
    Connect { endpoint: Endpoint, source: io::Error },
    #[error("no reply from {endpoint}: {source}")]
    Talk { endpoint: Endpoint, source: io::Error },
    #[error("{endpoint} closed the connection without a reply; its log says why")]
    Closed { endpoint: Endpoint },
    #[error("can't print: {0}")]
    Print(io::Error),
}

pub(super) fn run(settings: &Settings, arguments: &AskArguments) -> ExitCode {
    match ask(settings, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(AskError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mppd ask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(settings: &Settings, arguments: &AskArguments) -> Result<(), AskError> {
    let requests = requests(arguments)?;
    let endpoint = endpoint(settings, arguments)?;
    let timeout = Duration::from_secs(arguments.timeout.max(1));
    let mut connection = connect(&endpoint, timeout)
        .map_err(|source| AskError::Connect { endpoint: endpoint.clone(), source })?;
    for request in requests {
        let reply = connection.ask(&request);
        let reply =
            reply.map_err(|source| AskError::Talk { endpoint: endpoint.clone(), source })?;
        let reply = reply.ok_or_else(|| AskError::Closed { endpoint: endpoint.clone() })?;
        print(&reply, arguments.json).map_err(AskError::Print)?;
    }
    Ok(())
}

fn requests(arguments: &AskArguments) -> Result<Vec<Request>, AskError> {
    if !arguments.attr.is_empty() {
        return Ok(vec![Request::from_attributes(attributes(&arguments.attr)?)?]);
    }
    read_requests(arguments.file.as_deref())
}

/// What stands on the command line as `NAME=VALUE`.
pub(super) fn attributes(given: &[String]) -> Result<Vec<(String, String)>, AskError> {
    let split = |text: &String| -> Result<(String, String), AskError> {
        let pair = text.split_once('=').ok_or_else(|| AskError::Attribute(text.clone()))?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    };
    given.iter().map(split).collect()
}

/// The requests in a file, or in standard input.
pub(super) fn read_requests(file: Option<&Path>) -> Result<Vec<Request>, AskError> {
    decode(read(file)?)
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, AskError> {
    let named = file.filter(|file| file.as_os_str() != "-");
    if let Some(file) = named {
        let failed = |source| AskError::Read { file: file.display().to_string(), source };
        return fs::read(file).map_err(failed);
    }
    let mut octets = Vec::new();
    let failed = |source| AskError::Read { file: "standard input".to_owned(), source };
    io::stdin().read_to_end(&mut octets).map_err(failed)?;
    Ok(octets)
}

/// Reads the requests of a file; the last may lack its empty line.
fn decode(mut octets: Vec<u8>) -> Result<Vec<Request>, AskError> {
    if octets.is_empty() {
        return Err(AskError::Nothing);
    }
    if !octets.ends_with(b"\n") {
        octets.push(b'\n');
    }
    if !octets.ends_with(b"\n\n") {
        octets.push(b'\n');
    }
    // The server has limits of its own; what it says to a longer request is worth seeing.
    let mut decoder = Decoder::new(Limits { line: usize::MAX, request: usize::MAX });
    decoder.buffer().append(&mut octets);
    let mut requests = Vec::new();
    while let Some(request) = decoder.decode()? {
        requests.push(request);
    }
    Ok(requests)
}

fn endpoint(settings: &Settings, arguments: &AskArguments) -> Result<Endpoint, AskError> {
    if let Some(text) = &arguments.to {
        return Ok(text.parse()?);
    }
    let plan = Plan::load(&settings.load_request(), &settings.kinds, &crate::log::silent())
        .map_err(|_| AskError::Unknown)?;
    plan.listen.into_iter().next().map(|listen| listen.endpoint).ok_or(AskError::Unknown)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A connection to a policy server.
struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

fn connect(endpoint: &Endpoint, timeout: Duration) -> io::Result<Connection> {
    let stream: Box<dyn Stream> = match endpoint {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            Box::new(stream)
        }
        Endpoint::Inet { .. } => {
            let stream = TcpStream::connect(&*endpoint.addresses()?)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    };
    Ok(Connection { stream: BufReader::new(stream) })
}

impl Connection {
    /// Sends a request and reads the reply; `None` when the connection is closed instead.
    fn ask(&mut self, request: &Request) -> io::Result<Option<Vec<u8>>> {
        self.stream.get_mut().write_all(request.octets())?;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\n\n") {
            if self.stream.read_until(b'\n', &mut reply)? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(reply))
    }
}

fn print(reply: &[u8], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !json {
        for line in reply.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            writeln!(out, "{}", Escaped(line))?;
        }
        return out.flush();
    }
    let text = String::from_utf8_lossy(reply);
    let action = text.lines().find_map(|line| line.strip_prefix("action=")).unwrap_or_default();
    let (word, text) = action.split_once(' ').unwrap_or((action, ""));
    writeln!(out, "{}", serde_json::json!({ "action": word, "text": text }))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_hold_several_requests_and_lack_its_last_lines() {
        let file = b"request=smtpd_access_policy\nsize=1\n\nrequest=smtpd_access_policy\nsize=2";
        assert_eq!(decode(file.to_vec()).unwrap().len(), 2);
        assert!(matches!(decode(Vec::new()), Err(AskError::Nothing)));
    }
}
