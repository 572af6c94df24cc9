//! The engine over databases that the test writes.

use std::path::Path;

use mppd_engine::testkit::{Configured, Ready, exchange, value};
use mppd_engine::{Outcome, kind};
use proptest::prelude::*;
use tempfile::TempDir;

use super::Country;
use crate::testkit::{Mmdb, Value};

const COUNTRIES: &str = "192.0.2.0/24 country=DE continent=EU registered_country=FR
    198.51.100.0/24 continent=AS
    2001:db8::/32 country=JP continent=AS";
const SYSTEMS: &str = "192.0.2.0/24 asn=64496 organization=Example, Ltd
    203.0.113.0/24 asn=64497";

fn files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, lines) in [("country.mmdb", COUNTRIES), ("asn.mmdb", SYSTEMS)] {
        std::fs::write(directory.path().join(name), Mmdb::read(lines).octets()).unwrap();
    }
    directory
}

const BOTH: &str = r#"<database file="country.mmdb"/><database file="asn.mmdb"/>"#;

fn build(directory: &Path, options: &str) -> Ready {
    let xml = format!("<country>{options}</country>");
    Configured::xml_in(directory, &xml).build(kind::<Country>()).unwrap()
}

fn looked_up(options: &str, client: &str) -> Outcome {
    let files = files();
    let engine = build(files.path(), &format!("{BOTH}{options}"));
    engine.run(&exchange([("client_address", client)])).unwrap()
}

fn faults(directory: &Path, options: &str) -> Vec<(String, String)> {
    let xml = format!("<country>{options}</country>");
    let configured = Configured::xml_in(directory, &xml);
    let faults = configured.faults(kind::<Country>()).into_iter();
    faults.map(|(message, place)| (message, place.to_owned())).collect()
}

#[test]
fn what_all_databases_know_becomes_values() {
    let outcome = looked_up("", "192.0.2.1");
    assert_eq!(outcome.status, "other");
    assert_eq!(outcome.text, "192.0.2.1 is in DE, AS64496 (Example, Ltd)");
    for (name, expected) in [
        ("country", "DE"),
        ("continent", "EU"),
        ("registered_country", "FR"),
        ("asn", "64496"),
        ("organization", "Example, Ltd"),
        ("entry", ""),
    ] {
        assert_eq!(value(&outcome, name), expected, "{name}");
    }
}

#[test]
fn what_is_on_a_list_is_listed_by_its_narrowest_entry() {
    for (options, entry) in [
        ("<countries>fr DE</countries>", "DE"),
        ("<continents>EU</continents>", "EU"),
        ("<continents>EU</continents><countries>DE</countries>", "DE"),
        ("<as_numbers>1 AS64496</as_numbers><countries>DE</countries>", "AS64496"),
        ("<as_numbers>64496</as_numbers>", "AS64496"),
    ] {
        let outcome = looked_up(options, "192.0.2.1");
        assert_eq!((outcome.status, value(&outcome, "entry").as_str()), ("listed", entry));
    }
}

#[test]
fn the_country_of_registration_is_on_no_list() {
    assert_eq!(looked_up("<countries>FR</countries>", "192.0.2.1").status, "other");
}

#[test]
fn a_code_of_a_country_is_none_of_a_continent() {
    // AS is American Samoa, or Asia.
    assert_eq!(looked_up("<countries>AS</countries>", "198.51.100.1").status, "other");
    assert_eq!(looked_up("<continents>AS</continents>", "198.51.100.1").status, "listed");
}

#[test]
fn an_address_that_no_database_has_is_unknown() {
    for client in ["10.0.0.1", "2001:db9::1", "unknown", ""] {
        assert_eq!(looked_up("", client).status, "unknown", "{client}");
    }
}

#[test]
fn ipv6_and_mapped_addresses_are_known() {
    assert_eq!(value(&looked_up("", "2001:db8::7"), "country"), "JP");
    assert_eq!(value(&looked_up("", "::ffff:192.0.2.1"), "country"), "DE");
}

#[test]
fn a_system_without_a_country_is_known() {
    let outcome = looked_up("", "203.0.113.9");
    assert_eq!((outcome.status, &*outcome.text), ("other", "203.0.113.9 is in AS64497"));
}

#[test]
fn the_form_of_ipinfo_is_understood() {
    let record: [(&str, Value); 5] = [
        ("country", "Germany".into()),
        ("country_code", "DE".into()),
        ("continent_code", "EU".into()),
        ("asn", "AS64496".into()),
        ("as_name", "Example".into()),
    ];
    let files = tempfile::tempdir().unwrap();
    let octets = Mmdb::default().record("192.0.2.0/24", record).octets();
    std::fs::write(files.path().join("lite.mmdb"), octets).unwrap();
    let engine = build(files.path(), r#"<database file="lite.mmdb"/>"#);
    let outcome = engine.run(&exchange([("client_address", "192.0.2.1")])).unwrap();
    assert_eq!(outcome.text, "192.0.2.1 is in DE, AS64496 (Example)");
    assert_eq!(value(&outcome, "continent"), "EU");
}

#[test]
fn what_is_no_code_is_refused_where_it_stands() {
    let files = files();
    let options = format!(
        "{BOTH}<countries>UK DE xx</countries><continents>DE</continents>\
         <as_numbers>AS64496 ASX</as_numbers>"
    );
    let expected = [
        ("\"UK\" is not the code of a country", "UK"),
        ("\"xx\" is not the code of a country", "xx"),
        ("\"DE\" is not the code of a continent", "DE"),
        ("\"ASX\" is not an autonomous system", "ASX"),
    ];
    let expected = expected.map(|(message, place)| (message.to_owned(), place.to_owned()));
    assert_eq!(faults(files.path(), &options), expected);
}

#[test]
fn a_file_that_is_of_no_use_is_refused_where_it_is_named() {
    let files = files();
    let path = files.path().join("x.mmdb");
    let options = r#"<database file="x.mmdb"/>"#;
    let places = Mmdb::default().record("192.0.2.0/24", [("isp", Value::from("Example"))]);
    for (octets, message) in [
        (b"PK\x03\x04".to_vec(), "is no database in the format of MaxMind: "),
        (places.octets(), "knows neither countries nor autonomous systems: \"Test\""),
        (Mmdb::default().octets(), "knows neither countries nor autonomous systems: \"Test\""),
    ] {
        std::fs::write(&path, octets).unwrap();
        let faults = faults(files.path(), options);
        let expected = format!("{} {message}", path.display());
        assert!(faults[0].0.starts_with(&expected), "{faults:?}");
        assert_eq!((faults.len(), faults[0].1.as_str()), (1, "x.mmdb"));
    }
}

#[test]
fn a_file_that_is_not_there_is_a_fault() {
    let faults = faults(Path::new("/nonexistent"), r#"<database file="x.mmdb"/>"#);
    assert!(faults[0].0.starts_with("can't read /nonexistent/x.mmdb: "), "{faults:?}");
}

proptest! {
    #[test]
    fn a_damaged_database_is_a_fault_or_fails_or_answers_but_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        client: [u8; 4],
    ) {
        let mut octets = Mmdb::read(COUNTRIES).octets();
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("x.mmdb"), octets).unwrap();
        let xml = r#"<country><database file="x.mmdb"/></country>"#;
        if let Ok(engine) = Configured::xml_in(files.path(), xml).build(kind::<Country>()) {
            let client = std::net::Ipv4Addr::from(client).to_string();
            for client in ["192.0.2.1", "2001:db8::1", client.as_str()] {
                drop(engine.run(&exchange([("client_address", client)])));
            }
        }
    }
}
