//! Senders, recipients, domains and clients as people write them.

use std::net::IpAddr;

use super::{QuestionError, equals};
use crate::tracking::row::reverse_domain;
use crate::tracking::store::Condition;

/// An address, a domain, `.domain` for a domain and all below it, or `<>`.
pub(super) fn mailbox(local: &'static str, domain: &'static str, text: &str) -> Condition {
    if matches!(text, "" | "<>") {
        return Condition::All(vec![equals(local, ""), Condition::Absent(domain)]);
    }
    if let Some(name) = text.strip_prefix('.').or_else(|| text.strip_prefix("@.")) {
        return at_or_below(domain, name);
    }
    match text.rsplit_once('@') {
        Some(("", name)) => equals(domain, &reverse_domain(name)),
        Some((name, rest)) => {
            Condition::All(vec![equals(domain, &reverse_domain(rest)), equals(local, name)])
        }
        // An address without a domain looks like a domain.
        None => Condition::Any(vec![
            equals(domain, &reverse_domain(text)),
            Condition::All(vec![equals(local, text), Condition::Absent(domain)]),
        ]),
    }
}

/// Sender or recipient in a domain or below it.
pub(super) fn in_domain(text: &str) -> Condition {
    let name = text.trim_start_matches(['@', '.']);
    let columns = ["sender_reverse_domain", "recipient_reverse_domain"];
    Condition::Any(columns.map(|column| at_or_below(column, name)).to_vec())
}

fn at_or_below(column: &'static str, name: &str) -> Condition {
    let reversed = reverse_domain(name.trim_end_matches('.'));
    let below = Condition::Begins(column, format!("{reversed}."));
    Condition::Any(vec![equals(column, &reversed), below])
}

/// An address, the beginning of one, or a network of any length.
pub(super) fn client(text: &str) -> Result<Condition, QuestionError> {
    const COLUMN: &str = "client_address";
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(equals(COLUMN, &address.to_string()));
    }
    if let Some((address, bits)) = text.split_once('/') {
        let wrong = || QuestionError::Network(text.to_owned());
        let bits = bits.parse().map_err(|_| wrong())?;
        // 192.0.2/24 is what many write.
        let address = address.parse().or_else(|_| completed(address).parse());
        return network(COLUMN, address.map_err(|_| wrong())?, bits).ok_or_else(wrong);
    }
    if text.ends_with(['.', ':']) {
        return Ok(Condition::Begins(COLUMN, text.to_owned()));
    }
    let is_beginning =
        text.contains('.') && text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    if is_beginning {
        return Ok(Condition::Begins(COLUMN, format!("{text}.")));
    }
    // `unknown`, and whatever else Postfix may have said.
    Ok(equals(COLUMN, text))
}

fn completed(beginning: &str) -> String {
    let missing = 3_usize.saturating_sub(beginning.matches('.').count());
    beginning.trim_end_matches('.').to_owned() + &".0".repeat(missing)
}

fn network(column: &'static str, address: IpAddr, bits: u32) -> Option<Condition> {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let rest = u32::checked_sub(width, bits)?;
    let hosts = 1_u128.checked_shl(rest).map_or(u128::MAX, |size| size - 1);
    let (first, last) = (number & !hosts, number | hosts);
    let octets = |number: u128| {
        let octets = number.to_be_bytes();
        octets[octets.len() - width as usize / 8..].to_vec()
    };
    let beginning = beginning(address, bits);
    let is_all = rest % 8 == 0 && address.is_ipv4() && !beginning.is_empty();
    let begins = Condition::Begins(column, beginning.clone());
    if rest == 0 {
        return Some(equals(column, &address.to_string()));
    }
    if is_all {
        return Some(begins);
    }
    let between = Condition::Between(column, octets(first), octets(last));
    let parts = if beginning.is_empty() { vec![between] } else { vec![begins, between] };
    Some(Condition::All(parts))
}

/// What the text of every address of a network begins with, so that a key leads there. A group of
/// zeros can be written in two ways.
fn beginning(address: IpAddr, bits: u32) -> String {
    match address {
        IpAddr::V4(address) => {
            let whole = address.octets().into_iter().take(bits as usize / 8);
            whole.fold(String::new(), |text, octet| text + &octet.to_string() + ".")
        }
        IpAddr::V6(address) => {
            let whole = address.segments().into_iter().take(bits as usize / 16);
            let plain = whole.take_while(|group| *group != 0);
            plain.fold(String::new(), |text, group| text + &format!("{group:x}:"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_itself_and_all_below_it() {
        let Condition::Any(parts) = in_domain("Example.com") else { panic!() };
        let of = |column| {
            let equals = Condition::Equals(column, "com.example".into());
            Condition::Any(vec![equals, Condition::Begins(column, "com.example.".into())])
        };
        assert_eq!(parts, [of("sender_reverse_domain"), of("recipient_reverse_domain")]);
        let below = mailbox("sender_local", "sender_reverse_domain", ".example.com");
        assert_eq!(below, of("sender_reverse_domain"));
    }

    #[test]
    fn an_address_is_its_local_part_and_its_domain() {
        let condition = mailbox("sender_local", "sender_reverse_domain", "A@mail.Example.com");
        let domain = Condition::Equals("sender_reverse_domain", "com.example.mail".into());
        let local = Condition::Equals("sender_local", "A".into());
        assert_eq!(condition, Condition::All(vec![domain, local]));
    }

    #[test]
    fn a_client_is_an_address_or_the_beginning_of_one() {
        let begins = |text: &str| Ok(Condition::Begins("client_address", text.into()));
        let equals = |text: &str| Ok(Condition::Equals("client_address", text.into()));
        assert_eq!(client("192.0.2.1"), equals("192.0.2.1"));
        assert_eq!(client("2001:DB8:0::1"), equals("2001:db8::1"));
        assert_eq!(client("unknown"), equals("unknown"));
        assert_eq!(client("192.0.2.0/24"), begins("192.0.2."));
        assert_eq!(client("192.0.2/24"), begins("192.0.2."));
        assert_eq!(client("10.0.0.0/8"), begins("10."));
        assert_eq!(client("192.0.2.7/32"), equals("192.0.2.7"));
        assert_eq!(client("192.0.2."), begins("192.0.2."));
        assert_eq!(client("192.0"), begins("192.0."));
        assert_eq!(client("2001:db8:"), begins("2001:db8:"));
        for wrong in ["192.0.2.0/33", "2001:db8::/129", "x/8", "/8", "192.0.2.0/-1"] {
            assert!(client(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_of_any_length_is_the_addresses_from_its_first_to_its_last() {
        let Ok(Condition::All(parts)) = client("192.0.18.9/20") else { panic!() };
        let (first, last) = (vec![192, 0, 16, 0], vec![192, 0, 31, 255]);
        assert_eq!(parts[0], Condition::Begins("client_address", "192.0.".into()));
        assert_eq!(parts[1], Condition::Between("client_address", first, last));
        let Ok(Condition::All(parts)) = client("2001:db8:0:9000::/50") else { panic!() };
        assert_eq!(parts[0], Condition::Begins("client_address", "2001:db8:".into()));
        let Condition::Between(_, first, last) = &parts[1] else { panic!() };
        assert_eq!((first[6], last[6], last[15]), (0x80, 0xbf, 0xff));
        let Ok(Condition::All(parts)) = client("::/0") else { panic!() };
        assert_eq!(parts.len(), 1);
    }
}
