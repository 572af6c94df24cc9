//! The engine as a whole, built from XML and asked about requests.

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
fn lists_are_read_from_files_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("senders"),
        "# people we know\n\nfriend@example.com  # since 1999\r\n\tjohn doe@example.com\nexample.org",
    )
    .unwrap();
    let xml = r#"<wbl><white><sender file="senders">example.net</sender></white></wbl>"#;
    let engine = Configured::xml_in(directory.path(), xml).build(kind::<Wbl>()).unwrap();
    for sender in ["friend@example.com", "john doe@example.com", "x@example.org", "x@example.net"] {
        assert_eq!(ask(&engine, [("sender", sender)]).status, "white", "{sender}");
    }
    assert_eq!(ask(&engine, [("sender", "since@example.com")]).status, "none");
}

#[test]
fn every_bad_entry_is_found_where_it_stands() {
    let configured = Configured::xml(
        "<wbl>
            <white><client_address>192.0.2.0/24 192.0.2.1/24</client_address></white>
            <black>
                <client_name>good.example 192.0.2.1</client_name>
                <sender>*.example.org</sender>
                <recipient>&lt;&gt;</recipient>
            </black>
        </wbl>",
    );
    let faults = configured.faults(kind::<Wbl>());
    let expected = [
        ("\"192.0.2.1/24\" has bits set behind its prefix", "192.0.2.1/24"),
        ("\"192.0.2.1\" is an address, not a name", "192.0.2.1"),
        ("\"*.example.org\" is not a name", "*.example.org"),
        ("\"<>\" is the null sender, and never a recipient", "&lt;&gt;"),
    ];
    assert_eq!(faults, expected.map(|(message, text)| (message.to_owned(), text)));
}

#[test]
fn a_bad_entry_in_a_file_is_found_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("networks");
    fs::write(&path, b"192.0.2.0/24\nexample.org\n\xff\n10.0.0.1/8\n198.51.100.1\x01\n").unwrap();
    let xml = r#"<wbl><black><client_address file="networks"/></black></wbl>"#;
    let configured = Configured::xml_in(directory.path(), xml);
    let path = path.display();
    let expected = [
        format!("{path}:2: \"example.org\" is neither an address nor a network"),
        format!("{path}:3: \"\\xff\" is not UTF-8"),
        format!("{path}:4: \"10.0.0.1/8\" has bits set behind its prefix"),
        format!("{path}:5: \"198.51.100.1\\u{{1}}\" holds a control character"),
    ];
    assert_eq!(configured.faults(kind::<Wbl>()), expected.map(|message| (message, "networks")));
}

#[test]
fn a_long_file_of_nonsense_does_not_drown_the_other_findings() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("list"), "nonsense\n".repeat(100_000)).unwrap();
    let xml = r#"<wbl><black>
        <client_address file="list"/><sender>*.example</sender></black></wbl>"#;
    let configured = Configured::xml_in(directory.path(), xml);
    let faults = configured.faults(kind::<Wbl>());
    assert_eq!(faults.len(), 22);
    assert_eq!(faults[20], ("and 99980 more such entries".to_owned(), "list"));
    assert_eq!(faults[21].1, "*.example");
}

#[test]
fn a_file_that_is_not_there_is_a_finding_at_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let xml = r#"<wbl><white><sender file="nowhere"/></white></wbl>"#;
    let configured = Configured::xml_in(directory.path(), xml);
    let faults = configured.faults(kind::<Wbl>());
    assert_eq!(faults.len(), 1);
    assert!(faults[0].0.starts_with("can't read "), "{faults:?}");
    assert_eq!(faults[0].1, "nowhere");
}

#[test]
fn a_black_entry_that_is_white_as_well_is_warned_of() {
    let configured = Configured::xml(
        "<wbl>
            <white><sender>example.org a@example.com</sender></white>
            <black><sender>.EXAMPLE.org A@example.com b@example.com</sender></black>
        </wbl>",
    );
    let engine = configured.build(kind::<Wbl>()).unwrap();
    assert!(engine.warnings().iter().all(|warning| warning.severity == Severity::Warning));
    let expected = [".EXAMPLE.org", "A@example.com"]
        .map(|text| (format!("\"{text}\" is on the white list as well, which wins"), text));
    assert_eq!(configured.show(engine.warnings().to_vec()), expected);
}

#[test]
fn an_engine_without_entries_is_warned_of() {
    for xml in ["<wbl/>", "<wbl><white><sender/></white></wbl>"] {
        let configured = Configured::xml(xml);
        let engine = configured.build(kind::<Wbl>()).unwrap();
        let message = "both lists are empty, so nothing is ever found on them".to_owned();
        assert_eq!(configured.show(engine.warnings().to_vec()), [(message, "wbl")]);
    }
}

#[test]
fn a_misspelt_list_is_refused() {
    let configured =
        Configured::xml("<wbl><white><client_adress>::1</client_adress></white></wbl>");
    let faults = configured.faults(kind::<Wbl>());
    assert_eq!(faults, [("unknown element \"client_adress\"".to_owned(), "client_adress")]);
}
