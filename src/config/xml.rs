//! From the text of one XML file to a tree of elements, each part with its place.
//!
//! quick-xml finds the pieces; what it lets through although XML forbids it, and what mppd does
//! not want (document types, and with them every entity of one's own), is refused here.

pub(super) mod characters;
mod faults;
mod tag;

use mppd_engine::config::SourceId;
use mppd_engine::{Element, Finding, Span};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::limits::Limits;

/// What some editors put at the beginning of a file.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// How many faults of one file are told.
const MOST_FINDINGS: usize = 50;

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The outermost element, as far as it could be read.
    pub root: Option<Element>,
    /// Whether the file could be read to its end; if not, the tree lacks what stands behind the
    /// first fault that nothing can be read after.
    pub complete: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Reads the text of one file, its byte order mark already taken off.
#[must_use]
pub fn parse(text: &str, source: SourceId, limits: &Limits) -> Document {
    let mut parser = Parser {
        text,
        source,
        nesting: limits.nesting,
        open: Vec::new(),
        root: None,
        findings: Vec::new(),
    };
    let end = parser.check_characters().and_then(|()| parser.read());
    let complete = end.is_ok();
    if let Err(Fatal(finding)) = end {
        parser.findings.push(finding);
    }
    parser.close_all();
    Document { root: parser.root, complete, findings: parser.findings }
}

/// A fault after which the rest of the file can't be made sense of.
struct Fatal(Finding);

/// An element whose end tag was not seen yet.
struct Open {
    element: Element,
    text: Option<(usize, usize)>,
}

struct Parser<'t> {
    text: &'t str,
    source: SourceId,
    nesting: usize,
    open: Vec<Open>,
    root: Option<Element>,
    findings: Vec<Finding>,
}

