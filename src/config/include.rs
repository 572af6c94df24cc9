//! Includes: an element that carries `file` and `xpath` takes its content from that place of
//! another file.
//!
//! Each include is followed only when its content is needed, so two files may include parts of each
//! other; only a part that leads back to itself is a ring. What is brought in is bounded, however
//! often files include each other.

use std::rc::Rc;

use mppd_engine::config::{AttributeNode, nearest};
use mppd_engine::{Element, Finding, Span};

use super::files::{FileKey, Files};
use super::xpath::{self, Path, Step};

/// Elements whose texts are lists that are read one after the other. Their text is not put
/// together: each piece stays an element, with its own place.
pub(super) const ENGINE_LISTS: [&str; 4] = [
    "policy_begin_engines",
    "policy_check_engines",
    "policy_end_engines",
    "policy_end_exception_engines",
];

/// The same tree with every include followed. Faults go to the findings of the files; an element
/// whose include fails is left out, so that nothing is said about what it lacks.
pub(super) fn resolve(files: &mut Files<'_>, root: &Element) -> Option<Element> {
    let mut resolver = Resolver { files, included_size: 0, followed: 0 };
    resolver.resolve(root, &None, 1).into_iter().next()
}

/// The includes that led to where an element stands; the last one first.
type Chain = Option<Rc<Link>>;

struct Link {
    key: FileKey,
    xpath: String,
    /// The `xpath` attribute of the include.
    place: Span,
    depth: usize,
    before: Chain,
}

fn links(chain: &Chain) -> impl Iterator<Item = &Rc<Link>> {
    std::iter::successors(chain.as_ref(), |link| link.before.as_ref())
}

/// An element with the includes of its own followed, but not those of its children.
struct Opened {
    attributes: Vec<AttributeNode>,
    children: Vec<(Element, Chain)>,
    texts: Vec<(String, Span)>,
}

/// The include that failed has been reported.
struct Failed;

struct Resolver<'f, 'a> {
    files: &'f mut Files<'a>,
    included_size: usize,
    followed: usize,
}

impl Resolver<'_, '_> {
    fn resolve(&mut self, element: &Element, chain: &Chain, depth: usize) -> Vec<Element> {
        if depth > self.files.limits.nesting {
            let limit = self.files.limits.nesting;
            let message = format!("with includes, elements are nested deeper than {limit} levels");
            self.report(Finding::error(element.name_span, message));
            return Vec::new();
        }
        if element.attribute("xpath").is_none() {
            let mut whole = bare(element, element.attributes.clone());
            whole.text.clone_from(&element.text);
            whole.text_span = element.text_span;
            for child in &element.children {
                whole.children.extend(self.resolve(child, chain, depth + 1));
            }
            return vec![whole];
        }
        let Ok(opened) = self.open(element, chain) else { return Vec::new() };
        let mut whole = bare(element, opened.attributes);
        for (child, chain) in &opened.children {
            whole.children.extend(self.resolve(child, chain, depth + 1));
        }
        with_texts(whole, opened.texts)
    }

    fn open(&mut self, element: &Element, chain: &Chain) -> Result<Opened, Failed> {
        let is_own =
            |attribute: &&AttributeNode| !matches!(attribute.name.as_str(), "file" | "xpath");
        let text = (element.text.clone(), element.text_span);
        let children = element.children.iter().map(|child| (child.clone(), chain.clone()));
        let (file, xpath) = match (element.attribute("file"), element.attribute("xpath")) {
            (Some(file), Some(xpath)) => (file, xpath),
            (None, Some(xpath)) => return Err(self.xpath_alone(xpath)),
            // A file alone is an option like any other.
            (_, None) => {
                let attributes = element.attributes.clone();
                return Ok(Opened { attributes, children: children.collect(), texts: vec![text] });
            }
        };
        let mut opened = Opened {
            attributes: element.attributes.iter().filter(is_own).cloned().collect(),
            children: Vec::new(),
            texts: Vec::new(),
        };
        for included in self.included(file, xpath, chain)? {
            for attribute in included.attributes {
                if opened.attributes.iter().all(|own| own.name != attribute.name) {
                    opened.attributes.push(attribute);
                }
            }
            opened.children.extend(included.children);
            opened.texts.extend(included.texts);
        }
        opened.children.extend(children);
        opened.texts.push(text);
        Ok(opened)
    }

    fn xpath_alone(&mut self, xpath: &AttributeNode) -> Failed {
        let finding = Finding::error(xpath.name_span, "\"xpath\" without \"file\"")
            .with_help("an include names both: the file, and the element in it");
        self.report(finding)
    }

