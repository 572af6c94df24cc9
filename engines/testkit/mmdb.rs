//! Writes a small database in the format of MaxMind (version 2.0): a binary tree of networks, the
//! records that its leaves point at, and what it says of itself.

use std::net::IpAddr;

use ipnet::IpNet;

/// Between the tree and the records.
const SEPARATOR: [u8; 16] = [0; 16];

/// Before what the file says of itself.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// IPv4 addresses stand in `::/96` of the tree.
const IPV4_DEPTH: u8 = 96;

/// A part of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// An unsigned number of 32 bits.
    Number(u32),
    /// One of 16 bits.
    Short(u16),
    /// One of 64 bits.
    Long(u64),
    /// Parts with names.
    Map(Vec<(&'static str, Value)>),
    /// Texts in a row.
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number)
    }
}

impl<const N: usize> From<[(&'static str, Value); N]> for Value {
    fn from(parts: [(&'static str, Value); N]) -> Self {
        Value::Map(parts.into())
    }
}

/// Networks, each with its record.
#[derive(Debug, Clone, Default)]
pub struct Mmdb {
    records: Vec<(IpNet, Value)>,
}

impl Mmdb {
    /// Reads lines `NETWORK name=value …` with the names `country`, `continent`,
    /// `registered_country`, `asn` and `organization`; an organization is the last, as it may have
    /// blanks. Empty lines, and those that begin with `#`, are left out.
    #[must_use]
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.fold(Mmdb::default(), Mmdb::line)
    }

    #[track_caller]
    fn line(self, line: &str) -> Self {
        let (line, organization) = match line.split_once(" organization=") {
            Some((line, organization)) => (line, Some(organization)),
            None => (line, None),
        };
        let mut words = line.split_whitespace();
        let network = words.next().expect("a network");
        let mut parts: Vec<(&'static str, Value)> = words.map(part).collect();
        let name = "autonomous_system_organization";
        parts.extend(organization.map(|organization| (name, organization.into())));
        self.record(network, Value::Map(parts))
    }

    /// With a record for a network.
    #[must_use]
    #[track_caller]
    pub fn record(mut self, network: &str, record: impl Into<Value>) -> Self {
        let network = network.parse().expect("a network");
        self.records.push((network, record.into()));
        self
    }

    /// The file.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let mut records = self.records.clone();
        // A smaller network takes its part of a larger one.
        records.sort_by_key(|(network, _)| depth(*network));
        let (mut tree, mut data) = (Tree::default(), Vec::new());
        for (network, record) in &records {
            tree.insert(*network, data.len());
            write(record, &mut data);
        }
        let mut octets = tree.octets();
        octets.extend(SEPARATOR);
        octets.extend(data);
        octets.extend(MARKER);
        write(&description(tree.nodes.len()), &mut octets);
        octets
    }
}

#[track_caller]
fn part(word: &str) -> (&'static str, Value) {
    let (name, value) = word.split_once('=').expect("name=value");
    match name {
        "country" => ("country", [("iso_code", value.into())].into()),
        "registered_country" => ("registered_country", [("iso_code", value.into())].into()),
        "continent" => ("continent", [("code", value.into())].into()),
        "asn" => {
            let number: u32 = value.parse().expect("a number");
            ("autonomous_system_number", number.into())
        }
        other => panic!("\"{other}\" is no part of a record"),
    }
}

fn description(nodes: usize) -> Value {
    let nodes = u32::try_from(nodes).expect("a small tree");
    [
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", "Test".into()),
        ("description", [("en", "made for a test".into())].into()),
        ("ip_version", Value::Short(6)),
        ("languages", Value::Texts(vec!["en".to_owned()])),
        ("node_count", nodes.into()),
        ("record_size", Value::Short(32)),
    ]
    .into()
}

/// How many bits lead to a network.
fn depth(network: IpNet) -> u8 {
    match network {
        IpNet::V4(network) => IPV4_DEPTH + network.prefix_len(),
        IpNet::V6(network) => network.prefix_len(),
    }
}

/// The bits that lead to a network, the first one highest.
fn bits(network: IpNet) -> u128 {
    match network.network() {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Where a bit leads.
#[derive(Debug, Clone, Copy)]
enum Way {
    Nowhere,
    Node(usize),
    /// A record, by its place among the data.
    Record(usize),
}

#[derive(Debug)]
struct Tree {
    nodes: Vec<[Way; 2]>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { nodes: vec![[Way::Nowhere; 2]] }
    }
}

impl Tree {
    fn insert(&mut self, network: IpNet, record: usize) {
        let (bits, depth) = (bits(network), depth(network));
        let mut node = 0;
        for level in 0..depth {
            let side = usize::from(bits >> (127 - level) & 1 == 1);
            if level + 1 == depth {
                self.nodes[node][side] = Way::Record(record);
                return;
            }
            node = match self.nodes[node][side] {
                Way::Node(next) => next,
                // What held for the whole holds for both halves until told otherwise.
                whole => {
                    self.nodes.push([whole; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Way::Node(next);
                    next
                }
            };
        }
    }

    fn octets(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let number = |way: &Way| match way {
            Way::Nowhere => count,
            Way::Node(node) => *node,
            Way::Record(place) => count + SEPARATOR.len() + place,
        };
        let pointer = |way| u32::try_from(number(way)).expect("a small file").to_be_bytes();
        self.nodes.iter().flatten().flat_map(pointer).collect()
    }
}

fn write(value: &Value, octets: &mut Vec<u8>) {
    const TEXT: u8 = 2;
    const SHORT: u8 = 5;
    const NUMBER: u8 = 6;
    const MAP: u8 = 7;
    const LONG: u8 = 9;
    const ARRAY: u8 = 11;
    match value {
        Value::Text(text) => {
            begin(TEXT, text.len(), octets);
            octets.extend(text.as_bytes());
        }
        Value::Number(number) => {
            begin(NUMBER, 4, octets);
            octets.extend(number.to_be_bytes());
        }
        Value::Short(number) => {
            begin(SHORT, 2, octets);
            octets.extend(number.to_be_bytes());
        }
        Value::Long(number) => {
            begin(LONG, 8, octets);
            octets.extend(number.to_be_bytes());
        }
        Value::Map(parts) => {
            begin(MAP, parts.len(), octets);
            for (name, part) in parts {
                write(&(*name).into(), octets);
                write(part, octets);
            }
        }
        Value::Texts(texts) => {
            begin(ARRAY, texts.len(), octets);
            for text in texts {
                write(&text.as_str().into(), octets);
            }
        }
    }
}

/// The octets that say what comes: its type, and how much there is of it.
fn begin(kind: u8, size: usize, octets: &mut Vec<u8>) {
    // From here on the size has an octet of its own.
    const LONG: u8 = 29;
    let size = u8::try_from(size).expect("not too much for a test");
    let (short, more) = if size < LONG { (size, None) } else { (LONG, Some(size - LONG)) };
    // Types above seven stand in an octet of their own.
    match kind {
        8.. => octets.extend([short, kind - 7]),
        _ => octets.push(kind << 5 | short),
    }
    octets.extend(more);
}

#[cfg(test)]
mod tests {
    use maxminddb::{Reader, path};

    use super::*;

    fn country(reader: &Reader<Vec<u8>>, address: &str) -> Option<String> {
        let found = reader.lookup(address.parse().unwrap()).unwrap();
        found.decode_path(&path!["country", "iso_code"]).unwrap()
    }

    #[test]
    fn what_was_written_is_found() {
        let written = Mmdb::read(
            "192.0.2.0/24 country=DE asn=64496 organization=A b c\n\
             # within the first\n192.0.2.128/25 country=FR\n2001:db8::/32 country=IT",
        );
        let reader = Reader::from_source(written.octets()).unwrap();
        let expected = [("192.0.2.1", "DE"), ("192.0.2.200", "FR"), ("2001:db8::1", "IT")];
        for (address, code) in expected {
            assert_eq!(country(&reader, address).as_deref(), Some(code), "{address}");
        }
        assert_eq!(country(&reader, "192.0.3.1"), None);
        let found = reader.lookup("192.0.2.1".parse().unwrap()).unwrap();
        let number: Option<u32> = found.decode_path(&path!["autonomous_system_number"]).unwrap();
        assert_eq!(number, Some(64496));
        assert_eq!(found.network().unwrap().to_string(), "192.0.2.0/25");
    }
}
