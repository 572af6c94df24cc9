//! Named regular expressions: what `X ~= name` asks for.
//!
//! An engine's element declares a [`PatternLibrary`]; the [`Patterns`] of a configuration are all
//! libraries by the ID of their engine. A name finds an expression, or a group of them, where one
//! library only has it; `ID.name` always does.

use std::collections::{BTreeMap, HashMap, HashSet};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::config::{Finding, Span, Spanned};

/// How large one compiled expression may become, in octets.
const EXPRESSION_SIZE: usize = 1 << 20;
/// How large a set of expressions may become, in octets.
const SET_SIZE: usize = 64 << 20;
/// How much each thread may keep of what it has learnt from the texts that a set was asked about,
/// in octets. Peers choose the texts, and there are many sets.
const SET_CACHE: usize = 8 << 20;

/// One named expression, as an element declares it.
#[derive(Debug, Clone)]
pub struct PatternItem {
    /// Its name.
    pub name: Spanned<String>,
    /// The expression, in the syntax of the crate `regex`; it looks at octets, and `\w` and the
    /// like know Unicode.
    pub expression: Spanned<String>,
    /// Whether upper and lower case are the same.
    pub ignores_case: bool,
}

/// A named group of expressions, as an element declares it.
#[derive(Debug, Clone)]
pub struct PatternGroup {
    /// Its name, which no item of the element has.
    pub name: Spanned<String>,
    /// Names of items, or of groups that stand before it.
    pub members: Vec<Spanned<String>>,
}

/// The named expressions, and named groups of them, that one engine's element declares.
#[derive(Debug, Clone, Default)]
pub struct PatternLibrary {
    items: Vec<Compiled>,
    names: HashMap<String, Vec<usize>>,
    set: RegexSet,
}

#[derive(Debug, Clone)]
struct Compiled {
    name: String,
    regex: Regex,
    source: String,
}

/// What one expression found in a text.
#[derive(Debug)]
pub struct PatternMatch<'a> {
    /// The name of the expression.
    pub item: &'a str,
    /// The names of all expressions that match, in the order declared.
    pub items: Vec<&'a str>,
    /// What its groups caught: each under its number, the whole being 0, and under its name if it
    /// has one. A group that took no part is left out.
    pub captures: Vec<(String, &'a [u8])>,
}

impl PatternLibrary {
    /// Compiles the expressions of one element.
    ///
    /// # Errors
    /// Every fault: an expression that can't be read, is empty or too large; a name used twice, or
    /// one that can't be written in a condition; a member that is not there.
    pub fn new(items: Vec<PatternItem>, groups: Vec<PatternGroup>) -> Result<Self, Vec<Finding>> {
        let mut reading = Reading::default();
        for item in items {
            reading.item(&item);
        }
        for group in groups {
            reading.group(&group);
        }
        reading.finish()
    }

    /// The names of the expressions, in the order declared.
    #[must_use]
    pub fn items(&self) -> impl ExactSizeIterator<Item = &str> {
        self.items.iter().map(|item| item.name.as_str())
    }

    /// What the first expression that matches, in the order declared, finds.
    #[must_use]
    pub fn first_match<'a>(&'a self, text: &'a [u8]) -> Option<PatternMatch<'a>> {
        let matches = self.set.matches(text);
        let item = &self.items[matches.iter().next()?];
        let found = item.regex.captures(text)?;
        let mut captures = Vec::new();
        for (number, name) in item.regex.capture_names().enumerate() {
            let Some(caught) = found.get(number) else { continue };
            captures.push((number.to_string(), caught.as_bytes()));
            if let Some(name) = name {
                captures.push((name.to_owned(), caught.as_bytes()));
            }
        }
        let items = matches.iter().map(|index| self.items[index].name.as_str()).collect();
        Some(PatternMatch { item: &item.name, items, captures })
    }

    /// The numbers and names of every group of every expression: what
    /// [`first_match`](Self::first_match) may catch.
    #[must_use]
    pub fn capture_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for item in &self.items {
            for (number, name) in item.regex.capture_names().enumerate() {
                names.push(number.to_string());
                names.extend(name.map(str::to_owned));
            }
        }
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

#[derive(Default)]
struct Reading {
    items: Vec<Compiled>,
    names: HashMap<String, Vec<usize>>,
    places: HashMap<String, Span>,
    findings: Vec<Finding>,
}

impl Reading {
    fn item(&mut self, item: &PatternItem) {
        let regex = self.regex(item);
        self.name(&item.name);
        let Some(regex) = regex else { return };
        let flags = if item.ignores_case { "(?i)" } else { "" };
        self.names.entry(item.name.value.clone()).or_insert_with(|| vec![self.items.len()]);
        self.items.push(Compiled {
            name: item.name.value.clone(),
            source: format!("{flags}{}", item.expression.value),
            regex,
        });
    }

