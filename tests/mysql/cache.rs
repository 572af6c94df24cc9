//! Answers that are kept, and questions that are asked once.

use super::*;
use mppd_database::{AnswerCache, CacheLimits};

const HOUR: Duration = Duration::from_hours(1);

fn cache(found: Duration, empty: Duration, octets: usize) -> AnswerCache {
    AnswerCache::new(CacheLimits { found, empty, octets })
}

struct Asker {
    cache: AnswerCache,
    pool: Pool,
    statement: Statement,
}

impl Asker {
    fn new(cache: AnswerCache, server: &MariaDb, text: &str) -> Self {
        Asker { cache, pool: pool_of(8, server.connection()), statement: statement(text) }
    }

    async fn ask(&self, sender: &str) -> Reply {
        self.cache.ask(&self.pool, &self.statement, parameters(&self.statement, sender)).await
    }
}

#[test]
fn what_is_found_is_kept_for_each_combination_of_parameters() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        let asker = Asker::new(cache(HOUR, HOUR, 1 << 20), &server, "SELECT counted($sender)");
        for sender in ["a", "b", "a", "b", "a"] {
            assert_eq!(value(&asker.ask(sender).await), sender);
        }
        assert_eq!(calls(&server).await, 2);
    });
}

#[test]
fn parameters_that_look_alike_together_are_different() {
    block_on(async {
        let server = MariaDb::start().await;
        let text = "SELECT concat($sender.local, '-', $sender.domain)";
        let asker = Asker::new(cache(HOUR, HOUR, 1 << 20), &server, text);
        assert_eq!(value(&asker.ask("ab@c").await), "ab-c");
        assert_eq!(value(&asker.ask("a@bc").await), "a-bc");
    });
}

#[test]
fn what_is_not_found_is_kept_as_well() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE t (a VARCHAR(100))").await;
        let text = "SELECT a FROM t WHERE a = $sender";
        let kept = Asker::new(cache(HOUR, HOUR, 1 << 20), &server, text);
        let not_kept = Asker::new(cache(HOUR, Duration::ZERO, 1 << 20), &server, text);
        for asker in [&kept, &not_kept] {
            assert_eq!(asker.ask("x").await.unwrap().rows, 0);
        }
        server.execute("INSERT INTO t VALUES ('x')").await;
        assert_eq!(kept.ask("x").await.unwrap().rows, 0);
        assert_eq!(not_kept.ask("x").await.unwrap().rows, 1);
        server.execute("DELETE FROM t").await;
        assert_eq!(not_kept.ask("x").await.unwrap().rows, 1, "what was found is kept");
    });
}

#[test]
fn an_answer_is_asked_for_again_when_its_time_is_up() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        let short = Duration::from_millis(100);
        let asker = Asker::new(cache(short, short, 1 << 20), &server, "SELECT counted($sender)");
        asker.ask("a").await.unwrap();
        tokio::time::sleep(2 * short).await;
        asker.ask("a").await.unwrap();
        assert_eq!(calls(&server).await, 2);
    });
}

#[test]
fn however_many_ask_the_same_at_once_the_database_is_asked_once() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        let asker = Asker::new(cache(HOUR, HOUR, 1 << 20), &server, "SELECT counted($sender)");
        let questions = (0..100).map(|number| asker.ask(["a", "b"][number % 2]));
        for (number, reply) in futures_util::future::join_all(questions).await.iter().enumerate() {
            assert_eq!(value(reply), ["a", "b"][number % 2]);
        }
        assert_eq!(calls(&server).await, 2);
    });
}

#[test]
fn who_asks_first_and_gives_up_leaves_the_question_to_the_others() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        let asker = Asker::new(cache(HOUR, HOUR, 1 << 20), &server, "SELECT counted($sender)");
        let first = tokio::time::timeout(Duration::from_millis(50), asker.ask("a"));
        let (first, second) = futures_util::future::join(first, asker.ask("a")).await;
        assert!(first.is_err(), "the first did not give up");
        assert_eq!(value(&second), "a");
        assert_eq!(value(&asker.ask("a").await), "a");
        assert_eq!(calls(&server).await, 1);
    });
}

#[test]
fn failures_are_told_to_all_who_wait_and_are_not_kept() {
    block_on(async {
        let server = MariaDb::start().await;
        counting_function(&server).await;
        // What a failed statement did is undone, unless the table knows no transactions.
        server.execute("ALTER TABLE calls ENGINE = MyISAM").await;
        let asker = Asker::new(cache(HOUR, HOUR, 1 << 20), &server, "SELECT counted($sender)");
        for _ in 0..2 {
            let questions = (0..10).map(|_| asker.ask("fail"));
            for reply in futures_util::future::join_all(questions).await {
                assert_eq!(code(&reply), Some(1644));
            }
        }
        let calls = calls(&server).await;
        assert!((2..20).contains(&calls), "{calls} calls");
    });
}

#[test]
fn no_more_is_kept_than_there_is_room_for() {
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("CREATE TABLE t (a INT)").await;
        let text = "SELECT repeat($sender, 1000), (SELECT count(*) FROM t)";
        let asker = Asker::new(cache(HOUR, HOUR, 64 << 10), &server, text);
        for number in 0..300 {
            asker.ask(&format!("{number:03}")).await.unwrap();
        }
        server.execute("INSERT INTO t VALUES (1)").await;
        let mut kept = 0;
        for number in 0..300 {
            let answer = asker.ask(&format!("{number:03}")).await.unwrap();
            kept += usize::from(row(&answer)[1].1 == "0");
        }
        assert!(kept * 3_000 <= 64 << 10, "{kept} answers are kept");
    });
}
