//! What the supervisor knows of the server, for whoever asks how it is: also while a reload or the
//! end keeps the supervisor busy.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mppd_engine::config::Origin;
use mppd_engine::slog::{Logger, error};
use mppd_state::StateStore;

use super::ReloadError;
use super::blueprint::Blueprint;
use super::watchdog::Posts;
use crate::config::report::one_line;
use crate::listener::Intake;
use crate::metrics::Monitor;
use crate::plan::Plan;
use crate::status::{ConfigurationStatus, RefusedReload, ServerStatus, changed_since, text};
use crate::tracking::TrackerHandle;
use crate::traffic::Traffic;

/// How often it is said again that the configuration is refused.
const REMINDED_EVERY: Duration = Duration::from_mins(5);

/// Most findings of a refused configuration that are kept.
const MOST_FINDINGS: usize = 100;

/// What is known.
pub(super) struct Board {
    started: SystemTime,
    sights: Sights,
    known: RefCell<Known>,
    reloads: Cell<u64>,
    refusals: Cell<u64>,
    monitor: Arc<Monitor>,
}

/// What is there for as long as the server runs, and says by itself how it is.
pub(super) struct Sights {
    pub(super) traffic: Arc<Traffic>,
    pub(super) posts: Arc<Posts>,
    pub(super) intake: Arc<Intake>,
}

struct Known {
    node: Arc<str>,
    files: Vec<PathBuf>,
    loaded: SystemTime,
    refused: Option<RefusedReload>,
    listening: Vec<String>,
    trackers: Vec<TrackerHandle>,
    blueprint: Arc<Blueprint>,
    state_store: Arc<StateStore>,
    stopping: bool,
}

impl Known {
    /// After a configuration that was read at a time has come into force.
    fn of(plan: &Plan, trackers: Vec<TrackerHandle>, read: SystemTime) -> Self {
        let file = |origin: &Origin| match origin {
            Origin::File(path) => Some(path.clone()),
            _ => None,
        };
        let sources = &plan.configuration.sources;
        Known {
            node: plan.node(),
            files: sources.iter().filter_map(|source| file(&source.origin)).collect(),
            loaded: read,
            refused: None,
            listening: plan.listen.iter().map(|plan| plan.endpoint.to_string()).collect(),
            trackers,
            blueprint: plan.blueprint.clone(),
            state_store: plan.state_store.clone(),
            stopping: false,
        }
    }
}

impl Board {
    pub(super) fn new(plan: &Plan, trackers: Vec<TrackerHandle>, sights: Sights) -> Rc<Self> {
        let now = SystemTime::now();
        let (counters, traffic) = (sights.posts.counters.clone(), sights.traffic.clone());
        let monitor = Monitor::new(counters, traffic, plan.blueprint.clone(), trackers.clone());
        Rc::new(Board {
            started: now,
            sights,
            known: RefCell::new(Known::of(plan, trackers, now)),
            reloads: Cell::new(0),
            refusals: Cell::new(0),
            monitor: Arc::new(monitor),
        })
    }

    /// A configuration that began to be read at a time has come into force.
    pub(super) fn reloaded(&self, plan: &Plan, trackers: Vec<TrackerHandle>, read: SystemTime) {
        self.reloads.set(self.reloads.get() + 1);
        self.monitor.put_in_force(plan.blueprint.clone(), trackers.clone());
        let stopping = self.known.borrow().stopping;
        *self.known.borrow_mut() = Known { stopping, ..Known::of(plan, trackers, read) };
    }

    /// A configuration did not come into force.
    pub(super) fn refused(&self, error: &ReloadError) {
        let findings = match error {
            ReloadError::Rejected(rejected) => {
                let shown = rejected.findings.iter().take(MOST_FINDINGS);
                shown.map(|finding| one_line(&rejected.sources, finding)).collect()
            }
            _ => Vec::new(),
        };
        self.refusals.set(self.refusals.get() + 1);
        let at = text(SystemTime::now());
        let mut known = self.known.borrow_mut();
        let since = known.refused.take().map_or_else(|| at.clone(), |refused| refused.since);
        known.refused = Some(RefusedReload { since, at, reason: error.to_string(), findings });
    }

