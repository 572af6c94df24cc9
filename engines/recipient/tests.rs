use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mppd_engine::testkit::{Configured, Ready, exchange_at};
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

fn value(outcome: &Outcome, name: &str) -> String {
    let value = outcome.values.iter().find(|value| value.name == name).unwrap();
    String::from_utf8(value.value.clone()).unwrap()
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

#[tokio::test]
async fn the_mail_server_is_asked_and_sends_nothing() {
    let server = SmtpServer::start(script());
    let site = Site::new(&callout(&server, r#"helo="probe.example.org""#));
    let outcome = site.ask("Alice@Example.org").await;
    // The local part goes as it came; this server knows another one.
    assert_eq!(
        (outcome.status, value(&outcome, "reply").as_str()),
        ("invalid", "550 5.1.1 user unknown")
    );
    let expected = ["EHLO probe.example.org", "MAIL FROM:<>", "RCPT TO:<Alice@example.org>"];
    assert_eq!(server.heard()[..3], expected);
}

#[tokio::test]
async fn only_what_is_said_of_the_address_makes_it_invalid() {
    for (script, status, reply) in [
        (script(), "valid", "250 2.1.5 ok"),
        (script().rcpt("alice@example.org", "450 4.1.1 later"), "unknown", "450 4.1.1 later"),
        (script().rcpt("alice@example.org", "550 5.7.1 go away"), "unknown", "550 5.7.1 go away"),
        (script().greeting("554 no"), "unknown", "to the connection it says 554 no"),
        (script().mail("550 no null sender"), "unknown", "to MAIL it says 550 no null sender"),
        (script().greeting("220 x\r\n250 y"), "unknown", "it says more than it was asked"),
        (script().greeting("hello"), "unknown", "a line of its reply has no code"),
        (script().greeting(""), "unknown", "it closed the connection"),
        (script().ehlo("502 what?"), "valid", "250 2.1.5 ok"),
        (script().ehlo("502 what?").helo("550 no"), "unknown", "to HELO it says 550 no"),
        (script().ehlo("421 busy"), "unknown", "to EHLO it says 421 busy"),
    ] {
        let server = SmtpServer::start(script);
        let outcome = Site::new(&callout(&server, "")).ask("alice@example.org").await;
        assert_eq!((outcome.status, value(&outcome, "reply").as_str()), (status, reply));
    }
}

#[tokio::test]
async fn a_host_never_asks_itself() {
    let server = SmtpServer::start(script());
    let site = Site::new(&callout(&server, r#"helo="mx.example.org""#));
    let outcome = site.ask("alice@example.org").await;
    assert_eq!(outcome.status, "unknown");
    assert!(outcome.text.contains("it is this host itself"), "{}", outcome.text);
    let own = [("sender", ""), ("helo_name", "MX.example.org")];
    let outcome = site.ask_with("bob@example.org", &own).await;
    assert!(outcome.text.contains("asked by itself"), "{}", outcome.text);
    assert!(!server.heard().iter().any(|command| command.contains("bob")));
}

#[tokio::test]
async fn who_gives_the_name_of_this_host_spoils_no_answer_for_others() {
    let server = SmtpServer::start(script());
    let site = Site::new(&callout(&server, r#"helo="probe.example.org""#));
    let own = [("sender", ""), ("helo_name", "probe.example.org")];
    assert_eq!(site.ask_with("alice@example.org", &own).await.status, "unknown");
    assert_eq!(site.status("alice@example.org").await, "valid");
}

#[tokio::test]
async fn international_addresses_take_a_server_that_knows_them() {
    let script = script().rcpt("jörg@example.org", "250 ok");
    let server = SmtpServer::start(script.clone());
    assert_eq!(Site::new(&callout(&server, "")).status("jörg@example.org").await, "valid");
    assert!(server.heard().contains(&"MAIL FROM:<> SMTPUTF8".to_owned()));
    let server = SmtpServer::start(script.ehlo("250 mx.example.org"));
    assert_eq!(Site::new(&callout(&server, "")).status("jörg@example.org").await, "unknown");
}

#[tokio::test]
async fn what_fits_no_command_is_not_asked() {
    let server = SmtpServer::start(script());
    let site = Site::new(&callout(&server, ""));
    for recipient in ["a\rRSET@example.org", "a\u{1}b@example.org", "@example.org"] {
        assert_eq!(site.status(recipient).await, "unknown", "{recipient:?}");
    }
    assert_eq!(server.heard().len(), 0);
    let quoted = "\"a>\\\" b\"@example.org";
    assert_eq!(site.status("a>\" b@example.org").await, "invalid");
    assert!(server.heard().contains(&format!("RCPT TO:<{quoted}>")), "{:?}", server.heard());
}

fn calls(server: &SmtpServer) -> usize {
    server.heard().iter().filter(|command| command.starts_with("RCPT")).count()
}

#[tokio::test]
async fn answers_are_kept_for_their_time_and_shared_by_nodes() {
    let server = SmtpServer::start(script());
    let store = Arc::new(StateStore::in_memory());
    let options = format!(
        r#"<domain name="example.org"><callout host="127.0.0.1" port="{}">
             <cache valid="100s" invalid="50s" unknown="0s"/>
           </callout></domain>"#,
        server.port()
    );
    let (mut site, mut other) = (Site::beside(&options, &store), Site::beside(&options, &store));
    for (recipient, status) in [("alice", "valid"), ("bob", "invalid"), ("full", "unknown")] {
        let recipient = format!("{recipient}@example.org");
        assert_eq!(site.status(&recipient).await, status);
        assert_eq!(other.status(&recipient).await, status);
    }
    assert_eq!(calls(&server), 4, "only what is not known is asked twice");
    let reply = |outcome| value(&outcome, "reply");
    assert_eq!(reply(other.ask("BOB@example.org").await), "550 5.1.1 user unknown");
    site.later(60);
    other.later(60);
    assert_eq!(other.status("alice@example.org").await, "valid");
    assert_eq!(calls(&server), 4);
    assert_eq!(other.status("bob@example.org").await, "invalid");
    assert_eq!(calls(&server), 5);
    site.later(50);
    assert_eq!(site.status("alice@example.org").await, "valid");
    assert_eq!(calls(&server), 6);
}

#[tokio::test]
async fn the_same_question_is_asked_once_at_a_time() {
    let server = SmtpServer::start(script());
    let site = Site::new(&callout(&server, r#"connections="1""#));
    let asked = (0..20).map(|_| site.status("alice@example.org"));
    let statuses = futures_util::future::join_all(asked).await;
    assert!(statuses.iter().all(|status| *status == "valid"));
    assert_eq!(calls(&server), 1);
}

#[tokio::test]
async fn who_waits_for_one_that_has_gone_asks_anew() {
    let server = SmtpServer::start(script());
    let site = Site::new(&callout(&server, ""));
    let ask = || Box::pin(site.status("alice@example.org"));
    let (mut first, mut second) = (ask(), ask());
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    assert_eq!(second.await, "valid");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_long() {
    // It takes connections, and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Site::new(&format!(
        r#"<domain name="example.org">
             <callout host="127.0.0.1" port="{port}" timeout="50ms"/>
           </domain>"#
    ));
    let outcome = site.ask("alice@example.org").await;
    assert_eq!(outcome.text, "callout: no answer within 50ms");
}

#[tokio::test]
async fn domains_that_ask_the_same_server_share_its_limit() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let callout = |timeout| format!(r#"<callout host="127.0.0.1" port="{port}" {timeout}/>"#);
    let site = Site::new(&format!(
        r#"<domain name="example.org">{}</domain><domain name="example.net">{}</domain>"#,
        callout(r#"connections="1" timeout="300ms""#),
        callout(r#"connections="9" timeout="20ms""#)
    ));
    let (first, second) = futures_util::join!(site.ask("a@example.org"), site.ask("a@example.net"));
    assert_eq!(first.text, "callout: no answer within 300ms");
    assert_eq!(second.text, "callout: no answer within 20ms");
    assert!(futures_util::poll!(Box::pin(listener.accept())).is_ready());
    assert!(futures_util::poll!(Box::pin(listener.accept())).is_pending());
}

#[tokio::test]
async fn a_server_that_is_away_is_left_alone_for_a_moment() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let site = Site::new(&format!(
        r#"<domain name="example.org"><callout host="127.0.0.1" port="{port}"/></domain>"#
    ));
    let outcome = site.ask("alice@example.org").await;
    assert!(outcome.text.starts_with("callout: can't connect: "), "{}", outcome.text);
    let outcome = site.ask("bob@example.org").await;
    assert_eq!(outcome.text, "callout: it could not be reached a moment ago");
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

fn watched(options: &str) -> String {
    format!(r#"{LISTED}<guessing after="3" within="100s" mark_for="1000s" {options}/>"#)
}

#[tokio::test]
async fn who_guesses_is_marked_for_a_time() {
    let mut site = Site::new(&watched(""));
    for recipient in ["a@example.org", "b@example.org", "b@example.org", "c@example.org"] {
        assert_eq!(site.status(recipient).await, "invalid", "{recipient}");
    }
    let outcome = site.ask("alice@example.org").await;
    assert_eq!(outcome.status, "guessing");
    assert_eq!(outcome.text, "192.0.2.1 asked for 3 addresses that do not exist");
    assert_eq!(site.status("postmaster@example.org").await, "valid");
    let other = [("client_address", "192.0.2.2")];
    assert_eq!(site.ask_with("alice@example.org", &other).await.status, "valid");
    site.later(999);
    assert_eq!(site.status("alice@example.org").await, "guessing");
    site.later(1);
    assert_eq!(site.status("alice@example.org").await, "valid");
    assert_eq!(site.status("a@example.org").await, "invalid");
}

#[tokio::test]
async fn who_asks_for_as_many_valid_addresses_is_not_marked() {
    let site = Site::new(&watched(""));
    for recipient in ["alice", "bob", "jörg", "a", "b", "c", "d", "e"] {
        let status = site.status(&format!("{recipient}@example.org")).await;
        assert_ne!(status, "guessing", "{recipient}");
    }
    assert_eq!(site.status("alice@example.org").await, "valid");
}

#[tokio::test]
async fn a_network_counts_as_one_client_where_it_is_told() {
    let site = Site::new(&watched(r#"ipv4_prefix="24""#));
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let recipient = format!("{client}@example.org");
        let attributes = [("client_address", client)];
        assert_eq!(site.ask_with(&recipient, &attributes).await.status, "invalid");
    }
    let outcome = site.ask_with("alice@example.org", &[("client_address", "192.0.2.9")]).await;
    assert_eq!(outcome.text, "192.0.2.0/24 asked for 3 addresses that do not exist");
}

#[tokio::test]
async fn who_has_logged_in_or_is_of_this_site_is_never_marked() {
    let site = Site::new(&watched(""));
    let marked = Site::new(&watched(r#"never="203.0.113.0/24""#));
    for (site, attribute, expected) in [
        (&site, ("sasl_username", "alice"), "valid"),
        (&site, ("client_address", "127.0.0.1"), "valid"),
        (&site, ("client_address", "::1"), "valid"),
        (&site, ("client_address", "unknown"), "valid"),
        (&marked, ("client_address", "203.0.113.9"), "valid"),
        (&marked, ("client_address", "127.0.0.1"), "guessing"),
    ] {
        for recipient in ["a@example.org", "b@example.org", "c@example.org"] {
            site.ask_with(recipient, &[attribute]).await;
        }
        let status = site.ask_with("alice@example.org", &[attribute]).await.status;
        assert_eq!(status, expected, "{attribute:?}");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_no_guess() {
    let server = SmtpServer::start(script().greeting("554 no"));
    let guessing = r#"<guessing after="1"/>"#;
    let site = Site::new(&format!("{}{guessing}", callout(&server, "")));
    assert_eq!(site.status("a@example.org").await, "unknown");
    assert_eq!(site.status("b@example.org").await, "unknown");
}

fn fault(options: &str, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(message, place)| ((*message).to_owned(), (*place).to_owned()))
        .collect();
    assert_eq!(faults(options), expected, "{options}");
}

#[test]
fn what_can_not_work_is_told_all_at_once_where_it_stands() {
    fault(
        r#"<domain name="example.org exa@mple ."><list>alice@</list></domain>
           <domain name="EXAMPLE.org"/>
           <recipient_delimiter>@</recipient_delimiter>
           <guessing after="0" ipv4_prefix="33" never="192.0.2.1/x"/>"#,
        &[
            ("\"exa@mple\" is not the name of a domain", "exa@mple"),
            ("\".\" is not the name of a domain", "."),
            ("the domain EXAMPLE.org is given twice", "EXAMPLE.org"),
            ("<domain> needs a <list>, <sql>, <ldap> or <callout>", "domain"),
            ("no extension begins with \"@\"", "@"),
            ("\"after\" is between 1 and 200", "0"),
            ("a prefix is between 1 and 32", "33"),
            ("\"192.0.2.1/x\" is neither an address nor a network", "192.0.2.1/x"),
        ],
    );
}

#[test]
fn a_server_to_ask_has_a_name_or_an_address() {
    let with = |options: &str| format!(r#"<domain name="*"><callout {options}/></domain>"#);
    fault(
        &with(r#"host="mail server""#),
        &[("\"mail server\" is neither a name nor an address", "mail server")],
    );
    fault(&with(r#"host="::1" helo="no name""#), &[("\"no name\" is not a name", "no name")]);
    fault(&with(r#"host="[::1]""#), &[("\"[::1]\" is neither a name nor an address", "[::1]")]);
}

#[test]
fn a_statement_only_reads() {
    let sql = r#"<domain name="*"><sql>
        <connection><host>h</host><user>u</user><database>d</database></connection>
        <statement>DELETE FROM t WHERE a = $recipient</statement>
      </sql></domain>"#;
    fault(sql, &[("this statement does more than to read", "DELETE FROM t WHERE a = $recipient")]);
}

#[test]
fn an_address_of_another_domain_is_warned_of() {
    let options = r#"<domain name="example.org .example.net">
        <list>a@example.org b@example.net c@mail.example.net d@</list>
      </domain>"#;
    let store = Arc::new(StateStore::in_memory());
    let configured = configured(options, &store);
    let engine = configured.build(kind::<Recipient>()).unwrap();
    let warnings = configured.show(engine.warnings().to_vec());
    let message = "\"b@example.net\" is of none of these domains, so never found".to_owned();
    assert_eq!(warnings, [(message, "b@example.net")]);
}

#[test]
fn a_store_is_wanted_only_where_something_is_kept() {
    // Without a store it can be built, and so needs none.
    let xml = format!("<recipient>{LISTED}</recipient>");
    assert!(Configured::xml(&xml).build(kind::<Recipient>()).is_ok());
    let xml = format!("<recipient>{}</recipient>", watched(""));
    let configured = Configured::xml_in(FilePath::new("/"), &xml);
    let faults = configured.faults(kind::<Recipient>());
    assert_eq!(faults[0].0, "this server gives its engines no state store");
}
