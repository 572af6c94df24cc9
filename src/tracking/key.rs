//! Keys of requests: UUIDs of version 7, so that rows lie in the order of time and a row can be
//! written again without harm. Their last octets are the same for all keys of one run of the
//! server, so that each run knows its own requests among those of servers that share its records,
//! and its name.

use std::sync::LazyLock;

use mppd_engine::RequestKey;
use uuid::Uuid;

/// The octets of a key that tell the run that made it: the last of those that are random. A counter
/// in front of them has keys of one process increase.
const RUN_OCTETS: usize = 4;

/// What tells one run of the server from others.
pub(super) type Run = [u8; RUN_OCTETS];

static OURS: LazyLock<Run> = LazyLock::new(|| run(RequestKey(Uuid::now_v7().into_bytes())));

/// A new key. Those of one process are strictly increasing, whichever thread makes them.
#[must_use]
pub fn new_key() -> RequestKey {
    let mut key = Uuid::now_v7().into_bytes();
    key[16 - RUN_OCTETS..].copy_from_slice(&*OURS);
    RequestKey(key)
}

/// The run that made a key.
pub(super) fn run(key: RequestKey) -> Run {
    let [.., a, b, c, d] = key.0;
    [a, b, c, d]
}

/// The lowest key of a request that came at this time, in microseconds since 1970, or later.
#[must_use]
pub(super) fn floor(microseconds: i64) -> RequestKey {
    // The first 48 bits of a key are milliseconds.
    let milliseconds = u64::try_from(microseconds / 1_000).unwrap_or_default();
    let [_, _, time @ ..] = milliseconds.to_be_bytes();
    let mut key = [0; 16];
    key[..time.len()].copy_from_slice(&time);
    RequestKey(key)
}

/// When the request of a key came, in microseconds since 1970, to the millisecond.
#[must_use]
pub(super) fn time(key: RequestKey) -> i64 {
    let mut octets = [0; 8];
    octets[2..].copy_from_slice(&key.0[..6]);
    i64::from_be_bytes(octets) * 1_000
}

/// Reads a key as people write it, a UUID.
#[must_use]
pub fn parse(text: &str) -> Option<RequestKey> {
    let id = Uuid::try_parse(text).ok()?;
    Some(RequestKey(id.into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn keys_of_many_threads_are_unique_and_increase_in_each() {
        let all = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let keys: Vec<RequestKey> = (0..20_000).map(|_| new_key()).collect();
                    assert!(keys.is_sorted_by(|a, b| a < b));
                    all.lock().unwrap().extend(keys);
                });
            }
        });
        assert_eq!(all.into_inner().unwrap().len(), 80_000);
    }

    #[test]
    fn a_key_made_later_on_another_thread_is_higher() {
        let turn = Mutex::new(new_key());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let mut last = turn.lock().unwrap();
                        let key = new_key();
                        assert!(key > *last);
                        *last = key;
                    }
                });
            }
        });
    }

    #[test]
    fn keys_of_one_run_tell_which_it_is() {
        let (key, other) = (new_key(), Uuid::now_v7().into_bytes());
        assert_eq!(run(key), run(new_key()));
        assert_ne!(run(key), run(RequestKey(other)));
        assert_eq!(Uuid::from_bytes(key.0).get_version_num(), 7);
    }

    #[test]
    fn a_key_tells_when_its_request_came() {
        let before = crate::tracking::time::microseconds(std::time::SystemTime::now());
        let key = new_key();
        assert!(floor(before) <= key && key < floor(before + 60_000_000));
        assert!(time(key) >= before - 1_000 && time(key) < before + 60_000_000);
        assert_eq!(time(floor(1_795_352_400_123_456)), 1_795_352_400_123_000);
    }

    #[test]
    fn a_key_is_read_back_from_its_text() {
        let key = new_key();
        assert_eq!(parse(&key.to_string()), Some(key));
        assert_eq!(parse("no key"), None);
    }
}
