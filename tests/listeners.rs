//! Sockets: several at once, permissions, what is in the way of one, and limits.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::ports::free_port;

fn unix_socket() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy");
    (directory, path)
}

fn on_socket(attributes: &'static str, path: &std::path::Path) -> Settings {
    let listen = vec![(attributes, Endpoint::Unix(path.to_owned()))];
    Settings { listen, ..Settings::default() }
}

fn answers(endpoint: &Endpoint) -> bool {
    let client = PolicyClient::connect(endpoint);
    client.is_ok_and(|mut client| {
        client.ask(&PolicyRequest::new().octets()).is_ok_and(|action| action == "DUNNO")
    })
}

#[test]
fn ipv4_ipv6_and_unix_sockets_are_served_at_once() {
    let (_directory, path) = unix_socket();
    let daemon = Daemon::start(Settings {
        listen: vec![
            ("", Endpoint::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())))),
            ("", Endpoint::Inet(SocketAddr::from((Ipv6Addr::LOCALHOST, free_port())))),
            ("", Endpoint::Unix(path)),
        ],
        ..Settings::default()
    });
    let mut clients: Vec<PolicyClient> = daemon
        .endpoints()
        .iter()
        .map(|endpoint| PolicyClient::connect(endpoint).unwrap())
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    }
}

#[test]
fn a_port_in_use_refuses_to_start() {
    let holder = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = holder.local_addr().unwrap();
    let listen = vec![("", Endpoint::Inet(address))];
    let (status, log) = Daemon::refused(Settings { listen, ..Settings::default() });
    assert!(!status.success());
    assert!(log.contains(&address.port().to_string()), "{log}");
}

#[test]
fn a_unix_socket_has_the_mode_owner_and_group_of_the_configuration() {
    let (_directory, path) = unix_socket();
    let mail = nix::unistd::Group::from_name("mail").unwrap().expect("no group mail");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("no user nobody");
    let _daemon = Daemon::start(on_socket(" mode=\"0620\" owner=\"nobody\" group=\"mail\"", &path));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o620);
    assert_eq!(metadata.uid(), nobody.uid.as_raw());
    assert_eq!(metadata.gid(), mail.gid.as_raw());
}

#[test]
fn owner_and_group_can_be_numbers() {
    let (_directory, path) = unix_socket();
    let _daemon = Daemon::start(on_socket(" owner=\"4711\" group=\"4712\"", &path));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (4711, 4712));
}

#[test]
fn an_unknown_owner_refuses_to_start() {
    let (_directory, path) = unix_socket();
    let (status, log) = Daemon::refused(on_socket(" owner=\"nobody-of-that-name\"", &path));
    assert!(!status.success());
    assert!(log.contains("nobody-of-that-name"), "{log}");
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let (_directory, path) = unix_socket();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file outlives its listener");
    let daemon = Daemon::start(on_socket("", &path));
    assert!(answers(&daemon.endpoint()));
}

#[test]
fn the_socket_of_a_killed_server_is_replaced() {
    let (_directory, path) = unix_socket();
    let mut daemon = Daemon::start(on_socket("", &path));
    daemon.kill9();
    assert!(path.exists(), "a killed server leaves its socket");
    let daemon = daemon.again();
    assert!(answers(&daemon.endpoint()));
}

#[test]
fn the_socket_of_a_live_server_is_refused() {
    let (_directory, path) = unix_socket();
    let live = Daemon::start(on_socket("", &path));
    let (status, log) = Daemon::refused(on_socket("", &path));
    assert!(!status.success());
    assert!(log.contains(path.to_str().unwrap()), "{log}");
    assert!(answers(&live.endpoint()), "the live server lost its socket");
}

#[test]
fn a_regular_file_in_the_way_is_refused_and_left_alone() {
    let (_directory, path) = unix_socket();
    std::fs::write(&path, "precious").unwrap();
    let (status, log) = Daemon::refused(on_socket("", &path));
    assert!(!status.success());
    assert!(log.contains(path.to_str().unwrap()), "{log}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_terminated_server_removes_its_socket() {
    let (_directory, path) = unix_socket();
    let mut daemon = Daemon::start(on_socket("", &path));
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    assert!(daemon.terminate().success());
    assert!(!path.exists());
}

#[test]
fn many_connections_are_served_at_once() {
    let daemon = Daemon::start(Settings::default());
    let mut clients: Vec<PolicyClient> = (0..500).map(|_| daemon.connect()).collect();
    let octets = PolicyRequest::new().octets();
    for client in &mut clients {
        client.send(&octets).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.reply().unwrap(), "action=DUNNO");
    }
}

#[test]
fn an_idle_connection_stays_open() {
    let daemon = Daemon::start(Settings::default());
    let mut client = daemon.connect();
    assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    pause(Duration::from_secs(5));
    assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
}

#[test]
fn an_idle_connection_is_closed_where_the_configuration_asks_for_it() {
    let daemon = Daemon::start(Settings {
        policy_server: "<idle_timeout>1s</idle_timeout>".into(),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    assert_eq!(client.until_closed().unwrap(), b"");
}
