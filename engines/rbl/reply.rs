//! What a list may reply: patterns of addresses, as an administrator writes them.

use std::net::Ipv4Addr;

use mppd_engine::{Finding, Spanned};

/// A set of the numbers that one part of an address can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Part([u64; 4]);

impl Part {
    fn insert(&mut self, number: u8) {
        self.0[usize::from(number >> 6)] |= 1 << (number & 63);
    }

    fn contains(&self, number: u8) -> bool {
        self.0[usize::from(number >> 6)] & (1 << (number & 63)) != 0
    }

    fn of(numbers: impl Iterator<Item = u8>) -> Self {
        let mut part = Part::default();
        for number in numbers {
            part.insert(number);
        }
        part
    }

    fn is_only(&self, number: u8) -> bool {
        *self == Part::of(std::iter::once(number))
    }
}

/// A set of IPv4 addresses: `127.0.0.2`, `127.0.0.[4..7;10]`, `127.0.0.&4`, `127.0.0.0/24`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern([Part; 4]);

impl Pattern {
    /// Every address of 127.0.0.0/8.
    pub(super) fn any() -> Self {
        let any = Part::of(0..=u8::MAX);
        Pattern([Part::of(std::iter::once(127)), any, any, any])
    }

    /// One address.
    pub(super) fn one(address: Ipv4Addr) -> Self {
        Pattern(address.octets().map(|number| Part::of(std::iter::once(number))))
    }

    /// Reads a pattern.
    fn parse(text: &str) -> Option<Self> {
        if let Some((address, length)) = text.split_once('/') {
            return network(address.parse().ok()?, length.parse().ok()?);
        }
        let mut rest = text;
        let mut parts = [Part::default(); 4];
        for (index, part) in parts.iter_mut().enumerate() {
            if index > 0 {
                rest = rest.strip_prefix('.')?;
            }
            let end = match rest.strip_prefix('[') {
                Some(inner) => inner.find(']')? + 2,
                None => rest.find('.').unwrap_or(rest.len()),
            };
            *part = read_part(&rest[..end])?;
            rest = &rest[end..];
        }
        rest.is_empty().then_some(Pattern(parts))
    }

    /// Whether an address is one of them.
    pub(super) fn matches(&self, address: Ipv4Addr) -> bool {
        self.0.iter().zip(address.octets()).all(|(part, number)| part.contains(number))
    }

    /// Reads the patterns of a text; every fault goes to `findings`.
    pub(super) fn read_all(text: &Spanned<String>, findings: &mut Vec<Finding>) -> Vec<Self> {
        let mut patterns = Vec::new();
        for word in text.words() {
            match Pattern::parse(word.value) {
                Some(pattern) if !pattern.0[0].is_only(127) => {
                    let message = format!("\"{}\" is never the reply of a list", word.value);
                    let finding = Finding::error(word.span, message);
                    findings.push(finding.with_help("every reply is in 127.0.0.0/8"));
                }
                Some(pattern) if pattern.is_error() => {
                    let message = format!("\"{}\" is never a listing", word.value);
                    let finding = Finding::error(word.span, message);
                    let help = "with 127.255.255.0/24 a list says that it does not answer";
                    findings.push(finding.with_help(help));
                }
                Some(pattern) => patterns.push(pattern),
                None => findings.push(no_pattern(&word)),
            }
        }
        patterns
    }

    /// Whether it has nothing but codes of errors.
    fn is_error(&self) -> bool {
        self.0[1].is_only(255) && self.0[2].is_only(255)
    }
}

fn no_pattern(word: &Spanned<&str>) -> Finding {
    let message = format!("\"{}\" is not a pattern of replies", word.value);
    Finding::error(word.span, message).with_help(
        "expected 127.0.0.2, 127.0.0.[4..7;10], 127.0.0.0/24, or for any bit of a mask \
         127.0.0.[bits:6]",
    )
}

fn network(address: Ipv4Addr, length: u8) -> Option<Pattern> {
    let network = ipnet::Ipv4Net::new(address, length).ok()?;
    if network.network() != address {
        return None;
    }
    let (first, last) = (network.network().octets(), network.broadcast().octets());
    let mut parts = [Part::default(); 4];
    for (part, (first, last)) in parts.iter_mut().zip(first.into_iter().zip(last)) {
        *part = Part::of(first..=last);
    }
    Some(Pattern(parts))
}

