//! Reads the files of a configuration: each once, within bounds, from the disk or from what is
//! compiled in.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use mppd_engine::config::{Origin, Source, SourceId, SourceMap};
use mppd_engine::{Finding, Span};

use super::limits::Limits;
use super::redact;
use super::xml::{self, Document};

/// A file that is compiled in: its name and its text.
pub type EmbeddedFile = (&'static str, &'static str);

/// Where the files of one configuration come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigurationFile {
    /// The main file on the disk.
    Path(PathBuf),
    /// A configuration that is compiled in.
    Embedded {
        /// The main file.
        main: EmbeddedFile,
        /// The files that it includes.
        included: &'static [EmbeddedFile],
    },
}

/// What makes a file the same file, however it is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum FileKey {
    Disk(PathBuf),
    Embedded(&'static str),
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(super) struct ReadFile {
    pub(super) key: FileKey,
    pub(super) document: Rc<Document>,
}

/// The files of one configuration.
pub(super) struct Files<'a> {
    pub(super) sources: SourceMap,
    pub(super) findings: Vec<Finding>,
    pub(super) limits: &'a Limits,
    embedded: &'static [EmbeddedFile],
    read: HashMap<FileKey, Rc<Document>>,
    total_size: usize,
}

impl<'a> Files<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        Files {
            sources: SourceMap::default(),
            findings: Vec::new(),
            limits,
            embedded: &[],
            read: HashMap::new(),
            total_size: 0,
        }
    }

    /// Reads the main file. Its faults, and those of any other, go to the findings; without a
    /// document there is at least one.
    pub(super) fn read_main(&mut self, file: &ConfigurationFile) -> Option<ReadFile> {
        match file {
            ConfigurationFile::Path(path) => self.read_disk(path, None),
            ConfigurationFile::Embedded { main, included } => {
                self.embedded = included;
                Some(self.read_embedded(*main))
            }
        }
    }

    /// Reads the file that another one names, at this place.
    pub(super) fn read_included(&mut self, name: &str, place: Span) -> Option<ReadFile> {
        if name.trim().is_empty() {
            return self.fail(Some(place), "the name of a file is expected here".to_owned());
        }
        if name.contains("://") {
            let message = "only files on this machine can be included".to_owned();
            return self.fail(Some(place), message);
        }
        let Origin::Embedded(includer) = self.sources.get(place.source).origin else {
            let path = self.sources.directory(place.source).join(name);
            return self.read_disk(&path, Some(place));
        };
        let wanted = Path::new(includer).parent().unwrap_or(Path::new("")).join(name);
        let wanted = without_dots(&wanted);
        match self.embedded.iter().find(|(name, _)| Path::new(name) == wanted) {
            Some(file) => Some(self.read_embedded(*file)),
            None => self.fail(Some(place), format!("no file \"{name}\" is built in")),
        }
    }

    fn fail<T>(&mut self, place: Option<Span>, message: String) -> Option<T> {
        self.findings.push(match place {
            Some(place) => Finding::error(place, message),
            None => Finding::nowhere(message),
        });
        None
    }

    fn read_disk(&mut self, path: &Path, place: Option<Span>) -> Option<ReadFile> {
        // What can't be resolved can't be opened either; opening it says why.
        let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let key = FileKey::Disk(canonical);
        if let Some(document) = self.read.get(&key) {
            return Some(ReadFile { key, document: Rc::clone(document) });
        }
        if self.read.len() >= self.limits.files {
            let message = format!("more than {} files are included", self.limits.files);
            return self.fail(place, message);
        }
        let octets = match read_bounded(path, self.limits.file_size) {
            Ok(octets) => octets,
            Err(error) => {
                return self.fail(place, format!("can't read {}: {error}", path.display()));
            }
        };
        if octets.len() > self.limits.file_size {
            let (path, limit) = (path.display(), self.limits.file_size);
            return self.fail(place, format!("{path} is larger than {limit} octets"));
        }
        self.total_size += octets.len();
        if self.total_size > self.limits.total_size {
            let limit = self.limits.total_size;
            return self.fail(place, format!("all files together are larger than {limit} octets"));
        }
        let origin = Origin::File(path.to_owned());
        let document = match decode(octets) {
            Ok(text) => self.parse(origin, &text),
            Err(fault) => {
                let text = redact::xml(&fault.text);
                let id = self.sources.add(Source { origin, text });
                fault.document(id)
            }
        };
        Some(self.remember(key, document))
    }

    fn read_embedded(&mut self, (name, text): EmbeddedFile) -> ReadFile {
        let key = FileKey::Embedded(name);
        if let Some(document) = self.read.get(&key) {
            return ReadFile { key, document: Rc::clone(document) };
        }
        let document = self.parse(Origin::Embedded(name), text);
        self.remember(key, document)
    }

    fn parse(&mut self, origin: Origin, text: &str) -> Document {
        let id = self.sources.add(Source { origin, text: redact::xml(text) });
        xml::parse(text, id, self.limits)
    }

    fn remember(&mut self, key: FileKey, mut document: Document) -> ReadFile {
        self.findings.append(&mut document.findings);
        let document = Rc::new(document);
        self.read.insert(key.clone(), Rc::clone(&document));
        ReadFile { key, document }
    }
}

/// Reads a file, but not much more than the limit, whatever it is.
pub(super) fn read_bounded(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut octets)?;
    Ok(octets)
}

/// A file that is not UTF-8.
struct NotUtf8 {
    /// What can be shown of it.
    text: String,
    at: usize,
    message: &'static str,
}

impl NotUtf8 {
    fn document(&self, source: SourceId) -> Document {
        let length = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        let end = self.at + length.map_or(0, char::len_utf8);
        let finding = Finding::error(Span { source, start: self.at, end }, self.message)
            .with_help("save the file as UTF-8");
        Document { root: None, complete: false, findings: vec![finding] }
    }
}

fn decode(octets: Vec<u8>) -> Result<String, NotUtf8> {
    if octets.starts_with(&[0xfe, 0xff]) || octets.starts_with(&[0xff, 0xfe]) {
        let message = "this file is UTF-16, not UTF-8";
        return Err(NotUtf8 { text: String::new(), at: 0, message });
    }
    match String::from_utf8(octets) {
        Ok(mut text) => {
            if text.starts_with(xml::BYTE_ORDER_MARK) {
                text.remove(0);
            }
            Ok(text)
        }
        Err(error) => Err(NotUtf8 {
            at: error.utf8_error().valid_up_to(),
            text: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            message: "this is not UTF-8",
        }),
    }
}

/// A path with `.` and `..` worked out by the letters.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
