//! Engines and queues that take too long.

use super::*;

#[actix_rt::test]
async fn past_the_deadline_no_engine_runs_and_on_error_answers() {
    let slow = Builder::default()
        .check("a", Script::Hang)
        .with(|plan| plan.timeout = Duration::from_mins(1));
    let (set, scripts) = slow.check("b", Script::Give("black")).raise(9);
    let exchange = exchange_with(Duration::from_millis(30));
    set.process(&exchange, None, |decision| decision).await;
    assert_eq!(decided(&exchange), "DEFER on_error");
    assert_eq!(exchange.exception().unwrap().kind, "deadline");
    assert_eq!(scripts[1].runs.load(Ordering::Relaxed), 0);
}

#[actix_rt::test]
async fn an_engine_that_never_wakes_ends_at_the_deadline_wherever_it_stands() {
    for place in [Place::Begin, Place::Check, Place::End] {
        let chain = Builder::default().engine(place, "a", Script::Hang).with(|plan| {
            *plan = EnginePlan::new("a".into(), "track", plan.prototype.clone());
            plan.timeout = Duration::from_mins(5);
            plan.on_exception = Some(Effect::Fail);
        });
        let (set, _) = chain.raise(9);
        let exchange = exchange_with(Duration::from_millis(30));
        let processed = set.process(&exchange, None, |decision| decision);
        tokio::time::timeout(Duration::from_secs(20), processed).await.unwrap();
        assert_eq!(decided(&exchange), "DEFER on_error", "{place:?}");
        assert_eq!(exchange.exception().unwrap().kind, "timeout", "{place:?}");
    }
}

#[actix_rt::test]
async fn a_request_that_somebody_else_finishes_goes_no_further() {
    let (set, scripts) = Builder::default()
        .check("a", Script::GiveLater("none"))
        .check("b", Script::Give("black"))
        .engine(Place::EndException, "x", Script::Give("none"))
        .raise(9);
    let exchange = exchange();
    let taken_over = async { exchange.take_over() };
    tokio::join!(set.process(&exchange, None, |decision| decision), taken_over);
    assert_eq!(exchange.decision(), None);
    let runs = |engine: usize| scripts[engine].runs.load(Ordering::Relaxed);
    assert_eq!((runs(1), runs(2)), (0, 0));
    let message = "it blocks its thread".to_owned();
    let exception = Exception { engine: Some("a".into()), kind: "timeout", message };
    set.adopt(&exchange, exception).await;
    assert_eq!(decided(&exchange), "DEFER on_error");
    assert_eq!((runs(1), runs(2)), (0, 1));
}

#[actix_rt::test]
async fn runs_beyond_the_queue_are_an_exception_at_once() {
    let (set, _) = Builder::default().check("a", Script::Hang).raise(2);
    let (one, two, three) = tokio::join!(ask(&set), ask(&set), ask(&set));
    let texts: Vec<_> =
        [one, two, three].iter().map(|e| e.result("a").unwrap().outcome.text.clone()).collect();
    assert_eq!(texts[2], "2 runs are waiting already");
    assert_eq!(texts[0], "no answer within 50ms");
}

#[actix_rt::test]
async fn a_decision_stands_however_many_runs_wait_behind_the_checks() {
    let slow = Builder::default().engine(Place::End, "slow", Script::GiveLater("none"));
    let (set, scripts) = slow.raise(1);
    let (one, two, three) = tokio::join!(ask(&set), ask(&set), ask(&set));
    for exchange in [one, two, three] {
        assert_eq!(decided(&exchange), "DUNNO");
    }
    assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 3);
}
