//! Each meter beside an exact count of what has passed.

use proptest::prelude::*;

use super::*;

const PER: u64 = 6_000;

fn sliding(max: u64) -> Rule {
    Rule { measure: Measure::Sliding { per: PER }, max, burst: max }
}

fn bucket(max: u64, burst: u64) -> Rule {
    Rule { measure: Measure::Bucket { per: PER }, max, burst }
}

/// Asks a meter, and has it count what it lets pass.
fn pass(meter: &mut Meter, rule: &Rule, amount: u64, now: u64) -> bool {
    meter.advance(rule, now);
    let passes = meter.wait(rule, amount, now) == 0;
    if passes {
        meter.add(rule, amount, now);
    }
    passes
}

/// What came at which time: distances that are often none, amounts that are often one.
fn traffic(steps: usize) -> impl Strategy<Value = Vec<(u64, u64)>> {
    let distance = prop_oneof![Just(0), 1_u64..20, 1_u64..PER / 4, 1_u64..PER * 2];
    let amount = prop_oneof![3 => Just(1_u64), 1 => 1_u64..12];
    prop::collection::vec((distance, amount), 1..steps).prop_map(|steps| {
        let mut at = 1_000_000;
        let step = |(distance, amount)| {
            at += distance;
            (at, amount)
        };
        steps.into_iter().map(step).collect()
    })
}

/// How much of what passed lies in the time before and at `now`, this far back.
fn exact(passed: &[(u64, u64)], now: u64, back: u64) -> u64 {
    passed.iter().filter(|(at, _)| at + back > now).map(|(_, amount)| amount).sum()
}

proptest! {
    #[test]
    fn a_sliding_window_never_lets_more_pass_and_refuses_only_what_a_part_more_would(
        traffic in traffic(200),
        max in 1_u64..40,
    ) {
        let rule = sliding(max);
        let mut meter = Meter::new(rule.measure, 0);
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (now, amount) in traffic {
            if pass(&mut meter, &rule, amount, now) {
                passed.push((now, amount));
                prop_assert!(exact(&passed, now, PER) <= max);
            } else {
                let longer = exact(&passed, now, PER + PER / PARTS);
                prop_assert!(longer + amount > max, "refused at {longer} + {amount} of {max}");
            }
        }
    }

    #[test]
    fn sparse_traffic_is_counted_exactly(
        distances in prop::collection::vec(PER / PARTS..PER, 1..200),
        max in 1_u64..40,
    ) {
        let rule = sliding(max);
        let mut meter = Meter::new(rule.measure, 0);
        let (mut now, mut passed) = (1_000_000, Vec::new());
        for distance in distances {
            now += distance;
            let fits = exact(&passed, now, PER) < max;
            prop_assert_eq!(pass(&mut meter, &rule, 1, now), fits);
            if fits {
                passed.push((now, 1));
            }
        }
    }

    #[test]
    fn a_bucket_is_exact(traffic in traffic(40), max in 1_u64..40, burst in 1_u64..80) {
        let rule = bucket(max, burst);
        let mut meter = Meter::new(rule.measure, 1_000_000);
        // The same over fractions, from the beginning each time: no more than `burst`, and what
        // drains in between, may pass from any moment to any other.
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for (now, amount) in traffic {
            let fits = |passed: &[(u64, u64)]| {
                passed.iter().all(|(from, _)| {
                    let since: u64 = passed.iter().filter(|(at, _)| at >= from).map(|p| p.1).sum();
                    since * PER <= burst * PER + (now - from) * max
                })
            };
            let mut with = passed.clone();
            with.push((now, amount));
            prop_assert_eq!(pass(&mut meter, &rule, amount, now), fits(&with));
            if fits(&with) {
                passed = with;
            }
        }
    }

    #[test]
    fn what_was_refused_passes_after_the_wait(
        traffic in traffic(200),
        max in 1_u64..40,
        burst in prop::option::of(1_u64..80),
    ) {
        let rule = burst.map_or(sliding(max), |burst| bucket(max, burst));
        let mut meter = Meter::new(rule.measure, 1_000_000);
        for (now, amount) in traffic {
            meter.advance(&rule, now);
            let wait = meter.wait(&rule, amount, now);
            if amount <= rule.capacity() {
                let later = now + wait;
                let mut then = meter.clone();
                then.advance(&rule, later);
                prop_assert_eq!(then.wait(&rule, amount, later), 0);
                if wait > 0 {
                    let mut before = meter.clone();
                    before.advance(&rule, later - 1);
                    prop_assert!(before.wait(&rule, amount, later - 1) > 0);
                }
            }
            pass(&mut meter, &rule, amount, now);
        }
    }

    #[test]
    fn what_is_kept_is_bounded(traffic in traffic(200)) {
        let rule = sliding(u64::MAX);
        let mut meter = Meter::new(rule.measure, 0);
        for (now, amount) in traffic {
            pass(&mut meter, &rule, amount, now);
            let Meter::Sliding { entries, .. } = &meter else { panic!() };
            prop_assert!(entries.len() as u64 <= PARTS + 2, "{}", entries.len());
        }
    }

    #[test]
    fn a_meter_is_read_as_it_was_written(traffic in traffic(200), kind in 0_usize..3) {
        let calendar = Measure::Calendar { unit: Unit::Week, start: 5, end: 9_999_999 };
        let measure = [sliding(1).measure, bucket(1, 1).measure, calendar][kind];
        let rule = Rule { measure, max: 1_000, burst: 1_000 };
        let mut meter = Meter::new(measure, 1_000_000);
        for (now, amount) in traffic {
            pass(&mut meter, &rule, amount, now);
        }
        let kept = Kept(meter);
        prop_assert_eq!(Kept::from_octets(&kept.to_octets()), Some(kept));
    }
}

