//! What holds for any configuration whatever.

use mppd_engine::config::{AttributeNode, Origin, Source, SourceMap};
use mppd_engine::{Element, Finding, Span};
use proptest::prelude::*;

use super::*;
use crate::config::xml::{self, Document};
use crate::config::{files, include, merge};

const SAMPLE: &str = include_str!("../../../conf/mppd.conf.xml");

fn parse(text: &str) -> (SourceMap, Document) {
    let mut sources = SourceMap::default();
    let id = sources.add(Source { origin: Origin::Embedded("test"), text: text.to_owned() });
    let document = xml::parse(text, id, &Limits::default());
    (sources, document)
}

/// The same element without its places, and without blanks where there is nothing else.
fn placeless(element: &Element, nowhere: Span) -> Element {
    let attribute = |attribute: &AttributeNode| AttributeNode {
        name_span: nowhere,
        value_span: nowhere,
        ..attribute.clone()
    };
    let text = if element.text.trim().is_empty() { "" } else { &element.text };
    Element {
        name: element.name.clone(),
        name_span: nowhere,
        span: nowhere,
        attributes: element.attributes.iter().map(attribute).collect(),
        children: element.children.iter().map(|child| placeless(child, nowhere)).collect(),
        text: text.to_owned(),
        text_span: nowhere,
    }
}

fn any_span() -> Span {
    let mut sources = SourceMap::default();
    let source = sources.add(Source { origin: Origin::CommandLine, text: String::new() });
    Span { source, start: 0, end: 0 }
}

fn escaped(text: &str) -> String {
    let escape = |character| match character {
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\t' | '\n' | '\r' => format!("&#{};", character as u32),
        other => other.to_string(),
    };
    text.chars().map(escape).collect()
}

fn printed(element: &Element) -> String {
    let attributes = element.attributes.iter();
    let attributes: Vec<String> = attributes
        .map(|attribute| format!(" {}=\"{}\"", attribute.name, escaped(&attribute.value)))
        .collect();
    let attributes = attributes.concat();
    let children: String = element.children.iter().map(printed).collect();
    let name = &element.name;
    format!("<{name}{attributes}>{}{children}</{name}>", escaped(&element.text))
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_ö][a-zA-Z0-9_.:ö-]{0,6}"
}

fn text() -> impl Strategy<Value = String> {
    "([ \t\n\ra-z<>&\"'é€😀]|\\]\\]>){0,8}"
}

fn element() -> impl Strategy<Value = Element> {
    let attributes = proptest::collection::btree_map("[a-w_][a-z0-9]{0,4}", text(), 0..4);
    let leaf = (name(), attributes, text()).prop_map(|(name, attributes, text)| {
        let nowhere = any_span();
        let attribute =
            |(name, value)| AttributeNode { name, name_span: nowhere, value, value_span: nowhere };
        Element {
            name,
            name_span: nowhere,
            span: nowhere,
            attributes: attributes.into_iter().map(attribute).collect(),
            children: Vec::new(),
            text,
            text_span: nowhere,
        }
    });
    leaf.prop_recursive(5, 30, 5, |inner| {
        (inner.clone(), proptest::collection::vec(inner, 0..5))
            .prop_map(|(element, children)| Element { children, ..element })
    })
}

/// Every name stands where its place says.
fn check_names(element: &Element, sources: &SourceMap) {
    assert_eq!(sources.text(element.name_span), element.name);
    for attribute in &element.attributes {
        assert_eq!(sources.text(attribute.name_span), attribute.name);
    }
    for child in &element.children {
        assert!(element.span.start < child.span.start && child.span.end < element.span.end);
        check_names(child, sources);
    }
}

fn check_places(findings: &[Finding], sources: &SourceMap) {
    for finding in findings {
        let related = finding.related.iter().map(|(span, _)| *span);
        for span in finding.span.into_iter().chain(related) {
            let text = &sources.get(span.source).text;
            assert!(text.get(span.start..span.end).is_some(), "{finding:?}");
        }
    }
}

