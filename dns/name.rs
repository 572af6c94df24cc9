//! Domain names, in the form in which they are compared and asked for: labels of any octets, in
//! lower case, without the dot at the end.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use mppd_engine::Escaped;

/// Most octets of a name as it is written, without a dot at the end (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

/// Most octets of a label.
const LONGEST_LABEL: usize = 63;

/// Why some octets are no domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a domain name is not empty")]
    Empty,
    /// Two dots side by side, or one in front.
    #[error("a label of a domain name is not empty")]
    EmptyLabel,
    /// A label is too long.
    #[error("a label of a domain name has at most {LONGEST_LABEL} octets")]
    LongLabel,
    /// The whole is too long.
    #[error("a domain name has at most {LONGEST_NAME} octets")]
    TooLong,
    /// A label that came by the network holds a dot.
    #[error("a label holds a dot")]
    DotInLabel,
}

/// A domain name: labels of any octets but dots, in lower case.
///
/// ```
/// # use mppd_dns::{Name, NameError};
/// let name = Name::parse(b"Mail.Example.COM.")?;
/// assert_eq!(name.to_string(), "mail.example.com");
/// assert!(name.is_within(&Name::parse(b"example.com")?));
/// assert_eq!(Name::parse(b"a..b"), Err(NameError::EmptyLabel));
/// # Ok::<(), NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Reads a name; one dot at the end is left out. Nothing is an escape.
    ///
    /// # Errors
    /// What the domain name system could not hold.
    pub fn parse(text: &[u8]) -> Result<Self, NameError> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        check(text)?;
        Ok(Name(text.to_ascii_lowercase().into()))
    }

    /// The same of octets that are there already, and stay where they are.
    fn of(mut text: Vec<u8>) -> Result<Self, NameError> {
        if text.last() == Some(&b'.') {
            text.pop();
        }
        check(&text)?;
        text.make_ascii_lowercase();
        Ok(Name(text.into()))
    }

    /// The root, which a mail exchanger may have for a name: it takes no mail (RFC 7505).
    #[must_use]
    pub fn root() -> Self {
        Name(Box::default())
    }

    /// Joins labels as they came by the network; none at all are the root.
    pub(crate) fn from_labels<'a>(
        labels: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Self, NameError> {
        let mut text = Vec::new();
        for label in labels {
            if label.contains(&b'.') {
                return Err(NameError::DotInLabel);
            }
            if !text.is_empty() {
                text.push(b'.');
            }
            text.extend_from_slice(label);
        }
        if text.is_empty() { Ok(Name::root()) } else { Name::of(text) }
    }

    /// The name below which an address has its own names: `1.2.0.192.in-addr.arpa`.
    #[must_use]
    pub fn reverse(address: IpAddr) -> Self {
        let zone = if address.is_ipv4() { ".in-addr.arpa" } else { ".ip6.arpa" };
        Name((reversed(address) + zone).into_bytes().into())
    }

    /// The name below this one that has these labels in front.
    ///
    /// # Errors
    /// What the domain name system could not hold.
    pub fn with_labels(&self, labels: &[u8]) -> Result<Self, NameError> {
        let mut text = Vec::with_capacity(labels.len() + 1 + self.0.len());
        text.extend_from_slice(labels);
        text.push(b'.');
        text.extend_from_slice(&self.0);
        Name::of(text)
    }

    /// The name as it is written, without a dot at the end; the root is empty.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its labels, from the left; the root has none.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|octet| *octet == b'.').filter(|label| !label.is_empty())
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is that name, or one below it.
    #[must_use]
    pub fn is_within(&self, other: &Name) -> bool {
        let Some(front) = self.0.strip_suffix(&*other.0) else { return false };
        front.is_empty() || other.is_root() || front.ends_with(b".")
    }
}

/// Whether the domain name system can hold this.
fn check(text: &[u8]) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    for label in text.split(|octet| *octet == b'.') {
        match label.len() {
            0 => return Err(NameError::EmptyLabel),
            1..=LONGEST_LABEL => {}
            _ => return Err(NameError::LongLabel),
        }
    }
    if text.len() > LONGEST_NAME { Err(NameError::TooLong) } else { Ok(()) }
}

/// An address as labels, the last part first: `1.2.0.192`, or an IPv6 address digit by digit.
///
/// ```
/// # use mppd_dns::reversed;
/// assert_eq!(reversed([192, 0, 2, 1].into()), "1.2.0.192");
/// ```
#[must_use]
pub fn reversed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Ipv4Addr::new(d, c, b, a).to_string()
        }
        IpAddr::V6(address) => {
            let mut text = String::with_capacity(72);
            for octet in address.octets().iter().rev() {
                for digit in [octet & 0xf, octet >> 4] {
                    text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
                    text.push('.');
                }
            }
            text.pop();
            text
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        write!(f, "{}", Escaped(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_name_too_long_for_the_domain_name_system_is_none() {
        let label = "a".repeat(63);
        let longest = [&*label, &*label, &*label, &label[..61]].join(".");
        assert_eq!(name(&longest).as_bytes().len(), 253);
        assert_eq!(Name::parse(format!("{longest}a").as_bytes()), Err(NameError::TooLong));
        assert_eq!(Name::parse(format!("{label}a.b").as_bytes()), Err(NameError::LongLabel));
        assert_eq!(Name::parse(b"."), Err(NameError::Empty));
        assert_eq!(Name::parse(b".a"), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse(b"a.."), Err(NameError::EmptyLabel));
    }

    #[test]
    fn a_name_is_within_another_by_whole_labels() {
        assert!(name("a.example.org").is_within(&name("EXAMPLE.org")));
        assert!(name("example.org").is_within(&name("example.org.")));
        assert!(!name("badexample.org").is_within(&name("example.org")));
        assert!(!name("org").is_within(&name("example.org")));
        assert!(name("org").is_within(&Name::root()));
    }

    #[test]
    fn addresses_are_reversed_as_the_arpa_zones_have_them() {
        let reverse = |text: &str| Name::reverse(text.parse().unwrap()).to_string();
        assert_eq!(reverse("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        let expected = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(reverse("2001:db8::1"), expected);
    }

    #[test]
    fn labels_stand_in_front_of_a_name() {
        let zone = name("bl.example");
        assert_eq!(zone.with_labels(b"1.2.0.192"), Ok(name("1.2.0.192.bl.example")));
        assert_eq!(zone.with_labels(b"a..b"), Err(NameError::EmptyLabel));
        assert_eq!(zone.with_labels(b""), Err(NameError::EmptyLabel));
        let long = format!("{}a", "a.".repeat(121));
        assert_eq!(zone.with_labels(long.as_bytes()), Err(NameError::TooLong));
        assert!(zone.with_labels(&long.as_bytes()[2..]).is_ok());
    }

    #[test]
    fn labels_that_hold_a_dot_make_no_name() {
        let labels = |labels: &[&'static str]| {
            Name::from_labels(labels.iter().map(|label| label.as_bytes()))
        };
        assert_eq!(labels(&["A", "b"]), Ok(name("a.b")));
        assert_eq!(labels(&[]), Ok(Name::root()));
        assert_eq!(labels(&["a.b"]), Err(NameError::DotInLabel));
    }
}
