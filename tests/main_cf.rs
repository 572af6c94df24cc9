//! `mppd postfix`: a real Postfix is told to ask mppd, and asks.

use std::path::PathBuf;

use crate::harness::command::{Call, Said};
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::smtp::SmtpClient;

fn refusing() -> Daemon {
    Daemon::start(Settings::wbl(
        "<black><sender>black@example.org</sender></black><on_black>REJECT no</on_black>",
    ))
}

/// `mppd postfix` for this Postfix, with more arguments.
fn call(daemon: &Daemon, postfix: &Postfix, arguments: &[&str]) -> Call {
    let call = Call::new(["postfix"]).with(&daemon.configuration());
    let call = call.argument("--config-directory").argument(postfix.etc());
    arguments.iter().fold(call, Call::argument)
}

fn postfix(daemon: &Daemon, postfix: &Postfix, arguments: &[&str]) -> Said {
    call(daemon, postfix, arguments).run()
}

fn main_cf(postfix: &Postfix) -> String {
    std::fs::read_to_string(postfix.etc().join("main.cf")).unwrap()
}

fn to_recipient(postfix: &Postfix) -> u16 {
    let mut smtp = SmtpClient::greeted(postfix.port());
    assert_eq!(smtp.mail("black@example.org").code, 250);
    smtp.command("RCPT TO:<bob@example.com>").code
}

/// Restrictions that do not let the test's client pass before anybody is asked.
fn asking_nobody() -> PostfixSettings {
    let list = "reject_unauth_pipelining, reject_unauth_destination, permit";
    PostfixSettings::default().set("smtpd_recipient_restrictions", list)
}

#[test]
fn what_is_applied_has_postfix_ask_and_once_more_changes_nothing() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    assert_eq!(to_recipient(&server), 250);
    let applied = postfix(&daemon, &server, &["--apply", "--yes"]);
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let asked = format!(
        "smtpd_recipient_restrictions = reject_unauth_pipelining, reject_unauth_destination, \
         check_policy_service {{ {}, timeout=35s, default_action=DUNNO }}, permit",
        daemon.endpoint()
    );
    assert!(applied.out.contains(&format!("+{asked}\n")), "{}", applied.out);
    assert!(main_cf(&server).contains(&asked), "{}", main_cf(&server));
    server.reload();
    // A server process of before the reload may still take a connection.
    let is_refused = || (to_recipient(&server) == 554).then_some(());
    eventually(is_refused).expect("Postfix asks");

    let before = main_cf(&server);
    let again = postfix(&daemon, &server, &["--apply", "--yes"]);
    assert_eq!(again.out, "main.cf is as it should be; nothing is to be changed.\n");
    assert_eq!(main_cf(&server), before);
}

#[test]
fn nothing_is_changed_where_nobody_can_be_asked() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    let before = main_cf(&server);
    let said = postfix(&daemon, &server, &["--apply"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("--yes"), "{}", said.err);
    assert_eq!(main_cf(&server), before);
}

#[test]
fn who_is_asked_and_does_not_say_yes_finds_nothing_changed() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    let before = main_cf(&server);
    // The last has nothing more to say: the end of the file, as a terminal has it.
    for answer in ["n\n", "\n", "yet\n", "\u{4}"] {
        let said = call(&daemon, &server, &["--apply"]).run_at_terminal(answer);
        assert_eq!(said.code, Some(1), "{answer:?}: {}", said.err);
        assert!(said.out.contains("\n+smtpd_recipient_restrictions = "), "{}", said.out);
        let end = "Change main.cf like this? [y/N] Nothing was changed.\n";
        assert!(said.out.ends_with(end), "{answer:?}: {}", said.out);
        assert_eq!(main_cf(&server), before);
    }
}

#[test]
fn who_is_asked_and_says_yes_finds_it_changed() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    let said = call(&daemon, &server, &["--apply"]).run_at_terminal("yes\n");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("Change main.cf like this? [y/N] main.cf is changed"),
        "{}",
        said.out
    );
    assert!(main_cf(&server).contains("check_policy_service {"), "{}", main_cf(&server));
}

#[test]
fn what_postfix_does_not_accept_is_taken_back() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    // Something else is wrong with this Postfix, so that it will not say yes.
    let master = server.etc().join("master.cf");
    std::fs::write(&master, "this is no service\n").unwrap();
    let before = main_cf(&server);
    let said = postfix(&daemon, &server, &["--apply", "--yes"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.err.contains("postfix: "), "{}", said.err);
    assert_eq!(main_cf(&server), before);
}

#[test]
fn lines_are_printed_with_their_reasons_and_nothing_is_written() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    let before = main_cf(&server);
    let printed = postfix(&daemon, &server, &[]);
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    let lines: Vec<&str> = printed.out.lines().collect();
    assert!(lines[0].starts_with("# Postfix asks about each recipient"), "{}", printed.out);
    assert!(lines.iter().any(|line| line.starts_with("smtpd_recipient_restrictions = ")));
    assert_eq!(main_cf(&server), before);
}

#[test]
fn machines_get_the_same_as_an_object() {
    let (daemon, server) = (refusing(), Postfix::start(&asking_nobody()));
    let printed = postfix(&daemon, &server, &["--json"]);
    let advice: serde_json::Value = serde_json::from_str(&printed.out).unwrap();
    let setting = &advice["settings"][0];
    assert_eq!(setting["name"], "smtpd_recipient_restrictions");
    assert!(setting["present"].as_str().unwrap().ends_with(", permit"), "{setting}");
}

#[test]
fn a_directory_without_a_postfix_is_told() {
    let daemon = refusing();
    let directory = tempfile::tempdir().unwrap();
    let nowhere: PathBuf = directory.path().join("nowhere");
    let said = Call::new(["postfix", "--config-directory"]).argument(&nowhere);
    let said = said.with(&daemon.configuration()).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("mppd postfix: postconf: "), "{}", said.err);
}
