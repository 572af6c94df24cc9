//! Lists in the formats of other programs.

use super::*;

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
