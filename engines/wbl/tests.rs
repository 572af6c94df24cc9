//! The engine as a whole, built from XML and asked about requests.

mod faults;
mod formats;

use std::fs;

use mppd_engine::config::Severity;
use mppd_engine::testkit::{Configured, Ready, exchange};
use mppd_engine::{Outcome, kind};

use super::Wbl;

const XML: &str = "<wbl>
    <white>
        <client_address>192.0.2.7 2001:db8:7::/48</client_address>
        <sender>friend@example.com</sender>
    </white>
    <black>
        <client_address>192.0.2.0/24 2001:db8::/32</client_address>
        <client_name>spam.example</client_name>
        <helo_name>.example.net</helo_name>
        <sender>example.com</sender>
        <sender>mallory@ &lt;&gt;</sender>
        <recipient>@trap.example.org</recipient>
    </black>
</wbl>";

fn build(xml: &str) -> Ready {
    Configured::xml(xml).build(kind::<Wbl>()).unwrap()
}

fn ask<const N: usize>(engine: &Ready, attributes: [(&str, &str); N]) -> Outcome {
    engine.run(&exchange(attributes)).unwrap()
}

#[test]
fn what_is_on_no_list_is_none() {
    let outcome = ask(
        &build(XML),
        [
            ("protocol_state", "RCPT"),
            ("client_address", "198.51.100.1"),
            ("client_name", "mail.example.org"),
            ("helo_name", "example.net"),
            ("sender", "alice@example.org"),
            ("recipient", "bob@example.org"),
        ],
    );
    assert_eq!(outcome, Outcome::new("none"));
}

#[test]
fn each_attribute_is_looked_up_in_its_own_list() {
    let engine = build(XML);
    for (attribute, value, entry) in [
        ("client_address", "192.0.2.8", "192.0.2.0/24"),
        ("client_address", "::ffff:192.0.2.8", "192.0.2.0/24"),
        ("client_address", "2001:db8::1", "2001:db8::/32"),
        ("client_name", "a.spam.example", "spam.example"),
        ("helo_name", "a.example.net", ".example.net"),
        ("sender", "alice@mail.example.com", "example.com"),
        ("sender", "Mallory@example.org", "mallory@"),
        ("recipient", "x@trap.example.org", "@trap.example.org"),
    ] {
        let outcome = ask(&engine, [(attribute, value)]);
        let expected = Outcome::new("black")
            .with_text(format!("on the black list: {attribute} {entry}"))
            .with_value("list", attribute)
            .with_value("entry", entry);
        assert_eq!(outcome, expected);
    }
    for (attribute, value) in
        [("helo_name", "spam.example"), ("reverse_client_name", "spam.example")]
    {
        assert_eq!(ask(&engine, [(attribute, value)]).status, "none", "{attribute}");
    }
}

#[test]
fn white_wins_over_black() {
    let engine = build(XML);
    let outcome = ask(&engine, [("client_address", "192.0.2.7"), ("client_name", "spam.example")]);
    assert_eq!(outcome.status, "white");
    assert_eq!(outcome.text, "on the white list: client_address 192.0.2.7");
    let outcome = ask(&engine, [("client_address", "192.0.2.9"), ("sender", "friend@example.com")]);
    assert_eq!(outcome.status, "white");
}

#[test]
fn what_postfix_does_not_know_is_on_no_list() {
    let engine = build(XML);
    for attributes in [
        [("client_address", "unknown"), ("client_name", "unknown")],
        [("client_address", ""), ("client_name", "")],
        [("client_address", "192.0.2"), ("sender", "@")],
        [("policy_context", "spam.example"), ("size", "1")],
    ] {
        assert_eq!(ask(&engine, attributes).status, "none", "{attributes:?}");
    }
}

#[test]
fn an_unverified_client_has_no_name_even_where_a_top_level_domain_is_listed() {
    let engine = build("<wbl><black><client_name>example</client_name></black></wbl>");
    assert_eq!(ask(&engine, [("client_name", "unknown")]).status, "none");
    assert_eq!(ask(&engine, [("client_name", "x.example")]).status, "black");
}

#[test]
fn an_empty_sender_is_the_null_sender_once_mail_was_said() {
    let engine = build(XML);
    for (state, status) in [
        ("CONNECT", "none"),
        ("HELO", "none"),
        ("MAIL", "black"),
        ("RCPT", "black"),
        ("END-OF-MESSAGE", "black"),
        ("VRFY", "none"),
        ("XCLIENT", "none"),
    ] {
        let outcome = ask(&engine, [("protocol_state", state), ("sender", "")]);
        assert_eq!(outcome.status, status, "{state}");
    }
    assert_eq!(ask(&engine, [("protocol_state", "RCPT")]).status, "none");
}

#[test]
fn a_hostile_value_is_not_repeated() {
    let engine = build("<wbl><black><helo_name>example.net</helo_name></black></wbl>");
    let request = [("helo_name", "\u{1b}[2J\r.EXAMPLE.net")];
    assert_eq!(ask(&engine, request).text, "on the black list: helo_name example.net");
}

