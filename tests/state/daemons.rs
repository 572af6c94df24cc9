//! Servers with a state store: what they share, and what they keep over reloads and restarts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::harness::redis::Redis;
use crate::mysql::block_on;

/// So many requests of a sender pass.
fn settings(store: &str, most: u64) -> Settings {
    Settings {
        common: format!("<state_store>{store}</state_store>"),
        checks: "sent".into(),
        engines: format!(
            "<threshold id=\"sent\">
               <key>$sender</key><limit id=\"limit\" max=\"{most}\" per=\"1h\"/>
               <on_over>REJECT enough</on_over>
             </threshold>"
        ),
        ..Settings::default()
    }
}

fn mysql(mariadb: &MariaDb) -> String {
    format!("<mysql>{}</mysql>", mariadb.element_named("connection"))
}

fn redis(redis: &Redis) -> String {
    format!("<redis><url>{}</url></redis>", redis.url())
}

/// Whether one more may pass.
fn passes(client: &mut PolicyClient) -> bool {
    match client.ask(&PolicyRequest::new().set("sender", "a@example.org").octets()).unwrap() {
        reply if reply == "DUNNO" => true,
        reply if reply == "REJECT enough" => false,
        reply => panic!("{reply}"),
    }
}

fn reload(daemon: &Daemon) {
    let before = reloads(daemon);
    daemon.hangup();
    eventually(|| (reloads(daemon) > before).then_some(())).expect("it is reloaded");
}

fn reloads(daemon: &Daemon) -> usize {
    daemon.log().iter().filter(|line| line.contains("configuration reloaded")).count()
}

#[test]
fn counts_survive_reloads_and_restarts() {
    let mut daemon = Daemon::start(settings("", 4));
    let mut client = daemon.connect();
    assert!(passes(&mut client));
    reload(&daemon);
    assert!(passes(&mut client));
    daemon.configure(settings("<embedded max_entries=\"5000\"/>", 4));
    reload(&daemon);
    assert!(passes(&mut client));
    // It was never read again.
    assert!(daemon.log().iter().all(|line| !line.contains("state read")));
    assert!(daemon.terminate().success());
    let daemon = daemon.again();
    let mut client = daemon.connect();
    assert!(passes(&mut client));
    assert!(!passes(&mut client));
    daemon.logged("the records", |line| mentions(line, "state read"));
}

#[test]
fn a_reload_may_take_another_store_and_go_back() {
    let server = Redis::start();
    let mut daemon = Daemon::start(settings("", 2));
    let mut client = daemon.connect();
    assert!(passes(&mut client));
    daemon.configure(settings(&redis(&server), 2));
    reload(&daemon);
    assert!(passes(&mut client));
    assert!(passes(&mut client));
    assert!(!passes(&mut client));
    daemon.configure(settings("", 2));
    reload(&daemon);
    assert!(passes(&mut client));
    assert!(!passes(&mut client));
}

#[test]
fn a_store_that_is_away_keeps_no_server_from_starting() {
    let mut server = Redis::start();
    let store = redis(&server);
    server.kill();
    let daemon = Daemon::start(settings(&store, 2));
    let mut client = daemon.connect();
    for _ in 0..10 {
        assert!(passes(&mut client));
    }
    daemon.logged("the reason", |line| mentions(line, "the state store is away"));
    server.restart();
    eventually(|| (!passes(&mut client)).then_some(())).expect("it counts again");
}

/// What `mppd status` says, and whether it ends with success.
fn status(daemon: &Daemon) -> (serde_json::Value, String, Option<i32>) {
    let call = || Call::new(["status", "--state-directory"]).argument(daemon.state_directory());
    let (json, screen) = (call().argument("--json").run(), call().run());
    (serde_json::from_str(&json.out).unwrap(), screen.out, screen.code)
}

