//! The records: stores and tracker, against SQLite and a private MariaDB.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::captures;
use crate::harness::mariadb::MariaDb;
use mppd::cli::track::{Output, TrackArguments};
use mppd::config::connection::ResolvedConnection;
use mppd::config::settings::Durability;
use mppd::tracking::batch::{State, Write};
use mppd::tracking::mysql::MySqlStore;
use mppd::tracking::row::Cell;
use mppd::tracking::search::Place;
use mppd::tracking::sqlite::SqliteStore;
use mppd::tracking::store::{Condition, Query, RowWrite};
use mppd::tracking::table::COLUMNS;
use mppd::tracking::tracker::Place as Where;
use mppd::tracking::{
    Row, Store, StoreError, TrackerHandle, TrackerOptions, TrackingStartError, new_key,
};
use mppd_engine::exchange::Receipt;
use mppd_engine::{
    Action, Decision, EngineResult, Exception, Exchange, Outcome, Request, RequestKey, Tracker,
    Transition,
};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

fn logger() -> Logger {
    Logger::root(Discard, o!())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(work)
}

fn everything() -> Query {
    Query { condition: Condition::All(Vec::new()), limit: 1_000_000, newest_first: false }
}

fn options(directory: &Path, connection: Option<ResolvedConnection>) -> TrackerOptions {
    TrackerOptions {
        node: "node-1".into(),
        state_directory: directory.to_owned(),
        connection,
        durability: Durability::Answer,
        received_delay: Duration::from_millis(50),
        batch_rows: 512,
        queue: 10_000,
    }
}

fn exchange(tracker: &TrackerHandle, request: Request) -> Exchange {
    Exchange::new(Receipt {
        request: Arc::new(request),
        key: new_key(),
        received: SystemTime::now(),
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        tracker: Arc::new(tracker.clone()),
        repeat_of: None,
    })
}

fn numbered(number: usize) -> Request {
    let instance = format!("4491.6b02ccc2.{number:x}.0");
    Request::from_attributes([
        ("protocol_state", "RCPT"),
        ("client_address", "192.0.2.1"),
        ("sender", "alice@mail.example.org"),
        ("recipient", "bob@example.com"),
        ("instance", &instance),
    ])
    .unwrap()
}

fn decide(exchange: &Exchange, action: &str) {
    let action = Action::parse(action).unwrap();
    exchange.decide(Decision { action, engine: None });
}

/// A request's whole life; how long its answer would have waited.
async fn live(tracker: &TrackerHandle, request: Request) -> (RequestKey, Duration) {
    let exchange = exchange(tracker, request);
    tracker.record(Transition::Received, &exchange).await.unwrap();
    let outcome = Outcome::new("none").with_text("not listed");
    let elapsed = Duration::from_micros(5);
    exchange.add_result(EngineResult { engine: "ch_wbl".into(), outcome, elapsed });
    decide(&exchange, "REJECT no");
    let begin = Instant::now();
    tracker.record(Transition::Processed, &exchange).await.unwrap();
    (exchange.key(), begin.elapsed())
}

async fn rows_in_database(server: &MariaDb) -> Vec<Row> {
    let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
    let rows = store.search(&everything()).await.unwrap();
    store.disconnect().await;
    rows
}

async fn rows_in_file(path: &Path) -> Vec<Row> {
    SqliteStore::open_to_read(path).unwrap().search(&everything()).await.unwrap()
}

fn keys(rows: &[Row]) -> Vec<RequestKey> {
    rows.iter().map(|row| row.key().unwrap()).collect()
}

// --- What every store does -------------------------------------------------------------------

async fn row_of(transition: Transition, request: Request, action: Option<&str>) -> Row {
    // The tracker makes rows; one that writes into a file of its own serves as their source.
    let directory = TempDir::new().unwrap();
    let tracker = TrackerHandle::start(options(directory.path(), None), logger()).await.unwrap();
    let exchange = exchange(&tracker, request);
    if let Some(action) = action {
        decide(&exchange, action);
    }
    tracker.record(transition, &exchange).await.unwrap();
    tracker.stop().await;
    rows_in_file(&directory.path().join("requests.sqlite")).await.remove(0)
}

fn write(row: &Row, fresh: bool) -> RowWrite {
    let state = if row.is_processed() { State::Processed } else { State::Received };
    Write { key: row.key().unwrap(), state, fresh, content: Arc::new(row.clone()) }
}

