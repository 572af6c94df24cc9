//! A database that is away: nothing is lost, nothing is doubled.

use std::collections::HashSet;
use std::path::PathBuf;

use super::*;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) async fn until_moved(tracker: &TrackerHandle) {
    until("the spool is not moved", || {
        let status = tracker.status();
        status.place == Where::Connected && status.spooled == 0
    })
    .await;
}

/// Callers that ask one request after another until told to stop; the keys of those answered.
pub(super) struct Load {
    stop: Arc<std::sync::atomic::AtomicBool>,
    callers: Vec<actix_rt::task::JoinHandle<(Vec<RequestKey>, Duration)>>,
}

impl Load {
    pub(super) fn begin(tracker: &TrackerHandle, callers: usize) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let call = |caller: usize| {
            let (tracker, stop) = (tracker.clone(), Arc::clone(&stop));
            actix_rt::spawn(async move {
                let (mut answered, mut longest) = (Vec::new(), Duration::ZERO);
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let request = numbered(caller * 1_000_000 + answered.len());
                    let (key, waited) = live(&tracker, request).await;
                    answered.push(key);
                    longest = longest.max(waited);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                (answered, longest)
            })
        };
        Load { callers: (0..callers).map(call).collect(), stop }
    }

    pub(super) async fn end(self) -> (Vec<RequestKey>, Duration) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (mut answered, mut longest) = (Vec::new(), Duration::ZERO);
        for caller in self.callers {
            let (keys, waited) = caller.await.unwrap();
            answered.extend(keys);
            longest = longest.max(waited);
        }
        answered.sort_unstable();
        (answered, longest)
    }
}

pub(super) async fn each_is_there_once(server: &MariaDb, answered: &[RequestKey]) {
    let rows = rows_in_database(server).await;
    let found: HashSet<RequestKey> = keys(&rows).into_iter().collect();
    let expected: HashSet<RequestKey> = answered.iter().copied().collect();
    let lost: Vec<_> = expected.difference(&found).take(5).collect();
    let unknown: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(lost.is_empty() && unknown.is_empty(), "lost: {lost:?}; never answered: {unknown:?}");
    assert_eq!(rows.len(), found.len(), "a request has two rows");
    assert!(rows.iter().all(Row::is_processed));
}

#[test]
fn a_restart_of_the_database_under_load_loses_and_doubles_nothing() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let load = Load::begin(&tracker, 20);
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.kill();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(matches!(tracker.status().place, Where::Away { .. }));
        assert!(tracker.status().spooled > 0);
        server.restart().await;
        until("the database is not back", || tracker.status().place == Where::Connected).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (answered, longest) = load.end().await;
        assert!(answered.len() > 500, "{} answered", answered.len());
        assert!(longest < Duration::from_secs(4), "an answer waited {longest:?}");
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_database_that_hangs_is_away_after_the_write_timeout() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let connection = ResolvedConnection {
            write_timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_millis(500),
            ..server.connection()
        };
        let options = options(directory.path(), Some(connection));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let mut answered = vec![live(&tracker, numbered(0)).await.0];
        let pid = nix::unistd::Pid::from_raw(i32::try_from(server.pid()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
        let begin = Instant::now();
        for number in 1..50 {
            answered.push(live(&tracker, numbered(number)).await.0);
        }
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
        until_moved(&tracker).await;
        answered.push(live(&tracker, numbered(99)).await.0);
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_tracker_starts_without_its_database_and_catches_up() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        server.stop().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options.clone(), logger()).await.unwrap();
        assert!(matches!(tracker.status().place, Where::Away { .. }));
        let mut answered = Vec::new();
        for number in 0..300 {
            answered.push(live(&tracker, numbered(number)).await.0);
        }
        // It ends with the spool full; the next run moves it.
        tracker.stop().await;
        server.restart().await;
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        answered.push(live(&tracker, numbered(300)).await.0);
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_tracker_starts_though_the_database_lets_nobody_in_and_catches_up() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let password = |word| format!("ALTER USER mppd@'%' IDENTIFIED BY '{word}'");
        server.execute(&password("another")).await;
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let Where::Away { reason, .. } = tracker.status().place else { panic!("not away") };
        assert!(reason.contains("Access denied"), "{reason}");
        let mut answered = Vec::new();
        for number in 0..50 {
            answered.push(live(&tracker, numbered(number)).await.0);
        }
        server.execute(&password("secret")).await;
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_decision_made_while_the_database_is_away_completes_the_row_that_is_there() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = TrackerOptions {
            durability: Durability::Strict,
            ..options(directory.path(), Some(server.connection()))
        };
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let (first, second) = (exchange(&tracker, numbered(1)), exchange(&tracker, numbered(2)));
        tracker.record(Transition::Received, &first).await.unwrap();
        server.kill();
        tracker.record(Transition::Processed, &first).await.unwrap();
        tracker.record(Transition::Received, &second).await.unwrap();
        server.restart().await;
        until_moved(&tracker).await;
        tracker.record(Transition::Processed, &second).await.unwrap();
        tracker.stop().await;
        each_is_there_once(&server, &[first.key(), second.key()]).await;
    });
}

