//! Conditions: what compares, joins and groups operands.

use super::{Parser, Place, Reading, Unreadable, is_word};
use crate::language::syntax::{
    Argument, At, Clause, Operator, Word, condition_word_meant, is_condition_word,
};

/// What groups or quotes in other languages at the beginning of an operand, and what does here.
pub(in crate::language) fn foreign_opening(operand: &str) -> Option<(&'static str, &'static str)> {
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
    pub(super) fn whole_condition(&mut self) -> Option<Clause> {
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
    pub(super) fn condition_word(&self) -> Option<&'t str> {
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
