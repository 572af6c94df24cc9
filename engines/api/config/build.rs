//! What an engine has at hand while it is built from its element.

use std::any::Any;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use slog::Logger;

use super::de::from_element;
use super::element::Element;
use super::finding::{Finding, Severity};
use super::options::{OptionDoc, OptionValue, Options as _};
use super::service::Services;
use super::source::{SourceMap, Span};
use super::value::{Period, Spanned};
use crate::language::{Condition, Patterns, Piece, Reference, Scope, Template};
use crate::options;

/// The names that the server reads from every engine's element itself; `on_STATUS` stands for
/// one name for each status. An engine's own options must not use them.
pub const COMMON_OPTIONS: &[&str] = &[
    "id",
    "precondition",
    "timeout",
    "on_exception",
    "breaker_failures",
    "breaker_pause",
    "dry_run",
    "result",
];

/// How long one run of an engine may take unless its `timeout` says otherwise.
pub const DEFAULT_TIMEOUT: Period = Period::seconds(10);

/// After how many failures in a row an engine is suspended unless its `breaker_failures` says
/// otherwise.
pub const DEFAULT_BREAKER_FAILURES: u32 = 5;

/// How long an engine is suspended at first unless its `breaker_pause` says otherwise.
pub const DEFAULT_BREAKER_PAUSE: Period = Period::seconds(5);

options! {
    /// `<result>`: a value that an engine gives besides its own.
    pub struct ResultOptions {
        /// Its name: `$engines.ID.NAME`, where ID is that of the engine. Letters, digits and "_".
        id: Option<Spanned<String>> = None,
        /// What it is when a condition holds. May stand several times; the first whose condition
        /// holds counts.
        case: Vec<CaseOptions> = Vec::new(),
        /// What it is when no condition holds; empty unless given.
        default: Option<Spanned<String>> = None,
        /// What it is, where there are no cases.
        ["$text"] text: Option<Spanned<String>> = None,
    }
}

options! {
    /// `<case>`: what a result is when a condition holds.
    pub struct CaseOptions {
        /// The condition. `$status`, `$text` and the engine's values are what it has come to.
        condition: Spanned<String>,
        /// A text with macros.
        result: Spanned<String>,
    }
}

/// The name of a `<result>` that has no `id`.
pub const DEFAULT_RESULT: &str = "result";

/// The reference of the options that every engine has, the family `on_STATUS` among them.
#[must_use]
pub fn common_option_docs() -> Vec<OptionDoc> {
    let doc = |name, value, default: &str, meaning| OptionDoc {
        name,
        value,
        default: Some(default.to_owned()),
        meaning,
        nested: Vec::new(),
    };
    vec![
        doc(
            "id",
            "letters, digits and \"_\"",
            "the name of the element",
            "The name by which the chains, the log and the records know this engine.",
        ),
        doc(
            "precondition",
            "a condition",
            "",
            "When the engine runs. Where the condition does not hold, the engine is skipped: its \
             status is `skipped`, and the next one is asked.",
        ),
        doc(
            "timeout",
            Period::TYPE,
            &DEFAULT_TIMEOUT.to_string(),
            "How long one run may take; the exception `timeout` after that.",
        ),
        doc(
            "on_exception",
            "`continue`, `permit`, `score N`, `fail` or an action with a text",
            "`continue` among the checks, `fail` elsewhere",
            "What follows when the engine fails, panics or runs out of time. `continue` goes on \
             as if it had no opinion. `fail` ends the chains: the end-exception chain runs, and \
             the reply is the group's `on_error`. An action of access(5) decides; in its text, \
             `$text` is what went wrong. `permit` and `score N` as in `on_STATUS`.",
        ),
        doc(
            "breaker_failures",
            u32::TYPE,
            &DEFAULT_BREAKER_FAILURES.to_string(),
            "After how many failures in a row the engine is suspended: whatever would run it gets \
             the exception `suspended` at once, until a run on trial succeeds. A panic counts, and \
             so does a `timeout` of its own; what lies in the request, a full queue, and the \
             request's deadline do not. 0 for never. An engine that puts requests on record is \
             never suspended.",
        ),
        doc(
            "breaker_pause",
            Period::TYPE,
            &DEFAULT_BREAKER_PAUSE.to_string(),
            "How long the engine is suspended before one run is tried. The pause doubles with each \
             trial that fails, up to five minutes.",
        ),
        doc(
            "dry_run",
            bool::TYPE,
            "false",
            "Whether the engine only runs, is logged and put on record, but never decides or \
             scores.",
        ),
        OptionDoc {
            name: "result",
            value: ResultOptions::TYPE,
            default: Some(String::new()),
            meaning: "A value that the engine gives besides its own, made of what it has come to. \
                      An element, never an attribute; may stand several times, with different \
                      names. Each may use those before it.",
            nested: ResultOptions::docs(),
        },
        doc(
            "on_STATUS",
            "`continue`, `permit`, `score N` or an action with a text",
            "as told at each status",
            "What the status STATUS does, one option for each status. `continue` asks the next \
             engine. `permit` ends the checks without an opinion (DUNNO). `score N` adds a number \
             with up to three decimals, which may be negative, to `$score` and asks the next \
             engine. An action of access(5) decides, or, if it is not final (PREPEND, WARN and \
             the like), is kept until the checks have ended. The text behind an action may have \
             macros, `$status`, `$text` and the engine's values among them. If the first word has \
             a macro, the whole is read when it is needed.",
        ),
    ]
}

