//! Whatever goes wrong between the server and the domain name system, every check that asks it
//! answers inside its time limit, with the status that it has for that.

use std::net::SocketAddr;

use mppd_dns::testkit::{Fault, Server, Zones};
use mppd_dns::{Name, Record};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;

/// A check, wired so that each of its statuses can be told from the answer.
struct Check {
    name: &'static str,
    xml: &'static str,
    /// Behind a domain, to be the name that it asks about.
    suffix: &'static str,
    /// The answer where nothing can be told.
    failed: &'static str,
    /// The answer where what is told speaks for itself.
    sound: &'static str,
}

const CHECKS: [Check; 3] = [
    Check {
        name: "rbl",
        xml: "<list zone='bl.example' of='helo_name'/>
              <suspend_after>1000</suspend_after>
              <on_listed>WARN listed</on_listed> <on_none>WARN none</on_none>
              <on_unknown>DEFER_IF_PERMIT unknown</on_unknown>",
        suffix: ".bl.example",
        failed: "DEFER_IF_PERMIT unknown",
        sound: "WARN listed",
    },
    Check {
        name: "spf",
        xml: "<on_pass>WARN pass</on_pass> <on_none>WARN none</on_none>
              <on_permerror>WARN permerror</on_permerror>
              <on_temperror>DEFER_IF_PERMIT temperror</on_temperror>",
        suffix: "",
        failed: "DEFER_IF_PERMIT temperror",
        sound: "WARN pass",
    },
    Check {
        name: "helo",
        xml: "<on_ok>WARN ok</on_ok> <on_unresolvable>WARN unresolvable</on_unresolvable>
              <on_temperror>DEFER_IF_PERMIT temperror</on_temperror>",
        suffix: "",
        failed: "DEFER_IF_PERMIT temperror",
        sound: "WARN ok",
    },
];

/// What a check gets for an answer that is sound.
fn sound(zones: Zones, name: &str) -> Zones {
    zones.a(name, "127.0.0.2").txt(name, "v=spf1 ip4:192.0.2.17 -all")
}

/// The same, longer than fits into one answer over UDP.
fn long(zones: Zones, name: &str) -> Zones {
    let name = Name::parse(name.as_bytes()).unwrap();
    let addresses = (0..500_u32).map(|n| Record::A((0x7f00_0200_u32 + n).into()));
    let zones = addresses.fold(zones, |zones, record| zones.record_of(name.clone(), record));
    let text = format!("v=spf1 ip4:192.0.2.17 {}-all", "ip4:203.0.113.1 ".repeat(400));
    zones.record_of(name, Record::Txt(text.into_bytes().into()))
}

const FAULTS: [(&str, Fault); 8] = [
    ("silence", Fault::Silence),
    ("servfail", Fault::ServerFailure),
    ("refused", Fault::Refused),
    ("truncated", Fault::Truncated),
    ("garbage", Fault::Garbage),
    ("question", Fault::OtherQuestion),
    ("number", Fault::OtherNumber),
    ("loop", Fault::Loop),
];

fn zones() -> Zones {
    let mut zones = Zones::default();
    for suffix in ["", ".bl.example"] {
        for (name, fault) in FAULTS {
            zones = zones.fault(&format!("{name}.example{suffix}"), fault);
        }
        let name = |label: &str| format!("{label}.example{suffix}");
        zones = zones
            .alias(&name("circle"), &name("ring"))
            .alias(&name("ring"), &name("circle"))
            .alias(&name("chain"), &name("link"))
            .alias(&name("link"), &name("another"))
            .alias(&name("another"), &name("good"));
        zones = long(sound(zones, &name("good")), &name("long"));
    }
    zones
}

