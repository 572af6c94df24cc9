//! Keys as backends see them: the ID of the space, a slash, and what the engine wrote; never longer
//! than an index of any database takes.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The longest key, in octets.
pub const LONGEST_KEY: usize = 255;

/// The longest ID in front of a key, in octets.
const LONGEST_ID: usize = 100;

/// Octets of a hash as it is written.
const HASH: usize = 64;

/// What stands before the hash of what was cut off.
const CUT: u8 = b'~';

/// What all keys of a space begin with.
pub(crate) fn prefix(id: &str) -> Vec<u8> {
    let mut prefix = shortened(id.as_bytes().to_vec(), LONGEST_ID);
    prefix.push(b'/');
    prefix
}

/// The whole key.
pub(crate) fn whole(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    shortened([prefix, key].concat(), LONGEST_KEY)
}

/// The octets, or where they are too many their beginning and the SHA-256 of all of them.
fn shortened(octets: Vec<u8>, most: usize) -> Vec<u8> {
    if octets.len() <= most {
        return octets;
    }
    let mut short = octets[..most - HASH - 1].to_vec();
    short.push(CUT);
    let mut hash = String::with_capacity(HASH);
    for octet in Sha256::digest(&octets) {
        // Writing to a String cannot fail.
        let _infallible = write!(hash, "{octet:02x}");
    }
    short.extend_from_slice(hash.as_bytes());
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_common_length_is_kept_as_it_is() {
        assert_eq!(whole(&prefix("greylist"), b"192.0.2.0/24 a b"), b"greylist/192.0.2.0/24 a b");
    }

    #[test]
    fn long_keys_are_cut_and_stay_apart() {
        let prefix = prefix("greylist");
        let [one, other] = [b'a', b'b'].map(|last| {
            let mut key = vec![b'x'; 1_000];
            key.push(last);
            whole(&prefix, &key)
        });
        assert_eq!((one.len(), other.len()), (LONGEST_KEY, LONGEST_KEY));
        assert!(one.starts_with(b"greylist/xxx"));
        assert_ne!(one, other);
    }

    #[test]
    fn a_long_id_leaves_room_for_keys() {
        let prefix = prefix(&"x".repeat(300));
        assert_eq!(prefix.len(), LONGEST_ID + 1);
        assert!(whole(&prefix, &[b'k'; 300]).starts_with(&prefix));
    }
}
