//! An entry of a table: key and record in one allocation, and until when.

use super::Millis;
use crate::key::LONGEST_KEY;

/// The length of a key, the key, and the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed(Box<[u8]>);

impl Packed {
    pub(super) fn new(key: &[u8], octets: &[u8]) -> Self {
        let key = &key[..key.len().min(LONGEST_KEY)];
        let mut packed = Vec::with_capacity(1 + key.len() + octets.len());
        packed.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        packed.extend_from_slice(key);
        packed.extend_from_slice(octets);
        Packed(packed.into_boxed_slice())
    }

    /// The key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.0[1..self.behind_key()]
    }

    /// The record.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0[self.behind_key()..]
    }

    fn behind_key(&self) -> usize {
        1 + usize::from(self.0[0])
    }

    /// Another record for the same key.
    pub(super) fn exchange(&mut self, octets: &[u8]) {
        let behind_key = self.behind_key();
        if self.0.len() - behind_key == octets.len() {
            self.0[behind_key..].copy_from_slice(octets);
        } else {
            *self = Packed::new(self.key(), octets);
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) packed: Packed,
    /// Until when, and in the lowest bit whether it has changed since it was written.
    pub(super) meta: u64,
}

impl Entry {
    pub(super) fn until(&self) -> Millis {
        // 63 bits are left, so there is no sign.
        (self.meta >> 1).cast_signed()
    }

    pub(super) fn is_changed(&self) -> bool {
        self.meta & 1 == 1
    }

    pub(super) fn set(&mut self, until: Millis, is_changed: bool) {
        self.meta = until.max(0).cast_unsigned() << 1 | u64::from(is_changed);
    }

    /// Another record for the same key; whether that is the first change since it was written.
    pub(super) fn exchange(&mut self, octets: &[u8], until: Millis, is_change: bool) -> bool {
        let is_first = is_change && !self.is_changed();
        self.packed.exchange(octets);
        self.set(until, is_change || self.is_changed());
        is_first
    }
}
