//! What becomes of rows while the store is well, slow or away.

use std::path::PathBuf;

use mppd_engine::tracking::TrackingError;
use mppd_engine::{Action, Decision, Request, Transition};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::*;
use crate::tracking::embedded::Embedded;
use crate::tracking::snapshot::tests::{exchange, row};
use crate::tracking::spool;
use crate::tracking::sqlite::SqliteStore;
use crate::tracking::status::Place;
use crate::tracking::tracker::EMBEDDED;

type Told = oneshot::Receiver<Result<(), TrackingError>>;

struct Bench {
    directory: TempDir,
    queue: Arc<Queue>,
    writer: Writer,
}

impl Bench {
    fn new(at_bound: AtBound, limit: usize) -> Self {
        Bench::with_memory(at_bound, limit, usize::MAX)
    }

    fn with_memory(at_bound: AtBound, limit: usize, most_octets: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let logger = crate::log::silent();
        let bounds = Bounds { max_size: 1 << 30, max_age: None, at_bound };
        let path = directory.path().join(EMBEDDED);
        let embedded = Embedded::open(path, bounds.clone(), logger.clone()).unwrap();
        let queue = Arc::new(Queue::new(limit, most_octets));
        let received_delay = Duration::ZERO;
        let manner = Manner { node: "node".into(), batch_rows: 512, received_delay, bounds };
        let status = TrackerStatus::new("here".into(), Place::Embedded);
        let status = Arc::new(Mutex::new(status));
        let target = Target::Embedded(Box::new(embedded));
        let writer = Writer::new(target, manner, Arc::clone(&queue), status, logger);
        Bench { directory, queue, writer }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(EMBEDDED)
    }

    /// Has the disk full, or not.
    fn fill_disk(&mut self, is_full: bool) {
        let Target::Embedded(embedded) = &mut self.writer.target else { panic!() };
        embedded.store().limit_pages(if is_full { 1 } else { 1 << 30 });
    }

    fn push(&self, transition: Transition, helo: &str) -> Result<Told, TrackingError> {
        // More than the pages have room for that are there already.
        let sender = "a".repeat(9_000);
        let attributes = [("helo_name", helo), ("sender", &sender)];
        let exchange = exchange(Request::from_attributes(attributes).unwrap());
        let state = match transition {
            Transition::Received => State::Received,
            _ => State::Processed,
        };
        exchange.decide(Decision::dunno());
        let (acknowledgement, told) = oneshot::channel();
        self.queue.push(Entry {
            key: exchange.key(),
            state,
            content: Content::row(Arc::new(row(transition, &exchange))),
            acknowledgement: Some(acknowledgement),
        })?;
        Ok(told)
    }

    /// One turn of the writer.
    async fn turn(&mut self) {
        self.writer.gather();
        self.writer.step().await;
        self.writer.note();
    }

    async fn ask(&mut self, helo: &str) -> Result<(), TrackingError> {
        let mut told = self.push(Transition::Processed, helo)?;
        self.turn().await;
        told.try_recv().expect("nobody waits")
    }

    fn status(&self) -> TrackerStatus {
        self.writer.status.lock().unwrap().clone()
    }

