//! The configuration as written: every element of `mppd.conf.xml` outside the engines, declared
//! once for reading and for the reference.

use std::path::PathBuf;

use mppd_database::ConnectionOptions;
use mppd_engine::config::{
    FileSize, OptionDoc, OptionValue, Options as _, Period, Positive, Spanned,
};
use mppd_engine::options;
use serde::Deserialize;

options! {
    /// `<common>`: what holds for the whole server.
    pub struct CommonOptions: Default {
        /// Sockets and limits.
        policy_server: PolicyServerOptions = PolicyServerOptions::default(),
        /// Directory for the embedded store and the spool. A relative one starts at the directory
        /// in which mppd is started.
        state_directory: PathBuf = PathBuf::from("var"),
        /// Name of this node in the records; the host name unless given.
        node: Option<String> = None,
        /// What is logged, and where.
        log: LogOptions = LogOptions::default(),
        /// How requests are put on record.
        tracking: TrackingOptions = TrackingOptions::default(),
        /// Engines that run before the checks, by their full IDs, in order. May stand several
        /// times; the lists are read one after the other.
        policy_begin_engines: Vec<Spanned<String>> = Vec::new(),
        /// The checks, in order.
        policy_check_engines: Vec<Spanned<String>> = Vec::new(),
        /// Engines that run after the decision.
        policy_end_engines: Vec<Spanned<String>> = Vec::new(),
        /// Engines that run instead of the rest after an exception.
        policy_end_exception_engines: Vec<Spanned<String>> = Vec::new(),
    }
}

options! {
    /// `<policy_server>`: sockets and limits.
    pub struct PolicyServerOptions: Default {
        /// Where to listen; may stand several times.
        listen: Vec<ListenOptions> = Vec::new(),
        /// Worker threads, each with a copy of every engine; one for each core unless given.
        workers: Option<Positive<u16>> = None,
        /// Most connections at once; one more is closed as soon as it comes, and logged.
        max_connections: Positive<u32> = Positive(10_000),
        /// Longest line of a request.
        max_line: Positive<FileSize> = Positive(FileSize::kib(16)),
        /// Longest request.
        max_request: Positive<FileSize> = Positive(FileSize::kib(64)),
        /// When a request must be answered at the latest; the exception `deadline` after that.
        /// Postfix gives up after 100 seconds.
        request_deadline: Positive<Period> = Positive(Period::seconds(30)),
        /// How long a connection may say nothing before it is closed; for ever unless given, as
        /// Postfix expects.
        idle_timeout: Option<Positive<Period>> = None,
        /// How many runs of one check may wait or be under way in one worker; one more is the
        /// exception `overloaded`.
        engine_queue: Positive<u32> = Positive(1_000),
        /// How long requests that are under way may take to finish when mppd stops.
        drain_timeout: Period = Period::seconds(30),
    }
}

options! {
    /// `<listen>`: one socket.
    pub struct ListenOptions {
        /// `inet:HOST:PORT`, `inet:[::1]:PORT`, `inet:PORT` (localhost) or `unix:PATH`.
        ["$text"] endpoint: Spanned<String>,
        /// Permissions of a `unix:` socket, octal.
        mode: Option<Spanned<String>> = None,
        /// Owner of a `unix:` socket, by name or number.
        owner: Option<Spanned<String>> = None,
        /// Group of a `unix:` socket, by name or number.
        group: Option<Spanned<String>> = None,
    }
}

options! {
    /// `<log>`: what is logged, and where.
    pub struct LogOptions: Default {
        /// `critical`, `error`, `warning`, `info`, `debug` or `trace`. Decisions are `info`.
        level: LogLevel = LogLevel::Info,
        /// `terminal` and `json` go to standard error, `syslog` to the system's logger.
        format: LogFormat = LogFormat::Terminal,
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what stops the server.
    Critical,
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warning,
    /// One line for each decision, and what the server does.
    Info,
    /// More, for people who look for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// How, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people, on standard error.
    Terminal,
    /// One JSON object a line, on standard error.
    Json,
    /// The system's logger, facility mail.
    Syslog,
}

options! {
    /// `<tracking>`: how requests are put on record.
    pub struct TrackingOptions: Default {
        /// What an answer waits for. `answer`: the request is durably `processed`. `strict`: so,
        /// and the checks do not start before it is durably `received`. `relaxed`: for nothing.
        durability: Durability = Durability::Answer,
        /// How long a request that is still being checked may wait for its decision before its
        /// row is written as `received`; one that is decided sooner costs one row, written once.
        received_delay: Period = Period::milliseconds(50),
        /// Most rows in one transaction.
        batch_rows: Positive<u32> = Positive(512),
        /// Most transitions that may wait to be written; more wait before they are taken in.
        queue: Positive<u32> = Positive(10_000),
    }
}

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// No answer leaves before its row is durably `processed`.
    Answer,
    /// Nor do the checks start before it is durably `received`.
    Strict,
    /// Answers do not wait.
    Relaxed,
}

options! {
    /// `<group>`: options that a policy group can set for itself.
    pub struct GroupOptions {
        /// Its name; `default` must exist.
        id: Spanned<String>,
        /// The reply after an exception, an action of access(5).
        on_error: Option<Spanned<String>> = None,
        /// The database for this group's records; the embedded store unless given.
        ["PPXX0001_track_policy_connection"] tracking: Option<ConnectionOptions> = None,
    }
}

macro_rules! words {
    ($($type:ty: $words:literal,)+) => {
        $(impl OptionValue for $type {
            const TYPE: &'static str = $words;

            fn show(&self) -> String {
                format!("{self:?}").to_lowercase()
            }
        })+
    };
}

words! {
    LogLevel: "critical, error, warning, info, debug or trace",
    LogFormat: "terminal, json or syslog",
    Durability: "answer, strict or relaxed",
}

/// The reference of everything outside the engines: the element's name and its options.
#[must_use]
pub fn reference() -> Vec<(&'static str, Vec<OptionDoc>)> {
    vec![("common", CommonOptions::docs()), ("group", GroupOptions::docs())]
}