/// Whether the server reads this name itself.
#[must_use]
pub fn is_common_option(name: &str) -> bool {
    COMMON_OPTIONS.contains(&name) || name.starts_with("on_")
}

/// What an engine has at hand while it is built.
pub struct BuildContext<'a> {
    sources: &'a SourceMap,
    id: Arc<str>,
    timeout: Duration,
    logger: Logger,
    warnings: Vec<Finding>,
    scope: Scope,
    services: Services,
    /// The references that were taken already.
    taken: Vec<Reference>,
}

impl<'a> BuildContext<'a> {
    /// For the server, and for tests of engines.
    #[must_use]
    pub fn new(sources: &'a SourceMap, logger: Logger) -> Self {
        BuildContext {
            sources,
            id: Arc::from(""),
            timeout: DEFAULT_TIMEOUT.0,
            logger,
            warnings: Vec::new(),
            scope: Scope::default(),
            services: Services::default(),
            taken: Vec::new(),
        }
    }

    /// For the engine of this ID. For the server.
    #[must_use]
    pub fn with_id(mut self, id: &str) -> Self {
        self.id = id.into();
        self
    }

    /// With the engine's `timeout`, where it is not the default. For the server.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With the named regular expressions of the configuration. For the server.
    #[must_use]
    pub fn with_patterns(mut self, patterns: Arc<Patterns>) -> Self {
        self.scope = Scope::before(patterns);
        self
    }

    /// With what the server shares with its engines. For the server.
    #[must_use]
    pub fn with_services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// With one more thing that the server shares with its engines, known by its type.
    #[must_use]
    pub fn with_service<T: Any + Send + Sync>(mut self, service: Arc<T>) -> Self {
        self.services = self.services.with(service);
        self
    }