#[derive(Debug, PartialEq)]
struct Kept(Meter);

impl mppd_state::Record for Kept {
    const KIND: u8 = b'k';

    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Meter::read(reader).map(Kept)
    }
}

use mppd_state::Record as _;

#[test]
fn a_period_of_the_calendar_begins_anew_at_its_end() {
    let rule = |start, end| Rule {
        measure: Measure::Calendar { unit: Unit::Day, start, end },
        max: 2,
        burst: 2,
    };
    let (today, tomorrow) = (rule(1_000, 2_000), rule(2_000, 3_000));
    let mut meter = Meter::new(today.measure, 1_500);
    assert!(pass(&mut meter, &today, 2, 1_500));
    assert_eq!(meter.wait(&today, 1, 1_500), 500);
    assert!(pass(&mut meter, &tomorrow, 1, 2_000));
    assert_eq!(meter.count(), 1);
}

#[test]
fn a_node_whose_clock_is_behind_counts_in_the_period_that_has_begun() {
    let rule = |start, end| Rule {
        measure: Measure::Calendar { unit: Unit::Day, start, end },
        max: 2,
        burst: 2,
    };
    let mut meter = Meter::new(rule(2_000, 3_000).measure, 2_000);
    assert!(pass(&mut meter, &rule(2_000, 3_000), 2, 2_000));
    assert!(!pass(&mut meter, &rule(1_000, 2_000), 1, 1_999));
}

#[test]
fn a_clock_that_is_set_back_lets_no_time_drain_twice() {
    let rule = bucket(6, 6);
    let mut meter = Meter::new(rule.measure, 10_000);
    assert!(pass(&mut meter, &rule, 6, 10_000));
    assert!(pass(&mut meter, &rule, 1, 11_000));
    assert!(!pass(&mut meter, &rule, 1, 10_000));
    assert!(!pass(&mut meter, &rule, 1, 11_000));
    assert!(pass(&mut meter, &rule, 1, 12_000));
}

#[test]
fn what_was_counted_far_ahead_is_forgotten() {
    for rule in [sliding(1), bucket(1, 1)] {
        let mut meter = Meter::new(rule.measure, 900_000);
        assert!(pass(&mut meter, &rule, 1, 900_000));
        meter.advance(&rule, 100_000);
        meter.advance(&rule, 100_000 + PER);
        assert_eq!(meter.wait(&rule, 1, 100_000 + PER), 0, "{rule:?}");
    }
}

#[test]
fn an_amount_above_a_limit_waits_for_a_period_and_never_passes() {
    assert_eq!(Meter::new(sliding(5).measure, 0).wait(&sliding(5), 6, 0), PER);
    assert_eq!(Meter::new(bucket(50, 5).measure, 0).wait(&bucket(50, 5), 6, 0), PER);
}
