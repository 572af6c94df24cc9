//! Engines that do nothing, for what the chains around them cost.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mppd_engine::exchange::Receipt;
use mppd_engine::tracking::Recorded;
use mppd_engine::{
    BuildContext, Engine, Exchange, Failure, Finding, Outcome, Request, RequestKey, StatusDoc,
    Tracker, Transition, options,
};

options! {
    /// A trivial engine has none.
    pub struct NoOptions: Default {}
}

/// Gives its status at once, or after its task was woken again.
#[derive(Clone)]
pub(crate) struct Trivial {
    pub(crate) waits: bool,
}

impl Engine for Trivial {
    const NAME: &'static str = "trivial";
    const SUMMARY: &'static str = "does nothing";
    const STATUSES: &'static [StatusDoc] = &[];
    type Options = NoOptions;

    fn build(_: NoOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Trivial { waits: false })
    }

    async fn run(&self, _: &Exchange) -> Result<Outcome, Failure> {
        if self.waits {
            tokio::task::yield_now().await;
        }
        Ok(Outcome::new("none"))
    }
}

/// Puts nothing on record.
pub(crate) struct NotTracked;

impl Tracker for NotTracked {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A request that has just come.
pub(crate) fn exchange(request: &Arc<Request>, tracker: &Arc<dyn Tracker>) -> Arc<Exchange> {
    Arc::new(Exchange::new(Receipt {
        request: request.clone(),
        key: RequestKey([0; 16]),
        received: SystemTime::UNIX_EPOCH,
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "test".into(),
        tracker: tracker.clone(),
        repeat_of: None,
    }))
}
