//! Regular expressions, where a file of another program has them among its entries. All of them are
//! tried at once.

use std::fmt;
use std::sync::OnceLock;

use hashbrown::HashMap;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::reading::Fault;
use crate::{Found, Shown};

/// How large one compiled expression may become, in octets.
const EXPRESSION_SIZE: usize = 1 << 20;
/// How large all of a list may become together, in octets; one by one they take longer.
const SET_SIZE: usize = 64 << 20;
/// How much each thread may keep of what it has learnt from the texts that it was asked about, in
/// octets. Peers choose the texts.
const SET_CACHE: usize = 8 << 20;

/// One regular expression that can be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(Box<str>);

impl Expression {
    /// Reads `/an expression/`; none where the text is something else.
    pub(crate) fn read(text: &str) -> Option<Result<Self, Fault>> {
        let expression = text.strip_prefix('/')?.strip_suffix('/')?;
        if expression.is_empty() {
            return Some(Err(Fault::new("the regular expression is empty")));
        }
        // A fault of many lines draws the place, which the line of the file tells as well.
        let short = |error: regex::Error| match error {
            regex::Error::CompiledTooBig(most) => {
                format!("the regular expression needs more than {most} octets of memory")
            }
            other => {
                let text = other.to_string();
                let reason = text.lines().last().unwrap_or_default();
                format!(
                    "can't read {text:?}: {}",
                    reason.trim_start_matches("error: "),
                    text = expression
                )
            }
        };
        let compiled = compile(expression).map(|_| Expression(expression.into()));
        Some(compiled.map_err(|error| Fault::new(short(error))))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.0)
    }
}

fn compile(expression: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(expression)
        .case_insensitive(true)
        .size_limit(EXPRESSION_SIZE)
        .dfa_size_limit(EXPRESSION_SIZE)
        .build()
}

/// Regular expressions, each with a value. They do not tell upper from lower case.
#[derive(Debug)]
pub(crate) struct Expressions<V> {
    entries: Vec<(Box<str>, V)>,
    places: HashMap<Box<str>, usize>,
    compiled: OnceLock<Compiled>,
}

#[derive(Debug)]
enum Compiled {
    Together(RegexSet),
    /// Where there are too many.
    Each(Vec<Regex>),
}

impl<V> Default for Expressions<V> {
    fn default() -> Self {
        Expressions { entries: Vec::new(), places: HashMap::new(), compiled: OnceLock::new() }
    }
}

impl<V> Expressions<V> {
    /// The first that matches, in the order in which they were added.
    pub(crate) fn find(&self, text: &[u8]) -> Option<Found<'_, V>> {
        if self.entries.is_empty() {
            return None;
        }
        let index = match self.compiled() {
            Compiled::Together(set) => set.matches(text).iter().next()?,
            Compiled::Each(all) => all.iter().position(|regex| regex.is_match(text))?,
        };
        let (expression, value) = self.entries.get(index)?;
        Some(Found { value, entry: Shown::Expression(expression), specificity: 0 })
    }

    pub(crate) fn get(&self, Expression(text): &Expression) -> Option<&V> {
        self.places.get(text).map(|place| &self.entries[*place].1)
    }

    pub(crate) fn insert(&mut self, Expression(text): Expression, value: V) {
        if let Some(place) = self.places.get(&text) {
            self.entries[*place].1 = value;
            return;
        }
        self.places.insert(text.clone(), self.entries.len());
        self.entries.push((text, value));
        self.compiled = OnceLock::new();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn settle(&mut self) {
        if !self.entries.is_empty() {
            self.compiled();
        }
    }

    fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| self.compile(SET_SIZE))
    }

    /// Together where that takes no more than these octets.
    fn compile(&self, most: usize) -> Compiled {
        let texts = || self.entries.iter().map(|(text, _)| &**text);
        let set = RegexSetBuilder::new(texts())
            .case_insensitive(true)
            .size_limit(most)
            .dfa_size_limit(SET_CACHE)
            .build();
        match set {
            Ok(set) => Compiled::Together(set),
            // Each was compiled when it was read, so none is lost.
            Err(_) => Compiled::Each(texts().filter_map(|text| compile(text).ok()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Expression, Fault> {
        Expression::read(text).unwrap()
    }

    #[test]
    fn the_first_expression_that_matches_is_found_in_either_case() {
        let mut expressions = Expressions::default();
        for (index, text) in [r"/^mail\d+\.example\.org$/", "/example/"].into_iter().enumerate() {
            expressions.insert(read(text).unwrap(), index);
        }
        let find = |text: &str| {
            expressions.find(text.as_bytes()).map(|found| (*found.value, found.entry.to_string()))
        };
        let first = Some((0, r"/^mail\d+\.example\.org$/".to_owned()));
        assert_eq!(find("MAIL7.example.org"), first);
        assert_eq!(find("mail.example.org"), Some((1, "/example/".to_owned())));
        assert_eq!(find("192.0.2.1"), None);
    }

    #[test]
    fn what_can_not_be_compiled_is_a_fault() {
        assert_eq!(read("/(/").unwrap_err().message, "can't read \"(\": unclosed group");
        let fault = read(r"/(\w{1000}){1000}/").unwrap_err();
        assert!(fault.message.contains("octets of memory"), "{}", fault.message);
        assert!(read("//").is_err());
        assert!(Expression::read("example.org").is_none());
    }

    #[test]
    fn expressions_that_are_too_large_together_are_tried_one_by_one() {
        let mut expressions = Expressions::default();
        for number in 0..3_u16 {
            expressions.insert(read(&format!(r"/^{number}:\d+$/")).unwrap(), number);
        }
        expressions.compiled = OnceLock::from(expressions.compile(10));
        assert!(matches!(expressions.compiled(), Compiled::Each(_)));
        assert_eq!(expressions.find(b"2:7").map(|found| *found.value), Some(2));
        assert!(expressions.find(b"3:7").is_none());
    }
}
