//! What names mean where a text stands, and what the texts compiled so far refer to.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::patterns::Patterns;
use crate::config::{Finding, Span};
use crate::stage::Stages;

/// What a text refers to, and where: for the server, which knows the chains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The place of the macro.
    pub span: Span,
    /// What it names.
    pub target: Target,
}

/// What a macro names that is not there everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `$engines.ID.NAME`: what an engine came to.
    Engine {
        /// Its full ID.
        id: String,
        /// `status`, `text`, `result`, or one of its values or named results.
        name: String,
    },
    /// A status that the one of an engine is compared with.
    Status {
        /// The engine's full ID.
        id: String,
        /// The status, as written.
        status: String,
    },
    /// `${field NAME}`: what the engine itself came to.
    Own {
        /// One of its values or named results.
        name: String,
    },
    /// A macro that can have a value at some stages only.
    Stages {
        /// As written, without the dollar: `recipient.domain`.
        name: String,
        /// Where it can have a value.
        stages: Stages,
    },
    /// `$decision` and its parts: known once the checks have ended.
    Decision,
    /// `$exception` and its parts: known in the end-exception chain.
    Exception,
}

/// What names mean where a text stands.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    patterns: Arc<Patterns>,
    own: Option<Vec<Cow<'static, str>>>,
    references: Vec<Reference>,
    used_patterns: BTreeSet<String>,
    warnings: Vec<Finding>,
    time_zone: Option<TimeZone>,
}

impl Scope {
    /// The scope of an engine's options, which are evaluated before it has run.
    #[must_use]
    pub fn before(patterns: Arc<Patterns>) -> Self {
        Scope { patterns, ..Scope::default() }
    }

    /// The scope of what follows from an engine's run: there `$status`, `$text` and the names of
    /// its own values mean what it came to.
    #[must_use]
    pub fn after(patterns: Arc<Patterns>, values: Vec<Cow<'static, str>>) -> Self {
        Scope { patterns, own: Some(values), ..Scope::default() }
    }

    /// With this time zone instead of the system's.
    #[must_use]
    pub fn with_time_zone(mut self, zone: TimeZone) -> Self {
        self.time_zone = Some(zone);
        self
    }

    /// The time zone of its texts.
    pub(super) fn time_zone(&self) -> TimeZone {
        self.time_zone.clone().unwrap_or_else(TimeZone::system)
    }

    /// The named regular expressions.
    #[must_use]
    pub fn patterns(&self) -> &Arc<Patterns> {
        &self.patterns
    }

    /// The names of the engine's own values, where it has run.
    #[must_use]
    pub fn own_values(&self) -> Option<&[Cow<'static, str>]> {
        self.own.as_deref()
    }

    /// Notes what a text refers to.
    pub fn refer(&mut self, reference: Reference) {
        self.references.push(reference);
    }

    /// What the texts compiled since the last call refer to.
    pub fn take_references(&mut self) -> Vec<Reference> {
        std::mem::take(&mut self.references)
    }

    pub(super) fn warn(&mut self, warning: Finding) {
        self.warnings.push(warning);
    }

    /// What will work in the texts compiled since the last call, but probably not as meant.
    pub fn take_warnings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.warnings)
    }

    pub(super) fn use_patterns(&mut self, engine: &str) {
        self.used_patterns.insert(engine.to_owned());
    }

    /// The IDs of the engines whose regular expressions the texts compiled since the last call ask
    /// for.
    pub fn take_used_patterns(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.used_patterns)
    }
}
