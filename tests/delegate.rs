//! Another policy server as an engine of the chain: a real postgrey.

use std::time::Duration;

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::pause;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::postgrey::Postgrey;

fn settings(server: &str, options: &str) -> Settings {
    Settings {
        checks: "postgrey lists".into(),
        engines: format!(
            "<delegate id=\"postgrey\"><server>{server}</server>{options}</delegate>
             <wbl id=\"lists\"><black><sender>spam@example.org</sender></black>
             <on_black>REJECT listed</on_black></wbl>"
        ),
        ..Settings::default()
    }
}

#[test]
fn what_postgrey_says_is_what_postfix_is_told() {
    let postgrey = Postgrey::start();
    let daemon = Daemon::start(settings(&postgrey.endpoint(), ""));
    let mut client = daemon.connect();
    let deferred = client.ask(&PolicyRequest::new().octets()).unwrap();
    assert_eq!(deferred, "DEFER_IF_PERMIT 4.2.0 come back in 1 seconds");
    pause(Duration::from_millis(2100));
    let passed = client.ask(&PolicyRequest::new().octets()).unwrap();
    assert!(passed.starts_with("PREPEND X-Greylist: delayed "), "{passed}");
}

#[test]
fn the_checks_behind_postgrey_have_their_say() {
    let postgrey = Postgrey::start();
    let daemon = Daemon::start(settings(&postgrey.endpoint(), ""));
    let mut client = daemon.connect();
    let spam = || PolicyRequest::new().set("sender", "spam@example.org").octets();
    assert!(client.ask(&spam()).unwrap().starts_with("REJECT listed"));
}

#[test]
fn a_postgrey_that_was_restarted_is_asked_again() {
    let mut postgrey = Postgrey::start();
    let daemon = Daemon::start(settings(&postgrey.endpoint(), ""));
    let mut client = daemon.connect();
    let mut ask =
        |sender: &str| client.ask(&PolicyRequest::new().set("sender", sender).octets()).unwrap();
    assert!(ask("a@example.org").starts_with("DEFER_IF_PERMIT "));
    postgrey = postgrey.restart();
    assert!(ask("b@example.org").starts_with("DEFER_IF_PERMIT "));
    drop(postgrey);
}

#[test]
fn without_postgrey_mail_passes_and_the_log_tells() {
    let endpoint = Postgrey::start().endpoint();
    let daemon = Daemon::start(settings(&endpoint, ""));
    assert_eq!(daemon.connect().ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    let line = daemon.logged("that postgrey failed", |line| mentions(line, "can't ask inet:"));
    assert_eq!(line["engine"], "postgrey");
}
