//! What is found wrong with lists and their files, or warned of.

use super::*;

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
