//! A real directory behind an `ldap` engine.

use std::fmt::Write as _;

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::mariadb::tls_file;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::slapd::{PASSWORD, READER, Slapd};

const PEOPLE: &str = "dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@example.com
mail: robert@example.com
description: 5

dn: uid=eve,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: eve
cn: Eve
sn: E
mail: eve@example.com
";

/// An engine that asks by the recipient's address, and tells what it found.
fn settings(url: &str, options: &str) -> Settings {
    Settings {
        checks: "people".into(),
        engines: format!(
            "<ldap id=\"people\">
               <url>{url}</url>
               <bind_dn>{READER}</bind_dn>
               <password>{PASSWORD}</password>
               <base>ou=people,dc=example,dc=org</base>
               <filter>(&amp;(objectClass=inetOrgPerson)(mail=$recipient))</filter>
               <value id=\"quota\" attribute=\"description\"/>
               <value id=\"first\" attribute=\"MAIL\"/>
               <value id=\"all\" attribute=\"mail\" separator=\"+\"/>
               <on_found>REJECT $dn $count ($quota) $first $all</on_found>
               <on_empty>REJECT nobody</on_empty>
               <on_exception>REJECT exception</on_exception>
               {options}
             </ldap>"
        ),
        ..Settings::default()
    }
}

fn ask(daemon: &Daemon, recipient: &[u8]) -> String {
    let request = PolicyRequest::new().set("recipient", recipient);
    daemon.connect().ask(&request.octets()).unwrap()
}

const BOB: &str = "REJECT uid=bob,ou=people,dc=example,dc=org 1 (5) bob@example.com \
                   bob@example.com+robert@example.com";

#[test]
fn what_is_found_becomes_values() {
    let slapd = Slapd::start(PEOPLE);
    let daemon = Daemon::start(settings(&slapd.url(), ""));
    assert_eq!(ask(&daemon, b"bob@example.com"), BOB);
    let eve = "REJECT uid=eve,ou=people,dc=example,dc=org 1 () eve@example.com eve@example.com";
    assert_eq!(ask(&daemon, b"eve@example.com"), eve);
    assert_eq!(ask(&daemon, b"nobody@example.com"), "REJECT nobody");
}

#[test]
fn every_way_to_the_server_is_taken() {
    let slapd = Slapd::start(PEOPLE);
    let authority = format!("<tls ca_file=\"{}\"/>", tls_file("ca.pem").display());
    let start_tls = format!("<start_tls>true</start_tls>{authority}");
    for (url, options) in [
        (slapd.tls_url(), authority.as_str()),
        (slapd.tls_url(), "<tls skip_verification=\"true\"/>"),
        (slapd.url(), start_tls.as_str()),
        (slapd.socket_url(), ""),
    ] {
        let daemon = Daemon::start(settings(&url, options));
        assert_eq!(ask(&daemon, b"bob@example.com"), BOB, "{url} {options}");
    }
}

#[test]
fn a_server_with_a_certificate_of_nobody_known_is_not_asked() {
    let slapd = Slapd::start(PEOPLE);
    let daemon = Daemon::start(settings(&slapd.tls_url(), ""));
    assert_eq!(ask(&daemon, b"bob@example.com"), "REJECT exception");
}

#[test]
fn a_wrong_password_is_an_exception_that_the_log_tells() {
    let slapd = Slapd::start(PEOPLE);
    let mut settings = settings(&slapd.url(), "");
    settings.engines = settings.engines.replace(PASSWORD, "wrong-secret");
    let daemon = Daemon::start(settings);
    assert_eq!(ask(&daemon, b"bob@example.com"), "REJECT exception");
    daemon.logged("that the bind was refused", |line| mentions(line, "refuses the bind"));
    assert!(!daemon.log().iter().any(|line| line.contains("wrong-secret")));
}

#[test]
fn a_connection_that_broke_is_made_again() {
    let mut slapd = Slapd::start(PEOPLE);
    let daemon = Daemon::start(settings(&slapd.url(), ""));
    assert_eq!(ask(&daemon, b"bob@example.com"), BOB);
    slapd = slapd.restart();
    for _ in 0..8 {
        assert_eq!(ask(&daemon, b"bob@example.com"), BOB);
    }
    drop(slapd);
}

