//! The engine over zones in the same process.

mod options;
mod replies;
mod suspension;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use mppd_dns::testkit::{Fault, Zones};
use mppd_dns::{Answer, Dns, Lookup, Pending, Question, RecordKind};
use mppd_engine::slog::{self, Drain, Logger, Never, OwnedKVList, Record};
use mppd_engine::testkit::{Configured, Ready, exchange, exchange_at, value};
use mppd_engine::{Exchange, Outcome, kind};

use super::Rbl;

/// What somebody was asked.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Question>>>);

/// Zones that remember what they were asked, with a cache before them as the resolver has.
struct Listening {
    zones: Zones,
    heard: Heard,
    /// Whether somebody has asked everything before.
    is_warm: bool,
}

impl Lookup for Listening {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        let was_asked = self.heard.0.lock().unwrap().contains(question);
        let answer = self.zones.at_hand(question).filter(|_| was_asked || self.is_warm);
        answer.filter(|answer| !matches!(answer, Answer::Temporary(_)))
    }

    fn look_up(&self, question: Question, deadline: Instant) -> Pending {
        self.heard.0.lock().unwrap().push(question.clone());
        self.zones.look_up(question, deadline)
    }
}

impl Heard {
    fn questions(&self) -> Vec<String> {
        let asked = self.0.lock().unwrap();
        asked.iter().map(|question| format!("{:?} {}", question.kind, question.name)).collect()
    }
}

/// Remembers the lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Drain for Lines {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        self.0.lock().unwrap().push(record.msg().to_string());
        Ok(())
    }
}

struct Bench {
    engine: Ready,
    heard: Heard,
    lines: Lines,
}

fn bench(xml: &str, zones: Zones) -> Bench {
    bench_with(xml, zones, false)
}

fn bench_with(xml: &str, zones: Zones, is_warm: bool) -> Bench {
    let (heard, lines) = (Heard::default(), Lines::default());
    let dns = Dns::new(Listening { zones, heard: heard.clone(), is_warm });
    let logger = Logger::root(lines.clone().fuse(), slog::o!());
    let configured = Configured::xml(xml).with_service(Arc::new(dns)).with_logger(logger);
    let engine = configured.build(kind::<Rbl>()).unwrap();
    Bench { engine, heard, lines }
}

impl Bench {
    fn run(&self, attributes: &[(&str, &str)]) -> Outcome {
        self.engine.run(&exchange(attributes.iter().copied())).unwrap()
    }

    fn client(&self, address: &str) -> Outcome {
        self.run(&[("client_address", address)])
    }

    fn status(&self, address: &str) -> &'static str {
        self.client(address).status
    }

    fn log(&self) -> Vec<String> {
        self.lines.0.lock().unwrap().clone()
    }
}

fn run(xml: &str, zones: Zones, attributes: &[(&str, &str)]) -> Outcome {
    bench(xml, zones).run(attributes)
}

/// Where all answers are in the cache, so that the engine sees all of them.
fn run_warm(xml: &str, zones: Zones, attributes: &[(&str, &str)]) -> Outcome {
    bench_with(xml, zones, true).run(attributes)
}

