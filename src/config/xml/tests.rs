//! What is read of XML, and what is refused.

use mppd_engine::config::{Origin, Source, SourceMap};

use super::*;

fn read(text: &str) -> (SourceMap, Document) {
    let mut sources = SourceMap::default();
    let id = sources.add(Source { origin: Origin::Embedded("test"), text: text.to_owned() });
    let document = parse(text, id, &Limits::default());
    (sources, document)
}

fn faults(text: &str) -> Vec<String> {
    let (sources, document) = read(text);
    let place = |finding: &Finding| sources.position(finding.span.unwrap());
    let shown = |finding: &Finding| {
        let (line, column) = place(finding);
        format!("{line}:{column} {}", finding.message)
    };
    document.findings.iter().map(shown).collect()
}

#[test]
fn every_part_has_its_place() {
    let text = "<a>\n <b key = 'va&amp;lue' > tä<!-- c -->xt <c/></b>\n</a>";
    let (sources, document) = read(text);
    let root = document.root.unwrap();
    assert!(document.findings.is_empty());
    assert_eq!(sources.text(root.span), text);
    let b = root.child("b").unwrap();
    assert_eq!(sources.text(b.name_span), "b");
    assert_eq!(sources.text(b.span), "<b key = 'va&amp;lue' > tä<!-- c -->xt <c/></b>");
    assert_eq!((b.text.as_str(), sources.text(b.text_span)), (" täxt ", "tä<!-- c -->xt"));
    let key = b.attribute("key").unwrap();
    assert_eq!(key.value, "va&lue");
    assert_eq!(sources.text(key.name_span), "key");
    assert_eq!(sources.text(key.value_span), "va&amp;lue");
    let c = b.child("c").unwrap();
    assert_eq!((sources.text(c.span), c.text_span), ("<c/>", c.name_span));
}

#[test]
fn cdata_references_and_instructions_are_understood() {
    let text =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<?pi x?><a><![CDATA[<b>&]]>&lt;&#xE4;</a>";
    let (sources, document) = read(text);
    let root = document.root.unwrap();
    assert_eq!(document.findings, []);
    assert_eq!(root.text, "<b>&<ä");
    assert_eq!(sources.text(root.text_span), "<b>&]]>&lt;&#xE4;");
}

#[test]
fn line_ends_and_white_space_in_attributes_become_plain() {
    let (_, document) = read("<a b='x\r\ny\tz'>1\r\n2\r3</a>");
    let root = document.root.unwrap();
    assert_eq!(root.text, "1\n2\n3");
    assert_eq!(root.attributes[0].value, "x y z");
}

#[test]
fn schema_attributes_of_the_outermost_element_are_left_out() {
    let (_, document) = read("<a xmlns='u' xmlns:xsi='v' xsi:schemaLocation='w' b='1'/>");
    let names: Vec<String> =
        document.root.unwrap().attributes.into_iter().map(|attribute| attribute.name).collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn faults_that_leave_the_structure_clear_are_told_together() {
    let faults = faults("<a b='1' b='2' c=3>\n&x; & \u{1}\n<d e='<'/></a>");
    assert_eq!(
        faults,
        [
            "2:7 the character U+0001 is not allowed in XML",
            "1:10 this attribute is given twice",
            "1:18 the value of an attribute must stand in quotes",
            "2:1 unknown entity \"x\"",
            "2:5 \"&\" does not begin a reference here",
            "3:7 \"<\" is not allowed in the value of an attribute",
        ]
    );
}

#[test]
fn what_xml_forbids_is_refused() {
    for (text, fault) in [
        ("<a><b></a>", "1:7 </a> does not close <b>"),
        ("<a>", "1:2 <a> is not closed before the end of the file"),
        ("</a>", "1:1 </a> closes nothing: no element is open here"),
        ("", "1:1 the file holds no element"),
        ("<a/>x", "1:5 text outside the outermost element"),
        ("<a/><b/>", "1:6 a second outermost element, <b>"),
        ("<!DOCTYPE a><a/>", "1:1 document types (<!DOCTYPE>) are refused"),
        ("<!doctype a [<!ENTITY x 'y'", "1:1 document types (<!DOCTYPE>) are refused"),
        ("<a b='1'c='2'/>", "1:9 white space is missing before this attribute"),
        ("<a>]]></a>", "1:4 \"]]>\" is not allowed in text"),
        ("<a>1 < 2</a>", "1:6 \"<\" does not begin a tag here"),
        ("<a\n<b/></a>", "1:1 this tag is not closed by \">\""),
        ("<a", "1:1 this tag is not closed by \">\""),
        ("<a b=\"c>", "1:1 a quote is opened in this tag and never closed"),
        ("<a><!-- x", "1:4 this comment is not closed by \"-->\""),
        ("<a><!-- -- --></a>", "1:4 this comment holds \"--\""),
        ("<a><![CDATA[</a>", "1:4 this CDATA is not closed by \"]]>\""),
        ("<a><?x</a>", "1:4 this processing instruction is not closed by \"?>\""),
        (
            " <?xml version='1.0'?><a/>",
            "1:2 <?xml …?> is only possible at the very beginning of a file",
        ),
        (
            "<?xml version='1.0' encoding='latin1'?><a/>",
            "1:1 the encoding \"latin1\" is not supported",
        ),
        ("<a>&#0;</a>", "1:4 this character is not allowed in XML"),
        ("<a><!x></a>", "1:4 \"<!\" begins neither a comment nor CDATA here"),
    ] {
        assert_eq!(faults(text), [fault], "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let text = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    assert_eq!(faults(&text(64)), [""; 0]);
    assert_eq!(faults(&text(65)), ["1:194 elements are nested deeper than 64 levels"]);
}

#[test]
fn what_stands_before_a_fault_is_kept() {
    let (_, document) = read("<a><b/><c></b></a>");
    assert!(!document.complete);
    assert_eq!(document.root.unwrap().children.len(), 2);
}
