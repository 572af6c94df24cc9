//! Which addresses are valid: by lists, by callouts, and by both.

mod callouts;
mod guessing;
mod options;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mppd_engine::testkit::{Configured, Ready, exchange_at, value};
use mppd_engine::{Outcome, kind};
use mppd_state::StateStore;

use super::Recipient;
use crate::testkit::{SmtpScript, SmtpServer};

/// An engine, and the time of its next request.
struct Site {
    engine: Ready,
    now: SystemTime,
}

fn configured(options: &str, store: &Arc<StateStore>) -> Configured {
    let xml = format!("<recipient>{options}</recipient>");
    Configured::xml(&xml).with_service(store.clone())
}

impl Site {
    fn new(options: &str) -> Self {
        Site::beside(options, &Arc::new(StateStore::in_memory()))
    }

    /// A node that shares the state of others.
    fn beside(options: &str, store: &Arc<StateStore>) -> Self {
        let engine = configured(options, store).build(kind::<Recipient>()).unwrap();
        Site { engine, now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) }
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    async fn ask_with(&self, recipient: &str, attributes: &[(&str, &str)]) -> Outcome {
        let mut all = vec![
            ("protocol_state", "RCPT"),
            ("client_address", "192.0.2.1"),
            ("helo_name", "client.example.net"),
            ("sender", "alice@example.com"),
            ("recipient", recipient),
        ];
        for attribute in attributes {
            all.retain(|(name, _)| *name != attribute.0);
            all.push(*attribute);
        }
        self.engine.outcome(None, &exchange_at(self.now, all)).await.unwrap()
    }

    async fn ask(&self, recipient: &str) -> Outcome {
        self.ask_with(recipient, &[]).await
    }

    async fn status(&self, recipient: &str) -> &'static str {
        self.ask(recipient).await.status
    }
}

fn faults(options: &str) -> Vec<(String, String)> {
    let configured = configured(options, &Arc::new(StateStore::in_memory()));
    let faults = configured.faults(kind::<Recipient>()).into_iter();
    faults.map(|(message, place)| (message, place.to_owned())).collect()
}

const LISTED: &str = r#"<domain name="example.org">
      <list>alice@ bob@example.org jörg@example.org</list>
    </domain>"#;

#[tokio::test]
async fn an_address_on_the_list_is_valid_and_any_other_is_not() {
    let site = Site::new(LISTED);
    for (recipient, status) in [
        ("alice@example.org", "valid"),
        ("BOB@Example.ORG", "valid"),
        ("jörg@example.org", "valid"),
        ("carol@example.org", "invalid"),
        ("alice+x@example.org", "invalid"),
        ("alice@example.com", "foreign"),
        ("alice@mail.example.org", "foreign"),
        ("alice", "foreign"),
        ("", "foreign"),
    ] {
        assert_eq!(site.status(recipient).await, status, "{recipient}");
    }
    let outcome = site.ask("carol@example.org").await;
    assert_eq!(outcome.text, "carol@example.org does not exist");
    assert_eq!(
        (value(&outcome, "source"), value(&outcome, "domain")),
        ("list".into(), "example.org".into())
    );
}

#[tokio::test]
async fn the_nearest_domain_counts() {
    let site = Site::new(
        r#"<domain name="example.org"><list>a@</list></domain>
           <domain name=".example.org b.test"><list>b@</list></domain>
           <domain name="*"><list>c@</list></domain>"#,
    );
    for (recipient, status) in [
        ("a@example.org", "valid"),
        ("b@example.org", "invalid"),
        ("b@mail.example.org", "valid"),
        ("b@deep.mail.example.org", "valid"),
        ("a@mail.example.org", "invalid"),
        ("b@b.test", "valid"),
        ("c@elsewhere.test", "valid"),
        ("a@elsewhere.test", "invalid"),
    ] {
        assert_eq!(site.status(recipient).await, status, "{recipient}");
    }
}

