//! `<delegate>`: asks another policy server.
//!
//! ```xml
//! <delegate id="postgrey">
//!   <server>inet:127.0.0.1:10023</server>
//! </delegate>
//! ```
//!
//! The server gets the request octet for octet as Postfix sent it, so any policy server that
//! Postfix could ask stands in the chain as a check. What kind of action it answers is the status;
//! the text is the action's text. By default the action is passed on, but for OK, which is no more
//! than `permit` here: that one server is content must not switch off the restrictions that
//! Postfix has behind this one.
//!
//! Each worker keeps connections of its own and asks one question at a time on each, so replies
//! cannot be mixed up. A connection whose reply was not read to its end, because of a time limit or
//! a fault, is closed. One that the server closed while it was idle is replaced: the question is
//! asked once more, on a fresh connection.
//!
//! That the server can't be reached, closes without a reply, or answers something that is no
//! action, is a failure, and `on_exception` says what follows.

mod connections;
#[cfg(test)]
mod tests;

use mppd_engine::action::ActionError;
use mppd_engine::config::{FileSize, Period, Positive};
use mppd_engine::endpoint::FORMS;
use mppd_engine::{
    Action, BuildContext, Endpoint, Engine, Exchange, Failure, Finding, Outcome, Probe, Reach,
    Spanned, StatusDoc, ValueDoc, options,
};

use self::connections::{Connections, Limits};

options! {
    /// `<delegate>`
    pub(crate) struct DelegateOptions {
        /// Where the server listens, written as in `listen`: `inet:127.0.0.1:10023` or
        /// `unix:/run/policyd/socket`.
        server: Spanned<String>,
        /// How many connections each worker opens at most. A request that finds all of them in use
        /// waits for one, within the engine's `timeout`.
        connections: Positive<u32> = Positive(10),
        /// How long opening a connection may take.
        connect_timeout: Positive<Period> = Positive(Period::seconds(3)),
        /// For how long an unused connection is kept for the next request.
        max_idle: Period = Period::seconds(60),
        /// How long a reply may be.
        max_reply: Positive<FileSize> = Positive(FileSize::kib(8)),
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Delegate {
    connections: Connections,
}

impl Engine for Delegate {
    const NAME: &'static str = "delegate";
    const SUMMARY: &'static str = "asks another policy server";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("dunno", "The server has no opinion.", "continue"),
        StatusDoc::new("ok", "The server accepts: OK.", "permit"),
        StatusDoc::new("reject", "The server refuses for good: REJECT, or a code 5NN.", "$action"),
        StatusDoc::new(
            "defer",
            "The server refuses for now: DEFER, DEFER_IF_PERMIT, DEFER_IF_REJECT, or a code 4NN.",
            "$action",
        ),
        StatusDoc::new(
            "other",
            "Any other action, such as PREPEND, WARN or HOLD. The name of a restriction comes here as \
             well, but can't be passed on: say with `on_other` what follows.",
            "$action",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "action", meaning: "The action as the server sent it: word and text." },
        ValueDoc { name: "word", meaning: "The action's word or code, as the server sent it." },
    ];
    type Options = DelegateOptions;

    fn build(options: DelegateOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let server = options.server.value.parse::<Endpoint>().map_err(|error| {
            let finding = Finding::error(options.server.span, error.to_string());
            vec![finding.with_help(format!("one of: {FORMS}"))]
        })?;
        let limits = Limits {
            connections: options.connections.0,
            connect: options.connect_timeout.0.0,
            idle: options.max_idle.0,
            reply: options.max_reply.0.octets(),
        };
        Ok(Delegate { connections: Connections::new(server, limits) })
    }

    fn probes(&self) -> Vec<Probe> {
        let connections = self.connections.clone();
        let target = connections.server().to_string();
        vec![Probe::new(target, async move { connections.reach().await })]
    }

    fn reach(&self) -> Reach {
        Reach::Changes
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let reply = self.connections.ask(exchange.request().octets()).await.map_err(|error| {
            Failure::new(format!("can't ask {}", self.connections.server())).with_source(error)
        })?;
        outcome(&reply).map_err(|error| {
            Failure::new(format!("{} gave no answer", self.connections.server())).with_source(error)
        })
    }
}

/// What a reply, without the empty line that ends it, says.
fn outcome(reply: &[u8]) -> Result<Outcome, ReplyError> {
    let value = action_of(reply)?;
    let text = String::from_utf8_lossy(value);
    let (status, words) = match Action::parse(&text) {
        Ok(action) => (status_of(&action), action.text().unwrap_or_default().to_owned()),
        // Postfix also takes the names of its restrictions and restriction classes.
        Err(ActionError::Unknown(_)) => ("other", String::new()),
        Err(error) => return Err(ReplyError::Action(error)),
    };
    let word = value.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    Ok(Outcome::new(status).with_text(words).with_value("action", value).with_value("word", word))
}

/// The value of the attribute `action`; others are passed over, as Postfix does.
fn action_of(reply: &[u8]) -> Result<&[u8], ReplyError> {
    let mut lines = reply.split(|octet| *octet == b'\n');
    let mut actions = lines.by_ref().filter_map(|line| line.strip_prefix(b"action="));
    match (actions.next(), actions.next()) {
        (Some(action), None) => Ok(action.trim_ascii()),
        (Some(_), Some(_)) => Err(ReplyError::SeveralActions),
        (None, _) => Err(ReplyError::NoAction),
    }
}

fn status_of(action: &Action) -> &'static str {
    match action {
        Action::Dunno => "dunno",
        Action::Ok => "ok",
        Action::Reject(_) => "reject",
        Action::Code(code, _) if code.get() >= 500 => "reject",
        Action::Code(..)
        | Action::Defer(_)
        | Action::DeferIfPermit(_)
        | Action::DeferIfReject(_) => "defer",
        _ => "other",
    }
}

/// Why a reply is no answer.
#[derive(Debug, thiserror::Error)]
enum ReplyError {
    #[error("the reply has no line \"action=…\"")]
    NoAction,
    #[error("the reply has several lines \"action=…\"")]
    SeveralActions,
    #[error(transparent)]
    Action(ActionError),
}