    fn helos(&self) -> Vec<String> {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let sql = "SELECT helo_name FROM track_policy_request ORDER BY id";
        let mut statement = connection.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn execute(&self, sql: &str) {
        rusqlite::Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_requests_are_answered_and_their_rows_written_when_there_is_room() {
    let mut bench = Bench::new(AtBound::Answer, 100);
    bench.ask("a").await.unwrap();
    bench.fill_disk(true);
    for helo in ["b", "c", "d"] {
        bench.ask(helo).await.unwrap();
    }
    assert_eq!(bench.helos(), ["a"]);
    assert!(bench.status().blocked.unwrap().contains("full"), "{:?}", bench.status());
    bench.fill_disk(false);
    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    bench.turn().await;
    assert_eq!(bench.helos(), ["a", "b", "c", "d"]);
    assert_eq!((bench.status().blocked, bench.status().lost), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_no_more_rows_wait_in_memory_than_may() {
    let mut bench = Bench::new(AtBound::Answer, 2);
    bench.fill_disk(true);
    for helo in ["a", "b", "c", "d"] {
        bench.ask(helo).await.unwrap();
    }
    assert_eq!(bench.status().lost, 2);
    bench.fill_disk(false);
    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    bench.turn().await;
    assert_eq!(bench.helos(), ["a", "b"]);
}

// A row of these tests has between nine and ten thousand octets.
#[tokio::test(start_paused = true)]
async fn on_a_full_disk_no_more_octets_wait_in_memory_than_may() {
    for (at_bound, lost, dropped, left) in
        [(AtBound::Answer, 2, 0, ["a", "b"]), (AtBound::DropOldest, 0, 2, ["c", "d"])]
    {
        let mut bench = Bench::with_memory(at_bound, 100, 25_000);
        bench.fill_disk(true);
        for helo in ["a", "b", "c", "d"] {
            bench.ask(helo).await.unwrap();
        }
        assert_eq!((bench.status().lost, bench.status().dropped), (lost, dropped));
        bench.fill_disk(false);
        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        bench.turn().await;
        assert_eq!(bench.helos(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_octets_wait_for_the_disk_than_may() {
    let mut bench = Bench::with_memory(AtBound::Answer, 100, 25_000);
    for (helo, is_full) in [("a", false), ("b", false), ("c", true)] {
        let _told = bench.push(Transition::Processed, helo).unwrap();
        assert_eq!(bench.queue.is_full(), is_full, "{helo}");
    }
    bench.turn().await;
    assert!(!bench.queue.is_full());
    assert_eq!(bench.helos(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_the_oldest_rows_give_way_where_that_is_chosen() {
    let mut bench = Bench::new(AtBound::DropOldest, 2);
    bench.fill_disk(true);
    for helo in ["a", "b", "c", "d"] {
        bench.ask(helo).await.unwrap();
    }
    assert_eq!((bench.status().lost, bench.status().dropped), (0, 2));
    bench.fill_disk(false);
    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    bench.turn().await;
    assert_eq!(bench.helos(), ["c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_requests_are_put_off_where_that_is_chosen() {
    let mut bench = Bench::new(AtBound::Defer, 100);
    bench.fill_disk(true);
    let expected = Some(Action::DeferIfPermit(Some("Service is unavailable".to_owned())));
    assert_eq!(bench.ask("a").await.unwrap_err().reply, expected);
    // New ones need not come that far.
    let refused = bench.push(Transition::Received, "b").unwrap_err();
    assert_eq!(refused.reply, expected);
    assert_eq!(bench.ask("c").await.unwrap_err().reply, expected);
    assert_eq!(bench.status().deferred, 2);
    bench.fill_disk(false);
    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
    bench.turn().await;
    bench.ask("d").await.unwrap();
    bench.push(Transition::Received, "e").unwrap();
    // What was put off is on record as such.
    assert_eq!(bench.helos(), ["a", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_the_embedded_store_refuses_is_set_aside_until_it_is_wanted_again() {
    let mut bench = Bench::new(AtBound::Answer, 100);
    bench.execute(
        "CREATE TRIGGER t BEFORE INSERT ON track_policy_request WHEN NEW.helo_name = 'bad'
         BEGIN SELECT RAISE(ABORT, 'no such name'); END",
    );
    let waiting: Vec<Told> = ["a", "bad", "c"]
        .map(|helo| bench.push(Transition::Processed, helo).unwrap())
        .into_iter()
        .collect();
    bench.turn().await;
    for told in waiting {
        told.await.unwrap().unwrap();
    }
    assert_eq!(bench.helos(), ["a", "c"]);
    assert_eq!((bench.status().spooled, bench.status().refused), (1, 1));
    bench.execute("DROP TRIGGER t");
    let aside = spool::path_of_embedded(bench.directory.path());
    assert_eq!(SqliteStore::open_to_read(&aside).unwrap().retry_refused(&[]).unwrap(), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.turn().await;
    assert_eq!(bench.helos(), ["a", "bad", "c"]);
    assert_eq!(bench.status().spooled, 0);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_file_is_set_aside_while_requests_go_on() {
    let mut bench = Bench::new(AtBound::Answer, 100);
    bench.ask("a").await.unwrap();
    let connection = rusqlite::Connection::open(bench.path()).unwrap();
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(connection);
    // The cache knows better, so the file is opened anew.
    let bounds = bench.writer.manner.bounds.clone();
    let embedded = Embedded::open(bench.path(), bounds, crate::log::silent()).unwrap();
    bench.writer.target = Target::Embedded(Box::new(embedded));
    let mut octets = std::fs::read(bench.path()).unwrap();
    octets[4_096..].fill(0xa5);
    std::fs::write(bench.path(), octets).unwrap();
    bench.ask("b").await.unwrap();
    assert_eq!(bench.helos(), ["b"]);
    assert_eq!(bench.status().blocked, None);
}
