//! Chains of scripted engines: what statuses, failures, panics and hangs do to a request.

mod deadlines;
mod options;
mod reload;
mod suspension;
mod worker;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use mppd_engine::exchange::Receipt;
use mppd_engine::tracking::Recorded;
use mppd_engine::{
    Action, BuildContext, Built, Decision, Engine, Exception, Exchange, Failure, Finding, Outcome,
    Request, RequestKey, Stage, Stages, StatusDoc, Tracker, Transition,
};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use super::blueprint::{Blueprint, Chains, EnginePlan, GroupPlan, Place};
use super::breaker::{Breaker, BreakerPlan};
use super::chain::EngineSet;
use super::effect::Effect;
use super::installation::{Group, Installed, PolicyGroups, Shared, WorkerState};
use crate::config::settings::PolicyServerOptions;
use crate::listener::Peer;
use crate::overload::OnOverload;
use crate::policy::codec::Limits;
use crate::session;
use crate::session::Bounds;

mppd_engine::options! {
    /// A scripted engine has none.
    struct NoOptions: Default {}
}

/// What a scripted engine does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Give(&'static str),
    GiveLater(&'static str),
    Fail,
    FailForRequest,
    Answer,
    Panic,
    PanicLater,
    Hang,
}

#[derive(Clone)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    runs: Arc<AtomicU32>,
}

impl Engine for Scripted {
    const NAME: &'static str = "scripted";
    const SUMMARY: &'static str = "Does as it is told.";
    const STATUSES: &'static [StatusDoc] = &[];
    type Options = NoOptions;

    fn build(_: NoOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Err(vec![Finding::nowhere("built by hand")])
    }

    async fn run(&self, _: &Exchange) -> Result<Outcome, Failure> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let script = *self.script.lock().unwrap();
        match script {
            Script::Give(status) => Ok(Outcome::new(status)),
            Script::GiveLater(status) => {
                tokio::task::yield_now().await;
                Ok(Outcome::new(status))
            }
            Script::Fail => Err(Failure::new("no answer").with_source("refused")),
            Script::FailForRequest => Err(Failure::new("no number").of_request()),
            Script::Answer => {
                let reply = Action::DeferIfPermit(Some("its own".into()));
                Err(Failure::new("no room").with_reply(reply))
            }
            Script::Panic => panic!("now"),
            Script::PanicLater => {
                tokio::task::yield_now().await;
                panic!("later")
            }
            Script::Hang => std::future::pending().await,
        }
    }
}

struct NoTracker;

impl Tracker for NoTracker {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A blueprint of scripted engines.
#[derive(Default)]
struct Builder {
    engines: Vec<EnginePlan>,
    scripts: Vec<Scripted>,
    places: Vec<(Place, usize)>,
}

impl Builder {
    fn engine(mut self, place: Place, id: &str, script: Script) -> Self {
        let engine = Scripted { script: Arc::new(Mutex::new(script)), runs: Arc::default() };
        self.scripts.push(engine.clone());
        let effects = HashMap::from([
            ("none", Effect::Continue),
            ("white", Effect::Permit),
            ("black", Effect::Act(Action::Reject(Some(format!("by {id}"))))),
            ("mark", Effect::Act(Action::Prepend(format!("X-{id}: yes")))),
            ("hold", Effect::Act(Action::Hold(None))),
        ]);
        self.places.push((place, self.engines.len()));
        let prototype = Built::engine(engine).prototype;
        self.engines.push(EnginePlan {
            effects,
            timeout: Duration::from_millis(50),
            ..EnginePlan::new(id.into(), "scripted", prototype)
        });
        self
    }

    fn check(self, id: &str, script: Script) -> Self {
        self.engine(Place::Check, id, script)
    }

    /// Changes the engine that was added last.
    fn with(mut self, change: impl FnOnce(&mut EnginePlan)) -> Self {
        change(self.engines.last_mut().unwrap());
        self
    }

    fn raise(self, queue: u32) -> (EngineSet, Vec<Scripted>) {
        let (blueprint, scripts) = self.blueprint();
        let logger = crate::log::silent();
        (EngineSet::raise(&blueprint, queue, &logger, &Arc::default()).unwrap(), scripts)
    }