#[test]
fn the_next_server_is_asked_where_one_is_away() {
    let slapd = Slapd::start(PEOPLE);
    let away = Slapd::start("").url();
    let daemon = Daemon::start(settings(&format!("{away}</url><url>{}", slapd.url()), ""));
    assert_eq!(ask(&daemon, b"bob@example.com"), BOB);
}

#[test]
fn a_base_with_macros_that_is_not_there_holds_nothing() {
    let slapd = Slapd::start(PEOPLE);
    let mut settings = settings(&slapd.url(), "<scope>base</scope>");
    let base = "<base>uid=$sasl_username,ou=people,dc=example,dc=org</base>";
    let engines = settings.engines;
    let engines = engines.replace("<base>ou=people,dc=example,dc=org</base>", base);
    settings.engines = engines.replace("(mail=$recipient)", "");
    let daemon = Daemon::start(settings);
    let ask = |user: &str| {
        let request = PolicyRequest::new().set("sasl_username", user);
        daemon.connect().ask(&request.octets()).unwrap()
    };
    assert_eq!(ask("bob"), BOB);
    assert_eq!(ask("nobody"), "REJECT nobody");
    assert_eq!(ask("bob,ou=people"), "REJECT nobody");
    assert_eq!(ask(""), "REJECT nobody");
}

#[test]
fn an_empty_value_between_wildcards_finds_nothing() {
    let slapd = Slapd::start(PEOPLE);
    let mut settings = settings(&slapd.url(), "");
    settings.engines = settings.engines.replace("(mail=$recipient)", "(cn=*${helo}*)");
    let daemon = Daemon::start(settings);
    let ask = |helo: &str| {
        let request = PolicyRequest::new().set("helo_name", helo);
        daemon.connect().ask(&request.octets()).unwrap()
    };
    assert_eq!(ask("ob"), BOB);
    assert_eq!(ask(""), "REJECT nobody");
    assert_eq!(ask("*"), "REJECT nobody");
}

/// Everything that means something in a filter or a name, and some octets that mean nothing.
const HOSTILE: &[&str] = &[
    "*",
    "**",
    "b*",
    "(",
    ")",
    "()",
    "*)(uid=*",
    "*)(|(uid=*)",
    "bob)(uid=bob",
    "\\",
    "\\2a",
    "\\5c",
    "\\zz",
    "&",
    "|",
    "!",
    "=",
    "x=y",
    ">=",
    "~=",
    ":dn:=",
    ",",
    "a,ou=people",
    "+",
    "\"",
    "#",
    "#04024869",
    ";",
    "<",
    ">",
    "'",
    "ä",
    "\u{1f4e8}",
    "a\tb",
    "$dn",
    "${dn}",
];

#[test]
fn a_hostile_value_finds_the_entry_that_holds_it_and_no_other() {
    let mut people = String::from(PEOPLE);
    for (number, value) in HOSTILE.iter().enumerate() {
        write!(
            people,
            "\ndn: uid=n{number},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\n\
             uid: n{number}\nsn: x\ncn: x\ndescription:: {}\n",
            base64(value.as_bytes())
        )
        .unwrap();
    }
    let slapd = Slapd::start(&people);
    let mut settings = settings(&slapd.url(), "<limits entries=\"100\"/>");
    settings.engines = settings
        .engines
        .replace("(mail=$recipient)", "(description=$helo)")
        .replace("REJECT $dn $count ($quota) $first $all", "REJECT $count $dn");
    let daemon = Daemon::start(settings);
    let mut client = daemon.connect();
    let mut find =
        |helo: &[u8]| client.ask(&PolicyRequest::new().set("helo_name", helo).octets()).unwrap();
    for (number, value) in HOSTILE.iter().enumerate() {
        let expected = format!("REJECT 1 uid=n{number},ou=people,dc=example,dc=org");
        assert_eq!(find(value.as_bytes()), expected, "{value:?}");
    }
    for octets in [&b"\xff"[..], b"\xc0\xaf", b"*\xff", &[b'('; 2000], &[b'*'; 2000]] {
        let found = find(octets);
        assert!(matches!(&*found, "REJECT nobody" | "REJECT exception"), "{octets:?}: {found}");
    }
}

fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let mut number = 0_usize;
        for index in 0..3 {
            number = number << 8 | usize::from(*group.get(index).unwrap_or(&0));
        }
        for index in 0..4 {
            let digit = char::from(DIGITS[number >> (18 - 6 * index) & 63]);
            text.push(if index <= group.len() { digit } else { '=' });
        }
    }
    text
}
