//! Engines that keep failing are not asked for a while.

use super::*;

/// A breaker that opens after two failures, for so long.
fn breaker(pause: Duration) -> impl FnOnce(&mut EnginePlan) {
    move |plan| {
        let breaker = Breaker::new(plan.id.clone(), BreakerPlan { failures: 2, pause });
        plan.breaker = Some(Arc::new(breaker));
    }
}

fn kinds_of_two(first: &Exchange, second: &Exchange) -> [bool; 2] {
    let is_suspended = |exchange: &Exchange| {
        exchange.result("a").unwrap().outcome.text.starts_with("suspended since 2")
    };
    [first, second].map(is_suspended)
}

#[actix_rt::test]
async fn an_engine_that_keeps_failing_is_suspended_and_its_on_exception_holds() {
    for script in [Script::Fail, Script::Panic, Script::PanicLater, Script::Hang] {
        let defer = Effect::Act(Action::Defer(Some("later".into())));
        let (set, scripts) = Builder::default()
            .check("a", script)
            .with(breaker(Duration::from_mins(1)))
            .with(|plan| plan.on_exception = Some(defer))
            .raise(9);
        let first = ask(&set).await;
        ask(&set).await;
        let third = ask(&set).await;
        assert_eq!(kinds_of_two(&first, &third), [false, true], "{script:?}");
        assert_eq!(decided(&third), "DEFER later");
        assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 2, "{script:?}");
    }
}

#[actix_rt::test]
async fn a_suspended_engine_in_front_of_the_checks_is_the_exception_suspended() {
    let chain = Builder::default().engine(Place::Begin, "a", Script::Fail);
    let (set, _) = chain.with(breaker(Duration::from_mins(1))).raise(9);
    ask(&set).await;
    ask(&set).await;
    assert_eq!(ask(&set).await.exception().unwrap().kind, "suspended");
}

#[actix_rt::test]
async fn one_run_on_trial_ends_a_suspension() {
    let pause = Duration::from_millis(20);
    let (set, scripts) = Builder::default().check("a", Script::Fail).with(breaker(pause)).raise(9);
    ask(&set).await;
    ask(&set).await;
    *scripts[0].script.lock().unwrap() = Script::GiveLater("black");
    tokio::time::sleep(pause).await;
    let (first, second) = tokio::join!(ask(&set), ask(&set));
    assert_eq!(decided(&first), "REJECT by a");
    assert_eq!(kinds_of_two(&first, &second), [false, true]);
    assert_eq!(decided(&*ask(&set).await), "REJECT by a");
}

#[actix_rt::test]
async fn an_engine_that_puts_requests_on_record_is_never_suspended() {
    let (set, scripts) = Builder::default()
        .engine(Place::End, "a", Script::Fail)
        .with(|plan| *plan = EnginePlan::new("a".into(), "track", plan.prototype.clone()))
        .raise(9);
    for _ in 0..20 {
        assert_eq!(ask(&set).await.exception().unwrap().kind, "failed");
    }
    assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 20);
}

#[actix_rt::test]
async fn what_lies_in_the_request_does_not_suspend_an_engine() {
    for script in [Script::FailForRequest, Script::Give("hold me")] {
        let (set, scripts) =
            Builder::default().check("a", script).with(breaker(Duration::from_mins(1))).raise(9);
        for _ in 0..5 {
            ask(&set).await;
        }
        assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 5, "{script:?}");
    }
}

#[actix_rt::test]
async fn a_run_that_others_left_no_time_does_not_count() {
    let (set, scripts) = Builder::default()
        .check("a", Script::Hang)
        .with(breaker(Duration::from_mins(1)))
        .with(|plan| plan.timeout = Duration::from_mins(1))
        .raise(9);
    for _ in 0..5 {
        let exchange = exchange_with(Duration::from_millis(5));
        set.process(&exchange, None, |decision| decision).await;
    }
    assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 5);
}
