//! The engine against a model that compares every entry with every value, in the plainest way.

use std::fmt::Write as _;

use ipnet::IpNet;
use mppd_engine::kind;
use mppd_engine::testkit::{Configured, exchange};
use proptest::prelude::*;
use proptest::sample::select;

use super::Wbl;

/// The attributes, in the order of their values; and what is made of two of them.
const ATTRIBUTES: [&str; 8] = [
    "client_address",
    "client_name",
    "reverse_client_name",
    "helo_name",
    "sasl_username",
    "ccert_fingerprint",
    "sender",
    "recipient",
];
const PAIR: &str = "pair";

/// The elements, with the elements that a match of the first leaves no say.
const MATTERS: [(&str, &[&str]); 9] = [
    ("client_address", &[]),
    ("client_name", &[]),
    ("reverse_client_name", &[]),
    ("helo_name", &[]),
    ("sasl_username", &[]),
    ("ccert_fingerprint", &[]),
    (PAIR, &["sender", "recipient"]),
    ("sender", &[]),
    ("recipient", &[]),
];

/// An attribute's name with an entry for it, or with a value of it.
type Pair = (&'static str, String);

/// How specific an entry is: for an address what it names and the length of the name, for a pair
/// twice that.
type Rank = [usize; 6];

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

fn is_listed((list, entry): &Pair, values: &[Pair]) -> bool {
    let value = |attribute: &str| {
        let found = values.iter().find(|(name, _)| *name == attribute);
        found.map(|(_, value)| value.as_str()).unwrap()
    };
    match *list {
        "client_address" => {
            let address = value(list).parse();
            address.is_ok_and(|address: std::net::IpAddr| network(entry).contains(&address))
        }
        "client_name" | "reverse_client_name" if value(list) == "unknown" => false,
        "client_name" | "reverse_client_name" | "helo_name" => {
            !value(list).is_empty() && name_is_listed(entry, value(list))
        }
        "sasl_username" => entry == value(list),
        "ccert_fingerprint" => {
            let plain = |text: &str| text.replace(':', "").to_lowercase();
            plain(entry) == plain(value(list))
        }
        PAIR => {
            let (sender, recipient) = entry.split_once(' ').unwrap();
            mailbox_is_listed(sender, value("sender"))
                && mailbox_is_listed(recipient, value("recipient"))
        }
        _ => mailbox_is_listed(entry, value(list)),
    }
}

fn network(entry: &str) -> IpNet {
    entry.parse().unwrap_or_else(|_| IpNet::from(entry.parse::<std::net::IpAddr>().unwrap()))
}

fn name_rank(entry: &str) -> [usize; 3] {
    let name = entry.trim_start_matches(['.', '@']);
    [0, plain_name(name).len(), usize::from(name != entry)]
}

fn mailbox_rank(entry: &str) -> [usize; 3] {
    match entry.rsplit_once('@') {
        _ if entry == "<>" => [2, 0, 0],
        None | Some(("", _)) => name_rank(entry),
        Some((_, "")) => [1, 0, 0],
        Some(_) => [2, 0, 0],
    }
}

fn rank((list, entry): &Pair) -> Rank {
    let of = |[a, b, c]: [usize; 3], [d, e, f]: [usize; 3]| [a, b, c, d, e, f];
    match *list {
        "client_address" => of([usize::from(network(entry).prefix_len()), 0, 0], [0; 3]),
        "client_name" | "reverse_client_name" | "helo_name" => of(name_rank(entry), [0; 3]),
        "sasl_username" | "ccert_fingerprint" => [0; 6],
        PAIR => {
            let (sender, recipient) = entry.split_once(' ').unwrap();
            of(mailbox_rank(sender), mailbox_rank(recipient))
        }
        _ => of(mailbox_rank(entry), [0; 3]),
    }
}

/// What a file of senders says, for the list whose entries have this result.
fn rank_in_file(file: &[(String, &str)], result: &str, values: &[Pair]) -> Option<Rank> {
    let entries = file.iter().map(|(entry, result)| (("sender", entry.clone()), *result));
    let matching = entries.filter(|(entry, _)| is_listed(entry, values));
    // Of equal ones the last is the greatest, and the first is to count.
    let all: Vec<_> = matching.collect();
    let (entry, found) = all.iter().rev().max_by_key(|(entry, _)| rank(entry))?;
    (*found == result).then(|| rank(entry))
}

/// The rank of the most specific entry of a list for one of the elements.
fn best(
    matter: &str,
    list: &[Pair],
    (file, result): (&[(String, &str)], &str),
    values: &[Pair],
) -> Option<Rank> {
    let of_matter = list.iter().filter(|entry| entry.0 == matter && is_listed(entry, values));
    let in_file = (matter == "sender").then(|| rank_in_file(file, result, values)).flatten();
    of_matter.map(rank).chain(in_file).max()
}

fn expected(
    is_specific: bool,
    white: &[Pair],
    black: &[Pair],
    file: &[(String, &str)],
    values: &[Pair],
) -> &'static str {
    let mut verdicts = Vec::new();
    let mut silent: &[&str] = &[];
    for (matter, sides) in MATTERS {
        let ranks = [
            best(matter, white, (file, "OK"), values),
            best(matter, black, (file, "REJECT"), values),
        ];
        if is_specific && silent.contains(&matter) {
            continue;
        }
        if ranks != [None, None] {
            silent = if sides.is_empty() { silent } else { sides };
        }
        match ranks {
            [Some(white), Some(black)] if is_specific && black > white => verdicts.push("black"),
            [Some(_), _] => verdicts.push("white"),
            [None, Some(_)] => verdicts.push("black"),
            [None, None] => {}
        }
    }
    ["white", "black"].into_iter().find(|word| verdicts.contains(word)).unwrap_or("none")
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

fn any_login() -> impl Strategy<Value = String> {
    select(vec!["alice", "Alice", "bob"]).prop_map(str::to_owned)
}

fn any_fingerprint() -> impl Strategy<Value = String> {
    let colons = |digits: String, has_colons: bool| {
        let pairs: Vec<&str> =
            digits.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap()).collect();
        if has_colons { pairs.join(":") } else { pairs.concat() }
    };
    (select(vec!["aB", "Ab", "cd"]), any::<bool>())
        .prop_map(move |(two, has_colons)| colons(two.repeat(16), has_colons))
}