    /// Whether what was read last did not come into force.
    pub(super) fn is_refused(&self) -> bool {
        self.known.borrow().refused.is_some()
    }

    pub(super) fn stopping(&self) {
        self.known.borrow_mut().stopping = true;
    }

    /// The server in a line.
    pub(super) fn line(&self) -> String {
        let known = self.known.borrow();
        match &known.refused {
            Some(refused) => format!(
                "answering; the configuration is refused since {}: {}",
                refused.since, refused.reason
            ),
            None => format!("answering at {}", known.listening.join(", ")),
        }
    }

    /// How the server is.
    pub(super) fn status(&self) -> ServerStatus {
        let known = self.known.borrow();
        ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: known.node.to_string(),
            pid: std::process::id(),
            started: text(self.started),
            stopping: known.stopping,
            listening: known.listening.clone(),
            configuration: ConfigurationStatus {
                files: known.files.iter().map(|file| file.display().to_string()).collect(),
                loaded: text(known.loaded),
                changed: changed_since(&known.files, known.loaded),
                refused: known.refused.clone(),
                reloads: self.reloads.get(),
                refusals: self.refusals.get(),
            },
            traffic: self.sights.traffic.status(),
            workers: self.sights.posts.status(&self.sights.intake),
            stuck_threads: self.sights.posts.stuck(),
            engines: known.blueprint.breakers(),
            trackers: known.trackers.iter().map(TrackerHandle::status).collect(),
            state_store: known.state_store.status().map(Into::into),
        }
    }

    /// What is counted, for any thread.
    pub(super) fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// Says it again and again while the configuration is refused: whoever restarts mppd would have
    /// none.
    pub(super) async fn remind(self: Rc<Self>, logger: Logger) {
        remind(|| self.known.borrow().refused.clone(), &logger).await;
    }
}

async fn remind(refused: impl Fn() -> Option<RefusedReload>, logger: &Logger) {
    loop {
        tokio::time::sleep(REMINDED_EVERY).await;
        if let Some(refused) = refused() {
            error!(logger, "the configuration is still refused, an old one is in force";
                "since" => refused.since, "reason" => refused.reason,
                "findings" => refused.findings.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mppd_engine::slog::{Drain, Never, OwnedKVList, Record, o};

    use super::*;

    /// Keeps what is said.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<String>>>);

    impl Drain for Said {
        type Ok = ();
        type Err = Never;

        fn log(&self, line: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            self.0.lock().unwrap().push(line.msg().to_string());
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_configuration_is_mentioned_every_five_minutes_until_it_is_mended() {
        let said = Said::default();
        let logger = Logger::root(said.clone(), o!());
        let lines = || said.0.lock().unwrap().len();
        let known = Rc::new(RefCell::new(None));
        let asked = known.clone();
        let reminding = remind(move || asked.borrow().clone(), &logger);
        let minutes = async |minutes: u64| {
            tokio::time::sleep(Duration::from_secs(minutes * 60 + 1)).await;
        };
        let story = async {
            minutes(11).await;
            assert_eq!(lines(), 0);
            let at = String::new();
            let reason = "the configuration has errors".to_owned();
            let refused = RefusedReload { since: at.clone(), at, reason, findings: Vec::new() };
            *known.borrow_mut() = Some(refused);
            minutes(5).await;
            assert_eq!(lines(), 1);
            minutes(5).await;
            assert_eq!(lines(), 2);
            *known.borrow_mut() = None;
            minutes(30).await;
            assert_eq!(lines(), 2);
        };
        tokio::select! {
            () = reminding => {}
            () = story => {}
        }
        assert!(said.0.lock().unwrap()[0].contains("still refused"));
    }
}
