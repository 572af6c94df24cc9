//! More ways in which a database can be bad while requests come in. Each is answered in time, and
//! each row is there once when the database is well again.

use super::absence::{Load, each_is_there_once, until, until_moved};
use super::*;

struct Bad {
    _directory: TempDir,
    server: MariaDb,
    tracker: TrackerHandle,
    hangs_up: bool,
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
        Bad { _directory: directory, server, tracker, hangs_up: false }
    }

    /// One that also ends the connections that there are.
    async fn hanging_up() -> Self {
        Bad { hangs_up: true, ..Bad::start().await }
    }

    /// Breaks the server under load, mends it, and compares.
    async fn survive(self, fault: &str, mend: &str) {
        let load = Load::begin(&self.tracker, 10);
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.server.execute(fault).await;
        if self.hangs_up {
            self.server.hang_up().await;
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        if !mend.is_empty() {
            let is_away = || matches!(self.tracker.status().place, Where::Away { .. });
            until(fault, is_away).await;
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
        let bad = Bad::hanging_up().await;
        // MySQL may remember the old password of somebody who has used it a moment ago.
        let (another, same) = if MariaDb::is_mariadb() {
            (
                "ALTER USER mppd@'%' IDENTIFIED BY 'other'",
                "ALTER USER mppd@'%' IDENTIFIED BY 'secret'",
            )
        } else {
            ("RENAME USER mppd@'%' TO other@'%'", "RENAME USER other@'%' TO mppd@'%'")
        };
        bad.survive(another, same).await;
    });
}

#[test]
fn a_server_without_room_for_a_connection_is_away() {
    block_on(async {
        let bad = Bad::hanging_up().await;
        // In MySQL, 0 is the least, and stands for any number.
        let (full, room) = if MariaDb::is_mariadb() {
            (
                "ALTER USER mppd@'%' WITH MAX_USER_CONNECTIONS -1",
                "ALTER USER mppd@'%' WITH MAX_USER_CONNECTIONS 0",
            )
        } else {
            ("ALTER USER mppd@'%' ACCOUNT LOCK", "ALTER USER mppd@'%' ACCOUNT UNLOCK")
        };
        bad.survive(full, room).await;
    });
}

#[test]
fn connections_that_are_killed_are_made_anew() {
    block_on(async {
        let bad = Bad::hanging_up().await;
        bad.survive("DO 0", "").await;
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

/// A log that panics at its first line.
struct Panicking;

impl slog::Drain for Panicking {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, line: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        panic!("{}", line.msg());
    }
}

#[test]
fn a_panic_while_a_tracker_opens_refuses_the_start_and_takes_nobody_with_it() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        // What is said of this is the first line.
        std::fs::write(directory.path().join("requests.sqlite"), "a".repeat(10_000)).unwrap();
        let broken = Logger::root(Panicking, o!());
        let started = TrackerHandle::start(options(directory.path(), None), broken).await;
        assert!(matches!(started, Err(TrackingStartError::Ended)), "{started:?}");
        let tracker =
            TrackerHandle::start(options(directory.path(), None), logger()).await.unwrap();
        live(&tracker, numbered(1)).await;
        tracker.stop().await;
        let rows = rows_in_file(&directory.path().join("requests.sqlite")).await;
        assert_eq!(rows.len(), 1);
    });
}

#[test]
fn a_database_that_is_full_is_away_until_there_is_room() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start_small().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        live(&tracker, numbered(77)).await;
        // Before the load, which may fill the rest by itself.
        server.execute("CREATE TABLE ballast (octets LONGBLOB) ENGINE=InnoDB").await;
        let load = Load::begin(&tracker, 10);
        for size in [1 << 20, 1 << 16, 1 << 12] {
            let sql = format!("INSERT INTO ballast VALUES (REPEAT('a', {size}))");
            while server.try_to(&format!("USE mppd; {sql}")).await {}
        }
        until("it is not full", || match tracker.status().place {
            Where::Away { reason, .. } => reason.contains("is full"),
            _ => false,
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart_larger().await;
        until_moved(&tracker).await;
        let (answered, _) = load.end().await;
        until_moved(&tracker).await;
        assert_eq!((tracker.status().lost, tracker.status().refused), (0, 0));
        tracker.stop().await;
        let rows = rows_in_database(&server).await;
        let found: std::collections::HashSet<RequestKey> = keys(&rows).into_iter().collect();
        assert_eq!(rows.len(), answered.len() + 1);
        assert!(answered.iter().all(|key| found.contains(key)), "rows are lost");
    });
}

#[test]
fn a_database_that_says_it_is_full_is_away_until_there_is_room() {
    block_on(async {
        let bad = Bad::start().await;
        let full = "CREATE TRIGGER full BEFORE INSERT ON track_policy_request FOR EACH ROW SIGNAL \
                    SQLSTATE 'HY000' SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table is full'";
        bad.survive(full, "DROP TRIGGER full").await;
    });
}
