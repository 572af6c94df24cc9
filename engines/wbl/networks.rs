//! Addresses and networks, found by longest prefix.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mppd_engine::Attribute;
use prefix_trie::PrefixSet;

use super::reading::{Entries, Fault};

/// A set of networks; an address is a network of one.
#[derive(Debug, Default)]
pub(super) struct Networks {
    ipv4: PrefixSet<Ipv4Net>,
    ipv6: PrefixSet<Ipv6Net>,
}

impl Networks {
    /// The smallest network that holds an address.
    pub(super) fn find(&self, address: IpAddr) -> Option<String> {
        let network = match IpNet::from(address) {
            IpNet::V4(host) => IpNet::V4(self.ipv4.get_lpm(&host)?),
            IpNet::V6(host) => IpNet::V6(self.ipv6.get_lpm(&host)?),
        };
        Some(show(network))
    }
}

impl Entries for Networks {
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
            IpNet::V4(network) => self.ipv4.contains(network),
            IpNet::V6(network) => self.ipv6.contains(network),
        }
    }

    fn insert(&mut self, entry: IpNet) {
        match entry {
            IpNet::V4(network) => self.ipv4.insert(network),
            IpNet::V6(network) => self.ipv6.insert(network),
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

fn show(network: IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        return network.addr().to_string();
    }
    network.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(entries: &[&str]) -> Networks {
        let mut networks = Networks::default();
        for entry in entries {
            networks.insert(Networks::parse(entry, Attribute::ClientAddress).unwrap());
        }
        networks
    }

    fn find(networks: &Networks, address: &str) -> Option<String> {
        networks.find(address.parse().unwrap())
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
        let fault = Networks::parse("192.0.2.1/24", Attribute::ClientAddress).unwrap_err();
        assert_eq!(fault.message, "\"192.0.2.1/24\" has bits set behind its prefix");
        assert_eq!(fault.help.as_deref(), Some("did you mean 192.0.2.0/24, or 192.0.2.1?"));
    }

    #[test]
    fn what_is_no_network_is_a_fault() {
        for text in ["example.org", "192.0.2", "192.0.2.0/33", "192.0.2.0/", "[::1]", "1.2.3.04"] {
            assert!(Networks::parse(text, Attribute::ClientAddress).is_err(), "{text}");
        }
    }
}
