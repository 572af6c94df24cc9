//! SPF records (RFC 7208, sections 4.6.1, 5, 6 and 12): what makes a text one, and what it says.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::macros::{MacroString, Use};

/// What is wrong with a record. The result of a check is `permerror` then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SyntaxError {
    /// Something that is not printable ASCII.
    #[error("something is not printable ASCII")]
    NotAscii,
    /// A mechanism that is none.
    #[error("\"{0}\" is not known")]
    UnknownMechanism(String),
    /// A mechanism or modifier without what it needs, or with what it can't have.
    #[error("\"{0}\" is not understood")]
    Term(String),
    /// A domain that is none.
    #[error("\"{0}\" is not a domain")]
    DomainSpec(String),
    /// A macro that is none.
    #[error("a macro in \"{0}\" is not understood")]
    Macro(String),
    /// `redirect` or `exp` twice.
    #[error("\"{0}\" stands twice")]
    Twice(&'static str),
}

/// What a match means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Qualifier {
    /// `+`, or nothing.
    Pass,
    /// `-`
    Fail,
    /// `~`
    SoftFail,
    /// `?`
    Neutral,
}

/// How many leading bits of addresses are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroString),
}

/// A mechanism with its qualifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
    /// The mechanism as it is written.
    pub(super) text: Arc<str>,
}

/// A record, sound in every part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

const VERSION: &[u8] = b"v=spf1";

/// Whether a text is an SPF record: begins with the version, alone or followed by a blank.
pub(super) fn is_record(text: &[u8]) -> bool {
    let Some((version, rest)) = text.split_at_checked(VERSION.len()) else { return false };
    version.eq_ignore_ascii_case(VERSION) && matches!(rest, [] | [b' ', ..])
}

impl Record {
    /// Reads a text of which [`is_record`] is true.
    ///
    /// # Errors
    /// The first thing that is wrong, wherever it stands.
    pub(super) fn parse(text: &[u8]) -> Result<Self, SyntaxError> {
        let is_printable = text.iter().all(|octet| matches!(octet, b' '..=b'~'));
        let text = std::str::from_utf8(text).ok().filter(|_| is_printable);
        let terms = text.and_then(|text| text.get(VERSION.len()..)).ok_or(SyntaxError::NotAscii)?;
        let mut record = Record::default();
        for term in terms.split(' ').filter(|term| !term.is_empty()) {
            match as_modifier(term) {
                Some((name, value)) => record.modifier(name, value)?,
                None => record.directives.push(directive(term)?),
            }
        }
        Ok(record)
    }

    fn modifier(&mut self, name: &str, value: &str) -> Result<(), SyntaxError> {
        let (slot, name) = if name.eq_ignore_ascii_case("redirect") {
            (&mut self.redirect, "redirect")
        } else if name.eq_ignore_ascii_case("exp") {
            (&mut self.explanation, "exp")
        } else {
            // What it means is nobody's business, but it must be a text with macros.
            return MacroString::parse(value, Use::Record).map(drop);
        };
        if slot.replace(MacroString::parse_domain(value)?).is_some() {
            return Err(SyntaxError::Twice(name));
        }
        Ok(())
    }
}

/// Name and value, if the term is a modifier: a name with `=` right behind it.
fn as_modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let begins = name.bytes().next().is_some_and(|octet| octet.is_ascii_alphabetic());
    let is_name =
        name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
    (begins && is_name).then_some((name, value))
}

fn directive(term: &str) -> Result<Directive, SyntaxError> {
    let (qualifier, text) = match term.split_at_checked(1) {
        Some(("+", text)) => (Qualifier::Pass, text),
        Some(("-", text)) => (Qualifier::Fail, text),
        Some(("~", text)) => (Qualifier::SoftFail, text),
        Some(("?", text)) => (Qualifier::Neutral, text),
        _ => (Qualifier::Pass, term),
    };
    let name_end = text.find([':', '/']).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    let mechanism = mechanism(name, rest, text)?;
    Ok(Directive { qualifier, mechanism, text: text.into() })
}

fn mechanism(name: &str, rest: &str, whole: &str) -> Result<Mechanism, SyntaxError> {
    let fault = || SyntaxError::Term(whole.to_owned());
    let argument = rest.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Ok(Mechanism::All),
        "include" => MacroString::parse_domain(argument.ok_or_else(fault)?).map(Mechanism::Include),
        "exists" => MacroString::parse_domain(argument.ok_or_else(fault)?).map(Mechanism::Exists),
        "a" => domain_and_prefixes(rest, whole).map(|(domain, bits)| Mechanism::A(domain, bits)),
        "mx" => domain_and_prefixes(rest, whole).map(|(domain, bits)| Mechanism::Mx(domain, bits)),
        "ptr" if rest.is_empty() => Ok(Mechanism::Ptr(None)),
        "ptr" => {
            let domain = MacroString::parse_domain(argument.ok_or_else(fault)?)?;
            Ok(Mechanism::Ptr(Some(domain)))
        }
        "ip4" => {
            let network = argument.and_then(|text| network(text, 32));
            network.map(|(address, bits)| Mechanism::Ip4(address, bits)).ok_or_else(fault)
        }
        "ip6" => {
            let network = argument.and_then(|text| network(text, 128));
            network.map(|(address, bits)| Mechanism::Ip6(address, bits)).ok_or_else(fault)
        }
        "all" => Err(fault()),
        _ => Err(SyntaxError::UnknownMechanism(whole.to_owned())),
    }
}

