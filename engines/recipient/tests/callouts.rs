//! Addresses that the mail server of their domain is asked about.

use super::*;

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