/// The same request, received and processed.
async fn life() -> (Row, Row) {
    let processed = row_of(Transition::Processed, numbered(1), Some("REJECT no")).await;
    let mut received = Row::with_capacity(100);
    for (column, cell) in COLUMNS.iter().zip(processed.cells()) {
        match column.name {
            "state" => received.push(Cell::Text("received")),
            _ if column.is_outcome() => received.push(Cell::Null),
            _ => received.push(cell),
        }
    }
    (received, processed)
}

async fn store_suite(store: &mut dyn Store) {
    store.prepare().await.unwrap();
    store.prepare().await.unwrap();
    assert_eq!(store.count().await.unwrap(), 0);
    rows_are_written_once_and_only_forward(store).await;
    rows_come_back_in_the_order_of_keys(store).await;
    questions_are_answered(store).await;
}

async fn rows_are_written_once_and_only_forward(store: &mut dyn Store) {
    let (received, processed) = life().await;
    let key = received.key().unwrap();
    store.write(&[write(&received, true)]).await.unwrap();
    assert_eq!(store.find(key).await.unwrap(), Some(received.clone()));
    let again = store.write(&[write(&processed, true)]).await;
    assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
    store.write(&[write(&processed, false)]).await.unwrap();
    assert_eq!(store.find(key).await.unwrap(), Some(processed.clone()));
    store.write(&[write(&received, false)]).await.unwrap();
    store.write(&[write(&processed, false)]).await.unwrap();
    assert_eq!(store.find(key).await.unwrap(), Some(processed.clone()));
    let (_, other) = life().await;
    let failed = store.write(&[write(&other, true), write(&processed, true)]).await;
    assert!(matches!(failed, Err(StoreError::Duplicate)), "{failed:?}");
    assert_eq!(store.find(other.key().unwrap()).await.unwrap(), None, "all rows or none");
    store.remove(&[key]).await.unwrap();
    assert_eq!(store.count().await.unwrap(), 0);
}

async fn rows_come_back_in_the_order_of_keys(store: &mut dyn Store) {
    let mut rows = Vec::new();
    for _ in 0..7 {
        rows.push(life().await.1);
    }
    let writes: Vec<RowWrite> = rows.iter().rev().map(|row| write(row, true)).collect();
    store.write(&writes).await.unwrap();
    let first = store.oldest(None, 3).await.unwrap();
    assert_eq!(first, rows[..3]);
    let rest = store.oldest(first[2].key(), 100).await.unwrap();
    assert_eq!(rest, rows[3..]);
    assert_eq!(store.search(&everything()).await.unwrap(), rows);
    store.remove(&keys(&rows)).await.unwrap();
}

async fn questions_are_answered(store: &mut dyn Store) {
    let senders = ["a@example.com", "b@mail.example.com", "c@examplexcom", "d@Xample.com", "e"];
    for sender in senders {
        let request = Request::from_attributes([("sender", sender), ("instance", "A%_ ")]).unwrap();
        let row = row_of(Transition::Processed, request, None).await;
        store.write(&[write(&row, true)]).await.unwrap();
    }
    let domain = "sender_reverse_domain";
    let asked = [
        (Condition::Equals(domain, "com.example".into()), "a"),
        (Condition::Begins(domain, "com.example.".into()), "b"),
        (Condition::Begins(domain, "com_".into()), ""),
        (Condition::Begins(domain, "com.".into()), "abd"),
        (Condition::Absent(domain), "e"),
        (Condition::Equals("instance", "A%_ ".into()), "abcde"),
        (Condition::Equals("instance", "A%_".into()), ""),
        (Condition::Equals("instance", "a%_ ".into()), ""),
        (Condition::Begins("instance", "A%_".into()), "abcde"),
        (Condition::Begins("instance", "A%x".into()), ""),
        (Condition::Since(0), "abcde"),
        (Condition::Before(0), ""),
    ];
    for (condition, expected) in asked {
        let query = Query { condition: condition.clone(), limit: 10, newest_first: false };
        let rows = store.search(&query).await.unwrap();
        let locals: Vec<Cell<'_>> = rows.iter().map(|row| row.get("sender_local")).collect();
        let expected: Vec<String> = expected.chars().map(String::from).collect();
        let expected: Vec<Cell<'_>> = expected.iter().map(|local| Cell::Text(local)).collect();
        assert_eq!(locals, expected, "{condition:?}");
    }
    let newest = Query { limit: 1, newest_first: true, ..everything() };
    let rows = store.search(&newest).await.unwrap();
    assert_eq!(rows[0].get("sender_local"), Cell::Text("e"));
}

