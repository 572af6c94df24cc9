//! Old rows are removed in small steps, from wherever the records are.

use super::absence::until;
use super::*;
use mppd::tracking::Retention;

const KEEP: Duration = Duration::from_secs(2);

fn retaining(directory: &Path, connection: Option<ResolvedConnection>) -> TrackerOptions {
    let retention = Retention { keep: KEEP, step_rows: 7, step_pause: Duration::from_millis(5) };
    TrackerOptions { retention: Some(retention), ..options(directory, connection) }
}

/// Asks requests, lets them become old, and asks one more; how many rows were removed in the end.
async fn outlive(tracker: &TrackerHandle) -> RequestKey {
    for number in 0..30 {
        live(tracker, numbered(number)).await;
    }
    until("nothing is removed", || tracker.status().retired > 0).await;
    let (key, _) = live(tracker, numbered(99)).await;
    until("not all is removed", || tracker.status().retired == 30).await;
    key
}

#[test]
fn old_rows_of_the_embedded_store_are_removed() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let tracker =
            TrackerHandle::start(retaining(directory.path(), None), logger()).await.unwrap();
        let last = outlive(&tracker).await;
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(keys(&rows), [last]);
        tracker.stop().await;
    });
}

#[test]
fn old_rows_of_the_database_are_removed_by_one_node_for_all() {
    block_on(async {
        let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let server = MariaDb::start().await;
        let start = |directory: &TempDir| {
            let options = retaining(directory.path(), Some(server.connection()));
            TrackerHandle::start(options, logger())
        };
        let tracker = start(&one).await.unwrap();
        until_locked(&server).await;
        let other = start(&two).await.unwrap();
        live(&other, numbered(1_000)).await;
        for number in 0..30 {
            live(&tracker, numbered(number)).await;
        }
        until("the rows are not removed", || tracker.status().retired == 31).await;
        assert_eq!(other.status().retired, 0);
        assert!(rows_in_database(&server).await.is_empty());
        tracker.stop().await;
        other.stop().await;
    });
}

async fn until_locked(server: &MariaDb) {
    let begin = Instant::now();
    let sql = "SELECT count(*) FROM information_schema.processlist WHERE IS_USED_LOCK(CONCAT(\
               'mppd.retention.', LEFT(SHA2('mppd', 256), 32))) = id";
    while server.ask::<i64>(sql).await != [1] {
        assert!(begin.elapsed() < Duration::from_secs(20), "nobody takes the lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn rows_in_the_spool_are_kept_however_old_they_are() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = retaining(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        server.kill();
        live(&tracker, numbered(1)).await;
        tokio::time::sleep(KEEP + Duration::from_secs(1)).await;
        assert_eq!((tracker.status().spooled, tracker.status().retired), (1, 0));
        tracker.stop().await;
    });
}
