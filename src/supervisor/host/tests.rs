//! Engines that panic, hang, or can not be made.

use std::sync::atomic::{AtomicU32, Ordering};

use actix::ActorContext as _;
use mppd_engine::testkit::exchange;

use super::*;

struct Halt;

impl Message for Halt {
    type Result = ();
}

impl Handler<Halt> for Host {
    type Result = ();

    fn handle(&mut self, _: Halt, context: &mut Context<Self>) {
        context.stop();
    }
}

/// Can be copied so often; its first copy panics in each run, and when it is dropped.
struct Fragile {
    copies: AtomicU32,
    most: u32,
}

impl Prototype for Fragile {
    fn copy(&self) -> Rc<dyn mppd_engine::Running> {
        let number = self.copies.fetch_add(1, Ordering::Relaxed);
        assert!(number < self.most, "no copy {number}");
        Rc::new(FragileCopy { is_first: number == 0 })
    }
}

struct FragileCopy {
    is_first: bool,
}

impl mppd_engine::Running for FragileCopy {
    fn run(self: Rc<Self>, _: Arc<Exchange>) -> Running {
        assert!(!self.is_first, "in the run");
        Box::pin(std::future::ready(Ok(Outcome::new("done"))))
    }
}

impl Drop for FragileCopy {
    fn drop(&mut self) {
        assert!(!self.is_first, "when dropped");
    }
}

/// Never ends, and panics when it is dropped.
struct Brittle;

impl Prototype for Brittle {
    fn copy(&self) -> Rc<dyn mppd_engine::Running> {
        Rc::new(Brittle)
    }
}

impl mppd_engine::Running for Brittle {
    fn run(self: Rc<Self>, _: Arc<Exchange>) -> Running {
        struct Glass;
        impl Drop for Glass {
            fn drop(&mut self) {
                panic!("broken glass");
            }
        }
        Box::pin(async {
            let _glass = Glass;
            std::future::pending().await
        })
    }
}

const LIMIT: Duration = Duration::from_millis(20);

fn start(prototype: Arc<dyn Prototype>) -> HostAddress {
    let plan = EnginePlan::new("a".into(), "fragile", prototype);
    Host::start(&plan, 9, &Arc::default()).unwrap()
}

fn fragile(most: u32) -> (HostAddress, Arc<Fragile>) {
    let prototype = Arc::new(Fragile { copies: AtomicU32::new(0), most });
    (start(prototype.clone()), prototype)
}

async fn ran(host: &HostAddress) -> &'static str {
    let result = host.run(&exchange([("sender", "")]), LIMIT).await;
    result.map_or_else(|error| error.kind(), |outcome| outcome.status)
}

#[actix_rt::test]
async fn an_engine_that_panics_in_a_run_and_when_dropped_is_made_anew() {
    let (host, _) = fragile(9);
    assert_eq!(ran(&host).await, "panic");
    assert_eq!(ran(&host).await, "done");
}

#[actix_rt::test]
async fn an_engine_that_cannot_be_made_anew_is_tried_after_a_pause_only() {
    let (host, prototype) = fragile(1);
    for _ in 0..50 {
        assert_eq!(ran(&host).await, "panic");
    }
    let copies = prototype.copies.load(Ordering::Relaxed);
    // The first, and the attempts of a moment.
    assert!(copies < 40, "{copies}");
}

#[actix_rt::test]
async fn an_actor_that_has_ended_is_started_again_once_in_a_while() {
    let (host, _) = fragile(99);
    let mut ends = Vec::new();
    for _ in 0..20 {
        let actor = host.desk.actor.borrow().clone();
        // One that has ended already is told nothing.
        let _ended = actor.send(Halt).await;
        while actor.connected() {
            tokio::task::yield_now().await;
        }
        ends.push(ran(&host).await);
    }
    // The first copy panics.
    assert_eq!(ends[0], "done");
    assert!(ends.contains(&"gone"), "{ends:?}");
}

#[actix_rt::test]
async fn a_run_that_panics_when_it_is_dropped_is_a_panic() {
    let host = start(Arc::new(Brittle));
    for _ in 0..3 {
        assert_eq!(ran(&host).await, "panic");
    }
}

#[test]
fn pauses_double_and_begin_anew_after_a_while() {
    let (mut backoff, mut now) = (Backoff::default(), Instant::now());
    let mut pauses = Vec::new();
    for _ in 0..8 {
        backoff.failed(now);
        let rest = backoff.0.as_ref().unwrap();
        assert!(!backoff.is_over(now));
        pauses.push(rest.pause.as_millis());
        now = rest.until;
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    backoff.failed(now + SOUND);
    assert_eq!(backoff.0.unwrap().pause, FIRST_PAUSE);
}