    /// What an include finds.
    fn included(
        &mut self,
        file: &AttributeNode,
        xpath: &AttributeNode,
        chain: &Chain,
    ) -> Result<Vec<Opened>, Failed> {
        let path = xpath::parse(&xpath.value).map_err(|fault| {
            let place = self.within(xpath, fault.range);
            self.report(
                Finding::error(place, format!("can't read this xpath: {}", fault.message))
                    .with_help(xpath::SUPPORTED),
            )
        })?;
        let read = self.files.read_included(&file.value, file.value_span).ok_or(Failed)?;
        // What is wrong with that file has been reported; what it lacks is no further fault.
        let (Some(root), true) = (&read.document.root, read.document.complete) else {
            return Err(Failed);
        };
        let chain = self.follow(read.key.clone(), xpath, chain)?;
        let mut search = Search { path: &path, found: Vec::new(), furthest: None };
        search.note(0, None, std::iter::once(root));
        self.walk(&mut search, root, 0, &chain)?;
        if search.found.is_empty() {
            return Err(self.nothing_found(file, xpath, &search));
        }
        Ok(search.found)
    }

    /// Adds an include to the chain, unless that closes a ring.
    fn follow(
        &mut self,
        key: FileKey,
        xpath: &AttributeNode,
        chain: &Chain,
    ) -> Result<Chain, Failed> {
        let depth = chain.as_ref().map_or(1, |link| link.depth + 1);
        let link = Link {
            key,
            xpath: xpath.value.trim().to_owned(),
            place: xpath.value_span,
            depth,
            before: chain.clone(),
        };
        if links(chain).any(|before| before.key == link.key && before.xpath == link.xpath) {
            return Err(self.ring(&link));
        }
        if depth > self.files.limits.include_depth {
            let limit = self.files.limits.include_depth;
            let message = format!("includes are nested deeper than {limit} levels");
            return Err(self.report(Finding::error(link.place, message)));
        }
        self.followed += 1;
        let limit = self.files.limits.includes;
        if self.followed == limit + 1 {
            let message = format!("there are more than {limit} includes");
            self.report(Finding::error(link.place, message));
        }
        if self.followed > limit { Err(Failed) } else { Ok(Some(Rc::new(link))) }
    }

    fn ring(&mut self, last: &Link) -> Failed {
        let mut ring: Vec<Span> = Vec::new();
        for link in links(&last.before) {
            ring.push(link.place);
            if link.key == last.key && link.xpath == last.xpath {
                break;
            }
        }
        let mut finding = Finding::error(last.place, "this include leads back to itself")
            .with_label("the ring closes here");
        for (position, place) in ring.iter().rev().enumerate() {
            let words = if position == 0 { "the ring begins here" } else { "and goes on here" };
            finding = finding.with_related(*place, words);
        }
        self.report(finding)
    }

    fn walk(
        &mut self,
        search: &mut Search<'_>,
        element: &Element,
        position: usize,
        chain: &Chain,
    ) -> Result<(), Failed> {
        let step = &search.path.steps[position];
        if element.name != step.name || !self.meets(element, step, chain)? {
            return Ok(());
        }
        if position + 1 == search.path.steps.len() {
            self.charge(element)?;
            search.found.push(self.open(element, chain)?);
            return Ok(());
        }
        if element.attribute("xpath").is_none() {
            search.note(position + 1, Some(element.name_span), element.children.iter());
            for child in &element.children {
                self.walk(search, child, position + 1, chain)?;
            }
            return Ok(());
        }
        let opened = self.open(element, chain)?;
        let children = opened.children.iter().map(|(child, _)| child);
        search.note(position + 1, Some(element.name_span), children);
        for (child, chain) in &opened.children {
            self.walk(search, child, position + 1, chain)?;
        }
        Ok(())
    }

    /// Whether an element has the attributes that a step asks for, its own or included ones.
    fn meets(&mut self, element: &Element, step: &Step, chain: &Chain) -> Result<bool, Failed> {
        let own: Vec<Option<bool>> =
            step.predicates.iter().map(|predicate| predicate.holds(element)).collect();
        if own.contains(&Some(false)) {
            return Ok(false);
        }
        if !own.contains(&None) || element.attribute("xpath").is_none() {
            return Ok(own.iter().all(|holds| *holds == Some(true)));
        }
        let attributes = self.open(element, chain)?.attributes;
        let whole = bare(element, attributes);
        Ok(step.predicates.iter().all(|predicate| predicate.holds(&whole) == Some(true)))
    }

