//! Pairs of a sender and a recipient, each written as an entry of a list of envelope addresses. Most
//! pairs are of two addresses, which one look finds; of the others each side is kept once, however
//! many pairs it is in, so that what a request costs does not grow with the labels of both domains
//! multiplied.

use hashbrown::HashMap;
use mppd_engine::{Attribute, Mailbox};

use crate::keys::Keys;
use crate::mailboxes::{LOCAL, MailboxEntry, Mailboxes, WHOLE};
use crate::names::{parents, specificity};
use crate::reading::Fault;
use crate::{Found, Shown, Side, Table};

/// Pairs, each with a value.
#[derive(Debug)]
pub struct Pairs<V> {
    /// Those of two addresses.
    addresses: Keys<V>,
    senders: Entries,
    recipients: Entries,
    /// Those of which a side stands for many addresses, by the numbers of both sides.
    values: HashMap<(u32, u32), V>,
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairEntry {
    sender: MailboxEntry,
    recipient: MailboxEntry,
}

impl PairEntry {
    /// The key of a pair of two addresses.
    fn addresses(&self) -> Option<Vec<u8>> {
        let is_address =
            |entry: &MailboxEntry| matches!(entry, MailboxEntry::Null | MailboxEntry::Address(_));
        let both = is_address(&self.sender) && is_address(&self.recipient);
        both.then(|| [self.sender.text(), self.recipient.text()].join(&BETWEEN))
    }
}

/// Stands between the addresses of a pair. No entry has one inside, so that no two addresses of a
/// request read as those of another pair.
const BETWEEN: u8 = b' ';

/// What stands on one side of the pairs, each with a number of its own.
#[derive(Debug, Default)]
struct Entries {
    numbers: Keys<u32>,
    has_locals: bool,
    has_domains: bool,
}

/// An entry of one side that an address matches.
struct Match<'a> {
    number: u32,
    side: Side<'a>,
    specificity: u32,
}

impl Entries {
    fn number(&mut self, entry: &MailboxEntry) -> u32 {
        match entry {
            MailboxEntry::Local(_) => self.has_locals = true,
            MailboxEntry::Domain(_) => self.has_domains = true,
            _ => {}
        }
        // There are not as many that could be told apart as there are pairs in memory.
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.get_or_insert(&entry.text(), next).0
    }

    /// The entries that an address in normal form matches, the most specific first.
    fn matches<'a>(&'a self, whole: &'a [u8]) -> impl Iterator<Item = Match<'a>> {
        let shown = shown(whole);
        let sign = Mailbox::new(whole).domain().map(|domain| whole.len() - domain.len() - 1);
        let local = (self.has_locals && !whole.is_empty())
            .then(|| (Side::Local(&whole[..sign.unwrap_or(whole.len())]), LOCAL));
        let domain = sign.filter(|_| self.has_domains);
        let domains = domain.into_iter().flat_map(move |sign| domains(&whole[sign..]));
        let domains = domains.map(|(text, specificity)| (Side::Whole(text), specificity));
        let candidates = [(Side::Whole(shown), WHOLE)].into_iter().chain(local).chain(domains);
        candidates.filter_map(|(side, specificity)| {
            Some(Match { number: self.find(side)?, side, specificity })
        })
    }

    fn find(&self, side: Side<'_>) -> Option<u32> {
        let number = match side {
            Side::Local(local) => self.numbers.get_joined(&[local, b"@"]),
            Side::Whole(whole) => self.numbers.get(whole),
        };
        number.copied()
    }
}

/// How an address is written in a list.
fn shown(whole: &[u8]) -> &[u8] {
    if whole.is_empty() { b"<>" } else { whole }
}

/// What a list can have of a domain behind its sign, with how specific it is.
fn domains(domain: &[u8]) -> impl Iterator<Item = (&[u8], u32)> {
    let name = &domain[1..];
    let itself = [(domain, specificity(name) + 1), (name, specificity(name))];
    let above = parents(name).flat_map(move |parent| {
        let dot = name.len() - parent.len() - 1;
        [(&name[dot..], specificity(parent) + 1), (parent, specificity(parent))]
    });
    itself.into_iter().chain(above)
}

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Pairs {
            addresses: Keys::default(),
            senders: Entries::default(),
            recipients: Entries::default(),
            values: HashMap::new(),
        }
    }
}

impl<V> Pairs<V> {
    /// The most specific entry for two addresses in normal form: the one whose sender is most
    /// specific, of several with this sender that whose recipient is.
    #[must_use]
    pub fn find<'a>(&'a self, sender: &'a [u8], recipient: &'a [u8]) -> Option<Found<'a, V>> {
        self.find_addresses(shown(sender), recipient).or_else(|| self.find_sides(sender, recipient))
    }

    fn find_addresses<'a>(&'a self, sender: &'a [u8], recipient: &'a [u8]) -> Option<Found<'a, V>> {
        let value = self.addresses.get_joined(&[sender, &[BETWEEN], recipient])?;
        let entry = Shown::Pair(Side::Whole(sender), Side::Whole(recipient));
        Some(Found { value, entry, specificity: WHOLE << 16 | WHOLE })
    }

    fn find_sides<'a>(&'a self, sender: &'a [u8], recipient: &'a [u8]) -> Option<Found<'a, V>> {
        if self.values.is_empty() {
            return None;
        }
        self.senders.matches(sender).find_map(|sender| {
            self.recipients.matches(recipient).find_map(|recipient| {
                let value = self.values.get(&(sender.number, recipient.number))?;
                let entry = Shown::Pair(sender.side, recipient.side);
                let specificity = sender.specificity << 16 | recipient.specificity;
                Some(Found { value, entry, specificity })
            })
        })
    }
}

