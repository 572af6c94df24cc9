//! What the checks of templates and conditions share.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use mppd_engine::config::{Origin, Source, SourceId, SourceMap, Span, Spanned};
use mppd_engine::exchange::Receipt;
use mppd_engine::language::{PatternItem, PatternLibrary, Patterns, Scope};
use mppd_engine::tracking::Recorded;
use mppd_engine::{
    EngineResult, Exchange, Finding, Outcome, Request, RequestKey, Tracker, Transition,
};

/// A text that is the whole of its source.
pub(crate) struct Text {
    text: String,
    source: SourceId,
}

impl Text {
    pub(crate) fn new(text: &str) -> Self {
        let source = Source { origin: Origin::CommandLine, text: text.to_owned() };
        Text { text: text.to_owned(), source: SourceMap::default().add(source) }
    }

    pub(crate) fn spanned(&self) -> Spanned<&str> {
        let span = Span { source: self.source, start: 0, end: self.text.len() };
        Spanned { value: &self.text, span }
    }

    /// Whether a place is one in this text, and cuts no character.
    pub(crate) fn has(&self, span: Span) -> bool {
        self.text.get(span.start..span.end).is_some()
    }
}

/// Where the texts of an engine stand that has just run.
pub(crate) fn scope() -> Scope {
    Scope::after(Arc::clone(&PATTERNS), vec!["site".into()])
}

static PATTERNS: LazyLock<Arc<Patterns>> = LazyLock::new(|| {
    let spanned = |text: &str| {
        let text = Text::new(text);
        Spanned { value: text.text.clone(), span: text.spanned().span }
    };
    let items = [("a", "^a"), ("b", r"\d{2,3}")].map(|(name, expression)| PatternItem {
        name: spanned(name),
        expression: spanned(expression),
        ignores_case: false,
    });
    let library = PatternLibrary::new(items.into(), Vec::new()).expect("sound expressions");
    let mut patterns = Patterns::default();
    patterns.add("hosts", library);
    Arc::new(patterns)
});

/// A refusal says something, and points into the text.
pub(crate) fn assert_placed(findings: &[Finding], text: &Text) {
    assert!(!findings.is_empty(), "refused without a reason");
    for finding in findings {
        assert!(finding.span.is_some_and(|span| text.has(span)), "{finding:?}");
        assert!(!finding.message.is_empty());
    }
}

struct Forgetful;

impl Tracker for Forgetful {
    fn record(&self, _: Transition, _: &Exchange) -> Recorded {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The same exchange each time.
pub(crate) fn exchange() -> Exchange {
    let attributes: [(&str, &[u8]); 6] = [
        ("protocol_state", b"RCPT"),
        ("client_address", b"2001:db8::25"),
        ("helo_name", b"mail.\xff.example"),
        ("sender", b"x@y@Mail.Example.com"),
        ("recipient", "j\u{f6}rg@example.org".as_bytes()),
        ("size", b"-12"),
    ];
    let exchange = Exchange::new(Receipt {
        request: Arc::new(Request::from_attributes(attributes).expect("a request")),
        key: RequestKey([0; 16]),
        received: SystemTime::UNIX_EPOCH,
        deadline: Instant::now() + Duration::from_secs(30),
        group: "default".into(),
        node: "fuzz".into(),
        tracker: Arc::new(Forgetful),
        repeat_of: None,
    });
    exchange.add_result(EngineResult {
        engine: "wbl".into(),
        outcome: Outcome::new("black").with_value("entry", *b"example.com"),
        elapsed: Duration::ZERO,
    });
    exchange
}
