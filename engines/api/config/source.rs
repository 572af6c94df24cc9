//! Where a piece of configuration stands: a file, an environment variable or the command line, and
//! the octets in it.

use std::path::{Path, PathBuf};

/// Which of the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u32);

impl SourceId {
    pub(super) fn index(self) -> u64 {
        u64::from(self.0)
    }

    pub(super) fn from_index(index: usize) -> Result<Self, std::num::TryFromIntError> {
        u32::try_from(index).map(SourceId)
    }
}

/// A range of octets in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The source.
    pub source: SourceId,
    /// First octet.
    pub start: usize,
    /// Behind the last octet.
    pub end: usize,
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// `--set` on the command line.
    CommandLine,
    /// Compiled in.
    Embedded(&'static str),
}

/// One source with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it is.
    pub origin: Origin,
    /// What stands in it.
    pub text: String,
}

impl Source {
    /// How people know it: the path as it was named, or what it is.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.origin {
            Origin::File(path) => path.display().to_string(),
            Origin::Environment(variable) => format!("environment variable {variable}"),
            Origin::CommandLine => "command line".to_owned(),
            Origin::Embedded(name) => format!("built-in {name}"),
        }
    }
}

/// Every source of one configuration.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a source.
    ///
    /// # Panics
    /// With more than 4 billion sources; the loader stops long before.
    #[allow(clippy::expect_used, reason = "documented, and out of reach")]
    pub fn add(&mut self, source: Source) -> SourceId {
        let id = u32::try_from(self.sources.len()).expect("the number of sources is bounded");
        self.sources.push(source);
        SourceId(id)
    }

    /// A source of this map.
    #[must_use]
    pub fn get(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }

    /// Every source, in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter()
    }

    /// The directory that relative file names in this source start from; the working directory
    /// where the source is no file.
    #[must_use]
    pub fn directory(&self, id: SourceId) -> &Path {
        match &self.get(id).origin {
            Origin::File(path) => path.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        }
    }

    /// The text that a span covers.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        self.get(span.source).text.get(span.start..span.end).unwrap_or_default()
    }

    /// Line and column of a span's start, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, span: Span) -> (usize, usize) {
        let before = self.get(span.source).text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        (line, column)
    }
}
