//! Host and domain names, each with the names below it, found label by label.

use std::borrow::Cow;
use std::net::IpAddr;

use idna::AsciiDenyList;
use mppd_engine::Attribute;

use crate::expressions::{Expression, Expressions};
use crate::formats::Format;
use crate::keys::Keys;
use crate::reading::{BETWEEN_ENTRIES, Fault};
use crate::{Found, Shown, Table};

/// Most octets in a name, and in one label (RFC 1035, section 2.3.4; without the final dot).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A request's name that is not ASCII is not converted when it is longer than this; no name in the
/// DNS is.
const MAX_INTERNATIONAL: usize = 4 * MAX_NAME;

/// Names in normal form, each with a value.
#[derive(Debug)]
pub struct Names<V> {
    reaches: Keys<Reach<V>>,
    expressions: Expressions<V>,
}

/// The values of the entries for one name.
#[derive(Debug, Clone, Copy)]
struct Reach<V> {
    /// Of `example.org`.
    both: Option<V>,
    /// Of `@example.org`.
    itself: Option<V>,
    /// Of `.example.org`.
    below: Option<V>,
}

impl<V> Default for Names<V> {
    fn default() -> Self {
        Names { reaches: Keys::default(), expressions: Expressions::default() }
    }
}

impl<V> Reach<V> {
    const NONE: Self = Reach { both: None, itself: None, below: None };

    fn get(&self, scope: Scope) -> Option<&V> {
        match scope {
            Scope::Both => self.both.as_ref(),
            Scope::Itself => self.itself.as_ref(),
            Scope::Below => self.below.as_ref(),
        }
    }
}

/// One name of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameEntry {
    name: Box<[u8]>,
    scope: Scope,
}

/// How far an entry reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The name, and those below it.
    Both,
    Itself,
    Below,
}

impl Scope {
    /// What stands before the name where the configuration writes it.
    fn sign(self) -> &'static str {
        match self {
            Scope::Both => "",
            Scope::Itself => "@",
            Scope::Below => ".",
        }
    }
}

impl NameEntry {
    /// Reads `example.org` (with all below it), `.example.org` (only what is below it) or an
    /// address literal.
    ///
    /// # Errors
    /// Why the text is none of these.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(parent) = text.strip_prefix('.') {
            return Ok(NameEntry { name: parse_name(parent, text)?, scope: Scope::Below });
        }
        Ok(NameEntry { name: parse_domain(text, text)?, scope: Scope::Both })
    }

    /// Reads a domain that stands for itself only; `entry` is what is shown if it is none.
    ///
    /// # Errors
    /// Why the text is no domain.
    pub fn parse_exact(domain: &str, entry: &str) -> Result<Self, Fault> {
        Ok(NameEntry { name: parse_domain(domain, entry)?, scope: Scope::Itself })
    }

    /// The name, in normal form.
    #[must_use]
    pub fn into_name(self) -> Box<[u8]> {
        self.name
    }

    /// As it is shown.
    pub(crate) fn text(&self) -> Vec<u8> {
        [self.scope.sign().as_bytes(), &self.name].concat()
    }
}

/// One entry of a list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEntry {
    /// A name.
    Name(NameEntry),
    /// A regular expression that is compared with the whole name.
    Expression(Expression),
}

impl<V> Names<V> {
    /// The most specific entry for a name in normal form: the longest, of two for one name that
    /// which reaches less far.
    #[must_use]
    pub fn find<'a>(&'a self, name: &'a [u8]) -> Option<Found<'a, V>> {
        self.find_name(name).or_else(|| self.expressions.find(name))
    }

    fn find_name<'a>(&'a self, name: &'a [u8]) -> Option<Found<'a, V>> {
        if self.reaches.is_empty() {
            return None;
        }
        self.find_at(name, Scope::Itself)
            .or_else(|| parents(name).find_map(|parent| self.find_at(parent, Scope::Below)))
    }

    /// The entry for this name that reaches exactly so far or, where there is none, both.
    fn find_at<'a>(&'a self, name: &'a [u8], scope: Scope) -> Option<Found<'a, V>> {
        let reach = self.reaches.get(name)?;
        let found = |scope| Some((scope, reach.get(scope)?));
        let (scope, value) = found(scope).or_else(|| found(Scope::Both))?;
        let specificity = specificity(name) + u32::from(scope != Scope::Both);
        Some(Found { value, entry: Shown::Name(scope.sign(), name), specificity })
    }
}

/// The names above a name, from the longest. No entry is longer than a name can be, so the labels
/// before that are not looked at.
pub(crate) fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let start = name.len().saturating_sub(MAX_NAME + 1);
    let dots = name[start..].iter().enumerate().filter(|(_, octet)| **octet == b'.');
    dots.map(move |(dot, _)| &name[start + dot + 1..])
}

/// How specific an entry for a name is that reaches as far as it can. Below 1,024.
pub(crate) fn specificity(name: &[u8]) -> u32 {
    u32::try_from(name.len().min(MAX_NAME)).map_or(0, |length| 2 * length + 2)
}

