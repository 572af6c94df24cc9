//! Decisions that are followed while they are made.

use super::rows::Rows;
use super::*;
use mppd::tracking::tail::{News, Tail, TailOptions};

const SECOND: i64 = 1_000_000;

/// A row whose request came so many seconds ago.
fn row_of(seconds: i64) -> Row {
    let time = rows::now() - seconds * SECOND;
    Rows::new(1, time, time + 1_000).next()
}

fn other(row: Row) -> RowWrite {
    // The rows of one number are the same but for their times; keys of one time are not.
    let key = row.key().unwrap();
    Write { key, state: State::Processed, fresh: false, content: Arc::new(row) }
}

async fn write(store: &mut dyn Store, row: Row) -> RequestKey {
    let write = other(row);
    let key = write.key;
    store.write(&[write]).await.unwrap();
    key
}

fn follow(places: &[Place]) -> Tail {
    Tail::new(places, Condition::All(Vec::new()), TailOptions::default())
}

fn keys_of(news: &News) -> Vec<RequestKey> {
    news.rows.iter().map(|found| found.row.key().unwrap()).collect()
}

/// The rows of so many looks that one goes back all the way.
async fn looks(tail: &mut Tail) -> Vec<RequestKey> {
    let mut keys = Vec::new();
    for _ in 0..6 {
        keys.extend(keys_of(&tail.look(10).await));
    }
    keys
}

#[test]
fn a_row_is_shown_once_even_if_it_appears_behind_later_ones() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut store = SqliteStore::open(&directory.path().join("requests.sqlite")).unwrap();
        store.prepare().await.unwrap();
        let there = write(&mut store, row_of(30)).await;
        let mut tail = follow(&[(None, directory.path().to_owned())]);
        assert_eq!(keys_of(&tail.look(10).await), [there]);
        let second = write(&mut store, row_of(1)).await;
        assert_eq!(keys_of(&tail.look(10).await), [second]);
        let late = write(&mut store, row_of(90)).await;
        assert_eq!(looks(&mut tail).await, [late]);
        assert_eq!(looks(&mut tail).await, []);
    });
}

#[test]
fn the_first_look_shows_only_the_last_rows() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut store = SqliteStore::open(&directory.path().join("requests.sqlite")).unwrap();
        store.prepare().await.unwrap();
        let mut keys = Vec::new();
        for seconds in [50, 40, 30] {
            keys.push(write(&mut store, row_of(seconds)).await);
        }
        let mut tail = follow(&[(None, directory.path().to_owned())]);
        assert_eq!(keys_of(&tail.look(2).await), keys[1..]);
        assert_eq!(looks(&mut tail).await, []);
    });
}

#[test]
fn a_file_that_is_not_there_yet_is_no_fault() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut tail = follow(&[(None, directory.path().to_owned())]);
        let news = tail.look(10).await;
        assert!(news.rows.is_empty() && news.lost.is_empty());
        let mut store = SqliteStore::open(&directory.path().join("requests.sqlite")).unwrap();
        let news = tail.look(10).await;
        assert!(news.rows.is_empty() && news.lost.is_empty(), "{:?}", news.lost);
        store.prepare().await.unwrap();
        let row = write(&mut store, row_of(1)).await;
        assert_eq!(keys_of(&tail.look(10).await), [row]);
    });
}

#[test]
fn decisions_are_followed_while_the_database_comes_and_goes() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let places = [(Some(server.connection()), directory.path().to_owned())];
        let mut tail = follow(&places);
        let (there, _) = live(&tracker, numbered(1)).await;
        assert_eq!(keys_of(&tail.look(10).await), [there]);

        server.kill();
        let (waits, _) = live(&tracker, numbered(2)).await;
        let news = tail.look(10).await;
        assert_eq!(news.lost.len(), 1);
        assert_eq!(keys_of(&news), [waits]);
        assert!(news.rows[0].spooled);
        assert!(tail.look(10).await.lost.is_empty(), "it is said once");

        server.restart().await;
        super::absence::until("the spool is not moved", || tracker.status().spooled == 0).await;
        let (after, _) = live(&tracker, numbered(3)).await;
        let news = tail.look(10).await;
        assert_eq!((news.back.len(), keys_of(&news)), (1, vec![after]));
        assert_eq!(looks(&mut tail).await, []);
        tracker.stop().await;
    });
}
