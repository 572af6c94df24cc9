//! Every metric with its values, as whoever monitors the server reads them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mppd_database::{PoolStatus, Pools};
use mppd_dns::{Dns, DnsStatus};
use mppd_engine::config::Services;
use mppd_state::{StateStatus, StateStore};

use super::count::HistogramReading;
use super::counters::{Counters, Reading};
use super::declared::{self, Metric};
use super::page::{Page, Scale};
use super::process::ProcessReading;
use crate::admin::health::unready;
use crate::status::{ConfigurationStatus, ServerStatus};
use crate::supervisor::blueprint::Blueprint;
use crate::supervisor::breaker::{BreakerState, BreakerStatus};
use crate::supervisor::watchdog::WorkerStatus;
use crate::tracking::TrackerHandle;
use crate::tracking::status::{Place, TrackerStatus};
use crate::traffic::{Traffic, TrafficStatus};

/// What the metrics are made of, for whoever asks from any thread: nobody who answers requests has
/// to write them.
#[derive(Debug)]
pub struct Monitor {
    started: SystemTime,
    counters: Arc<Counters>,
    traffic: Arc<Traffic>,
    in_force: Mutex<InForce>,
}

/// What is in force.
#[derive(Debug, Clone)]
struct InForce {
    blueprint: Arc<Blueprint>,
    trackers: Vec<TrackerHandle>,
}

impl Monitor {
    /// Of a server whose workers count here, with this in force.
    #[must_use]
    pub fn new(
        counters: Arc<Counters>,
        traffic: Arc<Traffic>,
        blueprint: Arc<Blueprint>,
        trackers: Vec<TrackerHandle>,
    ) -> Self {
        let in_force = Mutex::new(InForce { blueprint, trackers });
        Monitor { started: SystemTime::now(), counters, traffic, in_force }
    }

    /// A reload has put this in force. What is counted of engines and groups that are no more is
    /// forgotten.
    pub fn put_in_force(&self, blueprint: Arc<Blueprint>, trackers: Vec<TrackerHandle>) {
        self.counters.keep(&blueprint);
        *self.lock() = InForce { blueprint, trackers };
    }

