//! Engines that fail in every way there is, in a program of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mppd_dns::testkit::Server;
use serde_json::Value;

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::harness::ports::free_port;
use crate::harness::records::{Row, sqlite};

const ON_ERROR: &str = "<on_error>DEFER on_error</on_error>";

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_mppd")).with_file_name("examples/faulty_engine");
    assert!(program.exists(), "build it first: cargo build --example faulty_engine");
    program
}

/// A server with one such engine, its requests on record.
fn settings(options: &str, policy_server: &str) -> Settings {
    Settings {
        program: Some(program()),
        checks: "fault".into(),
        engines: format!("<fault {options}/>"),
        policy_server: policy_server.into(),
        group: ON_ERROR.into(),
        tracking: true,
        ..Settings::default()
    }
}

fn greeting(word: &str) -> Vec<u8> {
    PolicyRequest::new().set("helo_name", word).octets()
}

fn ask(client: &mut PolicyClient, word: &str) -> String {
    client.ask(&greeting(word)).unwrap()
}

/// The lines of the log so far that say this.
fn lines(daemon: &Daemon, message: &str) -> Vec<Value> {
    let log = daemon.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| mentions(line, message)).collect()
}

fn row_of(daemon: &Daemon, word: &str) -> Row {
    let rows = sqlite(&daemon.state_directory());
    rows.into_iter().find(|row| row.text("helo_name") == word).unwrap()
}

#[test]
fn a_worker_whose_thread_is_blocked_is_replaced_and_its_requests_are_answered() {
    for word in ["block.4000", "block-later.4000"] {
        let bounds = "<workers>1</workers><request_deadline>1500ms</request_deadline>";
        let mut daemon = Daemon::start(settings("timeout='1s'", bounds));
        let (mut idle, mut stuck) = (daemon.connect(), daemon.connect());
        assert_eq!(ask(&mut idle, "all-is-well"), "DUNNO");
        stuck.send(&greeting(word)).unwrap();
        assert_eq!(stuck.reply().unwrap(), "action=DEFER on_error", "{word}");
        // Nothing follows the answer, and nobody waits on the other connection for nothing.
        assert_eq!(stuck.until_closed().unwrap(), b"");
        assert_eq!(idle.until_closed().unwrap(), b"");
        // The engine is suspended, so that the new worker does not share the fate of the old one.
        let mut next = daemon.connect();
        assert_eq!(ask(&mut next, "block.4001"), "DUNNO");
        let row = row_of(&daemon, word);
        assert_eq!((&*row.text("state"), &*row.text("decision")), ("processed", "DEFER"));
        assert_eq!(row.text("error_text"), "fault: timeout: the engine blocks its thread");
        daemon.logged("that it was replaced", |line| mentions(line, "has been replaced"));
        daemon.logged("that it is free again", |line| mentions(line, "a worker goes on"));
        assert_eq!(ask(&mut next, "all-is-well-again"), "DUNNO");
        // What came of the run in the end changes nothing.
        assert_eq!(row_of(&daemon, word), row);
        assert_eq!(lines(&daemon, "fault blocks").len(), 0);
        assert!(daemon.terminate().success());
    }
}

#[test]
fn no_more_than_eight_threads_are_left_behind_and_whoever_waits_is_answered_all_the_same() {
    let bounds = "<workers>9</workers><request_deadline>2s</request_deadline>";
    let mut daemon = Daemon::start(settings("timeout='1s'", bounds));
    // A connection for each worker: they go to them in turn.
    let mut stuck: Vec<PolicyClient> = (0..9).map(|_| daemon.connect()).collect();
    for client in &mut stuck {
        client.send(&greeting("block.60000")).unwrap();
    }
    for client in &mut stuck {
        assert_eq!(client.reply().unwrap(), "action=DEFER on_error");
    }
    let line = daemon.logged("the bound", |line| mentions(line, "can't be replaced"));
    assert!(mentions(&line, "8 threads are stuck already; restart mppd"), "{line}");
    assert_eq!(lines(&daemon, "has been replaced").len(), 8);
    assert_eq!(ask(&mut daemon.connect(), "all-is-well"), "DUNNO");
    assert!(daemon.terminate().success());
}

#[test]
fn connections_that_wait_behind_a_blocked_thread_are_served_by_the_next_worker() {
    let bounds = "<workers>1</workers><request_deadline>2s</request_deadline>";
    let mut daemon = Daemon::start(settings("timeout='1s'", bounds));
    let mut stuck = daemon.connect();
    stuck.send(&greeting("block.60000")).unwrap();
    crate::harness::pause(Duration::from_millis(200));
    let mut behind = daemon.connect();
    assert_eq!(ask(&mut behind, "all-is-well"), "DUNNO");
    assert_eq!(stuck.reply().unwrap(), "action=DEFER on_error");
    // A thread that never comes back does not keep mppd from ending.
    assert!(daemon.terminate().success());
}