fn faults(xml: &str) -> Vec<(String, String)> {
    let configured = Configured::xml(xml).with_service(Arc::new(Dns::new(Zones::default())));
    let faults = configured.faults(kind::<Rbl>());
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

const ONE: &str = r#"<rbl><list zone="bl.example"/></rbl>"#;
const CLIENT: &[(&str, &str)] = &[("client_address", "192.0.2.1")];

fn listed(zones: Zones, zone: &str, reply: &str) -> Zones {
    zones.a(&format!("1.2.0.192.{zone}"), reply)
}

#[test]
fn an_address_with_a_record_is_listed() {
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2")
        .txt("1.2.0.192.bl.example", "see https://bl.example/192.0.2.1");
    let outcome = run(ONE, zones, CLIENT);
    assert_eq!(outcome.status, "listed");
    assert_eq!(outcome.text, "192.0.2.1 is listed by bl.example: see https://bl.example/192.0.2.1");
    for (name, expected) in [
        ("site", "bl.example"),
        ("reason", "see https://bl.example/192.0.2.1"),
        ("reply", "127.0.0.2"),
        ("subject", "192.0.2.1"),
        ("weight", "1"),
        ("sites", "bl.example"),
        ("failed", ""),
    ] {
        assert_eq!(value(&outcome, name), expected, "{name}");
    }
}

#[test]
fn a_listing_needs_no_reason() {
    let outcome = run(ONE, listed(Zones::default(), "bl.example", "127.0.0.2"), CLIENT);
    assert_eq!(outcome.text, "192.0.2.1 is listed by bl.example");
    assert_eq!(value(&outcome, "reason"), "");
}

#[test]
fn an_address_without_a_record_is_not_listed() {
    let outcome = run(ONE, Zones::default(), CLIENT);
    assert_eq!((outcome.status, &*outcome.text), ("none", "not listed"));
    assert_eq!(value(&outcome, "weight"), "0");
}

#[test]
fn an_ipv6_address_is_asked_about_digit_by_digit() {
    let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example";
    let bench = bench(ONE, Zones::default().a(name, "127.0.0.2"));
    assert_eq!(bench.status("2001:db8::1"), "listed");
    assert_eq!(bench.status("2001:db8::2"), "none");
}

#[test]
fn a_mapped_address_is_the_ipv4_address() {
    let bench = bench(ONE, listed(Zones::default(), "bl.example", "127.0.0.2"));
    assert_eq!(bench.status("::ffff:192.0.2.1"), "listed");
}

#[test]
fn no_list_is_asked_about_private_and_reserved_addresses() {
    let bench = bench(ONE, Zones::default());
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "169.254.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "unknown",
    ] {
        let outcome = bench.client(address);
        assert_eq!(outcome.status, "none", "{address}");
        assert_eq!(outcome.text, "there is nothing to ask the lists about", "{address}");
    }
    assert_eq!(bench.heard.questions(), Vec::<String>::new());
}

#[test]
fn what_is_not_asked_about_can_be_configured() {
    let zones = || Zones::default().a("3.2.1.10.bl.example", "127.0.0.2");
    let xml = r#"<rbl><skip/><list zone="bl.example"/></rbl>"#;
    assert_eq!(bench(xml, zones()).status("10.1.2.3"), "listed");
    let xml = r#"<rbl><skip>192.0.2.0/24</skip><list zone="bl.example"/></rbl>"#;
    assert_eq!(bench(xml, zones()).status("10.1.2.3"), "listed");
    let listed = listed(zones(), "bl.example", "127.0.0.2");
    assert_eq!(bench(xml, listed).status("192.0.2.1"), "none");
}

#[test]
fn nothing_is_asked_about_clients_that_have_logged_in() {
    let zones = || listed(Zones::default(), "bl.example", "127.0.0.2");
    let attributes = [("client_address", "192.0.2.1"), ("sasl_username", "bob\n")];
    let attributes = attributes.map(|(name, value)| (name, value.trim()));
    let outcome = run(ONE, zones(), &attributes);
    assert_eq!((outcome.status, &*outcome.text), ("none", "nothing is asked: bob has logged in"));
    let xml = r#"<rbl skip_authenticated="false"><list zone="bl.example"/></rbl>"#;
    assert_eq!(run(xml, zones(), &attributes).status, "listed");
}

#[test]
fn below_the_threshold_nothing_is_listed_and_the_text_says_how_much_was() {
    let xml = r#"<rbl threshold="2.5">
        <list zone="a.example"/> <list zone="b.example"/> <list zone="c.example"/></rbl>"#;
    let zones = listed(Zones::default(), "a.example", "127.0.0.2");
    let zones = listed(zones, "c.example", "127.0.0.2");
    let outcome = run_warm(xml, zones.clone(), CLIENT);
    assert_eq!(outcome.status, "none");
    assert_eq!(outcome.text, "2, less than 2.5: listed by a.example c.example");
    let outcome = run(xml, listed(zones, "b.example", "127.0.0.2"), CLIENT);
    assert_eq!((outcome.status, &*value(&outcome, "weight")), ("listed", "3"));
}

