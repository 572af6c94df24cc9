//! The engine over zones in the same process.

use std::sync::Arc;
use std::time::Instant;

use mppd_dns::testkit::{Fault, Zones};
use mppd_dns::{Answer, Dns, Lookup, Pending, Question, Record, RecordKind};
use mppd_engine::testkit::{Configured, exchange};
use mppd_engine::{Outcome, kind};

use super::Helo;

fn zones() -> Zones {
    Zones::default()
        .a("mail.example.com", "192.0.2.1")
        .aaaa("six.example.com", "2001:db8::1")
        .mx("mx.example.com", 10, "mail.example.com")
        .mx("null.example.com", 0, ".")
        .txt("text.example.com", "nothing else")
        .a("xn--bcher-kva.example", "192.0.2.1")
        .fault("away.example.com", Fault::ServerFailure)
        .fault_for("half.example.com", RecordKind::Aaaa, Fault::Silence)
        .a("half.example.com", "192.0.2.1")
        .fault_for("less.example.com", RecordKind::Mx, Fault::Silence)
        .txt("less.example.com", "nothing else")
}

fn run(xml: &str, attributes: &[(&str, &str)]) -> Outcome {
    let configured = Configured::xml(xml).with_service(Arc::new(Dns::new(zones())));
    let engine = configured.build(kind::<Helo>()).unwrap();
    let all = [("protocol_state", "RCPT"), ("server_address", "198.51.100.25")];
    let has = |name: &str| attributes.iter().any(|(other, _)| *other == name);
    let client = [("client_address", "192.0.2.1")];
    let client = client.iter().filter(|(name, _)| !has(name));
    let attributes = all.iter().chain(client).chain(attributes).copied();
    engine.run(&exchange(attributes)).unwrap()
}

fn helo(name: &str) -> Outcome {
    run("<helo/>", &[("helo_name", name)])
}

#[test]
fn a_name_that_exists_is_right() {
    for name in [
        "mail.example.com",
        "MAIL.example.com.",
        "six.example.com",
        "mx.example.com",
        "bücher.example",
        "half.example.com",
    ] {
        assert_eq!(helo(name).status, "ok", "{name}");
    }
}

/// A server that knows no type of records but A, and says of any other that there is no such name.
struct OnlyA;

impl Lookup for OnlyA {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        (question.kind != RecordKind::A).then_some(Answer::NoSuchName)
    }

    fn look_up(&self, _: Question, _: Instant) -> Pending {
        let address = Record::A("192.0.2.1".parse().unwrap());
        Box::pin(std::future::ready(Answer::of(vec![address])))
    }
}

#[test]
fn a_name_with_an_address_exists_whatever_is_said_of_other_records() {
    let configured = Configured::xml("<helo/>").with_service(Arc::new(Dns::new(OnlyA)));
    let engine = configured.build(kind::<Helo>()).unwrap();
    let attributes = [("protocol_state", "HELO"), ("client_address", "192.0.2.1")];
    let attributes = attributes.into_iter().chain([("helo_name", "mail.example.com")]);
    assert_eq!(engine.run(&exchange(attributes)).unwrap().status, "ok");
}

#[test]
fn the_name_is_given_in_normal_form() {
    let outcome = helo("Mail.Example.COM.");
    assert_eq!(outcome.values[0].value, b"mail.example.com");
}

#[test]
fn no_name_is_missing() {
    let outcome = helo("");
    assert_eq!((outcome.status, &*outcome.text), ("missing", "the client gave no name"));
}

