//! The engine over zones in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mppd_dns::testkit::{Fault, Zones};
use mppd_dns::{Answer, Dns, Lookup, Pending, Question};
use mppd_engine::testkit::{Configured, exchange, value};
use mppd_engine::{Outcome, kind};
use proptest::prelude::*;

use super::Spf;

type Attributes<'a> = &'a [(&'a str, &'a str)];

fn zones() -> Zones {
    Zones::default()
        .txt("example.com", "v=spf1 ip4:192.0.2.0/24 ?exists:%{l}.users.example.com -all")
        .txt("helo.example.com", "v=spf1 a -all")
        .a("helo.example.com", "192.0.2.1")
        .txt("forged.example.com", "v=spf1 -all exp=exp.example.com")
        .txt("exp.example.com", "%{h} is not %{d}")
        .txt("soft.example.com", "v=spf1 ~all")
        .txt("empty.example.com", "v=spf1")
        .txt("typo.example.com", "v=spf1 ipv4:192.0.2.1")
        .fault("away.example.com", Fault::ServerFailure)
        .a("unsaid.example.com", "192.0.2.9")
        .txt("xn--bcher-kva.example", "v=spf1 ip4:192.0.2.1 -all")
        .a("alice.users.example.com", "127.0.0.2")
}

fn checked_with(zones: Zones, options: &str, attributes: Attributes<'_>) -> Outcome {
    let configured = Configured::xml(&format!("<spf>{options}</spf>"));
    let configured = configured.with_service(Arc::new(Dns::new(zones)));
    let engine = configured.build(kind::<Spf>()).unwrap();
    let mut all = vec![
        ("protocol_state", "RCPT"),
        ("client_address", "192.0.2.1"),
        ("helo_name", "helo.example.com"),
        ("sender", "alice@example.com"),
    ];
    for attribute in attributes {
        all.retain(|(name, _)| *name != attribute.0);
        all.push(*attribute);
    }
    engine.run(&exchange(all)).unwrap()
}

fn checked(options: &str, attributes: Attributes<'_>) -> Outcome {
    checked_with(zones(), options, attributes)
}

#[test]
fn each_status_is_given_for_what_the_domain_says() {
    for (sender, status) in [
        ("a@example.com", "pass"),
        ("a@forged.example.com", "fail"),
        ("a@soft.example.com", "softfail"),
        ("a@empty.example.com", "neutral"),
        ("a@typo.example.com", "permerror"),
        ("a@away.example.com", "temperror"),
        ("a@unsaid.example.com", "none"),
        ("a@nobody.example", "none"),
        ("a", "none"),
    ] {
        assert_eq!(checked("", &[("sender", sender)]).status, status, "{sender}");
    }
}

#[test]
fn what_decided_is_given_as_values() {
    let outcome = checked("<receiver>mx.example.net</receiver>", &[]);
    assert_eq!(outcome.text, "example.com lets 192.0.2.1 send its mail");
    assert_eq!(value(&outcome, "identity"), "mailfrom");
    assert_eq!(value(&outcome, "domain"), "example.com");
    assert_eq!(value(&outcome, "mechanism"), "ip4:192.0.2.0/24");
    assert_eq!(value(&outcome, "explanation"), "");
    let results = value(&outcome, "authentication_results");
    assert_eq!(results, "mx.example.net; spf=pass smtp.mailfrom=example.com");
}

#[test]
fn an_explanation_is_said_to_be_the_domains() {
    let outcome = checked("", &[("sender", "a@forged.example.com")]);
    assert_eq!(value(&outcome, "explanation"), "helo.example.com is not forged.example.com");
    let expected = "forged.example.com does not let 192.0.2.1 send its mail; forged.example.com \
                    explains: helo.example.com is not forged.example.com";
    assert_eq!(outcome.text, expected);
}

#[test]
fn an_explanation_of_any_length_is_cut() {
    let zones = Zones::default()
        .txt("example.com", "v=spf1 -all exp=exp.example.com")
        .txt("exp.example.com", "%{S}".repeat(10_000));
    let explanation = value(&checked_with(zones, "", &[("helo_name", "")]), "explanation");
    assert!(explanation.starts_with("alice%40example.comalice%40"), "{explanation}");
    assert_eq!(explanation.len(), 403);
    assert!(explanation.ends_with("..."));
}

#[test]
fn a_helo_that_fails_decides() {
    let forged = ("helo_name", "forged.example.com");
    let outcome = checked("", &[forged]);
    assert_eq!((outcome.status, value(&outcome, "identity").as_str()), ("fail", "helo"));
    assert_eq!(checked("<identity>mailfrom</identity>", &[forged]).status, "pass");
}