fn any_sender_entry() -> impl Strategy<Value = String> {
    prop_oneof![9 => any_mailbox_entry(), 1 => Just("<>".to_owned())]
}

fn any_entry() -> impl Strategy<Value = Pair> {
    let name = || prop_oneof![any_name(), any_name().prop_map(|name| format!(".{name}"))];
    let known = || name().prop_filter("refused as an entry", |name| name != "unknown");
    prop_oneof![
        any_network().prop_map(|entry| ("client_address", entry)),
        known().prop_map(|entry| ("client_name", entry)),
        known().prop_map(|entry| ("reverse_client_name", entry)),
        name().prop_map(|entry| ("helo_name", entry)),
        any_login().prop_map(|entry| ("sasl_username", entry)),
        any_fingerprint().prop_map(|entry| ("ccert_fingerprint", entry)),
        any_sender_entry().prop_map(|entry| ("sender", entry)),
        any_mailbox_entry().prop_map(|entry| ("recipient", entry)),
        (any_sender_entry(), any_mailbox_entry())
            .prop_map(|(sender, recipient)| (PAIR, format!("{sender} {recipient}"))),
    ]
}

fn any_request() -> impl Strategy<Value = Vec<Pair>> {
    let unknown = || Just("unknown".to_owned());
    let nothing = || Just(String::new());
    let values = (
        prop_oneof![9 => any_address(), 1 => unknown()],
        prop_oneof![9 => any_name(), 1 => unknown()],
        prop_oneof![9 => any_name(), 1 => unknown()],
        prop_oneof![9 => any_name(), 1 => nothing()],
        prop_oneof![1 => any_login(), 1 => nothing()],
        prop_oneof![1 => any_fingerprint(), 1 => nothing()],
        any_mailbox(),
        any_mailbox(),
    );
    values.prop_map(|(address, name, reverse, helo, login, fingerprint, sender, recipient)| {
        let values = [address, name, reverse, helo, login, fingerprint, sender, recipient];
        ATTRIBUTES.into_iter().zip(values).collect()
    })
}

fn any_file() -> impl Strategy<Value = Vec<(String, &'static str)>> {
    let result = select(vec!["OK", "REJECT", "DUNNO"]);
    prop::collection::vec((any_sender_entry(), result), 0..4)
}

fn as_xml(is_specific: bool, white: &[Pair], black: &[Pair]) -> String {
    let precedence = if is_specific { "specific" } else { "white" };
    let mut xml = format!("<wbl><precedence>{precedence}</precedence>");
    for (list, entries) in [("white", white), ("black", black)] {
        write!(xml, "<{list}><sender file='senders' format='hash'/>").unwrap();
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
        is_specific in any::<bool>(),
        white in prop::collection::vec(any_entry(), 0..8),
        black in prop::collection::vec(any_entry(), 0..12),
        file in any_file(),
        values in any_request(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut lines = String::new();
        for (key, result) in &file {
            writeln!(lines, "{key}  {result}").unwrap();
        }
        std::fs::write(directory.path().join("senders"), lines).unwrap();
        let xml = as_xml(is_specific, &white, &black);
        let engine = Configured::xml_in(directory.path(), &xml).build(kind::<Wbl>()).unwrap();
        let mut attributes = values.clone();
        attributes.push(("protocol_state", "RCPT".to_owned()));
        let outcome = engine.run(&exchange(attributes)).unwrap();
        let expected = expected(is_specific, &white, &black, &file, &values);
        prop_assert_eq!(outcome.status, expected);

        if expected != "none" {
            let text = |index: usize| {
                String::from_utf8(outcome.values[index].value.clone()).unwrap()
            };
            let (list, _) = MATTERS.into_iter().find(|(name, _)| *name == text(0)).unwrap();
            let reported = (list, text(1));
            prop_assert!(is_listed(&reported, &values), "{reported:?}");
        }
    }
}