    /// What was counted on the way of requests.
    #[must_use]
    pub fn read(&self) -> Reading {
        let blueprint = self.lock().blueprint.clone();
        self.counters.read(&blueprint)
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        // No panic can leave it half-way.
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every metric, for Prometheus. A server that does not say how it is is not ready, and what
    /// only it knows is absent.
    #[must_use]
    pub fn render(&self, status: Option<&ServerStatus>) -> String {
        let InForce { blueprint, trackers } = self.lock().clone();
        let mut page = Page::default();
        let reading = self.counters.read(&blueprint);
        requests(&mut page, &reading);
        engines(&mut page, &reading, &blueprint.breakers());
        traffic(&mut page, &self.traffic.status());
        let known = status.map(|status| (&*status.workers, status.stuck_threads));
        workers(&mut page, known);
        let trackers: Vec<Tracker> = trackers.iter().map(Tracker::of).collect();
        batches(&mut page, &trackers);
        records(&mut page, &trackers);
        let services = &blueprint.services;
        let store = services.get::<StateStore>().and_then(|store| store.status());
        state_store(&mut page, store.as_ref());
        resolver(&mut page, services.get::<Dns>().and_then(|dns| dns.status()));
        let pools = services.get::<Pools>().map(|pools| pools.status());
        databases(&mut page, &pools.unwrap_or_default());
        traces(&mut page, services);
        server(&mut page, status);
        process(&mut page, &ProcessReading::take(), self.started);
        page.into_text()
    }
}

fn requests(page: &mut Page, reading: &Reading) {
    let mut family = page.family(declared::REQUESTS);
    for group in &reading.groups {
        for (stage, count) in group.stages.iter().filter(|(_, count)| *count > 0) {
            family.value(&[&group.id, stage], count);
        }
    }
    let mut family = page.family(declared::REQUEST_DURATION);
    family.histogram(&[], &reading.times, Scale::Nanoseconds);
    let mut family = page.family(declared::DECISIONS);
    for group in &reading.groups {
        for (decision, count) in group.decisions.iter().filter(|(_, count)| *count > 0) {
            family.value(&[&group.id, decision], count);
        }
    }
    let mut family = page.family(declared::REQUEST_EXCEPTIONS);
    for group in &reading.groups {
        for (exception, count) in group.exceptions.iter().filter(|(_, count)| *count > 0) {
            family.value(&[&group.id, exception], count);
        }
    }
    let mut family = page.family(declared::REPEATS);
    for group in &reading.groups {
        family.value(&[&group.id], group.repeats);
    }
}

fn engines(page: &mut Page, reading: &Reading, breakers: &[BreakerStatus]) {
    let mut family = page.family(declared::ENGINE_RUNS);
    for engine in &reading.engines {
        for (status, count) in &engine.statuses {
            family.value(&[&engine.id, status], count);
        }
    }
    let mut family = page.family(declared::ENGINE_EXCEPTIONS);
    for engine in &reading.engines {
        // The deadline is that of a whole request.
        for (exception, count) in engine.exceptions.iter().filter(|(word, _)| *word != "deadline") {
            family.value(&[&engine.id, exception], count);
        }
    }
    let mut family = page.family(declared::ENGINE_DECISIONS);
    for engine in &reading.engines {
        family.value(&[&engine.id], engine.decided);
    }
    let mut family = page.family(declared::ENGINE_DURATION);
    for engine in &reading.engines {
        family.histogram(&[&engine.id], &engine.times, Scale::Nanoseconds);
    }
    let mut family = page.family(declared::BREAKER);
    for breaker in breakers {
        for (state, name) in [
            (BreakerState::Closed, "closed"),
            (BreakerState::Open, "open"),
            (BreakerState::HalfOpen, "half_open"),
        ] {
            family.value(&[&breaker.engine, name], u8::from(breaker.state == state));
        }
    }
    let mut family = page.family(declared::ENGINE_INFO);
    for engine in &reading.engines {
        family.value(&[&engine.id, engine.kind], 1);
    }
}

fn traffic(page: &mut Page, traffic: &TrafficStatus) {
    page.single(declared::CONNECTIONS, traffic.connections + traffic.turning_away);
    page.single(declared::UNDER_WAY, traffic.requests);
    page.single(declared::MEMORY, traffic.memory);
    page.single(declared::ACCEPTED, traffic.accepted);
    page.single(declared::REFUSED, traffic.refused);
    page.single(declared::ANSWERED, traffic.answered);
    page.single(declared::SHED, traffic.shed);
    let mut family = page.family(declared::LIMITS);
    family.value(&["max_connections"], traffic.over_connections);
    family.value(&["max_requests"], traffic.over_requests);
    family.value(&["max_memory"], traffic.over_memory);
    page.single(declared::BAD_INPUT, traffic.bad_input);
    page.single(declared::TOO_SLOW, traffic.too_slow);
}

fn workers(page: &mut Page, known: Option<(&[WorkerStatus], usize)>) {
    let workers = known.map_or(&[][..], |(workers, _)| workers);
    page.values(declared::WORKERS, known.map(|(workers, _)| workers.len()));
    let mut each = |metric: &'static Metric, value: fn(&WorkerStatus) -> u32| {
        let mut family = page.family(metric);
        for worker in workers {
            family.value(&[&worker.number.to_string()], value(worker));
        }
    };
    each(declared::WORKER_CONNECTIONS, |worker| worker.connections);
    each(declared::WORKER_HELD_UP, |worker| u32::from(worker.held_up_by.is_some()));
    each(declared::WORKER_REPLACED, |worker| worker.replaced);
    page.values(declared::STUCK, known.map(|(_, stuck)| stuck));
}

/// A tracker at one time.
struct Tracker {
    status: TrackerStatus,
    rows: HistogramReading,
    times: HistogramReading,
}

impl Tracker {
    fn of(handle: &TrackerHandle) -> Self {
        let batches = handle.batches();
        Tracker { status: handle.status(), rows: batches.rows.read(), times: batches.times.read() }
    }
}

fn batches(page: &mut Page, trackers: &[Tracker]) {
    let mut family = page.family(declared::BATCH_ROWS);
    for tracker in trackers {
        family.histogram(&[&tracker.status.records], &tracker.rows, Scale::One);
    }
    let mut family = page.family(declared::COMMITS);
    for tracker in trackers {
        family.histogram(&[&tracker.status.records], &tracker.times, Scale::Nanoseconds);
    }
}

