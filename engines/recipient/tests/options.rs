//! What is found wrong with the options, or warned of.

use super::*;

fn fault(options: &str, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(message, place)| ((*message).to_owned(), (*place).to_owned()))
        .collect();
    assert_eq!(faults(options), expected, "{options}");
}

#[test]
fn what_can_not_work_is_told_all_at_once_where_it_stands() {
    fault(
        r#"<domain name="example.org exa@mple ."><list>alice@</list></domain>
           <domain name="EXAMPLE.org"/>
           <recipient_delimiter>@</recipient_delimiter>
           <guessing after="0" ipv4_prefix="33" never="192.0.2.1/x"/>"#,
        &[
            ("\"exa@mple\" is not the name of a domain", "exa@mple"),
            ("\".\" is not the name of a domain", "."),
            ("the domain EXAMPLE.org is given twice", "EXAMPLE.org"),
            ("<domain> needs a <list>, <sql>, <ldap> or <callout>", "domain"),
            ("no extension begins with \"@\"", "@"),
            ("\"after\" is between 1 and 200", "0"),
            ("a prefix is between 1 and 32", "33"),
            ("\"192.0.2.1/x\" is neither an address nor a network", "192.0.2.1/x"),
        ],
    );
}

#[test]
fn a_server_to_ask_has_a_name_or_an_address() {
    let with = |options: &str| format!(r#"<domain name="*"><callout {options}/></domain>"#);
    fault(
        &with(r#"host="mail server""#),
        &[("\"mail server\" is neither a name nor an address", "mail server")],
    );
    fault(&with(r#"host="::1" helo="no name""#), &[("\"no name\" is not a name", "no name")]);
    fault(&with(r#"host="[::1]""#), &[("\"[::1]\" is neither a name nor an address", "[::1]")]);
}

#[test]
fn a_statement_only_reads() {
    let sql = r#"<domain name="*"><sql>
        <connection><host>h</host><user>u</user><database>d</database></connection>
        <statement>DELETE FROM t WHERE a = $recipient</statement>
      </sql></domain>"#;
    fault(sql, &[("this statement does more than to read", "DELETE FROM t WHERE a = $recipient")]);
}

#[test]
fn an_address_of_another_domain_is_warned_of() {
    let options = r#"<domain name="example.org .example.net">
        <list>a@example.org b@example.net c@mail.example.net d@</list>
      </domain>"#;
    let store = Arc::new(StateStore::in_memory());
    let configured = configured(options, &store);
    let engine = configured.build(kind::<Recipient>()).unwrap();
    let warnings = configured.show(engine.warnings().to_vec());
    let message = "\"b@example.net\" is of none of these domains, so never found".to_owned();
    assert_eq!(warnings, [(message, "b@example.net")]);
}

#[test]
fn a_store_is_wanted_only_where_something_is_kept() {
    // Without a store it can be built, and so needs none.
    let xml = format!("<recipient>{LISTED}</recipient>");
    assert!(Configured::xml(&xml).build(kind::<Recipient>()).is_ok());
    let xml = format!("<recipient>{}</recipient>", watched(""));
    let configured = Configured::xml_in(FilePath::new("/"), &xml);
    let faults = configured.faults(kind::<Recipient>());
    assert_eq!(faults[0].0, "this server gives its engines no state store");
}
