//! Two processes that share a store, and processes that are killed.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mppd_state::StorePlan;

use super::site::{
    Site, block_on, count, counted, mysql_plan, mysql_plan_of, open, redis_plan, redis_plan_of,
};
use crate::harness::mariadb::MariaDb;
use crate::harness::pause;
use crate::harness::redis::Redis;

/// What a process of its own needs to know, in its environment.
const STORE: &str = "NODE_STORE";
const COUNTS: &str = "NODE_COUNTS";
const PAUSE: &str = "NODE_PAUSE";

/// How many a node counts at the same time.
const AT_ONCE: u64 = 50;

/// What runs in a process of its own: counts, and says how far it is.
#[test]
#[ignore = "a process of other tests"]
fn a_node() {
    let store = std::env::var(STORE).unwrap();
    let counts: u64 = std::env::var(COUNTS).unwrap().parse().unwrap();
    let rest = Duration::from_millis(std::env::var(PAUSE).unwrap().parse().unwrap());
    let (plan, directory) = plan_of(&store);
    let store = Arc::new(open(&plan, directory.as_ref()));
    block_on(async {
        let mut done = 0;
        while done < counts {
            let some = AT_ONCE.min(counts - done);
            let told = join_all((0..some).map(|_| count(&store, "a", "key"))).await;
            assert!(told.iter().all(Result::is_ok), "{told:?}");
            let firsts = join_all((0..some).map(|number| {
                let key = format!("triplet {}", done + number);
                let store = store.clone();
                async move { count(&store, "greylist", &key).await.unwrap() }
            }));
            let firsts = firsts.await.into_iter().filter(|count| *count == 1).count();
            done += some;
            println!("\nnode {done} {firsts}");
            tokio::time::sleep(rest).await;
        }
    });
}

/// A store, as one process tells another.
fn name_of(site: &Site) -> String {
    match &site.plan {
        StorePlan::MySql(plan) => format!("mysql {}", plan.connection.port),
        StorePlan::Redis(plan) => format!("redis {}", plan.nodes[0].place),
        StorePlan::Embedded { .. } => panic!("it has no other process"),
    }
}

fn plan_of(name: &str) -> (StorePlan, String) {
    let (kind, place) = name.split_once(' ').unwrap();
    let plan = match kind {
        "embedded" => StorePlan::Embedded { max_entries: 1_000_000 },
        "mysql" => StorePlan::MySql(mysql_plan_of(MariaDb::connection_to(place.parse().unwrap()))),
        "redis" => StorePlan::Redis(redis_plan_of(&[format!("redis://{place}")])),
        other => panic!("{other}"),
    };
    (plan, place.to_owned())
}

/// A process that counts.
struct Node {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Node {
    fn start(store: &str, counts: u64, pause: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "state::processes::a_node", "--ignored", "--nocapture"])
            .env(STORE, store)
            .env(COUNTS, counts.to_string())
            .env(PAUSE, pause.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Node { process, output }
    }

