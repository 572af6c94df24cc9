//! Reads texts with macros and conditions, after the grammar in `grammar.ebnf`: one function for
//! each of its rules. A fault is kept with its place and reading goes on, so that all faults of a
//! text are found at once. Names are not looked up here.

use super::syntax::{
    Argument, At, Clause, Macro, Operator, Part, Text, Word, condition_word_meant,
    is_condition_word,
};

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

    // template
    fn template(&mut self) -> Text {
        let mut text = Text::default();
        self.skip_blanks();
        while let Some(octet) = self.peek() {
            if self.skip_blanks() {
                if self.peek().is_some() {
                    text.push(b' ');
                }
                continue;
            }
            match octet {
                b'$' => self.dollar(&mut text),
                b'\\' => self.escape(&mut text),
                _ => text.extend(self.character()),
            }
        }
        text
    }

    fn pieces(&mut self) -> Vec<Cut> {
        let mut pieces = Vec::new();
        let (mut text, mut start) = (String::new(), 0);
        while let Some(octet) = self.peek() {
            if octet != b'$' {
                let from = self.at;
                self.character();
                text.push_str(&self.text[from..self.at]);
                continue;
            }
            if self.starts_with("$$") {
                self.at += 2;
                text.push('$');
                continue;
            }
            let end = self.at;
            let mut found = Text::default();
            self.dollar(&mut found);
            for part in found.parts {
                match part {
                    Part::Literal(octets) => text.push_str(&String::from_utf8_lossy(&octets)),
                    Part::Macro(name) => {
                        if !text.is_empty() {
                            pieces.push(Cut::Text(std::mem::take(&mut text), At::new(start, end)));
                        }
                        pieces.push(Cut::Macro(Box::new(name)));
                        start = self.at;
                    }
                }
            }
        }
        if !text.is_empty() {
            pieces.push(Cut::Text(text, self.since(start)));
        }
        pieces
    }

    /// At a dollar: `$$`, a macro, or a quoted text in braces.
    fn dollar(&mut self, text: &mut Text) {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'$') => {
                self.at += 1;
                text.push(b'$');
            }
            Some(b'{') => self.braced(start, text),
            Some(octet) if octet.is_ascii_alphabetic() || octet == b'_' => {
                if let Ok(name) = self.bare(start) {
                    text.parts.push(Part::Macro(name));
                }
            }
            _ => {
                let message = "a single \"$\" that begins no macro";
                self.fault_with_help(self.since(start), message, "write \"$$\" for a dollar");
            }
        }
    }

    // bare
    fn bare(&mut self, start: usize) -> Reading<Macro> {
        let name = self.name()?;
        let numbers = self.numbers();
        Ok(Macro { name, numbers, arguments: Vec::new(), at: self.since(start) })
    }

    // name: a dot belongs to it only where a word follows
    fn name(&mut self) -> Reading<Vec<Word>> {
        let mut words = vec![self.word()];
        while self.peek() == Some(b'.') && self.rest().get(1).copied().is_some_and(is_word) {
            self.at += 1;
            words.push(self.word());
        }
        let first = &words[0];
        if first.text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_') {
            return Ok(words);
        }
        let at = At::new(first.at.start, self.at);
        self.fault(at, "a macro's name begins with a letter");
        Err(Unreadable)
    }

    // word
    fn word(&mut self) -> Word {
        let start = self.at;
        while self.peek().is_some_and(is_word) {
            self.at += 1;
        }
        Word { text: self.text[start..self.at].to_owned(), at: self.since(start) }
    }

    // numbers: parentheses belong to a macro only where they hold nothing but numbers
    fn numbers(&mut self) -> Option<Vec<Word>> {
        let before = self.at;
        if self.peek() != Some(b'(') {
            return None;
        }
        let mut numbers = Vec::new();
        loop {
            self.at += 1;
            let start = self.at;
            while self.peek().is_some_and(|octet| octet.is_ascii_digit()) {
                self.at += 1;
            }
            let text = self.text[start..self.at].to_owned();
            if text.is_empty() {
                break;
            }
            numbers.push(Word { text, at: self.since(start) });
            match self.peek() {
                Some(b',') => {}
                Some(b')') => {
                    self.at += 1;
                    return Some(numbers);
                }
                _ => break,
            }
        }
        self.at = before;
        None
    }

    // braced
    fn braced(&mut self, start: usize, text: &mut Text) {
        self.at += 1;
        if !self.deeper(start) {
            return;
        }
        self.skip_blanks();
        if self.peek() == Some(b'"') {
            self.quoted(text);
            self.close_brace(start);
        } else if let Ok(name) = self.call(start) {
            text.parts.push(Part::Macro(name));
        }
        self.depth -= 1;
    }

    fn deeper(&mut self, start: usize) -> bool {
        if self.depth < DEEPEST {
            self.depth += 1;
            return true;
        }
        let message = format!("nested more than {DEEPEST} deep");
        self.fault(self.since(start), message);
        self.gave_up = true;
        self.at = self.text.len();
        false
    }

    fn call(&mut self, start: usize) -> Reading<Macro> {
        if !self.peek().is_some_and(is_word) {
            return self.no_name(start);
        }
        let name = self.name();
        let numbers = self.numbers();
        let mut arguments = Vec::new();
        loop {
            let is_apart = self.skip_blanks();
            match self.peek() {
                None | Some(b'}') => break,
                Some(_) if !is_apart => {
                    let at = self.at;
                    self.character();
                    let message = "a blank must stand between a macro's name and its arguments";
                    self.fault(self.since(at), message);
                    self.at = at;
                }
                Some(_) => {}
            }
            arguments.push(self.argument(Place::Macro));
        }
        let closed = self.close_brace(start);
        let at = self.since(start);
        let name = name?;
        if closed { Ok(Macro { name, numbers, arguments, at }) } else { Err(Unreadable) }
    }

    fn no_name(&mut self, start: usize) -> Reading<Macro> {
        let here = self.at;
        if self.peek().is_none() {
            self.close_brace(start);
            return Err(Unreadable);
        }
        self.character();
        let message = "a macro's name is missing behind \"${\"";
        self.fault(self.since(if self.rest().is_empty() { start } else { here }), message);
        self.at = here;
        while self.peek().is_some_and(|octet| octet != b'}') {
            self.character();
        }
        self.at = (self.at + 1).min(self.text.len());
        Err(Unreadable)
    }

    fn close_brace(&mut self, start: usize) -> bool {
        self.skip_blanks();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                true
            }
            Some(_) => {
                let at = self.at;
                self.character();
                self.fault(self.since(at), "expected \"}\" behind the quoted text");
                while self.peek().is_some_and(|octet| octet != b'}') {
                    self.character();
                }
                self.at = (self.at + 1).min(self.text.len());
                false
            }
            None => {
                let at = At::new(start, start + 2);
                self.fault_with_help(at, "this brace is not closed", "\"}\" is missing");
                false
            }
        }
    }

    // argument, operand
    fn argument(&mut self, place: Place) -> Argument {
        let start = self.at;
        let mut text = Text::default();
        while let Some(octet) = self.peek() {
            match octet {
                b'"' => self.quoted(&mut text),
                b'$' if place == Place::Condition && self.condition_word().is_some() => break,
                b'$' => self.dollar(&mut text),
                b'\\' => self.escape(&mut text),
                b'}' => break,
                b'{' if place == Place::Condition && self.at > start => break,
                b'{' => {
                    let at = At::new(self.at, self.at + 1);
                    let help = "write \"\\{\" for a brace, or quote the text";
                    self.fault_with_help(at, "a brace inside a text without quotes", help);
                    self.at += 1;
                }
                octet if octet.is_ascii_whitespace() => break,
                _ if place == Place::Condition && self.starts_with("~=") => break,
                _ => text.extend(self.character()),
            }
        }
        Argument { text, at: self.since(start) }
    }

    // quoted
    fn quoted(&mut self, text: &mut Text) {
        let start = self.at;
        self.at += 1;
        while let Some(octet) = self.peek() {
            match octet {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'$' => self.dollar(text),
                b'\\' => self.escape(text),
                _ => text.extend(self.character()),
            }
        }
        let at = At::new(start, start + 1);
        let help = "'\"' is missing; write \\\" for a quote itself";
        self.fault_with_help(at, "this quote is not closed", help);
    }

    // escape
    fn escape(&mut self, text: &mut Text) {
        let start = self.at;
        self.at += 1;
        let letter = self.character();
        match letter {
            b"n" => text.push(b'\n'),
            b"r" => text.push(b'\r'),
            b"t" => text.push(b'\t'),
            b"\\" | b"\"" | b"{" | b"}" => text.extend(letter),
            b"x" => self.octet(start, text),
            b"u" => self.code_point(start, text),
            _ => {
                let help = "known are \\n \\r \\t \\\\ \\\" \\{ \\} \\xHH \\u{HEX}; write \"\\\\\" \
                            for a backslash";
                self.fault_with_help(self.since(start), "this escape is not known", help);
            }
        }
    }

    fn octet(&mut self, start: usize, text: &mut Text) {
        let digits = self.hexadecimal(2);
        match u8::from_str_radix(digits, 16) {
            Ok(octet) if digits.len() == 2 => text.push(octet),
            _ => self.fault(self.since(start), "\"\\x\" needs two hexadecimal digits"),
        }
    }

    fn code_point(&mut self, start: usize, text: &mut Text) {
        let opened = self.peek() == Some(b'{');
        self.at += usize::from(opened);
        let digits = self.hexadecimal(6);
        let closed = self.peek() == Some(b'}');
        self.at += usize::from(closed);
        let letter = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        match letter {
            Some(letter) if opened && closed => {
                text.extend(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None if opened && closed && !digits.is_empty() => {
                let message = format!("there is no character U+{}", digits.to_uppercase());
                self.fault(self.since(start), message);
            }
            _ => {
                let message = "\"\\u\" needs one to six hexadecimal digits in braces";
                self.fault_with_help(self.since(start), message, "like \\u{e9}");
            }
        }
    }

    fn hexadecimal(&mut self, most: usize) -> &'t str {
        let start = self.at;
        while self.at < start + most && self.peek().is_some_and(|octet| octet.is_ascii_hexdigit()) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Macro,
    Condition,
}

/// What groups or quotes in other languages at the beginning of an operand, and what does here.
pub(super) fn foreign_opening(operand: &str) -> Option<(&'static str, &'static str)> {
    match operand.as_bytes().first()? {
        b'(' => Some(("(", "group with { }; quote the text if it is meant")),
        b'\'' => Some(("'", "quote with double quotes")),
        _ => None,
    }
}

fn help_with_operator(shown: &str) -> String {
    let name = shown.strip_prefix('$').filter(|name| *name != "NOT");
    if let Some(name) = name {
        let capitals = name.to_ascii_uppercase();
        if is_condition_word(&capitals) {
            return format!("operators are written in capitals: \"${capitals}\"");
        }
        if let Some(meant) = condition_word_meant(name) {
            return format!("did you mean \"${meant}\"?");
        }
    }
    "$EQ $NE $LT $LE $GT $GE ~= compare, $AND and $OR join; quote a text with blanks".to_owned()
}

/// Conditions.
impl<'t> Parser<'t> {
    fn whole_condition(&mut self) -> Option<Clause> {
        self.skip_blanks();
        if self.peek().is_none() {
            self.fault(At::new(0, self.text.len()), "a condition is missing");
            return None;
        }
        let condition = self.condition().ok();
        self.skip_blanks();
        // Where a fault has been told, what follows may just be its consequence.
        if self.peek().is_some() && (condition.is_some() || self.faults.is_empty()) {
            self.fault_of_rest();
        }
        condition
    }

    fn fault_of_rest(&mut self) {
        let start = self.at;
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.fault(self.since(start), "this brace closes nothing");
            return;
        }
        let shown = self.take_shown();
        let at = At::new(start, start + shown.len());
        let message = format!("expected an operator instead of \"{shown}\"");
        let help = match shown {
            "=" | "==" => "write \"$EQ\"".to_owned(),
            "!=" | "<>" => "write \"$NE\"".to_owned(),
            "<" => "write \"$LT\"".to_owned(),
            "<=" => "write \"$LE\"".to_owned(),
            ">" => "write \"$GT\"".to_owned(),
            ">=" => "write \"$GE\"".to_owned(),
            "&&" | "and" | "AND" => "write \"$AND\"".to_owned(),
            "||" | "or" | "OR" => "write \"$OR\"".to_owned(),
            "=~" => "write \"~=\"".to_owned(),
            _ => self.help_with_rest(start, shown),
        };
        self.fault_with_help(at, message, help);
    }

    fn help_with_rest(&self, start: usize, shown: &str) -> String {
        let before = self.operands.last().map(|operand| operand.at).unwrap_or_default();
        // What the operand before may have been meant to open.
        if let Some((_, help)) = foreign_opening(&self.text[before.range()]) {
            return help.to_owned();
        }
        let operator = shown.strip_prefix('$').and_then(Operator::from_name);
        if operator.is_none() && shown != "~=" {
            return help_with_operator(shown);
        }
        let is_behind_group = self.text[before.end..start].contains('}');
        let help = if is_behind_group {
            "a group in braces can't be compared"
        } else {
            "two comparisons are joined with $AND"
        };
        help.to_owned()
    }

    /// What stands here up to a blank.
    fn take_shown(&mut self) -> &'t str {
        let start = self.at;
        while self.peek().is_some_and(|octet| !octet.is_ascii_whitespace()) {
            self.character();
        }
        &self.text[start..self.at]
    }

    /// The word of the operator that stands here, with its length.
    fn condition_word(&self) -> Option<&'t str> {
        let word = self.rest().strip_prefix(b"$")?;
        let length = word.iter().take_while(|octet| is_word(**octet)).count();
        let word = &self.text[self.at + 1..self.at + 1 + length];
        is_condition_word(word).then_some(word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.skip_blanks();
        let found = self.condition_word() == Some(word);
        if found {
            self.at += 1 + word.len();
        }
        found
    }

    // condition
    fn condition(&mut self) -> Reading<Clause> {
        self.joined("OR", Clause::Any, Self::conjunction)
    }

    // conjunction
    fn conjunction(&mut self) -> Reading<Clause> {
        self.joined("AND", Clause::All, Self::negation)
    }

    fn joined(
        &mut self,
        word: &str,
        join: fn(Vec<Clause>) -> Clause,
        next: fn(&mut Self) -> Reading<Clause>,
    ) -> Reading<Clause> {
        // What can't be read keeps the rest from being looked at only where nothing joins it on.
        let first = next(self);
        if !self.take_word(word) {
            return first;
        }
        let mut clauses = vec![first];
        loop {
            clauses.push(next(self));
            if !self.take_word(word) {
                let clauses: Reading<Vec<Clause>> = clauses.into_iter().collect();
                return clauses.map(join);
            }
        }
    }

    // negation
    fn negation(&mut self) -> Reading<Clause> {
        let start = self.at;
        if !self.take_word("NOT") {
            return self.primary();
        }
        if !self.deeper(start) {
            return Err(Unreadable);
        }
        let clause = self.negation();
        self.depth -= 1;
        clause.map(|clause| Clause::Not(Box::new(clause)))
    }

    // primary
    fn primary(&mut self) -> Reading<Clause> {
        self.skip_blanks();
        if self.peek() != Some(b'{') {
            return self.comparison();
        }
        let start = self.at;
        self.at += 1;
        if !self.deeper(start) {
            return Err(Unreadable);
        }
        let clause = self.condition();
        self.depth -= 1;
        self.skip_blanks();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return clause;
            }
            None => {
                let at = At::new(start, start + 1);
                self.fault_with_help(at, "this brace is not closed", "\"}\" is missing");
            }
            Some(_) if clause.is_ok() => self.fault_of_rest(),
            Some(_) => {}
        }
        Err(Unreadable)
    }

    // comparison
    fn comparison(&mut self) -> Reading<Clause> {
        let left = self.operand()?;
        self.skip_blanks();
        if self.starts_with("~=") {
            self.at += 2;
            return self.pattern_names().map(|names| Clause::Match(left, names));
        }
        let Some(operator) = self.condition_word().and_then(Operator::from_name) else {
            return Ok(Clause::Operand(left));
        };
        self.at += 3;
        let right = self.operand()?;
        Ok(Clause::Comparison(left, operator, right))
    }

    fn operand(&mut self) -> Reading<Argument> {
        self.skip_blanks();
        let faults = self.faults.len();
        let argument = self.argument(Place::Condition);
        if argument.at.start < argument.at.end {
            self.operands.push(argument.clone());
            return if self.faults.len() == faults { Ok(argument) } else { Err(Unreadable) };
        }
        let start = self.at;
        let (at, found) = match self.condition_word() {
            Some(word) => (At::new(start, start + 1 + word.len()), format!("\"${word}\"")),
            None if self.starts_with("~=") => (At::new(start, start + 2), "\"~=\"".to_owned()),
            None if self.peek().is_some() => (At::new(start, start + 1), "a brace".to_owned()),
            None => {
                let end = self.text.trim_end().len();
                (At::new(end.saturating_sub(1), end), "the end".to_owned())
            }
        };
        let message = format!("expected a text or a macro instead of {found}");
        self.fault_with_help(at, message, "an empty text is written \"\"");
        Err(Unreadable)
    }

    // pattern_names
    fn pattern_names(&mut self) -> Reading<Vec<Word>> {
        let mut names = Vec::new();
        loop {
            self.skip_blanks();
            if !self.peek().is_some_and(is_word) {
                break;
            }
            names.push(self.pattern_name());
            self.skip_blanks();
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
        if !names.is_empty() {
            return Ok(names);
        }
        let start = self.at;
        self.character();
        let at = if self.at > start {
            self.since(start)
        } else {
            At::new(start.saturating_sub(1), start)
        };
        self.at = start;
        let help = "like \"$helo ~= dynamic\", after a name that a boorex engine declares";
        self.fault_with_help(at, "the name of a regular expression is missing", help);
        Err(Unreadable)
    }

    // pattern_name
    fn pattern_name(&mut self) -> Word {
        let start = self.at;
        self.word();
        if self.peek() == Some(b'.') && self.rest().get(1).copied().is_some_and(is_word) {
            self.at += 1;
            self.word();
        }
        Word { text: self.text[start..self.at].to_owned(), at: self.since(start) }
    }
}
