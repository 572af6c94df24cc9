//! Reads one element of XML, with positions. It knows what tests need and no more: the server's
//! own reader has the limits, the includes and the error messages.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::config::{AttributeNode, Element, SourceId, Span};

/// The only element of a text.
#[track_caller]
pub(super) fn read(source: SourceId, text: &str) -> Element {
    let mut reader = Reader::from_str(text);
    let document = Document { source, text };
    let mut open = vec![document.element("", 0)];
    loop {
        let start = position(&reader);
        let event = reader.read_event().expect("well-formed XML");
        let end = position(&reader);
        let current = open.last_mut().expect("an open element");
        match event {
            Event::Start(tag) => open.push(document.tag(&tag, start)),
            Event::Empty(tag) => {
                let mut element = document.tag(&tag, start);
                element.span.end = end;
                current.children.push(element);
            }
            Event::End(_) => {
                let mut element = open.pop().expect("an open element");
                element.span.end = end;
                open.last_mut().expect("the document").children.push(element);
            }
            Event::Text(piece) => {
                let piece = piece.xml_content(XmlVersion::Implicit1_0);
                document.add_text(current, &piece, start, end);
            }
            Event::CData(piece) => {
                let piece = piece.xml_content(XmlVersion::Implicit1_0);
                document.add_text(current, &piece, start, end);
            }
            Event::GeneralRef(reference) => {
                let letter = reference.resolve_char_ref().expect("a character reference");
                let piece = match letter {
                    Some(letter) => letter.to_string(),
                    None => resolve_predefined_entity(&text[start + 1..end - 1])
                        .expect("an entity of XML itself")
                        .to_owned(),
                };
                document.add_text(current, &piece, start, end);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let document = open.pop().expect("the document");
    document.children.into_iter().next().expect("an element")
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).expect("a position in memory")
}

struct Document<'a> {
    source: SourceId,
    text: &'a str,
}

impl Document<'_> {
    fn span(&self, start: usize, end: usize) -> Span {
        Span { source: self.source, start, end }
    }

    /// Where a slice of the text stands in it.
    fn place(&self, part: &str) -> Span {
        let start = part.as_ptr().addr() - self.text.as_ptr().addr();
        self.span(start, start + part.len())
    }

    fn element(&self, name: &str, start: usize) -> Element {
        let name_span = self.span(start, start + name.len());
        Element {
            name: name.to_owned(),
            name_span,
            span: self.span(start, self.text.len()),
            attributes: Vec::new(),
            children: Vec::new(),
            text: String::new(),
            text_span: name_span,
        }
    }

    fn tag(&self, tag: &BytesStart<'_>, start: usize) -> Element {
        let mut element = self.element(tag.name().0, start + 1);
        element.span.start = start;
        for attribute in tag.attributes() {
            let attribute = attribute.expect("a well-formed attribute");
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            element.attributes.push(AttributeNode {
                name: attribute.key.0.to_owned(),
                name_span: self.place(attribute.key.0),
                value: value.expect("references of XML itself").into_owned(),
                value_span: self.place(&attribute.value),
            });
        }
        element
    }

    fn add_text(&self, element: &mut Element, piece: &str, start: usize, end: usize) {
        let raw = &self.text[start..end];
        if !piece.trim().is_empty() {
            let first = element.text.trim().is_empty();
            let (lead, tail) =
                (raw.len() - raw.trim_start().len(), raw.len() - raw.trim_end().len());
            let place = self.span(start + lead, end - tail);
            element.text_span = if first { place } else { self.merged(element.text_span, place) };
        }
        element.text.push_str(piece);
    }

    fn merged(&self, first: Span, last: Span) -> Span {
        self.span(first.start, last.end)
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::Configured;

    #[test]
    fn every_part_knows_its_place() {
        let configured = Configured::xml(
            "<?xml version='1.0'?>\n<list id=\"a&amp;b\">\n  one <!-- and --> two\n  <item/></list>",
        );
        let list = configured.element();
        assert_eq!(list.name, "list");
        assert_eq!(configured.text(list.name_span), "list");
        assert_eq!(list.attributes[0].value, "a&b");
        assert_eq!(configured.text(list.attributes[0].value_span), "a&amp;b");
        assert_eq!(list.text.split_whitespace().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(configured.text(list.text_span), "one <!-- and --> two");
        assert_eq!(configured.text(list.children[0].span), "<item/>");
    }
}