#[test]
fn the_status_tells_that_a_store_is_away_since_when_and_why() {
    let mut server = Redis::start();
    let store = redis(&server);
    let daemon = Daemon::start(settings(&store, 100));
    let mut client = daemon.connect();
    assert!(passes(&mut client));
    let (json, screen, code) = status(&daemon);
    assert_eq!(json["state_store"]["store"], "redis");
    assert!(json["state_store"]["away_since"].is_null(), "{json}");
    assert!(screen.contains("state store    redis: there"), "{screen}");
    assert_eq!(code, Some(0));
    server.kill();
    assert!(passes(&mut client));
    let (json, screen, code) = status(&daemon);
    assert!(json["state_store"]["away_since"].is_string(), "{json}");
    assert!(json["state_store"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(screen.contains("the state store is away since "), "{screen}");
    assert_eq!(code, Some(1));
    server.restart();
    eventually(|| (status(&daemon).2 == Some(0)).then_some(())).expect("it is back");
}

#[test]
fn without_one_server_of_a_cluster_requests_are_answered_and_counted_again_when_it_is_back() {
    let mut servers = Redis::start_cluster();
    let urls: Vec<String> =
        servers.iter().map(|server| format!("<url>{}</url>", server.url())).collect();
    let store =
        format!("<redis><cluster>true</cluster>{}<timeout>500ms</timeout></redis>", urls.concat());
    let daemon = Daemon::start(settings(&store, 1));
    let mut client = daemon.connect();
    let mut ask = |number: usize| {
        let sender = format!("{number}@example.org");
        client.ask(&PolicyRequest::new().set("sender", sender).octets()).unwrap()
    };
    // Keys of all of them.
    assert!((0..30).all(|number| ask(number) == "DUNNO"));
    servers[2].kill();
    for number in 30..60 {
        assert_eq!(ask(number), "DUNNO");
    }
    let trouble = || {
        ask(0);
        status(&daemon).1.contains("the state store is away since ").then_some(())
    };
    eventually(trouble).expect("somebody is told");
    servers[2].restart();
    let is_counted = || {
        let counts = (0..30).all(|number| ask(number) == "REJECT enough");
        (counts && status(&daemon).2 == Some(0)).then_some(())
    };
    eventually(is_counted).expect("all are counted again");
}

#[test]
fn the_status_tells_that_the_file_of_the_embedded_store_cannot_be_written() {
    let daemon = Daemon::start(settings("", 5_000));
    let mut client = daemon.connect();
    assert!(passes(&mut client));
    assert_eq!(status(&daemon).0["state_store"]["records"], 1);
    let file = rusqlite::Connection::open(daemon.state_directory().join("state.sqlite")).unwrap();
    let forbid = "CREATE TRIGGER t BEFORE INSERT ON state BEGIN SELECT raise(ABORT, 'no'); END";
    file.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    file.execute_batch(forbid).unwrap();
    let is_away = || {
        assert!(passes(&mut client));
        let (json, ..) = status(&daemon);
        json["state_store"]["reason"].as_str().map(ToOwned::to_owned)
    };
    let reason = eventually(is_away).expect("it is away");
    assert!(reason.contains("can't be written: no"), "{reason}");
    file.execute_batch("DROP TRIGGER t").unwrap();
    eventually(|| (status(&daemon).2 == Some(0)).then_some(())).expect("it is back");
}

#[test]
fn without_an_engine_that_remembers_nothing_is_opened() {
    let daemon = Daemon::start(Settings::wbl(""));
    assert!(!daemon.state_directory().join("state.sqlite").exists());
}

/// Ten thousand requests, half of them too many.
fn two_servers_count_together(store: &str) {
    let daemons = [(), ()].map(|()| Daemon::start(settings(store, 5_000)));
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for client in 0..20 {
            let mut client = daemons[client % 2].connect();
            let passed = &passed;
            scope.spawn(move || {
                for _ in 0..500 {
                    passed.fetch_add(u64::from(passes(&mut client)), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 5_000);
}

#[test]
fn two_servers_on_one_mariadb_lose_no_count() {
    let mariadb = block_on(MariaDb::start());
    two_servers_count_together(&mysql(&mariadb));
}

#[test]
fn two_servers_on_one_redis_lose_no_count() {
    let server = Redis::start();
    two_servers_count_together(&redis(&server));
}

#[test]
fn the_table_of_the_state_store_can_be_printed() {
    let printed = Call::new(["schema", "state_store"]).succeed();
    assert_eq!(printed, include_str!("../../conf/esm/state_store.sql"));
}
