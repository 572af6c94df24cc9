//! Envelope addresses, and parts of addresses that stand for many.

use std::borrow::Cow;

use mppd_engine::{Attribute, Mailbox};

use crate::expressions::{Expression, Expressions};
use crate::formats::Format;
use crate::keys::Keys;
use crate::names::{self, NameEntry, Names, lower};
use crate::reading::{BETWEEN_ENTRIES, Fault};
use crate::{Found, Shown, Table};

/// What sets an extension apart from the rest of a local part, for postgrey.
const DELIMITER: u8 = b'+';

/// How specific entries are that name no domain, or more than one; domains are less.
pub(crate) const WHOLE: u32 = 0xffff;
pub(crate) const LOCAL: u32 = 0xfffe;

/// Addresses in normal form, each with a value.
#[derive(Debug)]
pub struct Mailboxes<V> {
    null: Option<V>,
    addresses: Keys<V>,
    locals: Keys<V>,
    /// Addresses, and local parts with `@`, that stand for those with an extension as well.
    extended: Keys<V>,
    domains: Names<V>,
    expressions: Expressions<V>,
}

impl<V> Default for Mailboxes<V> {
    fn default() -> Self {
        Mailboxes {
            null: None,
            addresses: Keys::default(),
            locals: Keys::default(),
            extended: Keys::default(),
            domains: Names::default(),
            expressions: Expressions::default(),
        }
    }
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxEntry {
    /// `<>`
    Null,
    /// `user@example.org`
    Address(Box<[u8]>),
    /// `user@`, without the sign
    Local(Box<[u8]>),
    /// `user@example.org` or `user@`, which stands for `user+anything@…` as well
    Extended(Box<[u8]>),
    /// `example.org`, `.example.org` or `@example.org`
    Domain(NameEntry),
    /// A regular expression that is compared with the whole address
    Expression(Expression),
}

impl MailboxEntry {
    /// As it is shown.
    pub(crate) fn text(&self) -> Vec<u8> {
        match self {
            MailboxEntry::Null => b"<>".to_vec(),
            MailboxEntry::Address(text) | MailboxEntry::Extended(text) => text.to_vec(),
            MailboxEntry::Local(local) => [local, &b"@"[..]].concat(),
            MailboxEntry::Domain(domain) => domain.text(),
            MailboxEntry::Expression(expression) => expression.to_string().into_bytes(),
        }
    }
}

impl<V> Mailboxes<V> {
    /// The most specific entry for an address in normal form; empty for the null sender.
    #[must_use]
    pub fn find<'a>(&'a self, whole: &'a [u8]) -> Option<Found<'a, V>> {
        if whole.is_empty() {
            let found = |value| Found { value, entry: Shown::NullSender, specificity: WHOLE };
            return self.null.as_ref().map(found);
        }
        if let Some(value) = self.addresses.get(whole) {
            return Some(Found { value, entry: Shown::Whole(whole), specificity: WHOLE });
        }
        let mailbox = Mailbox::new(whole);
        self.find_extended(mailbox)
            .or_else(|| self.find_local(mailbox.local()))
            .or_else(|| self.domains.find(mailbox.domain()?))
            .or_else(|| self.expressions.find(whole))
    }

    fn find_local<'a>(&'a self, local: &'a [u8]) -> Option<Found<'a, V>> {
        let value = self.locals.get(local)?;
        Some(Found { value, entry: Shown::Local(local), specificity: LOCAL })
    }

    /// The entry for an address without its extension, or for its local part without it.
    fn find_extended<'a>(&'a self, mailbox: Mailbox<'a>) -> Option<Found<'a, V>> {
        if self.extended.is_empty() {
            return None;
        }
        let local = mailbox.local();
        let is_delimiter = |at: &usize| local[*at] == DELIMITER && *at + 1 < local.len();
        let ends = || [local.len()].into_iter().chain((1..local.len()).rev().filter(is_delimiter));
        let find = |domain: &[u8]| {
            let value = |end: usize| self.extended.get_joined(&[&local[..end], b"@", domain]);
            ends().find_map(|end| Some((&local[..end], value(end)?)))
        };
        let domain = mailbox.domain().filter(|domain| !domain.is_empty());
        let of_domain = domain.and_then(|domain| {
            let (local, value) = find(domain)?;
            Some(Found { value, entry: Shown::Parts(local, domain), specificity: WHOLE })
        });
        of_domain.or_else(|| {
            let (local, value) = find(b"")?;
            Some(Found { value, entry: Shown::Local(local), specificity: LOCAL })
        })
    }
}

impl<V: Copy> Table<V> for Mailboxes<V> {
    type Entry = MailboxEntry;

