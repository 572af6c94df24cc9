//! The configuration as written: every element of `mppd.conf.xml` outside the engines, declared
//! once for reading and for the reference.

use std::path::PathBuf;

use mppd_database::ConnectionOptions;
use mppd_dns::DnsOptions;
use mppd_engine::config::{
    FileSize, OptionDoc, OptionValue, Options as _, Period, Positive, Spanned,
};
use mppd_engine::options;
use mppd_lists::reading::EntriesOptions;
use mppd_state::StateStoreOptions;
use serde::Deserialize;

use super::admin_settings::AdminOptions;
use super::traces_settings::TracesOptions;

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
        /// User whose rights mppd keeps once its sockets are open, where it is started as root: a
        /// name or number.
        user: Option<Spanned<String>> = None,
        /// Group whose rights it keeps; the group of `user` unless given.
        group: Option<Spanned<String>> = None,
        /// How engines ask the domain name system.
        dns: DnsOptions = DnsOptions::default(),
        /// Where engines keep what they remember from one request to the next.
        state_store: StateStoreOptions = StateStoreOptions::default(),
        /// How requests are put on record.
        tracking: TrackingOptions = TrackingOptions::default(),
        /// Where people and monitoring look at the server.
        admin: AdminOptions = AdminOptions::default(),
        /// Where traces of requests are sent; nowhere unless given.
        traces: Option<Spanned<TracesOptions>> = None,
        /// Engines that run before the checks, by their full IDs, in order. May stand several
        /// times; the lists are read one after the other. A policy group can have its own.
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
        /// Most connections at once. One more gets what `on_overload` says as the answer to its
        /// first request, and is closed. The limit of open files is raised to fit, as far as the
        /// system allows.
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
        /// How long a request may take to come whole, from its first octet on; the connection is
        /// closed after that.
        request_timeout: Positive<Period> = Positive(Period::seconds(30)),
        /// How long a peer may take to read a reply; the connection is closed after that.
        write_timeout: Positive<Period> = Positive(Period::seconds(30)),
        /// Most requests that may be under way at once; one more gets what `on_overload` says.
        max_requests: Positive<u32> = Positive(10_000),
        /// Most octets that requests may take up in memory at once, from their first octet to their
        /// answer; a request that goes beyond gets what `on_overload` says.
        max_memory: Positive<FileSize> = Positive(FileSize::kib(256 << 10)),
        /// What a request gets, unchecked and at once, where a limit of connections, requests or
        /// memory is reached: an action of access(5), or `silence`, which closes the connection, so
        /// that Postfix tries again and then answers by its own default_action; DUNNO unless given.
        /// Actions that lose or change mail (DISCARD, PREPEND, FILTER, REDIRECT, BCC) are refused.
        /// It is counted, and neither logged one by one nor put on record.
        on_overload: Option<Spanned<String>> = None,
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
        /// Most transitions that may wait to be written; more wait before they are taken in. They
        /// may take up as much memory as `max_memory` gives to requests, beside these.
        queue: Positive<u32> = Positive(10_000),
        /// What becomes of requests that were under way when mppd ended without stopping, as soon as
        /// it has started again, the database is there and the spool is moved; and of those that
        /// `drain_timeout` cuts off. `close`: they are `processed`, with an `error_text` that says
        /// so. `keep`: they stay `received`.
        interrupted: Interrupted = Interrupted::Close,
        /// Bounds of what waits while a database is away.
        spool: SpoolOptions = SpoolOptions::default(),
        /// How long rows are kept; for ever unless given.
        retention: Option<RetentionOptions> = None,
    }
}

options! {
    /// `<spool>`: bounds of the rows that wait while a database is away, and what happens when rows
    /// can be kept nowhere.
    pub struct SpoolOptions: Default {
        /// Most octets of all rows that wait, as they take up space in the file; a batch that is
        /// written, and the log beside the file, may go beyond.
        max_size: Positive<FileSize> = Positive(FileSize::kib(1 << 20)),
        /// How long a row may wait before it is lost; for ever unless given.
        max_age: Option<Positive<Period>> = None,
        /// What happens when `max_size` is reached, or no file can be written, so that at most
        /// `queue` rows wait in memory. `answer`: requests are answered, and their rows are lost.
        /// `defer`: requests are answered with `DEFER_IF_PERMIT Service is unavailable`.
        /// `drop_oldest`: the oldest rows are lost. Each is logged as long as it lasts, and what is
        /// lost is counted.
        at_bound: AtBound = AtBound::Answer,
    }
}

/// What happens when the spool has reached a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtBound {
    /// Answer all the same, without a record.
    Answer,
    /// Put the mail off.
    Defer,
    /// Make room.
    DropOldest,
}

/// What becomes of requests that were under way when the server died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interrupted {
    /// They are `processed`, with an `error_text`.
    Close,
    /// They stay `received`.
    Keep,
}

