//! Named regular expressions: what `X ~= name` asks for.

use std::collections::BTreeMap;

/// The named expressions, and named groups of them, that one engine's element declares.
#[derive(Debug, Clone, Default)]
pub struct PatternLibrary {
    names: Vec<String>,
}

/// The libraries of a whole configuration, by the ID of the engine that declares each.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    libraries: BTreeMap<String, PatternLibrary>,
}

impl Patterns {
    /// Adds what one engine declares.
    pub fn add(&mut self, engine: impl Into<String>, library: PatternLibrary) {
        self.libraries.insert(engine.into(), library);
    }
}
