//! Peers that are slow, greedy or mad, and limits that are reached: each costs bounded memory, and
//! an honest client beside it is answered.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::ports::free_port;
use crate::harness::{eventually, pause};

const BUSY: &str = "<on_overload>DEFER_IF_PERMIT busy</on_overload>";

fn limited(options: &str) -> Settings {
    Settings { policy_server: options.into(), ..Settings::default() }
}

fn request() -> Vec<u8> {
    PolicyRequest::new().octets()
}

fn assert_served(daemon: &Daemon) {
    assert_eq!(daemon.connect().ask(&request()).unwrap(), "DUNNO");
}

/// Connects without the harness's patience, so that thousands can.
fn plain(daemon: &Daemon) -> TcpStream {
    let Endpoint::Inet(address) = daemon.endpoint() else { panic!("not inet") };
    TcpStream::connect(address).unwrap()
}

/// KiB of memory that the process has in use.
pub(crate) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn assert_grew_by_less_than(kib: u64, before: u64, daemon: &Daemon) {
    let grown = resident(daemon.pid()).saturating_sub(before);
    assert!(grown < kib, "grew by {grown} KiB");
}

/// Lets this process have as many files open as it is allowed to.
fn allow_many_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[test]
fn a_request_that_comes_octet_by_octet_is_cut_off_in_time() {
    let daemon = Daemon::start(limited("<request_timeout>500ms</request_timeout>"));
    let mut slow = daemon.connect();
    let peer = format!("127.0.0.1:{}", slow.local_port());
    for octet in request() {
        if slow.send(&[octet]).is_err() {
            break;
        }
        pause(Duration::from_millis(20));
    }
    assert_eq!(slow.until_closed().unwrap_or_default(), b"");
    daemon.logged("that it was too slow", |line| {
        mentions(line, &peer) && mentions(line, "request_timeout")
    });
    assert_served(&daemon);
}

#[test]
fn a_connection_between_requests_is_not_hurried() {
    let daemon = Daemon::start(limited("<request_timeout>200ms</request_timeout>"));
    let mut client = daemon.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(&request()).unwrap(), "DUNNO");
        pause(Duration::from_millis(500));
    }
    assert_eq!(client.ask(&request()).unwrap(), "DUNNO");
}

#[test]
fn a_peer_that_reads_nothing_is_cut_off_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(Settings {
        listen: vec![("", Endpoint::Unix(directory.path().join("policy")))],
        ..limited("<write_timeout>300ms</write_timeout><workers>1</workers>")
    });
    let before = resident(daemon.pid());
    let mut deaf = daemon.connect();
    let pipelined = request().repeat(100);
    let cut_off = (0..1_000).any(|_| deaf.send(&pipelined).is_err());
    assert!(cut_off, "100,000 requests were answered to nobody");
    daemon.logged("that nobody read", |line| mentions(line, "write_timeout"));
    assert_served(&daemon);
    assert_grew_by_less_than(64 << 10, before, &daemon);
}

#[test]
fn lines_and_attributes_without_end_are_cut_off_and_cost_little() {
    let daemon = Daemon::start(Settings::default());
    assert_served(&daemon);
    let before = resident(daemon.pid());
    let mut attributes = b"request=smtpd_access_policy\n".to_vec();
    attributes.extend_from_slice(&b"a=b\n".repeat(1_000_000));
    for octets in [attributes, vec![b'x'; 4 << 20]] {
        for _ in 0..10 {
            let mut mad = plain(&daemon);
            // The server closes before it has read everything.
            drop(mad.write_all(&octets));
        }
        assert_served(&daemon);
    }
    assert_grew_by_less_than(64 << 10, before, &daemon);
}

#[test]
fn half_requests_and_silent_connections_cost_little() {
    allow_many_files();
    let daemon = Daemon::start(Settings::default());
    assert_served(&daemon);
    let before = resident(daemon.pid());
    let half = request()[..300].to_vec();
    let halves: Vec<TcpStream> = (0..1_000)
        .map(|_| {
            let mut stream = plain(&daemon);
            stream.write_all(&half).unwrap();
            stream
        })
        .collect();
    let silent: Vec<TcpStream> = (0..1_000).map(|_| plain(&daemon)).collect();
    assert_served(&daemon);
    // 16 KiB for each.
    assert_grew_by_less_than(32 << 10, before, &daemon);
    drop((halves, silent));
    daemon.logged("that requests were cut", |line| mentions(line, "inside a request"));
    assert_served(&daemon);
}