/// `[ ":" domain-spec ] [ dual-cidr-length ]`
fn domain_and_prefixes(
    text: &str,
    whole: &str,
) -> Result<(Option<MacroString>, Prefixes), SyntaxError> {
    let fault = || SyntaxError::Term(whole.to_owned());
    let (front, v6) = match split_digits(text, "//") {
        Some((front, digits)) => (front, number(digits, 128).ok_or_else(fault)?),
        None => (text, 128),
    };
    let (front, v4) = match split_digits(front, "/") {
        Some((front, digits)) => (front, number(digits, 32).ok_or_else(fault)?),
        None => (front, 32),
    };
    let domain = match front.strip_prefix(':') {
        Some(domain) => Some(MacroString::parse_domain(domain)?),
        None if front.is_empty() => None,
        None => return Err(fault()),
    };
    Ok((domain, Prefixes { v4, v6 }))
}

/// What stands before the last `separator`, if nothing but digits stand behind it.
fn split_digits<'a>(text: &'a str, separator: &str) -> Option<(&'a str, &'a str)> {
    let (front, digits) = text.rsplit_once(separator)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then_some((front, digits))
}

/// A number without zeros in front.
fn number(digits: &str, most: u8) -> Option<u8> {
    let is_plain = digits.bytes().all(|octet| octet.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|number| is_plain && *number <= most)
}

fn network<A: std::str::FromStr>(text: &str, most: u8) -> Option<(A, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, digits)) => (address, number(digits, most)?),
        None => (text, most),
    };
    Some((address.parse().ok()?, bits))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(terms: &str) -> Result<Record, SyntaxError> {
        Record::parse(format!("v=spf1 {terms}").as_bytes())
    }

    #[test]
    fn a_record_begins_with_its_version() {
        for text in ["v=spf1", "V=SPF1 -all", "v=spf1 "] {
            assert!(is_record(text.as_bytes()), "{text}");
        }
        for text in ["", "v=spf", "v=spf10", "v=spf1-all", "v=spf1\t-all", " v=spf1"] {
            assert!(!is_record(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn prefixes_stand_at_the_end() {
        let prefixes = |terms: &str| match &parse(terms).unwrap().directives[0].mechanism {
            Mechanism::A(domain, Prefixes { v4, v6 }) => (domain.is_some(), *v4, *v6),
            other => panic!("{other:?}"),
        };
        assert_eq!(prefixes("a"), (false, 32, 128));
        assert_eq!(prefixes("a/24"), (false, 24, 128));
        assert_eq!(prefixes("a//64"), (false, 32, 64));
        assert_eq!(prefixes("a/0//0"), (false, 0, 0));
        assert_eq!(prefixes("a:example.com/24//64"), (true, 24, 64));
        assert_eq!(prefixes("a:%{d/}/24"), (true, 24, 128));
    }

    #[test]
    fn what_is_not_understood_is_an_error_wherever_it_stands() {
        for terms in [
            "a/33",
            "a//129",
            "a/01",
            "a/",
            "a//",
            "a:",
            "a:/24",
            "a/24/64",
            "a:x.example/24/24",
            "mx:",
            "ptr:",
            "ptr/24",
            "ptr:x.example/24",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4/08",
            "ip4:1.2.3.4:25",
            "ip6:::1/129",
            "ip6:1.2.3.4",
            "exists",
            "exists:",
            "exists:x.example/24",
            "include",
            "include:",
            "all:x.example",
            "all/8",
            "all.",
            "moo",
            "moo:x.example",
            "redirect=",
            "exp=",
            "redirect=x.example/24",
            "exp=a.example exp=b.example",
            "redirect=a.example redirect=b.example",
            "+a=b",
            "=x",
            "1x=y",
            "x=%",
            "--all",
            "-",
            "a:b.c\u{e9}.d",
            "-all moo",
        ] {
            assert!(parse(terms).is_err(), "{terms}");
        }
    }

    #[test]
    fn unknown_modifiers_are_passed_over() {
        let record = parse("x-y_z.1=%{l}/foo:bar x= -all").unwrap();
        assert_eq!(record.directives.len(), 1);
    }

    #[test]
    fn an_ipv6_network_may_end_like_an_ipv4_address() {
        let record = parse("ip6:::ffff:192.0.2.1/120").unwrap();
        let address = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(record.directives[0].mechanism, Mechanism::Ip6(address, 120));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let whole = [b"v=spf1 ", &octets[..]].concat();
            prop_assert!(is_record(&whole));
            for text in [&octets, &whole] {
                let is_printable = text.iter().all(|octet| matches!(octet, b' '..=b'~'));
                prop_assert!(is_printable || Record::parse(text).is_err());
            }
        }

        #[test]
        fn any_terms_are_read_or_refused(terms in "([+?~-]?(a|mx|ptr|all|ip4|ip6|exists|include|exp=|redirect=|x=)?[:/%{}a-z0-9./_-]{0,12} ){0,8}") {
            let count = terms.split(' ').filter(|term| !term.is_empty()).count();
            let read = parse(&terms).map_or(0, |record| record.directives.len());
            prop_assert!(read <= count);
        }
    }
}
