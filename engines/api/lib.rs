//! The contract between mppd and its engines.
//!
//! An *engine* looks at one policy [`Request`] and computes a *status*: one word out of those that
//! its kind declares, with a text and named values. What a status does to the mail is
//! configuration (`on_STATUS`), applied by the server in one place; an engine never names a
//! Postfix action.
//!
//! To write a check, declare its options with [`options!`], implement [`Engine`], and add
//! [`kind::<YourEngine>()`](kind) to the table that the server is built with. The server gives it
//! an actor, a timeout, protection from its own panics, counters and a place in the records.
//!
//! | module | what lives there |
//! |---|---|
//! | [`request`] | a policy request, octet for octet |
//! | [`attribute`] | the attributes that Postfix is known to send |
//! | [`stage`] | the points of an SMTP session at which Postfix asks |
//! | [`action`] | what Postfix can be told, and the decision |
//! | [`endpoint`] | where a policy server listens |
//! | [`engine`] | the traits an engine implements, and what it declares about itself |
//! | [`probe`] | what an engine connects to, and whether it can be reached |
//! | [`reach`] | whom an engine asks |
//! | [`score`] | how much speaks against a request |
//! | [`outcome`] | what an engine comes to |
//! | [`exchange`] | one request on its way through the chains: what engines see |
//! | [`tracking`] | how an engine puts a request on record |
//! | [`trouble`] | saying of a trouble that it has begun, that it lasts, and that it is over |
//! | [`escape`] | octets that a peer chose, made fit to be read |
//! | [`language`] | templates and conditions, compiled when the configuration is read |
//! | [`config`] | elements of the configuration, with positions; typed options; findings |
//! | `testkit` | what tests of engines need (feature `testkit`) |

pub mod action;
pub mod attribute;
pub mod config;
pub mod endpoint;
pub mod engine;
pub mod escape;
pub mod exchange;
pub mod language;
pub mod outcome;
pub mod probe;
pub mod reach;
pub mod request;
pub mod score;
pub mod stage;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod tracking;
pub mod trouble;

pub use action::{Action, Decision};
pub use attribute::Attribute;
pub use config::{BuildContext, Element, Finding, OptionDoc, OptionValue, Options, Span, Spanned};
pub use endpoint::Endpoint;
pub use engine::{
    Built, Engine, EngineKind, Failure, MethodDoc, Prototype, Running, StatusDoc, ValueDoc, kind,
};
pub use escape::Escaped;
pub use exchange::{Exception, Exchange};
pub use language::{Condition, Template, View};
pub use outcome::{EngineResult, NamedValue, Outcome};
pub use probe::{Probe, Unreached};
pub use reach::Reach;
pub use request::{Mailbox, Request};
pub use score::{Contribution, Score};
pub use stage::{Stage, Stages};
pub use tracking::{RequestKey, Tracker, TrackingError, Transition};

#[doc(hidden)]
pub use serde;
pub use slog;
