//! The engine before policy servers of the test's own.

use std::sync::Arc;
use std::time::Duration;

use mppd_engine::kind;
use mppd_engine::testkit::{Configured, Ready, exchange};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;

use super::*;

fn engine(server: &str, options: &str) -> Ready {
    let xml = format!("<delegate><server>{server}</server>{options}</delegate>");
    Configured::xml(&xml).build(kind::<Delegate>()).unwrap()
}

fn rcpt(recipient: &str) -> Arc<Exchange> {
    exchange([("protocol_state", "RCPT"), ("recipient", recipient)])
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("inet:{}", listener.local_addr().unwrap());
    (listener, server)
}

/// Reads one request; `None` where the client has closed.
async fn request(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\n\n") {
        let mut octet = [0];
        if stream.read(&mut octet).await.unwrap_or(0) == 0 {
            return None;
        }
        request.push(octet[0]);
    }
    Some(request)
}

/// A server that gives one connection the replies, each to one request; the requests it saw.
fn serve_one(listener: TcpListener, replies: &'static [&'static str]) -> JoinHandle<Vec<Vec<u8>>> {
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for reply in replies {
            seen.push(request(&mut stream).await.unwrap());
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
        seen
    })
}

async fn answer(reply: &'static [&'static str]) -> Result<Outcome, Failure> {
    let (listener, server) = listen().await;
    let _server = serve_one(listener, reply);
    engine(&server, "").outcome(None, &rcpt("a@example.org")).await
}

#[tokio::test]
async fn the_server_gets_the_request_octet_for_octet() {
    let (listener, server) = listen().await;
    let seen = serve_one(listener, &["action=DUNNO\n\n"]);
    let exchange = exchange([("sender", b"\xff\x01=".as_slice()), ("odd", b"".as_slice())]);
    engine(&server, "").outcome(None, &exchange).await.unwrap();
    assert_eq!(seen.await.unwrap(), [exchange.request().octets()]);
}

#[test]
fn the_kind_of_action_is_the_status() {
    for (action, status, text) in [
        ("DUNNO", "dunno", ""),
        ("dunno", "dunno", ""),
        ("OK", "ok", ""),
        ("REJECT no such user", "reject", "no such user"),
        ("550 5.1.1 no such user", "reject", "5.1.1 no such user"),
        ("DEFER", "defer", ""),
        ("450 4.2.0 later", "defer", "4.2.0 later"),
        ("DEFER_IF_PERMIT Greylisted", "defer", "Greylisted"),
        ("defer_if_reject x", "defer", "x"),
        ("PREPEND X-Seen: yes", "other", "X-Seen: yes"),
        ("WARN odd", "other", "odd"),
        ("HOLD", "other", ""),
        ("DISCARD", "other", ""),
        ("reject_unauth_destination", "other", ""),
    ] {
        let outcome = outcome(format!("action={action}").as_bytes()).unwrap();
        assert_eq!((outcome.status, outcome.text.as_ref()), (status, text), "{action}");
        assert_eq!(outcome.values[0].value, action.as_bytes());
        let word = action.split(' ').next().unwrap();
        assert_eq!(outcome.values[1].value, word.as_bytes());
    }
}

#[test]
fn what_postfix_would_misread_is_no_answer() {
    for reply in [
        "",
        "action",
        "action=",
        "action=550",
        "action=250 ok",
        "reply=DUNNO",
        "action=OK\naction=REJECT",
        "action=FILTER nowhere",
    ] {
        assert!(outcome(reply.as_bytes()).is_err(), "{reply}");
    }
}

#[test]
fn other_attributes_of_a_reply_are_passed_over() {
    assert_eq!(outcome(b"note=x\naction=OK").unwrap().status, "ok");
}

#[tokio::test]
async fn one_connection_serves_one_request_after_another() {
    let (listener, server) = listen().await;
    let seen = serve_one(listener, &["action=OK\n\n", "action=DUNNO\n\n", "action=HOLD\n\n"]);
    let engine = engine(&server, "");
    for expected in ["ok", "dunno", "other"] {
        let outcome = engine.outcome(None, &rcpt(expected)).await.unwrap();
        assert_eq!(outcome.status, expected);
    }
    assert_eq!(seen.await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_unix_socket_is_asked_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy");
    let listener = UnixListener::bind(&path).unwrap();
    let engine = engine(&format!("unix:{}", path.display()), "");
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"action=OK\n\n").await.unwrap();
        stream
    };
    let exchange = rcpt("a");
    let (outcome, _stream) = tokio::join!(engine.outcome(None, &exchange), server);
    assert_eq!(outcome.unwrap().status, "ok");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let (listener, server) = listen().await;
    let engine = engine(&server, "");
    let server = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            request(&mut stream).await.unwrap();
            stream.write_all(b"action=OK\n\n").await.unwrap();
        }
    });
    for _ in 0..2 {
        assert_eq!(engine.outcome(None, &rcpt("a")).await.unwrap().status, "ok");
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_question_that_an_old_connection_swallows_is_asked_once_more() {
    let (listener, server) = listen().await;
    let engine = engine(&server, "");
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        request(&mut first).await.unwrap();
        first.write_all(b"action=OK\n\n").await.unwrap();
        // It closes only when the second question is there.
        request(&mut first).await.unwrap();
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        request(&mut second).await.unwrap();
        second.write_all(b"action=DUNNO\n\n").await.unwrap();
    });
    assert_eq!(engine.outcome(None, &rcpt("a")).await.unwrap().status, "ok");
    assert_eq!(engine.outcome(None, &rcpt("b")).await.unwrap().status, "dunno");
    server.await.unwrap();
}

