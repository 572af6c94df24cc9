//! What an engine has at hand while it is built from its element.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use slog::Logger;

use super::de::from_element;
use super::element::Element;
use super::finding::Finding;
use super::source::SourceMap;
use super::value::Spanned;

/// The names that the server reads from every engine's element itself; `on_STATUS` stands for
/// one name for each status. An engine's own options must not use them.
pub const COMMON_OPTIONS: &[&str] = &["id", "timeout", "on_exception", "dry_run"];

/// Whether the server reads this name itself.
#[must_use]
pub fn is_common_option(name: &str) -> bool {
    COMMON_OPTIONS.contains(&name) || name.starts_with("on_")
}

/// What an engine has at hand while it is built.
pub struct BuildContext<'a> {
    sources: &'a SourceMap,
    logger: Logger,
    warnings: Vec<Finding>,
}

impl<'a> BuildContext<'a> {
    /// For the server, and for tests of engines.
    #[must_use]
    pub fn new(sources: &'a SourceMap, logger: Logger) -> Self {
        BuildContext { sources, logger, warnings: Vec::new() }
    }

    /// Reads typed options from an element, without those that the server reads itself.
    ///
    /// # Errors
    /// Every fault that can be told apart, each with its place.
    pub fn options<T: DeserializeOwned>(&self, element: &Element) -> Result<T, Vec<Finding>> {
        from_element(element, is_common_option)
    }

    /// A logger that names the engine.
    #[must_use]
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// Says that something will work, but probably not as meant.
    pub fn warn(&mut self, warning: Finding) {
        self.warnings.push(warning);
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
