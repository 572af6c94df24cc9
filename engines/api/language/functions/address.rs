//! Forms of IP addresses; all empty for what is no address.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn read(octets: &[u8]) -> Option<IpAddr> {
    // The longest way of writing an IPv6 address has 45 characters.
    let text = std::str::from_utf8(octets.get(..octets.len().min(46))?).ok()?;
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

fn owned(text: Option<String>) -> Cow<'static, [u8]> {
    Cow::Owned(text.unwrap_or_default().into_bytes())
}

/// As one decimal number.
pub(in super::super) fn decimal(address: &[u8]) -> Cow<'_, [u8]> {
    owned(read(address).map(|address| match address {
        IpAddr::V4(address) => address.to_bits().to_string(),
        IpAddr::V6(address) => address.to_bits().to_string(),
    }))
}

/// As 8 or 32 hexadecimal digits.
pub(in super::super) fn hexadecimal(address: &[u8]) -> Cow<'_, [u8]> {
    owned(read(address).map(|address| match address {
        IpAddr::V4(address) => format!("{:08x}", address.to_bits()),
        IpAddr::V6(address) => format!("{:032x}", address.to_bits()),
    }))
}

/// Octets or nibbles from the last to the first, as DNS lists are asked (RFC 5782).
pub(in super::super) fn reverse(address: &[u8]) -> Cow<'_, [u8]> {
    owned(read(address).map(|address| match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(address) => {
            let mut text = String::with_capacity(63);
            for digit in format!("{:032x}", address.to_bits()).chars().rev() {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push(digit);
            }
            text
        }
    }))
}

/// The network of so many bits that an address is in, like `192.0.2.0/24`.
pub(in super::super) fn network(address: &[u8], ipv4: u8, ipv6: u8) -> Cow<'static, [u8]> {
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _in_memory = match read(address) {
        Some(IpAddr::V4(address)) => {
            let bits = ipv4.min(32);
            let mask = u32::MAX.checked_shl(u32::from(32 - bits)).unwrap_or(0);
            write!(text, "{}/{bits}", Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        Some(IpAddr::V6(address)) => {
            let bits = ipv6.min(128);
            let mask = u128::MAX.checked_shl(u32::from(128 - bits)).unwrap_or(0);
            write!(text, "{}/{bits}", Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        None => Ok(()),
    };
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_has_every_form() {
        let address = b"2001:db8::25";
        assert_eq!(decimal(address), &b"42540766411282592856903984951653826597"[..]);
        assert_eq!(hexadecimal(address), &b"20010db8000000000000000000000025"[..]);
        assert_eq!(
            reverse(address),
            &b"5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"[..]
        );
        assert_eq!(network(address, 24, 64), &b"2001:db8::/64"[..]);
    }

    #[test]
    fn a_mapped_address_is_an_ipv4_address() {
        assert_eq!(reverse(b"::ffff:192.0.2.1"), &b"1.2.0.192"[..]);
    }

    #[test]
    fn a_network_may_be_everything_or_one_address() {
        assert_eq!(network(b"192.0.2.1", 0, 0), &b"0.0.0.0/0"[..]);
        assert_eq!(network(b"192.0.2.1", 32, 0), &b"192.0.2.1/32"[..]);
        assert_eq!(network(b"192.0.2.1", 128, 128), &b"192.0.2.1/32"[..]);
        assert_eq!(network(b"2001:db8::1", 0, 0), &b"::/0"[..]);
        assert_eq!(network(b"2001:db8::1", 0, 128), &b"2001:db8::1/128"[..]);
    }

    #[test]
    fn what_is_no_address_has_no_form() {
        for form in [decimal, hexadecimal, reverse] {
            assert_eq!(form(b"unknown"), &b""[..]);
            assert_eq!(form(b"192.0.2.1%eth0"), &b""[..]);
            assert_eq!(form(b"\xff"), &b""[..]);
        }
        assert_eq!(network(b"unknown", 24, 64), &b""[..]);
    }
}
