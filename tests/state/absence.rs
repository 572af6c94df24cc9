//! Stores that are away, that come back, that say no; and what is removed from them.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mppd_engine::slog::{Drain, KV, Key, Logger, Never, OwnedKVList, Record as Line, o};
use mppd_state::{Change, Mark, MySqlPlan, OpenStore, RedisPlan, StateStore, StorePlan};

use super::site::{Site, block_on, count, mysql_plan, now, open, redis_plan};
use crate::harness::eventually;
use crate::harness::mariadb::MariaDb;
use crate::harness::redis::Redis;

/// What was logged, with its values.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Drain for Log {
    type Ok = ();
    type Err = Never;

    fn log(&self, line: &Line<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let mut values = Values(format!("{}", line.msg()));
        line.kv().serialize(line, &mut values).unwrap();
        self.0.lock().unwrap().push(values.0);
        Ok(())
    }
}

struct Values(String);

impl mppd_engine::slog::Serializer for Values {
    fn emit_arguments(
        &mut self,
        key: Key,
        value: &std::fmt::Arguments<'_>,
    ) -> mppd_engine::slog::Result {
        Ok(write!(self.0, " {key}={value}")?)
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A store whose log is kept.
fn open_with_log(plan: &StorePlan) -> (Arc<StateStore>, Log) {
    let log = Log::default();
    let logger = Logger::root(log.clone(), o!());
    let directory = tempfile::tempdir().unwrap();
    let store = StateStore::unopened();
    store.open(OpenStore::open(plan, directory.path(), &logger).unwrap().backend().clone());
    (Arc::new(store), log)
}

fn short(redis: &Redis) -> StorePlan {
    let timeout = Duration::from_millis(500);
    StorePlan::Redis(RedisPlan { timeout, ..redis_plan(std::slice::from_ref(redis)) })
}

#[test]
fn a_store_that_is_away_fails_at_once_and_says_so_once_until_it_is_back() {
    let mut redis = Redis::start();
    let plan = short(&redis);
    redis.kill();
    let (store, log) = open_with_log(&plan);
    eventually(|| (!log.lines().is_empty()).then_some(())).unwrap();
    let begin = Instant::now();
    for _ in 0..1_000 {
        let error = block_on(count(&store, "a", "key")).unwrap_err().to_string();
        assert!(error.starts_with("the state store is away: "), "{error}");
    }
    // A thousand that each had waited would have taken minutes.
    assert!(begin.elapsed() < Duration::from_mins(1));
    redis.restart();
    eventually(|| block_on(count(&store, "a", "key")).ok()).expect("it is back");
    let lines = log.lines();
    assert!(lines[0].starts_with("the state store is away reason="), "{lines:?}");
    assert!(lines[1].starts_with("the state store is back away_seconds="), "{lines:?}");
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_no_longer_than_said() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let redis = Redis::start();
    let StorePlan::Redis(plan) = short(&redis) else { unreachable!() };
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let nodes = vec![mppd_state::RedisAddress::parse(&url).unwrap()];
    let (store, _) = open_with_log(&StorePlan::Redis(RedisPlan { nodes, ..plan }));
    let error = block_on(count(&store, "a", "key")).unwrap_err().to_string();
    assert!(error.contains("is away"), "{error}");
}

#[test]
fn what_somebody_else_keeps_under_a_key_is_in_the_way_of_this_key_only() {
    let redis = Redis::start();
    redis.say(&["set", "mppd:a/foreign", "hello"]);
    redis.say(&["rpush", "mppd:a/list", "hello"]);
    let (store, log) = open_with_log(&short(&redis));
    for key in ["foreign", "list"] {
        let error = block_on(count(&store, "a", key)).unwrap_err().to_string();
        assert!(error.contains(&format!("\"mppd:a/{key}\"")), "{error}");
        assert_eq!(block_on(count(&store, "a", &format!("other than {key}"))).unwrap(), 1);
    }
    assert_eq!(redis.say(&["get", "mppd:a/foreign"]).trim(), "hello");
    assert_eq!(log.lines(), Vec::<String>::new());
}

#[test]
fn a_redis_that_wants_a_password_is_given_it() {
    let redis = Redis::start_with(&["--requirepass", "geheim"]);
    let StorePlan::Redis(plan) = short(&redis) else { unreachable!() };
    let (store, log) = open_with_log(&StorePlan::Redis(plan.clone()));
    assert!(block_on(count(&store, "a", "key")).is_err());
    assert!(log.lines()[0].contains("NOAUTH"), "{:?}", log.lines());
    let password = Some("geheim".to_owned().into());
    let (store, _) = open_with_log(&StorePlan::Redis(RedisPlan { password, ..plan }));
    assert_eq!(block_on(count(&store, "a", "key")).unwrap(), 1);
}

#[test]
fn a_redis_that_is_full_is_away_until_it_has_room() {
    let redis = Redis::start();
    let (store, log) = open_with_log(&short(&redis));
    block_on(count(&store, "a", "key")).unwrap();
    redis.say(&["config", "set", "maxmemory", "1"]);
    eventually(|| block_on(count(&store, "a", "key")).err()).expect("it is full");
    redis.say(&["config", "set", "maxmemory", "0"]);
    eventually(|| block_on(count(&store, "a", "key")).ok()).expect("it has room");
    assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
}

#[test]
fn a_redis_that_would_forget_known_clients_is_warned_of() {
    let options = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let redis = Redis::start_with(&options);
    let (_store, log) = open_with_log(&short(&redis));
    let line = eventually(|| log.lines().first().cloned()).unwrap();
    assert!(line.contains("allkeys-lru") && line.contains("better=volatile-ttl"), "{line}");
}

#[test]
fn every_key_of_redis_expires() {
    let site = Site::redis();
    let node = site.node();
    block_on(count(&node, "a", "key")).unwrap();
    let left: i64 = site.redis[0].say(&["ttl", "mppd:a/key"]).trim().parse().unwrap();
    assert!((3_600..=3_700).contains(&left), "{left}");
}

#[test]
fn redis_forgets_its_scripts_and_is_told_them_again() {
    let site = Site::redis();
    let node = site.node();
    block_on(count(&node, "a", "key")).unwrap();
    site.redis[0].say(&["script", "flush"]);
    assert_eq!(block_on(count(&node, "a", "key")).unwrap(), 2);
}

#[test]
fn sites_with_different_prefixes_share_a_redis() {
    let redis = Redis::start();
    let StorePlan::Redis(plan) = short(&redis) else { unreachable!() };
    let other = RedisPlan { prefix: "other".to_owned(), ..plan.clone() };
    let (one, _) = open_with_log(&StorePlan::Redis(plan));
    let (other, _) = open_with_log(&StorePlan::Redis(other));
    assert_eq!(block_on(count(&one, "a", "key")).unwrap(), 1);
    assert_eq!(block_on(count(&other, "a", "key")).unwrap(), 1);
}

#[test]
fn a_user_who_may_not_make_the_table_is_told_what_to_do() {
    let mariadb = block_on(MariaDb::start());
    block_on(mariadb.execute(
        "REVOKE ALL ON mppd.* FROM mppd@'%'; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON mppd.* TO mppd@'%'",
    ));
    let plan = StorePlan::MySql(mysql_plan(&mariadb));
    let (store, log) = open_with_log(&plan);
    assert!(block_on(count(&store, "a", "key")).is_err());
    let line = log.lines().first().cloned().unwrap();
    assert!(line.contains("mppd schema state_store") && line.contains("GRANT"), "{line}");
    // As soon as somebody has done it, all is well.
    block_on(mariadb.execute(mppd_state::SCHEMA));
    eventually(|| block_on(count(&store, "a", "key")).ok()).expect("the table is there");
}

#[test]
fn a_mariadb_that_may_only_be_read_is_away() {
    let mariadb = block_on(MariaDb::start());
    block_on(mariadb.execute("GRANT SELECT ON mppd.* TO mppd@'%'"));
    let (store, log) = open_with_log(&StorePlan::MySql(mysql_plan(&mariadb)));
    block_on(count(&store, "a", "key")).unwrap();
    block_on(mariadb.execute("SET GLOBAL read_only = 1"));
    assert!(block_on(count(&store, "a", "key")).is_err());
    block_on(mariadb.execute("SET GLOBAL read_only = 0"));
    eventually(|| block_on(count(&store, "a", "key")).ok()).expect("it can be written");
    assert_eq!(log.lines().len(), 2, "{:?}", log.lines());
}

fn put(store: &Arc<StateStore>, key: &str, until: Timestamp) {
    let change = move |_: Option<Mark>| {
        Change::Put(Mark { since: Timestamp::UNIX_EPOCH, reason: String::new() }, until, ())
    };
    block_on(store.space("a").update(key.as_bytes(), Timestamp::UNIX_EPOCH, change)).unwrap();
}

fn rows(mariadb: &MariaDb) -> Vec<String> {
    block_on(mariadb.ask(
        "SELECT CONVERT(`name` USING utf8mb4) FROM state_store WHERE `name` LIKE 'a/%' \
         ORDER BY `name`",
    ))
}

#[test]
fn expired_rows_leave_the_table() {
    let mariadb = block_on(MariaDb::start());
    let sweep_interval = Duration::from_millis(100);
    let plan = StorePlan::MySql(MySqlPlan { sweep_interval, ..mysql_plan(&mariadb) });
    let (store, _) = open_with_log(&plan);
    put(&store, "old", now() - Duration::from_mins(10));
    put(&store, "new", now() + Duration::from_mins(10));
    eventually(|| (rows(&mariadb) == ["a/new"]).then_some(())).expect("the old row leaves");
}

#[test]
fn of_too_many_rows_those_that_expire_first_leave() {
    let mariadb = block_on(MariaDb::start());
    let sweep_interval = Duration::from_millis(100);
    let plan = MySqlPlan { sweep_interval, ..mysql_plan(&mariadb) };
    let store = Arc::new(open(&StorePlan::MySql(plan.clone()), "".as_ref()));
    for number in 0..20 {
        put(&store, &format!("new {number}"), now() + Duration::from_hours(1));
        put(&store, &format!("known {number}"), now() + Duration::from_hours(1_000));
    }
    drop(store);
    // One row is that by which the store shows that it can be written.
    let plan = StorePlan::MySql(MySqlPlan { max_entries: 20, ..plan });
    let (_store, log) = open_with_log(&plan);
    let left = eventually(|| Some(rows(&mariadb)).filter(|rows| rows.len() <= 20)).unwrap();
    assert!(left.iter().all(|key| key.starts_with("a/known")), "{left:?}");
    assert!(log.lines()[0].starts_with("the state store is full"), "{:?}", log.lines());
}

#[test]
fn tidying_up_that_failed_keeps_nobody_from_it() {
    let mariadb = block_on(MariaDb::start());
    let plan = mysql_plan(&mariadb);
    let store = Arc::new(open(&StorePlan::MySql(plan.clone()), "".as_ref()));
    for number in 0..5 {
        put(&store, &format!("{number}"), now() + Duration::from_hours(1));
    }
    block_on(mariadb.execute(
        "CREATE TRIGGER mppd.refuse BEFORE DELETE ON mppd.state_store FOR EACH ROW \
         SIGNAL SQLSTATE '45000'",
    ));
    let sweep_interval = Duration::from_millis(100);
    let plan = StorePlan::MySql(MySqlPlan { max_entries: 1, sweep_interval, ..plan });
    let (_store, log) = open_with_log(&plan);
    let failed = || log.lines().iter().any(|line| line.contains("could not be tidied up"));
    eventually(|| failed().then_some(())).expect("it fails");
    let is_free = "SELECT CAST(is_free_lock('mppd state_store') AS CHAR)";
    eventually(|| (block_on(mariadb.ask::<String>(is_free)) == ["1"]).then_some(()))
        .expect("it is free");
}
