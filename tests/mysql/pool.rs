//! Connections: bounded, never spoilt, made anew when the server went away.

use super::*;
use crate::harness::mariadb::tls_file;
use mppd_database::Tls;

#[test]
fn the_columns_of_the_first_row_come_by_name_as_text() {
    block_on(async {
        let server = MariaDb::start().await;
        let pool = pool_of(1, server.connection());
        let text = "SELECT 7 AS small, CAST(18446744073709551615 AS UNSIGNED) AS large, 1.50 AS \
                    exact, 0.5e0 AS inexact, 'jörg' AS text, NULL AS nothing, \
                    DATE '2024-02-29' AS day, TIMESTAMP '2024-02-29 01:02:03' AS time, \
                    CAST('2024-02-29 01:02:03.456' AS DATETIME(3)) AS exact_time, \
                    CAST('-49:00:01' AS TIME) AS period, '' AS blank UNION ALL SELECT \
                    1,2,3,4,5,6,NOW(),NOW(),NOW(),'1:1',7";
        let answer = ask(&pool, text, "").await.unwrap();
        assert_eq!((answer.has_rows, answer.rows), (true, 2));
        let expected = [
            ("small", "7"),
            ("large", "18446744073709551615"),
            ("exact", "1.50"),
            ("inexact", "0.5"),
            ("text", "jörg"),
            ("day", "2024-02-29 00:00:00"),
            ("time", "2024-02-29 01:02:03"),
            ("exact_time", "2024-02-29 01:02:03.456"),
            ("period", "-49:00:01"),
            ("blank", ""),
        ];
        let found = row(&answer);
        let found: Vec<(&str, &str)> =
            found.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(value(&ask(&pool, "SELECT DATE '2024-02-29' d", "").await), "2024-02-29");
    });
}

#[test]
fn an_answer_tells_rows_from_changes() {
    block_on(async {
        let server = MariaDb::start().await;
        server
            .execute("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, a INT, UNIQUE (a))")
            .await;
        let pool = pool_of(1, server.connection());
        let empty = ask(&pool, "SELECT a FROM t", "").await.unwrap();
        assert_eq!((empty.has_rows, empty.rows, empty.row.len()), (true, 0, 0));
        let done = ask(&pool, "INSERT INTO t (a) VALUES (1), (2)", "").await.unwrap();
        assert_eq!((done.has_rows, done.affected, done.insert_id), (false, 2, 1));
        let text = "INSERT INTO t (a) VALUES (2) ON DUPLICATE KEY UPDATE a = LAST_INSERT_ID(a + 5)";
        let done = ask(&pool, text, "").await.unwrap();
        assert_eq!((done.affected, done.insert_id), (2, 7));
        // MySQL has nothing that gives rows and changes at once.
        if MariaDb::is_mariadb() {
            let returned = ask(&pool, "INSERT INTO t (a) VALUES (9) RETURNING a + 1", "").await;
            assert_eq!(value(&returned), "10");
        }
    });
}

#[test]
fn of_several_result_sets_the_first_counts() {
    block_on(async {
        let server = MariaDb::start().await;
        server
            .execute("CREATE PROCEDURE p(x INT) BEGIN SELECT x; SELECT 2 UNION SELECT 3; END")
            .await;
        let pool = pool_of(1, server.connection());
        for _ in 0..3 {
            assert_eq!(value(&ask(&pool, "CALL p(1)", "").await), "1");
            assert_eq!(value(&ask(&pool, "SELECT '$sender'", "x").await), "x");
        }
    });
}

#[test]
fn a_question_that_is_given_up_does_not_spoil_its_connection() {
    block_on(async {
        let server = MariaDb::start().await;
        let pool = pool_of(1, server.connection());
        for round in 0..5 {
            let slow = format!("SELECT 111 + SLEEP(0.1) + {round}");
            let given_up = tokio::time::timeout(Duration::from_millis(10), ask(&pool, &slow, ""));
            assert!(given_up.await.is_err(), "the slow statement is not slow");
            let sender = format!("sender {round}");
            assert_eq!(value(&ask(&pool, "SELECT $sender", &sender).await), sender);
        }
        let count = "SELECT count(*) FROM information_schema.processlist";
        assert_eq!(value(&ask(&pool, count, "").await), "1");
    });
}