#[tokio::test]
async fn an_extension_is_cut_off_where_the_address_with_it_is_not_known() {
    let options = format!("<recipient_delimiter>+-</recipient_delimiter>{LISTED}");
    let site = Site::new(&options);
    assert_eq!(site.status("alice+news@example.org").await, "valid");
    assert_eq!(site.status("bob-x+y@example.org").await, "valid");
    assert_eq!(site.status("carol+news@example.org").await, "invalid");
    assert_eq!(site.status("+alice@example.org").await, "invalid");
}

#[tokio::test]
async fn the_postmaster_and_the_sender_of_probes_are_always_valid() {
    let site = Site::new(LISTED);
    for recipient in ["PostMaster@example.org", "double-bounce@example.org"] {
        let outcome = site.ask(recipient).await;
        assert_eq!((outcome.status, value(&outcome, "source").as_str()), ("valid", "always"));
    }
    assert_eq!(site.status("postmaster@elsewhere.test").await, "foreign");
}

fn watched(options: &str) -> String {
    format!(r#"{LISTED}<guessing after="3" within="100s" mark_for="1000s" {options}/>"#)
}

fn callout(server: &SmtpServer, options: &str) -> String {
    format!(
        r#"<domain name="example.org">
             <callout host="127.0.0.1" port="{}" {options}/>
           </domain>"#,
        server.port()
    )
}

fn script() -> SmtpScript {
    SmtpScript::read("alice@example.org 250 2.1.5 ok\nfull@example.org 452 4.2.2 try later")
}

fn calls(server: &SmtpServer) -> usize {
    server.heard().iter().filter(|command| command.starts_with("RCPT")).count()
}

#[tokio::test]
async fn a_list_saves_a_callout_and_a_callout_completes_a_list() {
    let server = SmtpServer::start(script());
    let site = Site::new(&format!(
        r#"<domain name="example.org">
             <callout host="127.0.0.1" port="{}"/>
             <list>bob@</list>
           </domain>"#,
        server.port()
    ));
    assert_eq!(site.status("bob@example.org").await, "valid");
    assert_eq!(calls(&server), 0);
    assert_eq!(site.status("alice@example.org").await, "valid");
    assert_eq!(site.status("carol@example.org").await, "invalid");
}

#[tokio::test]
async fn a_source_that_can_not_be_asked_leaves_it_open_unless_another_knows() {
    let server = SmtpServer::start(script());
    let site = Site::new(&format!(
        r#"<domain name="example.org">
             <ldap><url>ldap://127.0.0.1:1</url><base>dc=x</base><filter>(mail=$recipient)</filter></ldap>
             <callout host="127.0.0.1" port="{}"/>
           </domain>"#,
        server.port()
    ));
    assert_eq!(site.status("alice@example.org").await, "valid");
    let outcome = site.ask("carol@example.org").await;
    assert_eq!((outcome.status, value(&outcome, "source").as_str()), ("unknown", "ldap"));
    assert!(
        outcome.text.starts_with("ldap: can't connect to ldap://127.0.0.1:1"),
        "{}",
        outcome.text
    );
}

#[tokio::test]
async fn those_who_wait_for_a_directory_that_is_away_wait_once() {
    // It takes connections, and never answers the bind.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Site::new(&format!(
        r#"<domain name="example.org">
             <ldap url="ldap://127.0.0.1:{port}" base="dc=example" filter="(mail=$recipient)">
               <bind_dn>cn=mppd</bind_dn> <password>secret</password> <limits connect="50ms"/>
             </ldap>
           </domain>"#
    ));
    let recipients = (0..5).map(|number| format!("user{number}@example.org"));
    let asked = recipients.map(|recipient| async { site.status(&{ recipient }).await });
    let statuses = futures_util::future::join_all(asked).await;
    assert_eq!(statuses, ["unknown"; 5]);
    let mut connections = 0;
    while let Some(Ok(_)) = futures_util::FutureExt::now_or_never(listener.accept()) {
        connections += 1;
    }
    assert_eq!(connections, 1);
}