    fn blueprint(self) -> (Arc<Blueprint>, Vec<Scripted>) {
        let mut chains = Chains::default();
        for (place, index) in self.places {
            chains.add(place, index);
        }
        let on_error = Action::Defer(Some("on_error".into()));
        let group = GroupPlan { on_error, ..GroupPlan::new("default", chains) };
        (Arc::new(Blueprint::new(self.engines, vec![group])), self.scripts)
    }
}

fn exchange_with(deadline: Duration) -> Arc<Exchange> {
    let request = Request::from_attributes([("protocol_state", "RCPT")]).unwrap();
    Arc::new(Exchange::new(Receipt {
        request: Arc::new(request),
        key: RequestKey([0; 16]),
        received: SystemTime::now(),
        deadline: Instant::now() + deadline,
        group: "default".into(),
        node: "test".into(),
        tracker: Arc::new(NoTracker),
        repeat_of: None,
    }))
}

fn exchange() -> Arc<Exchange> {
    exchange_with(Duration::from_secs(10))
}

async fn ask(set: &EngineSet) -> Arc<Exchange> {
    let exchange = exchange();
    set.process(&exchange, None, |decision| decision).await;
    exchange
}

fn decided(exchange: &Exchange) -> String {
    exchange.decision().unwrap().action.to_string()
}

fn statuses(exchange: &Exchange) -> Vec<(String, &'static str)> {
    exchange.results().iter().map(|r| (r.engine.to_string(), r.outcome.status)).collect()
}

#[actix_rt::test]
async fn the_first_final_action_ends_the_checks() {
    let chain =
        Builder::default().check("a", Script::Give("none")).check("b", Script::Give("black"));
    let (set, _) = chain.check("c", Script::Give("white")).raise(9);
    let exchange = ask(&set).await;
    assert_eq!(decided(&exchange), "REJECT by b");
    assert_eq!(exchange.decision().unwrap().engine.as_deref(), Some("b"));
    assert_eq!(statuses(&exchange), [("a".into(), "none"), ("b".into(), "black")]);
}

#[actix_rt::test]
async fn a_chain_without_an_opinion_is_dunno() {
    let (set, _) = Builder::default().check("a", Script::GiveLater("none")).raise(9);
    assert_eq!(decided(&*ask(&set).await), "DUNNO");
}

#[actix_rt::test]
async fn a_kept_action_waits_for_the_end_and_loses_against_a_final_one() {
    let kept =
        || Builder::default().check("a", Script::Give("mark")).check("b", Script::Give("hold"));
    let (set, _) = kept().check("c", Script::Give("none")).raise(9);
    assert_eq!(decided(&*ask(&set).await), "HOLD");
    let (set, _) = kept().check("c", Script::Give("black")).raise(9);
    assert_eq!(decided(&*ask(&set).await), "REJECT by c");
    let (set, _) =
        kept().check("c", Script::Give("white")).check("d", Script::Give("black")).raise(9);
    assert_eq!(decided(&*ask(&set).await), "HOLD");
}

#[actix_rt::test]
async fn a_check_that_fails_is_passed_over_unless_told_otherwise() {
    for script in [Script::Fail, Script::Panic, Script::PanicLater, Script::Hang] {
        let (set, _) =
            Builder::default().check("a", script).check("b", Script::Give("black")).raise(9);
        let exchange = ask(&set).await;
        assert_eq!(decided(&exchange), "REJECT by b", "{script:?}");
        assert_eq!(exchange.result("a").unwrap().outcome.status, "exception");
    }
}

#[actix_rt::test]
async fn on_exception_can_be_an_action_or_the_end_of_the_chains() {
    let failing = || Builder::default().check("a", Script::Fail);
    let defer = Effect::Act(Action::Defer(Some("later".into())));
    let (set, _) = failing().with(|plan| plan.on_exception = Some(defer)).raise(9);
    assert_eq!(decided(&*ask(&set).await), "DEFER later");
    let (set, _) = failing().with(|plan| plan.on_exception = Some(Effect::Fail)).raise(9);
    let exchange = ask(&set).await;
    assert_eq!(decided(&exchange), "DEFER on_error");
    assert_eq!(exchange.exception().unwrap().to_string(), "a: failed: no answer: refused");
}

#[actix_rt::test]
async fn an_action_for_exceptions_is_the_reply_where_nothing_else_decides() {
    for place in [Place::Begin, Place::End] {
        let defer = Effect::Act(Action::Defer(Some("not on record".into())));
        let chain = Builder::default()
            .engine(place, "a", Script::Fail)
            .with(|plan| plan.on_exception = Some(defer))
            .engine(Place::EndException, "x", Script::Give("none"));
        let (set, scripts) = chain.raise(9);
        let exchange = ask(&set).await;
        assert_eq!(decided(&exchange), "DEFER not on record", "{place:?}");
        assert_eq!(exchange.exception().unwrap().kind, "failed");
        assert_eq!(scripts[1].runs.load(Ordering::Relaxed), 1, "{place:?}");
    }
}

#[actix_rt::test]
async fn what_a_failure_wants_answered_stands_in_place_of_on_error() {
    for place in [Place::Begin, Place::Check, Place::End] {
        let chain = || {
            let chain = Builder::default().engine(place, "a", Script::Answer);
            chain.engine(Place::EndException, "x", Script::Give("none"))
        };
        let (set, scripts) = chain().raise(9);
        let exchange = ask(&set).await;
        assert_eq!(decided(&exchange), "DEFER_IF_PERMIT its own", "{place:?}");
        assert_eq!(exchange.exception().unwrap().to_string(), "a: failed: no room");
        assert_eq!(scripts[1].runs.load(Ordering::Relaxed), 1, "{place:?}");
    }
}

#[actix_rt::test]
async fn on_exception_says_more_than_the_failure_itself() {
    let answering = Builder::default().engine(Place::End, "a", Script::Answer);
    let (set, _) = answering.with(|plan| plan.on_exception = Some(Effect::Fail)).raise(9);
    assert_eq!(decided(&*ask(&set).await), "DEFER on_error");
    let answering = Builder::default().engine(Place::End, "a", Script::Answer);
    let (set, _) = answering.with(|plan| plan.on_exception = Some(Effect::Continue)).raise(9);
    assert_eq!(decided(&*ask(&set).await), "DUNNO");
}

#[actix_rt::test]
async fn an_exception_runs_the_end_exception_chain_in_place_of_the_rest() {
    for place in [Place::Begin, Place::End] {
        let chain = Builder::default()
            .engine(place, "broken", Script::Panic)
            .engine(Place::EndException, "x", Script::Fail)
            .engine(Place::EndException, "y", Script::Give("none"));
        let (set, scripts) = chain.raise(9);
        let exchange = ask(&set).await;
        assert_eq!(decided(&exchange), "DEFER on_error");
        assert_eq!(exchange.exception().unwrap().kind, "panic");
        assert_eq!(scripts[2].runs.load(Ordering::Relaxed), 1, "{place:?}");
    }
}

#[actix_rt::test]
async fn an_engine_is_back_after_each_panic() {
    for script in [Script::Panic, Script::PanicLater] {
        let (set, scripts) = Builder::default().check("a", script).raise(9);
        for _ in 0..3 {
            let exchange = ask(&set).await;
            assert_eq!(exchange.result("a").unwrap().outcome.status, "exception");
        }
        *scripts[0].script.lock().unwrap() = Script::Give("black");
        assert_eq!(decided(&*ask(&set).await), "REJECT by a");
    }
}

#[actix_rt::test]
async fn a_panic_hurts_no_other_request_of_the_engine() {
    let (set, scripts) = Builder::default().check("a", Script::Hang).raise(9);
    let hanging = ask(&set);
    let panicking = async {
        tokio::task::yield_now().await;
        *scripts[0].script.lock().unwrap() = Script::Panic;
        ask(&set).await
    };
    let (hanging, panicking) = tokio::join!(hanging, panicking);
    let text = |exchange: &Exchange| exchange.result("a").unwrap().outcome.text.clone();
    assert_eq!(text(&hanging), "no answer within 50ms");
    assert_eq!(text(&panicking), "the engine panicked: now");
}

#[actix_rt::test]
async fn a_dry_run_computes_but_never_decides() {
    let (set, _) = Builder::default()
        .check("a", Script::Give("black"))
        .with(|plan| plan.dry_run = true)
        .raise(9);
    let exchange = ask(&set).await;
    assert_eq!(decided(&exchange), "DUNNO");
    let result = exchange.result("a").unwrap();
    assert_eq!(result.outcome.status, "black");
    assert!(result.outcome.text.starts_with("dry run: REJECT"), "{}", result.outcome.text);
}

#[actix_rt::test]
async fn an_engine_is_skipped_at_other_stages() {
    let other = Stages::of(&[Stage::Data]);
    let (set, scripts) = Builder::default()
        .check("a", Script::Give("black"))
        .with(|plan| plan.stages = other)
        .raise(9);
    assert_eq!(decided(&*ask(&set).await), "DUNNO");
    assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 0);
}