    /// Counts what is brought in.
    fn charge(&mut self, element: &Element) -> Result<(), Failed> {
        let before = self.included_size;
        self.included_size += element.span.end - element.span.start;
        let limit = self.files.limits.included_size;
        if self.included_size <= limit {
            return Ok(());
        }
        if before <= limit {
            let message = format!("includes bring in more than {limit} octets");
            self.report(Finding::error(element.name_span, message));
        }
        Err(Failed)
    }

    fn nothing_found(
        &mut self,
        file: &AttributeNode,
        xpath: &AttributeNode,
        search: &Search<'_>,
    ) -> Failed {
        let Some(furthest) = &search.furthest else { return Failed };
        let step = &search.path.steps[furthest.position];
        let place = self.within(xpath, step.range.clone());
        let wanted = xpath.value.get(..step.range.end).unwrap_or(&xpath.value);
        let message = format!("{} has no {}", file.value, wanted.trim());
        let mut finding = Finding::error(place, message);
        if let Some(help) = furthest.help(step) {
            finding = finding.with_help(help);
        }
        if let Some(parent) = furthest.parent {
            finding = finding.with_related(parent, "looked for in here");
        }
        self.report(finding)
    }

    /// The place of a part of an attribute's value.
    fn within(&self, attribute: &AttributeNode, range: std::ops::Range<usize>) -> Span {
        let whole = attribute.value_span;
        // With references in the value, its octets are not those of the file.
        if self.files.sources.text(whole) != attribute.value {
            return whole;
        }
        Span { start: whole.start + range.start, end: whole.start + range.end, ..whole }
    }

    fn report(&mut self, finding: Finding) -> Failed {
        self.files.findings.push(finding);
        Failed
    }
}

/// A path on its way through a file.
struct Search<'p> {
    path: &'p Path,
    found: Vec<Opened>,
    furthest: Option<Furthest>,
}

/// With how many elements a step that finds nothing is compared.
const MOST_COMPARED: usize = 1_000;

/// The first step that nothing met, and what was there instead.
struct Furthest {
    position: usize,
    parent: Option<Span>,
    names: Vec<String>,
    /// Values of the attribute that the step asks for first, in elements of the right name.
    values: Vec<String>,
}

impl Search<'_> {
    /// Takes note of where the search goes on, for the report if it ends there.
    fn note<'e>(
        &mut self,
        position: usize,
        parent: Option<Span>,
        there: impl Iterator<Item = &'e Element>,
    ) {
        if self.furthest.as_ref().is_some_and(|furthest| furthest.position >= position) {
            return;
        }
        let step = &self.path.steps[position];
        let asked = step.predicates.first().map(|predicate| predicate.attribute.as_str());
        let mut furthest = Furthest { position, parent, names: Vec::new(), values: Vec::new() };
        for element in there.take(MOST_COMPARED) {
            if !furthest.names.contains(&element.name) {
                furthest.names.push(element.name.clone());
            }
            let value = asked.and_then(|name| element.attribute(name));
            if let Some(value) = value.filter(|_| element.name == step.name) {
                furthest.values.push(value.value.clone());
            }
        }
        self.furthest = Some(furthest);
    }
}

impl Furthest {
    fn help(&self, step: &Step) -> Option<String> {
        if !self.names.contains(&step.name) {
            return nearest_of(&step.name, &self.names);
        }
        let predicate = step.predicates.first()?;
        nearest_of(&predicate.value, &self.values)
    }
}

fn nearest_of(name: &str, known: &[String]) -> Option<String> {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => Some(format!("did you mean \"{nearest}\"?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

/// An element without its children and text.
fn bare(element: &Element, attributes: Vec<AttributeNode>) -> Element {
    Element {
        name: element.name.clone(),
        name_span: element.name_span,
        span: element.span,
        attributes,
        children: Vec::new(),
        text: String::new(),
        text_span: element.name_span,
    }
}

/// Gives an element its text, which comes from several places.
fn with_texts(mut element: Element, mut texts: Vec<(String, Span)>) -> Vec<Element> {
    texts.retain(|(text, _)| !text.trim().is_empty());
    let is_plain_list = ENGINE_LISTS.contains(&element.name.as_str())
        && element.children.is_empty()
        && element.attributes.is_empty();
    if is_plain_list && texts.len() > 1 {
        let piece = |(text, text_span)| Element { text, text_span, ..element.clone() };
        return texts.into_iter().map(piece).collect();
    }
    if let Some((_, place)) = texts.last() {
        element.text_span = *place;
    }
    let texts: Vec<String> = texts.into_iter().map(|(text, _)| text).collect();
    element.text = texts.join("\n");
    vec![element]
}
