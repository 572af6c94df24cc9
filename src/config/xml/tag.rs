//! The attributes of a start tag.

use mppd_engine::config::AttributeNode;
use mppd_engine::{Finding, Span};
use quick_xml::events::BytesStart;
use quick_xml::events::attributes::{AttrError, Attribute};

use super::{Fatal, Parser, characters, faults};

impl Parser<'_> {
    pub(super) fn attributes(
        &mut self,
        tag: &BytesStart<'_>,
        start: usize,
    ) -> Result<Vec<AttributeNode>, Fatal> {
        if has_bare_bracket(tag.attributes_raw()) {
            return Err(Fatal(faults::unclosed_tag(self.span_at(start))));
        }
        let mut attributes = Vec::new();
        for attribute in tag.attributes() {
            match attribute {
                Ok(attribute) => attributes.extend(self.attribute(&attribute)?),
                Err(error) => {
                    let finding = self.attribute_error(&error, start + 1);
                    self.report(finding)?;
                }
            }
        }
        if self.open.is_empty() {
            attributes.retain(|attribute| !is_for_schemas(&attribute.name));
        }
        Ok(attributes)
    }

    fn attribute(&mut self, attribute: &Attribute<'_>) -> Result<Option<AttributeNode>, Fatal> {
        let name = attribute.key.0;
        let name_start = self.offset_of(name);
        let name_span = self.span(name_start, name_start + name.len());
        if !characters::is_name(name) {
            self.report(Finding::error(name_span, "this is not the name of an attribute"))?;
            return Ok(None);
        }
        let before = self.text.get(..name_start).unwrap_or_default();
        if !before.ends_with(|character: char| character.is_ascii_whitespace()) {
            let message = "white space is missing before this attribute";
            self.report(Finding::error(name_span, message))?;
        }
        let value_start = self.offset_of(&attribute.value);
        let value_span = self.span(value_start, value_start + attribute.value.len());
        let value = self.attribute_value(&attribute.value, value_span)?;
        Ok(Some(AttributeNode { name: name.to_owned(), name_span, value, value_span }))
    }

    fn attribute_value(&mut self, raw: &str, place: Span) -> Result<String, Fatal> {
        if let Some(at) = raw.find('<') {
            let finding = Finding::error(
                self.span_at(place.start + at),
                "\"<\" is not allowed in the value of an attribute",
            );
            self.report(finding.with_help("write it as &lt;, or close the quote before it"))?;
        }
        let raw = characters::with_plain_line_ends(raw);
        let mut value = String::with_capacity(raw.len());
        let mut rest = &*raw;
        while let Some((before, after)) = rest.split_once('&') {
            push_with_spaces(&mut value, before);
            let (character, length) = self.attribute_reference(after, place)?;
            value.extend(character);
            rest = after.get(length..).unwrap_or_default();
        }
        push_with_spaces(&mut value, rest);
        Ok(value)
    }

    /// The character of the reference whose text begins behind its `&`, and the length of that.
    fn attribute_reference(
        &mut self,
        after: &str,
        place: Span,
    ) -> Result<(Option<char>, usize), Fatal> {
        let end = after.find([';', '&', '<']).filter(|end| after[*end..].starts_with(';'));
        let Some(name) = end.map(|end| &after[..end]) else {
            let finding = Finding::error(place, "\"&\" does not begin a reference here")
                .with_help("write \"&\" as &amp;");
            self.report(finding)?;
            return Ok((None, 0));
        };
        match characters::referenced(name) {
            Ok(character) => Ok((Some(character), name.len() + 1)),
            Err(fault) => {
                self.report(faults::reference(fault, name, place))?;
                Ok((None, name.len() + 1))
            }
        }
    }

    /// The error's own places count from the tag's name.
    fn attribute_error(&self, error: &AttrError, name: usize) -> Finding {
        match *error {
            AttrError::Duplicated(second, first) => {
                let attribute = self.name_at(name + second);
                Finding::error(attribute, "this attribute is given twice")
                    .with_related(self.name_at(name + first), "first given here")
            }
            AttrError::ExpectedEq(at) => {
                Finding::error(self.span_at(name + at), "\"=\" and a value are expected here")
            }
            AttrError::ExpectedValue(at) => {
                Finding::error(self.span_at(name + at), "a value in quotes is expected here")
            }
            AttrError::UnquotedValue(at) => {
                let place = self.span_at(name + at);
                Finding::error(place, "the value of an attribute must stand in quotes")
            }
            AttrError::ExpectedQuote(at, quote) => {
                let message = format!("the quote {} is not closed", char::from(quote));
                Finding::error(self.span_at(name + at), message)
            }
        }
    }

    fn name_at(&self, start: usize) -> Span {
        let rest = self.text.get(start..).unwrap_or_default();
        let length = rest.find(|character| !characters::continues_name(character));
        self.span(start, start + length.unwrap_or(rest.len()))
    }
}

/// A white space character in the value of an attribute is a space, as XML has it.
fn push_with_spaces(value: &mut String, raw: &str) {
    value.extend(raw.chars().map(|character| match character {
        '\t' | '\n' => ' ',
        other => other,
    }));
}

/// Whether a `<` stands outside quotes: the tag before it was not closed.
fn has_bare_bracket(attributes: &str) -> bool {
    let mut quote = None;
    for character in attributes.chars() {
        match (character, quote) {
            ('<', None) => return true,
            ('"' | '\'', None) => quote = Some(character),
            (character, Some(open)) if character == open => quote = None,
            _ => {}
        }
    }
    false
}

/// Attributes that only tell editors which schema a file follows.
fn is_for_schemas(name: &str) -> bool {
    name == "xmlns" || name.starts_with("xmlns:") || name.starts_with("xsi:")
}