#[test]
fn the_embedded_store_does_what_a_store_does() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut store = SqliteStore::open(&directory.path().join("x.sqlite")).unwrap();
        store_suite(&mut store).await;
    });
}

#[test]
fn the_store_in_mariadb_does_what_a_store_does() {
    block_on(async {
        let server = MariaDb::start().await;
        let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
        store_suite(&mut store).await;
        let mut store = MySqlStore::connect(&server.connection_by_socket()).await.unwrap();
        assert_eq!(store.count().await.unwrap(), 5);
    });
}

#[test]
fn the_store_in_mariadb_does_not_depend_on_how_the_server_is_configured() {
    block_on(async {
        let server = MariaDb::start().await;
        server
            .execute(
                "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', GLOBAL time_zone = \
                 '-07:30', GLOBAL character_set_server = latin1, GLOBAL autocommit = 0",
            )
            .await;
        server.execute("ALTER DATABASE mppd CHARACTER SET latin1").await;
        let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
        store_suite(&mut store).await;
    });
}

// --- What was asked is what is read back -----------------------------------------------------

async fn record_all(tracker: &TrackerHandle) -> Vec<(RequestKey, String, Request)> {
    let mut asked = Vec::new();
    for capture in captures::requests() {
        let request = Request::parse(capture.octets).unwrap();
        let (key, _) = live(tracker, request.clone()).await;
        asked.push((key, capture.name, request));
    }
    asked
}

fn compare(asked: &[(RequestKey, String, Request)], rows: &[Row]) {
    assert_eq!(rows.len(), asked.len());
    for ((key, name, request), row) in asked.iter().zip(rows) {
        assert_eq!(row.key(), Some(*key), "{name}");
        assert_eq!(&row.to_request().unwrap(), request, "{name}");
        assert_eq!(row.get("decision"), Cell::Text("REJECT"));
        assert_eq!(row.get("ch_wbl"), Cell::Text("none"));
        assert_eq!(row.get("node"), Cell::Text("node-1"));
    }
}

#[test]
fn every_captured_request_is_read_back_from_both_stores() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let here = TrackerHandle::start(options(directory.path(), None), logger()).await.unwrap();
        let there = options(directory.path(), Some(server.connection()));
        let there = TrackerHandle::start(there, logger()).await.unwrap();
        let asked_here = record_all(&here).await;
        let asked_elsewhere = record_all(&there).await;
        here.stop().await;
        there.stop().await;
        compare(&asked_here, &rows_in_file(&directory.path().join("requests.sqlite")).await);
        compare(&asked_elsewhere, &rows_in_database(&server).await);
    });
}

#[test]
fn hostile_octets_are_read_back_from_mariadb() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let tracker = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(tracker, logger()).await.unwrap();
        let long = vec![b'x'; 60_000];
        let wide = "\u{1f4e7}".repeat(300).into_bytes();
        let values: &[&[u8]] = &[
            b"\xff\xfe",
            b"'; DROP TABLE track_policy_request; --",
            b"\\' \\\" % _ ` \x1b[31m\r\t\x7f",
            "\u{1f4e7}\u{202e}x".as_bytes(),
            b" trailing  ",
            &long,
            &wide,
        ];
        let mut asked = Vec::new();
        for value in values {
            for name in ["helo_name", "client_name", "sender", "recipient", "size", "unheard_of"] {
                let request = Request::from_attributes([(name, value)]).unwrap();
                asked.push((live(&tracker, request.clone()).await.0, name.to_owned(), request));
            }
        }
        tracker.stop().await;
        compare(&asked, &rows_in_database(&server).await);
    });
}

// --- What the tracker promises ---------------------------------------------------------------

#[test]
fn a_processed_that_is_recorded_is_durable_and_written_once() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let options = options(directory.path(), None);
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let (key, _) = live(&tracker, numbered(1)).await;
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(keys(&rows), [key]);
        assert!(rows[0].is_processed());
        assert_eq!(tracker.status().rows, 1, "received and processed met");
        assert_eq!(tracker.status().place, Where::Embedded);
    });
}