    fn regex(&mut self, item: &PatternItem) -> Option<Regex> {
        let expression = item.expression.as_deref();
        if expression.value.is_empty() {
            let message = format!("the expression \"{}\" is empty", item.name.value);
            self.findings.push(Finding::error(expression.span, message));
            return None;
        }
        if let Some(finding) = syntax_fault(&expression) {
            self.findings.push(finding);
            return None;
        }
        let compiled = RegexBuilder::new(expression.value)
            .case_insensitive(item.ignores_case)
            .size_limit(EXPRESSION_SIZE)
            .dfa_size_limit(EXPRESSION_SIZE)
            .build();
        match compiled {
            Ok(regex) => Some(regex),
            Err(error) => {
                self.findings.push(Finding::error(expression.span, short(&error)));
                None
            }
        }
    }

    fn group(&mut self, group: &PatternGroup) {
        self.name(&group.name);
        if group.members.is_empty() {
            let message = format!("the group \"{}\" has no members", group.name.value);
            self.findings.push(Finding::error(group.name.span, message));
        }
        let mut members = Vec::new();
        for member in &group.members {
            match self.names.get(&member.value) {
                Some(items) => members.extend_from_slice(items),
                None if self.places.contains_key(&member.value)
                    && member.value != group.name.value => {}
                None => {
                    let known = self.places.keys().filter(|name| **name != group.name.value);
                    let mut known: Vec<&str> = known.map(String::as_str).collect();
                    known.sort_unstable();
                    let unknown = Finding::unknown(member.span, "expression", &member.value, known);
                    self.findings.push(unknown);
                }
            }
        }
        members.sort_unstable();
        members.dedup();
        self.names.entry(group.name.value.clone()).or_insert(members);
    }

    fn name(&mut self, name: &Spanned<String>) {
        let is_word = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        if name.value.is_empty() || !name.value.bytes().all(is_word) {
            let message = format!("\"{}\" can't be the name of an expression", name.value);
            let help = "letters, digits and \"_\"";
            self.findings.push(Finding::error(name.span, message).with_help(help));
            return;
        }
        if let Some(first) = self.places.get(&name.value) {
            let message = format!("the name \"{}\" is used twice", name.value);
            self.findings
                .push(Finding::error(name.span, message).with_related(*first, "first here"));
            return;
        }
        self.places.insert(name.value.clone(), name.span);
    }

    fn finish(self) -> Result<PatternLibrary, Vec<Finding>> {
        if !self.findings.is_empty() {
            return Err(self.findings);
        }
        let set = set_of(self.items.iter()).map_err(|error| {
            vec![Finding::nowhere(format!("the expressions together: {}", short(&error)))]
        })?;
        Ok(PatternLibrary { items: self.items, names: self.names, set })
    }
}

fn set_of<'a>(items: impl Iterator<Item = &'a Compiled>) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(items.map(|item| item.source.as_str()))
        .size_limit(SET_SIZE)
        .dfa_size_limit(SET_CACHE)
        .build()
}

/// What is wrong with the way an expression is written, at the very place.
fn syntax_fault(expression: &Spanned<&str>) -> Option<Finding> {
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).build();
    let error = parser.parse(expression.value).err()?;
    let (words, place) = match &error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), *error.span()),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), *error.span()),
        other => return Some(Finding::error(expression.span, other.to_string())),
    };
    let span = expression.part(place.start.offset..place.end.offset);
    Some(Finding::error(span, format!("can't read the regular expression: {words}")))
}

fn short(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("the regular expression needs more than {limit} octets of memory")
        }
        other => format!("can't read the regular expression: {other}"),
    }
}

/// The libraries of a whole configuration, by the ID of the engine that declares each.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    libraries: BTreeMap<String, PatternLibrary>,
    are_incomplete: bool,
}

/// Why a name finds no expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoPattern {
    /// Nothing has this name; here is every name that can be written.
    Unknown(Vec<String>),
    /// Several libraries have it; here is how to write each.
    Ambiguous(Vec<String>),
}

/// Expressions of a configuration, found by name: which library, and which of its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<'a> {
    library: &'a str,
    items: &'a [usize],
}

impl Found<'_> {
    /// The ID of the engine that declares them.
    pub(super) fn engine(&self) -> &str {
        self.library
    }
}

impl Patterns {
    /// Adds what one engine declares.
    pub fn add(&mut self, engine: impl Into<String>, library: PatternLibrary) {
        self.libraries.insert(engine.into(), library);
    }

    /// Notes that an engine's expressions could not be read: a name that is not known may be theirs.
    pub fn add_faulty(&mut self) {
        self.are_incomplete = true;
    }

    pub(super) fn are_incomplete(&self) -> bool {
        self.are_incomplete
    }

    /// What one engine declares.
    #[must_use]
    pub fn library(&self, engine: &str) -> Option<&PatternLibrary> {
        self.libraries.get(engine)
    }