    /// How far it is, and how many of the last were the first of their key; `None` when it has
    /// ended.
    fn next(&mut self) -> Option<(u64, u64)> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(numbers) = line.strip_prefix("node ") {
                let (done, firsts) = numbers.trim().split_once(' ').unwrap();
                return Some((done.parse().unwrap(), firsts.parse().unwrap()));
            }
        }
    }

    /// Waits for its end; how many were the first of their key.
    fn finish(mut self) -> u64 {
        let mut firsts = 0;
        while let Some((_, first)) = self.next() {
            firsts += first;
        }
        assert!(self.process.wait().unwrap().success());
        firsts
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn two_processes_share(site: &Site) {
    let name = name_of(site);
    let nodes = [Node::start(&name, 5_000, 0), Node::start(&name, 5_000, 0)];
    let firsts: u64 = nodes.map(Node::finish).into_iter().sum();
    assert_eq!(firsts, 5_000, "each triplet is new once");
    assert_eq!(block_on(counted(&site.node(), "a", "key")), 10_000);
}

#[test]
fn two_processes_on_one_mariadb_lose_no_count_and_agree_on_what_is_new() {
    two_processes_share(&Site::mysql());
}

#[test]
fn two_processes_on_one_redis_lose_no_count_and_agree_on_what_is_new() {
    two_processes_share(&Site::redis());
}

fn a_killed_process_loses_and_doubles_nothing(site: &Site) {
    let name = name_of(site);
    let mut nodes = [Node::start(&name, 1_000_000, 0), Node::start(&name, 1_000_000, 0)];
    let mut told = 0;
    for node in &mut nodes {
        let mut done = 0;
        while done < 500 {
            (done, _) = node.next().expect("the process counts");
        }
        node.kill();
        // What it had said before it was killed.
        while let Some((more, _)) = node.next() {
            done = more;
        }
        told += done;
    }
    let counted = block_on(counted(&site.node(), "a", "key"));
    let most = told + 2 * AT_ONCE;
    assert!((told..=most).contains(&counted), "{counted} of {told} to {most}");
}

#[test]
fn killed_processes_lose_and_double_nothing_in_mariadb() {
    a_killed_process_loses_and_doubles_nothing(&Site::mysql());
}

#[test]
fn killed_processes_lose_and_double_nothing_in_redis() {
    a_killed_process_loses_and_doubles_nothing(&Site::redis());
}

#[test]
fn a_killed_process_loses_the_last_second_of_the_embedded_store_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("embedded {}", directory.path().display());
    // More than a busy site has, and no more than a disk can take.
    let mut node = Node::start(&name, u64::MAX, 20);
    let begin = Instant::now();
    // How much was counted when. A second is what is promised; a machine that is busy with other
    // tests is given another one.
    let mut told: Vec<(Instant, u64)> = Vec::new();
    while begin.elapsed() < Duration::from_secs(5) {
        let (done, _) = node.next().expect("the process counts");
        told.push((Instant::now(), done));
    }
    let killed = Instant::now();
    node.kill();
    let sure = told.iter().rfind(|(when, _)| killed.duration_since(*when).as_secs() >= 2);
    let (_, sure) = sure.expect("something was said before the last seconds");
    let plan = StorePlan::Embedded { max_entries: 1_000_000 };
    let store = Arc::new(open(&plan, directory.path()));
    let counted = block_on(counted(&store, "a", "key"));
    assert!(counted >= *sure && *sure > 0, "{counted} of {sure}");
}

#[test]
fn servers_that_are_killed_lose_and_double_no_count_that_was_told() {
    let mut mysql = Site::mysql();
    let mut redis = Site::redis();
    for site in [&mut mysql, &mut redis] {
        // It is known to be away before anybody waits for long.
        site.plan = with_timeout(site, Duration::from_secs(2));
        let node = site.node();
        let (mut told, mut unknown) = (0, 0);
        for round in 0..400 {
            if round == 100 {
                kill(site);
            }
            if round == 200 {
                restart(site);
            }
            if round >= 200 {
                pause(Duration::from_millis(20));
            }
            let counts = block_on(join_all((0..10).map(|_| count(&node, "a", "key"))));
            let failed = counts.iter().filter(|count| count.is_err()).count() as u64;
            told += 10 - failed;
            unknown += failed;
        }
        assert!(told >= 1_100, "{told}: it came back");
        assert!(unknown >= 10, "{unknown}: it was away");
        // Of those that failed, the ones that were under way when the server was killed may have
        // happened.
        let counted = block_on(counted(&node, "a", "key"));
        assert!((told..=told + 10).contains(&counted), "{counted}, {told} were told");
    }
}

fn with_timeout(site: &Site, timeout: Duration) -> StorePlan {
    match (&site.mariadb, site.redis.as_slice()) {
        (Some(mariadb), _) => {
            StorePlan::MySql(mppd_state::MySqlPlan { timeout, ..mysql_plan(mariadb) })
        }
        (None, servers) => {
            StorePlan::Redis(mppd_state::RedisPlan { timeout, ..redis_plan(servers) })
        }
    }
}

fn kill(site: &mut Site) {
    site.mariadb.iter_mut().for_each(MariaDb::kill);
    site.redis.iter_mut().for_each(Redis::kill);
}

fn restart(site: &mut Site) {
    if let Some(mariadb) = &mut site.mariadb {
        block_on(mariadb.restart());
    }
    site.redis.iter_mut().for_each(Redis::restart);
}
