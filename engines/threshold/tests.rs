//! What the engine answers, request by request, at times of the test's own.

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
    let value = outcome.values.iter().find(|value| value.name == name);
    value.map_or("(none)", |value| std::str::from_utf8(&value.value).unwrap())
}

fn faults(xml: &str) -> Vec<(String, String)> {
    let configured = Configured::xml(xml).with_service(Arc::new(StateStore::in_memory()));
    let faults = configured.faults(kind::<Threshold>());
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

fn warnings(xml: &str) -> Vec<String> {
    let configured = Configured::xml(xml).with_service(Arc::new(StateStore::in_memory()));
    let engine = configured.build(kind::<Threshold>()).unwrap();
    engine.warnings().iter().map(|warning| warning.message.clone()).collect()
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
fn recipients_are_those_that_postfix_accepted() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="recipients"><limit max="10" per="1h"/></threshold>"#,
    );
    assert_eq!(bench.rcpt("alice"), "none");
    assert_eq!(bench.data("6"), "under");
    assert_eq!(bench.data("5"), "over");
    assert_eq!(bench.data("4"), "under");
    assert_eq!(bench.data("1"), "over");
}

#[test]
fn octets_are_those_of_the_whole_message() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="octets"><limit max="1KiB" per="1h"/></threshold>"#,
    );
    assert_eq!(bench.data("1"), "none");
    assert_eq!(bench.message("END-OF-MESSAGE", "1.2.3", "1", "1000"), "under");
    assert_eq!(bench.message("END-OF-MESSAGE", "1.2.4", "1", "25"), "over");
    assert_eq!(bench.message("END-OF-MESSAGE", "1.2.5", "1", "24"), "under");
}

#[test]
fn an_amount_may_be_any_text_that_is_a_number() {
    let mut bench = Bench::new(
        r#"<threshold key="all" amount="$request.size"><limit max="10" per="1h"/></threshold>"#,
    );
    let mut ask = |size: &str| {
        let instance = bench.fresh_instance();
        let exchange =
            bench.exchange(&[("protocol_state", "RCPT"), ("instance", &instance), ("size", size)]);
        bench.engine.run(&exchange).map(|outcome| outcome.status)
    };
    assert_eq!(ask("7").unwrap(), "under");
    assert_eq!(ask("4").unwrap(), "over");
    assert_eq!(ask("0").unwrap(), "none");
    assert_eq!(ask("").unwrap(), "none");
    let failure = ask("-1").unwrap_err().whole();
    assert_eq!(failure, "the amount is \"-1\", which is no whole number");
}

#[test]
fn a_message_counts_once_however_often_it_is_asked_about() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="recipients"><limit max="10" per="1h"/></threshold>"#,
    );
    for _ in 0..3 {
        assert_eq!(bench.message("DATA", "1.2.3", "6", "0"), "under");
    }
    assert_eq!(bench.listed("alice").limits[0].count, 6);
    assert_eq!(bench.data("4"), "under");
    assert_eq!(bench.message("DATA", "1.2.3", "6", "0"), "under");
}

#[test]
fn a_message_that_was_refused_stays_so() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="recipients"><limit max="6" per="1m"/></threshold>"#,
    );
    assert_eq!(bench.data("6"), "under");
    assert_eq!(bench.message("DATA", "1.2.3", "1", "0"), "over");
    bench.wait(61);
    assert_eq!(bench.message("DATA", "1.2.3", "1", "0"), "over");
    assert_eq!(bench.data("1"), "under");
}

#[test]
fn each_recipient_of_a_message_is_a_request_of_its_own() {
    let bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="2" per="1h"/></threshold>"#);
    let rcpt = |recipient: &str| {
        let attributes = [
            ("protocol_state", "RCPT"),
            ("instance", "1.2.3"),
            ("sasl_username", "alice"),
            ("recipient", recipient),
        ];
        bench.ask(&attributes).status
    };
    let asked = ["a@example.org", "a@example.org", "b@example.org", "c@example.org"].map(rcpt);
    assert_eq!(asked, ["under", "under", "under", "over"]);
}

#[test]
fn recipients_of_a_message_are_one_message() {
    let bench = Bench::new(
        r#"<threshold key="$sasl_username" count="messages" stage="policy-rcpt">
             <limit max="1" per="1h"/>
           </threshold>"#,
    );
    let rcpt = |(instance, recipient): (&str, &str)| {
        let attributes = [
            ("protocol_state", "RCPT"),
            ("instance", instance),
            ("sasl_username", "alice"),
            ("recipient", recipient),
        ];
        bench.ask(&attributes).status
    };
    let asked =
        [("1.1.1", "a@example.org"), ("1.1.1", "b@example.org"), ("1.1.2", "a@example.org")];
    assert_eq!(asked.map(rcpt), ["under", "under", "over"]);
}

