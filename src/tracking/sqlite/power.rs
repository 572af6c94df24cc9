//! What a loss of power leaves of a file: the end of its log torn, or a checkpoint half done. A
//! commit is on the disk when it returns, so that only what came later can be torn.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use mppd_engine::{Request, RequestKey, Transition};
use proptest::prelude::*;
use tempfile::TempDir;

use super::SqliteStore;
use crate::tracking::batch::{State, Write};
use crate::tracking::row::Row;
use crate::tracking::snapshot::tests::{exchange, row};
use crate::tracking::store::{Condition, Query, RowWrite};

const PAGE: usize = 4_096;

fn some_row(size: usize) -> RowWrite {
    let sender = "a".repeat(size);
    let exchange = exchange(Request::from_attributes([("sender", sender)]).unwrap());
    let content = std::sync::Arc::new(row(Transition::Received, &exchange));
    Write { key: exchange.key(), state: State::Received, fresh: true, content }
}

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

fn open(path: &Path) -> SqliteStore {
    let mut store = SqliteStore::open(path).unwrap();
    store.create().unwrap();
    store
}

/// A machine that comes up with these octets in the file and in its log; the keys of its rows.
fn come_up(file: &[u8], log: &[u8]) -> Vec<RequestKey> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.sqlite");
    fs::write(&path, file).unwrap();
    fs::write(log_of(&path), log).unwrap();
    let mut store = open(&path);
    let check: String =
        store.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let keys = keys(&mut store);
    store.insert(&[some_row(10)]).unwrap();
    keys
}

fn keys(store: &mut SqliteStore) -> Vec<RequestKey> {
    use crate::tracking::store::Store as _;
    let query =
        Query { condition: Condition::All(Vec::new()), limit: 100_000, newest_first: false };
    let rows = store.search(&query).now_or_never().unwrap().unwrap();
    rows.iter().filter_map(Row::key).collect()
}

#[test]
fn a_commit_waits_for_the_disk() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory.path().join("x.sqlite"));
    let pragma = |name| store.connection.pragma_query_value(None, name, |row| row.get(0)).unwrap();
    let mode: String =
        store.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let full: i64 = pragma("synchronous");
    assert_eq!((&*mode, full), ("wal", 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_torn_end_of_the_log_costs_nothing_that_was_committed(
        sizes in proptest::collection::vec(1..9_000_usize, 2..20),
        cut in 0..=100_usize,
        garbled: bool,
        seed: u64,
    ) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("x.sqlite");
        let mut store = open(&path);
        let mut committed = Vec::new();
        let (last, before) = sizes.split_last().unwrap();
        for size in before {
            let write = some_row(*size);
            store.insert(std::slice::from_ref(&write)).unwrap();
            committed.push(write.key);
        }
        let safe = fs::read(log_of(&path)).unwrap().len();
        let write = some_row(*last);
        store.insert(std::slice::from_ref(&write)).unwrap();
        let file = fs::read(&path).unwrap();
        let mut log = fs::read(log_of(&path)).unwrap();
        let torn = safe + (log.len() - safe) * cut / 100;
        if garbled {
            let mut random = fastrand::Rng::with_seed(seed);
            log[torn..].fill_with(|| random.u8(..));
        } else {
            log.truncate(torn);
        }
        let found = come_up(&file, &log);
        committed.push(write.key);
        let all_or_all_but_the_last = found == committed || found == committed[..before.len()];
        prop_assert!(all_or_all_but_the_last, "{found:?} of {committed:?}");
    }

    #[test]
    fn a_checkpoint_half_done_costs_nothing(
        sizes in proptest::collection::vec(1..9_000_usize, 5..20),
        seed: u64,
    ) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("x.sqlite");
        let mut store = open(&path);
        let mut committed = Vec::new();
        for size in sizes {
            let write = some_row(size);
            store.insert(std::slice::from_ref(&write)).unwrap();
            committed.push(write.key);
        }
        let (old, log) = (fs::read(&path).unwrap(), fs::read(log_of(&path)).unwrap());
        store.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        let new = fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut torn = Vec::new();
        let length = random.usize(old.len()..=new.len());
        for start in (0..length).step_by(PAGE) {
            let end = length.min(start + PAGE);
            let at = random.usize(start..=end);
            // Each page has been written up to some octet.
            let mut page = new[start..end].to_vec();
            for (octet, place) in page.iter_mut().zip(start..).skip(at - start) {
                *octet = old.get(place).copied().unwrap_or_default();
            }
            torn.extend(page);
        }
        prop_assert_eq!(come_up(&torn, &log), committed);
    }
}
