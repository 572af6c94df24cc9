//! What a loss of power leaves of the file: the end of its log torn or missing, or a checkpoint half
//! done. Every exchange of the embedded store with its file is on the disk when it returns, so that
//! only the last of them can be torn, which is no older than the store's pause between two.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::{StoreFile, path_in};
use crate::table::Millis;

const PAGE: usize = 4_096;
const COUNTER: &[u8] = b"counter";

/// One exchange: the counter, and so many octets of other records.
fn exchange(file: &mut StoreFile, count: u64, size: usize) {
    let record = |key: Vec<u8>, octets: Vec<u8>| (key, Some((Millis::MAX, octets)));
    let changes = [
        record(COUNTER.to_vec(), count.to_be_bytes().to_vec()),
        record(format!("other {}", count % 7).into_bytes(), vec![b'a'; size]),
    ];
    file.change(changes.iter().map(|(key, record)| (key, record))).unwrap();
}

fn octets_of(directory: &Path) -> (Vec<u8>, Vec<u8>) {
    let path = path_in(directory);
    let log = path.with_file_name("state.sqlite-wal");
    (fs::read(path).unwrap(), fs::read(log).unwrap())
}

/// A machine that comes up with these octets in the file and in its log: the count that it finds.
fn come_up(file: &[u8], log: &[u8]) -> u64 {
    let directory = TempDir::new().unwrap();
    let path = path_in(directory.path());
    fs::write(&path, file).unwrap();
    fs::write(path.with_file_name("state.sqlite-wal"), log).unwrap();
    let mut store = StoreFile::open(&path).unwrap();
    let check: String =
        store.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut count = 0;
    store
        .load(|key, octets, _| {
            if key == COUNTER {
                count = u64::from_be_bytes(octets.try_into().unwrap());
            }
        })
        .unwrap();
    // And it goes on.
    exchange(&mut store, count + 1, 100);
    count
}

#[test]
fn an_exchange_waits_for_the_disk() {
    let directory = TempDir::new().unwrap();
    let file = StoreFile::open(&path_in(directory.path())).unwrap();
    let mode: String =
        file.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let synchronous: i64 =
        file.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
    assert_eq!((&*mode, synchronous), ("wal", 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_torn_or_missing_end_of_the_log_costs_the_last_exchange_at_most(
        sizes in proptest::collection::vec(1..9_000_usize, 2..20),
        cut in 0..=100_usize,
        garbled: bool,
        seed: u8,
    ) {
        let directory = TempDir::new().unwrap();
        let mut file = StoreFile::open(&path_in(directory.path())).unwrap();
        let (last, before) = sizes.split_last().unwrap();
        let mut count = 0;
        for size in before {
            count += 1;
            exchange(&mut file, count, *size);
        }
        let safe = octets_of(directory.path()).1.len();
        exchange(&mut file, count + 1, *last);
        let (octets, mut log) = octets_of(directory.path());
        let torn = safe + (log.len() - safe) * cut / 100;
        if garbled {
            log[torn..].iter_mut().zip((0..=u8::MAX).cycle()).for_each(|(octet, n)| *octet ^= seed | n | 1);
        } else {
            log.truncate(torn);
        }
        let found = come_up(&octets, &log);
        prop_assert!(found == count || found == count + 1, "{found} of {}", count + 1);
    }

    #[test]
    fn a_checkpoint_half_done_costs_nothing(
        sizes in proptest::collection::vec(1..9_000_usize, 5..20),
        written in proptest::collection::vec(0..=PAGE, 200),
    ) {
        let directory = TempDir::new().unwrap();
        let mut file = StoreFile::open(&path_in(directory.path())).unwrap();
        let mut count = 0;
        for size in sizes {
            count += 1;
            exchange(&mut file, count, size);
        }
        let (old, log) = octets_of(directory.path());
        file.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        let new = octets_of(directory.path()).0;
        let mut torn = Vec::new();
        for (page, written) in new.chunks(PAGE).zip(written) {
            // Each page has been written up to some octet.
            let place = torn.len();
            let before = old.get(place..place + PAGE).map_or(vec![0; PAGE], <[u8]>::to_vec);
            torn.extend(&page[..written.min(page.len())]);
            torn.extend(&before[written.min(page.len())..page.len()]);
        }
        prop_assert_eq!(come_up(&torn, &log), count);
    }
}
