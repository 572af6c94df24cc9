//! When an engine is suspended, tried and back.

use proptest::prelude::*;

use super::*;

const PLAN: BreakerPlan = BreakerPlan { failures: 3, pause: Duration::from_secs(5) };

/// What happens to an engine; a run is named by its place among all runs.
#[derive(Debug, Clone)]
enum Event {
    Wait(u64),
    Enter,
    Succeed(usize),
    Fail(usize),
    Leave(usize),
    Hold,
    Release,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0_u64..40).prop_map(Event::Wait),
        6 => Just(Event::Enter),
        2 => (0_usize..8).prop_map(Event::Succeed),
        5 => (0_usize..8).prop_map(Event::Fail),
        1 => (0_usize..8).prop_map(Event::Leave),
        1 => Just(Event::Hold),
        1 => Just(Event::Release),
    ]
}

/// The same in the plainest words: what is suspended is told from the whole story each time.
#[derive(Debug, Default)]
struct Story {
    /// Since the engine runs: how the runs that were begun since then have ended, in order.
    ended: Vec<bool>,
    /// The runs that have begun since then.
    begun: Vec<usize>,
    suspended: Option<Suspended>,
}

#[derive(Debug, Default)]
struct Suspended {
    trials_failed: u32,
    stuck: u32,
    paused_at: u64,
    trial: Option<usize>,
    may_try_at_once: bool,
}

impl Story {
    fn may_run(&self, now: u64) -> bool {
        let Some(suspended) = &self.suspended else { return true };
        let pause = (5_u64 << suspended.trials_failed.min(20)).min(300);
        let is_over = suspended.may_try_at_once || now >= suspended.paused_at + pause;
        suspended.stuck == 0 && suspended.trial.is_none() && is_over
    }

    fn enter(&mut self, run: usize) {
        match &mut self.suspended {
            Some(suspended) => suspended.trial = Some(run),
            None => self.begun.push(run),
        }
    }