#[test]
fn a_weight_may_speak_for_the_client() {
    let xml = r#"<rbl><list zone="a.example"/> <list zone="good.example" weight="-1"/></rbl>"#;
    let zones = listed(Zones::default(), "a.example", "127.0.0.2");
    assert_eq!(run(xml, zones.clone(), CLIENT).status, "listed");
    let outcome = run(xml, listed(zones, "good.example", "127.0.0.2"), CLIENT);
    assert_eq!((outcome.status, &*value(&outcome, "weight")), ("none", "0"));
}

#[test]
fn the_list_that_weighs_most_is_the_site() {
    let xml = r#"<rbl><list zone="a.example"/> <list zone="b.example" weight="2"/>
        <list zone="c.example" weight="2"/></rbl>"#;
    let zones = ["a.example", "b.example", "c.example"].into_iter();
    let zones = zones.fold(Zones::default(), |zones, zone| listed(zones, zone, "127.0.0.2"));
    let outcome = run_warm(xml, zones, CLIENT);
    assert_eq!(value(&outcome, "site"), "b.example");
    assert_eq!(value(&outcome, "sites"), "a.example b.example c.example");
}

#[test]
fn an_allow_list_overrules_every_block_list() {
    let xml = r#"<rbl><list zone="bl.example" weight="9"/><allow zone="wl.example"/></rbl>"#;
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    assert_eq!(run(xml, zones.clone(), CLIENT).status, "listed");
    let outcome = run(xml, listed(zones, "wl.example", "127.0.5.1"), CLIENT);
    assert_eq!(outcome.status, "allowed");
    assert_eq!(outcome.text, "192.0.2.1 is on the allow list wl.example");
    assert_eq!(value(&outcome, "site"), "wl.example");
    assert_eq!(value(&outcome, "reply"), "127.0.5.1");
}

#[test]
fn an_allow_list_alone_is_enough() {
    let xml = r#"<rbl><allow zone="wl.example" reply="127.0.[2..15].[1..3]"/></rbl>"#;
    let status = |reply| run(xml, listed(Zones::default(), "wl.example", reply), CLIENT).status;
    assert_eq!(status("127.0.5.1"), "allowed");
    assert_eq!(status("127.0.5.0"), "none");
    assert_eq!(status("127.0.0.255"), "none");
}

