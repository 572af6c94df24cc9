//! More ways in which a database can be bad while requests come in. Each is answered in time, and
//! each row is there once when the database is well again.

use super::absence::{Load, each_is_there_once, until_moved};
use super::*;

struct Bad {
    _directory: TempDir,
    server: MariaDb,
    tracker: TrackerHandle,
}

impl Bad {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let connection = ResolvedConnection {
            write_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            ..server.connection()
        };
        let options = options(directory.path(), Some(connection));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        Bad { _directory: directory, server, tracker }
    }

    /// Breaks the server under load, mends it, and compares.
    async fn survive(self, fault: &str, mend: &str) {
        let load = Load::begin(&self.tracker, 10);
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.server.execute(fault).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        if !mend.is_empty() {
            assert!(matches!(self.tracker.status().place, Where::Away { .. }), "{fault}");
            self.server.execute(mend).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.end(load).await;
    }

    async fn end(self, load: Load) {
        let (answered, longest) = load.end().await;
        assert!(answered.len() > 100, "{} answered", answered.len());
        assert!(longest < Duration::from_secs(5), "an answer waited {longest:?}");
        until_moved(&self.tracker).await;
        assert_eq!((self.tracker.status().lost, self.tracker.status().refused), (0, 0));
        self.tracker.stop().await;
        each_is_there_once(&self.server, &answered).await;
    }
}

#[test]
fn a_password_that_changes_while_mppd_runs_sends_rows_to_the_spool() {
    block_on(async {
        let bad = Bad::start().await;
        let kill_all = "SET PASSWORD FOR mppd@'%' = PASSWORD('other'); KILL USER mppd";
        bad.survive(kill_all, "SET PASSWORD FOR mppd@'%' = PASSWORD('secret')").await;
    });
}

#[test]
fn a_server_without_room_for_a_connection_is_away() {
    block_on(async {
        let bad = Bad::start().await;
        let full = "GRANT USAGE ON *.* TO mppd@'%' WITH MAX_USER_CONNECTIONS -1; KILL USER mppd";
        let room = "GRANT USAGE ON *.* TO mppd@'%' WITH MAX_USER_CONNECTIONS 0";
        bad.survive(full, room).await;
    });
}

#[test]
fn connections_that_are_killed_are_made_anew() {
    block_on(async {
        let bad = Bad::start().await;
        bad.survive("KILL USER mppd", "").await;
    });
}

#[test]
fn a_table_that_vanishes_is_made_anew() {
    block_on(async {
        let bad = Bad::start().await;
        // Rows that were there before are gone with it, so none is there yet.
        bad.server.execute("DROP TABLE track_policy_request").await;
        let load = Load::begin(&bad.tracker, 10);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        bad.end(load).await;
    });
}

#[test]
fn a_table_that_vanishes_and_may_not_be_made_sends_rows_to_the_spool() {
    block_on(async {
        let bad = Bad::start().await;
        let vanish = "RENAME TABLE track_policy_request TO elsewhere; \
                      REVOKE ALL ON mppd.* FROM mppd@'%'; \
                      GRANT SELECT, INSERT, UPDATE, DELETE ON mppd.* TO mppd@'%'";
        bad.survive(vanish, "RENAME TABLE elsewhere TO track_policy_request").await;
    });
}

#[test]
fn a_table_that_somebody_locks_keeps_nobody_waiting_long() {
    block_on(async {
        let bad = Bad::start().await;
        let load = Load::begin(&bad.tracker, 10);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let held = bad
            .server
            .execute("LOCK TABLES track_policy_request READ; SELECT SLEEP(3); UNLOCK TABLES");
        held.await;
        bad.end(load).await;
    });
}

#[test]
fn a_database_whose_disk_is_full_is_away_until_there_is_room() {
    block_on(async {
        let bad = Bad::start().await;
        // What the server says then, without a disk of its own to fill.
        let full = "CREATE TRIGGER full BEFORE INSERT ON track_policy_request FOR EACH ROW SIGNAL \
                    SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'";
        bad.survive(full, "DROP TRIGGER full").await;
    });
}