impl<V: Copy> Table<V> for Pairs<V> {
    type Entry = PairEntry;

    const FILLS_LINES: bool = true;

    fn parse(text: &str, _: Attribute) -> Result<PairEntry, Fault> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [sender, recipient] = words[..] else {
            return Err(Fault::new(format!("\"{text}\" is not a pair"))
                .with_help("write a sender and a recipient, one pair a line"));
        };
        let sender = Mailboxes::<()>::parse(sender, Attribute::Sender)?;
        let recipient = Mailboxes::<()>::parse(recipient, Attribute::Recipient)?;
        Ok(PairEntry { sender, recipient })
    }

    fn contains(&self, entry: &PairEntry) -> bool {
        self.get(entry).is_some()
    }

    fn get(&self, entry: &PairEntry) -> Option<&V> {
        if let Some(key) = entry.addresses() {
            return self.addresses.get(&key);
        }
        let sender = self.senders.numbers.get(&entry.sender.text())?;
        let recipient = self.recipients.numbers.get(&entry.recipient.text())?;
        self.values.get(&(*sender, *recipient))
    }

    fn insert(&mut self, entry: PairEntry, value: V) {
        if let Some(key) = entry.addresses() {
            return self.addresses.insert(&key, value);
        }
        let numbers =
            (self.senders.number(&entry.sender), self.recipients.number(&entry.recipient));
        self.values.insert(numbers, value);
    }

    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.values.is_empty()
    }

    fn settle(&mut self) {
        self.addresses.shrink();
        self.senders.numbers.shrink();
        self.recipients.numbers.shrink();
        self.values.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailboxes::normalise;

    fn pairs(entries: &[&str]) -> Pairs<()> {
        let mut pairs = Pairs::default();
        for entry in entries {
            pairs.insert(Pairs::<()>::parse(entry, Attribute::Sender).unwrap(), ());
        }
        pairs
    }

    fn find(pairs: &Pairs<()>, sender: &str, recipient: &str) -> Option<String> {
        let [sender, recipient] =
            [sender, recipient].map(|address| normalise(Mailbox::new(address.as_bytes())));
        pairs.find(&sender, &recipient).map(|found| found.entry.to_string())
    }

    #[test]
    fn both_sides_must_match() {
        let pairs = pairs(&["Alice@example.com bob@example.org"]);
        let found = find(&pairs, "alice@Example.com", "BOB@example.org");
        assert_eq!(found.as_deref(), Some("alice@example.com bob@example.org"));
        assert_eq!(find(&pairs, "bob@example.org", "alice@example.com"), None);
        assert_eq!(find(&pairs, "alice@example.com", "carol@example.org"), None);
        assert_eq!(find(&pairs, "", "bob@example.org"), None);
    }

    #[test]
    fn each_side_is_written_as_in_its_own_list() {
        for (entry, sender, recipient) in [
            ("<> bob@example.org", "", "bob@example.org"),
            ("alice@ example.org", "alice@example.net", "x@mail.example.org"),
            ("@example.com .example.org", "x@example.com", "x@mail.example.org"),
            ("example.com @example.org", "x@a.b.example.com", "x@example.org"),
            (".example.com bob@", "x@a.b.example.com", "bob@example.net"),
        ] {
            let pairs = pairs(&[entry]);
            assert_eq!(find(&pairs, sender, recipient).as_deref(), Some(entry));
            assert_eq!(find(&pairs, "x@example.net", recipient), None, "{entry}");
            assert_eq!(find(&pairs, sender, "x@example.net"), None, "{entry}");
        }
    }

    #[test]
    fn a_local_part_stands_for_that_of_an_address_without_a_domain_as_well() {
        let pairs = pairs(&["alice@ postmaster@"]);
        let found = find(&pairs, "alice@example.com", "Postmaster");
        assert_eq!(found.as_deref(), Some("alice@ postmaster@"));
        assert!(find(&pairs, "alice", "postmaster").is_some());
        assert_eq!(find(&pairs, "alice", "abuse"), None);
    }

    #[test]
    fn the_most_specific_sender_counts_and_then_the_recipient() {
        let pairs = pairs(&[
            "example.com bob@example.org",
            "alice@example.com example.org",
            "alice@example.com org",
        ]);
        let found = find(&pairs, "alice@example.com", "bob@example.org");
        assert_eq!(found.as_deref(), Some("alice@example.com example.org"));
        let found = find(&pairs, "x@example.com", "bob@example.org");
        assert_eq!(found.as_deref(), Some("example.com bob@example.org"));
    }

    #[test]
    fn a_space_in_an_address_does_not_make_another_pair_of_it() {
        let pairs = pairs(&["alice@example.com bob@example.org"]);
        assert!(find(&pairs, "alice@example.com", "bob@example.org").is_some());
        assert_eq!(find(&pairs, "alice@example.com bob", "example.org"), None);
        assert_eq!(find(&pairs, "alice", "example.com bob@example.org"), None);
    }

    #[test]
    fn what_is_no_pair_is_a_fault() {
        for text in ["a@b", "a@b c@d e@f", "a@b <>", "*.a b@c"] {
            assert!(Pairs::<()>::parse(text, Attribute::Sender).is_err(), "{text}");
        }
    }
}
