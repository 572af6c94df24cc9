//! Questions, records and answers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::name::Name;

/// A type of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// Texts.
    Txt,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of an address.
    Ptr,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// The type of records.
    pub kind: RecordKind,
    /// Whose records.
    pub name: Name,
}

impl Question {
    /// A question for records of this type.
    #[must_use]
    pub const fn new(kind: RecordKind, name: Name) -> Self {
        Question { kind, name }
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A text, its strings put together without anything between them.
    Txt(Box<[u8]>),
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// A mail exchanger.
    Mx {
        /// Smaller ones are tried first.
        preference: u16,
        /// Its name; the root says that no mail is taken.
        exchange: Name,
    },
    /// The name of an address.
    Ptr(Name),
}

impl Record {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        match self {
            Record::Txt(_) => RecordKind::Txt,
            Record::A(_) => RecordKind::A,
            Record::Aaaa(_) => RecordKind::Aaaa,
            Record::Mx { .. } => RecordKind::Mx,
            Record::Ptr(_) => RecordKind::Ptr,
        }
    }

    /// About how many octets of memory it takes besides its own size.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Record::Txt(text) => text.len(),
            Record::A(_) | Record::Aaaa(_) => 0,
            Record::Mx { exchange: name, .. } | Record::Ptr(name) => name.as_bytes().len(),
        }
    }
}

/// Why a question was not answered; it may be later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemporaryFailure {
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
    /// A server answered that it can't or won't.
    #[error("the name server answered \"{0}\"")]
    Refused(String),
    /// What came was no answer, or none could be asked for.
    #[error("{0}")]
    Failed(String),
}

/// What comes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Records of the type asked for, at least one, in the order in which they came.
    Records(Arc<[Record]>),
    /// The name exists, without such records.
    NoRecords,
    /// There is no such name (NXDOMAIN).
    NoSuchName,
    /// Nobody knows for now.
    Temporary(TemporaryFailure),
}

impl Answer {
    /// With these records, which may be none.
    #[must_use]
    pub fn of(records: Vec<Record>) -> Self {
        if records.is_empty() { Answer::NoRecords } else { Answer::Records(records.into()) }
    }

    /// The records; none where there are none for whatever reason but a failure.
    ///
    /// # Errors
    /// The temporary failure.
    pub fn records(&self) -> Result<&[Record], &TemporaryFailure> {
        match self {
            Answer::Records(records) => Ok(records),
            Answer::NoRecords | Answer::NoSuchName => Ok(&[]),
            Answer::Temporary(failure) => Err(failure),
        }
    }
}