    const FORMATS: &'static [Format] = &[Format::Lines, Format::Postgrey, Format::Hash];

    fn parse(text: &str, attribute: Attribute) -> Result<MailboxEntry, Fault> {
        if text == "<>" {
            return match attribute {
                Attribute::Sender => Ok(MailboxEntry::Null),
                _ => Err(Fault::new("\"<>\" is the null sender, and never a recipient")),
            };
        }
        if text.contains(['<', '>']) {
            return Err(Fault::new(format!("\"{text}\" has angle brackets"))
                .with_help("addresses are written without them"));
        }
        match text.rsplit_once('@') {
            None => NameEntry::parse(text).map(MailboxEntry::Domain),
            Some(("", domain)) => NameEntry::parse_exact(domain, text).map(MailboxEntry::Domain),
            Some((local, "")) => Ok(MailboxEntry::Local(normal_local(local))),
            Some((local, domain)) => {
                let local = normal_local(local);
                let domain = NameEntry::parse_exact(domain, text)?.into_name();
                Ok(MailboxEntry::Address([&*local, b"@", &*domain].concat().into()))
            }
        }
    }

    fn parse_as(format: Format, text: &str, attribute: Attribute) -> Result<MailboxEntry, Fault> {
        match format {
            Format::Postgrey => postgrey(text, attribute),
            // Where Postfix takes commas between entries, an address is easily thought to end there.
            Format::Lines if !text.starts_with('"') && text.contains(',') => {
                let fault = Fault::new(format!("\"{text}\" has a comma"));
                Err(fault.with_help(BETWEEN_ENTRIES))
            }
            Format::Lines | Format::Hash | Format::Cidr => {
                Self::parse(&without_quotes(text), attribute)
            }
        }
    }

    fn contains(&self, entry: &MailboxEntry) -> bool {
        match entry {
            MailboxEntry::Domain(domain) => self.domains.contains_name(domain),
            entry => self.get(entry).is_some(),
        }
    }

    fn get(&self, entry: &MailboxEntry) -> Option<&V> {
        match entry {
            MailboxEntry::Null => self.null.as_ref(),
            MailboxEntry::Address(address) => self.addresses.get(address),
            MailboxEntry::Local(local) => self.locals.get(local),
            MailboxEntry::Extended(text) => self.extended.get(text),
            MailboxEntry::Domain(domain) => self.domains.name(domain),
            MailboxEntry::Expression(expression) => self.expressions.get(expression),
        }
    }

    fn values(&self, entry: &MailboxEntry) -> [Option<&V>; 3] {
        match entry {
            MailboxEntry::Domain(domain) => self.domains.name_values(domain),
            MailboxEntry::Address(address) => {
                [self.addresses.get(address), self.extended.get(address), None]
            }
            MailboxEntry::Extended(text) => {
                let local = text.strip_suffix(b"@").and_then(|local| self.locals.get(local));
                [self.extended.get(text), self.addresses.get(text), local]
            }
            MailboxEntry::Local(local) => {
                [self.locals.get(local), self.extended.get_joined(&[local, b"@"]), None]
            }
            entry => [self.get(entry), None, None],
        }
    }

    fn insert(&mut self, entry: MailboxEntry, value: V) {
        match entry {
            MailboxEntry::Null => self.null = Some(value),
            MailboxEntry::Address(address) => self.addresses.insert(&address, value),
            MailboxEntry::Local(local) => self.locals.insert(&local, value),
            MailboxEntry::Extended(text) => self.extended.insert(&text, value),
            MailboxEntry::Domain(domain) => self.domains.insert_name(&domain, value),
            MailboxEntry::Expression(expression) => self.expressions.insert(expression, value),
        }
    }

    fn is_empty(&self) -> bool {
        self.null.is_none()
            && self.addresses.is_empty()
            && self.locals.is_empty()
            && self.extended.is_empty()
            && self.domains.is_empty()
            && self.expressions.is_empty()
    }