#[test]
fn connections_that_are_reset_at_once_do_no_harm() {
    let mut daemon = Daemon::start(Settings::default());
    for number in 0..2_000 {
        let stream = socket2::Socket::from(plain(&daemon));
        if number % 2 == 0 {
            drop((&stream).write(b"request=smtpd"));
        }
        stream.set_linger(Some(Duration::ZERO)).unwrap();
    }
    assert_served(&daemon);
    assert!(daemon.is_running());
}

#[test]
fn one_connection_too_many_gets_one_answer_and_the_log_tells_when_it_begins_and_ends() {
    let daemon = Daemon::start(limited(&format!("<max_connections>2</max_connections>{BUSY}")));
    let (mut first, second) = (served(&daemon), served(&daemon));
    let mut third = daemon.connect();
    assert_eq!(third.ask(&request()).unwrap(), "DEFER_IF_PERMIT busy");
    assert_eq!(third.until_closed().unwrap(), b"");
    let line = daemon.logged("that a limit is reached", |line| mentions(line, "overloaded"));
    assert_eq!(line["level"], "WARN", "{line}");
    assert_ne!(line["at_max_connections"], 0, "{line}");
    drop(second);
    drop(served(&daemon));
    assert_eq!(first.ask(&request()).unwrap(), "DUNNO");
    let over = daemon.logged("that it is over", |line| mentions(line, "overload is over"));
    assert_ne!(over["shed"], 0, "{over}");
}

/// A connection that is served, as soon as there is room for one.
fn served(daemon: &Daemon) -> PolicyClient {
    let client = eventually(|| {
        let mut client = daemon.connect();
        client.ask(&request()).ok().filter(|action| action == "DUNNO").map(|_| client)
    });
    client.expect("no room for another connection")
}

#[test]
fn one_connection_too_many_that_says_nothing_is_closed_soon() {
    let daemon = Daemon::start(limited(&format!("<max_connections>1</max_connections>{BUSY}")));
    let _first = served(&daemon);
    let mut silent = daemon.connect();
    assert_eq!(silent.until_closed().unwrap(), b"");
}

#[test]
fn silence_closes_one_connection_too_many_at_once() {
    let daemon = Daemon::start(limited(
        "<max_connections>1</max_connections><on_overload>silence</on_overload>",
    ));
    let mut first = eventually(|| {
        let mut client = daemon.connect();
        client.ask(&request()).ok().map(|_| client)
    })
    .unwrap();
    let mut second = daemon.connect();
    assert_eq!(second.until_closed().unwrap(), b"");
    assert_eq!(first.ask(&request()).unwrap(), "DUNNO");
    daemon.logged("that it was refused", |line| line["refused"].as_u64() > Some(0));
}

#[test]
fn one_request_too_many_is_answered_at_once_and_not_put_on_record() {
    // A check that hangs.
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = hanging.local_addr().unwrap();
    let daemon = Daemon::start(Settings {
        checks: "other".into(),
        engines: format!(
            "<delegate id=\"other\"><server>inet:{address}</server><timeout>10s</timeout></delegate>"
        ),
        tracking: true,
        ..limited(&format!("<max_requests>1</max_requests>{BUSY}"))
    });
    let mut first = daemon.connect();
    first.send(&request()).unwrap();
    let (asked, _) = hanging.accept().unwrap();
    let mut second = daemon.connect();
    for _ in 0..3 {
        assert_eq!(second.ask(&request()).unwrap(), "DEFER_IF_PERMIT busy");
    }
    drop((asked, hanging));
    assert_eq!(first.reply().unwrap(), "action=DUNNO");
    assert_eq!(second.ask(&request()).unwrap(), "DUNNO");
    assert_eq!(crate::harness::records::sqlite(&daemon.state_directory()).len(), 2);
}

