//! Lists of networks, names, addresses and logins, as an administrator writes them, each entry with
//! a value: of all entries that a request matches the most specific one is found, and finding it
//! costs the same however long the lists are.
//!
//! | module | what lives there |
//! |---|---|
//! | [`networks`] | addresses and networks, by longest prefix |
//! | [`names`] | host and domain names, label by label |
//! | [`clients`] | the two together, each entry told by its form |
//! | [`mailboxes`] | envelope addresses, and parts of addresses that stand for many |
//! | [`pairs`] | a sender with a recipient |
//! | [`logins`] | names of users who have logged in |
//! | [`fingerprints`] | fingerprints of certificates and of their keys |
//! | [`prefix`] | how much of a client's address counts |
//! | [`reading`] | entries in the configuration itself and in files |
//! | [`formats`] | the files of other programs that can be read as they are |
//! | [`subject`] | what of a request is looked up, in the normal form of the entries |
//! | `expressions` | regular expressions, where such a file has them |
//! | `keys` | octets of any length, by their digests |
//! | `lines` | what the tables are made of |

pub mod clients;
mod expressions;
pub mod fingerprints;
pub mod formats;
mod keys;
mod lines;
pub mod logins;
pub mod mailboxes;
pub mod names;
pub mod networks;
pub mod pairs;
pub mod prefix;
pub mod reading;
pub mod subject;

use std::fmt;

use ipnet::IpNet;
use mppd_engine::Attribute;

use self::formats::Format;
use self::reading::Fault;

/// Entries of one kind, each with a value.
pub trait Table<V>: Default {
    /// One entry, in its normal form.
    type Entry;

    /// The formats that a file of such entries can have.
    const FORMATS: &'static [Format] = &[Format::Lines];

    /// Whether an entry is more than one word, so that in the configuration as well each has a
    /// line of its own.
    const FILLS_LINES: bool = false;

    /// Reads an entry that is to be compared with this attribute.
    ///
    /// # Errors
    /// Why the text is none.
    fn parse(text: &str, attribute: Attribute) -> Result<Self::Entry, Fault>;

    /// Reads an entry as this format writes it.
    ///
    /// # Errors
    /// Why the text is none.
    fn parse_as(_: Format, text: &str, attribute: Attribute) -> Result<Self::Entry, Fault> {
        Self::parse(text, attribute)
    }

    /// Whether everything that the entry stands for is here.
    fn contains(&self, entry: &Self::Entry) -> bool;

    /// The value of an equal entry.
    fn get(&self, entry: &Self::Entry) -> Option<&V>;

    /// The values that an equal entry has, or another that stands for a part of the same.
    fn values(&self, entry: &Self::Entry) -> [Option<&V>; 3] {
        [self.get(entry), None, None]
    }

    /// Adds an entry. The value takes the place of the one that an equal entry had.
    fn insert(&mut self, entry: Self::Entry, value: V);

    /// Whether nothing is here.
    fn is_empty(&self) -> bool;

    /// Makes ready to be asked from now on: gives back the memory that was kept for more entries,
    /// and does what the first question would have to wait for.
    fn settle(&mut self) {}
}

/// The most specific entry for something looked up.
#[derive(Debug)]
pub struct Found<'a, V> {
    /// Its value.
    pub value: &'a V,
    /// The entry itself.
    pub entry: Shown<'a>,
    /// How specific the entry is: the more, the higher. Only comparable among entries for the same
    /// value of one attribute.
    pub specificity: u32,
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
    /// `alice@example.org`, its two parts apart.
    Parts(&'a [u8], &'a [u8]),
    /// `alice@`
    Local(&'a [u8]),
    /// `<>`
    NullSender,
    /// The two sides of a pair.
    Pair(Side<'a>, Side<'a>),
    /// `AB:CD:EF`
    Fingerprint(&'a [u8]),
    /// `/^mail\d+\./`
    Expression(&'a str),
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
            Shown::Parts(local, domain) => write!(f, "{}@{}", text(local), text(domain)),
            Shown::Local(local) => write!(f, "{}@", text(local)),
            Shown::NullSender => f.write_str("<>"),
            Shown::Pair(sender, recipient) => write!(f, "{sender} {recipient}"),
            Shown::Fingerprint(octets) => fingerprints::show(octets, f),
            Shown::Expression(expression) => write!(f, "/{expression}/"),
        }
    }
}

/// What stands on one side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side<'a> {
    /// `alice@`
    Local(&'a [u8]),
    /// Anything else, as it is shown.
    Whole(&'a [u8]),
}

impl fmt::Display for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Side::Local(local) => write!(f, "{}@", String::from_utf8_lossy(local)),
            Side::Whole(whole) => f.write_str(&String::from_utf8_lossy(whole)),
        }
    }
}
