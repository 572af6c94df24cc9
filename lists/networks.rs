//! Addresses and networks, found by longest prefix: one look for each length that a list has.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mppd_engine::Attribute;

use crate::formats::Format;
use crate::reading::{BETWEEN_ENTRIES, Fault};
use crate::{Found, Shown, Table};

/// Networks, each with a value; an address is a network of one.
#[derive(Debug)]
pub struct Networks<V> {
    ipv4: ByLength<[u8; 4], V>,
    ipv6: ByLength<[u8; 16], V>,
}

/// The networks of one family, a table for each length of their prefixes, the longest first.
#[derive(Debug)]
struct ByLength<A, V> {
    tables: Vec<(u8, HashMap<A, V>)>,
}

/// The octets of an address.
trait Octets: Copy + Eq + Hash {
    /// The address with the bits behind a prefix of this length cleared.
    fn prefix(self, length: u8) -> Self;
}

impl Octets for [u8; 4] {
    fn prefix(self, length: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or_default();
        (u32::from_be_bytes(self) & mask).to_be_bytes()
    }
}

impl Octets for [u8; 16] {
    fn prefix(self, length: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or_default();
        (u128::from_be_bytes(self) & mask).to_be_bytes()
    }
}

impl<A, V> Default for ByLength<A, V> {
    fn default() -> Self {
        ByLength { tables: Vec::new() }
    }
}

impl<A: Octets, V> ByLength<A, V> {
    /// The longest prefix of an address that is here, of no more than this length.
    fn find(&self, address: A, most: u8) -> Option<(A, u8, &V)> {
        self.tables.iter().filter(|(length, _)| *length <= most).find_map(|(length, table)| {
            let prefix = address.prefix(*length);
            Some((prefix, *length, table.get(&prefix)?))
        })
    }

    fn get(&self, address: A, length: u8) -> Option<&V> {
        let (_, table) = self.tables.iter().find(|(other, _)| *other == length)?;
        table.get(&address)
    }

    fn insert(&mut self, address: A, length: u8, value: V) {
        let at = self.tables.partition_point(|(other, _)| *other > length);
        if self.tables.get(at).is_none_or(|(other, _)| *other != length) {
            self.tables.insert(at, (length, HashMap::new()));
        }
        self.tables[at].1.insert(address, value);
    }

    fn shrink(&mut self) {
        for (_, table) in &mut self.tables {
            table.shrink_to_fit();
        }
    }
}

impl<V> Default for Networks<V> {
    fn default() -> Self {
        Networks { ipv4: ByLength::default(), ipv6: ByLength::default() }
    }
}

impl<V> Networks<V> {
    /// The smallest network that holds an address.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<Found<'_, V>> {
        self.find_covering(IpNet::from(address))
    }

    /// The smallest network that holds the whole of a network, which may be itself.
    #[must_use]
    pub fn find_covering(&self, network: IpNet) -> Option<Found<'_, V>> {
        let most = network.prefix_len();
        let (address, length, value): (IpAddr, _, _) = match network {
            IpNet::V4(network) => {
                let (prefix, length, value) = self.ipv4.find(network.addr().octets(), most)?;
                (Ipv4Addr::from(prefix).into(), length, value)
            }
            IpNet::V6(network) => {
                let (prefix, length, value) = self.ipv6.find(network.addr().octets(), most)?;
                (Ipv6Addr::from(prefix).into(), length, value)
            }
        };
        let network = IpNet::new(address, length).ok()?;
        Some(Found { value, entry: Shown::Network(network), specificity: u32::from(length) })
    }
}

impl<V> Table<V> for Networks<V> {
    type Entry = IpNet;

    const FORMATS: &'static [Format] = Format::ALL;

    fn parse(text: &str, _: Attribute) -> Result<IpNet, Fault> {
        parse(text)
    }

    fn parse_as(format: Format, text: &str, _: Attribute) -> Result<IpNet, Fault> {
        match format {
            Format::Lines | Format::Cidr => parse(text),
            Format::Postgrey => postgrey(text),
            Format::Hash => first_octets(text).map_or_else(|| parse(text), Ok),
        }
    }

    fn contains(&self, entry: &IpNet) -> bool {
        self.get(entry).is_some()
    }

    fn get(&self, entry: &IpNet) -> Option<&V> {
        match entry {
            IpNet::V4(network) => self.ipv4.get(network.addr().octets(), network.prefix_len()),
            IpNet::V6(network) => self.ipv6.get(network.addr().octets(), network.prefix_len()),
        }
    }

    fn insert(&mut self, entry: IpNet, value: V) {
        let length = entry.prefix_len();
        match entry {
            IpNet::V4(network) => self.ipv4.insert(network.addr().octets(), length, value),
            IpNet::V6(network) => self.ipv6.insert(network.addr().octets(), length, value),
        }
    }

    fn is_empty(&self) -> bool {
        self.ipv4.tables.is_empty() && self.ipv6.tables.is_empty()
    }

    fn settle(&mut self) {
        self.ipv4.shrink();
        self.ipv6.shrink();
    }
}

fn parse(text: &str) -> Result<IpNet, Fault> {
    let network = read(text)?;
    let whole = network.trunc();
    if network != whole {
        return Err(Fault::new(format!("\"{text}\" has bits set behind its prefix"))
            .with_help(format!("did you mean {whole}, or {}?", network.addr())));
    }
    Ok(without_mapping(network))
}

/// Reads an address, or a network that may have bits set behind its prefix.
fn read(text: &str) -> Result<IpNet, Fault> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    text.parse().map_err(|_| {
        Fault::new(format!("\"{text}\" is neither an address nor a network")).with_help(
            if text.contains(',') {
                BETWEEN_ENTRIES
            } else {
                "write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32"
            },
        )
    })
}

