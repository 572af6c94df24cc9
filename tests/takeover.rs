//! Sockets that systemd opens: one mppd ends, the next one starts, and nobody who asks notices.

use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::{PATIENCE, eventually, pause};

/// A server whose sockets are handed over: one on a port and one with a file.
fn handed_over(directory: &Path) -> Settings {
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(directory.join("policy")).unwrap();
    Settings {
        listen: vec![
            ("", Endpoint::Inet(inet.local_addr().unwrap())),
            ("", Endpoint::Unix(directory.join("policy"))),
        ],
        handed_over: vec![Arc::new(inet.into()), Arc::new(unix.into())],
        ..Settings::wbl(
            "<black><sender>black@example.org</sender></black><on_black>REJECT no</on_black>",
        )
    }
}

/// Asks as Postfix does: once more where the connection has ended.
fn ask(client: &mut Option<PolicyClient>, endpoint: &Endpoint) -> String {
    let request = PolicyRequest::new().set("sender", "black@example.org").octets();
    for _ in 0..2 {
        let connected = client.get_or_insert_with(|| PolicyClient::connect(endpoint).unwrap());
        match connected.ask(&request) {
            Ok(action) => return action,
            Err(_) => *client = None,
        }
    }
    panic!("two connections in turn had no answer");
}

#[test]
fn the_next_server_takes_over_and_no_connection_fails() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(handed_over(directory.path()));
    let endpoints = daemon.endpoints();
    let ended = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let ask_all = |endpoint: &Endpoint, keep: bool| {
            let (mut client, mut count) = (None, 0u32);
            while !ended.load(Ordering::Relaxed) {
                assert_eq!(ask(&mut client, endpoint), "REJECT no");
                client = client.filter(|_| keep);
                count += 1;
            }
            count
        };
        let clients: Vec<_> = endpoints
            .iter()
            .flat_map(|endpoint| [(endpoint, true), (endpoint, false)])
            .map(|(endpoint, keep)| scope.spawn(move || ask_all(endpoint, keep)))
            .collect();
        for _ in 0..5 {
            pause(Duration::from_millis(100));
            assert!(daemon.terminate().success());
            daemon = daemon.next();
            // Before that, a signal ends it as any other program.
            daemon.logged("that it is ready", |line| mentions(line, "mppd is ready"));
        }
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
    });
    assert!(count > 20, "only {count} were asked");
    assert!(directory.path().join("policy").exists(), "the file of the socket was removed");
}

#[test]
fn postfix_takes_all_mail_while_the_server_is_exchanged() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(handed_over(directory.path()));
    let postfix = Postfix::start(&PostfixSettings::asking(
        &daemon.endpoint(),
        &["smtpd_recipient_restrictions"],
    ));
    let postfix = &postfix;
    std::thread::scope(|scope| {
        let load = scope.spawn(move || {
            std::process::Command::new("/usr/sbin/smtp-source")
                .args(["-s", "4", "-m", "600", "-f", "alice@example.org", "-t", "bob@example.com"])
                .arg(format!("inet:127.0.0.1:{}", postfix.port()))
                .output()
                .unwrap()
        });
        pause(Duration::from_millis(300));
        while !load.is_finished() {
            assert!(daemon.terminate().success());
            daemon = daemon.next();
            // Postfix asks twice, a second apart: more exchanges than that are nobody's upgrade.
            daemon.logged("that it is ready", |line| mentions(line, "mppd is ready"));
            pause(Duration::from_secs(3));
        }
        let load = load.join().unwrap();
        let said = String::from_utf8_lossy(&load.stderr).into_owned();
        assert!(load.status.success() && said.is_empty(), "{said}");
    });
}

#[test]
fn whoever_has_just_connected_is_answered_when_the_server_stops() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(handed_over(directory.path()));
    let (mut new, mut old) = (daemon.connect(), daemon.connect());
    let request = PolicyRequest::new().octets();
    old.ask(&request).unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    daemon.logged("that it stops", |line| mentions(line, "stopping"));
    assert!(new.ask(&PolicyRequest::new().octets()).is_ok());
    assert!(old.until_closed().unwrap().is_empty());
    assert!(new.until_closed().unwrap().is_empty());
}

#[test]
fn a_socket_that_no_listen_names_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = handed_over(directory.path());
    settings.listen.pop();
    let daemon = Daemon::start(settings);
    let line = daemon.logged("what is not wanted", |line| mentions(line, "was handed over"));
    assert!(mentions(&line, "policy"), "{line}");
}

#[test]
fn a_reload_can_leave_a_socket_and_come_back_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let settings = handed_over(directory.path());
    let mut daemon = Daemon::start(settings.clone());
    let mut fewer = settings.clone();
    fewer.listen.pop();
    daemon.configure(fewer);
    daemon.hangup();
    daemon.logged("that it stopped", |line| mentions(line, "no longer listening"));
    daemon.configure(settings);
    daemon.hangup();
    let mut client = None;
    assert_eq!(ask(&mut client, &daemon.endpoints()[1]), "REJECT no");
}

#[test]
fn the_service_manager_is_told_when_the_server_is_ready_reloads_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let environment =
        vec![("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "200000".to_owned())];
    let mut daemon = Daemon::start(Settings { environment, ..Settings::default() });
    let told = |wanted: &str| {
        let told = eventually(|| {
            let mut octets = [0; 4096];
            let length = manager.recv(&mut octets).unwrap();
            let said = String::from_utf8_lossy(&octets[..length]).into_owned();
            said.contains(wanted).then_some(said)
        });
        told.unwrap_or_else(|| panic!("not told: {wanted}"))
    };
    assert!(told("READY=1").contains("STATUS=answering at inet:127.0.0.1"));
    told("WATCHDOG=1");
    daemon.write_configuration("<mppd>");
    daemon.hangup();
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(told("READY=1").contains("is refused since"));
    daemon.terminate();
    told("STOPPING=1");
}
