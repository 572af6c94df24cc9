//! Host names that a name server says nothing about: whoever needs them waits, and nobody else.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crate::harness::apart::Apart;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};

/// A name server of the system that never says anything.
struct Silent {
    socket: UdpSocket,
    apart: Apart,
}

impl Silent {
    fn start() -> Self {
        let address = || Ipv4Addr::new(127, fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..));
        let bind = || Some(UdpSocket::bind((address(), 53)).expect("only root has port 53"));
        let socket = eventually(bind).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let apart = Apart::with_name_server(socket.local_addr().unwrap().ip());
        Silent { socket, apart }
    }

    fn settings(&self, settings: Settings) -> Settings {
        Settings {
            program: Some(self.apart.executable()),
            // Longer than any test is ready to wait.
            environment: vec![("RES_OPTIONS", "timeout:30 attempts:5".to_owned())],
            ..settings
        }
    }

    /// Waits until it was asked about `LABEL.example`, for each of these labels.
    fn was_asked(&self, labels: &[&str]) {
        let mut missing = labels.to_vec();
        let mut octets = [0; 512];
        let all = eventually(|| {
            if let Ok(length) = self.socket.recv(&mut octets) {
                let question = String::from_utf8_lossy(&octets[..length]).into_owned();
                missing.retain(|label| !question.contains(label));
            }
            missing.is_empty().then_some(())
        });
        assert!(all.is_some(), "nobody has asked about {missing:?}");
    }
}

fn helo(name: &str) -> Vec<u8> {
    PolicyRequest::new().set("helo_name", name).octets()
}

#[test]
fn a_name_in_the_new_configuration_holds_up_no_request_while_mppd_reloads() {
    let silent = Silent::start();
    let mut daemon = Daemon::start(silent.settings(Settings::wbl("")));
    let mut client = daemon.connect();
    let listen = "<listen>inet:listen.example:10040</listen>".to_owned();
    daemon.configure(silent.settings(Settings { policy_server: listen, ..Settings::wbl("") }));
    daemon.hangup();
    silent.was_asked(&["listen"]);
    assert_eq!(client.ask(&helo("quick")).unwrap(), "DUNNO");
    assert_eq!(daemon.connect().ask(&helo("quick")).unwrap(), "DUNNO");
    let ends = ["configuration reloaded", "reload refused", "reload failed"];
    let is_over = |line: &String| ends.iter().any(|end| line.contains(end));
    assert!(!daemon.log().iter().any(is_over), "it did not wait");
}

#[test]
fn names_that_engines_and_records_need_hold_up_neither_other_requests_nor_the_end() {
    let silent = Silent::start();
    let limits = |engine: &str| format!("precondition=\"$helo $EQ {engine}\" timeout=\"20s\"");
    let engines = ["delegate", "ldap", "http", "callout"];
    let settings = silent.settings(Settings {
        tracking: true,
        group: "<PPXX0001_track_policy_connection><host>database.example</host>
                <database>mppd</database><connect_timeout>100ms</connect_timeout>
                </PPXX0001_track_policy_connection>"
            .into(),
        policy_server: "<workers>1</workers><drain_timeout>100ms</drain_timeout>".into(),
        checks: "delegate ldap http recipient".into(),
        engines: format!(
            "<delegate {}><server>inet:delegate.example:10040</server></delegate>
             <ldap {}><url>ldap://ldap.example</url><base>dc=example</base>
             <filter>(mail=$recipient)</filter></ldap>
             <http {}><uri>http://http.example/$ip</uri></http>
             <recipient {}><domain name=\"example.com\">
             <callout><host>callout.example</host></callout></domain></recipient>",
            limits(engines[0]),
            limits(engines[1]),
            limits(engines[2]),
            limits(engines[3])
        ),
        ..Settings::default()
    });
    let mut daemon = Daemon::start(settings);
    let clients: Vec<PolicyClient> = engines
        .iter()
        .map(|engine| {
            let mut client = daemon.connect();
            client.send(&helo(engine)).unwrap();
            client
        })
        .collect();
    silent.was_asked(&[&engines[..], &["database"]].concat());
    assert_eq!(daemon.connect().ask(&helo("quick")).unwrap(), "DUNNO");
    assert!(daemon.terminate().success());
    drop(clients);
}
