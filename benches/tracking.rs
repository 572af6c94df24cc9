//! Rows a second through the whole tracker, against the raw multi-row INSERT of the same rows into
//! the same private MariaDB with its default durability; reported as a ratio.
//!
//! `cargo bench --bench tracking`. Not a criterion bench: what counts is the steady state of a
//! server with many requests under way, not the time of one call.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench is a test")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use harness::mariadb::MariaDb;
use mppd::tracking::mysql::MySqlStore;
use mppd::tracking::row::Cell;
use mppd::tracking::sqlite::SqliteStore;
use mppd::tracking::table::{COLUMNS, Dialect, OnDuplicate};
use mppd::tracking::{Store as _, TrackerHandle, TrackerOptions, new_key};
use mppd_engine::exchange::Receipt;
use mppd_engine::{
    Action, Decision, EngineResult, Exchange, Outcome, Request, Tracker as _, Transition,
};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Value};
use slog::{Discard, Logger, o};
use tempfile::TempDir;

#[path = "../tests/harness"]
mod harness {
    #[allow(dead_code, reason = "the bench needs less of it than the tests")]
    pub(crate) mod mariadb;
    pub(crate) mod ports;
    #[allow(dead_code, reason = "the bench fills no disk")]
    pub(crate) mod small_disk;
}

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 7;
const WAITING: [usize; 3] = [10, 100, 500];

fn main() {
    // `cargo test --benches` only wants to know that it builds and starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    actix_rt::System::new().block_on(compare());
}

async fn compare() {
    let server = MariaDb::start().await;
    println!(
        "µs: processor time a row, of this process (which also makes the requests) and MariaDB"
    );
    println!("waiting  raw INSERT rows/s   µs+µs  tracker rows/s   µs+µs  rows in a batch  ratio");
    for waiting in WAITING {
        let (mut raw, mut tracked, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (inserted, recorded) =
                (insert(&server, waiting).await, track(&server, waiting).await);
            ratios.push(100.0 * recorded.rows_per_second() / inserted.rows_per_second());
            raw.push(inserted);
            tracked.push(recorded);
        }
        let rate = |rounds: &[Round]| median(rounds.iter().map(Round::rows_per_second).collect());
        println!(
            "{waiting:7}  {:17.0}  {}  {:14.0}  {}  {:15.0}  {:4.0} %",
            rate(&raw),
            processor_time(&raw),
            rate(&tracked),
            processor_time(&tracked),
            median(tracked.iter().map(Round::rows_per_batch).collect()),
            median(ratios),
        );
    }
}

/// What one round came to.
struct Round {
    rows: f64,
    batches: f64,
    seconds: f64,
    here: f64,
    there: f64,
}

impl Round {
    fn rows_per_second(&self) -> f64 {
        self.rows / self.seconds
    }

    fn rows_per_batch(&self) -> f64 {
        self.rows / self.batches
    }
}

fn processor_time(rounds: &[Round]) -> String {
    let of = |part: fn(&Round) -> f64| {
        1e6 * rounds.iter().map(part).sum::<f64>() / rounds.iter().map(|r| r.rows).sum::<f64>()
    };
    format!("{:3.0}+{:3.0}", of(|round| round.here), of(|round| round.there))
}

/// A clock for the wall and the processor time of this process and the server.
struct Clock {
    begin: Instant,
    here: f64,
    there: f64,
    server: u32,
}

impl Clock {
    fn start(server: &MariaDb) -> Self {
        let server = server.pid();
        let (here, there) = (seconds_of(std::process::id()), seconds_of(server));
        Clock { begin: Instant::now(), here, there, server }
    }

    fn round(&self, rows: u32, batches: u32) -> Round {
        Round {
            rows: rows.into(),
            batches: batches.into(),
            seconds: self.begin.elapsed().as_secs_f64(),
            here: seconds_of(std::process::id()) - self.here,
            there: seconds_of(self.server) - self.there,
        }
    }
}

