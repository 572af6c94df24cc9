//! The records: stores and tracker, against SQLite and a private MariaDB.

mod absence;
mod bounds;
mod counting;
mod faults;
mod full_disk;
mod interrupted;
mod plans;
mod promises;
mod retention;
#[path = "../../benches/records/rows.rs"]
mod rows;
mod search;
mod stores;
mod tail;
mod verbatim;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::captures;
use crate::harness::mariadb::MariaDb;
use mppd::cli::track::{Output, TrackArguments};
use mppd::config::settings::Durability;
use mppd::tracking::batch::{State, Write};
use mppd::tracking::mysql::MySqlStore;
use mppd::tracking::row::Cell;
use mppd::tracking::search::Place;
use mppd::tracking::sqlite::SqliteStore;
use mppd::tracking::status::Place as Where;
use mppd::tracking::store::{Condition, Ending, Query, Removed, RowWrite, Undecided};
use mppd::tracking::table::COLUMNS;
use mppd::tracking::{
    Denial, Row, Store, StoreError, TrackerHandle, TrackerOptions, TrackerStatus,
    TrackingStartError, new_key,
};
use mppd_database::ResolvedConnection;
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
    TrackerOptions { connection, ..TrackerOptions::new("node-1".into(), directory.to_owned()) }
}

fn exchange(tracker: &TrackerHandle, request: Request) -> Exchange {
    Exchange::new(Receipt {
        request: Arc::new(request),
        key: new_key(),
        received: SystemTime::now(),
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
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
