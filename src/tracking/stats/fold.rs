//! From the values of columns to what people count by.

use std::net::IpAddr;

use super::By;
use crate::tracking::reader::Field;
use crate::tracking::row::restore_domain;

/// The value that the columns of [`By`] say together.
pub(super) fn value(by: By, fields: &[Field]) -> String {
    let text = |place: usize| fields.get(place).and_then(Field::text);
    match by {
        By::Reason => reason(text(0), text(1), text(2)),
        By::Network => network(&text(0).unwrap_or_default()),
        By::Sender | By::Recipient => address(text(0), text(1)),
        By::SenderDomain | By::RecipientDomain => {
            text(0).map(|domain| restore_domain(&domain)).unwrap_or_default()
        }
        _ => text(0).unwrap_or_default(),
    }
}

fn reason(word: Option<String>, text: Option<String>, error: Option<String>) -> String {
    match (word, text, error) {
        (Some(word), Some(text), _) if !text.is_empty() => format!("{word} {text}"),
        (Some(word), ..) => word,
        (None, _, Some(error)) => format!("failed: {error}"),
        (None, _, None) => String::new(),
    }
}

fn address(local: Option<String>, domain: Option<String>) -> String {
    match (local, domain) {
        (Some(local), Some(domain)) => format!("{local}@{}", restore_domain(&domain)),
        (Some(local), None) if local.is_empty() => "<>".to_owned(),
        (Some(local), None) => local,
        (None, _) => String::new(),
    }
}

fn network(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Ok(IpAddr::V6(address)) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            format!("{}/64", std::net::Ipv6Addr::from_bits(network))
        }
        Err(_) => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Field {
        Field::Octets(text.as_bytes().to_vec())
    }

    #[test]
    fn clients_are_counted_by_network() {
        assert_eq!(network("192.0.2.77"), "192.0.2.0/24");
        assert_eq!(network("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
        assert_eq!(network("unknown"), "unknown");
    }

    #[test]
    fn an_address_is_put_together_again() {
        assert_eq!(value(By::Sender, &[text("a"), text("com.example")]), "a@example.com");
        assert_eq!(value(By::Sender, &[text(""), Field::Null]), "<>");
        assert_eq!(value(By::Sender, &[Field::Null, Field::Null]), "");
        assert_eq!(value(By::RecipientDomain, &[text("com.example")]), "example.com");
    }

    #[test]
    fn a_reason_is_a_decision_with_its_text_or_an_exception() {
        assert_eq!(value(By::Reason, &[text("450"), text("later"), Field::Null]), "450 later");
        assert_eq!(value(By::Reason, &[text("DUNNO"), text(""), Field::Null]), "DUNNO");
        let failed = value(By::Reason, &[Field::Null, Field::Null, text("spf: timeout")]);
        assert_eq!(failed, "failed: spf: timeout");
    }
}