fn records(page: &mut Page, trackers: &[Tracker]) {
    let mut each = |metric: &'static Metric, value: fn(&TrackerStatus) -> Option<u64>| {
        let mut family = page.family(metric);
        for Tracker { status, .. } in trackers {
            if let Some(value) = value(status) {
                family.value(&[&status.records], value);
            }
        }
    };
    each(declared::ROWS, |status| Some(status.rows));
    each(declared::QUEUE, |status| Some(status.waiting as u64));
    each(declared::LAST_COMMIT, |status| status.last_commit.and_then(whole_seconds));
    each(declared::AWAY, |status| Some(matches!(status.place, Place::Away { .. }).into()));
    each(declared::ABSENCES, |status| Some(status.absences));
    each(declared::ATTEMPTS, |status| Some(status.attempts));
    each(declared::FAILURES, |status| Some(status.failures));
    each(declared::BLOCKED, |status| Some(status.blocked.is_some().into()));
    each(declared::SPOOLED, |status| Some(status.spooled));
    each(declared::SPOOL_BYTES, |status| Some(status.spooled_octets));
    each(declared::SPOOL_OLDEST, |status| status.oldest.and_then(whole_seconds));
    each(declared::AT_BOUND, |status| Some(status.at_bound.into()));
    each(declared::REFUSED_ROWS, |status| Some(status.refused));
    each(declared::LOST, |status| Some(status.lost));
    each(declared::DROPPED, |status| Some(status.dropped));
    each(declared::DEFERRED, |status| Some(status.deferred));
    each(declared::RETIRED, |status| Some(status.retired));
}

fn whole_seconds(time: Timestamp) -> Option<u64> {
    u64::try_from(time.as_second()).ok()
}

fn state_store(page: &mut Page, status: Option<&StateStatus>) {
    // Where no engine remembers anything there is no store; the families are there all the same.
    let mut family = page.family(declared::STATE_OPERATIONS);
    if let Some(status) = status {
        family.value(&[status.store, "update"], status.updates);
        family.value(&[status.store, "remove"], status.removals);
        family.value(&[status.store, "list"], status.lists);
    }
    let mut family = page.family(declared::STATE_ERRORS);
    if let Some(status) = status {
        family.value(&[status.store], status.errors);
    }
    let mut family = page.family(declared::STATE_WAITS);
    if let Some(status) = status {
        family.sum(&[status.store], status.waited.as_secs_f64(), status.waits);
    }
    let mut family = page.family(declared::STATE_UNDER_WAY);
    if let Some(status) = status {
        family.value(&[status.store], status.under_way);
    }
    let mut known = |metric: &'static Metric, count: fn(&StateStatus) -> Option<u64>| {
        let mut family = page.family(metric);
        if let Some((status, count)) = status.and_then(|status| Some((status, count(status)?))) {
            family.value(&[status.store], count);
        }
    };
    known(declared::STATE_CONNECTIONS, |status| status.connections);
    known(declared::STATE_RECORDS, |status| status.records);
    known(declared::STATE_EVICTED, |status| status.evicted);
}

fn resolver(page: &mut Page, status: Option<DnsStatus>) {
    let status = status.unwrap_or_default();
    page.single(declared::DNS_CACHED, status.cached);
    let results = [
        ("answered", status.answered),
        ("timed_out", status.timed_out),
        ("refused", status.refused),
        ("failed", status.failed),
    ];
    let mut family = page.family(declared::DNS_QUESTIONS);
    for (result, count) in &results {
        family.value(&[result], count);
    }
    let asked = results.iter().map(|(_, count)| count).sum();
    page.family(declared::DNS_WAITS).sum(&[], status.waited.as_secs_f64(), asked);
    page.single(declared::DNS_UNDER_WAY, status.under_way);
}

fn databases(page: &mut Page, pools: &[PoolStatus]) {
    let mut family = page.family(declared::SQL_QUESTIONS);
    for pool in pools {
        family.value(&[&pool.engine, "answered"], pool.answered);
        family.value(&[&pool.engine, "failed"], pool.failed);
    }
    let mut family = page.family(declared::SQL_WAITS);
    for pool in pools {
        family.sum(&[&pool.engine], pool.waited.as_secs_f64(), pool.answered + pool.failed);
    }
    let mut family = page.family(declared::SQL_UNDER_WAY);
    for pool in pools {
        family.value(&[&pool.engine], pool.under_way);
    }
    let mut family = page.family(declared::SQL_CONNECTIONS);
    for pool in pools {
        family.value(&[&pool.engine], pool.connections);
    }
}

#[cfg(feature = "otel")]
fn traces(page: &mut Page, services: &Services) {
    let mut family = page.family(declared::TRACES);
    if let Some(tracer) = services.get::<crate::traces::Tracer>() {
        let status = tracer.status();
        family.value(&["sent"], status.sent);
        family.value(&["dropped"], status.dropped);
        family.value(&["failed"], status.failed);
    }
}

#[cfg(not(feature = "otel"))]
fn traces(page: &mut Page, _: &Services) {
    page.family(declared::TRACES);
}

