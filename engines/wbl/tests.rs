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
fn where_the_more_specific_entry_counts_only_an_equal_one_is_warned_of() {
    let configured = Configured::xml(
        "<wbl><precedence>specific</precedence>
            <white><sender>example.org example.net</sender></white>
            <black><sender>@example.org .example.org Example.NET</sender></black>
        </wbl>",
    );
    let engine = configured.build(kind::<Wbl>()).unwrap();
    let message = "\"Example.NET\" is on the white list as well, which wins".to_owned();
    assert_eq!(configured.show(engine.warnings().to_vec()), [(message, "Example.NET")]);
    assert_eq!(ask(&engine, [("sender", "x@example.org")]).status, "black");
    assert_eq!(ask(&engine, [("sender", "x@a.example.org")]).status, "black");
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

#[test]
fn a_line_that_is_no_pair_is_found_where_it_stands() {
    let configured = Configured::xml(
        "<wbl><black><pair>
            a@example.com b@example.org
            c@example.com
        </pair></black></wbl>",
    );
    let message = "\"c@example.com\" is not a pair".to_owned();
    assert_eq!(configured.faults(kind::<Wbl>()), [(message, "c@example.com")]);
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

/// An engine over files in a directory.
fn build_in(files: &[(&str, &str)], xml: &str) -> (tempfile::TempDir, Configured, Ready) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let configured = Configured::xml_in(directory.path(), xml);
    let engine = configured.build(kind::<Wbl>()).unwrap();
    (directory, configured, engine)
}

#[test]
fn the_whitelists_of_postgrey_are_read_as_they_are() {
    let clients = "# postgrey\n\nexample.org\n/^mail\\d+\\.example\\.net$/ # farm\n195.235.39\n\
                   192.0.2.7\n2001:db8:0800::/64\n";
    let recipients = "postmaster@\nbob@example.org\n/^test-/\n";
    let (_directory, _, engine) = build_in(
        &[("clients", clients), ("recipients", recipients)],
        "<wbl><white><client file='clients' format='postgrey'/>
            <recipient file='recipients' format='postgrey'/></white></wbl>",
    );
    for (attribute, value, entry) in [
        ("client_name", "a.example.org", "example.org"),
        ("client_name", "Mail17.example.net", "/^mail\\d+\\.example\\.net$/"),
        ("client_address", "195.235.39.200", "195.235.39.0/24"),
        ("client_address", "2001:db8:800::1", "2001:db8:800::/64"),
        ("recipient", "postmaster@example.com", "postmaster@"),
        ("recipient", "Bob+list@example.org", "bob@example.org"),
        ("recipient", "test-7@example.com", "/^test-/"),
    ] {
        let outcome = ask(&engine, [(attribute, value)]);
        assert_eq!(outcome.text, format!("on the white list: {attribute} {entry}"));
    }
    for (attribute, value) in [
        ("client_name", "mail.example.net"),
        ("client_address", "195.235.3.92"),
        ("recipient", "bobby@example.org"),
    ] {
        assert_eq!(ask(&engine, [(attribute, value)]).status, "none", "{value}");
    }
}

const ACCESS: &str = "# check_client_access
192.0.2.1      OK
192.0.2        REJECT no
198.51.100.9   DUNNO
198.51         554 5.7.1 go away
friend.example.com  DUNNO
example.com    REJECT
example.org    permit
";

#[test]
fn each_list_takes_its_part_of_an_access_table() {
    let xml = "<wbl>
        <white><client file='access' format='hash'/></white>
        <black><client file='access' format='hash'/></black></wbl>";
    let (_directory, _, engine) = build_in(&[("access", ACCESS)], xml);
    assert_eq!(engine.warnings(), []);
    for (attribute, value, status) in [
        ("client_address", "192.0.2.1", "white"),
        ("client_address", "192.0.2.2", "black"),
        ("client_address", "198.51.100.9", "none"),
        ("client_address", "198.51.100.8", "black"),
        ("client_name", "friend.example.com", "none"),
        ("client_name", "a.friend.example.com", "none"),
        ("client_name", "foe.example.com", "black"),
        ("client_name", "example.org", "white"),
    ] {
        assert_eq!(ask(&engine, [(attribute, value)]).status, status, "{value}");
    }
}

#[test]
fn what_a_file_leaves_out_is_left_out_of_this_file_only() {
    let xml = "<wbl><black>
        <client_name>friend.example.com</client_name>
        <client file='access' format='hash'>192.0.2.1</client></black></wbl>";
    let (_directory, _, engine) = build_in(&[("access", ACCESS)], xml);
    assert_eq!(ask(&engine, [("client_name", "friend.example.com")]).status, "black");
    assert_eq!(ask(&engine, [("client_address", "192.0.2.1")]).status, "black");
    assert_eq!(ask(&engine, [("client_address", "198.51.100.9")]).status, "none");
}

#[test]
fn of_a_table_of_networks_the_first_that_matches_counts() {
    let networks = "192.0.2.0/28 DUNNO\n!192.0.2.0/24 OK\n192.0.2.0/25 REJECT\n192.0.2.1 OK\n";
    let xml = "<wbl>
        <white><client_address file='networks' format='cidr'/></white>
        <black><client_address file='networks' format='cidr'/></black></wbl>";
    let (_directory, _, engine) = build_in(&[("networks", networks)], xml);
    for (address, status) in [
        ("192.0.2.1", "none"),
        ("192.0.2.16", "black"),
        ("192.0.2.200", "none"),
        ("203.0.113.1", "white"),
        ("::1", "none"),
    ] {
        assert_eq!(ask(&engine, [("client_address", address)]).status, status, "{address}");
    }
}

#[test]
fn results_that_put_an_entry_on_no_list_are_warned_of() {
    let access = "a.example PREPEND X-A: b\nb.example OK\nB.example REJECT\nb.example OK\n";
    let (directory, configured, engine) = build_in(
        &[("access", access)],
        "<wbl><white><client_name file='access' format='hash'/></white></wbl>",
    );
    let path = directory.path().join("access").display().to_string();
    let expected = [
        "1: the result of \"a.example\" says neither that it is welcome nor not",
        "3: \"B.example\" stands before, where it says something else",
    ];
    let expected = expected.map(|text| (format!("{path}:{text}"), "access"));
    assert_eq!(configured.show(engine.warnings().to_vec()), expected);
    assert!(engine.warnings().iter().all(|warning| warning.severity == Severity::Warning));
    assert_eq!(ask(&engine, [("client_name", "a.example")]).status, "none");
    assert_eq!(ask(&engine, [("client_name", "b.example")]).status, "white");
}

#[test]
fn a_file_that_has_nothing_for_a_list_is_warned_of() {
    let (_directory, configured, engine) = build_in(
        &[("access", "a.example OK\n")],
        "<wbl><black><client_name file='access' format='hash'/></black></wbl>",
    );
    let message = "nothing in this file is for the black list".to_owned();
    assert_eq!(configured.show(engine.warnings().to_vec()), [(message, "hash")]);
}

#[test]
fn a_format_that_a_list_does_not_have_is_refused() {
    let configured = Configured::xml(
        "<wbl><black><pair file='pairs' format='hash'/><sender format='hash'>a@b</sender>
            <helo_name file='x' format='cidr'/></black></wbl>",
    );
    let expected = [
        ("there is no file of this format", "hash"),
        ("a list of this kind has no file of the format hash", "hash"),
        ("a list of this kind has no file of the format cidr", "cidr"),
    ];
    let mut expected = expected.map(|(message, text)| (message.to_owned(), text));
    let mut faults = configured.faults(kind::<Wbl>());
    faults.sort_unstable();
    expected.sort_unstable();
    assert_eq!(faults, expected);
}

#[test]
fn faults_of_other_formats_name_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("hash"), "a@example.org\n  \n*.example OK\n").unwrap();
    fs::write(directory.path().join("cidr"), "192.0.2.1/24 OK\nif ::/0\n").unwrap();
    fs::write(directory.path().join("postgrey"), "/(/\nexample.org\na b\n").unwrap();
    let xml = "<wbl><black><sender file='hash' format='hash'/>
        <client file='cidr' format='cidr'/><client file='postgrey' format='postgrey'/></black></wbl>";
    let configured = Configured::xml_in(directory.path(), xml);
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut expected = [
        (format!("{}:1: \"a@example.org\" has no result", path("hash")), "hash"),
        (format!("{}:3: \"*.example\" is not a name", path("hash")), "hash"),
        (format!("{}:1: \"192.0.2.1/24\" has bits set behind its prefix", path("cidr")), "cidr"),
        (format!("{}:2: this IF has no ENDIF", path("cidr")), "cidr"),
        (format!("{}:1: can't read \"(\": unclosed group", path("postgrey")), "postgrey"),
        (format!("{}:3: \"a b\" is not a name", path("postgrey")), "postgrey"),
    ];
    let mut faults = configured.faults(kind::<Wbl>());
    faults.sort_unstable();
    expected.sort_unstable();
    assert_eq!(faults, expected);
}

#[test]
fn a_statement_that_changes_something_is_refused() {
    let configured = Configured::xml(
        "<wbl><black><sql><connection/><statement>DELETE FROM x WHERE a = $ip</statement></sql>
        </black></wbl>",
    );
    let faults = configured.faults(kind::<Wbl>());
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].0, "this statement does more than to read");
}
