//! The engine over zones in the same process.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use mppd_dns::testkit::{Fault, Zones};
use mppd_dns::{Answer, Dns, Lookup, Pending, Question, RecordKind};
use mppd_engine::slog::{self, Drain, Logger, Never, OwnedKVList, Record};
use mppd_engine::testkit::{Configured, Ready, exchange, exchange_at};
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

fn value(outcome: &Outcome, name: &str) -> String {
    let found = outcome.values.iter().find(|value| value.name == name);
    found.map(|value| String::from_utf8(value.value.clone()).unwrap()).unwrap_or_default()
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
fn codes_of_errors_are_never_listings() {
    for reply in [
        "127.255.255.254",
        "127.255.255.255",
        "127.255.255.252",
        "127.0.0.1",
        "127.0.0.255",
        "192.0.2.80",
        "0.0.0.0",
    ] {
        let outcome = run(ONE, listed(Zones::default(), "bl.example", reply), CLIENT);
        assert_eq!(outcome.status, "unknown", "{reply}");
        let text = format!("bl.example: the answer {reply} is no listing but an error");
        assert_eq!(outcome.text, text);
    }
}

#[test]
fn one_error_among_the_replies_makes_all_of_them_one() {
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let outcome = run(ONE, listed(zones, "bl.example", "127.255.255.254"), CLIENT);
    assert_eq!(outcome.status, "unknown");
}

#[test]
fn the_codes_of_errors_of_a_list_can_be_configured() {
    let xml = r#"<rbl><list zone="bl.example" error_reply="127.0.0.9"/></rbl>"#;
    let status = |reply| run(xml, listed(Zones::default(), "bl.example", reply), CLIENT).status;
    assert_eq!(status("127.0.0.9"), "unknown");
    assert_eq!(status("127.0.0.255"), "listed");
    assert_eq!(status("127.255.255.254"), "unknown");
}

#[test]
fn a_usual_error_that_is_configured_as_a_reply_is_one() {
    let xml = r#"<rbl><list zone="bl.example" reply="127.0.0.2"/>
        <allow zone="bl.example" reply="127.0.0.[3..4] 127.0.0.1"/></rbl>"#;
    let outcome = run(xml, listed(Zones::default(), "bl.example", "127.0.0.1"), CLIENT);
    assert_eq!((outcome.status, &*value(&outcome, "reply")), ("allowed", "127.0.0.1"));
    // What is a listing only among others is an error all the same.
    let xml = r#"<rbl><list zone="bl.example" reply="127.0.0.0/24"/></rbl>"#;
    assert_eq!(
        run(xml, listed(Zones::default(), "bl.example", "127.0.0.1"), CLIENT).status,
        "unknown"
    );
}

#[test]
fn a_reply_that_is_an_error_as_well_is_refused() {
    let faults = faults(
        r#"<rbl><list zone="bl.example" reply="127.0.0.2 127.0.0.9" error_reply="127.0.0.9"/></rbl>"#,
    );
    let message = "the same stands in \"reply\", and would never be a listing";
    assert_eq!(faults, [(message.to_owned(), "127.0.0.9".to_owned())]);
}

#[test]
fn only_replies_that_are_wanted_are_listings() {
    let xml = r#"<rbl><list zone="bl.example" reply="127.0.0.2 127.0.0.[4..7]"/></rbl>"#;
    let status = |reply| run(xml, listed(Zones::default(), "bl.example", reply), CLIENT).status;
    assert_eq!(status("127.0.0.2"), "listed");
    assert_eq!(status("127.0.0.5"), "listed");
    assert_eq!(status("127.0.0.10"), "none");
}

#[test]
fn replies_have_weights_of_their_own_and_cost_one_question() {
    let xml = r#"<rbl threshold="3">
        <list zone="bl.example" weight="3" test="false">
          <reply weight="2">127.0.0.2</reply>
          <reply weight="0.5" reason="a dynamic address">127.0.0.[10..11]</reply>
          <reply>127.0.0.3</reply>
        </list></rbl>"#;
    let outcome = |replies: &[&str]| {
        let zones = replies.iter().fold(Zones::default(), |z, r| listed(z, "bl.example", r));
        let bench = bench(xml, zones);
        let outcome = bench.run(CLIENT);
        assert_eq!(
            bench.heard.questions().iter().filter(|question| question.starts_with("A ")).count(),
            1
        );
        (outcome.status, value(&outcome, "weight"))
    };
    assert_eq!(outcome(&["127.0.0.2"]), ("none", "2".to_owned()));
    assert_eq!(outcome(&["127.0.0.2", "127.0.0.10", "127.0.0.11"]), ("none", "2.5".to_owned()));
    assert_eq!(outcome(&["127.0.0.3"]), ("listed", "3".to_owned()));
    assert_eq!(outcome(&["127.0.0.2", "127.0.0.3"]), ("listed", "5".to_owned()));
}

#[test]
fn a_reason_that_is_configured_is_not_asked_for() {
    let xml = r#"<rbl><list zone="bl.example" reason="write to postmaster@example.net"/></rbl>"#;
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let bench = bench(xml, zones.txt("1.2.0.192.bl.example", "ours"));
    let outcome = bench.run(CLIENT);
    assert_eq!(value(&outcome, "reason"), "write to postmaster@example.net");
    assert!(!bench.heard.questions().iter().any(|question| question.starts_with("Txt")));
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

/// A list that has whatever it is asked about.
struct Everything;

impl Lookup for Everything {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        let reply = mppd_dns::Record::A("127.0.0.2".parse().unwrap());
        let is_address = question.kind == RecordKind::A;
        Some(if is_address { Answer::of(vec![reply]) } else { Answer::NoRecords })
    }

    fn look_up(&self, question: Question, _: Instant) -> Pending {
        Box::pin(std::future::ready(self.at_hand(&question).unwrap()))
    }
}

#[test]
fn a_list_that_has_everything_is_suspended_at_once() {
    for xml in [ONE, r#"<rbl><list zone="bl.example" of="helo_name"/></rbl>"#] {
        let dns = Arc::new(Dns::new(Everything));
        let lines = Lines::default();
        let logger = Logger::root(lines.clone().fuse(), slog::o!());
        let configured = Configured::xml(xml).with_service(dns).with_logger(logger);
        let engine = configured.build(kind::<Rbl>()).unwrap();
        for _ in 0..3 {
            for address in ["192.0.2.1", "2001:db8::1"] {
                let attributes = [("client_address", address), ("helo_name", "a.example")];
                let outcome = engine.run(&exchange(attributes)).unwrap();
                assert_eq!(outcome.status, "none");
                assert_eq!(
                    outcome.text,
                    "not listed; bl.example is suspended: it lists what nobody has"
                );
            }
        }
        assert_eq!(
            *lines.0.lock().unwrap(),
            ["the list bl.example is not asked for 5m: it lists what nobody has"]
        );
    }
}

#[test]
fn whether_a_list_has_everything_may_be_left_open() {
    let configured = Configured::xml(r#"<rbl><list zone="bl.example" test="false"/></rbl>"#);
    let engine = configured.with_service(Arc::new(Dns::new(Everything))).build(kind::<Rbl>());
    assert_eq!(engine.unwrap().run(&exchange(CLIENT.iter().copied())).unwrap().status, "listed");
}

#[test]
fn a_test_that_fails_says_nothing_against_the_list() {
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let zones = zones.fault("1.0.0.127.bl.example", Fault::ServerFailure);
    assert_eq!(bench(ONE, zones).status("192.0.2.1"), "listed");
}

fn at(start: SystemTime, seconds: u64) -> Arc<Exchange> {
    exchange_at(start + Duration::from_secs(seconds), CLIENT.iter().copied())
}

#[test]
fn a_list_that_fails_again_and_again_is_suspended_and_tried_after_its_pause() {
    let xml = r#"<rbl suspend_after="3" suspend_for="10m"><list zone="bl.example"/></rbl>"#;
    let zones = Zones::default().fault("1.2.0.192.bl.example", Fault::Silence);
    let zones = zones.a("2.2.0.192.bl.example", "127.0.0.2");
    let bench = bench(xml, zones);
    let start = SystemTime::now();
    let run = |seconds| bench.engine.run(&at(start, seconds)).unwrap();
    for second in 0..3 {
        assert_eq!(run(second).status, "unknown");
    }
    let outcome = run(4);
    assert_eq!(outcome.status, "none");
    let why = "no answer in time, 3 times in a row";
    assert_eq!(outcome.text, format!("not listed; bl.example is suspended: {why}"));
    assert_eq!(value(&outcome, "failed"), "bl.example");
    assert_eq!(run(601).status, "none");
    // One tries it, and fails; the next pause begins.
    assert_eq!(run(602).status, "unknown");
    assert_eq!(run(700).status, "none");
    // One tries it, and it answers.
    let other = [("client_address", "192.0.2.2")];
    let later = exchange_at(start + Duration::from_secs(1_300), other);
    assert_eq!(bench.engine.run(&later).unwrap().status, "listed");
    assert_eq!(run(1_301).status, "unknown");
    assert_eq!(
        bench.log(),
        [
            format!("the list bl.example is not asked for 10m: {why}"),
            "the list bl.example answers, and is asked again".to_owned(),
        ]
    );
}

#[test]
fn answers_of_the_cache_do_not_tell_whether_a_list_answers() {
    let xml = r#"<rbl suspend_after="2" suspend_for="10m"><list zone="bl.example"/></rbl>"#;
    let zones = Zones::default().fault("1.2.0.192.bl.example", Fault::Silence);
    let bench = bench(xml, zones.a("2.2.0.192.bl.example", "127.0.0.2"));
    let start = SystemTime::now();
    let run = |address, seconds| {
        let now = start + Duration::from_secs(seconds);
        bench.engine.run(&exchange_at(now, [("client_address", address)])).unwrap().status
    };
    assert_eq!(run("192.0.2.2", 0), "listed");
    assert_eq!(run("192.0.2.1", 1), "unknown");
    // Known before the list went away.
    assert_eq!(run("192.0.2.2", 2), "listed");
    assert_eq!(run("192.0.2.1", 3), "unknown");
    assert_eq!(run("192.0.2.1", 4), "none");
    // After the pause it brings nothing back, and takes nobody's turn to try.
    assert_eq!(run("192.0.2.2", 700), "listed");
    assert_eq!(run("192.0.2.1", 701), "unknown");
    assert_eq!(run("192.0.2.1", 702), "none");
    assert_eq!(bench.log().len(), 1);
}

#[test]
fn codes_of_errors_suspend_a_list_as_other_failures_do() {
    let name = "1.2.0.192.k3y.zen.example";
    let bench = bench(SECRET, Zones::default().a(name, "127.255.255.254"));
    assert_eq!(bench.run(CLIENT).status, "unknown");
    assert_eq!(bench.run(CLIENT).status, "none");
    assert_eq!(
        bench.log(),
        ["the list zen.example is not asked for 5m: the answer 127.255.255.254 is no listing but \
          an error"]
    );
}

fn faults(xml: &str) -> Vec<(String, String)> {
    let configured = Configured::xml(xml).with_service(Arc::new(Dns::new(Zones::default())));
    let faults = configured.faults(kind::<Rbl>());
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

#[test]
fn every_fault_of_the_options_is_told_at_its_place() {
    let xml = r#"<rbl threshold="-1"> <skip>10.0.0.1/8 x</skip>
        <list zone="bl example"/> <list zone="a.example" reply="127.0.0.300"/>
        <list zone="b.example" registrable="true"/> <list zone="c.example" secret="a b"/>
        <list zone="d.example" error_reply="10.0.0.1"/>
        <list zone="d.example" of="helo_name"/> <list zone="D.example." of="helo_name"/>
        <allow zone="d.example" reply="127.255.255.1"/></rbl>"#;
    let faults = faults(xml);
    let messages: Vec<&str> = faults.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "\"bl example\" is not the name of a zone",
            "\"127.0.0.300\" is not a pattern of replies",
            "an address has no registrable domain",
            "the secret is not a label of a domain name",
            "\"10.0.0.1\" is never the reply of a list",
            "the list D.example. is asked about helo_name twice",
            "\"127.255.255.1\" is never a listing",
            "\"10.0.0.1/8\" has bits set behind its prefix",
            "\"x\" is neither an address nor a network",
            "a threshold is greater than 0",
        ]
    );
    assert_eq!(faults[1].1, "127.0.0.300");
    assert_eq!(faults[9].1, "-1");
}

#[test]
fn an_engine_without_lists_finds_nothing() {
    assert_eq!(run("<rbl/>", Zones::default(), CLIENT).status, "none");
}

#[test]
fn weights_and_subjects_that_are_none_are_refused() {
    let messages = faults(
        r#"<rbl><list zone="a.example" weight="0"/><list zone="b.example" weight="heavy"/>
            <list zone="c.example" of="client_adress"/></rbl>"#,
    );
    let messages: Vec<&str> = messages.iter().map(|(message, _)| message.as_str()).collect();
    assert!(messages.contains(&"0 makes no sense here"), "{messages:?}");
    assert!(messages.contains(&"\"client_adress\" is not known here"), "{messages:?}");
    let is_weight = |message: &&&str| message.starts_with("\"heavy\" is not a number");
    assert!(messages.iter().find(is_weight).is_some(), "{messages:?}");
}

#[test]
fn a_threshold_that_nothing_reaches_is_warned_of() {
    let xml = r#"<rbl threshold="3"><list zone="a.example"/><list zone="b.example"/></rbl>"#;
    let configured = Configured::xml(xml).with_service(Arc::new(Dns::new(Zones::default())));
    let engine = configured.build(kind::<Rbl>()).unwrap();
    let warned = configured.show(engine.warnings().iter().cloned());
    assert_eq!(warned, [("all weights together are 2, less than the threshold".to_owned(), "3")]);
}
