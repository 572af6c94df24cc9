//! Filters and names with values in them, whatever octets a peer chose, and what is refused.

use std::sync::Arc;

use ldap3::asn1::{Tag, TagClass};
use ldap3::parse_filter;
use mppd_engine::kind;
use mppd_engine::testkit::{Configured, Ready, exchange};
use proptest::prelude::*;

use super::*;

const REST: &str = "<base>dc=example,dc=org</base><filter>(mail=$recipient)</filter>";

fn build(options: &str) -> Ready {
    Configured::xml(&format!("<ldap>{options}</ldap>")).build(kind::<Ldap>()).unwrap()
}

/// What is wrong with an element, each message with what it points at.
fn faults(options: &str) -> Vec<(String, String)> {
    let configured = Configured::xml(&format!("<ldap>{options}</ldap>"));
    let faults = configured.faults(kind::<Ldap>());
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

fn fault(options: &str, message: &str, place: &str) {
    assert_eq!(faults(options), [(message.to_owned(), place.to_owned())], "{options}");
}

/// The exchange of a request in which `${globals_get v}` has this value.
fn with_value(value: &[u8]) -> Arc<Exchange> {
    let exchange = exchange([("protocol_state", "RCPT")]);
    exchange.with_globals(|globals| globals.insert(b"v".to_vec(), value.to_vec()));
    exchange
}

fn compiled<T>(
    text: &str,
    compile: impl FnOnce(&Spanned<String>, &mut BuildContext<'_>) -> Result<T, Vec<Finding>>,
) -> T {
    let mut sources = mppd_engine::config::SourceMap::default();
    let origin = mppd_engine::config::Origin::Embedded("test");
    let source = sources.add(mppd_engine::config::Source { origin, text: text.to_owned() });
    let span = mppd_engine::Span { source, start: 0, end: text.len() };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut cx = BuildContext::new(&sources, logger);
    compile(&Spanned { value: text.to_owned(), span }, &mut cx).unwrap()
}

/// The filter for a value of `$v`.
fn filter_of(text: &str, value: &[u8]) -> String {
    let filter = compiled(&text.replace("$v", "${globals_get v}"), Filter::compile);
    filter.of(&View::of(&with_value(value)))
}

fn name_of(text: &str, value: &[u8]) -> String {
    let name = compiled(&text.replace("$v", "${globals_get v}"), Name::compile);
    name.of(&View::of(&with_value(value)))
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    const ATOMS: &[&[u8]] = &[
        b"*",
        b"(",
        b")",
        b")(uid=*",
        b"*)(|(uid=*",
        b"\\",
        b"\\2a",
        b"\\2",
        b"\0",
        b"\n",
        b"&",
        b"|",
        b"!",
        b"=",
        b"~=",
        b">=",
        b":",
        b":dn:=",
        b",",
        b",dc=evil",
        b"+",
        b"\"",
        b"#",
        b";",
        b"<",
        b">",
        b" ",
        b"  ",
        "ä".as_bytes(),
        b"\xff",
        b"a@b",
    ];
    let atoms = prop::collection::vec(prop::sample::select(ATOMS), 0..6);
    prop_oneof![
        atoms.prop_map(|atoms| atoms.concat()),
        prop::collection::vec(any::<u8>(), 0..40),
        prop::sample::select(ATOMS).prop_map(|atom| atom.repeat(2048 / atom.len())),
    ]
}

/// A comparison in a filter: what kind, of which attribute, with what.
fn comparison(tag: &Tag) -> (u64, Vec<u8>, Vec<u8>) {
    let Tag::Sequence(comparison) = tag else { panic!("{tag:?}") };
    assert_eq!(comparison.class, TagClass::Context);
    let [Tag::OctetString(attribute), Tag::OctetString(value)] = &comparison.inner[..] else {
        panic!("{tag:?}")
    };
    (comparison.id, attribute.inner.clone(), value.inner.clone())
}

proptest! {
    #[test]
    fn a_value_in_a_filter_is_compared_octet_for_octet(value in hostile()) {
        let filter = parse_filter(filter_of("(&(mail=$v)(size>=$v)(!(cn~=$v)))", &value)).unwrap();
        let Tag::Sequence(and) = filter else { panic!("{filter:?}") };
        prop_assert_eq!((and.class, and.id, and.inner.len()), (TagClass::Context, 0, 3));
        prop_assert_eq!(comparison(&and.inner[0]), (3, b"mail".to_vec(), value.clone()));
        prop_assert_eq!(comparison(&and.inner[1]), (5, b"size".to_vec(), value.clone()));
        let Tag::ExplicitTag(not) = &and.inner[2] else { panic!("{and:?}") };
        prop_assert_eq!(comparison(&not.inner), (8, b"cn".to_vec(), value));
    }

    #[test]
    fn a_value_between_wildcards_is_looked_for_octet_for_octet(value in hostile()) {
        prop_assume!(!value.is_empty());
        let filter = parse_filter(filter_of("(cn=a*$v*)", &value)).unwrap();
        let Tag::Sequence(substrings) = &filter else { panic!("{filter:?}") };
        let Tag::Sequence(parts) = &substrings.inner[1] else { panic!("{filter:?}") };
        let [Tag::OctetString(first), Tag::OctetString(any)] = &parts.inner[..] else {
            panic!("{filter:?}")
        };
        prop_assert_eq!((&first.inner, &any.inner), (&b"a".to_vec(), &value));
    }

    #[test]
    fn a_value_in_a_name_is_one_value(value in hostile()) {
        let name = name_of("uid=$v,dc=example", &value);
        let encoded = name.strip_prefix("uid=").and_then(|rest| rest.strip_suffix(",dc=example"));
        let (mut octets, mut rest) = (Vec::new(), encoded.unwrap().as_bytes());
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            match first {
                b'\\' => {
                    let digits = std::str::from_utf8(&behind[..2]).unwrap();
                    octets.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &behind[2..];
                }
                first => {
                    prop_assert!(first.is_ascii_alphanumeric() || b"-._@".contains(first));
                    octets.push(*first);
                }
            }
        }
        prop_assert_eq!(octets, value);
    }
}

#[test]
fn a_filter_may_be_indented() {
    let filter = filter_of("\n (&\n   (cn=a b)\n   (mail=$v)\n )\n", b"x");
    assert_eq!(filter, "(&(cn=a b)(mail=x))");
}

#[test]
fn a_macro_that_stands_for_no_value_is_refused() {
    for filter in ["($helo=x)", "(:$helo:=x)", "(&amp;(a=$sender)($helo=x))"] {
        let options = format!("<url>ldap://h</url><base>dc=x</base><filter>{filter}</filter>");
        let place = if filter.contains('&') { filter } else { "$helo" };
        fault(&options, "${helo} stands for no value in the filter", place);
    }
}

#[test]
fn what_is_no_filter_is_refused() {
    for filter in ["(mail=x", "mail", "(mail=(x))", "(mail=\\2)", "(mail$helo)", "(a=b)$helo"] {
        let options = format!("<url>ldap://h</url><base>dc=x</base><filter>{filter}</filter>");
        fault(&options, "this is not a filter of LDAP (RFC 4515)", filter);
    }
}

#[test]
fn a_macro_that_is_no_value_in_a_name_is_refused() {
    let message = "a macro in the name of an entry stands for the value of an attribute, behind \
                   \"=\"";
    for base in ["$helo", "$helo=x", "dc=x,$helo", "dc=#$helo", "dc=\"$helo\"", "dc=x\\$helo"] {
        let options = format!("<url>ldap://h</url><base>{base}</base><filter>(a=b)</filter>");
        fault(&options, message, "$helo");
    }
}

#[test]
fn what_is_no_server_is_refused() {
    for (url, message) in [
        ("http://host", "\"http\" is not a scheme of LDAP"),
        ("ldap:host", "the URL has no host"),
        ("host", "this is not a URL: relative URL without a base"),
        ("ldap://host/dc=x", "the URL of a server ends behind its port"),
        ("ldap://me@host", "the URL of a server has no user in it"),
        ("ldap://me:word@host", "the URL of a server has no user in it"),
    ] {
        fault(&format!("<url>{url}</url>{REST}"), message, url);
    }
    let encrypted = format!("<url>ldaps://host</url><start_tls>true</start_tls>{REST}");
    fault(&encrypted, "start_tls is for ldap://, not for ldaps://", "ldaps://host");
}

#[test]
fn a_bind_has_name_and_password() {
    let name = format!("<url>ldap://h</url><bind_dn>cn=a</bind_dn>{REST}");
    fault(&name, "a bind needs a password as well", "cn=a");
    let password = format!("<url>ldap://h</url><password>x</password>{REST}");
    fault(&password, "a password without a bind_dn", "x");
}

#[test]
fn a_password_on_an_open_wire_is_warned_of() {
    let bind = "<bind_dn>cn=a</bind_dn><password>x</password>";
    for (options, warnings) in [
        ("<url>ldap://ldap.example.org</url>", 1),
        ("<url>ldap://ldap.example.org</url><start_tls>true</start_tls>", 0),
        ("<url>ldaps://ldap.example.org</url>", 0),
        ("<url>ldap://127.0.0.1</url><url>ldap://[::1]</url><url>ldap://localhost</url>", 0),
        ("<url>ldapi://%2Frun%2Fldapi</url>", 0),
    ] {
        let engine = build(&format!("{options}{bind}{REST}"));
        let said = engine.warnings().iter().filter(|warning| warning.message.contains("password"));
        assert_eq!(said.count(), warnings, "{options}");
    }
}

#[test]
fn values_have_names_and_attributes() {
    let values = r#"<value id="dn" attribute="mail"/><value id="a" attribute="x=y"/>
        <value id="b" attribute="mail" separator="$helo"/><value id="b" attribute="cn"/>"#;
    let faults = faults(&format!("<url>ldap://h</url>{REST}{values}"));
    let messages: Vec<&str> = faults.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "\"dn\" means something else already",
            "\"x=y\" is not the name of an attribute",
            "a separator is the same for every request",
            "there is a value \"b\" already",
        ]
    );
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    drop(listener);
    let engine = build(&format!("<url>{url}</url>{REST}"));
    let failure = engine.outcome(None, &with_value(b"")).await.unwrap_err().whole();
    let expected = format!("can't search the directory: can't connect to {url}: ");
    assert!(failure.starts_with(&expected), "{failure}");
}

