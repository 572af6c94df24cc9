//! `mppd status` and `mppd reload`: a server that runs is asked how it is, and told to read its
//! configuration again.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::harness::command::{Call, Said};
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;

const BROKEN: &str = "<mppd><common><no_such_option/></common></mppd>";

fn refusing(sender: &str) -> Settings {
    Settings::wbl(&format!(
        "<black><sender>{sender}</sender></black><on_black>REJECT no</on_black>"
    ))
}

fn call(daemon: &Daemon, command: &str) -> Call {
    Call::new([command]).with(&daemon.configuration())
}

/// A call for a server whose configuration can't be read.
fn call_by_directory(daemon: &Daemon, command: &str) -> Call {
    Call::new([command, "--state-directory"]).argument(daemon.state_directory())
}

fn status(daemon: &Daemon) -> Value {
    let said = call_by_directory(daemon, "status").argument("--json").succeed();
    serde_json::from_str(&said).unwrap()
}

#[test]
fn a_server_says_how_it_is() {
    let daemon = Daemon::start(refusing("old@example.org"));
    let mut client = daemon.connect();
    client.ask(&PolicyRequest::new().octets()).unwrap();
    let status = status(&daemon);
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["listening"][0], daemon.endpoint().to_string());
    assert_eq!(status["configuration"]["refused"], Value::Null);
    assert_eq!(status["configuration"]["changed"], Value::Array(Vec::new()));
    let configuration = daemon.configuration();
    assert_eq!(status["configuration"]["files"][0], configuration.to_str().unwrap());
    let screen = call(&daemon, "status").succeed();
    assert!(screen.contains(&format!("process {}", daemon.pid())), "{screen}");
}

#[test]
fn without_a_server_the_exit_code_is_3() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["status", "reload"] {
        let call = Call::new([command, "--state-directory"]).argument(directory.path());
        let Said { code, err, .. } = call.run();
        assert_eq!(code, Some(3), "{err}");
        assert!(err.contains("no mppd runs"), "{err}");
    }
}

#[test]
fn a_server_that_was_killed_leaves_no_socket_that_seems_to_be_one() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    daemon.kill9();
    assert_eq!(call(&daemon, "status").run().code, Some(3));
    let daemon = daemon.again();
    assert_eq!(status(&daemon)["pid"], daemon.pid());
}

#[test]
fn a_reload_is_in_force_when_the_command_ends() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    let mut client = daemon.connect();
    daemon.configure(refusing("new@example.org"));
    assert_eq!(status(&daemon)["configuration"]["changed"].as_array().unwrap().len(), 1);
    call(&daemon, "reload").succeed();
    let request = PolicyRequest::new().set("sender", "new@example.org");
    assert_eq!(client.ask(&request.octets()).unwrap(), "REJECT no");
    assert_eq!(status(&daemon)["configuration"]["changed"], Value::Array(Vec::new()));
}

#[test]
fn a_broken_configuration_is_loud_until_it_is_mended() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    daemon.write_configuration(BROKEN);
    let checked = call(&daemon, "check").run();
    let reloaded = call_by_directory(&daemon, "reload").run();
    assert_eq!(reloaded.code, Some(78));
    let report = reloaded.err.strip_suffix("The old configuration stays in force.\n").unwrap();
    assert_eq!(report, checked.err);
    let Said { code, out, .. } = call_by_directory(&daemon, "status").run();
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("is refused since") && out.contains("no_such_option"), "{out}");
    let refused = &status(&daemon)["configuration"]["refused"];
    assert!(mentions(&refused["findings"][0], "no_such_option") || refused.is_object());
    daemon.configure(refusing("new@example.org"));
    call(&daemon, "reload").succeed();
    assert_eq!(status(&daemon)["configuration"]["refused"], Value::Null);
    daemon.logged("that it is mended", |line| mentions(line, "is mended"));
}

#[test]
fn warnings_of_a_refused_configuration_are_logged_as_warnings() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    let unused = "<wbl id=\"nobody_names_this\"/><no_such_engine/>";
    daemon.configure(Settings { engines: unused.to_owned(), ..Settings::default() });
    assert_eq!(call(&daemon, "reload").run().code, Some(78));
    let warning = daemon.logged("the warning", |line| mentions(line, "nobody_names_this"));
    assert_eq!(warning["level"], "WARN", "{warning}");
    let error = daemon.logged("the error", |line| mentions(line, "no_such_engine"));
    assert_eq!(error["level"], "ERRO", "{error}");
}

#[test]
fn what_a_configuration_asks_for_and_cannot_have_is_told() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = refusing("new@example.org");
    let policy_server = format!("<listen>inet:{}</listen>", taken.local_addr().unwrap());
    daemon.configure(Settings { policy_server, ..settings });
    let Said { code, err, .. } = call(&daemon, "reload").run();
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("can't listen on"), "{err}");
}

#[test]
fn what_is_no_question_is_turned_away() {
    let daemon = Daemon::start(refusing("old@example.org"));
    let path = daemon.state_directory().join("control.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let endless = b"x".repeat(100_000);
    for question in [&b"\n"[..], b"{}\n", b"\"shutdown\"\n", b"\xff\xfe\n", &endless] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        // It may be turned away before it is all sent.
        drop(stream.write_all(question));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.is_empty() || answer.contains("failed"), "{answer}");
    }
    assert_eq!(status(&daemon)["pid"], daemon.pid());
}

#[test]
fn those_who_say_nothing_keep_nobody_from_asking() {
    let daemon = Daemon::start(refusing("old@example.org"));
    let path = daemon.state_directory().join("control.sock");
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let mut client = daemon.connect();
    client.ask(&PolicyRequest::new().octets()).unwrap();
    drop(silent);
    assert_eq!(status(&daemon)["pid"], daemon.pid());
}
