//! mppd, a policy server for Postfix.
//!
//! A request comes in at a [`listener`], is read by a [`session`] with the codec of [`policy`], and
//! goes through the chains of engines that the [`supervisor`] raised from the [`config`]uration; its
//! records are kept by [`tracking`]. What an engine is says the crate [`mppd_engine`]; those that
//! come with mppd are in `mppd_engines`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`policy`] | the wire: octets to requests, actions to octets |
//! | [`listener`] | sockets, limits, handing connections to workers |
//! | [`session`] | one connection: read, decide, answer |
//! | [`repeats`] | the memory of the core: repeated questions, headers given once |
//! | [`groups`] | which policy group a request belongs to |
//! | [`seat`] | connections as somebody else than their session sees them |
//! | [`supervisor`] | engines as actors, chains, workers, reload |
//! | [`tracking`] | the records: rows, stores, spool, the tracking actor |
//! | [`metrics`] | what is counted on the way, and `/metrics` |
//! | `traces` | traces of requests for OpenTelemetry (feature `otel`) |
//! | [`traffic`] | counters of what comes in |
//! | [`admin`] | the web console, `/metrics`, `/healthz` and `/readyz` |
//! | [`connections`] | what the configuration connects to, and whether it can be reached |
//! | [`control`] | the socket at which the server is asked how it is, and told to reload |
//! | [`status`] | how the server is |
//! | [`feed`] | decisions as they happen, for whoever looks on |
//! | [`service_manager`] | what systemd is told |
//! | [`overload`] | what is answered at a limit, and what is said of it |
//! | [`ration`] | lines of the log that a peer can cause |
//! | [`config`] | files, includes, layers, and reports of what is wrong |
//! | [`rights`] | whose rights the server keeps |
//! | [`plan`] | the whole configuration as meant, ready to be put in force |
//! | [`explain`] | one request through a configuration, each step written down |
//! | [`replay`] | recorded requests through another configuration |
//! | [`order`] | the chains as resolved, to be looked at |
//! | [`mod@reference`] | the reference of every option and engine |
//! | [`postfix`] | what Postfix must be told to ask |
//! | [`manual`] | the manual pages |
//! | [`cli`] | the command line |
//! | [`log`] | lines for people, JSON, syslog |
//!
//! To run mppd with engines of one's own, see [`Program`].

pub mod admin;
pub mod cli;
pub mod config;
pub mod connections;
pub mod control;
pub mod explain;
pub mod feed;
pub mod groups;
pub mod listener;
pub mod log;
pub mod manual;
pub mod metrics;
pub mod order;
pub mod overload;
pub mod plan;
pub mod policy;
pub mod postfix;
pub mod ration;
pub mod reference;
pub mod repeats;
pub mod replay;
pub mod rights;
pub mod seat;
pub mod service_manager;
pub mod session;
pub mod status;
pub mod supervisor;
#[cfg(feature = "otel")]
pub mod traces;
pub mod tracking;
pub mod traffic;

pub use cli::Program;
