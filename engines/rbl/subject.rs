//! What of a request lists are asked about.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use mppd_dns::reversed;
use mppd_engine::{Attribute, OptionValue, Request};
use mppd_lists::{names, subject};
use serde::Deserialize;

/// What a list is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Of {
    ClientAddress,
    ClientName,
    ReverseClientName,
    HeloName,
    SenderDomain,
}

impl Of {
    /// As the configuration has it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Of::ClientAddress => "client_address",
            Of::ClientName => "client_name",
            Of::ReverseClientName => "reverse_client_name",
            Of::HeloName => "helo_name",
            Of::SenderDomain => "sender_domain",
        }
    }
}

impl OptionValue for Of {
    const TYPE: &'static str =
        "client_address, client_name, reverse_client_name, helo_name or sender_domain";

    fn show(&self) -> String {
        self.word().to_owned()
    }
}

/// One thing that lists are asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// An address, and its labels in the order in which lists have them.
    Address(IpAddr, String),
    /// A domain name in normal form.
    Name(Cow<'a, [u8]>),
}

impl<'a> Subject<'a> {
    /// The client's address, unless it is unknown or in one of the networks.
    pub(super) fn address(request: &Request, skip: &[IpNet]) -> Option<Self> {
        let address = request.client_address()?;
        if skip.iter().any(|network| network.contains(&address)) {
            return None;
        }
        Some(Subject::Address(address, reversed(address)))
    }

    /// A name of the request, where it has one that can be on a list.
    pub(super) fn name(of: Of, request: &'a Request) -> Option<Self> {
        let name = match of {
            Of::ClientAddress => return None,
            Of::ClientName => subject::client_name(request)?,
            Of::ReverseClientName => {
                let name = request.get(Attribute::ReverseClientName);
                if name == b"unknown" {
                    return None;
                }
                names::normalise(name)
            }
            Of::HeloName => subject::helo_name(request)?,
            Of::SenderDomain => names::normalise(request.sender().domain()?),
        };
        is_host_name(&name).then_some(Subject::Name(name))
    }

    /// The same, as the name that was registered (the public suffix and one label more); nothing
    /// where that can't be told.
    pub(super) fn registrable(self) -> Option<Self> {
        let Subject::Name(name) = self else { return Some(self) };
        let length = psl::domain(&name)?.as_bytes().len();
        Some(Subject::Name(match name {
            Cow::Borrowed(name) => Cow::Borrowed(&name[name.len() - length..]),
            Cow::Owned(name) => Cow::Owned(name[name.len() - length..].to_vec()),
        }))
    }

    /// The labels that stand in front of the list's zone.
    pub(super) fn labels(&self) -> &[u8] {
        match self {
            Subject::Address(_, labels) => labels.as_bytes(),
            Subject::Name(name) => name,
        }
    }

    /// As it is shown.
    pub(super) fn shown(&self) -> String {
        match self {
            Subject::Address(address, _) => address.to_string(),
            // Only letters, digits, "-", "_" and dots are asked about.
            Subject::Name(name) => String::from_utf8_lossy(name).into_owned(),
        }
    }
}

/// Whether lists can have a name: at least two labels, the last of which is no number, as in an
/// address without brackets.
fn is_host_name(name: &[u8]) -> bool {
    let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    let is_label = |label: &[u8]| !label.is_empty() && label.iter().all(is_letter);
    let mut labels = name.rsplit(|octet| *octet == b'.');
    let last = labels.next().unwrap_or_default();
    let mut count = 1;
    let are_labels = labels.all(|label| {
        count += 1;
        is_label(label)
    });
    count > 1 && are_labels && is_label(last) && !last.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mppd_engine::testkit::request;

    use super::*;

    fn name(of: Of, attributes: &[(&str, &str)]) -> Option<String> {
        let request: Arc<Request> = request(attributes.iter().copied());
        Subject::name(of, &request).map(|subject| subject.shown())
    }

    #[test]
    fn names_are_asked_about_in_normal_form() {
        let helo = |text: &str| name(Of::HeloName, &[("helo_name", text)]);
        assert_eq!(helo("Mail.Example.COM.").as_deref(), Some("mail.example.com"));
        assert_eq!(helo("bücher.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(helo("a_b.example").as_deref(), Some("a_b.example"));
        let sender = |text: &str| name(Of::SenderDomain, &[("sender", text)]);
        assert_eq!(sender("a@b@Example.com").as_deref(), Some("example.com"));
    }

    #[test]
    fn what_no_list_can_have_is_not_asked_about() {
        for helo in
            ["", "[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1", "localhost", "a..b", "a b.c"]
        {
            assert_eq!(name(Of::HeloName, &[("helo_name", helo)]), None, "{helo}");
        }
        assert_eq!(name(Of::ClientName, &[("client_name", "unknown")]), None);
        assert_eq!(name(Of::ReverseClientName, &[("reverse_client_name", "unknown")]), None);
        assert_eq!(name(Of::SenderDomain, &[("sender", "")]), None);
        assert_eq!(name(Of::SenderDomain, &[("sender", "nobody")]), None);
    }

    #[test]
    fn the_registrable_part_of_a_name_is_told_by_the_public_suffixes() {
        let registrable = |text: &'static str| {
            let subject = Subject::Name(Cow::Borrowed(text.as_bytes()));
            subject.registrable().map(|subject| subject.shown())
        };
        assert_eq!(registrable("a.b.example.co.uk").as_deref(), Some("example.co.uk"));
        assert_eq!(registrable("example.com").as_deref(), Some("example.com"));
        assert_eq!(registrable("co.uk"), None);
    }

    #[test]
    fn an_address_is_asked_about_from_its_end() {
        let address = |text: &str, skip: &[IpNet]| {
            let request = request([("client_address", text)]);
            Subject::address(&request, skip).map(|subject| subject.labels().to_vec())
        };
        assert_eq!(address("192.0.2.1", &[]).as_deref(), Some(&b"1.2.0.192"[..]));
        assert_eq!(address("::ffff:192.0.2.1", &[]).as_deref(), Some(&b"1.2.0.192"[..]));
        let nibbles = b"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
        assert_eq!(address("2001:db8::1", &[]).as_deref(), Some(&nibbles[..]));
        assert_eq!(address("unknown", &[]), None);
        assert_eq!(address("192.0.2.1", &["192.0.2.0/24".parse().unwrap()]), None);
    }
}
