//! Counters that several workers count with.

use mppd_engine::testkit::exchange;
use mppd_engine::{Decision, Exception, Prototype, Running};

use super::*;
use crate::supervisor::blueprint::{Chains, GroupPlan};
use crate::supervisor::effect::Effect;

struct Never;

impl Prototype for Never {
    fn copy(&self) -> std::rc::Rc<dyn Running> {
        unreachable!("nothing is run here")
    }
}

fn plan(id: &str, kind: &'static str) -> EnginePlan {
    EnginePlan {
        effects: HashMap::from([("b", Effect::Continue), ("a", Effect::Permit)]),
        ..EnginePlan::new(id.into(), kind, Arc::new(Never))
    }
}

fn blueprint(engines: &[(&str, &'static str)]) -> Blueprint {
    let engines = engines.iter().map(|(id, kind)| plan(id, kind)).collect();
    Blueprint::new(engines, vec![GroupPlan::new("default", Chains::default())])
}

const MOMENT: Duration = Duration::from_micros(70);

/// Counters with one worker that counts for this blueprint.
fn one_worker(blueprint: &Blueprint) -> (Counters, Tally) {
    let (counters, shard) = (Counters::default(), Arc::<Shard>::default());
    let tally = Tally::of(blueprint, &shard);
    counters.join(shard);
    (counters, tally)
}

#[test]
fn statuses_are_counted_by_engine_and_those_of_the_framework_come_last() {
    let blueprint = blueprint(&[("one", "k"), ("two", "k")]);
    let (counters, tally) = one_worker(&blueprint);
    tally.ran(0, "b", None, MOMENT);
    tally.ran(0, "exception", Some("panic"), MOMENT);
    tally.skipped(0);
    let reading = counters.read(&blueprint);
    let one = &reading.engines[0];
    assert_eq!(one.statuses, [("a", 0), ("b", 1), ("skipped", 1), ("exception", 1)]);
    assert_eq!(one.exceptions[1], ("panic", 1));
    assert_eq!(one.times.count(), 2);
    assert_eq!(one.times.quantile(0.5), Some(100_000));
    assert!(reading.engines[1].statuses.iter().all(|(_, count)| *count == 0));
}

#[test]
fn a_run_that_was_not_made_is_not_among_the_times() {
    let blueprint = blueprint(&[("one", "k")]);
    let (counters, tally) = one_worker(&blueprint);
    tally.ran(0, "exception", Some("suspended"), MOMENT);
    assert_eq!(counters.read(&blueprint).engines[0].times.count(), 0);
}

#[test]
fn what_workers_have_counted_is_added_up_also_when_they_are_gone() {
    let blueprint = blueprint(&[("one", "k")]);
    let counters = Counters::default();
    for _ in 0..3 {
        let shard = Arc::<Shard>::default();
        Tally::of(&blueprint, &shard).ran(0, "a", None, MOMENT);
        counters.join(shard);
    }
    let count = || counters.read(&blueprint).engines[0].statuses[0];
    assert_eq!(count(), ("a", 3));
    assert_eq!(lock(&counters.0).counting.len(), 1, "those that are gone take no room");
}

#[test]
fn an_engine_goes_on_over_a_reload_unless_the_configuration_has_it_no_more() {
    let before = blueprint(&[("stays", "k"), ("goes", "k"), ("changes", "k")]);
    let (counters, tally) = one_worker(&before);
    (0..3).for_each(|engine| tally.ran(engine, "a", None, MOMENT));
    let after = blueprint(&[("stays", "k"), ("changes", "other")]);
    let tally = Tally::of(&after, &tally.shard);
    counters.keep(&after);
    tally.ran(0, "a", None, MOMENT);
    let counts = |blueprint| {
        let engines = counters.read(blueprint).engines;
        engines.iter().map(|e| (e.id.to_string(), e.statuses[0].1)).collect::<Vec<_>>()
    };
    assert_eq!(counts(&after), [("stays".to_owned(), 2), ("changes".to_owned(), 0)]);
    assert_eq!(counts(&before)[1], ("goes".to_owned(), 0));
}

#[test]
fn a_configuration_that_does_not_come_into_force_takes_no_counts_away() {
    let in_force = blueprint(&[("one", "k")]);
    let (counters, tally) = one_worker(&in_force);
    let _refused = Tally::of(&blueprint(&[("one", "other")]), &tally.shard);
    tally.ran(0, "a", None, MOMENT);
    assert_eq!(counters.read(&in_force).engines[0].statuses[0], ("a", 1));
}

#[test]
fn a_request_is_counted_by_stage_and_decision_and_codes_by_their_class() {
    let blueprint = blueprint(&[("one", "k")]);
    let (counters, tally) = one_worker(&blueprint);
    for (text, engine) in [("550 no", Some("one")), ("451 later", None), ("PREPEND A: b", None)] {
        let exchange = exchange([("protocol_state", "RCPT")]);
        let action = Action::parse(text).unwrap();
        exchange.decide(Decision { action, engine: engine.map(Into::into) });
        tally.decided(&blueprint, &exchange, MOMENT);
    }
    let reading = counters.read(&blueprint);
    let group = &reading.groups[0];
    let counted = |named: &Named| {
        let counted = named.iter().filter(|(_, count)| *count > 0).copied();
        counted.collect::<Vec<_>>()
    };
    assert_eq!(counted(&group.stages), [("policy-rcpt", 3)]);
    assert_eq!(counted(&group.decisions), [("PREPEND", 1), ("4xx", 1), ("5xx", 1)]);
    assert_eq!(reading.engines[0].decided, 1);
    assert_eq!(reading.times.count(), 3);
}

#[test]
fn a_request_that_ended_with_an_exception_is_counted_by_its_word() {
    let blueprint = blueprint(&[]);
    let (counters, tally) = one_worker(&blueprint);
    let exchange = exchange([("protocol_state", "DATA")]);
    let exception = Exception { engine: None, kind: "deadline", message: String::new() };
    exchange.fail(exception, Decision::dunno());
    tally.decided(&blueprint, &exchange, MOMENT);
    let reading = counters.read(&blueprint);
    assert_eq!(reading.groups[0].exceptions[6], ("deadline", 1));
    assert_eq!(reading.groups[0].decisions[0], ("DUNNO", 1));
}

#[test]
fn every_word_of_an_action_has_its_place() {
    for word in Action::WORDS {
        let text = match *word {
            "FILTER" => "FILTER smtp:x".to_owned(),
            "REDIRECT" | "BCC" => format!("{word} a@b"),
            "PREPEND" => "PREPEND A: b".to_owned(),
            word => word.to_owned(),
        };
        assert_eq!(DECISIONS[place_of(&Action::parse(&text).unwrap())], *word);
    }
}