options! {
    /// `<retention>`: removes rows when they are old, in small steps that hold up nobody.
    pub struct RetentionOptions {
        /// How long a row is kept after its request came.
        keep: Positive<Period>,
        /// Most rows removed in one step.
        step_rows: Positive<u32> = Positive(500),
        /// Pause after each step.
        step_pause: Period = Period::milliseconds(100),
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
    /// `<groups>`: the policy groups, and how that of a request is found.
    pub struct GroupsOptions: Default {
        /// The methods that look for the group of a request, in order, separated by white space;
        /// the first that finds one wins, and a request that none finds one for belongs to
        /// `default`. Unless given: `ip_list address_list_recipient address_list_sender sasl_user`,
        /// and then `sql` if there is an element of this name.
        members_global_sequence: Option<Spanned<String>> = None,
        /// The method `sql`: asks MySQL or MariaDB for the ID of the group.
        sql: Option<Spanned<SqlOptions>> = None,
    }
}

options! {
    /// `<sql>`: asks MySQL or MariaDB for the group of a request. A failure, or an ID that no group
    /// has, is logged, and the next method is asked.
    pub struct SqlOptions {
        /// The server.
        connection: ConnectionOptions,
        /// One statement of SQL that reads. The first column of the first row is the ID of the
        /// group; none is found without a row, or where it is NULL or empty. Every macro is a
        /// bound parameter.
        statement: Spanned<String>,
        /// How long the answer may take; the next method is asked after that.
        timeout: Positive<Period> = Positive(Period::seconds(2)),
        /// Answers are kept for each combination of parameters.
        cache: GroupCacheOptions = GroupCacheOptions::default(),
    }
}

options! {
    /// `<cache>`: however many ask the same at once, the database is asked once. Failures are not
    /// kept.
    pub struct GroupCacheOptions: Default {
        /// How long an answer with a row is kept.
        found: Period = Period::seconds(60),
        /// How long an answer without a row is kept.
        empty: Period = Period::seconds(60),
        /// Octets of all answers that are kept, with their parameters.
        size: Positive<FileSize> = Positive(FileSize::kib(4 << 10)),
    }
}

options! {
    /// `<group>`: who belongs to a policy group, and options that it can set for itself. What it
    /// does not set is as in group `default`.
    pub struct GroupOptions {
        /// Its name, without white space; `default` must exist.
        id: Spanned<String>,
        /// Who belongs to it. May stand several times. Group `default` has no members: every
        /// request that belongs to no other group belongs to it.
        members: Vec<Spanned<MembersOptions>> = Vec::new(),
        /// Engines that run before the checks of this group's requests, instead of those of group
        /// `default`, whose own are instead of those in `common`. May stand several times, as may
        /// each of the following lists; an empty one leaves the engines out.
        policy_begin_engines: Vec<Spanned<String>> = Vec::new(),
        /// The checks of this group's requests.
        policy_check_engines: Vec<Spanned<String>> = Vec::new(),
        /// Engines that run after the decision.
        policy_end_engines: Vec<Spanned<String>> = Vec::new(),
        /// Engines that run instead of the rest after an exception.
        policy_end_exception_engines: Vec<Spanned<String>> = Vec::new(),
        /// The reply after an exception, an action of access(5); DUNNO if group `default` says
        /// nothing either.
        on_error: Option<Spanned<String>> = None,
        /// The group to which its requests belong while Postfix is under stress and says so
        /// (`stress=yes`): one with lighter chains. Only one step is taken. A group that names
        /// itself stays itself although `default` says otherwise.
        under_stress: Option<Spanned<String>> = None,
        /// Whether requests are checked, logged and put on record, but always answered with DUNNO.
        /// The log and the records tell what would have been answered.
        dry_run: Option<bool> = None,
        /// The database for this group's records; the embedded store if group `default` names none
        /// either.
        ["PPXX0001_track_policy_connection"] tracking: Option<Spanned<ConnectionOptions>> = None,
    }
}

/// The group of every request that belongs to no other.
pub const DEFAULT_GROUP: &str = "default";

impl GroupOptions {
    /// A group that sets nothing.
    #[must_use]
    pub fn of_id(id: Spanned<String>) -> Self {
        GroupOptions {
            id,
            members: Vec::new(),
            policy_begin_engines: Vec::new(),
            policy_check_engines: Vec::new(),
            policy_end_engines: Vec::new(),
            policy_end_exception_engines: Vec::new(),
            on_error: None,
            under_stress: None,
            dry_run: None,
            tracking: None,
        }
    }
}

options! {
    /// `<members>`: who belongs to a policy group. Each list may stand several times; a member is
    /// in one group only.
    pub struct MembersOptions {
        /// Client addresses and networks: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`. The
        /// smallest network that holds an address counts, whichever group it is in.
        ip_list: Vec<EntriesOptions> = Vec::new(),
        /// Envelope recipients: `user@example.org` is that address, `user@` that local part in any
        /// domain, `@example.org` every address in that domain, `example.org` also those in
        /// domains below it, `.example.org` only those. The most specific counts, in this order.
        address_list_recipient: Vec<EntriesOptions> = Vec::new(),
        /// Envelope senders, written as recipients are; `<>` is the null sender.
        address_list_sender: Vec<EntriesOptions> = Vec::new(),
        /// Names of users who have logged in, in upper and lower case as they did.
        sasl_user: Vec<EntriesOptions> = Vec::new(),
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
    Interrupted: "close or keep",
}

impl OptionValue for AtBound {
    const TYPE: &'static str = "answer, defer or drop_oldest";

    fn show(&self) -> String {
        let word = match self {
            AtBound::Answer => "answer",
            AtBound::Defer => "defer",
            AtBound::DropOldest => "drop_oldest",
        };
        word.to_owned()
    }
}

/// The reference of everything outside the engines: the element's name and its options.
#[must_use]
pub fn reference() -> Vec<(&'static str, Vec<OptionDoc>)> {
    vec![
        ("common", CommonOptions::docs()),
        ("groups", GroupsOptions::docs()),
        ("group", GroupOptions::docs()),
    ]
}
