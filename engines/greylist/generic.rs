//! Names that an access provider or a hoster gave to an address of its own: whoever runs the machine
//! did not choose them, so they do not tell who that is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Words in names of machines that are anybody's.
const ANYBODYS: &[&str] = &[
    "adsl",
    "broadband",
    "cable",
    "client",
    "clients",
    "cpe",
    "cust",
    "customer",
    "customers",
    "dhcp",
    "dial",
    "dialin",
    "dialup",
    "dsl",
    "dyn",
    "dynamic",
    "dynip",
    "fiber",
    "ftth",
    "gprs",
    "home",
    "host",
    "hsi",
    "instance",
    "ip",
    "ipv",
    "lte",
    "mobile",
    "node",
    "pool",
    "ppp",
    "pppoe",
    "rdns",
    "res",
    "residential",
    "rev",
    "reverse",
    "static",
    "unassigned",
    "user",
    "users",
    "vdsl",
    "vm",
    "vps",
    "vserver",
    "wireless",
    "xdsl",
];

/// How words begin in names of machines that send mail for a living.
const MAILERS: &[&str] = &["mail", "mta", "mx", "out", "relay", "send", "smtp"];

/// Whether a name in lower case, at this address, may be anybody's. `host` is the part below the
/// registered domain.
pub(super) fn is_generic(name: &[u8], host: &[u8], address: IpAddr) -> bool {
    if words(host).any(|word| ANYBODYS.iter().any(|known| known.as_bytes() == word)) {
        return true;
    }
    match address {
        IpAddr::V4(address) => holds_ipv4(name, address),
        IpAddr::V6(address) => holds_ipv6(name, address),
    }
}

fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|octet| !octet.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

/// Whether three parts of the address stand in the name one behind the other, in either direction,
/// or the last two in one that does not say that it sends mail; or all of it in one number.
fn holds_ipv4(name: &[u8], address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets().map(u32::from);
    let (mut before, mut last) = (None, None);
    let mut holds_two = false;
    for digits in name.split(|octet| !octet.is_ascii_digit()).filter(|run| !run.is_empty()) {
        if is_whole_ipv4(digits, address) {
            return true;
        }
        let number = number(digits);
        if let (Some(first), Some(second), Some(third)) = (before, last, number) {
            let three = [first, second, third];
            if [[a, b, c], [b, c, d], [c, b, a], [d, c, b]].contains(&three) {
                return true;
            }
        }
        if let (Some(first), Some(second)) = (last, number) {
            holds_two |= [[c, d], [d, c]].contains(&[first, second]);
        }
        (before, last) = (last, number);
    }
    (holds_two && !words(name).any(sends_mail)) || holds_hexadecimal(name, address)
}

fn sends_mail(word: &[u8]) -> bool {
    MAILERS.iter().any(|beginning| word.starts_with(beginning.as_bytes()))
}

