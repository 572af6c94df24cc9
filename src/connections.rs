//! What a configuration connects to, and whether it can be reached: for who is about to put it in
//! force. Everything is tried at once, for a bounded time, and only read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use mppd_dns::Dns;
use mppd_engine::{Probe, Unreached};
use serde::Serialize;

use crate::plan::Plan;
use crate::tracking;

/// Most tries under way at once: a database may have many statements, and few connections left.
const AT_ONCE: usize = 16;

/// Something that the configuration connects to.
#[derive(Debug)]
pub struct Connection {
    /// Who connects: `tracking of group default`, `engine lists.blocked`.
    pub by: String,
    /// The try to reach it.
    pub probe: Probe,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// Who connects.
    pub by: String,
    /// Whereto, without a secret.
    pub target: String,
    /// Whether it was reached, and is of use.
    pub reached: bool,
    /// What was found, or why it can't be reached. Servers had a say in it.
    pub text: String,
    /// What may help.
    pub help: Option<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Connection {
    fn new(by: impl Into<String>, probe: Probe) -> Self {
        Connection { by: by.into(), probe }
    }

    /// Tries, for so long at most.
    pub async fn attempt(self, limit: Duration) -> Tried {
        let Connection { by, probe } = self;
        let (target, begun) = (probe.target().to_owned(), Instant::now());
        let attempt = tokio::time::timeout(limit, probe.attempt()).await;
        let late = |_| Err(Unreached::new(format!("no answer within {limit:?}")));
        let (reached, text, help) = match attempt.unwrap_or_else(late) {
            Ok(text) => (true, text, None),
            Err(error) => (false, error.to_string(), error.help().map(str::to_owned)),
        };
        Tried { by, target, reached, text, help, seconds: begun.elapsed().as_secs_f64() }
    }
}

/// Everything that a configuration connects to, in the order in which it matters: the records, the
/// state store, the choice of groups, name servers, engines. What is in files of this machine is
/// read when a plan is made, and is not among them.
#[must_use]
pub fn of(plan: &Plan) -> Vec<Connection> {
    let mut connections = of_tracking(plan);
    if plan.state_store.is_wanted() {
        let probe = plan.configuration.state_store.probe();
        connections.extend(probe.map(|probe| Connection::new("state store", probe)));
    }
    let selection = plan.groups.probe();
    connections.extend(selection.map(|probe| Connection::new("choice of groups", probe)));
    connections.extend(of_dns(plan));
    #[cfg(feature = "otel")]
    if let Some(tracer) = plan.blueprint.services.get::<crate::traces::Tracer>() {
        connections.push(Connection::new("traces", tracer.probe()));
    }
    for engine in &plan.blueprint.engines {
        let probes = engine.prototype.copy().probes();
        let by = format!("engine {}", engine.id);
        connections.extend(probes.into_iter().map(|probe| Connection::new(by.clone(), probe)));
    }
    connections
}

/// One for each database, however many groups share it.
fn of_tracking(plan: &Plan) -> Vec<Connection> {
    let retires = plan.configuration.common.tracking.retention.is_some();
    let databases = plan.trackers().into_iter().filter_map(|tracker| tracker.connection);
    let connection = |database| {
        let writes = |group: &&crate::supervisor::blueprint::GroupPlan| {
            let tracker = plan.tracker_of(group);
            tracker.is_some_and(|tracker| tracker.connection.as_ref() == Some(&database))
        };
        let groups = plan.blueprint.groups.iter().filter(writes).map(|group| &*group.id);
        let groups = groups.collect::<Vec<_>>().join(", ");
        let probe = tracking::probe::probe(&database, retires);
        Connection::new(format!("tracking of {groups}"), probe)
    };
    databases.map(connection).collect()
}

/// The name servers, where they are configured or an engine asks them.
fn of_dns(plan: &Plan) -> Vec<Connection> {
    let options = &plan.configuration.common.dns;
    let dns: Option<Arc<Dns>> = plan.blueprint.services.get();
    // One is the services' own, and one is ours.
    let is_asked = dns.is_some_and(|dns| dns.is_shared(2));
    if options.server.is_empty() && !is_asked {
        return Vec::new();
    }
    let probes = options.resolver_options().0.probes();
    probes.into_iter().map(|probe| Connection::new("dns", probe)).collect()
}

/// Tries all of them, each for so long at most; what came of it in the same order.
pub async fn attempt_all(connections: Vec<Connection>, limit: Duration) -> Vec<Tried> {
    let attempts = connections.into_iter().map(|connection| connection.attempt(limit));
    futures_util::stream::iter(attempts).buffered(AT_ONCE).collect().await
}