#[test]
fn a_statement_that_takes_too_long_is_ended() {
    block_on(async {
        let server = MariaDb::start().await;
        let write_timeout = Duration::from_secs(1);
        let pool = pool_of(1, ResolvedConnection { write_timeout, ..server.connection() });
        let reply =
            ask(&pool, "SELECT count(*) FROM information_schema.tables WHERE SLEEP(60)", "");
        assert!(reply.await.is_err(), "the statement was not ended");
        assert_eq!(value(&ask(&pool, "SELECT 7", "").await), "7");
    });
}

#[test]
fn there_are_no_more_connections_than_the_pool_may_have() {
    block_on(async {
        let server = MariaDb::start().await;
        let pool = pool_of(3, server.connection());
        let text = "SELECT count(*) + 0 * SLEEP(0.05) FROM information_schema.processlist";
        let asked = (0..20).map(|_| ask(&pool, text, ""));
        let replies = futures_util::future::join_all(asked).await;
        let counts: Vec<u32> = replies.iter().map(|reply| value(reply).parse().unwrap()).collect();
        assert_eq!(counts.iter().max(), Some(&3), "{counts:?}");
    });
}

#[test]
fn connections_that_rest_are_closed_but_for_those_that_stay() {
    block_on(async {
        let server = MariaDb::start().await;
        let limits = PoolLimits { min: 1, max: 5, idle_timeout: Duration::ZERO };
        let pool = Pool::new(server.connection(), limits);
        futures_util::future::join_all((0..5).map(|_| ask(&pool, "SELECT SLEEP(0.1)", ""))).await;
        let count = "SELECT count(*) FROM information_schema.processlist WHERE user = 'mppd'";
        let mut last = 0;
        let begin = std::time::Instant::now();
        while begin.elapsed() < crate::harness::PATIENCE {
            last = server.ask::<u64>(count).await[0];
            if last == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{last} connections are left");
    });
}

#[test]
fn what_only_reads_is_asked_again_when_its_connection_was_dead() {
    block_on(async {
        let server = MariaDb::start().await;
        let pool = pool_of(1, server.connection());
        for _ in 0..3 {
            let id = value(&ask(&pool, "SELECT CONNECTION_ID()", "").await);
            server.execute(&format!("KILL CONNECTION {id}")).await;
            assert_eq!(value(&ask(&pool, "SELECT $sender", "alive").await), "alive");
        }
    });
}

#[test]
fn what_changes_something_is_never_done_twice() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        // What was done before the connection broke stays where there are no transactions.
        server.execute("ALTER TABLE calls ENGINE = MyISAM").await;
        server.execute("CREATE TABLE t (a VARBINARY(1000))").await;
        let pool = pool_of(1, server.connection());
        let id = value(&ask(&pool, "SELECT CONNECTION_ID()", "").await);
        let break_it = async {
            let sleeps = format!(
                "SELECT count(*) FROM information_schema.processlist
                 WHERE id = {id} AND state = 'User sleep'"
            );
            while server.ask::<u64>(&sleeps).await == [0] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            server.execute(&format!("KILL CONNECTION {id}")).await;
        };
        let insert = ask(&pool, "INSERT INTO t VALUES (counted($sender))", "x");
        let (reply, ()) = futures_util::future::join(insert, break_it).await;
        assert!(reply.is_err(), "the connection was not broken: {reply:?}");
        assert_eq!(calls(&server).await, 1);
        ask(&pool, "INSERT INTO t VALUES (counted($sender))", "x").await.unwrap();
    });
}

#[test]
fn a_server_that_comes_back_is_asked_again() {
    block_on(async {
        let mut server = MariaDb::start().await;
        server.execute("CREATE TABLE t (a VARCHAR(100))").await;
        let pool = pool_of(4, server.connection());
        futures_util::future::join_all((0..4).map(|_| ask(&pool, "SELECT SLEEP(0.05)", ""))).await;
        server.stop().await;
        let reply = ask(&pool, "SELECT 7", "").await;
        assert!(
            matches!(reply.as_ref().map_err(AsRef::as_ref), Err(QueryError::Broken(_))),
            "{reply:?}"
        );
        server.restart().await;
        assert_eq!(value(&ask(&pool, "SELECT 7", "").await), "7");
        ask(&pool, "INSERT INTO t VALUES ($sender)", "x").await.unwrap();
    });
}

