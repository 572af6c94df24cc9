//! The policy protocol on the wire: what Postfix sends is answered however it is cut, and what
//! Postfix would never send is logged and gets no answer.

use std::time::{Duration, Instant};

use crate::harness::captures;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::harness::records::Store;

#[test]
fn every_captured_request_is_answered_alone() {
    let daemon = Daemon::start(Settings::default());
    for capture in captures::requests() {
        let mut client = daemon.connect();
        client.send(&capture.octets).unwrap();
        assert_eq!(client.reply().unwrap(), "action=DUNNO", "{}", capture.name);
        client.finish().unwrap();
        assert_eq!(client.until_closed().unwrap(), b"", "{}", capture.name);
    }
}

#[test]
fn captured_requests_are_answered_one_after_the_other() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    for capture in captures::requests() {
        assert_eq!(client.ask(&capture.octets).unwrap(), "DUNNO", "{}", capture.name);
    }
}

#[test]
fn all_captured_requests_in_one_write_are_each_answered() {
    let daemon = Daemon::start(Settings::default());
    let captures = captures::requests();
    let octets: Vec<u8> = captures.iter().flat_map(|capture| capture.octets.clone()).collect();
    let mut client = daemon.connect();
    client.send(&octets).unwrap();
    for capture in &captures {
        assert_eq!(client.reply().unwrap(), "action=DUNNO", "{}", capture.name);
    }
    client.finish().unwrap();
    assert_eq!(client.until_closed().unwrap(), b"", "a surplus reply");
}

#[test]
fn a_stream_cut_at_every_octet_is_answered() {
    let daemon = Daemon::start(Settings::default());
    for (name, stream) in captures::streams() {
        let requests = captures::split(&stream);
        let longest = requests.iter().map(|request| request.len()).max().unwrap();
        let mut client = daemon.connect();
        for cut in 1..longest {
            cut_each_at(&mut client, &requests, cut).unwrap_or_else(|error| {
                panic!("{name}, requests cut behind {cut} octets: {error}");
            });
        }
    }
}

/// Sends the rest of one request and the beginning of the next in one write, so that the server
/// has seen the beginning when it answers, and cannot have seen the rest.
fn cut_each_at(client: &mut PolicyClient, requests: &[&[u8]], cut: usize) -> std::io::Result<()> {
    let mut unsent: Vec<u8> = Vec::new();
    for request in requests {
        let (head, tail) = request.split_at(cut.min(request.len() - 1));
        let waits = !unsent.is_empty();
        unsent.extend_from_slice(head);
        client.send(&unsent)?;
        if waits {
            assert_eq!(client.reply()?, "action=DUNNO");
        }
        unsent = tail.to_vec();
    }
    assert_eq!(client.ask(&unsent)?, "DUNNO");
    Ok(())
}

#[test]
fn a_stream_in_single_octets_is_answered() {
    let daemon = Daemon::start(Settings::default());
    let (_, stream) = captures::streams().into_iter().next_back().unwrap();
    let requests = captures::split(&stream);
    let mut client = daemon.connect();
    for octet in &stream {
        client.send(&[*octet]).unwrap();
    }
    for _ in requests {
        assert_eq!(client.reply().unwrap(), "action=DUNNO");
    }
}

#[test]
fn a_request_longer_than_postfix_buffers_is_answered_at_once() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    let local_part = "x".repeat(1_700);
    let octets = PolicyRequest::new()
        .set("sender", format!("{local_part}@example.org"))
        .set("recipient", format!("{local_part}@example.com"))
        .set("helo_name", "h".repeat(1_000))
        .octets();
    let begin = Instant::now();
    client.send(&octets[..4_096]).unwrap();
    crate::harness::pause(Duration::from_millis(50));
    assert_eq!(client.ask(&octets[4_096..]).unwrap(), "DUNNO");
    assert!(begin.elapsed() < Duration::from_secs(2), "took {:?}", begin.elapsed());
}

#[test]
fn octets_that_are_not_utf8_are_answered() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    let request = PolicyRequest::new()
        .set("sender", b"ren\xe9@example.org")
        .set("helo_name", b"\x01\xff\xfe\x7f")
        .set("recipient", b"=a = b\xc3@example.com");
    assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO");
}

#[test]
fn unknown_attributes_and_states_are_answered() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    let request =
        PolicyRequest::new().set("protocol_state", "XCLIENT").set("of_the_future", "1").set("", "");
    assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO");
}

#[test]
fn the_least_request_is_answered() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    assert_eq!(client.ask(b"request=smtpd_access_policy\n\n").unwrap(), "DUNNO");
}

#[test]
fn a_request_up_to_the_limits_is_answered() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    let longest_line = "v".repeat(16 * 1024 - "policy_context=".len());
    let request = PolicyRequest::new().set("policy_context", longest_line);
    assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO");
    assert_eq!(client.ask(&of_size(64 * 1024)).unwrap(), "DUNNO");
}

#[test]
fn a_request_over_the_limits_is_closed_without_a_reply() {
    let daemon = Daemon::start(Settings::default());
    let over_long_line = "v".repeat(16 * 1024 + 1 - "policy_context=".len());
    let over_long = PolicyRequest::new().set("policy_context", over_long_line);
    assert_no_reply(&daemon, "a long line", &over_long.octets(), "max_line");
    assert_no_reply(&daemon, "a long request", &of_size(64 * 1024 + 1), "max_request");
}