#[test]
fn strict_makes_the_received_durable_before_the_checks() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let options =
            TrackerOptions { durability: Durability::Strict, ..options(directory.path(), None) };
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let exchange = exchange(&tracker, numbered(1));
        tracker.record(Transition::Received, &exchange).await.unwrap();
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(rows[0].get("state"), Cell::Text("received"));
        tracker.record(Transition::Processed, &exchange).await.unwrap();
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(rows[0].get("state"), Cell::Text("processed"));
        assert_eq!(rows.len(), 1);
    });
}

#[test]
fn a_record_that_nobody_waits_for_is_written_all_the_same() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let options = TrackerOptions {
            durability: Durability::Relaxed,
            queue: 3,
            ..options(directory.path(), None)
        };
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        for number in 0..100 {
            let exchange = exchange(&tracker, numbered(number));
            drop(tracker.record(Transition::Received, &exchange));
            drop(tracker.record(Transition::Exception, &exchange));
        }
        tracker.stop().await;
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(rows.len(), 100);
        assert!(rows.iter().all(Row::is_processed));
    });
}

#[test]
fn a_full_queue_makes_callers_wait_and_loses_nothing() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let options = TrackerOptions {
            durability: Durability::Relaxed,
            queue: 4,
            batch_rows: 2,
            ..options(directory.path(), None)
        };
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let mut callers = Vec::new();
        for number in 0..40 {
            let tracker = tracker.clone();
            callers.push(actix_rt::spawn(async move { live(&tracker, numbered(number)).await }));
        }
        for caller in callers {
            caller.await.unwrap();
            assert!(tracker.status().waiting <= 44);
        }
        tracker.stop().await;
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(rows.len(), 40);
        assert!(rows.iter().all(Row::is_processed));
    });
}

#[test]
fn a_tracker_that_has_ended_takes_nothing_in() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let options = options(directory.path(), None);
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        tracker.stop().await;
        tracker.stop().await;
        let exchange = exchange(&tracker, numbered(1));
        let error = tracker.record(Transition::Processed, &exchange).await.unwrap_err();
        assert!(error.reason.contains("ended"), "{error}");
    });
}

#[test]
fn a_state_directory_that_cannot_be_written_is_a_clear_start_error() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = TrackerHandle::start(options(&file, None), logger()).await.unwrap_err();
        assert!(matches!(error, TrackingStartError::Directory { .. }), "{error}");
        std::fs::create_dir(directory.path().join("requests.sqlite")).unwrap();
        let options = options(directory.path(), None);
        let error = TrackerHandle::start(options, logger()).await.unwrap_err();
        assert!(error.to_string().contains("requests.sqlite"), "{error}");
    });
}

#[test]
fn an_exception_ends_as_processed_with_its_text() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let options = options(directory.path(), None);
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let exchange = exchange(&tracker, numbered(1));
        tracker.record(Transition::Received, &exchange).await.unwrap();
        let message = "no answer within 2s".to_owned();
        let exception = Exception { engine: Some("rbl".into()), kind: "timeout", message };
        let action = Action::parse("DEFER_IF_PERMIT try later").unwrap();
        exchange.fail(exception, Decision { action, engine: None });
        tracker.record(Transition::Exception, &exchange).await.unwrap();
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert!(rows[0].is_processed());
        assert_eq!(rows[0].get("error_text"), Cell::Text("rbl: timeout: no answer within 2s"));
        assert_eq!(rows[0].get("decision"), Cell::Text("DEFER_IF_PERMIT"));
    });
}

// --- A database that is away -----------------------------------------------------------------

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_moved(tracker: &TrackerHandle) {
    until("the spool is not moved", || {
        let status = tracker.status();
        status.place == Where::Connected && status.spooled == 0
    })
    .await;
}

/// Callers that ask one request after another until told to stop; the keys of those answered.
struct Load {
    stop: Arc<std::sync::atomic::AtomicBool>,
    callers: Vec<actix_rt::task::JoinHandle<(Vec<RequestKey>, Duration)>>,
}