#[test]
fn further_attributes_are_looked_up_each_in_its_own_list() {
    const DIGEST: &str = "00112233445566778899aabbccddeeff";
    let engine = build(&format!(
        "<wbl><black>
            <reverse_client_name>.dyn.example</reverse_client_name>
            <sasl_username>mallory</sasl_username>
            <ccert_fingerprint>{DIGEST}</ccert_fingerprint>
            <ccert_pubkey_fingerprint>{}</ccert_pubkey_fingerprint>
        </black></wbl>",
        DIGEST.repeat(2)
    ));
    let shown = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";
    let twice = format!("{shown}:{shown}");
    for (attribute, value, entry) in [
        ("reverse_client_name", "7.Dyn.example", ".dyn.example"),
        ("sasl_username", "mallory", "mallory"),
        ("ccert_fingerprint", shown, shown),
        ("ccert_fingerprint", DIGEST, shown),
        ("ccert_pubkey_fingerprint", &twice, &twice),
    ] {
        let outcome = ask(&engine, [(attribute, value)]);
        assert_eq!(outcome.text, format!("on the black list: {attribute} {entry}"));
    }
    for (attribute, value) in [
        ("client_name", "7.dyn.example"),
        ("reverse_client_name", "unknown"),
        ("sasl_username", "Mallory"),
        ("ccert_pubkey_fingerprint", shown),
        ("ccert_fingerprint", ""),
    ] {
        assert_eq!(ask(&engine, [(attribute, value)]).status, "none", "{attribute}");
    }
}

#[test]
fn clients_are_addresses_and_names_in_one_list() {
    let engine = build("<wbl><black><client>192.0.2.0/24 spam.example ::1</client></black></wbl>");
    for (attribute, value, entry) in [
        ("client_address", "192.0.2.1", "192.0.2.0/24"),
        ("client_address", "::1", "::1"),
        ("client_name", "a.spam.example", "spam.example"),
    ] {
        let outcome = ask(&engine, [(attribute, value)]);
        assert_eq!(outcome.text, format!("on the black list: {attribute} {entry}"));
    }
    assert_eq!(ask(&engine, [("helo_name", "spam.example")]).status, "none");
}

#[test]
fn a_pair_stands_on_a_line_of_its_own() {
    let engine = build(
        "<wbl><black><pair>
            newsletter.example  carol@example.org

            &lt;&gt;            no-reply@
        </pair></black></wbl>",
    );
    let ask = |sender, recipient| {
        ask(&engine, [("protocol_state", "RCPT"), ("sender", sender), ("recipient", recipient)])
    };
    let outcome = ask("x@a.Newsletter.example", "Carol@example.org");
    assert_eq!(outcome.text, "on the black list: pair newsletter.example carol@example.org");
    assert_eq!(outcome.values[0].value, b"pair");
    assert_eq!(ask("", "no-reply@example.org").status, "black");
    assert_eq!(ask("x@newsletter.example", "bob@example.org").status, "none");
    assert_eq!(ask("x@example.com", "carol@example.org").status, "none");
}

const SPECIFIC: &str = "<wbl>
    <precedence>specific</precedence>
    <white>
        <client_address>192.0.2.0/24</client_address>
        <sender>alice@example.com b.example.com example.net</sender>
        <recipient>bob@example.org</recipient>
    </white>
    <black>
        <client_address>192.0.2.128/25 192.0.0.0/16</client_address>
        <sender>example.com a.b.example.com @example.net .example.org</sender>
        <pair>mallory@example.com bob@example.org</pair>
    </black>
</wbl>";

#[test]
fn the_more_specific_entry_of_an_attribute_counts_if_so_chosen() {
    let engine = build(SPECIFIC);
    for (attribute, value, status) in [
        ("client_address", "192.0.2.1", "white"),
        ("client_address", "192.0.2.129", "black"),
        ("client_address", "192.0.3.1", "black"),
        ("sender", "alice@example.com", "white"),
        ("sender", "bob@example.com", "black"),
        ("sender", "x@b.example.com", "white"),
        ("sender", "x@a.b.example.com", "black"),
        ("sender", "x@example.net", "black"),
        ("sender", "x@a.example.net", "white"),
        ("sender", "x@example.org", "none"),
    ] {
        assert_eq!(ask(&engine, [(attribute, value)]).status, status, "{value}");
    }
}

#[test]
fn between_attributes_white_wins_whatever_is_more_specific() {
    let engine = build(SPECIFIC);
    let request = [("client_address", "192.0.2.1"), ("sender", "x@a.b.example.com")];
    assert_eq!(ask(&engine, request).status, "white");
    let request = [("client_address", "192.0.2.129"), ("sender", "alice@example.com")];
    assert_eq!(ask(&engine, request).status, "white");
}

#[test]
fn a_pair_is_more_specific_than_its_sides() {
    let engine = build(SPECIFIC);
    let ask = |sender| ask(&engine, [("sender", sender), ("recipient", "bob@example.org")]);
    assert_eq!(ask("mallory@example.com").status, "black");
    assert_eq!(ask("carol@example.com").status, "white");
}

#[test]
fn of_equally_specific_entries_the_white_one_counts() {
    let engine = build(
        "<wbl><precedence>specific</precedence>
            <white><sender>example.com</sender></white>
            <black><sender>Example.COM.</sender></black></wbl>",
    );
    assert_eq!(ask(&engine, [("sender", "x@example.com")]).status, "white");
}