    fn end(&mut self, run: usize, good: Option<bool>, now: u64) {
        if let Some(suspended) = &mut self.suspended {
            if suspended.trial != Some(run) {
                return;
            }
            suspended.trial = None;
            match good {
                Some(true) => *self = Story::default(),
                Some(false) => {
                    suspended.trials_failed += 1;
                    suspended.paused_at = now;
                    suspended.may_try_at_once = false;
                }
                None => suspended.may_try_at_once = true,
            }
        } else if let (true, Some(good)) = (self.begun.contains(&run), good) {
            self.ended.push(good);
            if self.ended.ends_with(&[false; 3]) {
                self.suspended = Some(Suspended { paused_at: now, ..Suspended::default() });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_runs_exactly_when_the_whole_story_says_so(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let start = Instant::now();
        let (mut circuit, mut story, mut now) = (Circuit::new(PLAN), Story::default(), 0_u64);
        // Those that are under way.
        let (mut runs, mut count): (Vec<(usize, Ticket)>, usize) = (Vec::new(), 0);
        for event in events {
            // A stuck thread has a story of its own, below.
            if matches!(event, Event::Hold | Event::Release) {
                continue;
            }
            let at = start + Duration::from_secs(now);
            match event {
                Event::Wait(seconds) => now += seconds,
                Event::Enter => {
                    let ticket = circuit.enter(at);
                    prop_assert_eq!(ticket.is_some(), story.may_run(now));
                    if let Some(ticket) = ticket {
                        story.enter(count);
                        runs.push((count, ticket));
                        count += 1;
                    }
                }
                Event::Succeed(which) if which < runs.len() => {
                    let (run, ticket) = runs.remove(which);
                    circuit.succeeded(ticket);
                    story.end(run, Some(true), now);
                }
                Event::Fail(which) if which < runs.len() => {
                    let (run, ticket) = runs.remove(which);
                    circuit.failed(ticket, at);
                    story.end(run, Some(false), now);
                }
                Event::Leave(which) if which < runs.len() => {
                    let (run, ticket) = runs.remove(which);
                    circuit.left(ticket, at);
                    story.end(run, None, now);
                }
                _ => {}
            }
            let is_open = circuit.position != Position::Closed;
            prop_assert_eq!(is_open, story.suspended.is_some());
            prop_assert!(is_open || circuit.failures < 3);
        }
    }

    #[test]
    fn nobody_runs_while_a_thread_is_stuck_and_never_two_on_trial(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let start = Instant::now();
        let (mut circuit, mut now, mut stuck) = (Circuit::new(PLAN), 0, 0_u32);
        let mut runs: Vec<Ticket> = Vec::new();
        for event in events {
            let at = start + Duration::from_secs(now);
            match event {
                Event::Wait(seconds) => now += seconds,
                Event::Hold => {
                    circuit.hold(at);
                    stuck += 1;
                }
                Event::Release if stuck > 0 => {
                    circuit.release(at);
                    stuck -= 1;
                }
                Event::Enter => if let Some(ticket) = circuit.enter(at) {
                    prop_assert_eq!(stuck, 0);
                    runs.push(ticket);
                },
                Event::Succeed(which) if which < runs.len() => {
                    circuit.succeeded(runs.remove(which));
                }
                Event::Fail(which) if which < runs.len() => {
                    circuit.failed(runs.remove(which), at);
                }
                Event::Leave(which) if which < runs.len() => {
                    circuit.left(runs.remove(which), at);
                }
                _ => {}
            }
            let is_held = circuit.position == (Position::Open { until: None });
            prop_assert!(stuck == 0 || is_held);
            let is_calm = circuit.position == Position::Closed && circuit.failures == 0;
            prop_assert_eq!(circuit.word() % 2 == 0, is_calm);
        }
        // Whatever has happened, the engine gets another chance.
        (0..stuck).for_each(|_| circuit.release(start + Duration::from_secs(now)));
        if let Position::Trial { number } = circuit.position {
            circuit.left(Ticket::Trial(number), start);
        }
        prop_assert!(circuit.enter(start + Duration::from_secs(now) + LONGEST_PAUSE).is_some());
    }
}

#[test]
fn the_pause_doubles_up_to_five_minutes_and_begins_anew_after_a_success() {
    let (mut circuit, mut now) = (Circuit::new(PLAN), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..PLAN.failures {
        let ticket = circuit.enter(now).unwrap();
        circuit.failed(ticket, now);
    }
    for _ in 0..9 {
        let Position::Open { until: Some(until) } = circuit.position else { panic!("open") };
        pauses.push((until - now).as_secs());
        now = until;
        let trial = circuit.enter(now).unwrap();
        circuit.failed(trial, now);
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    let trial = circuit.enter(now + LONGEST_PAUSE).unwrap();
    assert_eq!(circuit.succeeded(trial), Change::Closed);
    assert_eq!(circuit.pause, PLAN.pause);
}

#[test]
fn without_a_number_of_failures_only_a_stuck_thread_suspends() {
    let mut circuit = Circuit::new(BreakerPlan { failures: 0, ..PLAN });
    let now = Instant::now();
    for _ in 0..1_000 {
        let ticket = circuit.enter(now).unwrap();
        assert_eq!(circuit.failed(ticket, now), Change::None);
    }
    assert_eq!(circuit.hold(now), Change::Opened { pause: None });
    assert_eq!(circuit.enter(now + LONGEST_PAUSE), None);
}

#[test]
fn what_it_says_of_itself_can_be_read_again() {
    let breaker = Arc::new(Breaker::new("rbl".into(), PLAN));
    let logger = crate::log::silent();
    assert_eq!(breaker.status().state, BreakerState::Closed);
    for _ in 0..PLAN.failures {
        let permit = breaker.enter(&logger).unwrap();
        assert!(permit.failed(&RunError::Failed("refused".to_owned()), &logger));
    }
    let error = breaker.enter(&logger).unwrap_err();
    assert_eq!(error.kind(), "suspended");
    assert!(error.to_string().ends_with("Z: refused"), "{error}");
    let status = breaker.status();
    assert_eq!((status.state, status.failures), (BreakerState::Open, PLAN.failures));
    assert_eq!((status.suspended_runs, status.reason.as_deref()), (1, Some("refused")));
    let until: Timestamp = status.until.clone().unwrap().parse().unwrap();
    assert!(until > status.since.clone().unwrap().parse().unwrap());
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<BreakerStatus>(&json).unwrap(), status);
}