#[test]
fn a_line_without_end_is_closed_before_it_ends() {
    let daemon = Daemon::start(Settings::default());
    assert_no_reply(&daemon, "a line without end", &vec![b'x'; 20 * 1024], "max_line");
}

#[test]
fn the_limits_can_be_set() {
    let daemon = Daemon::start(Settings {
        policy_server: "<max_line>1KiB</max_line><max_request>4KiB</max_request>".into(),
        ..Settings::default()
    });
    assert_eq!(daemon.connect().ask(&of_size(4 * 1024)).unwrap(), "DUNNO");
    let long_line = PolicyRequest::new().set("policy_context", "v".repeat(1_024));
    assert_no_reply(&daemon, "a long line", &long_line.octets(), "max_line");
    assert_no_reply(&daemon, "a long request", &of_size(4 * 1024 + 1), "max_request");
}

/// A request of exactly this many octets, none of whose lines is long.
fn of_size(octets: usize) -> Vec<u8> {
    let mut request = PolicyRequest::new();
    for index in 0.. {
        let missing = octets - request.octets().len();
        let name = format!("x{index:03}");
        let around = name.len() + "=\n".len();
        if missing == 0 {
            break;
        }
        let value = if missing < 2 * (around + 500) { missing.min(1_000) } else { 500 + around };
        request = request.set(&name, "v".repeat(value - around));
    }
    request.octets()
}

#[test]
fn what_is_no_policy_request_is_closed_without_a_reply() {
    let daemon = Daemon::start(Settings::default());
    let malformed: [(&str, &[u8], &str); 7] = [
        ("an empty request", b"\n", "empty"),
        ("a line without =", b"request=smtpd_access_policy\njunk\n\n", "has no"),
        ("a NUL", b"request=smtpd_access_policy\nsender=a\0b\n\n", "NUL"),
        ("another protocol", b"request=junk\n\n", "smtpd_access_policy"),
        ("no request attribute", b"protocol_state=RCPT\n\n", "smtpd_access_policy"),
        ("CR LF line ends", b"request=smtpd_access_policy\r\n\r\n", "has no"),
        ("another protocol's greeting", b"GET / HTTP/1.1\r\n\r\n", "has no"),
    ];
    for (what, octets, reason) in malformed {
        assert_no_reply(&daemon, what, octets, reason);
    }
}

#[test]
fn a_stream_that_ends_inside_a_request_is_logged() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    client.send(b"request=smtpd_access_policy\nprotocol_state=RC").unwrap();
    client.finish().unwrap();
    assert_eq!(client.until_closed().unwrap(), b"");
    assert_logged(&daemon, &client, "inside a request");
}

#[test]
fn a_stream_that_ends_between_requests_is_no_fault() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    client.finish().unwrap();
    assert_eq!(client.until_closed().unwrap(), b"");
    // What is logged later on a later connection shows that nothing is still to come.
    assert_no_reply(&daemon, "an empty request", b"\n", "empty");
    let own = format!(":{}", client.local_port());
    let faults: Vec<String> = daemon
        .log()
        .into_iter()
        .filter(|line| line.contains("\"WARN\"") && line.contains(&own))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn a_good_request_before_a_bad_one_is_answered() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    let mut octets = PolicyRequest::new().octets();
    octets.extend_from_slice(b"junk\n\n");
    client.send(&octets).unwrap();
    assert_eq!(client.until_closed().unwrap(), b"action=DUNNO\n\n");
    assert_logged(&daemon, &client, "has no");
}

#[test]
fn one_bad_connection_leaves_the_others_alone() {
    let daemon = Daemon::start(Settings::default());
    let mut good = daemon.connect();
    assert_eq!(good.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    for _ in 0..50 {
        let mut bad = daemon.connect();
        bad.send(b"\n").unwrap();
        assert_eq!(bad.until_closed().unwrap(), b"");
    }
    assert_eq!(good.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
}

#[test]
fn every_captured_request_is_on_record_in_either_store_as_it_was_sent() {
    let captures = captures::requests();
    for store in Store::each() {
        let daemon = Daemon::start(store.track(Settings::default()));
        let mut client = daemon.connect();
        for capture in &captures {
            assert_eq!(client.ask(&capture.octets).unwrap(), "DUNNO", "{}", capture.name);
        }
        let rows = store.rows(&daemon);
        assert_eq!(rows.len(), captures.len());
        for (capture, row) in captures.iter().zip(&rows) {
            assert_eq!(row.text("state"), "processed", "{}", capture.name);
            assert_eq!(row.text("decision"), "DUNNO", "{}", capture.name);
            row.assert_is(capture);
        }
    }
}

fn assert_no_reply(daemon: &Daemon, what: &str, octets: &[u8], reason: &str) {
    let mut client = daemon.connect();
    client.wait_at_most(Duration::from_secs(5)).unwrap();
    // The server may close before it has read everything.
    drop(client.send(octets));
    let reply = client.until_closed().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(String::from_utf8_lossy(&reply), "", "{what}");
    assert_logged(daemon, &client, reason);
}

fn assert_logged(daemon: &Daemon, client: &PolicyClient, reason: &str) {
    let peer = format!("127.0.0.1:{}", client.local_port());
    let what = format!("{reason:?} about {peer}");
    let line = daemon.logged(&what, |line| mentions(line, &peer) && mentions(line, reason));
    assert_eq!(line["level"], "WARN", "{line}");
}
