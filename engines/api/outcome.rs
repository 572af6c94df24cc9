//! What an engine comes to: a status, a text for people, and values for later engines.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What an engine computed: a status, a text for people, and values for later engines.
///
/// ```
/// # use mppd_engine::Outcome;
/// let outcome = Outcome::new("listed")
///     .with_text("192.0.2.1 is listed by bl.example.org")
///     .with_value("site", "bl.example.org");
/// assert_eq!(outcome.value("site"), Some(&b"bl.example.org"[..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One of the statuses that the engine's kind declares.
    pub status: &'static str,
    /// Why, for people; may be empty.
    pub text: Cow<'static, str>,
    /// Named values.
    pub values: Vec<NamedValue>,
}

impl Outcome {
    /// An outcome without text and values.
    #[must_use]
    pub const fn new(status: &'static str) -> Self {
        Outcome { status, text: Cow::Borrowed(""), values: Vec::new() }
    }

    /// With a text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = text.into();
        self
    }

    /// With one more named value.
    #[must_use]
    pub fn with_value(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Vec<u8>>,
    ) -> Self {
        self.values.push(NamedValue { name: name.into(), value: value.into() });
        self
    }

    /// The value of this name; where there are several, the one that was given last.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.values.iter().rev().find(|value| value.name == name)?;
        Some(&found.value)
    }
}

/// A named value of an outcome: octets, since peers choose some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedValue {
    /// The name, as in `$engines.ID.NAME`.
    pub name: Cow<'static, str>,
    /// The value.
    pub value: Vec<u8>,
}

/// What an engine came to, for later engines and for the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineResult {
    /// The engine's full ID.
    pub engine: Arc<str>,
    /// What it computed; for an engine that failed, status `exception` and what went wrong.
    pub outcome: Outcome,
    /// How long it took.
    pub elapsed: Duration,
}