#[test]
fn what_is_no_name_says_why() {
    let outcome = helo("192.0.2.1");
    assert_eq!(outcome.status, "syntax");
    assert_eq!(outcome.text, "\"192.0.2.1\": an address stands in brackets");
    let outcome = helo("a\tb");
    assert_eq!(outcome.text, r#""a\tb": a name is made of letters, digits and hyphens"#);
    assert_eq!(helo(&"a".repeat(255)).status, "syntax");
    assert_eq!(helo(&format!("{}a", "a.".repeat(127))).status, "syntax");
}

#[test]
fn the_clients_own_address_is_right() {
    assert_eq!(helo("[192.0.2.1]").status, "ok");
    let v6 = [("client_address", "2001:db8::1"), ("helo_name", "[IPv6:2001:DB8:0::1]")];
    assert_eq!(run("<helo/>", &v6).status, "ok");
    let mapped = [("client_address", "::ffff:192.0.2.1"), ("helo_name", "[192.0.2.1]")];
    assert_eq!(run("<helo/>", &mapped).status, "ok");
    let unknown = [("client_address", "unknown"), ("helo_name", "[192.0.2.1]")];
    assert_eq!(run("<helo/>", &unknown).status, "ok");
}

#[test]
fn an_address_that_is_not_the_clients_is_told_from_a_private_one() {
    let outcome = helo("[192.0.2.2]");
    assert_eq!(outcome.status, "literal");
    assert_eq!(outcome.text, "[192.0.2.2] is not the client's address");
    assert_eq!(helo("[IPv6:2001:db8::1]").status, "literal");
    for name in ["[192.168.1.5]", "[10.0.0.1]", "[100.64.0.1]", "[127.0.0.1]", "[IPv6:fd00::1]"] {
        assert_eq!(helo(name).status, "private", "{name}");
    }
}

#[test]
fn the_names_and_addresses_of_this_site_are_own() {
    let xml = "<helo><own>mx.example.net .example.org 203.0.113.0/24</own></helo>";
    for (name, status) in [
        ("mx.example.net", "own"),
        ("MX.example.NET.", "own"),
        ("a.example.org", "own"),
        ("example.org", "unresolvable"),
        ("[203.0.113.7]", "own"),
        ("[198.51.100.25]", "own"),
        ("203.0.113.7", "own"),
        ("198.51.100.25", "own"),
        ("192.0.2.1", "syntax"),
    ] {
        assert_eq!(run(xml, &[("helo_name", name)]).status, status, "{name}");
    }
    let of_ones_own = [("client_address", "203.0.113.7"), ("helo_name", "203.0.113.7")];
    assert_eq!(run(xml, &of_ones_own).status, "syntax");
    assert_eq!(helo("[198.51.100.25]").text, "[198.51.100.25] is an address of this site");
}

#[test]
fn one_part_is_not_enough() {
    let outcome = helo("localhost");
    assert_eq!(outcome.status, "no_dot");
    assert_eq!(outcome.text, "localhost is not a fully qualified name");
}

#[test]
fn a_name_that_leads_nowhere_is_unresolvable() {
    assert_eq!(helo("nobody.example.com").text, "nobody.example.com does not exist");
    for name in ["nobody.example.com", "text.example.com", "null.example.com"] {
        assert_eq!(helo(name).status, "unresolvable", "{name}");
    }
}

#[test]
fn what_can_not_be_told_for_now_is_never_unresolvable() {
    let outcome = helo("away.example.com");
    assert_eq!(outcome.status, "temperror");
    assert_eq!(outcome.text, "away.example.com: the name server answered \"Server Failure\"");
    assert_eq!(helo("less.example.com").status, "temperror");
}

#[test]
fn names_need_not_be_looked_up() {
    let xml = r#"<helo resolve="false"/>"#;
    let engine = Configured::xml(xml).build(kind::<Helo>()).unwrap();
    let attributes = [("helo_name", "nobody.example.com"), ("client_address", "192.0.2.1")];
    assert_eq!(engine.run(&exchange(attributes)).unwrap().status, "ok");
}

#[test]
fn who_has_logged_in_is_not_checked() {
    let attributes = [("helo_name", "[192.0.2.2]"), ("sasl_username", "bob")];
    let outcome = run("<helo/>", &attributes);
    assert_eq!((outcome.status, &*outcome.text), ("ok", "bob has logged in"));
    assert_eq!(run(r#"<helo skip_authenticated="no"/>"#, &attributes).status, "literal");
}

#[test]
fn ones_own_hosts_are_not_checked() {
    for client in ["127.0.0.1", "::1", "198.51.100.25", "::ffff:198.51.100.25"] {
        let outcome = run("<helo/>", &[("client_address", client), ("helo_name", "localhost")]);
        assert_eq!(outcome.status, "ok", "{client}");
    }
    let xml = "<helo><skip>192.0.2.0/24</skip></helo>";
    assert_eq!(run(xml, &[("helo_name", "localhost")]).status, "ok");
    let local = [("client_address", "127.0.0.1"), ("helo_name", "localhost")];
    assert_eq!(run(xml, &local).status, "no_dot");
}

#[test]
fn faults_of_the_options_are_told_at_their_places() {
    let xml = "<helo><own>mx.example.net 300.0.2.1 a..b</own><skip>10.0.0.1/8 x</skip></helo>";
    let configured = Configured::xml(xml).with_service(Arc::new(Dns::new(zones())));
    assert_eq!(
        configured.faults(kind::<Helo>()),
        [
            ("\"300.0.2.1\" is neither an address nor a network".to_owned(), "300.0.2.1"),
            ("\"a..b\" is not a name".to_owned(), "a..b"),
            ("\"10.0.0.1/8\" has bits set behind its prefix".to_owned(), "10.0.0.1/8"),
            ("\"x\" is neither an address nor a network".to_owned(), "x"),
        ]
    );
}
