//! Octets, each with a value, found at one look into memory however many there are: what is kept of
//! each is a digest of 128 bits, and never the octets themselves.
//!
//! Two keys with one digest would be taken for one. The digest is `SipHash` under a secret of each
//! table, so nobody can search for such keys; that one key out of an unknown request meets one of a
//! million by chance happens once in 2¹⁰⁸ requests.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use crate::lines::{Digest, Lines};

/// Octets, each with a value.
pub(crate) struct Keys<V> {
    lines: Lines<V>,
    hasher: SipHasher13,
}

impl<V> Default for Keys<V> {
    fn default() -> Self {
        // The one source of chance of the standard library.
        let secret = || RandomState::new().build_hasher().finish();
        Keys { lines: Lines::default(), hasher: SipHasher13::new_with_keys(secret(), secret()) }
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
        self.get_joined(&[key])
    }

    /// The value of the key that these pieces make one after the other.
    pub(crate) fn get_joined(&self, pieces: &[&[u8]]) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        let digest = self.digest(pieces);
        self.lines.get(&digest)
    }

    fn digest(&self, pieces: &[&[u8]]) -> Digest {
        let mut hasher = self.hasher;
        for piece in pieces {
            hasher.write(piece);
        }
        hasher.finish128().as_bytes()
    }

    /// Where the value of a key is, with whether there was one before; `value` is put there if not.
    pub(crate) fn get_or_insert(&mut self, key: &[u8], value: V) -> (&mut V, bool) {
        let digest = self.digest(&[key]);
        self.lines.get_or_insert(&digest, value)
    }

    /// Gives a key a value, in the place of the one that it had.
    pub(crate) fn insert(&mut self, key: &[u8], value: V) {
        let digest = self.digest(&[key]);
        self.lines.insert(&digest, value);
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Gives back the memory that was kept for more.
    pub(crate) fn shrink(&mut self) {
        self.lines.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_found_again() {
        let mut keys = Keys::default();
        let of_length = |length: usize| vec![b'x'; length];
        for length in [0, 1, 7, 8, 9, 127, 128, 100_000] {
            keys.insert(&of_length(length), length);
        }
        keys.shrink();
        for length in [0, 1, 7, 8, 9, 127, 128, 100_000] {
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
    fn a_key_is_found_by_its_pieces_however_it_is_cut() {
        let mut keys = Keys::default();
        keys.insert(b"alice@example.org", ());
        for at in 0..=17 {
            let (front, back) = b"alice@example.org".split_at(at);
            assert!(keys.get_joined(&[front, b"", back]).is_some(), "{at}");
        }
        assert!(keys.get_joined(&[b"alice", b"example.org"]).is_none());
    }

    #[test]
    fn each_table_has_a_secret_of_its_own() {
        let [one, other] = [Keys::<()>::default(), Keys::default()];
        assert!(one.digest(&[b"a"]) != other.digest(&[b"a"]));
    }
}