fn settings(server: SocketAddr, check: &Check, limits: &str) -> Settings {
    let Check { name, xml, .. } = check;
    Settings {
        // What is left of it is more than the check has.
        common: format!("<dns><server>{server}</server><timeout>1h</timeout></dns>"),
        policy_server: "<request_deadline>15s</request_deadline>".into(),
        group: "<on_error>DEFER the request ran out of time</on_error>".into(),
        checks: name.to_string(),
        engines: format!("<{name}>{limits}{xml}</{name}>"),
        ..Settings::default()
    }
}

/// Ends the check itself long before anything else would.
const OWN_LIMIT: &str = "<time_limit>500ms</time_limit> <timeout>14s</timeout>
    <on_exception>DEFER exception</on_exception>";

/// Ends the check by the engine's timeout.
const TIMEOUT: &str = "<time_limit>1h</time_limit> <timeout>300ms</timeout>
    <on_exception>DEFER exception</on_exception>";

fn asked(daemon: &Daemon, label: &str) -> String {
    let domain = format!("{label}.example");
    let request = PolicyRequest::new().set("helo_name", &domain);
    let request = request.set("sender", format!("a@{domain}"));
    daemon.connect().ask(&request.octets()).unwrap()
}

#[test]
fn every_fault_of_an_answer_ends_as_the_status_for_it() {
    let server = Server::start(zones());
    for check in &CHECKS {
        let daemon = Daemon::start(settings(server.address(), check, OWN_LIMIT));
        for label in FAULTS.map(|(label, _)| label).into_iter().chain(["circle"]) {
            assert_eq!(asked(&daemon, label), check.failed, "{}: {label}", check.name);
        }
        // Nothing of all this keeps the next answer from coming.
        assert_eq!(asked(&daemon, "good"), check.sound, "{}", check.name);
    }
}

#[test]
fn chains_of_aliases_and_answers_too_long_for_udp_are_sound() {
    let server = Server::start(zones());
    for check in &CHECKS {
        let limits = OWN_LIMIT.replace("500ms", "10s");
        let daemon = Daemon::start(settings(server.address(), check, &limits));
        for label in ["chain", "long"] {
            assert_eq!(asked(&daemon, label), check.sound, "{}: {label}", check.name);
        }
    }
    let is_long = |suffix: &str| {
        let name = format!("long.example{suffix}");
        server.asked().iter().filter(|question| question.name.to_string() == name).count()
    };
    // Once over UDP, and again over TCP.
    assert!(CHECKS.iter().all(|check| is_long(check.suffix) >= 2), "{:?}", server.asked());
}

#[test]
fn a_name_server_that_is_not_there_ends_as_the_status_for_it() {
    let server = Server::start(Zones::default());
    let closed = server.address();
    drop(server);
    let black_hole = Server::black_hole();
    for (what, address) in [("closed", closed), ("black hole", black_hole.address())] {
        for check in &CHECKS {
            let daemon = Daemon::start(settings(address, check, OWN_LIMIT));
            assert_eq!(asked(&daemon, "good"), check.failed, "{}: {what}", check.name);
        }
    }
}

#[test]
fn where_the_engines_timeout_comes_first_its_exception_decides() {
    let black_hole = Server::black_hole();
    for check in &CHECKS {
        let daemon = Daemon::start(settings(black_hole.address(), check, TIMEOUT));
        assert_eq!(asked(&daemon, "good"), "DEFER exception", "{}", check.name);
    }
}

#[test]
fn by_default_no_fault_delays_or_refuses_mail() {
    let black_hole = Server::black_hole();
    for check in &CHECKS {
        let mut settings = settings(black_hole.address(), check, "");
        let list = "<list zone='bl.example' of='helo_name'/>";
        let list = if check.name == "rbl" { list } else { "" };
        let Check { name, .. } = check;
        let limit = "<time_limit>300ms</time_limit>";
        settings.engines = format!("<{name}>{limit}{list}</{name}>");
        let daemon = Daemon::start(settings);
        assert_eq!(asked(&daemon, "good"), "DUNNO", "{name}");
    }
}
