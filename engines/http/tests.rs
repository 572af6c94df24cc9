//! What the engine makes of the answers of a service.

mod injection;
mod service;

use std::path::Path;
use std::sync::Arc;

use mppd_engine::kind;
use mppd_engine::testkit::{Configured, Ready, exchange};

use self::service::{Service, answer};
use super::*;

fn engine(origin: &str, options: &str) -> Ready {
    let uri =
        if options.contains("<uri>") { String::new() } else { format!("<uri>{origin}/</uri>") };
    let xml = format!("<http>{uri}{options}</http>");
    Configured::xml(&xml).build(kind::<Http>()).unwrap()
}

fn rcpt() -> Arc<Exchange> {
    exchange([("protocol_state", "RCPT"), ("recipient", "bob@example.org")])
}

fn value<'a>(outcome: &'a Outcome, name: &str) -> &'a [u8] {
    outcome.value(name).unwrap()
}

/// What the engine makes of one answer.
async fn outcome_of(reply: Vec<u8>, options: &str) -> Result<Outcome, Failure> {
    let service = Service::start(vec![reply]).await;
    engine(&service.origin, options).outcome(None, &rcpt()).await
}

async fn failure_of(reply: Vec<u8>, options: &str) -> String {
    outcome_of(reply, options).await.unwrap_err().whole()
}

#[tokio::test]
async fn the_class_of_the_code_is_the_status() {
    for (code, status) in [
        ("200 OK", "success"),
        ("204 No Content", "success"),
        ("404 Not Found", "client_error"),
        ("503 Service Unavailable", "server_error"),
        ("304 Not Modified", "other"),
    ] {
        let reply = format!("HTTP/1.1 {code}\r\nContent-Length: 0\r\n\r\n").into_bytes();
        let outcome = outcome_of(reply, "").await.unwrap();
        assert_eq!((outcome.status, outcome.text.as_ref()), (status, code));
        assert_eq!(value(&outcome, "code"), &code.as_bytes()[..3]);
    }
}

#[tokio::test]
async fn a_request_without_body_is_a_get() {
    let mut service = Service::start(vec![answer("")]).await;
    engine(&service.origin, "").outcome(None, &rcpt()).await.unwrap();
    let seen = service.seen().await;
    assert_eq!(seen.line, "GET / HTTP/1.1");
    assert_eq!(seen.body, b"");
}

#[tokio::test]
async fn the_method_is_the_configured_one() {
    let mut service = Service::start(vec![answer("")]).await;
    let engine =
        engine(&service.origin, r#"<method>PUT</method><form><field name="a">b</field></form>"#);
    engine.outcome(None, &rcpt()).await.unwrap();
    assert_eq!(service.seen().await.line, "PUT / HTTP/1.1");
}

#[tokio::test]
async fn a_form_is_posted() {
    let mut service = Service::start(vec![answer("")]).await;
    let form = r#"<form><field name="a b">x&amp;y=z</field><field name="empty"/></form>"#;
    engine(&service.origin, form).outcome(None, &rcpt()).await.unwrap();
    let seen = service.seen().await;
    assert_eq!(seen.line, "POST / HTTP/1.1");
    assert_eq!(seen.header("content-type"), b"application/x-www-form-urlencoded");
    assert_eq!(seen.body, b"a%20b=x%26y%3Dz&empty=");
}

#[tokio::test]
async fn json_has_the_fields_with_their_types() {
    let mut service = Service::start(vec![answer("")]).await;
    let json = r#"<json>
        <field name="s">a "b"</field>
        <field name="n" type="number">12.50</field>
        <field name="no_number" type="number">1,2</field>
        <field name="t" type="boolean">yes</field>
        <field name="f" type="boolean">no</field>
        <field name="nothing" type="null"/>
        <field name="object"><field name="inner">x</field></field>
        <field name="array" type="array"><field>1</field><field type="number">2</field></field>
    </json>"#;
    engine(&service.origin, json).outcome(None, &rcpt()).await.unwrap();
    let seen = service.seen().await;
    assert_eq!(seen.header("content-type"), b"application/json");
    let expected = r#"{"s":"a \"b\"","n":12.50,"no_number":null,"t":true,"f":false,"nothing":null,"object":{"inner":"x"},"array":["1",2]}"#;
    assert_eq!(String::from_utf8(seen.body).unwrap(), expected);
}

#[tokio::test]
async fn any_other_body_has_the_configured_type() {
    let mut service = Service::start(vec![answer("")]).await;
    let body = r#"<body content_type="text/csv">a,b</body>"#;
    engine(&service.origin, body).outcome(None, &rcpt()).await.unwrap();
    let seen = service.seen().await;
    assert_eq!((seen.header("content-type"), &seen.body[..]), (&b"text/csv"[..], &b"a,b"[..]));
}

#[tokio::test]
async fn a_header_can_hold_a_secret_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "Bearer s3cret\nmore").unwrap();
    let mut service = Service::start(vec![answer("")]).await;
    let xml = format!(
        r#"<http><uri>{}/</uri><header name="Authorization" file="token"/></http>"#,
        service.origin
    );
    let engine = Configured::xml_in(directory.path(), &xml).build(kind::<Http>()).unwrap();
    engine.outcome(None, &rcpt()).await.unwrap();
    assert_eq!(service.seen().await.header("authorization"), b"Bearer s3cret");
}

