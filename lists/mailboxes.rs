//! Envelope addresses, and parts of addresses that stand for many.

use std::borrow::Cow;
use std::collections::HashMap;

use mppd_engine::{Attribute, Mailbox};

use crate::names::{self, NameEntry, Names, lower};
use crate::reading::Fault;
use crate::{Found, Shown, Table};

/// Addresses in normal form, each with a value.
#[derive(Debug)]
pub struct Mailboxes<V> {
    null: Option<V>,
    addresses: HashMap<Box<[u8]>, V>,
    locals: HashMap<Box<[u8]>, V>,
    domains: Names<V>,
}

impl<V> Default for Mailboxes<V> {
    fn default() -> Self {
        Mailboxes {
            null: None,
            addresses: HashMap::new(),
            locals: HashMap::new(),
            domains: Names::default(),
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
    /// `user@`
    Local(Box<[u8]>),
    /// `example.org`, `.example.org` or `@example.org`
    Domain(NameEntry),
}

impl<V> Mailboxes<V> {
    /// The most specific entry for an address in normal form; empty for the null sender.
    #[must_use]
    pub fn find<'a>(&'a self, whole: &'a [u8]) -> Option<Found<'a, V>> {
        if whole.is_empty() {
            return self.null.as_ref().map(|value| Found { value, entry: Shown::NullSender });
        }
        if let Some(value) = self.addresses.get(whole) {
            return Some(Found { value, entry: Shown::Whole(whole) });
        }
        let mailbox = Mailbox::new(whole);
        if let Some(value) = self.locals.get(mailbox.local()) {
            return Some(Found { value, entry: Shown::Local(mailbox.local()) });
        }
        self.domains.find(mailbox.domain()?)
    }
}

impl<V: Clone> Table<V> for Mailboxes<V> {
    type Entry = MailboxEntry;

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

    fn contains(&self, entry: &MailboxEntry) -> bool {
        match entry {
            MailboxEntry::Null => self.null.is_some(),
            MailboxEntry::Address(address) => self.addresses.contains_key(address),
            MailboxEntry::Local(local) => self.locals.contains_key(local),
            MailboxEntry::Domain(domain) => self.domains.contains(domain),
        }
    }

    fn values(&self, entry: &MailboxEntry) -> [Option<&V>; 2] {
        match entry {
            MailboxEntry::Null => [self.null.as_ref(), None],
            MailboxEntry::Address(address) => [self.addresses.get(address), None],
            MailboxEntry::Local(local) => [self.locals.get(local), None],
            MailboxEntry::Domain(domain) => self.domains.values(domain),
        }
    }

    fn insert(&mut self, entry: MailboxEntry, value: V) {
        match entry {
            MailboxEntry::Null => self.null = Some(value),
            MailboxEntry::Address(address) => {
                self.addresses.insert(address, value);
            }
            MailboxEntry::Local(local) => {
                self.locals.insert(local, value);
            }
            MailboxEntry::Domain(domain) => self.domains.insert(domain, value),
        }
    }

    fn is_empty(&self) -> bool {
        self.null.is_none()
            && self.addresses.is_empty()
            && self.locals.is_empty()
            && self.domains.is_empty()
    }
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
