//! Typed values out of elements: what is read, and what is said about faults.

use super::super::source::{Origin, Source, SourceMap};
use super::super::value::{Period, Spanned};
use super::*;

// Elements are written by hand here; reading XML is the server's. Every node gets a place of
// its own, so that strikes can be told apart.
struct Builder {
    map: SourceMap,
    next: usize,
}

impl Builder {
    fn new() -> Self {
        Builder { map: SourceMap::default(), next: 0 }
    }

    fn span(&mut self) -> Span {
        if self.map.iter().next().is_none() {
            let text = " ".repeat(1000);
            self.map.add(Source { origin: Origin::CommandLine, text });
        }
        self.next += 1;
        let source = super::super::source::SourceId::from_index(0).unwrap();
        Span { source, start: self.next, end: self.next + 1 }
    }

    fn element(&mut self, name: &str, text: &str, children: Vec<Element>) -> Element {
        Element {
            name: name.into(),
            name_span: self.span(),
            span: self.span(),
            attributes: Vec::new(),
            children,
            text: text.into(),
            text_span: self.span(),
        }
    }
}

crate::options! {
    /// Inside.
    struct Inner {
        /// A number.
        number: u16 = 7,
        /// Must be there.
        must: String,
    }
}

crate::options! {
    /// Outside.
    struct Outer {
        /// A list.
        item: Vec<Spanned<String>> = Vec::new(),
        /// An element.
        inner: Option<Inner> = None,
        /// A time.
        wait: Period = Period::seconds(1),
    }
}

fn read(element: &Element) -> Result<Outer, Vec<String>> {
    from_element(element, |_| false)
        .map_err(|findings| findings.into_iter().map(|finding| finding.message).collect())
}

#[test]
fn a_number_out_of_range_is_told_as_such() {
    for text in ["65536", "-1", "99999999999999999999"] {
        let mut b = Builder::new();
        let number = b.element("number", text, vec![]);
        let inner = b.element("inner", "", vec![number]);
        let findings = read(&b.element("outer", "", vec![inner])).unwrap_err();
        let told = format!("{text} is out of range (0 to 65535)");
        assert!(findings.contains(&told), "{findings:?}");
    }
}

#[test]
fn lists_elements_and_defaults_are_read() {
    let mut b = Builder::new();
    let must = b.element("must", " yes ", vec![]);
    let inner = b.element("inner", "", vec![must]);
    let (first, second) = (b.element("item", "a", vec![]), b.element("item", "b", vec![]));
    let place = second.text_span;
    let outer = b.element("outer", "\n", vec![first, inner, second]);
    let outer = read(&outer).unwrap();
    assert_eq!(outer.item[1], Spanned { value: "b".to_owned(), span: place });
    assert_eq!(outer.inner.as_ref().unwrap().must, "yes");
    assert_eq!(outer.inner.unwrap().number, 7);
    assert_eq!(outer.wait, Period::seconds(1));
}

#[test]
fn every_fault_is_found_at_once() {
    let mut b = Builder::new();
    let number = b.element("number", "x", vec![]);
    let inner = b.element("inner", "", vec![number]);
    let wait = b.element("wait", "soon", vec![]);
    let typo = b.element("itme", "a", vec![]);
    let outer = b.element("outer", "stray", vec![inner, wait, typo]);
    let findings = read(&outer).unwrap_err();
    assert_eq!(findings.len(), 5, "{findings:#?}");
    assert!(findings.iter().any(|f| f == "unknown element \"itme\""));
    assert!(findings.iter().any(|f| f == "text is not expected directly in <outer>"));
    assert!(findings.iter().any(|f| f == "\"x\" is not a number (0 to 65535)"));
    assert!(findings.iter().any(|f| f == "\"must\" is missing in <inner>"));
    assert!(findings.iter().any(|f| f.starts_with("\"soon\" is not a time")));
}

#[test]
fn a_value_that_its_type_refuses_is_found_where_it_stands() {
    let mut b = Builder::new();
    let wait = b.element("wait", "soon", vec![]);
    let place = wait.text_span;
    let outer = b.element("outer", "", vec![wait]);
    let findings = from_element::<Outer>(&outer, |_| false).unwrap_err();
    assert_eq!(findings[0].span, Some(place));
}

#[test]
fn a_field_that_was_struck_out_is_not_called_missing() {
    let mut b = Builder::new();
    let nested = b.element("b", "", vec![]);
    let must = b.element("must", "", vec![nested]);
    let inner = b.element("inner", "", vec![must]);
    let outer = b.element("outer", "", vec![inner]);
    assert_eq!(read(&outer).unwrap_err(), ["\"b\" is not expected in <must>"]);
}

#[test]
fn a_single_value_given_twice_is_an_error() {
    let mut b = Builder::new();
    let (first, second) = (b.element("wait", "1s", vec![]), b.element("wait", "2s", vec![]));
    let outer = b.element("outer", "", vec![first, second]);
    assert_eq!(read(&outer).unwrap_err(), ["given twice; only one is possible here"]);
}
