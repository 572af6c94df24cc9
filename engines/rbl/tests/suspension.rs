//! Lists that fail, or have everything, and are left alone for a while.

use super::*;

/// A list that has whatever it is asked about.
struct Everything;

impl Lookup for Everything {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        let reply = mppd_dns::Record::A("127.0.0.2".parse().unwrap());
        let is_address = question.kind == RecordKind::A;
        Some(if is_address { Answer::of(vec![reply]) } else { Answer::NoRecords })
    }

    fn look_up(&self, question: Question, _: Instant) -> Pending {
        Box::pin(std::future::ready(self.at_hand(&question).unwrap()))
    }
}

#[test]
fn a_list_that_has_everything_is_suspended_at_once() {
    for xml in [ONE, r#"<rbl><list zone="bl.example" of="helo_name"/></rbl>"#] {
        let dns = Arc::new(Dns::new(Everything));
        let lines = Lines::default();
        let logger = Logger::root(lines.clone().fuse(), slog::o!());
        let configured = Configured::xml(xml).with_service(dns).with_logger(logger);
        let engine = configured.build(kind::<Rbl>()).unwrap();
        for _ in 0..3 {
            for address in ["192.0.2.1", "2001:db8::1"] {
                let attributes = [("client_address", address), ("helo_name", "a.example")];
                let outcome = engine.run(&exchange(attributes)).unwrap();
                assert_eq!(outcome.status, "none");
                assert_eq!(
                    outcome.text,
                    "not listed; bl.example is suspended: it lists what nobody has"
                );
            }
        }
        assert_eq!(
            *lines.0.lock().unwrap(),
            ["the list bl.example is not asked for 5m: it lists what nobody has"]
        );
    }
}

#[test]
fn whether_a_list_has_everything_may_be_left_open() {
    let configured = Configured::xml(r#"<rbl><list zone="bl.example" test="false"/></rbl>"#);
    let engine = configured.with_service(Arc::new(Dns::new(Everything))).build(kind::<Rbl>());
    assert_eq!(engine.unwrap().run(&exchange(CLIENT.iter().copied())).unwrap().status, "listed");
}

#[test]
fn a_test_that_fails_says_nothing_against_the_list() {
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let zones = zones.fault("1.0.0.127.bl.example", Fault::ServerFailure);
    assert_eq!(bench(ONE, zones).status("192.0.2.1"), "listed");
}

fn at(start: SystemTime, seconds: u64) -> Arc<Exchange> {
    exchange_at(start + Duration::from_secs(seconds), CLIENT.iter().copied())
}

#[test]
fn a_list_that_fails_again_and_again_is_suspended_and_tried_after_its_pause() {
    let xml = r#"<rbl suspend_after="3" suspend_for="10m"><list zone="bl.example"/></rbl>"#;
    let zones = Zones::default().fault("1.2.0.192.bl.example", Fault::Silence);
    let zones = zones.a("2.2.0.192.bl.example", "127.0.0.2");
    let bench = bench(xml, zones);
    let start = SystemTime::now();
    let run = |seconds| bench.engine.run(&at(start, seconds)).unwrap();
    for second in 0..3 {
        assert_eq!(run(second).status, "unknown");
    }
    let outcome = run(4);
    assert_eq!(outcome.status, "none");
    let why = "no answer in time, 3 times in a row";
    assert_eq!(outcome.text, format!("not listed; bl.example is suspended: {why}"));
    assert_eq!(value(&outcome, "failed"), "bl.example");
    assert_eq!(run(601).status, "none");
    // One tries it, and fails; the next pause begins.
    assert_eq!(run(602).status, "unknown");
    assert_eq!(run(700).status, "none");
    // One tries it, and it answers.
    let other = [("client_address", "192.0.2.2")];
    let later = exchange_at(start + Duration::from_secs(1_300), other);
    assert_eq!(bench.engine.run(&later).unwrap().status, "listed");
    assert_eq!(run(1_301).status, "unknown");
    assert_eq!(
        bench.log(),
        [
            format!("the list bl.example is not asked for 10m: {why}"),
            "the list bl.example answers, and is asked again".to_owned(),
        ]
    );
}

#[test]
fn answers_of_the_cache_do_not_tell_whether_a_list_answers() {
    let xml = r#"<rbl suspend_after="2" suspend_for="10m"><list zone="bl.example"/></rbl>"#;
    let zones = Zones::default().fault("1.2.0.192.bl.example", Fault::Silence);
    let bench = bench(xml, zones.a("2.2.0.192.bl.example", "127.0.0.2"));
    let start = SystemTime::now();
    let run = |address, seconds| {
        let now = start + Duration::from_secs(seconds);
        bench.engine.run(&exchange_at(now, [("client_address", address)])).unwrap().status
    };
    assert_eq!(run("192.0.2.2", 0), "listed");
    assert_eq!(run("192.0.2.1", 1), "unknown");
    // Known before the list went away.
    assert_eq!(run("192.0.2.2", 2), "listed");
    assert_eq!(run("192.0.2.1", 3), "unknown");
    assert_eq!(run("192.0.2.1", 4), "none");
    // After the pause it brings nothing back, and takes nobody's turn to try.
    assert_eq!(run("192.0.2.2", 700), "listed");
    assert_eq!(run("192.0.2.1", 701), "unknown");
    assert_eq!(run("192.0.2.1", 702), "none");
    assert_eq!(bench.log().len(), 1);
}

#[test]
fn codes_of_errors_suspend_a_list_as_other_failures_do() {
    let name = "1.2.0.192.k3y.zen.example";
    let bench = bench(SECRET, Zones::default().a(name, "127.255.255.254"));
    assert_eq!(bench.run(CLIENT).status, "unknown");
    assert_eq!(bench.run(CLIENT).status, "none");
    assert_eq!(
        bench.log(),
        ["the list zen.example is not asked for 5m: the answer 127.255.255.254 is no listing but \
          an error"]
    );
}
