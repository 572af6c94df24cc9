//! Who a client counts as: its network or, where its verified name tells who runs it, the domain
//! below which that name was registered.

use std::borrow::Cow;
use std::net::IpAddr;

use mppd_engine::Request;
use mppd_lists::prefix::Prefixes;
use mppd_lists::subject;

use super::generic::is_generic;

/// What clients without an address count as.
pub(super) const UNKNOWN: &str = "unknown";

/// How clients are told apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clients {
    /// How much of an address counts.
    pub(super) prefixes: Prefixes,
    /// Whether verified names count.
    pub(super) shared_names: bool,
}

/// A client, under the names that its records have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client<'a> {
    /// The registered domain.
    pub(super) domain: Option<Cow<'a, str>>,
    /// The network; [`UNKNOWN`] where Postfix does not know the address.
    pub(super) network: Cow<'static, str>,
}

impl Clients {
    /// Who sent a request.
    pub(super) fn of(self, request: &Request) -> Client<'_> {
        let Some(address) = request.client_address() else {
            return Client { domain: None, network: Cow::Borrowed(UNKNOWN) };
        };
        let domain = if self.shared_names {
            subject::client_name(request).and_then(|name| registered_domain(name, address))
        } else {
            None
        };
        Client { domain, network: Cow::Owned(self.network(address)) }
    }

    /// The network of an address.
    pub(super) fn network(self, address: IpAddr) -> String {
        self.prefixes.network(address).to_string()
    }
}

impl Client<'_> {
    /// What it counts as.
    pub(super) fn shown(&self) -> &str {
        self.domain.as_deref().unwrap_or(&self.network)
    }
}

/// The domain below which a verified name was registered, unless the name may be anybody's.
fn registered_domain(name: Cow<'_, [u8]>, address: IpAddr) -> Option<Cow<'_, str>> {
    let is_in_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    if !name.iter().all(is_in_name) {
        return None;
    }
    let domain = psl::domain(&name)?.as_bytes();
    let start = name.len() - domain.len();
    if is_generic(&name, &name[..start], address) {
        return None;
    }
    match name {
        Cow::Borrowed(name) => std::str::from_utf8(&name[start..]).ok().map(Cow::Borrowed),
        Cow::Owned(mut name) => String::from_utf8(name.split_off(start)).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::request;
    use mppd_lists::prefix::Prefix;

    use super::*;

    const CLIENTS: Clients = Clients { prefixes: prefixes(24, 64), shared_names: true };

    const fn prefixes(ipv4: u8, ipv6: u8) -> Prefixes {
        Prefixes { ipv4: Prefix::bits(ipv4), ipv6: Prefix::bits(ipv6) }
    }

    fn shown(clients: Clients, address: &str, name: &str) -> String {
        let request = request([("client_address", address), ("client_name", name)]);
        clients.of(&request).shown().to_owned()
    }

    fn named(address: &str, name: &str) -> String {
        shown(CLIENTS, address, name)
    }

    #[test]
    fn a_client_without_a_verified_name_is_its_network() {
        assert_eq!(named("192.0.2.33", "unknown"), "192.0.2.0/24");
        assert_eq!(named("192.0.2.33", ""), "192.0.2.0/24");
        assert_eq!(named("::ffff:192.0.2.33", "unknown"), "192.0.2.0/24");
        assert_eq!(named("2001:db8:1:2:3:4:5:6", "unknown"), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_client_without_an_address_is_unknown_whatever_its_name() {
        assert_eq!(named("unknown", "mail.example.com"), "unknown");
    }

    #[test]
    fn other_prefixes_make_other_networks() {
        let clients = Clients { prefixes: prefixes(32, 48), ..CLIENTS };
        assert_eq!(shown(clients, "192.0.2.33", ""), "192.0.2.33/32");
        assert_eq!(shown(clients, "2001:db8:1:2::3", ""), "2001:db8:1::/48");
    }

    #[test]
    fn a_farm_is_the_domain_of_its_verified_names() {
        assert_eq!(named("192.0.2.1", "mx1.farm.example"), "farm.example");
        assert_eq!(named("198.51.100.7", "MX2.east.Farm.example"), "farm.example");
        assert_eq!(named("198.51.100.7", "mail.example.co.uk"), "example.co.uk");
        let clients = Clients { shared_names: false, ..CLIENTS };
        assert_eq!(shown(clients, "192.0.2.1", "mx1.farm.example"), "192.0.2.0/24");
    }

    #[test]
    fn a_name_that_may_be_anybodys_is_a_network() {
        assert_eq!(named("192.0.2.33", "192-0-2-33.isp.example"), "192.0.2.0/24");
        assert_eq!(named("192.0.2.33", "dsl-7.isp.example"), "192.0.2.0/24");
    }

    #[test]
    fn customers_below_a_public_suffix_are_apart() {
        let own = named("192.0.2.33", "mail.shop.github.io");
        assert_eq!(own, "shop.github.io");
        assert_eq!(named("192.0.2.33", "github.io"), "192.0.2.0/24");
        assert_eq!(named("192.0.2.33", "localhost"), "192.0.2.0/24");
    }
}