#[test]
fn requests_outside_of_a_message_all_count() {
    let bench = Bench::new(
        r#"<threshold key="$ip" stage="policy-connect"><limit max="2" per="1m"/></threshold>"#,
    );
    let connect =
        || bench.ask(&[("protocol_state", "CONNECT"), ("client_address", "192.0.2.1")]).status;
    assert_eq!([connect(), connect(), connect()], ["under", "under", "over"]);
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

const BLACKLISTING: &str = r#"<threshold key="$sasl_username">
  <limit max="1" per="1m"/> <blacklist for="1h" after="3" within="10m"/>
</threshold>"#;

#[test]
fn a_key_that_is_over_too_often_is_blacklisted_for_a_time() {
    let mut bench = Bench::new(BLACKLISTING);
    let statuses = [(); 4].map(|()| bench.rcpt("alice"));
    assert_eq!(statuses, ["under", "over", "over", "blacklisted"]);
    bench.wait(1_800);
    let outcome = bench.rcpt_outcome("alice");
    let expected = Outcome::new("blacklisted")
        .with_text("blacklisted for 1800 more seconds")
        .with_value("key", "alice")
        .with_value("seconds", "1800");
    assert_eq!(outcome, expected);
    assert!(bench.listed("alice").blacklisted_until.is_some());
    bench.wait(1_800);
    assert_eq!(bench.rcpt("alice"), "under");
}

#[test]
fn refusals_that_are_long_ago_do_not_blacklist() {
    let mut bench = Bench::new(BLACKLISTING);
    assert_eq!([(); 3].map(|()| bench.rcpt("alice")), ["under", "over", "over"]);
    bench.wait(600);
    assert_eq!([(); 3].map(|()| bench.rcpt("alice")), ["under", "over", "over"]);
}

#[test]
fn the_same_refusal_asked_for_again_does_not_blacklist() {
    let mut bench = Bench::new(BLACKLISTING);
    assert_eq!(bench.rcpt("alice"), "under");
    let again = |bench: &Bench| {
        let attributes = [
            ("protocol_state", "RCPT"),
            ("instance", "7.7.7"),
            ("sasl_username", "alice"),
            ("recipient", "bob@example.org"),
        ];
        bench.ask(&attributes).status
    };
    for _ in 0..9 {
        assert_eq!(again(&bench), "over");
    }
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

#[test]
fn what_can_not_be_counted_at_a_stage_is_refused() {
    let with = |options: &str| {
        faults(&format!(r#"<threshold key="k" {options}><limit max="1" per="1h"/></threshold>"#))
    };
    let fault = |message: &str, place: &str| vec![(message.to_owned(), place.to_owned())];
    assert_eq!(
        with(r#"count="recipients" stage="policy-rcpt""#),
        fault("recipients can't be counted at policy-rcpt", "policy-rcpt")
    );
    assert_eq!(
        with(r#"count="octets" stage="policy-data""#),
        fault("octets can't be counted at policy-data", "policy-data")
    );
    assert_eq!(
        with(r#"count="messages" stage="policy-connect""#),
        fault("messages can't be counted at policy-connect", "policy-connect")
    );
    assert_eq!(
        with(r#"count="requests" amount="1""#),
        fault("an amount stands in place of a count", "1")
    );
    assert_eq!(with(r#"near="101""#), fault("from 1 to 100 percent make sense here", "101"));
}

#[test]
fn limits_that_can_not_be_are_refused() {
    let with = |limits: &str| faults(&format!(r#"<threshold key="k">{limits}</threshold>"#));
    let fault = |message: &str, place: &str| vec![(message.to_owned(), place.to_owned())];
    assert_eq!(with("")[0].0, "\"limit\" is missing in <threshold>");
    assert_eq!(
        with(r#"<limit max="1" per="day" burst="5"/>"#),
        fault("a period of the calendar has no burst", "5")
    );
    assert_eq!(
        with(r#"<limit max="1" per="1h"/><limit max="2" per="60m"/>"#),
        fault("there is a limit per 1h already", "60m")
    );
    let no_period = "\"hour\" is not a time, such as 1m or 1h, or `day`, `week` or `month`";
    assert_eq!(with(r#"<limit max="1" per="hour"/>"#), fault(no_period, "hour"));
    assert_eq!(with(r#"<limit max="1" per="0s"/>"#), fault("0 makes no sense here", "0s"));
    assert_eq!(with(r#"<limit max="0" per="1h"/>"#), fault("0 makes no sense here", "0"));
    let no_amount = "\"ten\" is not a number, such as 100, or a size, such as 50MiB";
    assert_eq!(with(r#"<limit max="ten" per="1h"/>"#), fault(no_amount, "ten"));
}

#[test]
fn a_time_zone_that_is_not_known_is_refused_and_the_nearest_named() {
    let xml = r#"<threshold key="k" zone="Europe/Berln"><limit max="1" per="day"/></threshold>"#;
    let configured = Configured::xml(xml).with_service(Arc::new(StateStore::in_memory()));
    let findings = configured.build(kind::<Threshold>()).unwrap_err();
    assert_eq!(findings[0].message, "unknown time zone \"Europe/Berln\"");
    assert_eq!(findings[0].help.as_deref(), Some("did you mean \"Europe/Berlin\"?"));
}

#[test]
fn an_empty_key_and_endless_refusals_are_refused() {
    let xml = r#"<threshold key=" "><limit max="1" per="1h"/>
                   <blacklist for="1h" after="1001"/></threshold>"#;
    let messages: Vec<String> = faults(xml).into_iter().map(|(message, _)| message).collect();
    assert_eq!(messages, ["1000 refusals at most can be waited for", "the key is empty"]);
}

#[test]
fn a_limit_that_is_never_reached_is_warned_of() {
    let with = |limits: &str| warnings(&format!(r#"<threshold key="k">{limits}</threshold>"#));
    let idle = "this limit is never reached, because another one comes first";
    assert_eq!(with(r#"<limit max="100" per="1h"/><limit max="100" per="1m"/>"#), [idle]);
    assert_eq!(with(r#"<limit max="100" per="1h"/><limit max="9" per="1m" burst="200"/>"#), [idle]);
    assert_eq!(with(r#"<limit max="100" per="1h"/><limit max="99" per="1m"/>"#), [""; 0]);
}

#[test]
fn a_zone_without_a_calendar_is_warned_of() {
    let xml = r#"<threshold key="k" zone="UTC"><limit max="1" per="1h"/></threshold>"#;
    let message = "no limit is for a period of the calendar, so that the zone is of no use";
    assert_eq!(warnings(xml), [message]);
}
