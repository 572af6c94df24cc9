//! What a text says, before anybody asks what its names mean; and the same written out again, in
//! the one form that every way of writing it comes to.

use std::fmt::{self, Display, Write as _};
use std::ops::Range;

use crate::config::nearest;

/// Where something stands in its text, in octets. Equal to every other place: two texts that say
/// the same are the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct At {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl At {
    pub(super) fn new(start: usize, end: usize) -> Self {
        At { start, end }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

/// A text with macros. Neighbouring literals are one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Vec<u8>),
    Macro(Macro),
}

impl Text {
    pub(super) fn push(&mut self, octet: u8) {
        self.extend(&[octet]);
    }

    pub(super) fn extend(&mut self, octets: &[u8]) {
        match self.parts.last_mut() {
            _ if octets.is_empty() => {}
            Some(Part::Literal(literal)) => literal.extend_from_slice(octets),
            _ => self.parts.push(Part::Literal(octets.to_vec())),
        }
    }
}

/// `$name.part`, `${name argument …}`, `$ip.network(24)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Macro {
    /// The words between the dots; at least one.
    pub(super) name: Vec<Word>,
    /// The numbers in parentheses behind the name.
    pub(super) numbers: Option<Vec<Word>>,
    pub(super) arguments: Vec<Argument>,
    pub(super) at: At,
}

impl Macro {
    /// The name with its dots.
    pub(super) fn full_name(&self) -> String {
        let words: Vec<&str> = self.name.iter().map(|word| word.text.as_str()).collect();
        words.join(".")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) at: At,
}

/// An argument of a macro, or an operand of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) text: Text,
    pub(super) at: At,
}

/// A condition, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clause {
    Operand(Argument),
    Comparison(Argument, Operator, Argument),
    Match(Argument, Vec<Word>),
    Not(Box<Clause>),
    All(Vec<Clause>),
    Any(Vec<Clause>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    pub(super) const ALL: [(&'static str, Operator); 6] = [
        ("EQ", Operator::Equal),
        ("NE", Operator::NotEqual),
        ("LT", Operator::Less),
        ("LE", Operator::LessOrEqual),
        ("GT", Operator::Greater),
        ("GE", Operator::GreaterOrEqual),
    ];

    pub(super) fn from_name(name: &str) -> Option<Operator> {
        Self::ALL.iter().find(|(word, _)| *word == name).map(|(_, operator)| *operator)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, operator)| *operator == self).map_or("", |(word, _)| word)
    }
}

/// The words behind a dollar that join or compare, in conditions.
pub(super) fn is_condition_word(name: &str) -> bool {
    matches!(name, "AND" | "OR" | "NOT") || Operator::from_name(name).is_some()
}

/// What other languages call the words of conditions, where the nearest one would be a guess.
const OTHER_WORDS: [(&str, &str); 5] =
    [("GTE", "GE"), ("LTE", "LE"), ("GEQ", "GE"), ("LEQ", "LE"), ("NEQ", "NE")];

/// The word of conditions that was probably meant by this one, which is none.
pub(super) fn condition_word_meant(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    if let Some((_, meant)) = OTHER_WORDS.iter().find(|(other, _)| *other == name) {
        return Some(meant);
    }
    let compare = Operator::ALL.iter().map(|(word, _)| *word);
    nearest(&name, compare.chain(["AND", "OR", "NOT"]))
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(octets) => {
                    let is_first = index == 0;
                    let is_last = index + 1 == self.parts.len();
                    write_literal(octets, is_first, is_last, f)?;
                }
                Part::Macro(name) => write!(f, "{name}")?,
            }
        }
        Ok(())
    }
}

/// Writes text outside of quotes. A blank that would not stay one, at an end of the whole or beside
/// another, is escaped.
fn write_literal(
    octets: &[u8],
    is_first: bool,
    is_last: bool,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let is_blank_behind =
        |index: usize| octets.get(index + 1).map_or(is_last, u8::is_ascii_whitespace);
    let is_blank_before = |index: usize| match index {
        0 => is_first,
        _ => octets[index - 1].is_ascii_whitespace(),
    };
    let mut start = 0;
    for (index, octet) in octets.iter().enumerate() {
        if *octet != b' ' {
            continue;
        }
        write_escaped(&octets[start..index], false, f)?;
        start = index + 1;
        let stays = !is_blank_before(index) && !is_blank_behind(index);
        f.write_str(if stays { " " } else { "\\x20" })?;
    }
    write_escaped(&octets[start..], false, f)
}

fn write_escaped(octets: &[u8], quoted: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in octets.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '$' => f.write_str("$$")?,
                '\\' => f.write_str("\\\\")?,
                '"' if quoted => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                letter if letter.is_control() => write!(f, "\\u{{{:x}}}", u32::from(letter))?,
                letter => f.write_char(letter)?,
            }
        }
        for octet in chunk.invalid() {
            write!(f, "\\x{octet:02x}")?;
        }
    }
    Ok(())
}

/// A constant text as a template writes it.
pub(super) struct Literal<'a>(pub(super) &'a [u8]);

impl Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_literal(self.0, true, true, f)
    }
}

impl Display for Macro {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}", self.full_name())?;
        if let Some(numbers) = &self.numbers {
            let numbers: Vec<&str> = numbers.iter().map(|number| number.text.as_str()).collect();
            write!(f, "({})", numbers.join(","))?;
        }
        for argument in &self.arguments {
            write!(f, " {argument}")?;
        }
        f.write_char('}')
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.parts.as_slice() {
            [Part::Macro(name)] => return write!(f, "{name}"),
            [Part::Literal(octets)] if octets.iter().all(u8::is_ascii_alphanumeric) => {
                return write_escaped(octets, false, f);
            }
            _ => {}
        }
        f.write_char('"')?;
        for part in &self.text.parts {
            match part {
                Part::Literal(octets) => write_escaped(octets, true, f)?,
                Part::Macro(name) => write!(f, "{name}")?,
            }
        }
        f.write_char('"')
    }
}

impl Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clause::Operand(operand) => write!(f, "{operand}"),
            Clause::Comparison(left, operator, right) => {
                write!(f, "{left} ${} {right}", operator.name())
            }
            Clause::Match(operand, names) => {
                let names: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
                write!(f, "{operand} ~= {}", names.join(" "))
            }
            Clause::Not(clause) => {
                f.write_str("$NOT ")?;
                clause.write_inside(Strength::Not, f)
            }
            Clause::All(clauses) => write_joined(clauses, " $AND ", Strength::And, f),
            Clause::Any(clauses) => write_joined(clauses, " $OR ", Strength::Or, f),
        }
    }
}

/// How tightly a clause holds together, from the loosest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Or,
    And,
    Not,
    Whole,
}

impl Clause {
    fn strength(&self) -> Strength {
        match self {
            Clause::Any(_) => Strength::Or,
            Clause::All(_) => Strength::And,
            Clause::Not(_) => Strength::Not,
            _ => Strength::Whole,
        }
    }

    fn write_inside(&self, outside: Strength, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A list inside a list of the same kind was written with braces.
        let needs_braces = match outside {
            Strength::Not => self.strength() < Strength::Not,
            _ => self.strength() <= outside,
        };
        if needs_braces { write!(f, "{{ {self} }}") } else { write!(f, "{self}") }
    }
}

fn write_joined(
    clauses: &[Clause],
    between: &str,
    strength: Strength,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, clause) in clauses.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        clause.write_inside(strength, f)?;
    }
    Ok(())
}
