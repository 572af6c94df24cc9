//! Rows that are kept, moved, and dropped at a bound.

use std::sync::Arc;

use mppd_engine::{Decision, Request, Transition};

use super::*;
use crate::tracking::snapshot::tests::{exchange, row};

fn bounds(max_size: u64, at_bound: AtBound) -> Bounds {
    Bounds { max_size, max_age: None, at_bound }
}

fn open(path: &Path) -> Spool {
    let bounds = bounds(1 << 30, AtBound::Answer);
    Spool::open(path, bounds, crate::log::silent()).unwrap()
}

fn write(transition: Transition, exchange: &mppd_engine::Exchange) -> RowWrite {
    let state = match transition {
        Transition::Received => State::Received,
        _ => State::Processed,
    };
    let content = Arc::new(row(transition, exchange));
    RowWrite { key: exchange.key(), state, fresh: false, content }
}

fn request(sender: &str) -> mppd_engine::Exchange {
    exchange(Request::from_attributes([("sender", sender)]).unwrap())
}

/// Fills a spool of this bound; the keys that were kept.
fn fill(spool: &mut Spool) -> Vec<RequestKey> {
    let mut keys = Vec::new();
    loop {
        let write = write(Transition::Received, &request(&"a".repeat(2_000)));
        let unkept = spool.keep(std::slice::from_ref(&write)).unwrap();
        if !unkept.is_empty() {
            assert_eq!(unkept, [write.key]);
            return keys;
        }
        keys.push(write.key);
        assert!(keys.len() < 10_000, "it is never full");
    }
}

#[test]
fn a_full_spool_takes_nothing_new_but_decisions_on_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    let bounds = bounds(1 << 20, AtBound::Answer);
    let mut spool = Spool::open(&path, bounds, crate::log::silent()).unwrap();
    let first = request("first@example.com");
    spool.keep(&[write(Transition::Received, &first)]).unwrap();
    let kept = fill(&mut spool);
    assert!(spool.is_full() && spool.octets() < 2 << 20, "{}", spool.octets());
    assert_eq!(spool.rows(), kept.len() as u64 + 1);
    first.decide(Decision::dunno());
    let other = request("other@example.com");
    let writes = [write(Transition::Processed, &first), write(Transition::Received, &other)];
    assert_eq!(spool.keep(&writes).unwrap(), [other.key()]);
    let rows = spool.next().unwrap();
    assert!(rows[0].key() == Some(first.key()) && rows[0].is_processed());
}

#[test]
fn a_full_spool_has_room_again_when_rows_were_moved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    let bounds = bounds(1 << 20, AtBound::Defer);
    let mut spool = Spool::open(&path, bounds, crate::log::silent()).unwrap();
    fill(&mut spool);
    while spool.is_full() {
        let rows = spool.next().unwrap();
        let moved: Vec<_> = rows.iter().map(|row| (row.key().unwrap(), State::Received)).collect();
        spool.moved(&moved, moved.last().map(|(key, _)| *key)).unwrap();
    }
    assert!(spool.rows() > 0);
    let write = write(Transition::Received, &request("a@b"));
    assert!(spool.keep(&[write]).unwrap().is_empty());
}

#[test]
fn the_oldest_rows_make_room_where_that_is_chosen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    let bounds = bounds(1 << 20, AtBound::DropOldest);
    let mut spool = Spool::open(&path, bounds, crate::log::silent()).unwrap();
    let mut keys = Vec::new();
    for _ in 0..1_000 {
        let write = write(Transition::Received, &request(&"a".repeat(2_000)));
        keys.push(write.key);
        assert!(spool.keep(&[write]).unwrap().is_empty());
        assert!(spool.octets() < 2 << 20);
    }
    assert!(spool.rows() > 50 && spool.dropped() > 0);
    assert_eq!(spool.rows() + spool.dropped(), 1_000);
    let everything = everything();
    let left = spool.store.search(&everything);
    let left = futures_util::FutureExt::now_or_never(left).unwrap().unwrap();
    let left: Vec<RequestKey> = left.iter().filter_map(Row::key).collect();
    assert_eq!(left, keys[keys.len() - left.len()..]);
}

