//! How long answers wait while old rows are removed from a private MariaDB with a million of them,
//! against how long they wait on the same table when nothing is removed; in turns, as a ratio.
//!
//! `cargo bench --bench retention [-- ROWS [ROUNDS]]`; rounds without end unless given.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use harness::mariadb::MariaDb;
use mppd::tracking::mysql::MySqlStore;
use mppd::tracking::{Retention, Store as _, TrackerHandle, TrackerOptions, new_key};
use mppd_engine::exchange::Receipt;
use mppd_engine::{Action, Decision, Exchange, Request, Tracker as _, Transition};
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

const ROUND: Duration = Duration::from_secs(10);
const CALLERS: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);
const ROWS: u64 = 1_000_000;

fn main() {
    // `cargo test --benches` only wants to know that it builds and starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut numbers = std::env::args().filter_map(|argument| argument.parse().ok());
    let (rows, rounds) = (numbers.next().unwrap_or(ROWS), numbers.next().unwrap_or(u64::MAX));
    actix_rt::System::new().block_on(compare(rows, rounds));
}

async fn compare(rows: u64, rounds: u64) {
    let server = MariaDb::start().await;
    fill(&server, rows).await;
    let (mut without, mut with, mut removed) = (Vec::new(), Vec::new(), 0);
    let begin = Instant::now();
    let mut removing = Duration::ZERO;
    let mut round = 0;
    while removed < rows && round < rounds {
        round += 1;
        without.extend(live(&server, None).await.0);
        let retention = Retention {
            keep: Duration::from_hours(24),
            step_rows: 500,
            step_pause: Duration::from_millis(100),
        };
        let (waited, gone) = live(&server, Some(retention)).await;
        with.extend(waited);
        removed += gone;
        removing += ROUND;
        let seconds = begin.elapsed().as_secs();
        eprintln!("{seconds:4} s: {removed} of {rows} removed");
        // The last step of a round may go uncounted when its tracker stops.
        if gone == 0 {
            break;
        }
    }
    let rate = removed / removing.as_secs().max(1);
    println!("{removed} rows removed, {rate} a second; {} answers", without.len() + with.len());
    println!("            p50 ms   p99 ms  p99.9 ms");
    let (off, on) = (quantiles(&mut without), quantiles(&mut with));
    println!("kept      {:8.2} {:8.2}  {:8.2}", off[0], off[1], off[2]);
    println!("removed   {:8.2} {:8.2}  {:8.2}", on[0], on[1], on[2]);
    println!("ratio     {:8.2} {:8.2}  {:8.2}", on[0] / off[0], on[1] / off[1], on[2] / off[2]);
}

/// Makes rows that are two days old.
async fn fill(server: &MariaDb, rows: u64) {
    let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
    store.prepare().await.unwrap();
    store.disconnect().await;
    let hour = Duration::from_hours(1);
    let then = SystemTime::now() - hour * 48;
    let then = then.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    for chunk in 0..rows.div_ceil(100_000) {
        let (first, last) = (chunk * 100_000 + 1, rows.min((chunk + 1) * 100_000));
        server
            .execute(&format!(
                "INSERT INTO track_policy_request (id, state, received_timestamp, helo_name, \
                 sender_local, sender_reverse_domain, recipient_local, recipient_reverse_domain, \
                 client_address, instance, decision, group_id, node, checks) SELECT \
                 UNHEX(CONCAT(LPAD(HEX({then} + seq), 12, '0'), LPAD(HEX(seq), 20, '0'))), \
                 'processed', UTC_TIMESTAMP(6) - INTERVAL 2 DAY, 'mail.example.org', \
                 LEFT(MD5(seq), 12), CONCAT('org.', LEFT(MD5(seq + 1), 8)), \
                 LEFT(MD5(seq + 2), 12), CONCAT('com.', LEFT(MD5(seq + 3), 8)), \
                 INET_NTOA(CRC32(seq)), HEX(seq), 'DUNNO', 'default', 'bench', REPEAT('x', 300) \
                 FROM seq_{first}_to_{last}"
            ))
            .await;
    }
}

/// One round: how long each answer waited, in milliseconds, and how many rows were removed.
async fn live(server: &MariaDb, retention: Option<Retention>) -> (Vec<f64>, u64) {
    let directory = TempDir::new().unwrap();
    let options = TrackerOptions {
        connection: Some(server.connection()),
        retention,
        ..TrackerOptions::new("bench".into(), directory.path().to_owned())
    };
    let tracker = TrackerHandle::start(options, Logger::root(Discard, o!())).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| actix_rt::spawn(call(tracker.clone(), Arc::clone(&stop)))).collect();
    tokio::time::sleep(ROUND).await;
    stop.store(true, Ordering::Relaxed);
    let mut waited = Vec::new();
    for caller in callers {
        waited.extend(caller.await.unwrap());
    }
    tracker.stop().await;
    (waited, tracker.status().retired)
}

async fn call(tracker: TrackerHandle, stop: Arc<AtomicBool>) -> Vec<f64> {
    let mut waited = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let request = Request::from_attributes([
            ("protocol_state", "RCPT"),
            ("client_address", "192.0.2.1"),
            ("sender", "alice@mail.example.org"),
            ("recipient", "bob@example.com"),
        ]);
        let exchange = Exchange::new(Receipt {
            request: Arc::new(request.unwrap()),
            key: new_key(),
            received: SystemTime::now(),
            deadline: Instant::now() + Duration::from_secs(30),
            group: "default".into(),
            node: "bench".into(),
            tracker: Arc::new(tracker.clone()),
            repeat_of: None,
        });
        exchange.decide(Decision { action: Action::Dunno, engine: None });
        let begin = Instant::now();
        tracker.record(Transition::Processed, &exchange).await.unwrap();
        waited.push(begin.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    waited
}

/// The median, the 99th and the 99.9th percentile.
fn quantiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |per_mille: usize| values[(values.len() - 1) * per_mille / 1_000];
    [at(500), at(990), at(999)]
}