#[test]
fn requests_beyond_the_memory_are_passed_over_and_answered() {
    let daemon = Daemon::start(limited(&format!(
        "<max_memory>48KiB</max_memory>{BUSY}<workers>1</workers>"
    )));
    let mut client = daemon.connect();
    let mut large = PolicyRequest::new();
    for number in 0..50 {
        large = large.set(&format!("x{number}"), "v".repeat(1_000));
    }
    for _ in 0..3 {
        assert_eq!(client.ask(&large.octets()).unwrap(), "DEFER_IF_PERMIT busy");
        assert_eq!(client.ask(&request()).unwrap(), "DUNNO");
    }
    let both = [large.octets(), request()].concat();
    assert_eq!(client.ask(&both).unwrap(), "DEFER_IF_PERMIT busy");
    assert_eq!(client.reply().unwrap(), "action=DUNNO");
}

#[test]
fn memory_that_half_requests_hold_is_there_again_when_they_are_gone() {
    let daemon = Daemon::start(limited(&format!("<max_memory>38KiB</max_memory>{BUSY}")));
    let half = &[b"request=smtpd_access_policy\nhelo_name=".as_slice(), &[b'x'; 12_000]].concat();
    // Of these three find room; the others are passed over.
    let halves: Vec<PolicyClient> = (0..6)
        .map(|_| {
            let mut client = daemon.connect();
            client.send(half).unwrap();
            client
        })
        .collect();
    pause(Duration::from_millis(300));
    let mut client = daemon.connect();
    let mut asks = |wanted: &str| {
        let octets = PolicyRequest::new().set("helo_name", "h".repeat(3_000)).octets();
        eventually(|| (client.ask(&octets).unwrap() == wanted).then_some(())).is_some()
    };
    assert!(asks("DEFER_IF_PERMIT busy"), "there is room for all");
    drop(halves);
    assert!(asks("DUNNO"), "there is no room any more");
}

#[test]
fn what_must_not_be_the_answer_to_an_overload_refuses_to_start() {
    let (status, said) = Daemon::refused(limited("<on_overload>PREPEND X-A: b</on_overload>"));
    assert_eq!(status.code(), Some(78));
    assert!(said.contains("PREPEND can't be the answer to an overload"), "{said}");
}

/// A program that starts mppd with so few files that connections have to wait.
fn with_few_files(directory: &std::path::Path) -> std::path::PathBuf {
    let program = directory.join("mppd-with-few-files");
    let script = format!(
        "#!/bin/sh\nulimit -n 100\nexec setpriv --bounding-set -sys_resource {} \"$@\"\n",
        env!("CARGO_BIN_EXE_mppd")
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[test]
fn without_descriptors_connections_wait_and_none_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let program = Some(with_few_files(directory.path()));
    let daemon = Daemon::start(Settings { program, ..Settings::default() });
    let few =
        daemon.logged("that files are few", |line| mentions(line, "max_connections may need"));
    assert_eq!(few["allowed"], 100, "{few}");
    let mut clients: Vec<PolicyClient> = (0..150).map(|_| daemon.connect()).collect();
    daemon.logged("that it can't accept", |line| mentions(line, "can't accept"));
    let waiting = clients.split_off(50);
    drop(clients);
    // Those that were accepted are closed in turn, and make room for those that wait.
    for mut client in waiting {
        assert_eq!(client.ask(&request()).unwrap(), "DUNNO");
    }
    let lines = daemon.log().iter().filter(|line| line.contains("can't accept")).count();
    assert!(lines <= 3, "{lines} lines");
}

#[test]
fn a_flood_of_bad_peers_is_no_flood_of_lines() {
    let daemon = Daemon::start(Settings::default());
    for _ in 0..300 {
        let mut bad = plain(&daemon);
        bad.write_all(b"junk\n\n").unwrap();
    }
    daemon.logged("how many were left out", |line| mentions(line, "more connections ended"));
    let lines = daemon.log().iter().filter(|line| line.contains("bad input")).count();
    assert!(lines < 300, "{lines} lines");
}

#[test]
fn a_socket_that_many_share_with_a_mad_one_is_fair() {
    let listen = vec![("", Endpoint::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))))];
    let daemon = Daemon::start(Settings { listen, ..limited("<workers>1</workers>") });
    let mut mad = plain(&daemon);
    mad.set_nonblocking(true).unwrap();
    let mut client = daemon.connect();
    let pipelined = request().repeat(50);
    for _ in 0..50 {
        match mad.write(&pipelined) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
            _ => {}
        }
        assert_eq!(client.ask(&request()).unwrap(), "DUNNO");
    }
}