fn everything() -> crate::tracking::store::Query {
    let condition = crate::tracking::store::Condition::All(Vec::new());
    crate::tracking::store::Query { condition, limit: 1_000_000, newest_first: false }
}

#[test]
fn rows_that_have_waited_too_long_are_removed_also_those_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    let hour = std::time::Duration::from_hours(1);
    let bounds = Bounds { max_age: Some(hour), ..bounds(1 << 30, AtBound::Answer) };
    let mut spool = Spool::open(&path, bounds, crate::log::silent()).unwrap();
    let poisoned = write(Transition::Received, &request("poison@example.com"));
    spool.keep_refused(&[(poisoned, "too long".to_owned())]).unwrap();
    spool.keep(&[write(Transition::Received, &request("a@b"))]).unwrap();
    assert_eq!((spool.rows(), spool.refused()), (2, 1));
    let now = SystemTime::now();
    spool.expire(now).unwrap();
    assert_eq!((spool.rows(), spool.dropped()), (2, 0));
    spool.expire(now + hour * 2).unwrap();
    assert_eq!((spool.rows(), spool.refused(), spool.dropped()), (0, 0, 2));
    assert_eq!((spool.octets(), spool.oldest()), (0, None));
}

#[test]
fn a_damaged_spool_is_set_aside_and_a_new_one_begun() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    std::fs::write(
        &path,
        "no database at all, and longer than a header is, which is a hundred \
                           octets, so that nobody takes it for a new one",
    )
    .unwrap();
    let mut spool = open(&path);
    spool.keep(&[write(Transition::Received, &request("a@b"))]).unwrap();
    assert_eq!(spool.rows(), 1);
    let is_aside = |name: &str| name.starts_with("spool.sqlite.damaged-");
    let names = std::fs::read_dir(directory.path()).unwrap();
    let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| is_aside(&name)));
}

#[test]
fn a_spool_that_is_damaged_while_in_use_goes_on_in_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    let mut spool = open(&path);
    spool.keep(&[write(Transition::Received, &request("a@b"))]).unwrap();
    spool.begin_anew("as if").unwrap();
    spool.keep(&[write(Transition::Received, &request("c@d"))]).unwrap();
    assert_eq!(spool.rows(), 1);
    drop(spool);
    assert_eq!(open(&path).rows(), 1);
    let files = std::fs::read_dir(directory.path()).unwrap();
    let paths = files.map(|entry| entry.unwrap().path());
    let aside = paths.filter(|path| path.to_string_lossy().contains("damaged-"));
    let aside: Vec<PathBuf> =
        aside.filter(|path| !path.to_string_lossy().ends_with("-wal")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(open(&aside[0]).rows(), 1, "what it held is still in it");
}

#[tokio::test]
async fn a_decision_that_comes_while_its_received_is_moved_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool.sqlite");
    let mut spool = open(&path);
    // That of the tracker which a reload has replaced; its requests are still under way.
    let mut other = open(&path);
    let exchange = exchange(Request::from_attributes([("sender", "a@b")]).unwrap());
    let write = |transition, state| RowWrite {
        key: exchange.key(),
        state,
        fresh: false,
        content: Arc::new(row(transition, &exchange)),
    };
    other.keep(&[write(Transition::Received, State::Received)]).unwrap();
    let rows = spool.next().unwrap();
    exchange.decide(Decision::dunno());
    other.keep(&[write(Transition::Processed, State::Processed)]).unwrap();
    assert!(rows.len() == 1 && !rows[0].is_processed());
    spool.moved(&[(exchange.key(), State::Received)], Some(exchange.key())).unwrap();
    let left = spool.next().unwrap();
    assert!(left.len() == 1 && left[0].is_processed());
    spool.moved(&[(exchange.key(), State::Processed)], Some(exchange.key())).unwrap();
    assert!(spool.next().unwrap().is_empty());
}

#[test]
fn every_connection_has_a_file_name_of_its_own() {
    assert_eq!(file_name("/run/x-y.sock"), "%2frun%2fx%2dy.sock");
    assert_ne!(file_name("a-b"), file_name("a_b"));
}
