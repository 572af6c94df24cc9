//! A Web service of the test's own: what it answers depends on the first line of a request only.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

type Answers = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// A service that runs as long as the test.
pub(crate) struct WebService {
    /// Where it is found: `http://127.0.0.1:PORT`.
    pub(crate) origin: String,
    /// The first lines of the requests that came.
    pub(crate) lines: Receiver<String>,
}

impl WebService {
    /// Starts one that answers a first line with a code and a body.
    pub(crate) fn start(answers: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (sender, lines) = channel();
        let answers: Arc<Answers> = Arc::new(answers);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (answers, sender) = (Arc::clone(&answers), sender.clone());
                std::thread::spawn(move || serve(stream, &*answers, &sender));
            }
        });
        WebService { origin, lines }
    }
}

fn serve(mut stream: TcpStream, answers: &Answers, sender: &Sender<String>) {
    let reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    for line in reader.lines() {
        let Ok(line) = line else { return };
        if first.is_empty() {
            first.clone_from(&line);
        }
        if !line.is_empty() {
            continue;
        }
        let (code, body) = answers(&first);
        let length = body.len();
        let answer = format!("HTTP/1.1 {code} So\r\nContent-Length: {length}\r\n\r\n{body}");
        // The test may have ended.
        drop(sender.send(std::mem::take(&mut first)));
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