    pub(super) fn find(&self, name: &str) -> Result<Found<'_>, NoPattern> {
        if let Some((engine, name)) = name.split_once('.') {
            let found = self.libraries.get_key_value(engine).and_then(|(engine, library)| {
                Some(Found { library: engine, items: library.names.get(name)? })
            });
            return found.ok_or_else(|| NoPattern::Unknown(self.all_names()));
        }
        let mut found = self.libraries.iter().filter_map(|(engine, library)| {
            Some(Found { library: engine, items: library.names.get(name)? })
        });
        let Some(first) = found.next() else { return Err(NoPattern::Unknown(self.all_names())) };
        let others: Vec<Found<'_>> = found.collect();
        if others.is_empty() {
            return Ok(first);
        }
        let all = std::iter::once(&first).chain(&others);
        Err(NoPattern::Ambiguous(all.map(|one| format!("{}.{name}", one.library)).collect()))
    }

    /// One set of everything that was found.
    pub(super) fn set(&self, found: &[Found<'_>]) -> Result<RegexSet, String> {
        let items = found.iter().flat_map(|found| {
            let library = &self.libraries[found.library];
            found.items.iter().map(|index| &library.items[*index])
        });
        set_of(items).map_err(|error| short(&error))
    }

    fn all_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.libraries.values().flat_map(|library| library.names.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::testing::{place, spanned};

    fn item(name: &str, expression: &str) -> PatternItem {
        PatternItem { name: spanned(name), expression: spanned(expression), ignores_case: false }
    }

    fn group(name: &str, members: &[&str]) -> PatternGroup {
        let members = members.iter().map(|member| spanned(member)).collect();
        PatternGroup { name: spanned(name), members }
    }

    fn messages(items: Vec<PatternItem>, groups: Vec<PatternGroup>) -> Vec<String> {
        let findings = PatternLibrary::new(items, groups).unwrap_err();
        findings.into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn the_first_expression_in_order_wins_with_what_it_caught() {
        let items = vec![item("b", "(?<user>[a-z]+)(-)?@"), item("a", ".*@")];
        let library = PatternLibrary::new(items, Vec::new()).unwrap();
        let found = library.first_match(b"x bob@example.com").unwrap();
        assert_eq!(found.item, "b");
        let caught = [("0", &b"bob@"[..]), ("1", b"bob"), ("user", b"bob")];
        assert_eq!(found.captures, caught.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(found.items, ["b", "a"]);
        assert_eq!(library.capture_names(), ["0", "1", "user", "2"]);
        assert!(library.first_match(b"nobody").is_none());
    }

    #[test]
    fn octets_that_are_not_utf8_can_be_matched() {
        let library = PatternLibrary::new(vec![item("a", r"(?-u:\xff)$")], Vec::new()).unwrap();
        assert!(library.first_match(b"a\xff").is_some());
    }

    #[test]
    fn a_comment_in_an_expression_ends_with_it() {
        let library = PatternLibrary::new(vec![item("a", "(?x) a b # both")], Vec::new()).unwrap();
        assert_eq!(library.first_match(b"ab").unwrap().items, ["a"]);
    }

    #[test]
    fn every_fault_of_a_library_is_told() {
        let items = vec![item("a", "("), item("a", "x"), item("b-c", "x"), item("d", "")];
        let said = messages(items, vec![group("e", &["a", "zz"]), group("f", &[])]);
        assert_eq!(
            said,
            [
                "can't read the regular expression: unclosed group",
                "the name \"a\" is used twice",
                "\"b-c\" can't be the name of an expression",
                "the expression \"d\" is empty",
                "unknown expression \"zz\"",
                "the group \"f\" has no members",
            ]
        );
    }

    #[test]
    fn a_fault_points_into_the_expression() {
        let findings = PatternLibrary::new(vec![item("a", "ab[z-a]")], Vec::new()).unwrap_err();
        assert_eq!(findings[0].span, Some(place(3, 6)));
    }

    #[test]
    fn an_expression_that_needs_too_much_memory_is_refused() {
        let said = messages(vec![item("a", r"(\w{100}){100}")], Vec::new());
        assert_eq!(said, ["the regular expression needs more than 1048576 octets of memory"]);
    }

    #[test]
    fn a_group_may_hold_groups_that_stand_before_it() {
        let items = vec![item("a", "a"), item("b", "b"), item("c", "c")];
        let groups = vec![group("ab", &["a", "b"]), group("all", &["ab", "c"])];
        let mut patterns = Patterns::default();
        patterns.add("hosts", PatternLibrary::new(items, groups).unwrap());
        let set = patterns.set(&[patterns.find("all").unwrap()]).unwrap();
        assert_eq!(set.len(), 3);
        let set = patterns.set(&[patterns.find("hosts.ab").unwrap()]).unwrap();
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn a_name_that_several_libraries_have_needs_the_engine() {
        let mut patterns = Patterns::default();
        for engine in ["one", "two"] {
            let library = PatternLibrary::new(vec![item("a", engine)], Vec::new()).unwrap();
            patterns.add(engine, library);
        }
        let expected = NoPattern::Ambiguous(vec!["one.a".to_owned(), "two.a".to_owned()]);
        assert_eq!(patterns.find("a"), Err(expected));
        assert_eq!(patterns.find("two.a").unwrap().engine(), "two");
        assert_eq!(patterns.find("b"), Err(NoPattern::Unknown(vec!["a".to_owned()])));
    }
}
