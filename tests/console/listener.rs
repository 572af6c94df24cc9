//! Its sockets, and what monitoring asks there.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::http::get;
use crate::harness::ports::free_port;

fn address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

fn reload(daemon: &Daemon) {
    Call::new(["reload"]).with(&daemon.configuration()).succeed();
}

fn settings(at: SocketAddr, more: &str) -> Settings {
    Settings {
        common: format!("<admin><listen>inet:{at}</listen>{more}</admin>"),
        tracking: true,
        ..Settings::default()
    }
}

#[test]
fn a_server_that_answers_says_that_it_lives_and_is_ready() {
    let at = address();
    let _daemon = Daemon::start(settings(at, ""));
    for (path, said) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let response = get(at, path, &[]);
        assert_eq!((response.status, response.body.as_str()), (200, said));
    }
    let metrics = get(at, "/metrics", &[]);
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("mppd_build_info{"), "{}", metrics.body);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
}

#[test]
fn a_reload_moves_the_admin_listener_and_keeps_it_where_nothing_changed() {
    let (first, second) = (address(), address());
    let mut daemon = Daemon::start(settings(first, ""));
    let kept = TcpStream::connect(first).unwrap();
    daemon.configure(settings(first, "<max_connections>8</max_connections>"));
    reload(&daemon);
    assert_eq!(get(first, "/healthz", &[]).status, 200);
    drop(kept);
    daemon.configure(settings(second, ""));
    reload(&daemon);
    assert_eq!(get(second, "/readyz", &[]).status, 200);
    eventually(|| TcpStream::connect(first).err()).expect("the old socket is still open");
}

#[test]
fn a_reload_with_an_admin_port_in_use_is_refused_and_says_which() {
    let (first, taken) = (address(), TcpListener::bind("127.0.0.1:0").unwrap());
    let second = taken.local_addr().unwrap();
    let mut daemon = Daemon::start(settings(first, ""));
    daemon.configure(settings(second, ""));
    daemon.hangup();
    let line = daemon.logged("why the reload failed", |line| {
        line["msg"].as_str().unwrap().starts_with("reload failed")
    });
    assert!(line["reason"].as_str().unwrap().contains(&second.to_string()), "{line}");
    assert_eq!(get(first, "/readyz", &[]).status, 200);
}

#[test]
fn a_server_whose_admin_port_is_in_use_does_not_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let (status, log) = Daemon::refused(settings(at, ""));
    assert!(!status.success());
    assert!(log.contains(&format!("can't listen on inet:{at}")), "{log}");
}

#[test]
fn the_admin_listener_can_be_a_socket_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listen = format!("<admin><listen mode=\"0600\">unix:{}</listen></admin>", path.display());
    let mut daemon = Daemon::start(Settings { common: listen, ..Settings::default() });
    let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let said = crate::harness::http::exchange(stream, "/healthz");
    assert_eq!((said.status, said.body.as_str()), (200, "alive\n"));
    daemon.terminate();
    assert!(!path.exists(), "the socket file is left behind");
}
