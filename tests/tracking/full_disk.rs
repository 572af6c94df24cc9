//! A database whose disk is really full while requests come in. Each is answered in time, and each
//! row is there once when there is room again.

use super::absence::{Load, each_is_there_once, until, until_moved};
use super::*;

/// Room for the empty tables and some rows.
const SIZE: &str = "24m";

fn impatient(server: &MariaDb) -> ResolvedConnection {
    ResolvedConnection {
        write_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        ..server.connection()
    }
}

/// What the server needs when there is room again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Left to itself, it looks for room once a minute.
    Restart,
}

/// Fills the disk under load, makes room, and compares.
async fn survive(mut server: MariaDb, engine: &str, needs: Needs) {
    let directory = TempDir::new().unwrap();
    let options = options(directory.path(), Some(impatient(&server)));
    let tracker = TrackerHandle::start(options, logger()).await.unwrap();
    server.execute(&format!("ALTER TABLE track_policy_request ENGINE = {engine}")).await;
    let load = Load::begin(&tracker, 10);
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.disk().fill();
    until("it is not away", || matches!(tracker.status().place, Where::Away { .. })).await;
    until("nothing is spooled", || tracker.status().spooled > 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(matches!(tracker.status().place, Where::Away { .. }), "it takes rows without room");
    server.disk().empty();
    if needs == Needs::Restart {
        server.kill();
        server.restart().await;
    }
    until_moved(&tracker).await;
    let (answered, longest) = load.end().await;
    assert!(answered.len() > 100, "{} answered", answered.len());
    assert!(longest < Duration::from_secs(5), "an answer waited {longest:?}");
    until_moved(&tracker).await;
    assert_eq!((tracker.status().lost, tracker.status().refused), (0, 0));
    tracker.stop().await;
    each_is_there_once(&server, &answered).await;
}

#[test]
fn tables_of_innodb_whose_disk_is_full_get_their_rows_when_there_is_room() {
    block_on(async {
        let server = MariaDb::start_with_tables_on_small_disk(SIZE).await;
        survive(server, "InnoDB", Needs::Nothing).await;
    });
}

#[test]
fn tables_of_myisam_whose_disk_is_full_get_their_rows_when_there_is_room() {
    block_on(async {
        let server = MariaDb::start_with_tables_on_small_disk(SIZE).await;
        survive(server, "MyISAM", Needs::Restart).await;
    });
}

#[test]
fn a_server_whose_binary_log_has_no_room_gets_its_rows_when_there_is_room() {
    block_on(async {
        let server = MariaDb::start_with_log_on_small_disk(SIZE).await;
        survive(server, "InnoDB", Needs::Restart).await;
    });
}
