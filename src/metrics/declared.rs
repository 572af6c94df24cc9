//! Every metric there is. The exposition can show no other, and the reference is made from this.

/// What a metric's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, or begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often a number lay below which bound, with the sum and the count of all.
    Histogram,
    /// The sum and the count of numbers.
    Summary,
}

impl Kind {
    /// As Prometheus calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
        }
    }
}

/// One metric, as it is declared.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    help: &'static str,
}

impl Metric {
    /// What it says, in a sentence.
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }
}

/// Metrics that belong together.
#[derive(Debug)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// The metrics, in the order in which they are shown.
    pub metrics: &'static [&'static Metric],
}

/// Every metric, with the place of its name.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    SECTIONS.iter().flat_map(|section| section.metrics).copied()
}

macro_rules! declare {
    ($($title:literal {
        $($(#[doc = $help:literal])+ $name:ident = $kind:ident $text:literal [$($label:literal),*];)+
    })+) => {
        $($(
            $(#[doc = $help])+
            pub(super) const $name: &Metric = &Metric {
                name: $text,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),+),
            };
        )+)+

        /// Every metric, section by section.
        pub const SECTIONS: &[Section] = &[
            $(Section { title: $title, metrics: &[$($name),+] }),+
        ];
    };
}

declare! {
    "Requests" {
        /// Requests that were decided, those that ended with an exception among them.
        REQUESTS = Counter "mppd_requests_total" ["group", "stage"];
        /// Time from the last octet of a request to its decision.
        REQUEST_DURATION = Histogram "mppd_request_duration_seconds" [];
        /// What was answered: words of access(5), codes by their class. In a dry run it is DUNNO.
        DECISIONS = Counter "mppd_decisions_total" ["group", "decision"];
        /// Requests that ended with an exception, and were answered with `on_error`.
        REQUEST_EXCEPTIONS = Counter "mppd_request_exceptions_total" ["group", "exception"];
        /// Requests that repeated another one, and got its answer.
        REPEATS = Counter "mppd_repeated_requests_total" ["group"];
    }
    "Engines" {
        /// What engines came to: the statuses that their kind declares, `skipped` by a precondition,
        /// `exception`.
        ENGINE_RUNS = Counter "mppd_engine_runs_total" ["engine", "status"];
        /// Runs that gave no status, by what went wrong.
        ENGINE_EXCEPTIONS = Counter "mppd_engine_exceptions_total" ["engine", "exception"];
        /// Requests that the engine decided.
        ENGINE_DECISIONS = Counter "mppd_engine_decisions_total" ["engine"];
        /// Time that runs took.
        ENGINE_DURATION = Histogram "mppd_engine_duration_seconds" ["engine"];
        /// Whether the engine's breaker is in this state: 1 for the one it is in.
        BREAKER = Gauge "mppd_engine_breaker_state" ["engine", "state"];
        /// Always 1; the engine's kind.
        ENGINE_INFO = Gauge "mppd_engine_info" ["engine", "kind"];
    }
    "Connections and limits" {
        /// Connections at the moment.
        CONNECTIONS = Gauge "mppd_connections" [];
        /// Requests under way at the moment.
        UNDER_WAY = Gauge "mppd_requests_under_way" [];
        /// Memory that requests take up at the moment.
        MEMORY = Gauge "mppd_request_memory_bytes" [];
        /// Connections taken in.
        ACCEPTED = Counter "mppd_connections_accepted_total" [];
        /// Connections closed at a limit, without an answer.
        REFUSED = Counter "mppd_connections_refused_total" [];
        /// Replies written, those to requests that were shed among them.
        ANSWERED = Counter "mppd_requests_answered_total" [];
        /// Requests that got what `on_overload` says.
        SHED = Counter "mppd_requests_shed_total" [];
        /// How often a limit was reached, by the option that sets it.
        LIMITS = Counter "mppd_limits_reached_total" ["limit"];
        /// Connections closed for input that no Postfix sends.
        BAD_INPUT = Counter "mppd_connections_bad_input_total" [];
        /// Connections closed because their peer was too slow.
        TOO_SLOW = Counter "mppd_connections_too_slow_total" [];
    }
    "Workers" {
        /// Workers.
        WORKERS = Gauge "mppd_workers" [];
        /// Connections of the worker at the moment.
        WORKER_CONNECTIONS = Gauge "mppd_worker_connections" ["worker"];
        /// Whether something holds the worker up.
        WORKER_HELD_UP = Gauge "mppd_worker_held_up" ["worker"];
        /// How often another worker has taken its place.
        WORKER_REPLACED = Counter "mppd_worker_replaced_total" ["worker"];
        /// Threads that are held up for good, and whose work others do.
        STUCK = Gauge "mppd_stuck_threads" [];
    }
    "Records" {
        /// Rows in each batch that was written.
        BATCH_ROWS = Histogram "mppd_tracker_batch_rows" ["records"];
        /// Time that it took to write each batch durably.
        COMMITS = Histogram "mppd_tracker_commit_duration_seconds" ["records"];
        /// Rows written.
        ROWS = Counter "mppd_tracker_rows_total" ["records"];
        /// Transitions that wait to be written.
        QUEUE = Gauge "mppd_tracker_queue" ["records"];
        /// When the last batch was written.
        LAST_COMMIT = Gauge "mppd_tracker_last_commit_timestamp_seconds" ["records"];
        /// Whether the database is away, and rows go into the spool.
        AWAY = Gauge "mppd_tracker_away" ["records"];
        /// How often the database went away.
        ABSENCES = Counter "mppd_tracker_absences_total" ["records"];
        /// How often it was tried to connect to the database while it was away.
        ATTEMPTS = Counter "mppd_tracker_connection_attempts_total" ["records"];
        /// Batches that could be written nowhere, and were tried again.
        FAILURES = Counter "mppd_tracker_write_failures_total" ["records"];
        /// Whether no file can be written, so that rows wait in memory.
        BLOCKED = Gauge "mppd_tracker_blocked" ["records"];
        /// Rows in the spool, those that the database refused among them.
        SPOOLED = Gauge "mppd_tracker_spooled_rows" ["records"];
        /// Size of the rows in the spool.
        SPOOL_BYTES = Gauge "mppd_tracker_spool_bytes" ["records"];
        /// When the request of the oldest row in the spool came; absent where there is none.
        SPOOL_OLDEST = Gauge "mppd_tracker_spool_oldest_timestamp_seconds" ["records"];
        /// Whether the spool has reached its bound.
        AT_BOUND = Gauge "mppd_tracker_spool_at_bound" ["records"];
        /// Rows in the spool that the database refused for what they hold.
        REFUSED_ROWS = Gauge "mppd_tracker_refused_rows" ["records"];
        /// Requests that were answered and are not on record.
        LOST = Counter "mppd_tracker_lost_total" ["records"];
        /// Requests whose rows were removed from the spool before they were in the database.
        DROPPED = Counter "mppd_tracker_dropped_total" ["records"];
        /// Requests that were put off because they could not be put on record.
        DEFERRED = Counter "mppd_tracker_deferred_total" ["records"];
        /// Rows that retention removed.
        RETIRED = Counter "mppd_tracker_retired_rows_total" ["records"];
    }
    "State store" {
        /// What was asked of the state store.
        STATE_OPERATIONS = Counter "mppd_state_operations_total" ["store", "operation"];
        /// What failed of that.
        STATE_ERRORS = Counter "mppd_state_errors_total" ["store"];
        /// Time that was waited for the state store, where it did not answer at once.
        STATE_WAITS = Summary "mppd_state_wait_seconds" ["store"];
        /// What is waited for from the state store at the moment.
        STATE_UNDER_WAY = Gauge "mppd_state_under_way" ["store"];
        /// Connections to the servers of the state store at the moment, to a Redis Cluster one for
        /// all; absent where the store is embedded.
        STATE_CONNECTIONS = Gauge "mppd_state_connections" ["store"];
        /// Records in the state store; absent where it is on another machine.
        STATE_RECORDS = Gauge "mppd_state_records" ["store"];
        /// Records that gave way to others before their time; absent where the store is on another
        /// machine.
        STATE_EVICTED = Counter "mppd_state_evicted_total" ["store"];
    }
    "Resolver" {
        /// Questions to the resolver that its cache answered. Begins anew with each reload, as all of
        /// the resolver's.
        DNS_CACHED = Counter "mppd_dns_cache_hits_total" [];
        /// Questions that name servers were asked, by what came of them.
        DNS_QUESTIONS = Counter "mppd_dns_questions_total" ["result"];
        /// Time that these questions took.
        DNS_WAITS = Summary "mppd_dns_question_seconds" [];
        /// Questions under way at the moment.
        DNS_UNDER_WAY = Gauge "mppd_dns_questions_under_way" [];
    }
    "Databases of engines" {
        /// Questions that the engine's databases were asked, by what came of them; `groups/sql` are
        /// those for the group of a request. Begins anew with each reload, as all of these.
        SQL_QUESTIONS = Counter "mppd_sql_questions_total" ["engine", "result"];
        /// Time that these questions took, waiting for a connection included.
        SQL_WAITS = Summary "mppd_sql_question_seconds" ["engine"];
        /// Questions that wait for their answers at the moment.
        SQL_UNDER_WAY = Gauge "mppd_sql_questions_under_way" ["engine"];
        /// Connections to the engine's databases at the moment.
        SQL_CONNECTIONS = Gauge "mppd_sql_connections" ["engine"];
    }
    "Traces" {
        /// Requests whose traces were to be sent, by what became of them; absent where none are.
        TRACES = Counter "mppd_traces_total" ["result"];
    }
    "Server and configuration" {
        /// Whether the server takes requests in: it is not about to end, and a worker is able to work.
        READY = Gauge "mppd_ready" [];
        /// When the configuration in force was read.
        LOADED = Gauge "mppd_configuration_loaded_timestamp_seconds" [];
        /// Files of the configuration that have changed since: what stands in them is not in force.
        CHANGED = Gauge "mppd_configuration_changed_files" [];
        /// Whether the last reload was refused.
        CONFIGURATION_REFUSED = Gauge "mppd_configuration_refused" [];
        /// Reloads, by what came of them.
        RELOADS = Counter "mppd_reloads_total" ["result"];
        /// Always 1; of what the server was built.
        BUILD = Gauge "mppd_build_info" ["version", "commit", "rustc"];
    }
    "Process" {
        /// When the process began.
        PROCESS_START = Gauge "process_start_time_seconds" [];
        /// Processor time that it took.
        PROCESS_CPU = Counter "process_cpu_seconds_total" [];
        /// Memory that it has.
        PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [];
        /// Memory that it could address.
        PROCESS_VIRTUAL = Gauge "process_virtual_memory_bytes" [];
        /// Descriptors that are open.
        PROCESS_FDS = Gauge "process_open_fds" [];
        /// Descriptors that may be open.
        PROCESS_MAX_FDS = Gauge "process_max_fds" [];
        /// Threads.
        PROCESS_THREADS = Gauge "process_threads" [];
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_declared_twice_and_counters_end_in_total() {
        let names: BTreeSet<&str> = all().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().count());
        for metric in all() {
            let is_total = metric.name.ends_with("_total");
            assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn every_metric_says_what_it_is_in_a_sentence() {
        for metric in all() {
            let help = metric.help();
            assert!(help.ends_with('.') && !help.contains('\n'), "{}: {help}", metric.name);
            assert!(!help.contains("  "), "{}: {help}", metric.name);
        }
    }
}