#[test]
fn a_read_only_database_is_away_until_it_takes_rows_again() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        server.execute("SET GLOBAL read_only = 1").await;
        let answered = [live(&tracker, numbered(1)).await.0, live(&tracker, numbered(2)).await.0];
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert!(matches!(tracker.status().place, Where::Away { .. }));
        server.execute("SET GLOBAL read_only = 0").await;
        until_moved(&tracker).await;
        tracker.stop().await;
        each_is_there_once(&server, &answered).await;
    });
}

#[test]
fn a_row_that_the_database_refuses_stays_in_the_spool_and_blocks_nothing() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        // Somebody made a column shorter.
        server.execute("ALTER TABLE track_policy_request MODIFY helo_name VARCHAR(5)").await;
        let helo = |name: &str| Request::from_attributes([("helo_name", name)]).unwrap();
        let calls = (0..30).map(|number| {
            let name = if number % 10 == 3 { "too long" } else { "short" };
            live(&tracker, helo(name))
        });
        let keys_of_all: Vec<RequestKey> =
            futures_util::future::join_all(calls).await.into_iter().map(|(key, _)| key).collect();
        assert_eq!(tracker.status().place, Where::Connected);
        assert_eq!(rows_in_database(&server).await.len(), 27);
        assert_eq!(tracker.status().spooled, 3);
        // Also when they come from the spool.
        server.kill();
        live(&tracker, helo("too long")).await;
        live(&tracker, helo("short")).await;
        server.restart().await;
        until("the spool is not moved", || tracker.status().spooled == 4).await;
        until("it is not back", || tracker.status().place == Where::Connected).await;
        live(&tracker, helo("short")).await;
        assert_eq!(rows_in_database(&server).await.len(), 29);
        // When the column is right again the next start moves them.
        server.execute("ALTER TABLE track_policy_request MODIFY helo_name TEXT").await;
        tracker.stop().await;
        let options = self::options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        until_moved(&tracker).await;
        tracker.stop().await;
        let rows = keys(&rows_in_database(&server).await);
        assert_eq!(rows.len(), 33);
        assert!(keys_of_all.iter().all(|key| rows.contains(key)));
    });
}

#[test]
fn a_user_who_may_not_create_tables_is_told_what_to_run_where_another_configuration_is_in_force() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        server.execute("REVOKE ALL ON mppd.* FROM mppd@'%'").await;
        server.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON mppd.* TO mppd@'%'").await;
        let options = options(directory.path(), Some(server.connection()));
        let started = TrackerHandle::start_with(options.clone(), Denial::Mistake, logger()).await;
        let text = started.unwrap_err().to_string();
        assert!(text.contains("mppd schema mysql") && text.contains("PPXX0001.sql"), "{text}");
        let schema = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/esm/PPXX0001.sql"),
        );
        server.execute(&schema.unwrap()).await;
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        live(&tracker, numbered(1)).await;
        tracker.stop().await;
        assert_eq!(
            server.ask::<String>("SELECT state FROM track_policy_request").await,
            ["processed"]
        );
    });
}

#[test]
fn a_wrong_password_is_a_mistake_where_another_configuration_is_in_force() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let password = Some("wrong".to_owned().into());
        let connection = ResolvedConnection { password, ..server.connection() };
        let options = options(directory.path(), Some(connection));
        let started = TrackerHandle::start_with(options, Denial::Mistake, logger()).await;
        let error = started.unwrap_err();
        assert!(error.to_string().contains("denied"), "{error}");
    });
}

