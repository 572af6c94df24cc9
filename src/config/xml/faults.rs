//! What the faults of an XML file are called, and what helps against each.

use mppd_engine::{Finding, Span};
use quick_xml::Error;
use quick_xml::errors::{IllFormedError, SyntaxError};
use quick_xml::events::BytesDecl;

use super::characters::BadReference;
use super::{Fatal, Parser};

/// Whether the reader still knows where it is after this error.
pub(super) fn can_go_on(error: &Error) -> bool {
    let goes_on = |fault: &IllFormedError| {
        matches!(fault, IllFormedError::UnclosedReference | IllFormedError::DoubleHyphenInComment)
    };
    matches!(error, Error::IllFormed(fault) if goes_on(fault))
}

pub(super) fn document_type(place: Span) -> Finding {
    Finding::error(place, "document types (<!DOCTYPE>) are refused")
        .with_label("with them, entities that read other files or grow without end")
        .with_help("remove it; another file's content comes in by the attributes file and xpath")
}

pub(super) fn not_a_tag(name: &str, place: Span) -> Finding {
    if name.is_empty() || !name.contains('<') {
        return Finding::error(place, "\"<\" does not begin a tag here")
            .with_help("in text, write \"<\" as &lt;");
    }
    unclosed_tag(place)
}

pub(super) fn unclosed_tag(place: Span) -> Finding {
    Finding::error(place, "this tag is not closed by \">\"")
}

pub(super) fn reference(fault: BadReference, name: &str, place: Span) -> Finding {
    let entities = "known are &lt; &gt; &amp; &quot; &apos; and characters by number, \
                    such as &#228;; a plain \"&\" is written &amp;";
    match fault {
        BadReference::UnknownEntity => {
            Finding::error(place, format!("unknown entity \"{name}\"")).with_help(entities)
        }
        BadReference::NotANumber => {
            Finding::error(place, format!("\"{name}\" is not a character's number"))
                .with_help(entities)
        }
        BadReference::NotAllowed => Finding::error(place, "this character is not allowed in XML"),
    }
}

impl Parser<'_> {
    pub(super) fn syntax_error(&self, error: &Error, start: usize) -> Finding {
        let rest = self.text.get(start..).unwrap_or_default();
        let place = self.span_at(start);
        let opens_document_type =
            rest.get(..9).is_some_and(|beginning| beginning.eq_ignore_ascii_case("<!DOCTYPE"));
        if opens_document_type {
            return document_type(self.span(start, start + 9));
        }
        match error {
            Error::IllFormed(IllFormedError::UnclosedReference) => {
                Finding::error(place, "\"&\" does not begin a reference here")
                    .with_help("in text, write \"&\" as &amp;")
            }
            Error::IllFormed(IllFormedError::DoubleHyphenInComment) => {
                Finding::error(self.span(start, start + 4), "this comment holds \"--\"")
                    .with_help("XML forbids two hyphens inside a comment")
            }
            Error::Syntax(fault) => Finding::error(place, unfinished(*fault)),
            other => Finding::error(place, format!("this is not XML: {other}")),
        }
    }

    pub(super) fn declaration(
        &mut self,
        declaration: &BytesDecl<'_>,
        start: usize,
        end: usize,
    ) -> Result<(), Fatal> {
        let place = self.span(start, end);
        if start != 0 {
            let message = "<?xml …?> is only possible at the very beginning of a file";
            return self.report(Finding::error(place, message));
        }
        if let Err(error) = declaration.version() {
            return self.report(Finding::error(place, format!("bad XML declaration: {error}")));
        }
        match declaration.encoding() {
            Some(Ok(encoding)) if !is_utf8(&encoding) => {
                let message = format!("the encoding \"{encoding}\" is not supported");
                self.report(Finding::error(place, message).with_help("save the file as UTF-8"))
            }
            Some(Err(error)) => {
                self.report(Finding::error(place, format!("bad XML declaration: {error}")))
            }
            _ => Ok(()),
        }
    }
}

fn is_utf8(encoding: &str) -> bool {
    ["utf-8", "utf8", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
}

fn unfinished(fault: SyntaxError) -> &'static str {
    match fault {
        SyntaxError::InvalidBangMarkup => "\"<!\" begins neither a comment nor CDATA here",
        SyntaxError::UnclosedPI | SyntaxError::UnclosedXmlDecl => {
            "this processing instruction is not closed by \"?>\""
        }
        SyntaxError::UnclosedComment => "this comment is not closed by \"-->\"",
        SyntaxError::UnclosedDoctype => "document types (<!DOCTYPE>) are refused",
        SyntaxError::UnclosedCData => "this CDATA is not closed by \"]]>\"",
        SyntaxError::UnclosedTag => "this tag is not closed by \">\"",
        SyntaxError::UnclosedSingleQuotedAttributeValue
        | SyntaxError::UnclosedDoubleQuotedAttributeValue => {
            "a quote is opened in this tag and never closed"
        }
    }
}