#[tokio::test]
async fn a_scheme_in_capitals_is_encrypted_as_well() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("LDAP://{}", listener.local_addr().unwrap());
    let bind = "<bind_dn>cn=a</bind_dn><password>hush</password>";
    let limits = r#"<limits connect="1s"/>"#;
    let engine = build(&format!("<url>{url}</url><start_tls>true</start_tls>{bind}{limits}{REST}"));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 100];
        let count = tokio::io::AsyncReadExt::read(&mut stream, &mut asked).await.unwrap();
        asked.truncate(count);
        asked
    };
    let exchange = with_value(b"");
    let (asked, outcome) = tokio::join!(server, engine.outcome(None, &exchange));
    let start_tls = b"1.3.6.1.4.1.1466.20037";
    let asks = asked.windows(start_tls.len()).any(|octets| octets == start_tls);
    assert!(asks && outcome.is_err(), "{}", String::from_utf8_lossy(&asked));
}

#[tokio::test]
async fn a_directory_that_says_nothing_is_a_failure() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let engine = build(&format!(r#"<url>{url}</url><limits search="50ms"/>{REST}"#));
    let failure = engine.outcome(None, &with_value(b"")).await.unwrap_err().whole();
    assert_eq!(failure, "can't search the directory: no answer within 50ms");
}