#[test]
fn a_helo_that_passes_decides_nothing_about_the_sender() {
    let outcome = checked("", &[("sender", "a@soft.example.com")]);
    assert_eq!((outcome.status, value(&outcome, "identity").as_str()), ("softfail", "mailfrom"));
    let helo_alone = checked("<identity>helo</identity>", &[("sender", "a@soft.example.com")]);
    assert_eq!((helo_alone.status, value(&helo_alone, "identity").as_str()), ("pass", "helo"));
}

#[test]
fn the_null_sender_is_postmaster_at_the_helo_name() {
    let both = checked("", &[("sender", "")]);
    assert_eq!((both.status, value(&both, "identity").as_str()), ("pass", "helo"));
    let sender_alone = checked("<identity>mailfrom</identity>", &[("sender", "")]);
    assert_eq!(
        (sender_alone.status, value(&sender_alone, "domain").as_str()),
        ("pass", "helo.example.com")
    );
}

#[test]
fn before_there_is_a_sender_the_helo_name_is_all_there_is() {
    let at_helo = [("protocol_state", "HELO"), ("sender", "")];
    assert_eq!(checked("", &at_helo).status, "pass");
    assert_eq!(checked("<identity>mailfrom</identity>", &at_helo).status, "none");
}

#[test]
fn a_client_without_address_can_not_be_checked() {
    assert_eq!(checked("", &[("client_address", "unknown")]).status, "none");
}

#[test]
fn relays_own_networks_and_users_who_have_logged_in_are_trusted() {
    let forged = ("sender", "a@forged.example.com");
    let relay = checked("<trusted>198.51.100.1 192.0.2.0/28</trusted>", &[forged]);
    assert_eq!((relay.status, &*relay.text), ("trusted", "192.0.2.1 is a trusted relay"));
    let from = |options, address| checked(options, &[forged, ("client_address", address)]).status;
    assert_eq!(from("", "127.0.0.1"), "trusted");
    assert_eq!(from("", "::1"), "trusted");
    assert_eq!(from("<skip>198.51.100.0/24</skip>", "198.51.100.7"), "trusted");
    assert_eq!(from("<skip>198.51.100.0/24</skip>", "127.0.0.1"), "fail");
    let user = [forged, ("sasl_username", "alice")];
    assert_eq!(checked("", &user).status, "trusted");
    assert_eq!(checked("<skip_authenticated>false</skip_authenticated>", &user).status, "fail");
}

#[test]
fn trusted_relays_and_own_networks_come_from_files_as_well() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("relays"), "# secondary\n192.0.2.1\n").unwrap();
    std::fs::write(directory.path().join("own"), "10.0.0.1 DUNNO\n10.0.0.0/8 OK\n").unwrap();
    let xml = "<spf><trusted file='relays'/><skip file='own' format='cidr'>::1</skip></spf>";
    let configured = Configured::xml_in(directory.path(), xml);
    let engine = configured.with_service(Arc::new(Dns::new(zones()))).build(kind::<Spf>()).unwrap();
    assert_eq!(engine.warnings().len(), 1, "DUNNO makes no exception here");
    for (address, status) in [
        ("192.0.2.1", "trusted"),
        ("10.0.0.2", "trusted"),
        ("::1", "trusted"),
        ("127.0.0.1", "fail"),
    ] {
        let exchange = exchange([
            ("protocol_state", "RCPT"),
            ("client_address", address),
            ("sender", "a@forged.example.com"),
        ]);
        assert_eq!(engine.run(&exchange).unwrap().status, status, "{address}");
    }
}

#[test]
fn a_guess_is_no_pass_and_never_a_fail() {
    let unsaid = ("sender", "a@unsaid.example.com");
    let guess = "<best_guess>v=spf1 a/24 mx/24 -all</best_guess>";
    let near = checked(guess, &[unsaid]);
    assert_eq!(near.status, "best_guess");
    assert!(value(&near, "received_spf").starts_with("none ("));
    let far = [unsaid, ("client_address", "198.51.100.1"), ("helo_name", "pc.example")];
    assert_eq!(checked(guess, &far).status, "none");
    assert_eq!(checked(guess, &[]).status, "pass");
}

#[test]
fn an_international_domain_is_asked_for_by_its_a_labels() {
    let outcome = checked("", &[("sender", "a@b\u{fc}cher.example")]);
    assert_eq!(outcome.status, "pass");
    assert_eq!(value(&outcome, "domain"), "xn--bcher-kva.example");
}

#[test]
fn a_local_part_that_is_not_ascii_matches_no_term_that_names_it() {
    let client = [("client_address", "198.51.100.1"), ("helo_name", "pc.example")];
    let from = |sender| checked("", &[client[0], client[1], ("sender", sender)]);
    assert_eq!(from("alice@example.com").status, "neutral");
    assert_eq!(from("\u{e4}lice@example.com").status, "fail");
}

