//! Lists of networks, names, addresses and logins, as an administrator writes them, each entry with
//! a value: of all entries that a request matches the most specific one is found, and finding it
//! costs the same however long the lists are.
//!
//! | module | what lives there |
//! |---|---|
//! | [`networks`] | addresses and networks, by longest prefix |
//! | [`names`] | host and domain names, label by label |
//! | [`mailboxes`] | envelope addresses, and parts of addresses that stand for many |
//! | [`logins`] | names of users who have logged in |
//! | [`prefix`] | how much of a client's address counts |
//! | [`reading`] | entries in the configuration itself and in files |
//! | [`subject`] | what of a request is looked up, in the normal form of the entries |

pub mod logins;
pub mod mailboxes;
pub mod names;
pub mod networks;
pub mod prefix;
pub mod reading;
pub mod subject;

use std::fmt;

use ipnet::IpNet;
use mppd_engine::Attribute;

use self::reading::Fault;

/// Entries of one kind, each with a value.
pub trait Table<V>: Default {
    /// One entry, in its normal form.
    type Entry;

    /// Reads an entry that is to be compared with this attribute.
    ///
    /// # Errors
    /// Why the text is none.
    fn parse(text: &str, attribute: Attribute) -> Result<Self::Entry, Fault>;

    /// Whether everything that the entry stands for is here.
    fn contains(&self, entry: &Self::Entry) -> bool;

    /// The values that an equal entry has, or another that stands for a part of the same.
    fn values(&self, entry: &Self::Entry) -> [Option<&V>; 2];

    /// Adds an entry. The value takes the place of the one that an equal entry had.
    fn insert(&mut self, entry: Self::Entry, value: V);

    /// Whether nothing is here.
    fn is_empty(&self) -> bool;
}

/// The most specific entry for something looked up.
#[derive(Debug)]
pub struct Found<'a, V> {
    /// Its value.
    pub value: &'a V,
    /// The entry itself.
    pub entry: Shown<'a>,
}

/// An entry in its normal form, shown as the configuration writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown<'a> {
    /// `192.0.2.0/24`
    Network(IpNet),
    /// `example.org` behind a sign, which is `.`, `@` or empty.
    Name(&'static str, &'a [u8]),
    /// `alice@example.org`, or a login.
    Whole(&'a [u8]),
    /// `alice@`
    Local(&'a [u8]),
    /// `<>`
    NullSender,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |octets| String::from_utf8_lossy(octets);
        match *self {
            Shown::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Shown::Network(network) => write!(f, "{network}"),
            Shown::Name(sign, name) => write!(f, "{sign}{}", text(name)),
            Shown::Whole(whole) => f.write_str(&text(whole)),
            Shown::Local(local) => write!(f, "{}@", text(local)),
            Shown::NullSender => f.write_str("<>"),
        }
    }
}
