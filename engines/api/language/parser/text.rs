//! Texts with macros: templates and pieces, names, calls, arguments, quotes and escapes.

use super::{Cut, DEEPEST, Parser, Place, Reading, Unreadable, is_word};
use crate::language::syntax::{Argument, At, Macro, Part, Text, Word};

impl<'t> Parser<'t> {
    // template
    pub(super) fn template(&mut self) -> Text {
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

    pub(super) fn pieces(&mut self) -> Vec<Cut> {
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
    pub(super) fn word(&mut self) -> Word {
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

    pub(super) fn deeper(&mut self, start: usize) -> bool {
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
    pub(super) fn argument(&mut self, place: Place) -> Argument {
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
