//! Addresses and networks, found by longest prefix.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mppd_engine::Attribute;
use prefix_trie::PrefixMap;

use crate::reading::Fault;
use crate::{Found, Shown, Table};

/// Networks, each with a value; an address is a network of one.
#[derive(Debug)]
pub struct Networks<V> {
    ipv4: PrefixMap<Ipv4Net, V>,
    ipv6: PrefixMap<Ipv6Net, V>,
}

impl<V> Default for Networks<V> {
    fn default() -> Self {
        Networks { ipv4: PrefixMap::new(), ipv6: PrefixMap::new() }
    }
}

impl<V> Networks<V> {
    /// The smallest network that holds an address.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<Found<'_, V>> {
        let (network, value) = match IpNet::from(address) {
            IpNet::V4(host) => {
                let (network, value) = self.ipv4.get_lpm(&host)?;
                (IpNet::V4(network), value)
            }
            IpNet::V6(host) => {
                let (network, value) = self.ipv6.get_lpm(&host)?;
                (IpNet::V6(network), value)
            }
        };
        Some(Found { value, entry: Shown::Network(network) })
    }
}

impl<V> Table<V> for Networks<V> {
    type Entry = IpNet;

    fn parse(text: &str, _: Attribute) -> Result<IpNet, Fault> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.to_canonical().into());
        }
        let network: IpNet = text.parse().map_err(|_| {
            Fault::new(format!("\"{text}\" is neither an address nor a network"))
                .with_help("write 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32")
        })?;
        let whole = network.trunc();
        if network != whole {
            return Err(Fault::new(format!("\"{text}\" has bits set behind its prefix"))
                .with_help(format!("did you mean {whole}, or {}?", network.addr())));
        }
        Ok(without_mapping(network))
    }

    fn contains(&self, entry: &IpNet) -> bool {
        match entry {
            IpNet::V4(network) => self.ipv4.contains_key(network),
            IpNet::V6(network) => self.ipv6.contains_key(network),
        }
    }

    fn values(&self, entry: &IpNet) -> [Option<&V>; 2] {
        let value = match entry {
            IpNet::V4(network) => self.ipv4.get(network),
            IpNet::V6(network) => self.ipv6.get(network),
        };
        [value, None]
    }

    fn insert(&mut self, entry: IpNet, value: V) {
        match entry {
            IpNet::V4(network) => self.ipv4.insert(network, value),
            IpNet::V6(network) => self.ipv6.insert(network, value),
        };
    }

    fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }
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
    fn what_is_no_network_is_a_fault() {
        for text in ["example.org", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "[::1]", "1.2.3.04"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