/// Pieces that XML is made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "<",
        ">",
        "</",
        "/>",
        "<a",
        "<mppd>",
        "</mppd>",
        "<engines>",
        "</engines>",
        "=",
        "\"",
        "'",
        " x=\"y\"",
        " file='f'",
        " xpath='/a/b'",
        "&",
        "&amp;",
        "&x;",
        "&#",
        "&#x41;",
        "&#0;",
        "<!--",
        "-->",
        "--",
        "<![CDATA[",
        "]]>",
        "<!DOCTYPE a",
        "[",
        "]",
        "<?xml version='1.0'?>",
        "<?",
        "?>",
        "<!",
        "\n",
        "\r\n",
        " ",
        "é",
        "\u{feff}",
        "\u{0}",
        "text",
        "<password>",
    ]);
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_tree_that_is_printed_and_read_again_is_the_same(element in element()) {
        let text = printed(&element);
        let (sources, document) = parse(&text);
        prop_assert_eq!(&document.findings, &[]);
        let root = document.root.unwrap();
        check_names(&root, &sources);
        prop_assert_eq!(placeless(&root, any_span()), placeless(&element, any_span()));
    }

    #[test]
    fn no_text_breaks_the_parser(text in any::<String>()) {
        let (sources, document) = parse(&text);
        check_places(&document.findings, &sources);
        prop_assert!(document.complete || !document.findings.is_empty());
    }

    #[test]
    fn no_pieces_of_xml_break_the_parser(text in pieces()) {
        let (sources, document) = parse(&text);
        check_places(&document.findings, &sources);
        prop_assert!(document.complete || !document.findings.is_empty());
        prop_assert!(!document.complete || document.root.is_some());
    }

    #[test]
    fn no_octets_break_the_loader(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let files = Files::main("");
        std::fs::write(&files.main, octets).unwrap();
        files.report();
    }

    #[test]
    fn a_damaged_configuration_is_loaded_or_reported(
        at in 0..SAMPLE.len(),
        length in 0..40_usize,
        instead in pieces(),
    ) {
        let boundary = |at: usize| (0..=at).rev().find(|at| SAMPLE.is_char_boundary(*at)).unwrap();
        let (start, end) = (boundary(at), boundary((at + length).min(SAMPLE.len())));
        let damaged = format!("{}{instead}{}", &SAMPLE[..start], &SAMPLE[end..]);
        let files = Files::new(&[
            ("mppd.conf.xml", &damaged),
            ("esm/PPXX0001.xml", include_str!("../../../conf/esm/PPXX0001.xml")),
        ]);
        if let Err(rejected) = files.load() {
            check_places(&rejected.findings, &rejected.sources);
            prop_assert!(!rejected.findings.is_empty());
            prop_assert!(!files.report().is_empty());
        }
    }

    #[test]
    fn a_configuration_in_pieces_means_the_same_as_the_whole(
        common in proptest::collection::vec((item_of_common(), cut()), 0..12),
        engines in proptest::collection::vec(cut(), 0..8),
    ) {
        let engine = |(number, cut)| (format!("<wbl id=\"e{number}\"><x>{number}</x></wbl>"), cut);
        let engines: Vec<(String, Cut)> = engines.into_iter().enumerate().map(engine).collect();
        let whole = |items: &[(String, Cut)]| {
            items.iter().map(|(item, _)| item.as_str()).collect::<String>()
        };
        let one = format!(
            "<mppd><common>{}</common><engines>{}</engines></mppd>",
            whole(&common), whole(&engines),
        );
        let mut files = Vec::new();
        let main = format!(
            "<mppd>{}{}</mppd>",
            in_pieces("common", &common, &mut files), in_pieces("engines", &engines, &mut files),
        );
        let mut split = vec![("mppd.conf.xml", main.as_str())];
        split.extend(files.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        prop_assert_eq!(meaning(&Files::new(&split)), meaning(&Files::main(&one)));
    }
}

/// Whether a new element begins before an item, and where its content stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    No,
    NewElement,
    NewFile,
}

fn cut() -> impl Strategy<Value = Cut> {
    prop::sample::select(vec![Cut::No, Cut::NewElement, Cut::NewFile])
}

fn item_of_common() -> impl Strategy<Value = String> {
    (
        0..8_u32,
        prop::sample::select(vec![
            "<policy_server><listen>inet:#</listen></policy_server>",
            "<policy_server><max_connections>#</max_connections></policy_server>",
            "<policy_begin_engines>begin#</policy_begin_engines>",
            "<policy_check_engines>a# b#</policy_check_engines>",
            "<policy_end_engines>end#</policy_end_engines>",
            "<log><level>#</level></log>",
            "<log/>",
            "<tracking><queue>#</queue></tracking>",
            "<node>#</node>",
        ]),
    )
        .prop_map(|(number, item)| item.replace('#', &number.to_string()))
}

/// The items in several elements of this name, some with their content in files of their own.
fn in_pieces(name: &str, items: &[(String, Cut)], files: &mut Vec<(String, String)>) -> String {
    let mut elements: Vec<(Cut, String)> = Vec::new();
    for (item, cut) in items {
        match elements.last_mut() {
            Some((_, content)) if *cut == Cut::No => content.push_str(item),
            _ => elements.push((*cut, item.clone())),
        }
    }
    let mut text = Vec::new();
    for (cut, content) in elements {
        if cut != Cut::NewFile {
            text.push(format!("<{name}>{content}</{name}>"));
            continue;
        }
        let file = format!("{name}{}.xml", files.len());
        text.push(format!("<{name} file=\"{file}\" xpath=\"/mppd/{name}\"/>"));
        files.push((file, format!("<mppd>\n<{name}>{content}</{name}>\n</mppd>")));
    }
    text.concat()
}

/// The three parts of a configuration without their places.
fn meaning(files: &Files) -> (Element, Vec<Element>, Vec<Element>) {
    let limits = Limits::default();
    let mut read = files::Files::new(&limits);
    let main = read.read_main(&ConfigurationFile::Path(files.main.clone())).unwrap();
    let root = include::resolve(&mut read, main.document.root.as_ref().unwrap()).unwrap();
    let mut findings = read.findings;
    let parts = merge::parts(&root, &mut findings);
    assert_eq!(findings, []);
    let all = |elements: &[Element]| {
        elements.iter().map(|element| placeless(element, any_span())).collect()
    };
    (placeless(&parts.common, any_span()), all(&parts.groups), all(&parts.engines))
}
