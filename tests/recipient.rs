//! Callouts to a real Postfix, from a server that another real Postfix asks.

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::smtp::SmtpClient;

/// A Postfix that relays for one domain, of which it knows the addresses.
fn target() -> Postfix {
    let settings = PostfixSettings::default()
        .set("relay_domains", "example.net")
        .set("relay_recipient_maps", "regexp:{{/^(bob|a b)@example.net/ x}}")
        .set("smtpd_relay_restrictions", "reject_unauth_destination");
    Postfix::start(&settings)
}

fn asking(target: &Postfix) -> Daemon {
    let port = target.port();
    Daemon::start(Settings {
        checks: "recipient".into(),
        engines: format!(
            "<recipient>
               <domain name=\"example.net example.org\">
                 <callout host=\"127.0.0.1\" port=\"{port}\" helo=\"probe.example.com\"/>
               </domain>
               <on_valid>WARN $status $reply</on_valid>
               <on_unknown>WARN $status $reply</on_unknown>
             </recipient>"
        ),
        ..Settings::default()
    })
}

fn ask(daemon: &Daemon, recipient: impl AsRef<[u8]>) -> String {
    let request = PolicyRequest::new().set("recipient", recipient);
    daemon.connect().ask(&request.octets()).unwrap()
}

#[test]
fn what_a_real_mail_server_knows_is_known() {
    let target = target();
    let daemon = asking(&target);
    assert_eq!(ask(&daemon, "bob@example.net"), "WARN valid 250 2.1.5 Ok");
    assert_eq!(ask(&daemon, "a b@example.net"), "WARN valid 250 2.1.5 Ok");
    assert_eq!(ask(&daemon, "eve@example.net"), "550 5.1.1 no such address here");
    // It does not relay for this domain, which says nothing of its addresses.
    let relaying = ask(&daemon, "eve@example.org");
    assert!(relaying.starts_with("WARN unknown 5") && relaying.contains("5.7.1"), "{relaying}");
    assert!(!target.mail_log().contains("improper command pipelining"), "{}", target.mail_log());
    assert!(!target.mail_log().contains("message-id"), "{}", target.mail_log());
}

#[test]
fn mail_for_nobody_is_refused_in_front() {
    let target = target();
    let daemon = asking(&target);
    let lists = &["smtpd_recipient_restrictions"];
    let front = Postfix::start(&PostfixSettings::asking(&daemon.endpoint(), lists));
    let mut client = SmtpClient::greeted(front.port());
    assert_eq!(client.mail("alice@example.com").code, 250);
    assert_eq!(client.rcpt("bob@example.net").code, 250);
    let refused = client.rcpt("eve@example.net");
    assert_eq!(refused.code, 550);
    assert!(refused.text().contains("5.1.1 <eve@example.net>"), "{}", refused.text());
    assert!(refused.text().contains("no such address here"), "{}", refused.text());
}