impl Load {
    fn begin(tracker: &TrackerHandle, callers: usize) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let call = |caller: usize| {
            let (tracker, stop) = (tracker.clone(), Arc::clone(&stop));
            actix_rt::spawn(async move {
                let (mut answered, mut longest) = (Vec::new(), Duration::ZERO);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let request = numbered(caller * 1_000_000 + answered.len());
                    let (key, waited) = live(&tracker, request).await;
                    answered.push(key);
                    longest = longest.max(waited);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (answered, longest)
            })
        };
        Load { callers: (0..callers).map(call).collect(), stop }
    }

    async fn end(self) -> (Vec<RequestKey>, Duration) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (mut answered, mut longest) = (Vec::new(), Duration::ZERO);
        for caller in self.callers {
            let (keys, waited) = caller.await.unwrap();
            answered.extend(keys);
            longest = longest.max(waited);
        }
        answered.sort_unstable();
        (answered, longest)
    }
}

async fn each_is_there_once(server: &MariaDb, answered: &[RequestKey]) {
    let rows = rows_in_database(server).await;
    let found = keys(&rows);
    let lost: Vec<_> = answered.iter().filter(|key| !found.contains(key)).take(5).collect();
    let unknown: Vec<_> = found.iter().filter(|key| !answered.contains(key)).take(5).collect();
    assert!(lost.is_empty(), "lost: {lost:?}; never answered: {unknown:?}");
    assert_eq!(found.len(), answered.len(), "never answered: {unknown:?}");
    assert!(rows.iter().all(Row::is_processed));
}

#[test]
fn a_restart_of_the_database_under_load_loses_and_doubles_nothing() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let load = Load::begin(&tracker, 20);
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(matches!(tracker.status().place, Where::Away { .. }));
        assert!(tracker.status().spooled > 0);
        server.restart().await;
        until("the database is not back", || tracker.status().place == Where::Connected).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (answered, longest) = load.end().await;
        assert!(answered.len() > 500, "{} answered", answered.len());
        assert!(longest < Duration::from_secs(4), "an answer waited {longest:?}");
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_database_that_hangs_is_away_after_the_write_timeout() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let connection = ResolvedConnection {
            write_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_millis(500),
            ..server.connection()
        };
        let options = options(directory.path(), Some(connection));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let mut answered = vec![live(&tracker, numbered(0)).await.0];
        let pid = nix::unistd::Pid::from_raw(i32::try_from(server.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        let begin = Instant::now();
        for number in 1..50 {
            answered.push(live(&tracker, numbered(number)).await.0);
        }
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
        until_moved(&tracker).await;
        answered.push(live(&tracker, numbered(99)).await.0);
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_tracker_starts_without_its_database_and_catches_up() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        server.stop().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options.clone(), logger()).await.unwrap();
        assert!(matches!(tracker.status().place, Where::Away { .. }));
        let mut answered = Vec::new();
        for number in 0..300 {
            answered.push(live(&tracker, numbered(number)).await.0);
        }
        // It ends with the spool full; the next run moves it.
        tracker.stop().await;
        server.restart().await;
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        answered.push(live(&tracker, numbered(300)).await.0);
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_decision_made_while_the_database_is_away_completes_the_row_that_is_there() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = TrackerOptions {
            durability: Durability::Strict,
            ..options(directory.path(), Some(server.connection()))
        };
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let (first, second) = (exchange(&tracker, numbered(1)), exchange(&tracker, numbered(2)));
        tracker.record(Transition::Received, &first).await.unwrap();
        server.kill();
        tracker.record(Transition::Processed, &first).await.unwrap();
        tracker.record(Transition::Received, &second).await.unwrap();
        server.restart().await;
        until_moved(&tracker).await;
        tracker.record(Transition::Processed, &second).await.unwrap();
        tracker.stop().await;
        each_is_there_once(&server, &[first.key(), second.key()]).await;
    });
}

