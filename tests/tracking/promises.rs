//! What the tracker promises.

use super::*;

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
