//! Parts of addresses and domain names.

use std::borrow::Cow;

use crate::request::Mailbox;

type Arguments<'a> = [Cow<'a, [u8]>];

/// What stands before the last `@`, or everything.
pub(in super::super) fn local(address: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(Mailbox::new(address).local())
}

/// What stands behind the last `@`, or nothing.
pub(in super::super) fn domain(address: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(Mailbox::new(address).domain().unwrap_or_default())
}

/// All of it.
pub(in super::super) fn address(address: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(address)
}

/// The domain of an address, its labels in reverse order.
pub(in super::super) fn reverse_domain_of_address(address: &[u8]) -> Cow<'_, [u8]> {
    reversed(Mailbox::new(address).domain().unwrap_or_default())
}

/// The labels in reverse order and in lower case, without the dot at the end; an address literal
/// stays as it is. This is how the records keep domains.
pub(in super::super) fn reversed(domain: &[u8]) -> Cow<'_, [u8]> {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let mut whole = Vec::with_capacity(domain.len());
    if domain.starts_with(b"[") {
        whole.extend_from_slice(domain);
    } else {
        for (index, label) in domain.rsplit(|octet| *octet == b'.').enumerate() {
            if index > 0 {
                whole.push(b'.');
            }
            whole.extend_from_slice(label);
        }
    }
    whole.make_ascii_lowercase();
    Cow::Owned(whole)
}

/// `reverse_domain DOMAIN`
pub(in super::super) fn reverse_domain(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    to.extend_from_slice(&reversed(&arguments[0]));
}

/// `registrable_domain DOMAIN`: the public suffix with one more label, in lower case; nothing for
/// a public suffix itself, an address literal, or an IP address.
pub(in super::super) fn registrable_domain(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let mut name = arguments[0].to_ascii_lowercase();
    if name.last() == Some(&b'.') {
        name.pop();
    }
    let is_address = std::str::from_utf8(&name)
        .is_ok_and(|name| name.starts_with('[') || name.parse::<std::net::IpAddr>().is_ok());
    if is_address || name.split(|octet| *octet == b'.').any(<[u8]>::is_empty) {
        return;
    }
    to.extend_from_slice(psl::domain_str_of(&name));
}

mod psl {
    /// The registrable domain of a name in lower case.
    pub(super) fn domain_str_of(name: &[u8]) -> &[u8] {
        ::psl::domain(name).map_or(b"", |domain| domain.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registrable(name: &str) -> String {
        let mut to = Vec::new();
        registrable_domain(&[name.as_bytes().into()], &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn a_domain_is_kept_backwards_as_the_records_keep_it() {
        assert_eq!(reversed(b"Mail.Example.COM."), &b"com.example.mail"[..]);
        assert_eq!(reversed(b"[192.0.2.1]"), &b"[192.0.2.1]"[..]);
        assert_eq!(reversed(b""), &b""[..]);
    }

    #[test]
    fn the_registrable_domain_is_one_label_more_than_the_public_suffix() {
        assert_eq!(registrable("a.b.Example.co.uk."), "example.co.uk");
        assert_eq!(registrable("example.com"), "example.com");
        assert_eq!(registrable("co.uk"), "");
        assert_eq!(registrable("192.0.2.1"), "");
        assert_eq!(registrable("[192.0.2.1]"), "");
        assert_eq!(registrable("a..com"), "");
        assert_eq!(registrable(""), "");
    }
}