/// Reads an address or a network as postgrey does: it ignores the bits behind a prefix.
fn postgrey(text: &str) -> Result<IpNet, Fault> {
    let octets = first_octets(text).filter(|network| (16..=24).contains(&network.prefix_len()));
    let network = octets.map_or_else(|| read(text), Ok)?;
    Ok(without_mapping(network.trunc()))
}

/// The network whose addresses begin with these numbers, as the keys of access(5) write it: one to
/// three of an IPv4 address, or one to seven of an IPv6 address.
fn first_octets(text: &str) -> Option<IpNet> {
    let is_number = |number: &str| !number.is_empty() && number.len() <= 4;
    if text.contains(':') {
        let numbers: Vec<&str> = text.split(':').collect();
        if numbers.len() > 7 || !numbers.iter().all(|number| is_number(number)) {
            return None;
        }
        let address = format!("{text}::").parse().ok()?;
        return Ipv6Net::new(address, u8::try_from(16 * numbers.len()).ok()?).ok().map(IpNet::V6);
    }
    let octets: Option<Vec<u8>> = text.split('.').map(|octet| octet.parse().ok()).collect();
    let octets = octets.filter(|octets| octets.len() < 4)?;
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(&octets);
    Ipv4Net::new(address.into(), u8::try_from(8 * octets.len()).ok()?).ok().map(IpNet::V4)
}

/// Whether a text can only be an address, a network, or the beginning of an address.
pub(crate) fn looks_like_network(text: &str) -> bool {
    text.contains([':', '/'])
        || text.starts_with(|first: char| first.is_ascii_digit())
            && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.')
}

/// A network of IPv4-mapped addresses as one of IPv4.
fn without_mapping(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let mapped = |network: Ipv6Net| {
        let length = network.prefix_len().checked_sub(MAPPED)?;
        Ipv4Net::new(network.addr().to_ipv4_mapped()?, length).ok()
    };
    match network {
        IpNet::V6(ipv6) => mapped(ipv6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entry: &str) -> Result<IpNet, Fault> {
        Networks::<()>::parse(entry, Attribute::ClientAddress)
    }

    fn networks(entries: &[&str]) -> Networks<()> {
        let mut networks = Networks::default();
        for entry in entries {
            networks.insert(parse(entry).unwrap(), ());
        }
        networks
    }

    fn find(networks: &Networks<()>, address: &str) -> Option<String> {
        networks.find(address.parse().unwrap()).map(|found| found.entry.to_string())
    }

    #[test]
    fn the_smallest_network_is_found() {
        let networks =
            networks(&["192.0.2.0/24", "192.0.2.128/25", "192.0.2.200", "2001:db8::/32"]);
        assert_eq!(find(&networks, "192.0.2.1").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(find(&networks, "192.0.2.129").as_deref(), Some("192.0.2.128/25"));
        assert_eq!(find(&networks, "192.0.2.200").as_deref(), Some("192.0.2.200"));
        assert_eq!(find(&networks, "192.0.3.1"), None);
        assert_eq!(find(&networks, "2001:db8:1::1").as_deref(), Some("2001:db8::/32"));
        assert_eq!(find(&networks, "2001:db9::1"), None);
    }

    #[test]
    fn mapped_entries_are_ipv4() {
        let networks = networks(&["::ffff:192.0.2.1", "::ffff:198.51.100.0/120"]);
        assert_eq!(find(&networks, "192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(find(&networks, "198.51.100.9").as_deref(), Some("198.51.100.0/24"));
    }

    #[test]
    fn the_network_of_everything_is_everything_of_its_family() {
        let networks = networks(&["0.0.0.0/0"]);
        assert_eq!(find(&networks, "203.0.113.1").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(find(&networks, "::1"), None);
    }

    #[test]
    fn bits_behind_the_prefix_are_a_fault() {
        let fault = parse("192.0.2.1/24").unwrap_err();
        assert_eq!(fault.message, "\"192.0.2.1/24\" has bits set behind its prefix");
        assert_eq!(fault.help.as_deref(), Some("did you mean 192.0.2.0/24, or 192.0.2.1?"));
    }

    #[test]
    fn a_network_is_covered_by_those_that_hold_all_of_it() {
        let networks = networks(&["192.0.2.0/24", "192.0.2.128/26"]);
        let covering = |network: &str| {
            let found = networks.find_covering(network.parse().unwrap());
            found.map(|found| found.entry.to_string())
        };
        assert_eq!(covering("192.0.2.128/25").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(covering("192.0.2.128/26").as_deref(), Some("192.0.2.128/26"));
        assert_eq!(covering("192.0.2.0/23"), None);
        assert_eq!(covering("::/0"), None);
    }

    #[test]
    fn access_tables_name_networks_by_the_beginning_of_an_address() {
        for (text, network) in [
            ("192", "192.0.0.0/8"),
            ("192.0", "192.0.0.0/16"),
            ("192.0.2", "192.0.2.0/24"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8", "2001:db8::/32"),
            ("2001:db8:1:2:3:4:5", "2001:db8:1:2:3:4:5:0/112"),
            ("2001:db8::", "2001:db8::/128"),
            ("2001:db8::7", "2001:db8::7/128"),
        ] {
            let read = Networks::<()>::parse_as(Format::Hash, text, Attribute::ClientAddress);
            assert_eq!(read.unwrap().to_string(), network);
        }
        for text in ["192.", ".1", "192.0.2.256", "1.2.3.4.5", "2001:", "x:y", "256"] {
            let read = Networks::<()>::parse_as(Format::Hash, text, Attribute::ClientAddress);
            assert!(read.is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_a_fault() {
        for text in ["example.org", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "[::1]", "1.2.3.04"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