impl Parser<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { source: self.source, start, end }
    }

    /// The character at this place.
    fn span_at(&self, start: usize) -> Span {
        let length = self.text.get(start..).and_then(|rest| rest.chars().next());
        self.span(start, start + length.map_or(0, char::len_utf8))
    }

    /// Where a piece of the text begins.
    fn offset_of(&self, piece: &str) -> usize {
        piece.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())
    }

    /// Takes note of a fault after which reading can go on.
    fn report(&mut self, finding: Finding) -> Result<(), Fatal> {
        if self.findings.len() + 1 >= MOST_FINDINGS {
            return Err(Fatal(finding));
        }
        self.findings.push(finding);
        Ok(())
    }

    fn check_characters(&mut self) -> Result<(), Fatal> {
        let text = self.text;
        // quick-xml would leave it out without counting it, and every place would be wrong.
        if text.starts_with(BYTE_ORDER_MARK) {
            let message = "a second byte order mark";
            return Err(Fatal(Finding::error(self.span_at(0), message)));
        }
        let forbidden = |(_, character): &(usize, char)| !characters::is_allowed(*character);
        for (at, character) in text.char_indices().filter(forbidden) {
            let message = format!("the character U+{:04X} is not allowed in XML", character as u32);
            self.report(Finding::error(self.span_at(at), message))?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Fatal> {
        let mut reader = Reader::from_str(self.text);
        let config = reader.config_mut();
        config.check_comments = true;
        // Tags are matched here, because both places belong into the report.
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        loop {
            let start = self.position(&reader);
            match reader.read_event() {
                Ok(Event::Eof) => return self.end_of_file(),
                Ok(event) => self.event(&event, start, self.position(&reader))?,
                Err(error) => {
                    let finding = self.syntax_error(&error, start);
                    if !faults::can_go_on(&error) {
                        return Err(Fatal(finding));
                    }
                    self.report(finding)?;
                }
            }
        }
    }

    fn position(&self, reader: &Reader<&[u8]>) -> usize {
        usize::try_from(reader.buffer_position()).unwrap_or(self.text.len())
    }

    fn event(&mut self, event: &Event<'_>, start: usize, end: usize) -> Result<(), Fatal> {
        match event {
            Event::Start(tag) => self.start_tag(tag, start, end),
            Event::Empty(tag) => {
                self.start_tag(tag, start, end)?;
                self.close(end);
                Ok(())
            }
            Event::End(tag) => self.end_tag(tag.name().0, start, end),
            Event::Text(text) => self.text(text, start),
            Event::CData(text) => {
                let content = start + "<![CDATA[".len();
                self.append(&characters::with_plain_line_ends(text), text, content)
            }
            Event::GeneralRef(name) => self.reference(name, start, end),
            Event::Decl(declaration) => self.declaration(declaration, start, end),
            Event::DocType(_) => Err(Fatal(faults::document_type(self.span(start, end)))),
            Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn start_tag(&mut self, tag: &BytesStart<'_>, start: usize, end: usize) -> Result<(), Fatal> {
        let name = tag.name().0;
        let name_span = self.span(start + 1, start + 1 + name.len());
        if name.contains('<') || !characters::is_name(name) {
            return Err(Fatal(faults::not_a_tag(name, self.span_at(start))));
        }
        if let Some(root) = self.root.as_ref() {
            let finding =
                Finding::error(name_span, format!("a second outermost element, <{name}>"))
                    .with_related(root.name_span, "the first one is here")
                    .with_help("a file holds one outermost element with all others inside");
            return Err(Fatal(finding));
        }
        if self.open.len() >= self.nesting {
            let message = format!("elements are nested deeper than {} levels", self.nesting);
            return Err(Fatal(Finding::error(name_span, message)));
        }
        let attributes = self.attributes(tag, start)?;
        let element = Element {
            name: name.to_owned(),
            name_span,
            span: self.span(start, end),
            attributes,
            children: Vec::new(),
            text: String::new(),
            text_span: name_span,
        };
        self.open.push(Open { element, text: None });
        Ok(())
    }

    fn end_tag(&mut self, name: &str, start: usize, end: usize) -> Result<(), Fatal> {
        let place = self.span(start, end);
        match self.open.last() {
            Some(open) if open.element.name == name => {
                self.close(end);
                Ok(())
            }
            Some(open) => {
                let expected = &open.element.name;
                let finding =
                    Finding::error(place, format!("</{name}> does not close <{expected}>"))
                        .with_label(format!("expected </{expected}>"))
                        .with_related(open.element.name_span, "this element is still open");
                Err(Fatal(finding))
            }
            None => {
                let message = format!("</{name}> closes nothing: no element is open here");
                Err(Fatal(Finding::error(place, message)))
            }
        }
    }

    /// Closes the innermost open element.
    fn close(&mut self, end: usize) {
        let Some(Open { mut element, text }) = self.open.pop() else { return };
        element.span.end = end;
        if let Some((start, end)) = text {
            element.text_span = self.span(start, end);
        }
        match self.open.last_mut() {
            Some(parent) => parent.element.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close(self.text.len());
        }
    }

    fn text(&mut self, text: &str, start: usize) -> Result<(), Fatal> {
        if let Some(at) = text.find("]]>") {
            let place = self.span(start + at, start + at + 3);
            let finding = Finding::error(place, "\"]]>\" is not allowed in text")
                .with_help("write it as ]]&gt;");
            self.report(finding)?;
        }
        self.append(&characters::with_plain_line_ends(text), text, start)
    }

    fn reference(&mut self, name: &str, start: usize, end: usize) -> Result<(), Fatal> {
        match characters::referenced(name) {
            Ok(character) => {
                let raw = &self.text[start..end];
                self.append(character.encode_utf8(&mut [0; 4]), raw, start)
            }
            Err(fault) => self.report(faults::reference(fault, name, self.span(start, end))),
        }
    }

    /// Adds to the text of the innermost open element what stands in the file as `raw`.
    fn append(&mut self, text: &str, raw: &str, start: usize) -> Result<(), Fatal> {
        let blank_before = raw.len() - raw.trim_start().len();
        let place = (start + blank_before, start + raw.trim_end().len());
        let blank = place.0 >= place.1;
        let Some(open) = self.open.last_mut() else {
            if blank {
                return Ok(());
            }
            let place = self.span(place.0, place.1);
            return Err(Fatal(Finding::error(place, "text outside the outermost element")));
        };
        open.element.text.push_str(text);
        if !blank {
            open.text = Some((open.text.map_or(place.0, |(first, _)| first), place.1));
        }
        Ok(())
    }

    fn end_of_file(&self) -> Result<(), Fatal> {
        if let Some(open) = self.open.last() {
            let name = &open.element.name;
            let finding = Finding::error(
                open.element.name_span,
                format!("<{name}> is not closed before the end of the file"),
            );
            return Err(Fatal(finding.with_help(format!("</{name}> is missing"))));
        }
        if self.root.is_none() {
            let message = "the file holds no element";
            return Err(Fatal(Finding::error(self.span_at(self.text.len()), message)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