#[actix_rt::test]
async fn a_repeat_gets_the_given_decision_without_its_checks() {
    let chain = Builder::default().engine(Place::Begin, "begin", Script::Give("none"));
    let (set, scripts) = chain.check("a", Script::Give("black")).raise(9);
    let exchange = exchange();
    let given = Decision { action: Action::Hold(None), engine: Some("a".into()) };
    set.process(&exchange, Some(given), |decision| decision).await;
    assert_eq!(decided(&exchange), "HOLD");
    assert_eq!(scripts[0].runs.load(Ordering::Relaxed), 1);
    assert_eq!(scripts[1].runs.load(Ordering::Relaxed), 0);
}

#[actix_rt::test]
async fn a_status_that_is_not_declared_is_an_exception() {
    let (set, _) = Builder::default().check("a", Script::Give("purple")).raise(9);
    let exchange = ask(&set).await;
    assert_eq!(exchange.exception().unwrap().kind, "failed");
}

/// Asks about a recipient of one message; the reply.
async fn answered(peer: &mut (impl AsyncRead + AsyncWrite + Unpin), recipient: &str) -> String {
    let attributes = [("protocol_state", "RCPT"), ("instance", "1.2.3"), ("recipient", recipient)];
    let request = Request::from_attributes(attributes).unwrap();
    peer.write_all(request.octets()).await.unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"\n\n") {
        assert_ne!(peer.read_buf(&mut reply).await.unwrap(), 0, "closed without a reply");
    }
    String::from_utf8(reply).unwrap()
}

