//! Reads texts with macros and conditions, after the grammar in `grammar.ebnf`: one function for
//! each of its rules. A fault is kept with its place and reading goes on, so that all faults of a
//! text are found at once. Names are not looked up here.

mod clause;
mod text;

use super::syntax::{Argument, At, Clause, Macro, Text};
pub(super) use clause::foreign_opening;

/// How deep macros and braces may nest.
const DEEPEST: usize = 32;

/// Something wrong with the text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// A text cut at its macros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    Text(String, At),
    Macro(Box<Macro>),
}

pub(super) fn template(text: &str) -> (Text, Vec<Fault>) {
    let mut parser = Parser::new(text);
    let template = parser.template();
    (template, parser.faults)
}

pub(super) fn pieces(text: &str) -> (Vec<Cut>, Vec<Fault>) {
    let mut parser = Parser::new(text);
    let pieces = parser.pieces();
    (pieces, parser.faults)
}

/// A condition that can't be read leaves its faults, and the operands that could be.
pub(super) fn condition(text: &str) -> (Result<Clause, Vec<Argument>>, Vec<Fault>) {
    let mut parser = Parser::new(text);
    let condition = parser.whole_condition();
    (condition.ok_or(parser.operands), parser.faults)
}

/// What stands in for text that could not be read; a fault tells of it.
struct Unreadable;

type Reading<T> = Result<T, Unreadable>;

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    gave_up: bool,
    faults: Vec<Fault>,
    /// The operands of a condition.
    operands: Vec<Argument>,
}

fn is_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'_'
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Self {
        Parser { text, at: 0, depth: 0, gave_up: false, faults: Vec::new(), operands: Vec::new() }
    }

    fn rest(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn starts_with(&self, octets: &str) -> bool {
        self.rest().starts_with(octets.as_bytes())
    }

    fn since(&self, start: usize) -> At {
        At::new(start, self.at)
    }

    /// Steps over one character, and gives its octets.
    fn character(&mut self) -> &'t [u8] {
        let rest = self.rest();
        let length = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        self.at += length;
        &rest[..length]
    }

    fn skip_blanks(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(|octet| octet.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.at > start
    }

    fn fault(&mut self, at: At, message: impl Into<String>) {
        self.tell(Fault { at, message: message.into(), help: None });
    }

    fn fault_with_help(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.tell(Fault { at, message: message.into(), help: Some(help.into()) });
    }

    fn tell(&mut self, fault: Fault) {
        // Behind what is nested too deep nothing is read, so nothing more can be said of it.
        if !self.gave_up {
            self.faults.push(fault);
        }
    }
}

/// Where an argument stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Macro,
    Condition,
}
