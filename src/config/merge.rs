//! What is written in several elements of the same name, and means one.

use mppd_engine::config::{Options as _, Spanned};
use mppd_engine::{Element, Finding, Span};

use super::settings::GroupsOptions;

/// The elements of `<common>` that are one, however often they stand there.
pub(super) const SECTIONS: [&str; 5] = ["policy_server", "log", "dns", "tracking", "admin"];

const PARTS: [&str; 3] = ["common", "groups", "engines"];

/// The three parts of a configuration, each in one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) common: Element,
    /// `<groups>` without the groups.
    pub(super) selection: Element,
    pub(super) groups: Vec<Element>,
    pub(super) engines: Vec<Element>,
}

/// Takes the outermost element apart.
pub(super) fn parts(root: &Element, findings: &mut Vec<Finding>) -> Parts {
    refuse_own_content(root, findings);
    for child in root.children.iter().filter(|child| !PARTS.contains(&child.name.as_str())) {
        findings.push(Finding::unknown(child.name_span, "element", &child.name, PARTS));
    }
    let mut common = joined(root, "common");
    merge_sections(&mut common);
    let mut selection = joined(root, "groups");
    let (groups, others): (Vec<Element>, Vec<Element>) =
        selection.children.into_iter().partition(|element| element.name == "group");
    selection.children = keep_options(others, findings);
    check_groups(&groups, findings);
    let engines = list(root, "engines", findings);
    check_engines(&engines, findings);
    Parts { common, selection, groups, engines }
}

/// What of the elements beside the groups are options of `<groups>`.
fn keep_options(mut elements: Vec<Element>, findings: &mut Vec<Finding>) -> Vec<Element> {
    let mut known: Vec<&str> = GroupsOptions::docs().iter().map(|doc| doc.name).collect();
    known.push("group");
    elements.retain(|element| {
        let is_known = known.contains(&element.name.as_str());
        if !is_known {
            let known = known.iter().copied();
            findings.push(Finding::unknown(element.name_span, "element", &element.name, known));
        }
        is_known
    });
    elements
}

/// An element that only holds others has neither attributes nor text.
fn refuse_own_content(element: &Element, findings: &mut Vec<Finding>) {
    for attribute in &element.attributes {
        findings.push(Finding::unknown(attribute.name_span, "attribute", &attribute.name, []));
    }
    if !element.trimmed_text().is_empty() {
        let message = format!("text is not expected directly in <{}>", element.name);
        findings.push(Finding::error(element.text_span, message));
    }
}

/// Every child of this name, in one element; without any, an empty one at the place of the parent.
fn joined(parent: &Element, name: &str) -> Element {
    let empty = Element {
        name: name.to_owned(),
        name_span: parent.name_span,
        span: parent.span,
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
        text_span: parent.name_span,
    };
    parent.children_named(name).cloned().reduce(join).unwrap_or(empty)
}

fn join(mut first: Element, mut second: Element) -> Element {
    if first.trimmed_text().is_empty() {
        first.text = second.text;
        first.text_span = second.text_span;
    } else if !second.trimmed_text().is_empty() {
        first.text.push('\n');
        first.text.push_str(&second.text);
    }
    first.attributes.append(&mut second.attributes);
    first.children.append(&mut second.children);
    first
}

fn merge_sections(common: &mut Element) {
    for name in SECTIONS {
        let Some(at) = common.children.iter().position(|child| child.name == name) else {
            continue;
        };
        let section = joined(common, name);
        common.children[at] = section;
        let mut seen = false;
        common.children.retain(|child| child.name != name || !std::mem::replace(&mut seen, true));
    }
}

/// What stands in every element of this name, which is nothing but a list.
fn list(root: &Element, name: &str, findings: &mut Vec<Finding>) -> Vec<Element> {
    let mut children = Vec::new();
    for element in root.children_named(name) {
        refuse_own_content(element, findings);
        children.extend(element.children.iter().cloned());
    }
    children
}

fn id_of(element: &Element) -> Option<Spanned<String>> {
    let attribute = element.attribute("id").map(|id| (id.value.trim(), id.value_span));
    let child = || element.child("id").map(|id| (id.trimmed_text(), id.text_span));
    let (id, span) = attribute.or_else(child)?;
    Some(Spanned { value: id.to_owned(), span })
}

/// The ID of an engine: its `id`, else the name of its element.
#[must_use]
pub fn engine_id(engine: &Element) -> Spanned<String> {
    let name = || Spanned { value: engine.name.clone(), span: engine.name_span };
    id_of(engine).unwrap_or_else(name)
}

fn is_engine_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
}

fn check_engines(engines: &[Element], findings: &mut Vec<Finding>) {
    let ids: Vec<Spanned<String>> = engines.iter().map(engine_id).collect();
    refuse_repeated(&ids, "engine", findings);
    for id in ids.iter().filter(|id| !is_engine_id(&id.value)) {
        let message = format!("\"{}\" can't be the ID of an engine", id.value);
        let finding = Finding::error(id.span, message)
            .with_help("an ID is made of letters (A to Z), digits and \"_\"");
        findings.push(finding);
    }
}

fn check_groups(groups: &[Element], findings: &mut Vec<Finding>) {
    let ids: Vec<Spanned<String>> = groups.iter().filter_map(id_of).collect();
    refuse_repeated(&ids, "group", findings);
    for id in ids.iter().filter(|id| !is_group_id(&id.value)) {
        let message = format!("\"{}\" can't be the ID of a group", id.value);
        let finding = Finding::error(id.span, message)
            .with_help("an ID is made of up to 255 characters without white space");
        findings.push(finding);
    }
    let has_default = ids.iter().any(|id| id.value == "default");
    if let Some(first) = groups.first().filter(|_| !has_default && ids.len() == groups.len()) {
        findings.push(Finding::error(first.name_span, "there is no group \"default\"").with_help(
            "it is that of every request which belongs to no other; it may set nothing",
        ));
    }
}

/// As long as the column for it in the records.
fn is_group_id(id: &str) -> bool {
    const MOST: usize = 255;
    let is_odd = |character: char| character.is_whitespace() || character.is_control();
    (1..=MOST).contains(&id.chars().count()) && !id.contains(is_odd)
}

fn refuse_repeated(ids: &[Spanned<String>], what: &str, findings: &mut Vec<Finding>) {
    let mut seen: std::collections::HashMap<&str, Span> = std::collections::HashMap::new();
    for id in ids {
        if let Some(first) = seen.get(id.value.as_str()) {
            let finding =
                Finding::error(id.span, format!("{what} \"{}\" is defined twice", id.value))
                    .with_label("defined again here")
                    .with_related(*first, "first defined here");
            findings.push(finding);
            continue;
        }
        seen.insert(&id.value, id.span);
    }
}