impl<V: Copy> Names<V> {
    pub(crate) fn name(&self, entry: &NameEntry) -> Option<&V> {
        self.reaches.get(&entry.name)?.get(entry.scope)
    }

    pub(crate) fn contains_name(&self, NameEntry { name, scope }: &NameEntry) -> bool {
        let Some(reach) = self.reaches.get(name) else { return false };
        let has = |scope| reach.get(scope).is_some();
        has(Scope::Both)
            || match scope {
                Scope::Both => has(Scope::Itself) && has(Scope::Below),
                scope => has(*scope),
            }
    }

    pub(crate) fn name_values(&self, NameEntry { name, scope }: &NameEntry) -> [Option<&V>; 3] {
        let Some(reach) = self.reaches.get(name) else { return [None; 3] };
        let narrow = |other| reach.get(other).filter(|_| *scope == Scope::Both || *scope == other);
        [reach.get(Scope::Both), narrow(Scope::Itself), narrow(Scope::Below)]
    }

    pub(crate) fn insert_name(&mut self, entry: &NameEntry, value: V) {
        let (reach, _) = self.reaches.get_or_insert(&entry.name, Reach::NONE);
        let place = match entry.scope {
            Scope::Both => &mut reach.both,
            Scope::Itself => &mut reach.itself,
            Scope::Below => &mut reach.below,
        };
        *place = Some(value);
    }
}

impl<V: Copy> Table<V> for Names<V> {
    type Entry = HostEntry;

    const FORMATS: &'static [Format] = &[Format::Lines, Format::Postgrey, Format::Hash];

    fn parse(text: &str, attribute: Attribute) -> Result<HostEntry, Fault> {
        if matches!(attribute, Attribute::ClientName | Attribute::ReverseClientName) {
            if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
                return Err(Fault::new(format!("\"{text}\" is an address, not a name"))
                    .with_help("addresses belong into <client_address>"));
            }
            if text == "unknown" {
                return Err(unknown(attribute));
            }
        }
        NameEntry::parse(text).map(HostEntry::Name)
    }

    fn parse_as(format: Format, text: &str, attribute: Attribute) -> Result<HostEntry, Fault> {
        match Expression::read(text).filter(|_| format == Format::Postgrey) {
            Some(expression) => expression.map(HostEntry::Expression),
            None => Self::parse(text, attribute),
        }
    }

    fn contains(&self, entry: &HostEntry) -> bool {
        match entry {
            HostEntry::Name(name) => self.contains_name(name),
            HostEntry::Expression(expression) => self.expressions.get(expression).is_some(),
        }
    }

    fn get(&self, entry: &HostEntry) -> Option<&V> {
        match entry {
            HostEntry::Name(name) => self.name(name),
            HostEntry::Expression(expression) => self.expressions.get(expression),
        }
    }

    fn values(&self, entry: &HostEntry) -> [Option<&V>; 3] {
        match entry {
            HostEntry::Name(name) => self.name_values(name),
            HostEntry::Expression(expression) => [self.expressions.get(expression), None, None],
        }
    }

    fn insert(&mut self, entry: HostEntry, value: V) {
        match entry {
            HostEntry::Name(name) => self.insert_name(&name, value),
            HostEntry::Expression(expression) => self.expressions.insert(expression, value),
        }
    }

    fn is_empty(&self) -> bool {
        self.reaches.is_empty() && self.expressions.is_empty()
    }

    fn settle(&mut self) {
        self.reaches.shrink();
        self.expressions.settle();
    }
}

fn unknown(attribute: Attribute) -> Fault {
    let why = match attribute {
        Attribute::ClientName => {
            "Postfix says \"unknown\" of a client whose name it could not verify"
        }
        _ => "Postfix says \"unknown\" of a client whose address points to no name",
    };
    Fault::new("\"unknown\" is never found here").with_help(why)
}

/// The normal form of a name in a request: lower case, A-labels, without the dot at its end. What
/// is no name has one as well; no entry is equal to it.
#[must_use]
pub fn normalise(name: &[u8]) -> Cow<'_, [u8]> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if !name.is_ascii()
        && name.len() <= MAX_INTERNATIONAL
        && let Some(ascii) = to_ascii(name)
    {
        return Cow::Owned(ascii);
    }
    lower(name)
}

/// Octets with the letters of ASCII in lower case.
pub(crate) fn lower(octets: &[u8]) -> Cow<'_, [u8]> {
    if octets.iter().any(u8::is_ascii_uppercase) {
        return Cow::Owned(octets.to_ascii_lowercase());
    }
    Cow::Borrowed(octets)
}

fn to_ascii(name: &[u8]) -> Option<Vec<u8>> {
    // The list forbids "@" among others, so that a domain cannot become an address.
    let ascii = idna::domain_to_ascii_cow(name, AsciiDenyList::URL).ok()?;
    let name = ascii.strip_suffix('.').unwrap_or(&ascii);
    Some(name.as_bytes().to_vec())
}