#[test]
fn workers_come_and_go_while_the_connections_stay() {
    let server = block_on(MariaDb::start());
    let pool = pool_of(1, server.connection());
    let mut ids = Vec::new();
    for number in 0..4 {
        let pool = pool.clone();
        let worker = std::thread::spawn(move || {
            block_on(async move {
                let sender = number.to_string();
                assert_eq!(value(&ask(&pool, "SELECT $sender", &sender).await), sender);
                value(&ask(&pool, "SELECT CONNECTION_ID()", "").await)
            })
        });
        ids.push(worker.join().unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the workers do not share one connection");
}

#[test]
fn the_last_pool_takes_its_connections_with_it() {
    block_on(async {
        let server = MariaDb::start().await;
        let pool = pool_of(1, server.connection());
        ask(&pool, "SELECT 1", "").await.unwrap();
        drop(pool);
        let count = "SELECT count(*) FROM information_schema.processlist WHERE user = 'mppd'";
        for _ in 0..400 {
            if server.ask::<u64>(count).await == [0] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the connection is still there");
    });
}

#[test]
fn what_the_server_refuses_is_told_fit_to_be_read() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        let pool = pool_of(1, server.connection());
        let reply = ask(&pool, "SELECT counted('fail')", "").await;
        assert_eq!(code(&reply), Some(1644));
        let text = reply.unwrap_err().to_string();
        assert!(text.contains(r"no\nway"), "{text}");
        assert_eq!(code(&ask(&pool, "SELECT * FROM nowhere", "").await), Some(1146));
        assert_eq!(value(&ask(&pool, "SELECT 7", "").await), "7");
    });
}

#[test]
fn a_server_that_lets_nobody_in_has_not_refused_a_statement() {
    block_on(async {
        let server = MariaDb::start().await;
        let connection = ResolvedConnection {
            password: Some("secret word".to_owned().into()),
            ..server.connection()
        };
        let error = ask(&pool_of(1, connection), "SELECT 7", "").await.unwrap_err();
        assert!(matches!(*error, QueryError::Broken(_)), "{error:?}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("Access denied") && !text.contains("secret word"), "{text}");
    });
}

#[test]
fn a_row_that_is_too_large_is_refused() {
    block_on(async {
        let server = MariaDb::start().await;
        let pool = pool_of(1, server.connection());
        let reply = ask(&pool, "SELECT repeat('x', 300000)", "").await;
        let refused =
            matches!(reply.as_ref().map_err(AsRef::as_ref), Err(QueryError::TooLarge { .. }));
        assert!(refused, "{reply:?}");
        assert_eq!(value(&ask(&pool, "SELECT 7", "").await), "7");
    });
}

#[test]
fn a_pool_connects_with_encryption_and_only_to_whom_it_trusts() {
    block_on(async {
        let server = MariaDb::start_with_tls().await;
        let with = |tls| pool_of(1, ResolvedConnection { tls, ..server.connection() });
        let plain = ask(&with(None), "SELECT 7", "").await;
        assert!(plain.is_err(), "the server takes a plain connection");
        let ours = Tls { ca_file: Some(tls_file("ca.pem")), skip_verification: false };
        let cipher = "SHOW STATUS LIKE 'Ssl_version'";
        let answer = ask(&with(Some(ours)), cipher, "").await.unwrap();
        assert!(row(&answer)[1].1.starts_with("TLSv1"), "{answer:?}");
        let of_the_web = Tls { ca_file: None, skip_verification: false };
        let stranger = ask(&with(Some(of_the_web)), "SELECT 7", "").await;
        assert!(stranger.is_err(), "the server is trusted by nobody");
    });
}

#[test]
fn what_the_server_undoes_for_a_deadlock_is_asked_again() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE tries (n INT) ENGINE = MyISAM").await;
        server
            .execute(
                "CREATE FUNCTION third_time() RETURNS INT MODIFIES SQL DATA
                 BEGIN
                   INSERT INTO tries VALUES (1);
                   IF (SELECT count(*) FROM tries) < 3 THEN
                     SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213;
                   END IF;
                   RETURN (SELECT count(*) FROM tries);
                 END",
            )
            .await;
        server.execute("CREATE TABLE t (n INT)").await;
        let pool = pool_of(1, server.connection());
        ask(&pool, "INSERT INTO t VALUES (third_time())", "").await.unwrap();
        assert_eq!(server.ask::<u32>("SELECT n FROM t").await, [3]);
    });
}

