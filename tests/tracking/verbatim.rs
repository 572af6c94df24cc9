//! What was asked is what is read back, octet for octet.

use super::*;

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
        let recorded = record_all(&there).await;
        here.stop().await;
        there.stop().await;
        compare(&asked_here, &rows_in_file(&directory.path().join("requests.sqlite")).await);
        compare(&recorded, &rows_in_database(&server).await);
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