#[actix_rt::test]
async fn a_header_that_gave_way_to_on_error_is_given_with_the_next_recipient() {
    let chain = Builder::default().check("a", Script::Give("mark"));
    let (engines, scripts) = chain.engine(Place::End, "z", Script::Fail).raise(9);
    let (_stop, stopping) = watch::channel(false);
    let shared = Shared {
        feed: Arc::default(),
        repeats: Arc::default(),
        traffic: Arc::default(),
        ration: Arc::default(),
        logger: crate::log::silent(),
        stopping,
    };
    let tracker = Arc::new(NoTracker);
    let group = Group { id: "default".into(), dry_run: false, tracker };
    let installed = Installed {
        engines,
        groups: Arc::new(PolicyGroups { selection: Arc::default(), groups: vec![group] }),
        node: "test".into(),
        limits: Limits::default(),
        request_deadline: Duration::from_secs(10),
        idle_timeout: None,
        bounds: Bounds::of(&PolicyServerOptions::default(), OnOverload::default()),
    };
    let worker = Rc::new(WorkerState::new(installed, Arc::new(shared)));
    let (mut peer, stream) = tokio::io::duplex(4_096);
    actix_rt::spawn(session::serve(stream, Peer::Unix(None), worker, Arc::default()));
    assert_eq!(answered(&mut peer, "a@example.org").await, "action=DEFER on_error\n\n");
    *scripts[1].script.lock().unwrap() = Script::Give("none");
    assert_eq!(answered(&mut peer, "b@example.org").await, "action=PREPEND X-a: yes\n\n");
    assert_eq!(answered(&mut peer, "c@example.org").await, "action=DUNNO\n\n");
}

/// What the checks should come to, said as plainly as possible.
fn model(scripts: &[Script]) -> String {
    let mut hold = None;
    let mut mark = None;
    for (index, script) in scripts.iter().enumerate() {
        match script {
            Script::Give("black") => return format!("REJECT by e{index}"),
            Script::Give("white") => break,
            Script::Give("hold") => hold = Some("HOLD".to_owned()),
            Script::Give("mark") if mark.is_none() => {
                mark = Some(format!("PREPEND X-e{index}: yes"));
            }
            _ => {}
        }
    }
    hold.or(mark).unwrap_or_else(|| "DUNNO".to_owned())
}

proptest! {
    #[test]
    fn any_chain_comes_to_what_the_rules_say(
        scripts in prop::collection::vec(
            prop::sample::select(vec![
                Script::Give("none"), Script::Give("mark"), Script::Give("hold"),
                Script::Give("white"), Script::Give("black"), Script::Fail, Script::Panic,
            ]),
            0..8,
        ),
    ) {
        let decision = actix_rt::System::new().block_on(async {
            let mut builder = Builder::default();
            for (index, script) in scripts.iter().enumerate() {
                builder = builder.check(&format!("e{index}"), *script);
            }
            decided(&*ask(&builder.raise(9).0).await)
        });
        prop_assert_eq!(decision, model(&scripts));
    }
}
