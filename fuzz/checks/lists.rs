//! What holds for any octets of a list file: nothing panics, what is said names a line of the file,
//! what is an entry is found in its list and keeps its form, and a table of networks says of each
//! address one thing.

use std::fmt::Debug;

use mppd_engine::{Attribute, Mailbox};
use mppd_lists::Table;
use mppd_lists::clients::Clients;
use mppd_lists::fingerprints::{Fingerprint, Fingerprints};
use mppd_lists::formats::Format;
use mppd_lists::logins::Logins;
use mppd_lists::mailboxes::{self, Mailboxes};
use mppd_lists::names::{self, Names};
use mppd_lists::networks::Networks;
use mppd_lists::pairs::Pairs;

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let lines = octets.split(|octet| *octet == b'\n').count();
    for format in Format::ALL {
        let rows = format.rows(octets);
        let mut entries = Vec::new();
        for (number, row) in rows {
            assert!((1..=lines).contains(&number), "line {number} of {lines}");
            match row {
                Ok((text, _)) => entries.push(text),
                Err(fault) => assert!(!fault.message.is_empty()),
            }
        }
        check_entries(*format, &entries);
    }
    check_values(octets);
}

fn check_entries(format: Format, entries: &[String]) {
    let address = Attribute::ClientAddress;
    let networks = fill::<Networks<usize>>(format, entries, address);
    if format == Format::Cidr {
        assert_eq!(networks.1, entries.len(), "what comes out of a table is a network, once");
    }
    fill::<Clients<usize>>(format, entries, address);
    fill::<Names<usize>>(format, entries, Attribute::ClientName);
    fill::<Names<usize>>(format, entries, Attribute::HeloName);
    fill::<Mailboxes<usize>>(format, entries, Attribute::Sender);
    fill::<Mailboxes<usize>>(format, entries, Attribute::Recipient);
    fill::<Logins<usize>>(format, entries, Attribute::SaslUsername);
    fill::<Fingerprints<usize>>(format, entries, Attribute::CcertFingerprint);
    fill::<Pairs<usize>>(format, entries, Attribute::Sender);
}

/// A table of those of the entries that are some, and how many different ones there are.
fn fill<T: Table<usize>>(format: Format, entries: &[String], attribute: Attribute) -> (T, usize)
where
    T::Entry: Debug + Clone,
{
    let mut table = T::default();
    let mut different = 0;
    let read = |text: &String| T::parse_as(format, text, attribute).ok();
    let read: Vec<T::Entry> = entries.iter().filter_map(read).collect();
    for (index, entry) in read.iter().enumerate() {
        different += usize::from(table.get(entry).is_none());
        table.insert(entry.clone(), index);
        assert_eq!(table.get(entry), Some(&index), "{entry:?}");
        assert!(table.contains(entry), "{entry:?}");
    }
    table.settle();
    assert!(read.iter().all(|entry| table.contains(entry)));
    assert_eq!(table.is_empty(), read.is_empty());
    (table, different)
}

/// The octets as values of a request: their normal form is one that stays, and if they are an entry
/// as well, they match it.
fn check_values(octets: &[u8]) {
    let name = names::normalise(octets);
    assert!(name.len() > 253 || names::normalise(&name) == name || name.ends_with(b"."));
    // Nothing more than that it ends, whatever it is.
    let _any = Fingerprint::read(octets);
    let mailbox = mailboxes::normalise(Mailbox::new(octets));
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if text.contains(['<', '>']) || !text.contains('@') {
        return;
    }
    let Ok(entry) = Mailboxes::<()>::parse(text, Attribute::Sender) else { return };
    let mut table = Mailboxes::default();
    table.insert(entry, ());
    let is_whole = !text.starts_with('@') && !text.ends_with('@');
    assert!(!is_whole || table.find(&mailbox).is_some(), "{text:?}");
}
