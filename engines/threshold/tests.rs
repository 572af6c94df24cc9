//! What the engine answers, request by request, at times of the test's own.

mod blacklisting;
mod messages;
mod options;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mppd_engine::testkit::{Configured, Ready, block_on, exchange_at};
use mppd_engine::{Exchange, kind};

use super::*;

/// Midday of a Sunday, 2026-11-22, in UTC.
const NOON: u64 = 1_795_348_800;

/// An engine, its store, and a clock that only the test moves.
struct Bench {
    store: Arc<StateStore>,
    engine: Ready,
    now: u64,
    instances: u64,
}

impl Bench {
    fn new(xml: &str) -> Self {
        Bench::over(Arc::new(StateStore::in_memory()), xml)
    }

    fn over(store: Arc<StateStore>, xml: &str) -> Self {
        let configured = Configured::xml(xml).with_service(store.clone());
        let engine = match configured.build(kind::<Threshold>()) {
            Ok(engine) => engine,
            Err(findings) => panic!("{:?}", configured.show(findings)),
        };
        Bench { store, engine, now: NOON * 1_000, instances: 0 }
    }

    /// The same store and time with another configuration.
    fn again(self, xml: &str) -> Self {
        let Bench { store, now, instances, .. } = self;
        Bench { now, instances, ..Bench::over(store, xml) }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += seconds * 1_000;
    }

    fn exchange(&self, attributes: &[(&str, &str)]) -> Arc<Exchange> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(self.now);
        exchange_at(now, attributes.iter().copied())
    }

    fn ask(&self, attributes: &[(&str, &str)]) -> Outcome {
        self.engine.run(&self.exchange(attributes)).unwrap()
    }

    /// The status of a request of this user at RCPT, in a mail transaction of its own.
    fn rcpt(&mut self, user: &str) -> &'static str {
        self.rcpt_outcome(user).status
    }

    fn rcpt_outcome(&mut self, user: &str) -> Outcome {
        let instance = self.fresh_instance();
        self.ask(&[
            ("protocol_state", "RCPT"),
            ("instance", &instance),
            ("sasl_username", user),
            ("recipient", "bob@example.org"),
        ])
    }

    /// The status of a message with so many recipients at DATA.
    fn data(&mut self, recipients: &str) -> &'static str {
        let instance = self.fresh_instance();
        self.message("DATA", &instance, recipients, "0")
    }

    fn message(&self, state: &str, instance: &str, recipients: &str, size: &str) -> &'static str {
        let attributes = [
            ("protocol_state", state),
            ("instance", instance),
            ("sasl_username", "alice"),
            ("recipient_count", recipients),
            ("size", size),
        ];
        self.ask(&attributes).status
    }

    fn fresh_instance(&mut self) -> String {
        self.instances += 1;
        format!("1a2b.{:x}.0", self.instances)
    }

    fn listed(&self, key: &str) -> Listed {
        let now = Timestamp::from_millisecond(i64::try_from(self.now).unwrap()).unwrap();
        let page = block_on(self.store.space("threshold").list(None, 100, now)).unwrap();
        let stored = page.iter().find(|stored| stored.key == key.as_bytes()).unwrap();
        listed(&stored.octets, now).unwrap()
    }
}

fn value<'a>(outcome: &'a Outcome, name: &str) -> &'a str {
    outcome.value(name).map_or("(none)", |value| std::str::from_utf8(value).unwrap())
}

#[test]
fn requests_pass_up_to_the_limit_and_again_when_the_first_are_past() {
    let mut bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="2" per="1h"/></threshold>"#);
    assert_eq!(bench.rcpt("alice"), "under");
    bench.wait(1_800);
    assert_eq!(bench.rcpt("alice"), "under");
    assert_eq!(bench.rcpt("alice"), "over");
    bench.wait(1_799);
    assert_eq!(bench.rcpt("alice"), "over");
    bench.wait(1);
    assert_eq!(bench.rcpt("alice"), "under");
    assert_eq!(bench.rcpt("alice"), "over");
}

#[test]
fn keys_do_not_see_each_other() {
    let mut bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="1" per="1h"/></threshold>"#);
    assert_eq!(bench.rcpt("alice"), "under");
    assert_eq!(bench.rcpt("bob"), "under");
    assert_eq!(bench.rcpt("alice"), "over");
}

#[test]
fn engines_do_not_see_each_other() {
    let xml = |id| {
        format!(
            r#"<threshold id="{id}" key="$sasl_username"><limit max="1" per="1h"/></threshold>"#
        )
    };
    let mut bench = Bench::new(&xml("one"));
    assert_eq!(bench.rcpt("alice"), "under");
    assert_eq!(bench.again(&xml("two")).rcpt("alice"), "under");
}

