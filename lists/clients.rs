//! Addresses, networks and names of clients in one list, as Postfix's `check_client_access` and
//! postgrey have them: each entry is told by its form.

use ipnet::IpNet;
use mppd_engine::Attribute;

use crate::Table;
use crate::formats::Format;
use crate::names::{HostEntry, Names};
use crate::networks::{Networks, looks_like_network};
use crate::reading::Fault;

/// Addresses, networks and names, each with a value.
#[derive(Debug)]
pub struct Clients<V> {
    /// The addresses and networks.
    pub addresses: Networks<V>,
    /// The names.
    pub names: Names<V>,
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEntry {
    /// An address or a network.
    Network(IpNet),
    /// A name, or an expression for names.
    Host(HostEntry),
}

impl<V> Default for Clients<V> {
    fn default() -> Self {
        Clients { addresses: Networks::default(), names: Names::default() }
    }
}

impl<V: Copy> Table<V> for Clients<V> {
    type Entry = ClientEntry;

    const FORMATS: &'static [Format] = Format::ALL;

    fn parse(text: &str, attribute: Attribute) -> Result<ClientEntry, Fault> {
        Self::parse_as(Format::Lines, text, attribute)
    }

    fn parse_as(format: Format, text: &str, _: Attribute) -> Result<ClientEntry, Fault> {
        let is_expression = format == Format::Postgrey && text.starts_with('/');
        if looks_like_network(text) && !is_expression {
            let network = Networks::<V>::parse_as(format, text, Attribute::ClientAddress);
            return network.map(ClientEntry::Network);
        }
        Names::<V>::parse_as(format, text, Attribute::ClientName).map(ClientEntry::Host)
    }

    fn contains(&self, entry: &ClientEntry) -> bool {
        match entry {
            ClientEntry::Network(network) => self.addresses.contains(network),
            ClientEntry::Host(host) => self.names.contains(host),
        }
    }

    fn get(&self, entry: &ClientEntry) -> Option<&V> {
        match entry {
            ClientEntry::Network(network) => self.addresses.get(network),
            ClientEntry::Host(host) => self.names.get(host),
        }
    }

    fn values(&self, entry: &ClientEntry) -> [Option<&V>; 3] {
        match entry {
            ClientEntry::Network(network) => self.addresses.values(network),
            ClientEntry::Host(host) => self.names.values(host),
        }
    }

    fn insert(&mut self, entry: ClientEntry, value: V) {
        match entry {
            ClientEntry::Network(network) => self.addresses.insert(network, value),
            ClientEntry::Host(host) => self.names.insert(host, value),
        }
    }

    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.names.is_empty()
    }

    fn settle(&mut self) {
        self.addresses.settle();
        self.names.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(format: Format, text: &str) -> Result<ClientEntry, Fault> {
        Clients::<()>::parse_as(format, text, Attribute::ClientAddress)
    }

    #[test]
    fn each_entry_is_told_by_its_form() {
        for text in ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "::1"] {
            assert!(matches!(parse(Format::Lines, text), Ok(ClientEntry::Network(_))), "{text}");
        }
        for text in ["example.org", ".example.org", "3com.example", "7.example"] {
            assert!(matches!(parse(Format::Lines, text), Ok(ClientEntry::Host(_))), "{text}");
        }
        assert!(matches!(parse(Format::Postgrey, "/^a/"), Ok(ClientEntry::Host(_))));
        assert!(matches!(parse(Format::Postgrey, "195.235.39"), Ok(ClientEntry::Network(_))));
        for text in ["/^a/", "192.0.2", "unknown", "[192.0.2.1]", "a b"] {
            assert!(parse(Format::Lines, text).is_err(), "{text}");
        }
    }

    #[test]
    fn postgrey_ignores_bits_behind_a_prefix() {
        let network = |text| match parse(Format::Postgrey, text) {
            Ok(ClientEntry::Network(network)) => network.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(network("192.0.2.7/24"), "192.0.2.0/24");
        assert_eq!(network("195.235.39"), "195.235.39.0/24");
        assert_eq!(network("195.235"), "195.235.0.0/16");
    }
}