fn parse_domain(text: &str, entry: &str) -> Result<Box<[u8]>, Fault> {
    let literal = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal {
        Some(inner) if is_literal(inner) => Ok(text.to_ascii_lowercase().into_bytes().into()),
        _ => parse_name(text, entry),
    }
}

fn is_literal(inner: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_graphic() && !b"[]\\@".contains(&octet);
    !inner.is_empty() && inner.len() < MAX_NAME && inner.bytes().all(is_plain)
}

fn parse_name(text: &str, entry: &str) -> Result<Box<[u8]>, Fault> {
    let name = normalise(text.as_bytes());
    if is_name(&name) {
        return Ok(name.into());
    }
    let fault = Fault::new(format!("\"{entry}\" is not a name"));
    Err(match entry.strip_prefix("*.") {
        _ if entry.contains(',') => fault.with_help(BETWEEN_ENTRIES),
        Some(parent) => fault.with_help(format!("names below {parent} are written .{parent}")),
        None => fault,
    })
}

fn is_name(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
        (1..=MAX_LABEL).contains(&label.len()) && label.iter().all(is_letter)
    };
    name.len() <= MAX_NAME && name.split(|octet| *octet == b'.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entry: &str, attribute: Attribute) -> Result<HostEntry, Fault> {
        Names::<()>::parse(entry, attribute)
    }

    fn names(entries: &[&str]) -> Names<()> {
        let mut names = Names::default();
        for entry in entries {
            names.insert(parse(entry, Attribute::HeloName).unwrap(), ());
        }
        names
    }

    fn find(names: &Names<()>, name: &str) -> Option<String> {
        names.find(&normalise(name.as_bytes())).map(|found| found.entry.to_string())
    }

    #[test]
    fn a_name_stands_for_itself_and_all_below_it() {
        let names = names(&["example.org"]);
        for name in ["example.org", "EXAMPLE.org.", "mail.example.org", "a.b.example.org"] {
            assert_eq!(find(&names, name).as_deref(), Some("example.org"), "{name}");
        }
        for name in ["org", "anexample.org", "example.org.net", "example.com", ""] {
            assert_eq!(find(&names, name), None, "{name}");
        }
    }

    #[test]
    fn a_dot_in_front_leaves_the_name_itself_out() {
        let names = names(&[".example.org"]);
        assert_eq!(find(&names, "example.org"), None);
        assert_eq!(find(&names, "mail.example.org").as_deref(), Some(".example.org"));
    }

    #[test]
    fn the_most_specific_entry_is_found() {
        let names = names(&["org", "b.example.org", "example.org"]);
        assert_eq!(find(&names, "a.b.example.org").as_deref(), Some("b.example.org"));
    }

    #[test]
    fn international_names_are_the_same_in_either_form() {
        let (u_label, a_label) = ("Bücher.example", "xn--bcher-kva.example");
        for entry in [u_label, a_label] {
            let names = names(&[entry]);
            assert_eq!(find(&names, "www.BÜCHER.example").as_deref(), Some(a_label));
            assert_eq!(find(&names, a_label).as_deref(), Some(a_label));
        }
    }

    #[test]
    fn an_address_literal_is_only_itself() {
        let names = names(&["[192.0.2.1]", "[IPv6:2001:db8::1]"]);
        assert_eq!(find(&names, "[192.0.2.1]").as_deref(), Some("[192.0.2.1]"));
        assert_eq!(find(&names, "[ipv6:2001:DB8::1]").as_deref(), Some("[ipv6:2001:db8::1]"));
        assert_eq!(find(&names, "192.0.2.1"), None);
    }

    #[test]
    fn a_name_that_is_too_long_still_ends_in_its_domain() {
        let names = names(&["example.org"]);
        let long = format!("{}example.org", "a.".repeat(8000));
        assert_eq!(find(&names, &long).as_deref(), Some("example.org"));
        let long = format!("{}.example.org", "ü".repeat(8000));
        assert_eq!(find(&names, &long).as_deref(), Some("example.org"));
    }

    #[test]
    fn what_is_not_utf8_still_ends_in_its_domain() {
        let name = normalise(b"\xff\xfe.Example.org");
        assert!(names(&["example.org"]).find(&name).is_some());
    }

    #[test]
    fn what_is_no_name_is_a_fault() {
        let long = "a".repeat(64);
        for text in ["", ".", "..", "a..b", "a b", "a@b", "*.example.org", "a/b", "[", "[]", &long]
        {
            assert!(NameEntry::parse(text).is_err(), "{text}");
        }
        let fault = NameEntry::parse("*.example.org").unwrap_err();
        assert_eq!(fault.help.as_deref(), Some("names below example.org are written .example.org"));
    }

    #[test]
    fn an_address_is_no_client_name() {
        for text in ["192.0.2.1", "2001:db8::1", "[192.0.2.1]", "unknown"] {
            assert!(parse(text, Attribute::ClientName).is_err(), "{text}");
        }
        assert!(parse("192.0.2.1", Attribute::HeloName).is_ok());
    }
}
