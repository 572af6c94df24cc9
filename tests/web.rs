//! A Web service behind an `http` engine.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;

/// A service that calls whoever asks for `/…/evil…` bad; the lines of the requests that came.
fn service() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let sender = sender.clone();
            std::thread::spawn(move || serve(stream, &sender));
        }
    });
    (origin, lines)
}

fn serve(mut stream: TcpStream, sender: &Sender<String>) {
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
        let verdict = if first.contains("evil") { "bad" } else { "good" };
        let body = format!("{{\"result\":{{\"verdict\":\"{verdict}\",\"score\":3}}}}");
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        // The test may have ended.
        drop(sender.send(std::mem::take(&mut first)));
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn settings(origin: &str) -> Settings {
    Settings {
        checks: "reputation verdict".into(),
        engines: format!(
            "<http id=\"reputation\">
               <uri>{origin}/v1/$helo?ip=$ip</uri>
               <value id=\"verdict\" pointer=\"/result/verdict\"/>
             </http>
             <set id=\"verdict\">
               <precondition>$engines.reputation.verdict $EQ bad</precondition>
               <on_done>REJECT $engines.reputation.code $engines.reputation.verdict</on_done>
             </set>"
        ),
        ..Settings::default()
    }
}

#[test]
fn what_the_service_says_decides() {
    let (origin, lines) = service();
    let daemon = Daemon::start(settings(&origin));
    let ask = |helo: &str| {
        // Each connection may be another worker's.
        daemon.connect().ask(&PolicyRequest::new().set("helo_name", helo).octets()).unwrap()
    };
    for _ in 0..8 {
        assert_eq!(ask("evil/x?y"), "REJECT 200 bad");
        assert_eq!(lines.recv().unwrap(), "GET /v1/evil%2Fx%3Fy?ip=192.0.2.17 HTTP/1.1");
        assert_eq!(ask("mail.example.net"), "DUNNO");
        assert_eq!(lines.recv().unwrap(), "GET /v1/mail.example.net?ip=192.0.2.17 HTTP/1.1");
    }
}

#[test]
fn without_the_service_mail_passes_and_the_log_tells() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let daemon = Daemon::start(settings(&origin));
    assert_eq!(daemon.connect().ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    let line = daemon.logged("that the service failed", |line| mentions(line, "can't ask http://"));
    assert_eq!(line["engine"], "reputation");
}