#[tokio::test]
async fn parts_of_an_answer_in_json_become_values() {
    let reply = answer(r#"{"result":{"verdict":"bad","score":7.5,"tags":["a","b"],"none":null}}"#);
    let options = r#"
        <value id="verdict" pointer="/result/verdict"/>
        <value id="score" pointer="/result/score"/>
        <value id="tags" pointer="/result/tags"/>
        <value id="first" pointer="/result/tags/0"/>
        <value id="none" pointer="/result/none"/>
        <value id="missing" pointer="/nowhere"/>"#;
    let outcome = outcome_of(reply, options).await.unwrap();
    for (name, expected) in [
        ("verdict", "bad"),
        ("score", "7.5"),
        ("tags", r#"["a","b"]"#),
        ("first", "a"),
        ("none", ""),
        ("missing", ""),
    ] {
        assert_eq!(value(&outcome, name), expected.as_bytes(), "{name}");
    }
}

#[tokio::test]
async fn an_answer_with_success_that_is_not_json_is_a_failure_where_values_are_wanted() {
    let options = r#"<value id="verdict" pointer="/verdict"/>"#;
    let failure = failure_of(answer("<html>"), options).await;
    assert!(failure.contains("an answer that is not JSON"), "{failure}");
}

#[tokio::test]
async fn an_error_page_is_an_answer_without_values() {
    let reply = b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>".to_vec();
    let outcome = outcome_of(reply, r#"<value id="verdict" pointer="/verdict"/>"#).await.unwrap();
    assert_eq!((outcome.status, value(&outcome, "verdict")), ("client_error", &b""[..]));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_a_failure() {
    let options = r#"<limits response="10"/>"#;
    assert_eq!(outcome_of(answer("0123456789"), options).await.unwrap().status, "success");
    let failure = failure_of(answer("0123456789a"), options).await;
    assert!(failure.contains("longer than 10 octets"), "{failure}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let engine = engine(&origin, r#"<limits total="50ms"/>"#);
    let failure = engine.outcome(None, &rcpt()).await.unwrap_err().whole();
    assert_eq!(failure, format!("can't ask {origin}: no answer within 50ms"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = engine(&origin, "").outcome(None, &rcpt()).await.unwrap_err().whole();
    assert!(failure.starts_with(&format!("can't ask {origin}: ")), "{failure}");
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let mut service = Service::start(vec![answer("1"), answer("2"), answer("3")]).await;
    let engine = engine(&service.origin, "");
    for expected in ["1", "2", "3"] {
        let outcome = engine.outcome(None, &rcpt()).await.unwrap();
        assert_eq!(value(&outcome, "body"), expected.as_bytes());
        assert_eq!(service.seen().await.connection, 0);
    }
}

fn redirection(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_redirection_is_not_followed_unless_allowed() {
    let replies = || vec![redirection("/there"), answer("there")];
    let service = Service::start(replies()).await;
    let outcome = engine(&service.origin, "").outcome(None, &rcpt()).await.unwrap();
    assert_eq!((outcome.status, value(&outcome, "code")), ("other", &b"302"[..]));
    let service = Service::start(replies()).await;
    let engine = engine(&service.origin, "<redirects>1</redirects>");
    let outcome = engine.outcome(None, &rcpt()).await.unwrap();
    assert_eq!(value(&outcome, "body"), b"there");
}

#[tokio::test]
async fn a_redirection_to_another_server_is_never_followed() {
    let mut other = Service::start(vec![answer("")]).await;
    let service = Service::start(vec![redirection(&format!("{}/x", other.origin))]).await;
    let engine = engine(&service.origin, "<redirects>5</redirects>");
    assert_eq!(engine.outcome(None, &rcpt()).await.unwrap().status, "other");
    assert!(other.taken().is_none());
}

fn tls_file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("tests/harness/tls").join(name).display().to_string()
}

#[tokio::test]
async fn a_server_with_a_certificate_of_the_given_authority_is_trusted() {
    let service = Service::start_tls(vec![answer("safe")]).await;
    let tls = format!(r#"<tls ca_file="{}"/>"#, tls_file("ca.pem"));
    let outcome = engine(&service.origin, &tls).outcome(None, &rcpt()).await.unwrap();
    assert_eq!(value(&outcome, "body"), b"safe");
}

#[tokio::test]
async fn a_server_with_any_other_certificate_is_not_asked() {
    let mut service = Service::start_tls(vec![answer("")]).await;
    let failure = engine(&service.origin, "").outcome(None, &rcpt()).await.unwrap_err().whole();
    assert!(failure.contains("certificate"), "{failure}");
    assert!(service.taken().is_none());
}

#[tokio::test]
async fn any_certificate_will_do_where_it_is_not_verified() {
    let service = Service::start_tls(vec![answer("any")]).await;
    let tls = r#"<tls skip_verification="true"/>"#;
    let outcome = engine(&service.origin, tls).outcome(None, &rcpt()).await.unwrap();
    assert_eq!(value(&outcome, "body"), b"any");
}

/// What is wrong with an element, each message with what it points at.
fn faults(options: &str) -> Vec<(String, String)> {
    let configured = Configured::xml(&format!("<http>{options}</http>"));
    let faults = configured.faults(kind::<Http>());
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

fn fault(options: &str, message: &str, place: &str) {
    assert_eq!(faults(options), [(message.to_owned(), place.to_owned())], "{options}");
}

#[test]
fn what_is_no_uri_is_refused() {
    for (uri, message, place) in [
        ("ftp://host/", "the URI begins with neither \"http://\" nor \"https://\"", ""),
        ("http:///path", "the URI has no host", ""),
        ("http://user:pw@host/", "a URI can't hold user name and password here", ""),
        ("http://host/a b", "' ' can't stand in a URI", " "),
        ("http://host/ä", "'ä' can't stand in a URI", "ä"),
        ("http://host/a\\b", "'\\\\' can't stand in a URI", "\\"),
        ("http://host/#top", "a URI that is asked has no fragment, \"#\"", "#"),
        ("http://host/%4", "\"%\" is followed by two hexadecimal digits in a URI", "%"),
        ("http://host/a/../b", "the path holds the segment \"..\"; write the path without it", ""),
        ("http://host/%2E%2e/", "the path holds the segment \"..\"; write the path without it", ""),
        ("http://host:99999/", "this is not a URI: invalid port number", ""),
    ] {
        let place = if place.is_empty() { uri } else { place };
        fault(&format!("<uri>{uri}</uri>"), message, place);
    }
}

#[test]
fn headers_that_mppd_makes_itself_are_refused() {
    for name in ["Host", "content-length", "Transfer-Encoding", "Connection"] {
        let message = format!("the header {name} is made by mppd itself");
        fault(&format!("<uri>http://h/</uri><header name=\"{name}\">x</header>"), &message, name);
    }
    let form = "<uri>http://h/</uri><form/><header name=\"Content-Type\">x</header>";
    fault(form, "the header Content-Type is made from the body", "Content-Type");
    let bad = "<uri>http://h/</uri><header name=\"a b\">x</header>";
    fault(bad, "\"a b\" is not the name of a header", "a b");
}

#[test]
fn all_faults_are_told_at_once() {
    let faults = faults(
        r#"<uri>gopher://h/</uri><json><field>x</field><field name="a"/><field name="a"/></json>
           <value id="body" pointer="/x"/><value id="v" pointer="x"/><value id="v" pointer="/~2"/>"#,
    );
    let messages: Vec<&str> = faults.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the URI begins with neither \"http://\" nor \"https://\"",
            "a field of an object needs a name",
            "the object has a field \"a\" already",
            "\"body\" means something else already",
            "a JSON pointer begins with \"/\"",
            "there is a value \"v\" already",
            "\"~\" in a JSON pointer is written \"~0\", and \"/\" in a name \"~1\"",
        ]
    );
}

#[test]
fn a_request_has_one_body() {
    let two = faults("<uri>http://h/</uri><form/><json/>");
    assert_eq!(two[0].0, "a request has one body: form, json or body");
}

#[test]
fn an_authority_that_is_not_there_is_refused() {
    let faults = faults(r#"<uri>https://h/</uri><tls ca_file="/nowhere/ca.pem"/>"#);
    assert!(faults[0].0.starts_with("can't read /nowhere/ca.pem: "), "{faults:?}");
    assert_eq!(faults[0].1, "/nowhere/ca.pem");
}
