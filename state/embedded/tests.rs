//! What is in the file after changes, an end and a beginning.

use mppd_engine::testkit::block_on;
use slog::{Discard, o};

use super::*;
use crate::{Beside, Change, Mark, Space, StateStore};

fn logger() -> Logger {
    Logger::root(Discard, o!())
}

fn open(directory: &Path) -> Arc<StateStore> {
    let path = crate::file::path_in(directory);
    Arc::new(StateStore::new(Embedded::open(&path, 1_000, &logger()).unwrap()))
}

fn beside(directory: &Path, server_runs: bool) -> Arc<StateStore> {
    Arc::new(StateStore::new(Beside::open(directory, server_runs).unwrap()))
}

fn later() -> Timestamp {
    Timestamp::now() + Duration::from_hours(1)
}

fn mark(space: &Space, key: &str, reason: &str) {
    let record = Mark { since: Timestamp::UNIX_EPOCH, reason: reason.to_owned() };
    let change = move |_: Option<Mark>| Change::Put(record.clone(), later(), ());
    block_on(space.update(key.as_bytes(), Timestamp::now(), change)).unwrap();
}

fn reason(space: &Space, key: &str) -> Option<String> {
    let mark = block_on(space.get::<Mark>(key.as_bytes(), Timestamp::now())).unwrap();
    mark.map(|mark| mark.reason)
}

#[test]
fn records_survive_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let space = open(directory.path()).space("a");
    mark(&space, "kept", "one");
    mark(&space, "removed", "two");
    assert!(block_on(space.remove(b"removed")).unwrap());
    drop(space);
    let space = open(directory.path()).space("a");
    assert_eq!(reason(&space, "kept").as_deref(), Some("one"));
    assert_eq!(reason(&space, "removed"), None);
}

#[test]
fn the_file_is_nobody_elses_to_read() {
    use std::os::unix::fs::MetadataExt as _;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    mark(&store.space("a"), "key", "one");
    block_on(store.settle()).unwrap();
    for name in ["state.sqlite", "state.sqlite-wal"] {
        let mode = std::fs::metadata(directory.path().join(name)).unwrap().mode();
        assert_eq!(mode & 0o007, 0, "{name}: {mode:o}");
    }
}

#[test]
fn what_is_settled_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    mark(&store.space("a"), "key", "one");
    block_on(store.settle()).unwrap();
    // As a process that was killed leaves it.
    let copy = tempfile::tempdir().unwrap();
    for name in ["state.sqlite", "state.sqlite-wal"] {
        std::fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(reason(&open(copy.path()).space("a"), "key").as_deref(), Some("one"));
}

#[test]
fn expired_records_are_not_read_and_leave_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let at = |second| Timestamp::from_second(second).unwrap();
    let change = move |_: Option<Mark>| {
        Change::Put(Mark { since: at(1), reason: String::new() }, at(20), ())
    };
    block_on(store.space("a").update(b"key", at(10), change)).unwrap();
    drop(store);
    drop(open(directory.path()));
    let file = StoreFile::open(&crate::file::path_in(directory.path())).unwrap();
    assert_eq!(file.list(b"", None, 10, 0).unwrap(), []);
}

#[test]
fn a_broken_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    std::fs::write(&path, "this is no file of SQLite, however long one looks at it".repeat(99))
        .unwrap();
    let space = open(directory.path()).space("a");
    mark(&space, "key", "one");
    drop(space);
    assert_eq!(reason(&open(directory.path()).space("a"), "key").as_deref(), Some("one"));
    let is_aside = |entry: &std::fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with("state.sqlite.broken-")
    };
    let files = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap);
    assert_eq!(files.filter(is_aside).count(), 1);
}

