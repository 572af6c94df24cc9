//! Hostile values arrive as nothing but themselves, wherever their macro stands.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::service::Seen;
use super::*;

/// What ends, escapes or begins something in URIs, headers, forms or JSON.
const ATOMS: &[&[u8]] = &[
    b".",
    b"..",
    b"/",
    b"//evil.example/",
    b"?",
    b"&",
    b"=",
    b"#",
    b"%",
    b"%2e",
    b"%2F",
    b"%00",
    b"%0d%0a",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\nX-Evil: 1",
    b"\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
    b"\0",
    b"\t",
    b" ",
    b"\x0b",
    b"\x7f",
    b"\"",
    b"\\",
    b"\\\"",
    b"\\u0022",
    b"'",
    b"}",
    b"]",
    b"\",\"evil\":\"1",
    b"{",
    b"${lf}",
    b"$sender",
    b"@",
    b":",
    b";",
    b"+",
    b"<x>",
    b"]]>",
    "ä".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{10ffff}".as_bytes(),
    b"\xff",
    b"\xc0\xaf",
    b"\xe2\x80",
    b"a",
];

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let atoms = prop::collection::vec(prop::sample::select(ATOMS), 0..6);
    let long = prop::sample::select(ATOMS).prop_map(|atom| atom.repeat(2048 / atom.len()));
    prop_oneof![
        8 => atoms.prop_map(|atoms| atoms.concat()),
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => long,
    ]
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Asks with a value in the place of `${globals_get v}`.
async fn ask(engine: &Ready, value: &[u8]) -> Result<Outcome, Failure> {
    let exchange = rcpt();
    exchange.with_globals(|globals| globals.insert(b"v".to_vec(), value.to_vec()));
    engine.outcome(None, &exchange).await
}

fn decode(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let digits = std::str::from_utf8(&behind[..2]).unwrap();
            octets.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &behind[2..];
        } else {
            assert!(first.is_ascii_alphanumeric() || b"-._~".contains(first), "{text}");
            octets.push(*first);
        }
    }
    octets
}

fn header_names(seen: &Seen) -> BTreeSet<&str> {
    seen.headers.iter().map(|(name, _)| name.as_str()).collect()
}

/// Runs a property over hostile values against one service.
fn check(options: &str, property: impl Fn(&[u8], Result<Seen, String>)) {
    let runtime = runtime();
    let (service, engine) = runtime.block_on(async {
        let service = Service::start(vec![answer("")]).await;
        let options = options.replace("ORIGIN", &service.origin);
        let engine = engine(&service.origin, &options);
        (service, engine)
    });
    let service = RefCell::new(service);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(256));
    let run = runner.run(&hostile(), |value| {
        let asked = runtime.block_on(ask(&engine, &value));
        // What was answered has been seen.
        let seen = match asked {
            Ok(_) => Ok(service.borrow_mut().taken().unwrap()),
            Err(failure) => Err(failure.whole()),
        };
        property(&value, seen);
        assert!(service.borrow_mut().taken().is_none(), "a second request came of {value:?}");
        Ok(())
    });
    run.unwrap();
}

#[test]
fn a_value_in_the_uri_stays_in_its_place() {
    let uri = "<uri>ORIGIN/a/${globals_get v}/b?q=${globals_get v}&amp;last=1</uri>";
    check(uri, |value, seen| {
        let seen = match seen {
            Ok(seen) => seen,
            Err(failure) => {
                assert!(matches!(value, b"." | b".."), "{value:?}: {failure}");
                return;
            }
        };
        assert!(!matches!(value, b"." | b".."), "{}", seen.line);
        let parts: Vec<&str> = seen.line.split(' ').collect();
        let [method, target, version] = parts[..] else { panic!("{}", seen.line) };
        assert_eq!((method, version), ("GET", "HTTP/1.1"));
        let (path, query) = target.split_once('?').unwrap();
        let segments: Vec<&str> = path.split('/').collect();
        let ["", "a", segment, "b"] = segments[..] else { panic!("{path}") };
        assert_eq!(decode(segment), value);
        let parameter = query.strip_prefix("q=").and_then(|rest| rest.strip_suffix("&last=1"));
        assert_eq!(decode(parameter.unwrap()), value);
        assert_eq!(header_names(&seen), BTreeSet::from(["accept", "host", "user-agent"]));
    });
}

#[test]
fn a_value_in_a_header_stays_in_it() {
    check(r#"<header name="X-Value">a${globals_get v}z</header>"#, |value, seen| {
        let seen = seen.unwrap();
        let names = BTreeSet::from(["accept", "host", "user-agent", "x-value"]);
        assert_eq!(header_names(&seen), names);
        let blank = |octet: &u8| if octet.is_ascii_control() { b' ' } else { *octet };
        let mut expected: Vec<u8> = value.iter().map(blank).collect();
        expected.insert(0, b'a');
        expected.push(b'z');
        assert_eq!(seen.header("x-value"), expected);
        assert_eq!(seen.body, b"");
    });
}

#[test]
fn a_value_in_json_is_one_string() {
    let json = r#"<json><field name="v">${globals_get v}</field>
        <field name="n" type="number">${globals_get v}</field>
        <field name="last">1</field></json>"#;
    check(json, |value, seen| {
        let body: serde_json::Value = serde_json::from_slice(&seen.unwrap().body).unwrap();
        let text = String::from_utf8_lossy(value);
        let number = serde_json::from_str(text.trim()).ok().filter(serde_json::Value::is_number);
        assert_eq!(body, json!({"v": text, "n": number, "last": "1"}));
    });
}

#[test]
fn a_value_in_a_form_is_one_field() {
    let form =
        r#"<form><field name="v">${globals_get v}</field><field name="last">1</field></form>"#;
    check(form, |value, seen| {
        let body = String::from_utf8(seen.unwrap().body).unwrap();
        let field = body.strip_prefix("v=").and_then(|rest| rest.strip_suffix("&last=1"));
        assert_eq!(decode(field.unwrap()), value);
    });
}

#[test]
fn macros_are_refused_in_scheme_host_and_port() {
    let message = "scheme, host and port of a URI can't hold macros";
    for (uri, place) in [
        ("$helo://host/", "$helo"),
        ("$helo", "$helo"),
        ("http://$helo/", "$helo"),
        ("https://api.$helo/", "$helo"),
        ("https://host:$helo/", "$helo"),
        ("https://host${helo}/", "${helo}"),
    ] {
        fault(&format!("<uri>{uri}</uri>"), message, place);
    }
}

#[test]
fn what_looks_like_a_number_of_json_is_one() {
    for (text, expected) in [
        ("0", json!(0)),
        ("-12.5e3", serde_json::from_str("-12.5e3").unwrap()),
        ("", json!(null)),
        ("01", json!(null)),
        ("1 2", json!(null)),
        ("0x10", json!(null)),
        ("NaN", json!(null)),
        ("1]", json!(null)),
    ] {
        runtime().block_on(async {
            let mut service = Service::start(vec![answer("")]).await;
            let json = r#"<json type="array"><field type="number">${globals_get v}</field></json>"#;
            let engine = engine(&service.origin, json);
            ask(&engine, text.as_bytes()).await.unwrap();
            let body: serde_json::Value =
                serde_json::from_slice(&service.seen().await.body).unwrap();
            assert_eq!(body, json!([expected]), "{text}");
        });
    }
}
