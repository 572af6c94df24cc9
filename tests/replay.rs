//! `mppd replay`: recorded requests through another configuration.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::records::{Store, sqlite};
use crate::harness::web::WebService;

/// Writes another configuration beside that of a server, with the same records.
fn beside(daemon: &Daemon, settings: &Settings) -> PathBuf {
    let file = daemon.configuration().with_file_name("other.conf.xml");
    std::fs::write(&file, settings.xml(&daemon.state_directory())).unwrap();
    file
}

fn replay(configuration: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let call = Call::new(["replay", "--json"].iter().chain(arguments)).with(configuration);
    let said = call.run();
    assert_eq!(said.err, "");
    (said.code, serde_json::from_str(&said.out).unwrap())
}

fn lists(black: &str, white: &str) -> Settings {
    Store::Sqlite.track(Settings::wbl(&format!(
        "<white><sender>{white}</sender></white><black><sender>{black}</sender></black>"
    )))
}

#[test]
fn a_changed_list_changes_what_it_must_and_nothing_is_written() {
    const REQUESTS: usize = 3_000;
    let daemon = Daemon::start(lists("old.example", "friend.example"));
    let domains = ["old.example", "new.example", "friend.example", "other.example", "example.org"];
    std::thread::scope(|scope| {
        for part in 0..4 {
            let mut client = daemon.connect();
            scope.spawn(move || {
                for number in (part..REQUESTS).step_by(4) {
                    let sender = format!("u{number}@{}", domains[number % domains.len()]);
                    client.ask(&PolicyRequest::new().set("sender", sender).octets()).unwrap();
                }
            });
        }
    });
    let before = sqlite(&daemon.state_directory());
    assert_eq!(before.len(), REQUESTS);
    let file = beside(&daemon, &lists("new.example", "friend.example"));
    let (code, report) = replay(&file, &["--examples", "2"]);
    assert_eq!(code, Some(1));
    assert_eq!(report["requests"], REQUESTS);
    assert_eq!(report["same"], REQUESTS / 5 * 3);
    assert_eq!(report["changed"], REQUESTS / 5 * 2);
    let causes = report["causes"].as_array().unwrap();
    assert_eq!(causes.len(), 2);
    let cause = |new: &str| causes.iter().find(|cause| cause["new_decision"] == new).unwrap();
    let refused = cause("REJECT");
    assert_eq!(refused["engine"], "wbl");
    assert_eq!((&refused["old_status"], &refused["new_status"]), (&"none".into(), &"black".into()));
    assert_eq!(refused["requests"], REQUESTS / 5);
    assert_eq!(refused["examples"].as_array().unwrap().len(), 2);
    let sender = refused["examples"][0]["sender"].as_str().unwrap();
    assert!(sender.ends_with("@new.example"), "{sender}");
    assert_eq!(cause("DUNNO")["old_decision"], "REJECT");
    let (code, report) = replay(&file, &["--sender", "other.example", "--since", "1h"]);
    assert_eq!((code, &report["requests"]), (Some(0), &(REQUESTS / 5).into()));
    let (code, report) = replay(&file, &["--until", "2h"]);
    assert_eq!((code, &report["requests"]), (Some(0), &0.into()));
    assert!(sqlite(&daemon.state_directory()) == before, "a record has changed");
}

#[test]
fn the_same_configuration_decides_the_same() {
    let daemon = Daemon::start(lists("old.example", "friend.example"));
    for sender in ["a@old.example", "a@friend.example", "", "odd \"one\"@old.example"] {
        daemon.connect().ask(&PolicyRequest::new().set("sender", sender).octets()).unwrap();
    }
    let said = Call::new(["replay"]).with(&daemon.configuration()).run();
    let expected = "4 requests: 4 decided the same, 0 otherwise\n";
    assert_eq!((said.code, &*said.out, &*said.err), (Some(0), expected, ""));
}

