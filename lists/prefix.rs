//! How much of a client's address counts: the networks whose clients count as one.

use std::net::IpAddr;

use ipnet::IpNet;
use mppd_engine::OptionValue;
use mppd_engine::serde::de::{Deserialize, Deserializer, Error as _};

/// How many bits of an address count: at least one, at most `MOST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix<const MOST: u8>(u8);

impl<const MOST: u8> Prefix<MOST> {
    /// So many bits, or as many as there are.
    #[must_use]
    pub const fn bits(bits: u8) -> Self {
        Prefix(if bits < MOST { bits } else { MOST })
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl<'de, const MOST: u8> Deserialize<'de> for Prefix<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = text.trim().parse().ok().filter(|bits| (1..=MOST).contains(bits));
        bits.map(Prefix).ok_or_else(|| {
            D::Error::custom(format_args!("\"{text}\" is not a number of bits from 1 to {MOST}"))
        })
    }
}

impl<const MOST: u8> OptionValue for Prefix<MOST> {
    const TYPE: &'static str = "a number of bits";

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// How many bits of each kind of address count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4.
    pub ipv4: Prefix<32>,
    /// Of IPv6.
    pub ipv6: Prefix<128>,
}

impl Prefixes {
    /// The network of an address.
    #[must_use]
    pub fn network(self, address: IpAddr) -> IpNet {
        let bits = match address {
            IpAddr::V4(_) => self.ipv4.get(),
            IpAddr::V6(_) => self.ipv6.get(),
        };
        // A prefix is never longer than its addresses.
        IpNet::new(address, bits).unwrap_or_else(|_| IpNet::from(address)).trunc()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_network_of_its_first_bits() {
        let prefixes = Prefixes { ipv4: Prefix::bits(24), ipv6: Prefix::bits(200) };
        let network = |address: &str| prefixes.network(address.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.33"), "192.0.2.0/24");
        assert_eq!(network("2001:db8::1"), "2001:db8::1/128");
    }
}