#[test]
fn a_read_only_database_is_away_until_it_takes_rows_again() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        server.execute("SET GLOBAL read_only = 1").await;
        let answered = [live(&tracker, numbered(1)).await.0, live(&tracker, numbered(2)).await.0];
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert!(matches!(tracker.status().place, Where::Away { .. }));
        server.execute("SET GLOBAL read_only = 0").await;
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_row_that_the_database_refuses_stays_in_the_spool_and_blocks_nothing() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        // Somebody made a column shorter.
        server.execute("ALTER TABLE track_policy_request MODIFY helo_name VARCHAR(5)").await;
        let helo = |name: &str| Request::from_attributes([("helo_name", name)]).unwrap();
        let calls = (0..30).map(|number| {
            let name = if number % 10 == 3 { "too long" } else { "short" };
            live(&tracker, helo(name))
        });
        let keys_of_all: Vec<RequestKey> =
            futures_util::future::join_all(calls).await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(tracker.status().place, Where::Connected);
        assert_eq!(rows_in_database(&server).await.len(), 27);
        assert_eq!(tracker.status().spooled, 3);
        // Also when they come from the spool.
        server.kill();
        live(&tracker, helo("too long")).await;
        live(&tracker, helo("short")).await;
        server.restart().await;
        until("the spool is not moved", || tracker.status().spooled == 4).await;
        until("it is not back", || tracker.status().place == Where::Connected).await;
        live(&tracker, helo("short")).await;
        assert_eq!(rows_in_database(&server).await.len(), 29);
        // When the column is right again the next start moves them.
        server.execute("ALTER TABLE track_policy_request MODIFY helo_name TEXT").await;
        tracker.stop().await;
        let options = self::options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        until_moved(&tracker).await;
        tracker.stop().await;
        let rows = keys(&rows_in_database(&server).await);
        assert_eq!(rows.len(), 33);
        assert!(keys_of_all.iter().all(|key| rows.contains(key)));
    });
}

#[test]
fn a_user_who_may_not_create_tables_is_told_what_to_run() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        server.execute("REVOKE ALL ON mppd.* FROM mppd@'%'").await;
        server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON mppd.* TO mppd@'%'").await;
        let options = options(directory.path(), Some(server.connection()));
        let error = TrackerHandle::start(options.clone(), logger()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("mppd schema mysql") && text.contains("PPXX0001.sql"), "{text}");
        let schema = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/esm/PPXX0001.sql"),
        );
        server.execute(&schema.unwrap()).await;
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        live(&tracker, numbered(1)).await;
        tracker.stop().await;
        assert_eq!(
            server.ask::<String>("SELECT state FROM track_policy_request").await,
            ["processed"]
        );
    });
}

#[test]
fn a_wrong_password_is_a_start_error() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let password = Some("wrong".to_owned().into());
        let connection = ResolvedConnection { password, ..server.connection() };
        let options = options(directory.path(), Some(connection));
        let error = TrackerHandle::start(options, logger()).await.unwrap_err();
        assert!(error.to_string().contains("denied"), "{error}");
    });
}

#[test]
fn a_table_of_a_newer_mppd_is_refused() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        TrackerHandle::start(options.clone(), logger()).await.unwrap().stop().await;
        server.execute("UPDATE mppd_schema SET version = 99").await;
        let error = TrackerHandle::start(options, logger()).await.unwrap_err();
        assert!(error.to_string().contains("version 99"), "{error}");
    });
}

// --- What people find ------------------------------------------------------------------------

#[derive(clap::Parser)]
struct Mppd {
    #[command(flatten)]
    track: TrackArguments,
}

/// What `mppd track` prints, what it complains of, and whether it succeeds.
async fn track(places: &[Place], arguments: &str) -> (String, String, bool) {
    let words = std::iter::once("track").chain(arguments.split_whitespace());
    let arguments = <Mppd as clap::Parser>::try_parse_from(words).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, errors: &mut errors, is_terminal: false };
    let code = mppd::cli::track::run(&arguments.track, places, &mut output).await.unwrap();
    let [out, errors] = [out, errors].map(|octets| String::from_utf8(octets).unwrap());
    (out, errors, code == std::process::ExitCode::SUCCESS)
}