#[test]
fn who_was_asked_then_is_not_asked_again() {
    let service =
        WebService::start(|line| (if line.contains("evil") { 404 } else { 200 }, String::new()));
    let settings = |origin: &str, refusal: &str| {
        Store::Sqlite.track(Settings {
            checks: "service".into(),
            engines: format!(
                "<http id=\"service\"><uri>{origin}/$helo</uri>
                 <on_client_error>{refusal}</on_client_error></http>"
            ),
            ..Settings::default()
        })
    };
    let daemon = Daemon::start(settings(&service.origin, "REJECT no"));
    for helo in ["evil", "good", "evil.example"] {
        daemon.connect().ask(&PolicyRequest::new().set("helo_name", helo).octets()).unwrap();
    }
    // Whoever were asked now would not answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let file = beside(&daemon, &settings(&gone, "DEFER later"));
    let (code, report) = replay(&file, &[]);
    assert_eq!((code, &report["changed"], &report["same"]), (Some(1), &2.into(), &1.into()));
    let cause = &report["causes"][0];
    assert_eq!(cause["engine"], "service");
    assert_eq!(cause["old_status"], "client_error");
    assert_eq!(cause["new_status"], "client_error");
    assert_eq!(cause["new_decision"], "DEFER");
    assert_eq!(service.lines.try_iter().count(), 3);
}

#[test]
fn engines_go_by_the_time_of_the_records() {
    let settings = |delay: &str| {
        Store::Sqlite.track(Settings {
            checks: "greylist".into(),
            engines: format!("<greylist><delay>{delay}</delay></greylist>"),
            ..Settings::default()
        })
    };
    let daemon = Daemon::start(settings("1h"));
    let mut client = daemon.connect();
    client.ask(&PolicyRequest::new().octets()).unwrap();
    // It comes again, as another message; how much later hardly matters.
    crate::harness::pause(std::time::Duration::from_millis(1_200));
    client.ask(&PolicyRequest::new().octets()).unwrap();
    let file = beside(&daemon, &settings("1s"));
    let (code, report) = replay(&file, &[]);
    assert_eq!((code, &report["changed"], &report["same"]), (Some(1), &1.into(), &1.into()));
    let cause = &report["causes"][0];
    assert_eq!((&cause["old_status"], &cause["new_status"]), (&"early".into(), &"passed".into()));
    let (code, _) = replay(&file, &["--recorded", "greylist"]);
    assert_eq!(code, Some(0));
}

#[test]
fn where_engines_remember_the_requests_are_taken_in_their_order() {
    const REQUESTS: usize = 300;
    let daemon =
        Daemon::start(
            Store::Sqlite.track(Settings {
                checks: "threshold".into(),
                engines:
                    "<threshold key=\"$client_address\"><limit max=\"150\" per=\"1h\"/></threshold>"
                        .into(),
                ..Settings::default()
            }),
        );
    let mut client = daemon.connect();
    for _ in 0..REQUESTS {
        client.ask(&PolicyRequest::new().octets()).unwrap();
    }
    for arguments in [&[][..], &["--dns", "live"]] {
        let (code, report) = replay(&daemon.configuration(), arguments);
        assert_eq!((code, &report["same"]), (Some(0), &REQUESTS.into()), "{report}");
    }
    let said = Call::new(["replay", "--workers", "4"]).with(&daemon.configuration()).run();
    assert!(said.err.contains("requests must keep their order for threshold"), "{}", said.err);
    assert_eq!(said.code, Some(0));
}

#[test]
fn what_cannot_be_replayed_is_told() {
    let daemon = Daemon::start(lists("old.example", "friend.example"));
    let said = Call::new(["replay", "--recorded", "oops"]).with(&daemon.configuration()).run();
    let expected = "mppd replay: no chain names an engine oops\n";
    assert_eq!((said.code, &*said.err), (Some(2), expected));
    let said = Call::new(["replay", "--since", "soon"]).with(&daemon.configuration()).run();
    assert_eq!(said.code, Some(2), "{}", said.err);
    let file = beside(&daemon, &lists("new.example", "friend.example"));
    std::fs::write(&file, "<mppd><oops/></mppd>").unwrap();
    let said = Call::new(["replay"]).with(&file).run();
    assert_eq!(said.code, Some(78), "{}", said.err);
}