#[test]
fn a_table_of_a_newer_mppd_is_refused() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        TrackerHandle::start(options.clone(), logger()).await.unwrap().stop().await;
        server.execute("UPDATE mppd_schema SET version = 99").await;
        let error = TrackerHandle::start(options, logger()).await.unwrap_err();
        assert!(error.to_string().contains("version 99"), "{error}");
    });
}

#[test]
fn a_table_of_an_older_mppd_gets_the_columns_it_lacks_and_keeps_its_rows() {
    let older = [
        "ALTER TABLE track_policy_request DROP COLUMN tls_sni",
        "ALTER TABLE track_policy_request DROP COLUMN node",
        "UPDATE mppd_schema SET version = 0",
    ];
    block_on(async {
        let server = MariaDb::start().await;
        for connection in [None, Some(server.connection())] {
            let directory = TempDir::new().unwrap();
            let file = directory.path().join("requests.sqlite");
            let options = options(directory.path(), connection.clone());
            let tracker = TrackerHandle::start(options.clone(), logger()).await.unwrap();
            live(&tracker, numbered(1)).await;
            tracker.stop().await;
            for sql in older {
                match connection {
                    Some(_) => server.execute(sql).await,
                    None => rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap(),
                }
            }
            let tracker = TrackerHandle::start(options.clone(), logger()).await.unwrap();
            live(&tracker, numbered(2)).await;
            tracker.stop().await;
            let rows = match connection {
                Some(_) => rows_in_database(&server).await,
                None => rows_in_file(&file).await,
            };
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[0].get("node"), Cell::Null);
            assert_ne!(rows[1].get("node"), Cell::Null);
            TrackerHandle::start(options, logger()).await.unwrap().stop().await;
        }
    });
}

#[test]
fn a_spool_that_cannot_be_read_keeps_no_live_request_waiting() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        server.kill();
        live(&tracker, numbered(1)).await;
        break_spool(directory.path());
        server.restart().await;
        until("the database is not back", || tracker.status().place == Where::Connected).await;
        for number in 2..10 {
            let (_, waited) = live(&tracker, numbered(number)).await;
            assert!(waited < Duration::from_millis(900), "{waited:?}");
        }
        assert_eq!(rows_in_database(&server).await.len(), 8);
        tracker.stop().await;
    });
}

/// Takes the table out of the only spool of a directory.
fn break_spool(directory: &Path) {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let spool = |path: &PathBuf| path.extension().is_some_and(|name| name == "sqlite");
    let spools: Vec<PathBuf> = files.filter(spool).collect();
    assert_eq!(spools.len(), 1);
    let connection = rusqlite::Connection::open(&spools[0]).unwrap();
    connection.execute_batch("DROP TABLE track_policy_request").unwrap();
}

#[test]
fn rows_that_wait_for_another_database_are_mentioned_at_the_start() {
    let port = free_port();
    let settings = |database: &str| {
        let connection = format!(
            "<PPXX0001_track_policy_connection><host>127.0.0.1</host><port>{port}</port>
             <database>{database}</database></PPXX0001_track_policy_connection>"
        );
        Settings { tracking: true, group: connection, ..Settings::default() }
    };
    let mut daemon = Daemon::start(settings("old"));
    daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
    daemon.configure(settings("new"));
    let daemon = daemon.again();
    let line = daemon.logged("the old spool", |line| {
        line["msg"].as_str().is_some_and(|msg| msg.starts_with("rows for another database wait"))
    });
    assert_eq!(line["rows"], 1);
}

#[test]
fn a_damaged_store_is_set_aside_and_mail_goes_on() {
    let mut daemon = Daemon::start(Settings { tracking: true, ..Settings::default() });
    daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
    daemon.kill9();
    let file = daemon.state_directory().join("requests.sqlite");
    std::fs::write(&file, "a".repeat(100_000)).unwrap();
    // Whole as it is, its log would make up for all of that.
    std::fs::write(daemon.state_directory().join("requests.sqlite-wal"), "torn").unwrap();
    let daemon = daemon.again();
    assert_eq!(daemon.connect().ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    let line = daemon.logged("the damage", |line| {
        line["msg"].as_str().is_some_and(|msg| msg.starts_with("a file of records is damaged"))
    });
    let aside = std::fs::read(line["set_aside"].as_str().unwrap()).unwrap();
    assert_eq!(aside.len(), 100_000);
    assert_eq!(crate::harness::records::sqlite(&daemon.state_directory()).len(), 1);
}