/// `2`, `&6` or, in brackets, such and `4..7` and `bits:6`, with semicolons between them.
fn read_part(text: &str) -> Option<Part> {
    let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return match text.strip_prefix('&') {
            Some(mask) => bits(mask),
            None => Some(Part::of(std::iter::once(number(text)?))),
        };
    };
    let mut part = Part::default();
    for item in inner.split(';') {
        let read = read_item(item.trim())?;
        for number in (0..=u8::MAX).filter(|number| read.contains(*number)) {
            part.insert(number);
        }
    }
    Some(part)
}

fn read_item(item: &str) -> Option<Part> {
    if let Some(mask) = item.strip_prefix("bits:").or_else(|| item.strip_prefix('&')) {
        return bits(mask);
    }
    let (first, last) = item.split_once("..").unwrap_or((item, item));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then(|| Part::of(first..=last))
}

/// The numbers that have any bit of a mask.
fn bits(mask: &str) -> Option<Part> {
    let mask = number(mask)?;
    (mask != 0).then(|| Part::of((0..=u8::MAX).filter(|number| number & mask != 0)))
}

fn number(text: &str) -> Option<u8> {
    // What "parse" takes besides is a sign.
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use mppd_engine::config::{Origin, Source, SourceMap, Span};
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    fn matches(text: &str, address: &str) -> bool {
        pattern(text).matches(address.parse().unwrap())
    }

    fn faults(text: &str) -> Vec<String> {
        let mut sources = SourceMap::default();
        let source = Source { origin: Origin::Embedded("test"), text: text.to_owned() };
        let span = Span { source: sources.add(source), start: 0, end: text.len() };
        let mut findings = Vec::new();
        Pattern::read_all(&Spanned { value: text.to_owned(), span }, &mut findings);
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn an_address_is_only_itself() {
        assert!(matches("127.0.0.2", "127.0.0.2"));
        assert!(!matches("127.0.0.2", "127.0.0.3"));
        assert!(!matches("127.0.0.2", "127.0.1.2"));
    }

    #[test]
    fn brackets_hold_numbers_and_ranges_for_any_part() {
        for (address, is_one) in
            [("127.0.0.4", true), ("127.0.0.7", true), ("127.0.0.8", false), ("127.0.0.10", true)]
        {
            assert_eq!(matches("127.0.0.[4..7;10]", address), is_one, "{address}");
        }
        assert!(matches("127.0.[2..15].[0..3]", "127.0.5.1"));
        assert!(!matches("127.0.[2..15].[0..3]", "127.0.5.4"));
    }

    #[test]
    fn a_mask_takes_every_number_with_one_of_its_bits() {
        for text in ["127.0.0.&6", "127.0.0.[bits:6]", "127.0.0.[&6]"] {
            assert!(matches(text, "127.0.0.2") && matches(text, "127.0.0.14"), "{text}");
            assert!(!matches(text, "127.0.0.8"), "{text}");
        }
    }

    #[test]
    fn a_network_has_all_its_addresses() {
        assert!(matches("127.0.0.0/8", "127.99.0.2"));
        assert!(matches("127.0.0.16/28", "127.0.0.31"));
        assert!(!matches("127.0.0.16/28", "127.0.0.32"));
        assert_eq!(pattern("127.0.0.0/8"), Pattern::any());
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for text in [
            "127.0.0",
            "127.0.0.256",
            "127.0.0.2.3",
            "127.0.0.[7..4]",
            "127.0.0.[]",
            "127.0.0.[4",
            "127.0.0.+4",
            "127.0.0.&0",
            "127.0.0.1/24",
            "127.0.0.0/33",
            "localhost",
        ] {
            assert_eq!(faults(text), [format!("\"{text}\" is not a pattern of replies")]);
        }
    }

    #[test]
    fn what_can_never_be_a_listing_is_told() {
        assert_eq!(
            faults("192.0.2.1 127.0.0.2 127.255.255.[252..255]"),
            [
                "\"192.0.2.1\" is never the reply of a list",
                "\"127.255.255.[252..255]\" is never a listing",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_pattern_takes_what_its_parts_say(first: u8, last: u8, mask in 1..=u8::MAX, n: u8) {
            let address = Ipv4Addr::new(127, 0, 0, n);
            if first <= last {
                let range = pattern(&format!("127.0.0.[{first}..{last}]"));
                prop_assert_eq!(range.matches(address), (first..=last).contains(&n));
            }
            let masked = pattern(&format!("127.0.0.&{mask}"));
            prop_assert_eq!(masked.matches(address), n & mask != 0);
        }

        #[test]
        fn any_text_is_a_pattern_or_not(text in ".{0,30}") {
            let _read = Pattern::parse(&text);
        }
    }
}
