//! The engine against a model that compares every entry with every value, in the plainest way.

use std::fmt::Write as _;

use ipnet::IpNet;
use mppd_engine::kind;
use mppd_engine::testkit::{Configured, exchange};
use proptest::prelude::*;
use proptest::sample::select;

use super::Wbl;

const ATTRIBUTES: [&str; 5] = ["client_address", "client_name", "helo_name", "sender", "recipient"];

/// An attribute's name with an entry for it, or with a value of it.
type Pair = (&'static str, String);

/// Lower case, one form for international names, no dot at the end.
fn plain_name(name: &str) -> String {
    let name = name.to_lowercase().replace("bücher", "xn--bcher-kva");
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}

fn name_is_listed(entry: &str, name: &str) -> bool {
    let (entry, name) = (plain_name(entry), plain_name(name));
    match entry.strip_prefix('.') {
        Some(parent) => name.ends_with(&format!(".{parent}")),
        None => name == entry || name.ends_with(&format!(".{entry}")),
    }
}

fn mailbox_is_listed(entry: &str, mailbox: &str) -> bool {
    let (local, domain) = match mailbox.rsplit_once('@') {
        Some((local, domain)) => (local.to_lowercase(), Some(plain_name(domain))),
        None => (mailbox.to_lowercase(), None),
    };
    match entry.rsplit_once('@') {
        _ if entry == "<>" => mailbox.is_empty(),
        _ if mailbox.is_empty() => false,
        None => domain.is_some_and(|domain| name_is_listed(entry, &domain)),
        Some(("", only)) => domain == Some(plain_name(only)),
        Some((user, "")) => local == user.to_lowercase(),
        Some((user, at)) => local == user.to_lowercase() && domain == Some(plain_name(at)),
    }
}

fn is_listed((list, entry): &Pair, (attribute, value): &Pair) -> bool {
    if list != attribute {
        return false;
    }
    match *attribute {
        "client_address" => {
            let network: IpNet = entry
                .parse()
                .unwrap_or_else(|_| IpNet::from(entry.parse::<std::net::IpAddr>().unwrap()));
            value.parse().is_ok_and(|address: std::net::IpAddr| network.contains(&address))
        }
        "client_name" if value == "unknown" || value.is_empty() => false,
        "helo_name" if value.is_empty() => false,
        "client_name" | "helo_name" => name_is_listed(entry, value),
        _ => mailbox_is_listed(entry, value),
    }
}

fn any_address() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..4u8, 0..4u8).prop_map(|(net, host)| format!("192.0.{net}.{}", host * 64)),
        (0..4u8, 0..4u8).prop_map(|(net, host)| format!("2001:db8:{net}::{host}")),
    ]
}

fn any_network() -> impl Strategy<Value = String> {
    let network = |address: std::net::IpAddr, length: u8| {
        let length = length.min(if address.is_ipv4() { 32 } else { 128 });
        IpNet::new(address, length).unwrap().trunc().to_string()
    };
    let length = prop_oneof![0..=32u8, 40..=48u8, 120..=128u8];
    prop_oneof![
        any_address(),
        (any_address(), length)
            .prop_map(move |(address, length)| network(address.parse().unwrap(), length)),
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    let label = select(vec!["a", "B", "bücher", "BÜCHER", "xn--bcher-kva", "Example", "unknown"]);
    let labels = prop::collection::vec(label, 1..4);
    (labels, select(vec!["", "."])).prop_map(|(labels, dot)| labels.join(".") + dot)
}

fn any_local() -> impl Strategy<Value = String> {
    select(vec!["x", "Y", "y", "x@y"]).prop_map(str::to_owned)
}

fn any_mailbox() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        any_local(),
        (any_local(), any_name()).prop_map(|(local, domain)| format!("{local}@{domain}")),
    ]
}

fn any_mailbox_entry() -> impl Strategy<Value = String> {
    prop_oneof![
        any_name(),
        any_name().prop_map(|domain| format!(".{domain}")),
        any_name().prop_map(|domain| format!("@{domain}")),
        any_local().prop_map(|local| format!("{local}@")),
        (any_local(), any_name()).prop_map(|(local, domain)| format!("{local}@{domain}")),
    ]
}

fn any_entry() -> impl Strategy<Value = Pair> {
    let name = || prop_oneof![any_name(), any_name().prop_map(|name| format!(".{name}"))];
    prop_oneof![
        any_network().prop_map(|entry| ("client_address", entry)),
        name()
            .prop_filter("refused as an entry", |name| name != "unknown")
            .prop_map(|entry| ("client_name", entry)),
        name().prop_map(|entry| ("helo_name", entry)),
        prop_oneof![any_mailbox_entry(), Just("<>".to_owned())].prop_map(|entry| ("sender", entry)),
        any_mailbox_entry().prop_map(|entry| ("recipient", entry)),
    ]
}

fn any_request() -> impl Strategy<Value = Vec<Pair>> {
    let unknown = || Just("unknown".to_owned());
    let values = (
        prop_oneof![9 => any_address(), 1 => unknown()],
        prop_oneof![9 => any_name(), 1 => unknown()],
        prop_oneof![9 => any_name(), 1 => Just(String::new())],
        any_mailbox(),
        any_mailbox(),
    );
    values.prop_map(|(address, name, helo, sender, recipient)| {
        ATTRIBUTES.into_iter().zip([address, name, helo, sender, recipient]).collect()
    })
}

fn as_xml(white: &[Pair], black: &[Pair]) -> String {
    let mut xml = "<wbl>".to_owned();
    for (list, entries) in [("white", white), ("black", black)] {
        write!(xml, "<{list}>").unwrap();
        for (attribute, entry) in entries {
            let entry = entry.replace('<', "&lt;").replace('>', "&gt;");
            write!(xml, "<{attribute}>{entry}</{attribute}>").unwrap();
        }
        write!(xml, "</{list}>").unwrap();
    }
    xml + "</wbl>"
}

proptest! {
    #[test]
    fn the_engine_says_what_the_model_says(
        white in prop::collection::vec(any_entry(), 0..6),
        black in prop::collection::vec(any_entry(), 0..12),
        values in any_request(),
    ) {
        let on = |list: &[Pair]| {
            list.iter().any(|entry| values.iter().any(|value| is_listed(entry, value)))
        };
        let expected = match (on(&white), on(&black)) {
            (true, _) => "white",
            (false, true) => "black",
            (false, false) => "none",
        };
        let engine = Configured::xml(&as_xml(&white, &black)).build(kind::<Wbl>()).unwrap();
        let mut attributes = values.clone();
        attributes.push(("protocol_state", "RCPT".to_owned()));
        let outcome = engine.run(&exchange(attributes)).unwrap();
        prop_assert_eq!(outcome.status, expected);

        if expected != "none" {
            let text = |index: usize| {
                String::from_utf8(outcome.values[index].value.clone()).unwrap()
            };
            let list = ATTRIBUTES.into_iter().find(|name| *name == text(0)).unwrap();
            let reported = (list, text(1));
            prop_assert!(values.iter().any(|value| is_listed(&reported, value)), "{reported:?}");
        }
    }
}
