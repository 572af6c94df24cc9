//! `<log>`: writes one line to the log, with a text and what the request is about.
//!
//! Among the checks it shows what passes by; at the end it also knows the decision. The text may
//! have macros. What peers chose is escaped. It never decides anything.

use std::fmt;

use mppd_engine::config::{OptionValue, Spanned};
use mppd_engine::slog::{self, KV, Key, Logger, Record, Serializer};
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, StatusDoc,
    Template, View, options,
};
use serde::Deserialize;

/// What a line says that nobody gave a text.
const DEFAULT_TEXT: &str = "request";

options! {
    /// `<log>`
    pub(crate) struct LogOptions {
        /// What the line says, with macros; `request` unless given.
        text: Option<Spanned<String>> = None,
        /// How important it is.
        level: Level = Level::Info,
    }
}

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warning,
    Info,
    Debug,
}

impl OptionValue for Level {
    const TYPE: &'static str = "`error`, `warning`, `info` or `debug`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    text: Template,
    level: Level,
    logger: Logger,
}

impl Engine for Log {
    const NAME: &'static str = "log";
    const SUMMARY: &'static str = "writes one line to the log";
    const STATUSES: &'static [StatusDoc] = &[StatusDoc::new(
        "done",
        "The line is written, if the log takes lines of this level.",
        "continue",
    )];
    type Options = LogOptions;

    fn build(options: LogOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let text = match &options.text {
            Some(text) => cx.template(text)?,
            None => Template::constant(DEFAULT_TEXT),
        };
        Ok(Log { text, level: options.level, logger: cx.logger().clone() })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let text = self.text.evaluate(&View::of(exchange));
        let (text, line) = (Escaped(&text), Line(exchange));
        match self.level {
            Level::Error => slog::error!(self.logger, "{text}"; line),
            Level::Warning => slog::warn!(self.logger, "{text}"; line),
            Level::Info => slog::info!(self.logger, "{text}"; line),
            Level::Debug => slog::debug!(self.logger, "{text}"; line),
        }
        Ok(Outcome::new("done"))
    }
}

/// What a line tells about a request.
struct Line<'a>(&'a Exchange);

impl KV for Line<'_> {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        let (exchange, request) = (self.0, self.0.request());
        let mut emit = |key: Key, value: fmt::Arguments<'_>| serializer.emit_arguments(key, &value);
        emit("stage", format_args!("{}", exchange.stage()))?;
        for attribute in [
            Attribute::ClientName,
            Attribute::ClientAddress,
            Attribute::HeloName,
            Attribute::Sender,
            Attribute::Recipient,
        ] {
            if let Some(value) = request.find(attribute) {
                emit(attribute.name(), format_args!("{}", Escaped(value)))?;
            }
        }
        if let Some(decision) = exchange.decision() {
            let action = decision.action.to_string();
            emit("decision", format_args!("{}", Escaped(action.as_bytes())))?;
        }
        if let Some(exception) = exchange.exception() {
            let exception = exception.to_string();
            emit("exception", format_args!("{}", Escaped(exception.as_bytes())))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use mppd_engine::slog::{Drain, Never, OwnedKVList};
    use mppd_engine::testkit::{Configured, exchange};
    use mppd_engine::{Action, Decision, kind};

    use super::*;

    type Fields = BTreeMap<String, String>;

    /// Remembers level, text and fields of every line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<(slog::Level, String, Fields)>>>);

    impl Drain for Lines {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            let mut fields = Collected(Fields::new());
            record.kv().serialize(record, &mut fields).expect("a map takes everything");
            let line = (record.level(), record.msg().to_string(), fields.0);
            self.0.lock().unwrap().push(line);
            Ok(())
        }
    }

    struct Collected(Fields);

    impl Serializer for Collected {
        fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
            self.0.insert(key.to_string(), value.to_string());
            Ok(())
        }
    }

    fn logged(xml: &str, exchange: &Arc<Exchange>) -> (slog::Level, String, Fields) {
        let lines = Lines::default();
        let logger = Logger::root(lines.clone().fuse(), slog::o!());
        let engine = Configured::xml(xml).with_logger(logger).build(kind::<Log>()).unwrap();
        assert_eq!(engine.run(exchange).unwrap(), Outcome::new("done"));
        let mut lines = lines.0.lock().unwrap();
        assert_eq!(lines.len(), 1);
        lines.remove(0)
    }

    #[test]
    fn a_dollar_is_written_twice() {
        let (_, text, _) = logged(r#"<log text="5$$"/>"#, &exchange([("size", "1")]));
        assert_eq!(text, "5$");
    }

    #[test]
    fn the_line_has_the_text_at_the_level() {
        let exchange = exchange([("sender", "")]);
        let (level, text, _) = logged(r#"<log text="seen" level="warning"/>"#, &exchange);
        assert_eq!((level, text.as_str()), (slog::Level::Warning, "seen"));
    }

    #[test]
    fn the_line_tells_of_the_request_and_of_the_decision() {
        let exchange = exchange([
            ("protocol_state", "RCPT"),
            ("client_address", "192.0.2.1"),
            ("sender", ""),
            ("recipient", "bob@example.org"),
        ]);
        exchange.decide(Decision { action: Action::Reject(Some("no".into())), engine: None });
        let (level, text, fields) = logged("<log/>", &exchange);
        assert_eq!((level, text.as_str()), (slog::Level::Info, "request"));
        let expected = [
            ("client_address", "192.0.2.1"),
            ("decision", "REJECT no"),
            ("recipient", "bob@example.org"),
            ("sender", ""),
            ("stage", "policy-rcpt"),
        ];
        assert_eq!(fields, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn what_a_peer_chose_is_escaped() {
        let exchange = exchange([("helo_name", b"x\r\x1b[2J\xff".as_slice())]);
        let (_, _, fields) = logged("<log/>", &exchange);
        assert_eq!(fields["helo_name"], r"x\r\u{1b}[2J\xff");
    }

    #[test]
    fn an_unknown_level_is_refused() {
        let configured = Configured::xml(r#"<log level="loud"/>"#);
        let faults = configured.faults(kind::<Log>());
        assert_eq!(faults, [(r#""loud" is not known here"#.to_owned(), "loud")]);
    }
}