#[test]
fn a_procedure_is_never_called_again_for_a_deadlock() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE t (n INT) ENGINE = InnoDB").await;
        server
            .execute(
                "CREATE PROCEDURE p() BEGIN
                   INSERT INTO t VALUES (1);
                   SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213;
                 END",
            )
            .await;
        let pool = pool_of(1, server.connection());
        assert_eq!(code(&ask(&pool, "CALL p()", "").await), Some(1213));
        assert_eq!(server.ask::<u32>("SELECT n FROM t").await, [1]);
    });
}

#[test]
fn a_failure_in_the_middle_of_an_answer_does_not_spoil_its_connection() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE numbers (n INT PRIMARY KEY)").await;
        let numbers: Vec<String> = (1..=10_000).map(|number| format!("({number})")).collect();
        server.execute(&format!("INSERT INTO numbers VALUES {}", numbers.join(","))).await;
        server
            .execute(
                "CREATE PROCEDURE fails(x INT) BEGIN
                   SELECT n, repeat('x', 1000) FROM numbers WHERE n <= 100;
                   SELECT x;
                   SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no way';
                 END",
            )
            .await;
        let pool = pool_of(1, server.connection());
        let rows = "SELECT repeat('x', 1000), \
                    if(n < 5000, 1, (SELECT t.n FROM numbers AS t WHERE t.n < s.n)) \
                    FROM numbers AS s";
        for _ in 0..3 {
            assert_eq!(code(&ask(&pool, rows, "").await), Some(1242));
            assert_eq!(value(&ask(&pool, "SELECT '$sender'", "x").await), "x");
            assert_eq!(code(&ask(&pool, "CALL fails(1)", "").await), Some(1644));
            assert_eq!(value(&ask(&pool, "SELECT '$sender'", "y").await), "y");
        }
    });
}

#[test]
fn a_transaction_that_a_procedure_leaves_open_does_not_take_in_what_follows() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE t (a INT) ENGINE = InnoDB").await;
        server
            .execute(
                "CREATE PROCEDURE forgets() BEGIN START TRANSACTION; INSERT INTO t VALUES (1); END",
            )
            .await;
        server
            .execute(
                "CREATE PROCEDURE breaks() BEGIN
                   START TRANSACTION;
                   INSERT INTO t VALUES (2);
                   SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no way';
                 END",
            )
            .await;
        let pool = pool_of(1, server.connection());
        for (call, number) in [("CALL forgets()", 10), ("CALL breaks()", 20)] {
            let _reply = ask(&pool, call, "").await;
            ask(&pool, &format!("INSERT INTO t VALUES ({number})"), "").await.unwrap();
        }
        assert_eq!(server.ask::<u64>("SELECT a FROM t ORDER BY a").await, [10, 20]);
    });
}

#[test]
fn what_nobody_waits_for_runs_to_its_end_also_when_the_last_pool_goes() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE t (a INT) ENGINE = InnoDB").await;
        let pool = pool_of(1, server.connection());
        ask(&pool, "SELECT 1", "").await.unwrap();
        let text = "INSERT INTO t SELECT 1 + SLEEP(0.5) UNION ALL SELECT 2 + SLEEP(0.5)";
        let given_up = tokio::time::timeout(Duration::from_millis(100), ask(&pool, text, ""));
        assert!(given_up.await.is_err(), "the statement is not slow");
        drop(pool);
        for _ in 0..400 {
            if server.ask::<u64>("SELECT a FROM t ORDER BY a").await == [1, 2] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the statement was cut off");
    });
}