    /// What the server shares with its engines under this type, such as its resolver of names.
    #[must_use]
    pub fn service<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.services.get()
    }

    /// Compiles a text with macros.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn template(&mut self, text: &Spanned<String>) -> Result<Template, Vec<Finding>> {
        let compiled = Template::compile(&text.as_deref(), &mut self.scope);
        self.warnings.extend(self.scope.take_warnings());
        compiled
    }

    /// Cuts a text at its macros, which do not become part of it: a statement of SQL, say.
    ///
    /// # Errors
    /// Everything that is wrong with its macros, each with its place.
    pub fn pieces(&mut self, text: &Spanned<String>) -> Result<Vec<Piece>, Vec<Finding>> {
        let compiled = Template::pieces(&text.as_deref(), &mut self.scope);
        self.warnings.extend(self.scope.take_warnings());
        compiled
    }

    /// Compiles a condition.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn condition(&mut self, text: &Spanned<String>) -> Result<Condition, Vec<Finding>> {
        let compiled = Condition::compile(&text.as_deref(), &mut self.scope);
        self.warnings.extend(self.scope.take_warnings());
        compiled
    }

    /// What the texts compiled since the last call refer to. A kind with methods gives each
    /// [`Built`](crate::Built) its own; what is left is the whole element's.
    pub fn take_references(&mut self) -> Vec<Reference> {
        let references = self.scope.take_references();
        self.taken.extend_from_slice(&references);
        references
    }

    /// What [`take_references`](Self::take_references) has given so far. For the server, where the
    /// engine that they were for could not be built.
    #[must_use]
    pub fn taken_references(&self) -> &[Reference] {
        &self.taken
    }

    /// The IDs of the engines whose regular expressions the texts compiled since the last call ask
    /// for. For the server.
    pub fn take_used_patterns(&mut self) -> BTreeSet<String> {
        self.scope.take_used_patterns()
    }

    /// Reads typed options from an element, without those that the server reads itself.
    ///
    /// # Errors
    /// Every fault that can be told apart, each with its place.
    pub fn options<T: DeserializeOwned>(&self, element: &Element) -> Result<T, Vec<Finding>> {
        from_element(element, is_common_option)
    }

    /// The engine's ID: what it keeps in a store is found under it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long one run of the engine may take. What it waits for inside should end before.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A logger that names the engine.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Says that something will work, but probably not as meant. The finding becomes a warning,
    /// however it was made.
    pub fn warn(&mut self, warning: Finding) {
        self.warnings.push(Finding { severity: Severity::Warning, ..warning });
    }

    /// Gives every warning that has no place this one.
    pub(crate) fn place_warnings(&mut self, place: Span) {
        for warning in &mut self.warnings {
            warning.span.get_or_insert(place);
        }
    }

    /// What was warned of. For the server.
    #[must_use]
    pub fn into_warnings(self) -> Vec<Finding> {
        self.warnings
    }

    /// A file name of the configuration, relative to the file that names it.
    #[must_use]
    pub fn path(&self, name: &Spanned<PathBuf>) -> PathBuf {
        self.sources.directory(name.span.source).join(&name.value)
    }

    /// Reads a file that the configuration names.
    ///
    /// # Errors
    /// A finding at the name, which says why the file can't be read.
    pub fn read(&self, name: &Spanned<PathBuf>) -> Result<Vec<u8>, Finding> {
        let path = self.path(name);
        std::fs::read(&path).map_err(|error| {
            Finding::error(name.span, format!("can't read {}: {error}", path.display()))
        })
    }
}

impl std::fmt::Debug for BuildContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildContext").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_option_is_documented() {
        let documented: Vec<&str> = common_option_docs().iter().map(|doc| doc.name).collect();
        let (family, names) = documented.split_last().unwrap();
        assert_eq!(names, COMMON_OPTIONS);
        assert_eq!(*family, "on_STATUS");
        assert!(documented.iter().all(|name| is_common_option(name)));
    }

    #[test]
    fn what_is_warned_of_is_a_warning_and_gets_a_place() {
        let mut sources = SourceMap::default();
        let source = crate::config::Source {
            origin: crate::config::Origin::Embedded("test"),
            text: "<engine/>".to_owned(),
        };
        let place = Span { source: sources.add(source), start: 1, end: 7 };
        let mut cx = BuildContext::new(&sources, Logger::root(slog::Discard, slog::o!()));
        cx.warn(Finding::nowhere("nothing to do"));
        cx.place_warnings(place);
        let warnings = cx.into_warnings();
        assert_eq!(warnings, [Finding::warning(place, "nothing to do")]);
    }
}
