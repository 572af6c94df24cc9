//! The record of a key that is marked for a time: a client that hit a trap, a sender past a limit.

use jiff::Timestamp;

use crate::record::{Reader, Record, Writer};

/// Why a key is marked, and since when. Until when is a matter of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Since when, to the millisecond.
    pub since: Timestamp,
    /// What for, in words or as a key.
    pub reason: String,
}

impl Record for Mark {
    const KIND: u8 = b'M';

    fn write(&self, writer: &mut Writer) {
        writer.time(self.since);
        writer.octets(self.reason.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Mark {
            since: reader.time()?,
            reason: String::from_utf8_lossy(reader.octets()?).into_owned(),
        })
    }
}