/// Processor time of a process, from the kernel, which counts it in hundredths of a second.
fn seconds_of(process: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    ticks.sum::<Result<f64, _>>().unwrap() / 100.0
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn request(number: usize) -> Request {
    let (instance, queue_id) = (format!("4491.6b02ccc2.{number:x}.0"), format!("{number:X}"));
    let sender = format!("sender{}@mail.n{}.example.org", number % 977, number % 4_999);
    let recipient = format!("user{}@example.com", number % 1_009);
    let client = format!("192.0.{}.{}", number % 250, number % 241);
    Request::from_attributes([
        ("request", "smtpd_access_policy"),
        ("protocol_state", "RCPT"),
        ("protocol_name", "ESMTP"),
        ("client_address", &client),
        ("client_name", "mail.example.org"),
        ("client_port", "40025"),
        ("reverse_client_name", "mail.example.org"),
        ("server_address", "198.51.100.7"),
        ("server_port", "25"),
        ("helo_name", "mail.example.org"),
        ("sender", &sender),
        ("recipient", &recipient),
        ("recipient_count", "0"),
        ("queue_id", &queue_id),
        ("instance", &instance),
        ("size", "23456"),
        ("etrn_domain", ""),
        ("stress", ""),
        ("sasl_method", ""),
        ("sasl_username", ""),
        ("sasl_sender", ""),
        ("ccert_subject", ""),
        ("ccert_issuer", ""),
        ("ccert_fingerprint", ""),
        ("ccert_pubkey_fingerprint", ""),
        ("encryption_protocol", "TLSv1.3"),
        ("encryption_cipher", "TLS_AES_256_GCM_SHA384"),
        ("encryption_keysize", "256"),
        ("policy_context", ""),
    ])
    .unwrap()
}

fn options(server: &MariaDb, directory: &TempDir) -> TrackerOptions {
    TrackerOptions { connection: Some(server.connection()), ..embedded(directory) }
}

fn embedded(directory: &TempDir) -> TrackerOptions {
    TrackerOptions::new("bench".into(), directory.path().to_owned())
}

async fn fresh_table(server: &MariaDb) {
    server.execute("DROP TABLE IF EXISTS track_policy_request, mppd_schema").await;
    let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
    store.prepare().await.unwrap();
}

async fn live(tracker: &TrackerHandle, number: usize) {
    let exchange = Exchange::new(Receipt {
        request: Arc::new(request(number)),
        key: new_key(),
        received: SystemTime::now(),
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: Arc::new(tracker.clone()),
        repeat_of: None,
    });
    tracker.record(Transition::Received, &exchange).await.unwrap();
    let outcome = Outcome::new("none").with_text("not listed");
    let elapsed = Duration::from_micros(5);
    exchange.add_result(EngineResult { engine: "ch_wbl".into(), outcome, elapsed });
    let action = Action::parse("REJECT not today").unwrap();
    exchange.decide(Decision { action, engine: Some("ch_wbl".into()) });
    tracker.record(Transition::Processed, &exchange).await.unwrap();
}

/// The whole tracker with so many requests waiting at a time.
async fn track(server: &MariaDb, waiting: usize) -> Round {
    fresh_table(server).await;
    let directory = TempDir::new().unwrap();
    let tracker = TrackerHandle::start(options(server, &directory), Logger::root(Discard, o!()));
    let tracker = tracker.await.unwrap();
    let clock = Clock::start(server);
    let begin = clock.begin;
    let call = |caller: usize| {
        let tracker = tracker.clone();
        actix_rt::spawn(async move {
            let mut number = caller;
            while begin.elapsed() < ROUND {
                live(&tracker, number).await;
                number += 1_000;
            }
        })
    };
    for caller in (0..waiting).map(call).collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let status = tracker.status();
    let count = |number: u64| u32::try_from(number).unwrap();
    let round = clock.round(count(status.rows), count(status.batches));
    tracker.stop().await;
    round
}

/// The values of so many rows as the tracker would write them.
async fn values(rows: usize) -> Vec<Value> {
    let directory = TempDir::new().unwrap();
    let tracker =
        TrackerHandle::start(embedded(&directory), Logger::root(Discard, o!())).await.unwrap();
    futures_util::future::join_all((0..rows).map(|number| live(&tracker, number))).await;
    tracker.stop().await;
    let mut store = SqliteStore::open_to_read(&directory.path().join("requests.sqlite")).unwrap();
    let rows = store.oldest(None, rows).await.unwrap();
    rows.iter().flat_map(|row| row.cells().map(value).collect::<Vec<_>>()).collect()
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::NULL,
        Cell::Integer(number) => number.into(),
        Cell::Time(_) => Value::Date(2026, 11, 22, 13, 0, 0, 42),
        Cell::Text(text) => text.into(),
        Cell::Octets(octets) => octets.into(),
    }
}

/// The raw statement of so many rows, prepared once, over one connection.
async fn insert(server: &MariaDb, rows: usize) -> Round {
    let values = values(rows).await;
    fresh_table(server).await;
    let connection = server.connection();
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(connection.port)
        .user(Some(connection.user))
        .pass(connection.password.map(|password| password.reveal().to_owned()))
        .db_name(Some(connection.database));
    let mut conn = Conn::new(Opts::from(options)).await.unwrap();
    let statement = conn.prep(Dialect::MySql.insert(rows, OnDuplicate::Fail)).await.unwrap();
    let (clock, mut statements) = (Clock::start(server), 0_u32);
    while clock.begin.elapsed() < ROUND {
        let mut values = values.clone();
        for row in values.chunks_mut(COLUMNS.len()) {
            row[0] = Value::Bytes(new_key().0.to_vec());
        }
        conn.exec_drop(&statement, Params::Positional(values)).await.unwrap();
        statements += 1;
    }
    let round = clock.round(statements * u32::try_from(rows).unwrap(), statements);
    conn.disconnect().await.unwrap();
    round
}
