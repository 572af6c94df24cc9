//! The least policy server: splits the stream at empty lines and answers DUNNO. What a real one
//! costs is measured against it.

use std::io;

use clap::Parser;
use mppd_load::socket::{Endpoint, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REPLY: &[u8] = b"action=DUNNO\n\n";

/// Answers DUNNO to everything.
#[derive(Debug, Parser)]
struct Arguments {
    /// `HOST:PORT` or `unix:PATH`.
    endpoint: Endpoint,
    /// Worker threads.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    workers: usize,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(arguments.workers).enable_all().build()?;
    runtime.block_on(async {
        let listener = arguments.endpoint.listen().await?;
        loop {
            let socket = listener.accept().await?;
            tokio::spawn(async move {
                // The client went away; nothing is lost by it.
                drop(serve(socket).await);
            });
        }
    })
}

async fn serve(mut socket: Socket) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(8192);
    let mut replies = Vec::new();
    while socket.read_buf(&mut buffer).await? > 0 {
        let mut begin = 0;
        while let Some(length) = request_length(&buffer[begin..]) {
            begin += length;
            replies.extend_from_slice(REPLY);
        }
        buffer.drain(..begin);
        if !replies.is_empty() {
            socket.write_all(&replies).await?;
            replies.clear();
        }
    }
    Ok(())
}

fn request_length(octets: &[u8]) -> Option<usize> {
    let mut begin = 0;
    loop {
        let length = octets[begin..].iter().position(|octet| *octet == b'\n')?;
        begin += length + 1;
        if length == 0 {
            return Some(begin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_ends_with_an_empty_line() {
        assert_eq!(request_length(b"a=b\nc=d\n\nx"), Some(9));
        assert_eq!(request_length(b"a=b\nc=d\n"), None);
        assert_eq!(request_length(b""), None);
    }
}