#[tokio::test]
async fn a_fresh_connection_that_is_closed_is_a_failure() {
    let failure = answer(&[""]).await.unwrap_err().whole();
    assert!(failure.contains("closed the connection without a reply"), "{failure}");
}

#[tokio::test]
async fn a_reply_that_is_cut_is_a_failure() {
    let failure = answer(&["action=REJECT he"]).await.unwrap_err().whole();
    assert!(failure.contains("in the middle of its reply"), "{failure}");
}

#[tokio::test]
async fn a_reply_without_an_end_is_a_failure() {
    let (listener, server) = listen().await;
    let _server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 512]).await.is_ok() {}
    });
    let engine = engine(&server, "<max_reply>4KiB</max_reply>");
    let failure = engine.outcome(None, &rcpt("a")).await.unwrap_err().whole();
    assert!(failure.contains("longer than 4096 octets"), "{failure}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure() {
    let (listener, server) = listen().await;
    drop(listener);
    let failure = engine(&server, "").outcome(None, &rcpt("a")).await.unwrap_err().whole();
    assert!(failure.starts_with(&format!("can't ask {server}: no connection: ")), "{failure}");
}

#[tokio::test]
async fn a_surplus_reply_answers_no_other_request() {
    let (listener, server) = listen().await;
    let engine = engine(&server, "");
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        request(&mut first).await.unwrap();
        first.write_all(b"action=DUNNO\n\naction=OK\n\n").await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        request(&mut second).await.unwrap();
        second.write_all(b"action=REJECT\n\n").await.unwrap();
    });
    assert_eq!(engine.outcome(None, &rcpt("a")).await.unwrap().status, "dunno");
    assert_eq!(engine.outcome(None, &rcpt("b")).await.unwrap().status, "reject");
    server.await.unwrap();
}

#[tokio::test]
async fn the_connection_of_a_run_that_was_given_up_is_closed() {
    let (listener, server) = listen().await;
    let engine = engine(&server, "");
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        request(&mut first).await.unwrap();
        // Nothing is said until the client has gone.
        assert_eq!(request(&mut first).await, None);
        drop(first.write_all(b"action=OK\n\n").await);
        let (mut second, _) = listener.accept().await.unwrap();
        request(&mut second).await.unwrap();
        second.write_all(b"action=REJECT\n\n").await.unwrap();
    });
    let exchange = rcpt("a");
    let given_up = tokio::time::timeout(Duration::from_millis(50), engine.outcome(None, &exchange));
    assert!(given_up.await.is_err());
    assert_eq!(engine.outcome(None, &rcpt("b")).await.unwrap().status, "reject");
    server.await.unwrap();
}

#[tokio::test]
async fn no_more_connections_are_opened_than_allowed() {
    let (listener, server) = listen().await;
    let engine = engine(&server, "<connections>1</connections>");
    let seen = serve_one(listener, &["action=OK\n\n", "action=OK\n\n"]);
    let (first, second) = (rcpt("a"), rcpt("b"));
    let (first, second) = tokio::join!(engine.outcome(None, &first), engine.outcome(None, &second));
    assert_eq!((first.unwrap().status, second.unwrap().status), ("ok", "ok"));
    assert_eq!(seen.await.unwrap().len(), 2);
}

#[test]
fn what_is_no_endpoint_is_refused() {
    let configured = Configured::xml("<delegate><server>tcp:localhost:1</server></delegate>");
    let faults = configured.faults(kind::<Delegate>());
    let message = r#""tcp:localhost:1" is no endpoint"#.to_owned();
    assert_eq!(faults, [(message, "tcp:localhost:1")]);
}

#[test]
fn a_server_must_be_given() {
    let configured = Configured::xml("<delegate/>");
    assert_eq!(
        configured.faults(kind::<Delegate>()),
        [("\"server\" is missing in <delegate>".to_owned(), "delegate")]
    );
}
