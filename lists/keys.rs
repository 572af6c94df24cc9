//! Octets, each with a value, in little memory: all of them stand in one piece, and a table of
//! hashes says where.

use std::fmt;
use std::hash::BuildHasher as _;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Octets, each with a value.
pub(crate) struct Keys<V> {
    /// Each key behind its length.
    octets: Vec<u8>,
    slots: HashTable<Slot<V>>,
    hasher: DefaultHashBuilder,
}

struct Slot<V> {
    start: Start,
    value: V,
}

/// Where a key begins, in five octets: no memory is larger, and there can be a million of them.
#[derive(Clone, Copy)]
struct Start([u8; 5]);

impl Start {
    fn new(start: usize) -> Self {
        let mut rest = start;
        Start(std::array::from_fn(|_| {
            let octet = rest.to_le_bytes()[0];
            rest >>= 8;
            octet
        }))
    }

    fn get(self) -> usize {
        self.0.iter().rev().fold(0, |start, octet| start << 8 | usize::from(*octet))
    }
}

impl<V> Default for Keys<V> {
    fn default() -> Self {
        Keys { octets: Vec::new(), slots: HashTable::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl<V> fmt::Debug for Keys<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<V> Keys<V> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        Some(&self.slot(key)?.value)
    }

    /// The key that is kept here, and its value.
    pub(crate) fn get_key_value(&self, key: &[u8]) -> Option<(&[u8], &V)> {
        let slot = self.slot(key)?;
        Some((key_at(&self.octets, slot.start), &slot.value))
    }

    fn slot(&self, key: &[u8]) -> Option<&Slot<V>> {
        if self.is_empty() {
            return None;
        }
        let hash = self.hasher.hash_one(key);
        self.slots.find(hash, |slot| key_at(&self.octets, slot.start) == key)
    }

    /// Where the value of a key is, with whether there was one before; `value` makes it if not.
    pub(crate) fn get_or_insert(&mut self, key: &[u8], value: V) -> (&mut V, bool) {
        let Keys { octets, slots, hasher } = self;
        let entry = slots.entry(
            hasher.hash_one(key),
            |slot| key_at(octets, slot.start) == key,
            |slot| hasher.hash_one(key_at(octets, slot.start)),
        );
        match entry {
            Entry::Occupied(entry) => (&mut entry.into_mut().value, true),
            Entry::Vacant(entry) => {
                let start = Start::new(octets.len());
                push(octets, key);
                (&mut entry.insert(Slot { start, value }).into_mut().value, false)
            }
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Gives back the memory that was kept for more.
    pub(crate) fn shrink(&mut self) {
        let Keys { octets, slots, hasher } = self;
        octets.shrink_to_fit();
        slots.shrink_to_fit(|slot| hasher.hash_one(key_at(octets, slot.start)));
    }
}

impl<V: Copy> Keys<V> {
    /// Gives a key a value, in the place of the one that it had.
    pub(crate) fn insert(&mut self, key: &[u8], value: V) {
        *self.get_or_insert(key, value).0 = value;
    }
}

/// Adds a key behind its length: seven bits an octet, the lowest first, the last below 128.
fn push(octets: &mut Vec<u8>, key: &[u8]) {
    let mut length = key.len();
    while length > 0x7f {
        octets.push(low_bits(length) | 0x80);
        length >>= 7;
    }
    octets.push(low_bits(length));
    octets.extend_from_slice(key);
}

fn low_bits(length: usize) -> u8 {
    length.to_le_bytes()[0] & 0x7f
}

fn key_at(octets: &[u8], start: Start) -> &[u8] {
    let mut at = start.get();
    let (mut length, mut shift) = (0, 0);
    loop {
        let octet = octets[at];
        at += 1;
        length |= usize::from(octet & 0x7f) << shift;
        shift += 7;
        if octet & 0x80 == 0 {
            return &octets[at..at + length];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_found_again() {
        let mut keys = Keys::default();
        let of_length = |length: usize| vec![b'x'; length];
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 100_000] {
            keys.insert(&of_length(length), length);
        }
        keys.shrink();
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 100_000] {
            assert_eq!(keys.get(&of_length(length)), Some(&length));
        }
        assert_eq!(keys.get(&of_length(2)), None);
        assert_eq!(keys.len(), 8);
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let mut keys = Keys::default();
        keys.insert(b"a", 1);
        keys.insert(b"a", 2);
        assert_eq!(keys.get(b"a"), Some(&2));
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn many_keys_are_found_again() {
        let mut keys = Keys::default();
        for number in 0..10_000_u32 {
            keys.insert(format!("key {number}").as_bytes(), number);
        }
        for number in 0..10_000_u32 {
            assert_eq!(keys.get(format!("key {number}").as_bytes()), Some(&number));
        }
        assert_eq!(keys.get(b"key 10000"), None);
    }

    #[test]
    fn a_start_beyond_four_gibibytes_is_kept() {
        for start in [0, 255, 256, (1 << 32) + 7, (1 << 40) - 1] {
            assert_eq!(Start::new(start).get(), start);
        }
    }
}