#[test]
fn the_values_tell_of_the_limit_with_the_least_left() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username">
             <limit id="hourly" max="4" per="1h"/> <limit id="daily" max="5" per="day"/>
           </threshold>"#,
    );
    let outcome = bench.rcpt_outcome("alice");
    let expected = Outcome::new("under")
        .with_text("1 of 4 per 1h")
        .with_value("key", "alice")
        .with_value("limit", "hourly")
        .with_value("count", "1")
        .with_value("max", "4")
        .with_value("per", "1h")
        .with_value("remaining", "3");
    assert_eq!(outcome, expected);
}

#[test]
fn the_values_tell_of_the_limit_that_refuses_for_longest() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" zone="UTC">
             <limit id="hourly" max="2" per="1h"/> <limit id="daily" max="2" per="day"/>
           </threshold>"#,
    );
    assert_eq!([bench.rcpt("alice"), bench.rcpt("alice")], ["under", "under"]);
    bench.wait(60);
    let outcome = bench.rcpt_outcome("alice");
    let expected = Outcome::new("over")
        .with_text("2 of 2 per day")
        .with_value("key", "alice")
        .with_value("limit", "daily")
        .with_value("count", "2")
        .with_value("max", "2")
        .with_value("per", "day")
        .with_value("remaining", "0")
        .with_value("seconds", (12 * 3_600 - 60).to_string());
    assert_eq!(outcome, expected);
}

#[test]
fn what_one_limit_refuses_counts_for_none() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username">
             <limit max="1" per="1m"/> <limit max="2" per="1h"/>
           </threshold>"#,
    );
    assert_eq!(bench.rcpt("alice"), "under");
    for _ in 0..5 {
        assert_eq!(bench.rcpt("alice"), "over");
    }
    bench.wait(60);
    assert_eq!(bench.rcpt("alice"), "under");
    bench.wait(60);
    assert_eq!(bench.rcpt("alice"), "over");
}

#[test]
fn where_refusals_count_the_key_must_be_quiet() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count_refused="true">
             <limit max="1" per="1m"/>
           </threshold>"#,
    );
    assert_eq!(bench.rcpt("alice"), "under");
    for _ in 0..5 {
        bench.wait(40);
        assert_eq!(bench.rcpt("alice"), "over");
    }
    bench.wait(60);
    assert_eq!(bench.rcpt("alice"), "under");
}

#[test]
fn a_bucket_takes_a_burst_and_drains_steadily() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username"><limit max="10" per="1m" burst="3"/></threshold>"#,
    );
    for _ in 0..3 {
        assert_eq!(bench.rcpt("alice"), "under");
    }
    let outcome = bench.rcpt_outcome("alice");
    assert_eq!((outcome.status, &*outcome.text), ("over", "3 of 3 at once, 10 per 1m"));
    assert_eq!(value(&outcome, "seconds"), "6");
    bench.wait(6);
    assert_eq!([bench.rcpt("alice"), bench.rcpt("alice")], ["under", "over"]);
}

#[test]
fn a_day_begins_in_the_time_zone() {
    let day = |zone: &str| {
        let limit = r#"<limit max="1" per="day"/>"#;
        format!(r#"<threshold key="$sasl_username" zone="{zone}">{limit}</threshold>"#)
    };
    // It is 21:00 in Tokyo, and 07:00 in New York.
    for (zone, hours) in [("UTC", 12), ("Asia/Tokyo", 3), ("America/New_York", 17)] {
        let mut bench = Bench::new(&day(zone));
        assert_eq!(bench.rcpt("alice"), "under");
        bench.wait(hours * 3_600 - 1);
        assert_eq!(bench.rcpt("alice"), "over", "{zone}");
        bench.wait(1);
        assert_eq!(bench.rcpt("alice"), "under", "{zone}");
    }
}

#[test]
fn a_week_begins_on_monday_and_a_month_on_its_first_day() {
    for (per, hours) in [("week", 12), ("month", 12 + 8 * 24)] {
        let limit = format!(r#"<limit max="1" per="{per}"/>"#);
        let mut bench = Bench::new(&format!(
            r#"<threshold key="$sasl_username" zone="UTC">{limit}</threshold>"#
        ));
        assert_eq!(bench.rcpt("alice"), "under");
        bench.wait(hours * 3_600 - 1);
        assert_eq!(bench.rcpt("alice"), "over", "{per}");
        bench.wait(1);
        assert_eq!(bench.rcpt("alice"), "under", "{per}");
    }
}

#[test]
fn a_day_on_which_the_clocks_change_has_its_own_length() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" zone="Europe/Berlin">
             <limit max="1" per="day"/>
           </threshold>"#,
    );
    // 2026-10-25 has 25 hours there.
    bench.now = 1_792_879_200_000;
    assert_eq!(bench.rcpt("alice"), "under");
    bench.wait(25 * 3_600 - 1);
    assert_eq!(bench.rcpt("alice"), "over");
    bench.wait(1);
    assert_eq!(bench.rcpt("alice"), "under");
}