#[test]
fn a_reload_while_a_worker_is_held_up_is_refused_and_one_after_it_was_replaced_is_not() {
    let bounds = "<workers>2</workers><request_deadline>3s</request_deadline>";
    let daemon = Daemon::start(settings("timeout='1s'", bounds));
    let mut stuck = daemon.connect();
    stuck.send(&greeting("block.60000")).unwrap();
    daemon.logged("that it is held up", |line| mentions(line, "a worker is held up"));
    daemon.hangup();
    daemon.logged("that it was refused", |line| mentions(line, "does not answer"));
    assert_eq!(stuck.reply().unwrap(), "action=DEFER on_error");
    daemon.hangup();
    daemon.logged("that it was done", |line| mentions(line, "configuration reloaded"));
    assert_eq!(ask(&mut daemon.connect(), "all-is-well"), "DUNNO");
}

#[test]
fn panics_and_hangs_are_exceptions_of_one_request_and_its_connection_lives() {
    let bounds = "<workers>1</workers>";
    let options = "timeout='200ms' on_exception='DEFER exception' breaker_failures='0'";
    let daemon = Daemon::start(settings(options, bounds));
    let (mut client, mut other) = (daemon.connect(), daemon.connect());
    for word in ["panic", "panic-later", "wait", "fail"] {
        for _ in 0..2 {
            assert_eq!(ask(&mut client, word), "DEFER exception", "{word}");
            assert_eq!(ask(&mut other, "all-is-well"), "DUNNO");
        }
    }
}

#[test]
fn an_actor_that_has_died_of_an_engine_is_started_again() {
    let daemon = Daemon::start(settings("on_exception='DEFER exception'", "<workers>1</workers>"));
    let mut client = daemon.connect();
    assert_eq!(ask(&mut client, "panic-in-error"), "DEFER exception");
    daemon.logged("that it is gone", |line| {
        mentions(line, "engine failed") && line["exception"] == "gone"
    });
    assert_eq!(ask(&mut client, "all-is-well"), "DUNNO");
}

#[test]
fn an_engine_of_which_there_can_be_no_copy_refuses_the_start() {
    let (status, log) = Daemon::refused(settings("uncopied='true'", ""));
    assert_eq!(status.code(), Some(1));
    let said = "engine fault can't be started: the engine panicked: no copy of it";
    assert!(log.contains(said), "{log}");
}

#[test]
fn an_engine_of_which_there_can_be_no_copy_refuses_a_reload_and_the_old_one_runs_on() {
    let mut daemon = Daemon::start(settings("", ""));
    let mut client = daemon.connect();
    daemon.configure(settings("uncopied='true'", ""));
    daemon.hangup();
    daemon.logged("that it was refused", |line| {
        mentions(line, "reload failed") && mentions(line, "no copy of it")
    });
    assert_eq!(ask(&mut client, "all-is-well"), "DUNNO");
    assert_eq!(ask(&mut daemon.connect(), "all-is-well"), "DUNNO");
}

#[test]
fn a_state_store_that_is_away_is_told_of_a_few_times_and_not_with_every_request() {
    let port = free_port();
    let daemon = Daemon::start(Settings {
        common: format!(
            "<state_store><redis><url>redis://127.0.0.1:{port}</url></redis></state_store>"
        ),
        checks: "greylist".into(),
        engines: "<greylist on_exception='DEFER away'/>".into(),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    for number in 0..60 {
        let recipient = format!("user{number}@example.com");
        let request = PolicyRequest::new().set("recipient", recipient);
        assert_eq!(client.ask(&request.octets()).unwrap(), "DEFER away");
    }
    daemon.logged("that it is suspended", |line| mentions(line, "engine suspended"));
    let told = eventually(|| {
        let failed = lines(&daemon, "engine failed").len();
        (failed >= 5).then_some(failed)
    });
    assert_eq!(told, Some(5));
    assert_eq!(lines(&daemon, "engine suspended").len(), 1);
}

#[test]
fn a_name_server_that_is_silent_is_told_of_once_and_not_with_every_question() {
    let black_hole = Server::black_hole();
    let dns =
        format!("<dns><server>{}</server><timeout>20ms</timeout></dns>", black_hole.address());
    let daemon = Daemon::start(Settings {
        common: dns,
        checks: "rbl".into(),
        engines: "<rbl><list zone='bl.example' of='client_address'/></rbl>".into(),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    for number in 1..20 {
        let request = PolicyRequest::new().set("client_address", format!("192.0.2.{number}"));
        assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO");
    }
    daemon.logged("that it is silent", |line| mentions(line, "no name server answers"));
    assert_eq!(lines(&daemon, "no name server answers").len(), 1);
}

#[test]
fn a_directory_that_is_away_is_told_of_once() {
    let port = free_port();
    let daemon = Daemon::start(Settings {
        checks: "recipient".into(),
        engines: format!(
            "<recipient><domain name='example.com'><ldap><url>ldap://127.0.0.1:{port}</url>\
             <base>dc=x</base><filter>(mail=$recipient)</filter></ldap></domain></recipient>"
        ),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    for number in 0..5 {
        let recipient = format!("user{number}@example.com");
        let request = PolicyRequest::new().set("recipient", recipient);
        assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO");
    }
    daemon.logged("that it is away", |line| mentions(line, "can't ask a source of recipients"));
    assert_eq!(lines(&daemon, "can't ask a source of recipients").len(), 1);
}