fn server(page: &mut Page, status: Option<&ServerStatus>) {
    let is_ready = status.is_some_and(|status| unready(status).is_empty());
    page.single(declared::READY, u8::from(is_ready));
    let configuration = status.map(|status| &status.configuration);
    page.values(declared::LOADED, configuration.and_then(|c| seconds_of(c.loaded.parse().ok()?)));
    page.values(declared::CHANGED, configuration.map(|known| known.changed.len()));
    let is_refused = configuration.map(|known| u8::from(known.refused.is_some()));
    page.values(declared::CONFIGURATION_REFUSED, is_refused);
    let mut family = page.family(declared::RELOADS);
    if let Some(ConfigurationStatus { reloads, refusals, .. }) = configuration {
        family.value(&["ok"], reloads);
        family.value(&["refused"], refusals);
    }
    let (version, commit) = (env!("CARGO_PKG_VERSION"), option_env!("MPPD_COMMIT"));
    let built = [version, commit.unwrap_or_default(), env!("MPPD_RUSTC")];
    page.family(declared::BUILD).value(&built, 1);
}

/// Seconds since 1970.
fn seconds_of(time: Timestamp) -> Option<f64> {
    let since = Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).ok()?;
    Some(since.as_secs_f64())
}

fn process(page: &mut Page, process: &ProcessReading, started: SystemTime) {
    let started = Timestamp::try_from(started).ok().and_then(seconds_of);
    page.values(declared::PROCESS_START, started);
    page.values(declared::PROCESS_CPU, process.cpu);
    page.values(declared::PROCESS_RESIDENT, process.resident);
    page.values(declared::PROCESS_VIRTUAL, process.virtual_memory);
    page.values(declared::PROCESS_FDS, process.descriptors);
    page.values(declared::PROCESS_MAX_FDS, process.most_descriptors);
    page.values(declared::PROCESS_THREADS, process.threads);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::traffic::Limit;

    fn monitor() -> Monitor {
        let blueprint = Arc::new(Blueprint::new(Vec::new(), Vec::new()));
        let traffic = Arc::<Traffic>::default();
        traffic.reached(Limit::Memory);
        Monitor::new(Arc::default(), traffic, blueprint, Vec::new())
    }

    /// A server that has just begun, with nothing configured.
    fn status() -> ServerStatus {
        let started = "2026-11-23T10:00:00.500Z".to_owned();
        let configuration = ConfigurationStatus {
            files: Vec::new(),
            loaded: started.clone(),
            changed: Vec::new(),
            refused: None,
            reloads: 3,
            refusals: 1,
        };
        let worker =
            WorkerStatus { number: 0, connections: 2, held_up_by: None, since: None, replaced: 0 };
        ServerStatus {
            version: "1.2.3".to_owned(),
            node: "node".to_owned(),
            pid: 1,
            started,
            stopping: false,
            listening: vec!["inet:127.0.0.1:10040".to_owned()],
            configuration,
            traffic: TrafficStatus::default(),
            workers: vec![worker],
            stuck_threads: 0,
            engines: Vec::new(),
            trackers: Vec::new(),
            state_store: None,
        }
    }

    #[test]
    fn every_metric_that_is_declared_is_shown_once_and_no_other() {
        let text = monitor().render(Some(&status()));
        let shown: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let declared: Vec<&str> = declared::all().map(|metric| metric.name).collect();
        assert_eq!(shown, declared);
        let once: BTreeSet<&str> = shown.iter().copied().collect();
        assert_eq!(once.len(), shown.len());
    }

    #[test]
    fn what_the_status_says_is_shown() {
        let text = monitor().render(Some(&status()));
        for line in [
            "mppd_limits_reached_total{limit=\"max_memory\"} 1",
            "mppd_reloads_total{result=\"ok\"} 3",
            "mppd_reloads_total{result=\"refused\"} 1",
            "mppd_worker_connections{worker=\"0\"} 2",
            "mppd_configuration_loaded_timestamp_seconds 1795428000.5",
            "mppd_ready 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        let version = env!("CARGO_PKG_VERSION");
        let build = format!("mppd_build_info{{version=\"{version}\",commit=\"");
        assert!(text.contains(&build), "{text}");
    }

    #[test]
    fn a_server_that_stops_or_says_nothing_is_not_ready() {
        let stopping = ServerStatus { stopping: true, ..status() };
        for status in [Some(&stopping), None] {
            assert!(monitor().render(status).contains("\nmppd_ready 0\n"));
        }
    }
}