/// A part of an address in decimal, with zeros in front or not.
fn number(digits: &[u8]) -> Option<u32> {
    const LONGEST: usize = 3;
    if digits.len() > LONGEST {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// All four parts with three digits each, in either direction, or one number.
fn is_whole_ipv4(digits: &[u8], address: Ipv4Addr) -> bool {
    const PADDED: usize = 12;
    const LEAST: usize = 8;
    let parts = || digits.chunks(3).map(number);
    let octets = address.octets().map(|octet| Some(u32::from(octet)));
    match digits.len() {
        PADDED => parts().eq(octets) || parts().rev().eq(octets),
        LEAST.. => {
            std::str::from_utf8(digits).is_ok_and(|text| text.parse() == Ok(address.to_bits()))
        }
        _ => false,
    }
}

fn holds_hexadecimal(name: &[u8], address: Ipv4Addr) -> bool {
    const DIGITS: usize = 8;
    let value = |run: &[u8]| u32::from_str_radix(std::str::from_utf8(run).ok()?, 16).ok();
    let bits = address.to_bits();
    name.split(|octet| !octet.is_ascii_hexdigit())
        .filter(|run| run.len() == DIGITS)
        .filter_map(value)
        .any(|number| number == bits || number == bits.swap_bytes())
}

/// Whether three groups of the address stand in the name one behind the other, zeros left out, or
/// half of its digits in one piece, in either direction.
fn holds_ipv6(name: &[u8], address: Ipv6Addr) -> bool {
    const ENOUGH: usize = 3;
    let groups: Vec<u16> = address.segments().into_iter().filter(|group| *group != 0).collect();
    let value = |run: &[u8]| u16::from_str_radix(std::str::from_utf8(run).ok()?, 16).ok();
    let runs = name.split(|octet| !octet.is_ascii_hexdigit()).filter(|run| !run.is_empty());
    let numbers: Vec<u16> = runs.filter_map(value).filter(|number| *number != 0).collect();
    let holds_groups =
        numbers.windows(ENOUGH).any(|three| groups.windows(ENOUGH).any(|part| part == three));
    holds_groups || holds_digits(name, address)
}

fn holds_digits(name: &[u8], address: Ipv6Addr) -> bool {
    const HALF: usize = 16;
    let is_digit = |octet: &u8| octet.is_ascii_hexdigit();
    let digits: Vec<u8> = name.iter().copied().filter(is_digit).collect();
    let whole = format!("{:032x}", address.to_bits()).into_bytes();
    let reversed: Vec<u8> = whole.iter().rev().copied().collect();
    let holds = |half: &[u8]| digits.windows(HALF).any(|window| window == half);
    [&whole, &reversed].iter().any(|whole| holds(&whole[..HALF]) || holds(&whole[HALF..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_generic_name(name: &str, address: &str) -> bool {
        let domain = psl::domain(name.as_bytes()).unwrap();
        let host = &name.as_bytes()[..name.len() - domain.as_bytes().len()];
        is_generic(name.as_bytes(), host, address.parse().unwrap())
    }

    #[test]
    fn a_name_with_the_address_in_it_is_anybodys() {
        for name in [
            "192-0-2-33.isp.example",
            "33.2.0.192.isp.example",
            "a192-000-002-033.isp.example",
            "192000002033.isp.example",
            "x033002000192.isp.example",
            "3221226017.isp.example",
            "nc0000221.isp.example",
            "n210200c0.isp.example",
            "h2-33.isp.example",
            "h33x2.isp.example",
            "ns1.on-192-0-2.example",
        ] {
            assert!(is_generic_name(name, "192.0.2.33"), "{name}");
        }
    }

    #[test]
    fn a_name_with_a_word_for_it_is_anybodys() {
        for name in ["dsl7.isp.example", "a.dyn.isp.example", "vps-1a2b3c.hoster.example"] {
            assert!(is_generic_name(name, "192.0.2.33"), "{name}");
        }
        // A provider may be named so.
        assert!(!is_generic_name("mail.dyn.example", "192.0.2.33"));
    }

    #[test]
    fn a_name_that_tells_who_it_is_is_not() {
        for name in [
            "mail.example.com",
            "mail-ed1-f33.example.com",
            "a2-33.smtp-out.example.com",
            "mx33.example.com",
            "m7-2101.outbound.example.com",
            "example.com",
            "o192.mailer.example.com",
        ] {
            assert!(!is_generic_name(name, "192.0.2.33"), "{name}");
        }
    }

    #[test]
    fn international_addresses_are_found_in_names_too() {
        let address = "2001:db8:12:0:a00:27ff:fe4e:66a1";
        for name in [
            "2001-db8-12--a00-27ff-fe4e-66a1.isp.example",
            "x-a00-27ff-fe4e-66a1.isp.example",
            "20010db8001200000a0027fffe4e66a1.isp.example",
            "h0a0027fffe4e66a1.isp.example",
            "1.a.6.6.e.4.e.f.f.f.7.2.0.0.a.0.isp.example",
        ] {
            assert!(is_generic_name(name, address), "{name}");
        }
        for name in ["mail-lf1-x12a.example.com", "mx1.example.com", "mail.a00.example.com"] {
            assert!(!is_generic_name(name, address), "{name}");
        }
    }
}
