//! How every store behaves.

use std::cell::Cell;

use futures_util::future::{join, join_all};
use jiff::Timestamp;
use mppd_state::{Change, Mark, Stored};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::site::{Count, Site, block_on, count, counted, later, now};

/// One test for each store.
macro_rules! in_every_store {
    ($($name:ident)+) => {
        mod embedded { $(#[test] fn $name() { super::$name(&super::Site::embedded()); })+ }
        mod mysql { $(#[test] fn $name() { super::$name(&super::Site::mysql()); })+ }
        mod redis { $(#[test] fn $name() { super::$name(&super::Site::redis()); })+ }
        mod redis_cluster { $(#[test] fn $name() { super::$name(&super::Site::cluster()); })+ }
    };
}

in_every_store! {
    a_record_is_kept_until_its_time
    a_record_is_changed_and_removed
    keys_and_records_may_be_any_octets
    lists_are_in_order_and_in_pages
    ten_thousand_counts_of_two_nodes_are_all_there
    of_many_who_ask_at_once_one_is_the_first
    a_change_that_panics_spoils_no_other
}

fn a_record_is_kept_until_its_time(site: &Site) {
    let node = site.node();
    let space = node.space("a");
    let begin = now().as_millisecond();
    let at = move |milliseconds: i64| Timestamp::from_millisecond(begin + milliseconds).unwrap();
    let mark = Mark { since: at(0), reason: "for a test".to_owned() };
    let put = mark.clone();
    block_on(async {
        let change = move |_: Option<Mark>| Change::Put(put.clone(), at(60_000), ());
        space.update(b"key", at(0), change).await.unwrap();
        assert_eq!(space.get(b"key", at(59_999)).await.unwrap(), Some(mark));
        assert_eq!(space.get::<Mark>(b"key", at(60_000)).await.unwrap(), None);
        assert_eq!(space.list(None, 10, at(60_000)).await.unwrap(), []);
        let was_there = |mark: Option<Mark>| Change::Keep::<Mark, bool>(mark.is_some());
        assert!(!space.update(b"key", at(60_000), was_there).await.unwrap());
    });
}

fn a_record_is_changed_and_removed(site: &Site) {
    let node = site.node();
    block_on(async {
        assert_eq!(count(&node, "a", "key").await.unwrap(), 1);
        assert_eq!(count(&node, "a", "key").await.unwrap(), 2);
        assert_eq!(counted(&node, "b", "key").await, 0);
        assert!(node.space("a").remove(b"key").await.unwrap());
        assert!(!node.space("a").remove(b"key").await.unwrap());
        assert_eq!(count(&node, "a", "key").await.unwrap(), 1);
        let change = |count: Option<Count>| Change::Remove::<Count, _>(count);
        let removed = node.space("a").update(b"key", now(), change).await.unwrap();
        assert_eq!(removed, Some(Count(1)));
        assert_eq!(counted(&node, "a", "key").await, 0);
        node.settle().await.unwrap();
    });
}

fn keys_and_records_may_be_any_octets(site: &Site) {
    let node = site.node();
    let space = node.space("a*[b]");
    let all: Vec<u8> = (0..=255).collect();
    let keys = [&b"\x00"[..], b"\xff\xff", b"plain", b"{tag}", b"*", &all, &[b'x'; 1_000]];
    block_on(async {
        for (number, key) in keys.iter().enumerate() {
            let reason = format!("{number} \0 \u{1f600} {}", "x".repeat(number * 10_000));
            let mark = Mark { since: Timestamp::UNIX_EPOCH, reason };
            let put = mark.clone();
            let change = move |_: Option<Mark>| Change::Put(put.clone(), later(), ());
            space.update(key, now(), change).await.unwrap();
            assert_eq!(space.get(key, now()).await.unwrap(), Some(mark));
        }
        assert_eq!(space.list(None, 100, now()).await.unwrap().len(), keys.len());
    });
}

fn lists_are_in_order_and_in_pages(site: &Site) {
    let node = site.node();
    let (mut seen, mut behind): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    block_on(async {
        for number in 0..50 {
            count(&node, "a", &format!("{number:02}")).await.unwrap();
            count(&node, "a b", &format!("{number:02}")).await.unwrap();
            count(&node, "b", &format!("{number:02}")).await.unwrap();
        }
        loop {
            let page: Vec<Stored> =
                node.space("a").list(behind.as_deref(), 7, now()).await.unwrap();
            assert!(page.len() <= 7);
            let Some(last) = page.last() else { break };
            behind = Some(last.key.clone());
            seen.extend(page.into_iter().map(|stored| stored.key));
        }
    });
    let expected: Vec<Vec<u8>> =
        (0..50).map(|number| format!("{number:02}").into_bytes()).collect();
    assert_eq!(seen, expected);
}

fn ten_thousand_counts_of_two_nodes_are_all_there(site: &Site) {
    let nodes = [site.node(), site.node()];
    block_on(async {
        let counts = (0..10_000).map(|number| count(&nodes[number % 2], "a", "key"));
        let mut told: Vec<u64> = join_all(counts).await.into_iter().map(Result::unwrap).collect();
        // Whoever counts is told what nobody else is told.
        told.sort_unstable();
        assert_eq!(told, (1..=10_000).collect::<Vec<u64>>());
        assert_eq!(counted(&nodes[0], "a", "key").await, 10_000);
    });
}

fn of_many_who_ask_at_once_one_is_the_first(site: &Site) {
    let nodes = [site.node(), site.node()];
    block_on(async {
        for round in 0..50 {
            let key = format!("192.0.2.{round} alice@example.com bob@example.org");
            let ask = async |node| {
                let told = join_all((0..4).map(|_| count(node, "greylist", &key))).await;
                told.into_iter().filter(|count| *count.as_ref().unwrap() == 1).count()
            };
            let (one, other) = join(ask(&nodes[0]), ask(&nodes[1])).await;
            assert_eq!(one + other, 1, "round {round}");
        }
    });
}

fn a_change_that_panics_spoils_no_other(site: &Site) {
    let node = site.node();
    let space = node.space("a");
    let faulty = std::panic::AssertUnwindSafe(|| {
        let change = |_: Option<Count>| -> Change<Count, ()> { panic!("as this test wants") };
        block_on(space.update(b"key", now(), change))
    });
    let failed = std::panic::catch_unwind(faulty);
    assert!(failed.is_err() || failed.is_ok_and(|told| told.is_err()));
    assert_eq!(block_on(count(&node, "a", "key")).unwrap(), 1);
}

/// Something that an engine may do.
#[derive(Debug, Clone)]
enum Deed {
    /// Add to the count of a key, if it is below a limit, and keep it for so long.
    Count { key: u8, limit: u64, milliseconds: i64 },
    /// Look.
    Get { key: u8 },
    /// Forget.
    Remove { key: u8 },
    /// List so many behind a key.
    List { behind: Option<u8>, limit: usize },
    /// Let time pass.
    Wait { milliseconds: i64 },
}

fn deed() -> impl Strategy<Value = Deed> {
    let key = || 0..6u8;
    prop_oneof![
        4 => (key(), 1..5u64, 1..50i64)
            .prop_map(|(key, limit, milliseconds)| Deed::Count { key, limit, milliseconds }),
        2 => key().prop_map(|key| Deed::Get { key }),
        1 => key().prop_map(|key| Deed::Remove { key }),
        1 => (prop::option::of(key()), 1..8usize)
            .prop_map(|(behind, limit)| Deed::List { behind, limit }),
        2 => (1..40i64).prop_map(|milliseconds| Deed::Wait { milliseconds }),
    ]
}

/// Does all of it in a space of its own; what is answered.
fn live(site: &Site, space: &str, begin: i64, deeds: &[Deed]) -> Vec<String> {
    let node = site.node();
    let space = node.space(space);
    let mut time = begin;
    let at = |milliseconds: i64| Timestamp::from_millisecond(milliseconds).unwrap();
    let mut answers = Vec::new();
    for deed in deeds {
        let now = at(time);
        let answer = match deed.clone() {
            Deed::Count { key, limit, milliseconds } => {
                let until = at(time + milliseconds);
                let change = move |count: Option<Count>| match count {
                    Some(Count(count)) if count >= limit => Change::Remove(count),
                    Some(Count(count)) if count + 1 == limit => Change::Keep(count),
                    Some(Count(count)) => Change::Put(Count(count + 1), until, count),
                    None => Change::Put(Count(1), until, 0),
                };
                format!("{:?}", block_on(space.update(&[key], now, change)).unwrap())
            }
            Deed::Get { key } => {
                format!("{:?}", block_on(space.get::<Count>(&[key], now)).unwrap())
            }
            // Whether there was one that is forgotten by now is left open.
            Deed::Remove { key } => {
                block_on(space.remove(&[key])).unwrap();
                String::new()
            }
            Deed::List { behind, limit } => {
                let behind = behind.map(|key| [key]);
                let behind = behind.as_ref().map(|key| &key[..]);
                format!("{:?}", block_on(space.list(behind, limit, now)).unwrap())
            }
            Deed::Wait { milliseconds } => {
                time += milliseconds;
                String::new()
            }
        };
        answers.push(answer);
    }
    answers
}

#[test]
fn the_same_history_has_the_same_answers_in_every_store() {
    let sites = [Site::embedded(), Site::mysql(), Site::redis()];
    let begin = now().as_millisecond();
    let mut runner = TestRunner::new(Config { cases: 40, ..Config::default() });
    let histories = prop::collection::vec(deed(), 1..60);
    let number = Cell::new(0);
    let ran = runner.run(&histories, |deeds| {
        number.set(number.get() + 1);
        let space = format!("history {}", number.get());
        // Time goes on from one history to the next, as it does for servers.
        let begin = begin + number.get() * 10_000;
        let [embedded, mysql, redis] =
            [0, 1, 2].map(|site: usize| live(&sites[site], &space, begin, &deeds));
        prop_assert_eq!(&embedded, &mysql);
        prop_assert_eq!(&embedded, &redis);
        Ok(())
    });
    ran.unwrap();
}
