//! The bound of the spool: what requests are answered, and what becomes of their rows.

use super::absence::until;
use super::*;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;
use mppd::config::settings::AtBound;
use mppd::tracking::Bounds;

const OFF: &str = "DEFER_IF_PERMIT Service is unavailable";

/// A server whose database is never there.
fn settings(durability: &str, spool: &str) -> Settings {
    let port = free_port();
    Settings {
        tracking: true,
        common: format!(
            "<tracking><durability>{durability}</durability><spool><max_size>200KiB</max_size>
             {spool}</spool></tracking>"
        ),
        group: format!(
            "<PPXX0001_track_policy_connection><host>127.0.0.1</host><port>{port}</port>
             <database>mppd</database></PPXX0001_track_policy_connection>"
        ),
        ..Settings::default()
    }
}

/// A request whose row takes some room.
fn large() -> Vec<u8> {
    PolicyRequest::new().set("helo_name", "a".repeat(8_000)).octets()
}

#[test]
fn at_the_bound_requests_are_put_off_whatever_the_durability_where_that_is_chosen() {
    for durability in ["answer", "strict", "relaxed"] {
        let daemon = Daemon::start(settings(durability, "<at_bound>defer</at_bound>"));
        let mut client = daemon.connect();
        // Answers that wait for nothing may be some time ahead of the spool.
        let mut replies = (0..5_000).map(|_| client.ask(&large()).unwrap());
        let answered = replies.by_ref().take_while(|reply| reply == "DUNNO").count();
        assert!(answered > 5 && answered < 4_000, "{durability}: {answered} answered");
        let rest: Vec<String> = replies.take(20).collect();
        assert!(rest.iter().all(|reply| reply == OFF), "{durability}: {rest:?}");
        daemon.logged("the bound", |line| mentions(line, "the spool has reached its bound"));
        let failed = daemon.log().iter().filter(|line| line.contains("engine failed")).count();
        assert_eq!(failed, 0, "{durability}: it is said once, not for every request");
    }
}

#[test]
fn at_the_bound_requests_are_answered_unless_something_else_is_chosen() {
    for spool in ["", "<at_bound>drop_oldest</at_bound>"] {
        let daemon = Daemon::start(settings("answer", spool));
        let mut client = daemon.connect();
        for _ in 0..100 {
            assert_eq!(client.ask(&large()).unwrap(), "DUNNO");
        }
        daemon.logged("the bound", |line| mentions(line, "the spool has reached its bound"));
    }
}

fn options_bound(directory: &Path, server: &MariaDb, at_bound: AtBound) -> TrackerOptions {
    TrackerOptions {
        bounds: Bounds { max_size: 200_000, max_age: None, at_bound },
        ..options(directory, Some(server.connection()))
    }
}

fn large_number(number: usize) -> Request {
    let helo = format!("{number}{}", "a".repeat(8_000));
    Request::from_attributes([("helo_name", &helo)]).unwrap()
}

/// How many of a hundred requests are on record, which the database was away for, and the status.
async fn after_a_hundred(at_bound: AtBound) -> (Vec<RequestKey>, Vec<RequestKey>, TrackerStatus) {
    let directory = TempDir::new().unwrap();
    let mut server = MariaDb::start().await;
    let options = options_bound(directory.path(), &server, at_bound);
    let tracker = TrackerHandle::start(options, logger()).await.unwrap();
    server.kill();
    let mut answered = Vec::new();
    for number in 0..100 {
        answered.push(live(&tracker, large_number(number)).await.0);
    }
    let status = tracker.status();
    assert!(status.at_bound && status.spooled_octets < 300_000, "{status:?}");
    assert!(status.oldest.is_some());
    server.restart().await;
    until("the spool is not moved", || {
        let status = tracker.status();
        status.place == Where::Connected && status.spooled == 0
    })
    .await;
    assert!(!tracker.status().at_bound);
    answered.push(live(&tracker, large_number(100)).await.0);
    let status = tracker.status();
    tracker.stop().await;
    (answered, keys(&rows_in_database(&server).await), status)
}

#[test]
fn what_finds_no_room_is_lost_and_counted() {
    block_on(async {
        let (answered, found, status) = after_a_hundred(AtBound::Answer).await;
        assert!(found.len() > 5 && found.len() < 100, "{}", found.len());
        assert_eq!(status.lost + found.len() as u64, 101);
        assert_eq!((status.dropped, status.deferred), (0, 0));
        assert_eq!(found[..found.len() - 1], answered[..found.len() - 1]);
        assert_eq!(found.last(), answered.last());
    });
}

#[test]
fn what_makes_room_is_counted_and_the_newest_rows_are_kept() {
    block_on(async {
        let (answered, found, status) = after_a_hundred(AtBound::DropOldest).await;
        assert!(found.len() > 5 && found.len() < 100, "{}", found.len());
        assert_eq!(status.dropped + found.len() as u64, 101);
        assert_eq!((status.lost, status.deferred), (0, 0));
        assert_eq!(found, answered[answered.len() - found.len()..]);
    });
}

#[test]
fn rows_that_wait_too_long_are_lost_and_counted() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let bounds = Bounds {
            max_size: 1 << 30,
            max_age: Some(Duration::from_secs(1)),
            at_bound: AtBound::Answer,
        };
        let options =
            TrackerOptions { bounds, ..options(directory.path(), Some(server.connection())) };
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        server.kill();
        live(&tracker, numbered(1)).await;
        until("the row is not removed", || tracker.status().dropped == 1).await;
        assert_eq!((tracker.status().spooled, tracker.status().lost), (0, 0));
        tracker.stop().await;
    });
}