fn json_lines(out: &str) -> Vec<serde_json::Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn records_are_found_and_shown() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let tracker = TrackerHandle::start(options(directory.path(), None), logger()).await;
        let tracker = tracker.unwrap();
        let mut found = Vec::new();
        for number in 0..3 {
            found.push(live(&tracker, numbered(number)).await.0);
        }
        let hostile = "\u{1b}[2J\u{202e}@mail.example.org";
        let attributes = [("sender", hostile), ("instance", "i.1"), ("helo_name", "\u{9b}31m")];
        let hostile = live(&tracker, Request::from_attributes(attributes).unwrap()).await.0;
        tracker.stop().await;
        let places = [(None, directory.path().to_owned())];

        let (out, errors, succeeds) =
            track(&places, "search --sender alice@MAIL.example.org --since 1h").await;
        assert!(succeeds && errors.is_empty(), "{errors}");
        let at = |key: &RequestKey| out.find(&key.to_string()).unwrap();
        assert!(at(&found[2]) < at(&found[1]) && at(&found[1]) < at(&found[0]), "{out}");
        assert!(out.contains("alice@mail.example.org") && out.contains("REJECT no"), "{out}");
        assert!(!out.contains(&hostile.to_string()), "{out}");

        let (out, _, _) = track(&places, "search --domain example.org --limit 2 --json").await;
        let rows = json_lines(&out);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["id"], hostile.to_string());
        assert_eq!(rows[1]["id"], found[2].to_string());
        assert_eq!(rows[1]["checks"]["ch_wbl"]["status"], "none");
        assert_eq!(rows[1]["spooled"], false);

        for nothing in ["--decision DUNNO", "--until 1h", "--client 192.0.3.", "--domain ample.org"]
        {
            let (out, errors, _) = track(&places, &format!("search {nothing}")).await;
            assert_eq!((out.as_str(), errors.as_str()), ("", "nothing found\n"), "{nothing}");
        }

        let (out, _, succeeds) = track(&places, "show i.1").await;
        assert!(succeeds && out.contains("helo_name") && out.contains("not listed"), "{out}");
        let (listed, _, _) = track(&places, "search").await;
        let (json, _, _) = track(&places, "search --json").await;
        for shown in [out, listed, json] {
            let is_harmless = |c: char| (!c.is_control() || c == '\n') && c != '\u{202e}';
            assert!(shown.chars().all(is_harmless), "{shown:?}");
        }
        let (out, _, _) = track(&places, &format!("show {} --json", found[0])).await;
        assert_eq!(json_lines(&out)[0]["sender_local"], "alice");
        let (_, errors, succeeds) = track(&places, "show nobody").await;
        assert!(!succeeds && errors.contains("no such request: nobody"), "{errors}");
    });
}

#[test]
fn records_that_wait_in_the_spool_are_found_and_marked() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let (there, _) = live(&tracker, numbered(1)).await;
        server.kill();
        let (waits, _) = live(&tracker, numbered(2)).await;
        tracker.stop().await;
        let places = [(Some(server.connection()), directory.path().to_owned())];
        let (out, errors, succeeds) = track(&places, "search --json").await;
        assert!(!succeeds && errors.contains("cannot look into mppd"), "{errors}");
        assert_eq!(json_lines(&out)[0]["id"], waits.to_string());
        server.restart().await;
        let (out, errors, succeeds) = track(&places, "search --domain example.com --json").await;
        assert!(succeeds, "{errors}");
        let rows = json_lines(&out);
        assert_eq!([&rows[0]["id"], &rows[1]["id"]], [&waits.to_string(), &there.to_string()]);
        assert_eq!((&rows[0]["spooled"], &rows[1]["spooled"]), (&true.into(), &false.into()));
        let (out, _, _) = track(&places, &format!("show {waits}")).await;
        assert!(out.contains("waits for its database"), "{out}");
    });
}

#[test]
fn a_search_for_a_domain_reads_no_more_than_its_part_of_the_key() {
    block_on(async {
        let server = MariaDb::start().await;
        let directory = TempDir::new().unwrap();
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let calls = (0..600).map(|number| {
            let sender = format!("a@mail.n{number}.example.org");
            live(&tracker, Request::from_attributes([("sender", sender)]).unwrap())
        });
        futures_util::future::join_all(calls).await;
        tracker.stop().await;
        server.execute("ANALYZE TABLE track_policy_request").await;
        let plan = "EXPLAIN FORMAT=JSON SELECT * FROM track_policy_request WHERE \
                    (sender_reverse_domain = 'org.example.n7' AND sender_reverse_domain LIKE \
                    'org.example.n7' ESCAPE '!' OR sender_reverse_domain LIKE 'org.example.n7.%' \
                    ESCAPE '!') ORDER BY id DESC LIMIT 50";
        let plan = server.ask::<String>(plan).await.remove(0);
        assert!(plan.contains("\"key\": \"sender\""), "{plan}");
    });
}