#[test]
fn an_ipv4_client_over_ipv6_is_an_ipv4_client() {
    let mapped = checked("", &[("client_address", "::ffff:192.0.2.1")]);
    assert_eq!(mapped.status, "pass");
}

#[test]
fn how_many_questions_may_come_to_nothing_is_an_option() {
    let zones = || {
        zones()
            .txt("void.example", "v=spf1 a:x.void.example a:y.void.example a:z.void.example ?all")
    };
    let sender = [("sender", "a@void.example")];
    assert_eq!(checked_with(zones(), "", &sender).status, "permerror");
    let option = "<void_lookup_limit>3</void_lookup_limit>";
    assert_eq!(checked_with(zones(), option, &sender).status, "neutral");
}

#[test]
fn faulty_options_are_told_at_their_places() {
    let text = "<spf><trusted>192.0.2.1 localhost</trusted><skip>::/129</skip>\
                <best_guess>v=spf2 a</best_guess></spf>";
    let configured = Configured::xml(text);
    let configured = configured.with_service(Arc::new(Dns::new(zones())));
    let expected = [
        ("\"localhost\" is neither an address nor a network".to_owned(), "localhost"),
        ("\"::/129\" is neither an address nor a network".to_owned(), "::/129"),
        ("this is not an SPF record".to_owned(), "v=spf2 a"),
    ];
    assert_eq!(configured.faults(kind::<Spf>()), expected);
}

#[test]
fn without_a_resolver_there_is_no_engine() {
    let configured = Configured::xml("<spf/>");
    let faults = configured.faults(kind::<Spf>());
    assert_eq!(faults[0].0, "this server gives its engines no resolver of names");
}

/// Zones that count what they are asked.
struct Counted {
    zones: Zones,
    questions: Arc<AtomicUsize>,
}

impl Lookup for Counted {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.zones.at_hand(question)
    }

    fn look_up(&self, question: Question, deadline: Instant) -> Pending {
        self.zones.look_up(question, deadline)
    }
}

/// Terms that lead to one another, and each of which asks.
fn term() -> impl Strategy<Value = String> {
    let name = || "[a-d]\\.example";
    prop_oneof![
        name().prop_map(|name| format!("include:{name}")),
        name().prop_map(|name| format!("?a:{name}/31")),
        name().prop_map(|name| format!("-mx:{name}")),
        name().prop_map(|name| format!("~ptr:{name}")),
        name().prop_map(|name| format!("exists:%{{p}}.{name}")),
        name().prop_map(|name| format!("redirect={name}")),
        name().prop_map(|name| format!("exp={name}")),
        "[+~?-]?(all|ip4:192\\.0\\.2\\.[1-9]|a|mx|ptr)",
    ]
}

fn any_record() -> impl Strategy<Value = String> {
    prop::collection::vec(term(), 0..8).prop_map(|terms| format!("v=spf1 {}", terms.join(" ")))
}

proptest! {
    #[test]
    fn whatever_records_lead_to_the_check_ends_and_asks_little(
        records in prop::collection::vec(any_record(), 4),
        mail_exchangers in prop::collection::vec((0..4_usize, 0..4_usize), 0..30),
        names in 0..20_usize,
    ) {
        let name = |number: usize| format!("{}.example", ["a", "b", "c", "d"][number]);
        let mut zones = Zones::default();
        for (number, record) in records.iter().enumerate() {
            zones = zones.txt(&name(number), record).a(&name(number), "192.0.2.7");
        }
        for (of, exchanger) in mail_exchangers {
            zones = zones.mx(&name(of), 10, &name(exchanger));
        }
        for number in 0..names {
            zones = zones.ptr("192.0.2.1", &format!("n{number}.a.example"));
        }
        let questions = Arc::new(AtomicUsize::new(0));
        let dns = Dns::new(Counted { zones, questions: questions.clone() });
        let configured = Configured::xml("<spf><identity>mailfrom</identity></spf>");
        let engine = configured.with_service(Arc::new(dns)).build(kind::<Spf>()).unwrap();
        let attributes = [
            ("protocol_state", "RCPT"),
            ("client_address", "192.0.2.1"),
            ("helo_name", "a.example"),
            ("sender", "x@a.example"),
        ];
        engine.run(&exchange(attributes)).unwrap();
        // The record, ten terms with ten mail exchangers each, the client's names, the explanation.
        let most = 1 + 10 + 10 * 10 + 11 + 1;
        prop_assert!(questions.load(Ordering::Relaxed) <= most);
    }
}