    fn settle(&mut self) {
        self.addresses.shrink();
        self.locals.shrink();
        self.extended.shrink();
        self.domains.settle();
        self.expressions.settle();
    }
}

/// Reads an entry of a list of recipients as postgrey does: what has a local part stands for those
/// with an extension as well.
fn postgrey(text: &str, attribute: Attribute) -> Result<MailboxEntry, Fault> {
    if let Some(expression) = Expression::read(text) {
        return expression.map(MailboxEntry::Expression);
    }
    Ok(match Mailboxes::<()>::parse(text, attribute)? {
        MailboxEntry::Address(address) => MailboxEntry::Extended(address),
        MailboxEntry::Local(local) => MailboxEntry::Extended([&*local, b"@"].concat().into()),
        entry => entry,
    })
}

/// An address as Postfix sends it, of one with a local part in quotes (RFC 5321, section 4.1.2).
fn without_quotes(text: &str) -> Cow<'_, str> {
    let Some(rest) = text.strip_prefix('"') else { return Cow::Borrowed(text) };
    let mut plain = String::with_capacity(rest.len());
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.extend(letters.next()),
            '"' => break,
            letter => plain.push(letter),
        }
    }
    Cow::Owned(plain + letters.as_str())
}

/// The normal form of an address in a request: the domain's normal form, the local part with the
/// letters of ASCII in lower case and all else as it is.
#[must_use]
pub fn normalise(mailbox: Mailbox<'_>) -> Cow<'_, [u8]> {
    let local = lower(mailbox.local());
    let Some(domain) = mailbox.domain() else { return local };
    let normal = names::normalise(domain);
    match (&local, &normal) {
        (Cow::Borrowed(_), Cow::Borrowed(same)) if same.len() == domain.len() => {
            Cow::Borrowed(mailbox.whole())
        }
        _ => Cow::Owned([&*local, b"@", &*normal].concat()),
    }
}

fn normal_local(local: &str) -> Box<[u8]> {
    local.to_ascii_lowercase().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entry: &str, attribute: Attribute) -> Result<MailboxEntry, Fault> {
        Mailboxes::<()>::parse(entry, attribute)
    }

    fn mailboxes(entries: &[&str]) -> Mailboxes<()> {
        let mut mailboxes = Mailboxes::default();
        for entry in entries {
            mailboxes.insert(parse(entry, Attribute::Sender).unwrap(), ());
        }
        mailboxes
    }

    fn find(mailboxes: &Mailboxes<()>, address: &str) -> Option<String> {
        let address = normalise(Mailbox::new(address.as_bytes()));
        mailboxes.find(&address).map(|found| found.entry.to_string())
    }

    #[test]
    fn an_address_is_the_same_in_either_case() {
        let mailboxes = mailboxes(&["Alice@Example.org"]);
        assert_eq!(find(&mailboxes, "aLICE@eXAMPLE.ORG.").as_deref(), Some("alice@example.org"));
        assert_eq!(find(&mailboxes, "alice@mail.example.org"), None);
        assert_eq!(find(&mailboxes, "alice"), None);
    }

    #[test]
    fn letters_beyond_ascii_in_a_local_part_have_no_case() {
        let mailboxes = mailboxes(&["jörg@example.org"]);
        assert!(find(&mailboxes, "Jörg@example.org").is_some());
        assert_eq!(find(&mailboxes, "JÖRG@example.org"), None);
    }

    #[test]
    fn an_at_sign_in_front_is_one_domain_only() {
        let mailboxes = mailboxes(&["@example.org"]);
        assert_eq!(find(&mailboxes, "a@example.org").as_deref(), Some("@example.org"));
        assert_eq!(find(&mailboxes, "a@mail.example.org"), None);
    }

    #[test]
    fn a_bare_domain_includes_the_domains_below_it() {
        let mailboxes = mailboxes(&["example.org", ".example.net"]);
        assert_eq!(find(&mailboxes, "a@mail.example.org").as_deref(), Some("example.org"));
        assert_eq!(find(&mailboxes, "a@example.net"), None);
        assert_eq!(find(&mailboxes, "a@mail.example.net").as_deref(), Some(".example.net"));
    }

    #[test]
    fn a_local_part_is_found_in_any_domain_and_in_none() {
        let mailboxes = mailboxes(&["postmaster@"]);
        assert_eq!(find(&mailboxes, "Postmaster@example.org").as_deref(), Some("postmaster@"));
        assert_eq!(find(&mailboxes, "postmaster").as_deref(), Some("postmaster@"));
        assert_eq!(find(&mailboxes, "master@example.org"), None);
    }

    #[test]
    fn the_null_sender_is_an_entry_of_its_own() {
        assert_eq!(find(&mailboxes(&["<>"]), "").as_deref(), Some("<>"));
        assert_eq!(find(&mailboxes(&["example.org"]), ""), None);
        assert!(parse("<>", Attribute::Recipient).is_err());
    }

    #[test]
    fn the_last_at_sign_splits() {
        let mailboxes = mailboxes(&["a@b@example.org"]);
        assert!(find(&mailboxes, "a@b@example.org").is_some());
        assert_eq!(find(&mailboxes, "b@example.org"), None);
    }

    #[test]
    fn a_domain_cannot_turn_into_an_address() {
        let mailboxes = mailboxes(&["example.org"]);
        // A full-width commercial at, which compatibility mapping makes a plain one.
        assert_eq!(find(&mailboxes, "x@evil.example\u{ff20}example.org"), None);
    }

    #[test]
    fn the_most_specific_entry_is_found() {
        let mailboxes = mailboxes(&["example.org", "alice@", "alice@example.org"]);
        assert_eq!(find(&mailboxes, "alice@example.org").as_deref(), Some("alice@example.org"));
        assert_eq!(find(&mailboxes, "alice@example.com").as_deref(), Some("alice@"));
        assert_eq!(find(&mailboxes, "bob@example.org").as_deref(), Some("example.org"));
    }

    #[test]
    fn what_reaches_less_far_is_more_specific() {
        let mailboxes =
            mailboxes(&["example.org", "@example.org", ".example.org", "a.example.org"]);
        assert_eq!(find(&mailboxes, "x@example.org").as_deref(), Some("@example.org"));
        assert_eq!(find(&mailboxes, "x@b.example.org").as_deref(), Some(".example.org"));
        assert_eq!(find(&mailboxes, "x@a.example.org").as_deref(), Some("a.example.org"));
    }

    #[test]
    fn for_postgrey_an_address_stands_for_its_extensions_as_well() {
        let mut mailboxes = Mailboxes::default();
        for entry in ["bob@Example.org", "abuse@", "a+b@example.org", "/^no.*@/"] {
            let read = Mailboxes::<()>::parse_as(Format::Postgrey, entry, Attribute::Recipient);
            mailboxes.insert(read.unwrap(), ());
        }
        for (address, entry) in [
            ("bob@example.org", Some("bob@example.org")),
            ("Bob+lists@example.org", Some("bob@example.org")),
            ("bob+a+b@example.org", Some("bob@example.org")),
            ("bob+@example.org", None),
            ("bob@example.com", None),
            ("abuse@example.com", Some("abuse@")),
            ("abuse+x@example.com", Some("abuse@")),
            ("a+b+c@example.org", Some("a+b@example.org")),
            ("a@example.org", None),
            ("NOreply@example.net", Some("/^no.*@/")),
            ("reply@no", None),
        ] {
            assert_eq!(find(&mailboxes, address).as_deref(), entry, "{address}");
        }
    }

    #[test]
    fn the_local_part_of_an_entry_may_be_in_quotes_which_postfix_does_not_send() {
        for (text, plain) in [
            ("\"john doe\"@example.org", "john doe@example.org"),
            (r#""a\"\\b"@example.org"#, r#"a"\b@example.org"#),
            ("john@example.org", "john@example.org"),
        ] {
            for format in [Format::Lines, Format::Hash] {
                let read = Mailboxes::<()>::parse_as(format, text, Attribute::Sender);
                assert_eq!(read.unwrap(), parse(plain, Attribute::Sender).unwrap());
            }
        }
    }

    #[test]
    fn a_comma_does_not_end_an_entry_and_stands_in_no_address_without_quotes() {
        for text in
            ["a@example.org,b@example.org", "a@,b@", "a@example.org,", "a.example,b.example"]
        {
            let read = Mailboxes::<()>::parse_as(Format::Lines, text, Attribute::Sender);
            assert_eq!(read.unwrap_err().help.as_deref(), Some(BETWEEN_ENTRIES), "{text}");
        }
        let quoted = "\"a,b\"@example.org";
        assert!(Mailboxes::<()>::parse_as(Format::Lines, quoted, Attribute::Sender).is_ok());
    }

    #[test]
    fn a_literal_domain_is_a_domain() {
        let mailboxes = mailboxes(&["@[192.0.2.1]"]);
        assert_eq!(find(&mailboxes, "x@[192.0.2.1]").as_deref(), Some("@[192.0.2.1]"));
    }

    #[test]
    fn what_is_no_address_is_a_fault() {
        for text in ["@", "a@b c", "<a@b>", "a@.b", "@.b", "a@*.b"] {
            assert!(parse(text, Attribute::Sender).is_err(), "{text}");
        }
    }
}
