//! The system's logger: what it is told, and what its absence costs.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::apart::Apart;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::policy_client::PolicyRequest;

fn start(apart: &Apart) -> Daemon {
    Daemon::start(Settings {
        program: Some(apart.executable()),
        log: "<format>syslog</format>",
        ..Settings::wbl("")
    })
}

/// A logger that does not wait for long.
fn listen(apart: &Apart) -> UnixDatagram {
    let logger = UnixDatagram::bind(apart.logger()).unwrap();
    logger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    logger
}

/// The next line that holds this text, which is asked for until it comes.
fn line_with(logger: &UnixDatagram, text: &str, mut ask: impl FnMut()) -> Vec<u8> {
    let mut octets = vec![0; 1 << 16];
    let line = eventually(|| {
        ask();
        let length = logger.recv(&mut octets).ok()?;
        let line = octets[..length].to_vec();
        String::from_utf8_lossy(&line).contains(text).then_some(line)
    });
    line.unwrap_or_else(|| panic!("no line has {text:?}"))
}

fn hello(daemon: &Daemon, name: &str) {
    let request = PolicyRequest::new().set("helo_name", name);
    assert_eq!(daemon.connect().ask(&request.octets()).unwrap(), "DUNNO");
}

#[test]
fn hostile_text_reaches_the_systems_logger_escaped_and_in_one_line() {
    let apart = Apart::with_logger();
    let logger = listen(&apart);
    let daemon = start(&apart);
    let hostile = "marked\r<0>kernel: forged\x1b[2J\x07\u{202e}\u{9b}31m";
    hello(&daemon, hostile);
    let line = line_with(&logger, "marked", || {});
    let text = String::from_utf8(line).unwrap();
    let head = format!("<22>mppd[{}]: ", daemon.pid());
    assert!(text.starts_with(&head), "{text:?} does not begin with {head:?}");
    assert!(text.chars().all(|c| matches!(c, ' '..='~')), "{text:?}");
    assert!(text.contains(r"marked\r<0>kernel: forged"), "{text:?}");
}

#[test]
fn a_logger_that_is_gone_costs_no_answer_and_gets_what_comes_when_it_is_back() {
    let apart = Apart::with_logger();
    let daemon = start(&apart);
    hello(&daemon, "nobody.listens");
    let logger = listen(&apart);
    line_with(&logger, "first.logger", || hello(&daemon, "first.logger"));
    drop(logger);
    std::fs::remove_file(apart.logger()).unwrap();
    for _ in 0..100 {
        hello(&daemon, "gone.again");
    }
    let logger = listen(&apart);
    line_with(&logger, "second.logger", || hello(&daemon, "second.logger"));
}

#[test]
fn a_logger_that_never_reads_holds_up_neither_answers_nor_the_end() {
    let apart = Apart::with_logger();
    let _logger = listen(&apart);
    let mut daemon = start(&apart);
    let mut client = daemon.connect();
    // Many more than wait in the socket.
    for _ in 0..3_000 {
        assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    }
    assert!(daemon.terminate().success());
}
