//! The same through a real Postfix: while databases and servers come and go, no mail is put off.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::site::Site;
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::{eventually, pause, within};

const MESSAGES: usize = 1_500;

/// A Postfix that asks this site at RCPT, and asks again for as long as a start may take here.
fn postfix(site: &mut Site) -> Postfix {
    let endpoint = site.daemon().endpoint();
    let settings = PostfixSettings::asking(&endpoint, &["smtpd_recipient_restrictions"])
        .set("smtpd_policy_service_try_limit", "20");
    Postfix::start(&settings)
}

/// Sends [`MESSAGES`], eight sessions at once; goes on after a refusal.
fn send(postfix: &Postfix) -> Child {
    Command::new("/usr/sbin/smtp-source")
        .args(["-A", "-s", "8", "-m", &MESSAGES.to_string(), "-f", "alice@example.org"])
        .args(["-t", "bob@example.com", &format!("inet:127.0.0.1:{}", postfix.port())])
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until each message is in the queue, and asserts that none was put off or refused on the
/// way, and that each was put on record.
fn assert_nothing_happened(site: &Site, postfix: &Postfix, mut sending: Child) {
    assert!(sending.try_wait().unwrap().is_none(), "all was sent before the last fault was over");
    let sent = within(Duration::from_mins(2), || sending.try_wait().unwrap());
    assert!(sent.is_some(), "the mail does not get through");
    let queued = || postfix.mail_log().matches("nrcpt=1 (queue active)").count();
    assert!(eventually(|| (queued() == MESSAGES).then_some(())).is_some(), "{} queued", queued());
    let log = postfix.mail_log();
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("reject:")).collect();
    assert!(refusals.is_empty(), "{refusals:?}");
    // A question that Postfix asks again of another server is a request of its own.
    let on_record = || site.records().len();
    let all = eventually(|| (on_record() == MESSAGES).then_some(()));
    assert!(all.is_some(), "{} messages on record", on_record());
}

#[test]
fn postfix_notices_nothing_of_a_database_that_comes_and_goes() {
    let mut site = Site::start("answer");
    let postfix = postfix(&mut site);
    let sending = send(&postfix);
    for _ in 0..2 {
        pause(Duration::from_millis(200));
        site.database.kill();
        pause(Duration::from_millis(500));
        crate::harness::records::block_on(site.database.restart());
    }
    assert_nothing_happened(&site, &postfix, sending);
}

#[test]
fn postfix_puts_nothing_off_while_mppd_is_killed_and_started_again() {
    let mut site = Site::start("answer");
    let postfix = postfix(&mut site);
    let sending = send(&postfix);
    for _ in 0..3 {
        pause(Duration::from_millis(300));
        site.kill_mppd();
        site.start_mppd();
    }
    assert_nothing_happened(&site, &postfix, sending);
}