#[test]
fn all_that_is_in_memory_is_written_to_the_file_that_follows_a_broken_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = crate::file::path_in(directory.path());
    let table = Arc::new(Table::new(1_000, true));
    let mut scribe = Scribe::new(table.clone(), path.clone(), logger());
    scribe.flush();
    table.insert(b"before", b"one", Millis::MAX);
    scribe.flush();
    scribe.start_anew();
    table.insert(b"after", b"two", Millis::MAX);
    scribe.flush();
    let file = StoreFile::open(&path).unwrap();
    let listed = file.list(b"", None, 10, 0).unwrap();
    let keys: Vec<&[u8]> = listed.iter().map(|stored| &stored.key[..]).collect();
    assert_eq!(keys, [&b"after"[..], b"before"]);
}

#[test]
fn without_a_file_there_is_memory_and_the_file_is_tried_on_and_on() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let store = open(&missing);
    let space = store.space("a");
    mark(&space, "key", "one");
    assert!(block_on(store.settle()).is_err());
    assert_eq!(reason(&space, "key").as_deref(), Some("one"));
    std::fs::create_dir(&missing).unwrap();
    block_on(store.settle()).unwrap();
    drop((space, store));
    assert_eq!(reason(&open(&missing).space("a"), "key").as_deref(), Some("one"));
}

#[test]
fn a_command_changes_what_a_running_server_has_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let server = open(directory.path()).space("a");
    mark(&server, "seen", "one");
    mark(&server, "removed", "two");
    let store = beside(directory.path(), true);
    let command = store.space("a");
    // All that the server knew is seen at once.
    assert_eq!(reason(&command, "seen").as_deref(), Some("one"));
    assert_eq!(block_on(command.list(None, 10, Timestamp::now())).unwrap().len(), 2);
    assert!(block_on(command.remove(b"removed")).unwrap());
    assert!(!block_on(command.remove(b"removed")).unwrap());
    mark(&command, "put", "three");
    assert_eq!(reason(&command, "put").as_deref(), Some("three"));
    block_on(store.settle()).unwrap();
    assert_eq!(reason(&server, "removed"), None);
    assert_eq!(reason(&server, "put").as_deref(), Some("three"));
    assert_eq!(block_on(command.list(None, 10, Timestamp::now())).unwrap().len(), 2);
}

#[test]
fn what_a_command_posted_is_taken_in_once_even_if_the_file_can_not_be_written_then() {
    let directory = tempfile::tempdir().unwrap();
    let path = crate::file::path_in(directory.path());
    let table = Arc::new(Table::new(1_000, true));
    let mut scribe = Scribe::new(table.clone(), path.clone(), logger());
    scribe.flush();
    table.insert(b"counter", b"one", Millis::MAX);
    let removal = [(b"counter".to_vec(), None)];
    StoreFile::open(&path).unwrap().post(removal.iter().map(|(key, to)| (key, to))).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER full BEFORE DELETE ON inbox BEGIN SELECT raise(ABORT, 'full'); END",
        )
        .unwrap();
    scribe.flush();
    assert_eq!(table.list(b"", None, 10, 0), []);
    table.insert(b"counter", b"two", Millis::MAX);
    scribe.flush();
    other.execute_batch("DROP TRIGGER full").unwrap();
    scribe.flush();
    assert!(scribe.failing.is_none());
    let file = StoreFile::open(&path).unwrap();
    assert_eq!(file.list(b"", None, 10, 0).unwrap().len(), 1);
    // Another one is taken in again.
    StoreFile::open(&path).unwrap().post(removal.iter().map(|(key, to)| (key, to))).unwrap();
    scribe.flush();
    assert_eq!(table.list(b"", None, 10, 0), []);
}

#[test]
fn a_command_changes_the_file_where_no_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let store = beside(directory.path(), false);
    let command = store.space("a");
    for number in 0..10_000 {
        mark(&command, &format!("{number:04}"), "one");
    }
    assert!(block_on(command.remove(b"0000")).unwrap());
    let listed = block_on(command.list(Some(b"0001"), 2, Timestamp::now())).unwrap();
    assert_eq!(listed.iter().map(|stored| &stored.key[..]).collect::<Vec<_>>(), [b"0002", b"0003"]);
    drop((command, store));
    let file = StoreFile::open(&crate::file::path_in(directory.path())).unwrap();
    assert_eq!(file.list(b"a/", None, 20_000, 0).unwrap().len(), 9_999);
}