#[test]
fn names_of_a_request_are_asked_about_by_lists_of_names() {
    for (of, attribute, text) in [
        ("client_name", "client_name", "Mail.Bad.Example"),
        ("reverse_client_name", "reverse_client_name", "mail.bad.example."),
        ("helo_name", "helo_name", "mail.bad.example"),
        ("sender_domain", "sender", "alice@mail.bad.example"),
    ] {
        let xml = format!(r#"<rbl><list zone="dbl.example" of="{of}"/></rbl>"#);
        let zones = Zones::default().a("mail.bad.example.dbl.example", "127.0.1.2");
        let outcome = run(&xml, zones, &[("client_address", "192.0.2.1"), (attribute, text)]);
        assert_eq!(outcome.status, "listed", "{of}");
        assert_eq!(value(&outcome, "subject"), "mail.bad.example");
    }
}

#[test]
fn a_list_can_be_asked_about_the_registered_domain() {
    let xml = r#"<rbl><list zone="dbl.example" of="helo_name" registrable="true"/></rbl>"#;
    let zones = Zones::default().a("bad.co.uk.dbl.example", "127.0.1.2");
    let outcome = run(xml, zones, &[("helo_name", "mail.bad.co.uk")]);
    assert_eq!(value(&outcome, "subject"), "bad.co.uk");
}

#[test]
fn the_null_sender_has_no_domain_to_ask_about() {
    let xml = r#"<rbl><list zone="dbl.example" of="sender_domain"/></rbl>"#;
    let bench = bench(xml, Zones::default());
    assert_eq!(bench.run(&[("protocol_state", "RCPT"), ("sender", "")]).status, "none");
    assert_eq!(bench.heard.questions(), Vec::<String>::new());
}

#[test]
fn a_name_too_long_for_the_zone_is_not_asked_about() {
    let xml = r#"<rbl><list zone="dbl.example" of="helo_name"/></rbl>"#;
    let helo = format!("{}example", "a.".repeat(118));
    let bench = bench(xml, Zones::default());
    assert_eq!(bench.run(&[("helo_name", &helo)]).status, "none");
    assert_eq!(bench.heard.questions(), Vec::<String>::new());
}

#[test]
fn where_a_list_fails_that_could_have_decided_nothing_is_known() {
    let xml = r#"<rbl threshold="2"><list zone="b.example"/>
        <list zone="a.example" weight="2"/></rbl>"#;
    let zones = Zones::default().fault("1.2.0.192.a.example", Fault::ServerFailure);
    let outcome = run(xml, zones, CLIENT);
    assert_eq!(outcome.status, "unknown");
    assert_eq!(outcome.text, "a.example: the name server answered \"Server Failure\"");
    assert_eq!(value(&outcome, "failed"), "a.example");
    let zones = Zones::default().fault("1.2.0.192.b.example", Fault::ServerFailure);
    let outcome = run(xml, zones, CLIENT);
    assert_eq!(outcome.status, "none");
    assert_eq!(outcome.text, "not listed; b.example: the name server answered \"Server Failure\"");
}

#[test]
fn what_others_list_counts_although_a_list_fails() {
    let xml = r#"<rbl><list zone="a.example"/><list zone="b.example"/></rbl>"#;
    let zones = Zones::default().fault("1.2.0.192.a.example", Fault::Silence);
    let outcome = run(xml, listed(zones, "b.example", "127.0.0.2"), CLIENT);
    assert_eq!(outcome.status, "listed");
    assert_eq!(value(&outcome, "failed"), "a.example");
}

#[test]
fn the_reason_is_fit_to_be_shown() {
    let long = format!("a\r\nb\u{1b}[2J {}", "x".repeat(400));
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let outcome = run(ONE, zones.txt("1.2.0.192.bl.example", long), CLIENT);
    let reason = value(&outcome, "reason");
    assert!(reason.starts_with(r"a\r\nb\u{1b}[2J xxx"), "{reason}");
    assert_eq!(reason.len(), 203);
    assert!(reason.ends_with("x..."), "{reason}");
}

const SECRET: &str = r#"<rbl suspend_after="1"><list zone="zen.example">
    <secret>K3y</secret></list></rbl>"#;

#[test]
fn the_secret_of_a_zone_is_asked_with_and_never_shown() {
    let name = "1.2.0.192.k3y.zen.example";
    let zones = Zones::default().a(name, "127.0.0.2");
    let bench = bench(SECRET, zones.txt(name, "listed, see 1.2.0.192.K3Y.zen.example"));
    let outcome = bench.run(CLIENT);
    assert_eq!(value(&outcome, "site"), "zen.example");
    assert_eq!(value(&outcome, "reason"), "listed, see 1.2.0.192.******.zen.example");
    assert!(bench.heard.questions().contains(&format!("A {name}")));
    assert!(!format!("{outcome:?}").to_lowercase().contains("k3y"));
}

#[test]
fn a_list_has_the_name_that_it_is_given() {
    let xml = r#"<rbl><list zone="bl.example" name="The Block List"/></rbl>"#;
    let outcome = run(xml, listed(Zones::default(), "bl.example", "127.0.0.2"), CLIENT);
    assert_eq!(outcome.text, "192.0.2.1 is listed by The Block List");
}
