//! What a client calls itself, read as RFC 5321 has it: a domain name or an address literal.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mppd_lists::names;

/// Most octets of a name and of a label (RFC 1035, section 2.3.4; without the final dot).
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What a client calls itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Called<'a> {
    /// A domain name, in lower case, with A-labels, without a dot at its end.
    Name(Cow<'a, [u8]>),
    /// An address in brackets; one that is mapped into IPv6 is the IPv4 address.
    Literal(IpAddr),
}

/// Why a text is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAName {
    /// With the address, where it is a whole one.
    #[error("an address stands in brackets")]
    BareAddress(Option<IpAddr>),
    #[error("what stands in brackets is no address")]
    Literal,
    #[error("a name has at most {LONGEST_NAME} octets")]
    TooLong,
    #[error("a part of a name has at most {LONGEST_LABEL} octets")]
    LongLabel,
    #[error("a part of the name is empty")]
    EmptyLabel,
    #[error("a name is made of letters, digits and hyphens")]
    Letters,
    #[error("a part of a name neither begins nor ends with a hyphen")]
    Hyphen,
}

impl<'a> Called<'a> {
    /// Reads what a client said. One dot at the end is left out, and underscores count as letters:
    /// neither is allowed, and both are too common to tell anything.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, NotAName> {
        if text.starts_with(b"[") {
            return literal(text).map(Called::Literal).ok_or(NotAName::Literal);
        }
        let name = names::normalise(text);
        check_name(&name)?;
        Ok(Called::Name(name))
    }
}

fn check_name(name: &[u8]) -> Result<(), NotAName> {
    // An IPv6 address has colons, which no name has, so it is looked for first.
    if let Some(address) = std::str::from_utf8(name).ok().and_then(|text| text.parse().ok()) {
        return Err(NotAName::BareAddress(Some(IpAddr::to_canonical(&address))));
    }
    if name.len() > LONGEST_NAME {
        return Err(NotAName::TooLong);
    }
    for label in name.split(|octet| *octet == b'.') {
        check_label(label)?;
    }
    // No top-level domain is a number, so this is an address, or was meant to be one.
    let last = name.rsplit(|octet| *octet == b'.').next().unwrap_or_default();
    if last.iter().all(u8::is_ascii_digit) {
        return Err(NotAName::BareAddress(None));
    }
    Ok(())
}

fn check_label(label: &[u8]) -> Result<(), NotAName> {
    let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    match label {
        [] => Err(NotAName::EmptyLabel),
        _ if !label.iter().all(is_letter) => Err(NotAName::Letters),
        _ if label.len() > LONGEST_LABEL => Err(NotAName::LongLabel),
        [b'-', ..] | [.., b'-'] => Err(NotAName::Hyphen),
        _ => Ok(()),
    }
}

/// `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321, section 4.1.3). An IPv6 address without its tag
/// is taken, too: what is meant is plain.
fn literal(text: &[u8]) -> Option<IpAddr> {
    let inner = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let inner = std::str::from_utf8(inner).ok()?;
    let (tag, behind) = inner.split_at_checked(5).unwrap_or(("", inner));
    let address = if tag.eq_ignore_ascii_case("IPv6:") { behind } else { inner };
    let v6 = address.parse::<Ipv6Addr>().map(IpAddr::V6);
    let is_tagged = address.len() != inner.len();
    let v4 = || address.parse::<Ipv4Addr>().ok().filter(|_| !is_tagged).map(IpAddr::V4);
    v6.ok().or_else(v4).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<String, NotAName> {
        match Called::parse(text.as_bytes())? {
            Called::Name(name) => Ok(String::from_utf8(name.into_owned()).unwrap()),
            Called::Literal(address) => Ok(format!("[{address}]")),
        }
    }

    #[test]
    fn names_are_read_in_one_form() {
        for (text, expected) in [
            ("Mail.Example.COM", "mail.example.com"),
            ("mail.example.com.", "mail.example.com"),
            ("localhost", "localhost"),
            ("my_host.example.com", "my_host.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("3com.example", "3com.example"),
            ("192.0.2.1.example", "192.0.2.1.example"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn address_literals_are_read_with_and_without_a_tag() {
        for (text, expected) in [
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[2001:db8::1]"),
            ("[ipv6:2001:DB8:0::1]", "[2001:db8::1]"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[IPv6:::ffff:192.0.2.1]", "[192.0.2.1]"),
        ] {
            assert_eq!(name(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_neither_is_told_apart() {
        let (long_label, long_name) = ("a".repeat(64), format!("{}a", "a.".repeat(127)));
        for (text, expected) in [
            ("192.0.2.1", NotAName::BareAddress("192.0.2.1".parse().ok())),
            ("192.0.2", NotAName::BareAddress(None)),
            ("2001:db8::1", NotAName::BareAddress("2001:db8::1".parse().ok())),
            ("1234", NotAName::BareAddress(None)),
            ("[192.0.2.256]", NotAName::Literal),
            ("[192.0.2.1", NotAName::Literal),
            ("[IPv6:192.0.2.1]", NotAName::Literal),
            ("[mail.example.com]", NotAName::Literal),
            ("[]", NotAName::Literal),
            (&long_name, NotAName::TooLong),
            (&long_label, NotAName::LongLabel),
            ("a..example", NotAName::EmptyLabel),
            (".example", NotAName::EmptyLabel),
            (".", NotAName::EmptyLabel),
            ("a b.example", NotAName::Letters),
            ("a@b.example", NotAName::Letters),
            ("-a.example", NotAName::Hyphen),
            ("a-.example", NotAName::Hyphen),
        ] {
            assert_eq!(name(text), Err(expected), "{text}");
        }
        assert_eq!(Called::parse(b"\xff.example"), Err(NotAName::Letters));
    }

    #[test]
    fn a_name_of_253_octets_is_the_longest() {
        let longest = format!("{}aaa", "a.".repeat(125));
        assert_eq!(longest.len(), 253);
        assert_eq!(name(&longest), Ok(longest.clone()));
        assert_eq!(name(&format!("{longest}.")), Ok(longest.clone()));
        assert_eq!(name(&format!("{longest}a")), Err(NotAName::TooLong));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Called::Name(name)) = Called::parse(&octets) {
                prop_assert!(mppd_dns::Name::parse(&name).is_ok());
            }
        }

        #[test]
        fn every_address_is_read_from_its_literal(v4: u32, v6: u128) {
            let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
            let read = |text: String| Called::parse(text.as_bytes()).map(|it| format!("{it:?}"));
            let shown = |address: IpAddr| Ok(format!("Literal({:?})", address.to_canonical()));
            prop_assert_eq!(read(format!("[{v4}]")), shown(v4.into()));
            prop_assert_eq!(read(format!("[IPv6:{v6}]")), shown(v6.into()));
        }
    }
}