#[test]
fn nothing_is_counted_for_an_empty_key() {
    let mut bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="1" per="1h"/></threshold>"#);
    assert_eq!([bench.rcpt(""), bench.rcpt("")], ["none", "none"]);
}

#[test]
fn the_first_that_comes_near_a_limit_says_so() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" near="50"><limit max="4" per="1h"/></threshold>"#,
    );
    let statuses = [(); 5].map(|()| bench.rcpt("alice"));
    assert_eq!(statuses, ["under", "near", "under", "under", "over"]);
}

#[test]
fn another_max_keeps_what_was_counted() {
    let xml = |max: u32| {
        let limits = format!(r#"<limit max="{max}" per="1h"/><limit max="50" per="day"/>"#);
        format!(r#"<threshold key="$sasl_username">{limits}</threshold>"#)
    };
    let mut bench = Bench::new(&xml(2));
    assert_eq!([(); 3].map(|()| bench.rcpt("alice")), ["under", "under", "over"]);
    let mut bench = bench.again(&xml(3));
    assert_eq!([(); 2].map(|()| bench.rcpt("alice")), ["under", "over"]);
    assert_eq!(bench.listed("alice").limits[1].count, 3);
    assert_eq!(bench.again(&xml(1)).rcpt("alice"), "over");
}

#[test]
fn a_limit_that_is_new_begins_at_none() {
    let mut bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="1" per="1h"/></threshold>"#);
    assert_eq!(bench.rcpt("alice"), "under");
    let mut bench =
        bench.again(r#"<threshold key="$sasl_username"><limit max="1" per="30m"/></threshold>"#);
    assert_eq!(bench.rcpt("alice"), "under");
}

#[test]
fn long_keys_are_told_apart() {
    let mut bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="1" per="1h"/></threshold>"#);
    let long = "x".repeat(2_000);
    for user in [long.clone(), format!("{long}1"), format!("{long}2")] {
        assert_eq!(bench.rcpt(&user), "under");
        assert_eq!(bench.rcpt(&user), "over");
    }
}

#[test]
fn what_is_kept_can_be_listed() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username">
             <limit max="4" per="1h"/> <limit max="10" per="1m" burst="2"/>
           </threshold>"#,
    );
    assert_eq!(bench.rcpt("alice"), "under");
    let limit = |per: &str, count, max, burst, remaining| Counted {
        per: per.to_owned(),
        count,
        max: Some(max),
        burst,
        remaining: Some(remaining),
    };
    let limits = vec![limit("1h", 1, 4, None, 3), limit("1m", 1, 10, Some(2), 1)];
    assert_eq!(bench.listed("alice"), Listed { blacklisted_until: None, limits });
    bench.wait(6);
    assert_eq!(bench.listed("alice").limits[1].count, 0);
}

#[test]
fn a_store_that_can_not_be_reached_is_a_failure() {
    let store = Arc::new(StateStore::unopened());
    let bench = Bench::over(store, r#"<threshold key="all"><limit max="1" per="1h"/></threshold>"#);
    let exchange = bench.exchange(&[("protocol_state", "RCPT")]);
    let failure = bench.engine.run(&exchange).unwrap_err().whole();
    assert!(failure.starts_with("can't count: the state store "), "{failure}");
}

#[test]
fn no_octets_are_a_record_by_mistake() {
    assert_eq!(listed(b"", Timestamp::UNIX_EPOCH), None);
    assert_eq!(listed(b"T\xff", Timestamp::UNIX_EPOCH), None);
}

#[test]
fn ten_thousand_at_once_are_counted_exactly() {
    let mut bench = Bench::new(r#"<threshold key="all"><limit max="5000" per="1h"/></threshold>"#);
    let xml = r#"<threshold key="all"><limit max="5000" per="1h"/></threshold>"#;
    let passed: usize = std::thread::scope(|scope| {
        let ask = |thread: u64| {
            let store = bench.store.clone();
            scope.spawn(move || {
                let mut bench = Bench::over(store, xml);
                bench.instances = thread << 32;
                (0..2_500).filter(|_| bench.rcpt("") == "under").count()
            })
        };
        let threads: Vec<_> = (0..4).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 5_000);
    assert_eq!(bench.rcpt(""), "over");
}
