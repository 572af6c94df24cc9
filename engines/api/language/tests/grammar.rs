//! The written grammar, `grammar.ebnf`, read and used: what it derives the parser takes, and what
//! the parser takes it derives.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::parser;
use super::super::syntax::is_condition_word;

const GRAMMAR: &str = include_str!("../grammar.ebnf");

#[derive(Debug, Clone)]
enum Rule {
    Terminal(String),
    Name(String),
    Special,
    Sequence(Vec<Rule>),
    Choice(Vec<Rule>),
    Optional(Box<Rule>),
    Repeated(Box<Rule>),
}

/// Reads the grammar's own notation (ISO/IEC 14977).
struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let Some(comment) = self.rest.strip_prefix("(*") else { return };
            self.rest = comment.split_once("*)").unwrap().1;
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn until(&mut self, end: char) -> String {
        let (before, behind) = self.rest.split_once(end).unwrap();
        self.rest = behind;
        before.to_owned()
    }

    fn name(&mut self) -> String {
        self.skip();
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let length = self.rest.find(|letter| !is_part(letter)).unwrap();
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name.to_owned()
    }

    fn grammar(&mut self) -> HashMap<String, Rule> {
        let mut rules = HashMap::new();
        loop {
            self.skip();
            if self.rest.is_empty() {
                return rules;
            }
            let name = self.name();
            assert!(self.take("="), "{name}");
            let rule = self.choice();
            assert!(self.take(";"), "{name}: {}", self.rest);
            rules.insert(name, rule);
        }
    }

    fn choice(&mut self) -> Rule {
        let mut choices = vec![self.sequence()];
        while self.take("|") {
            choices.push(self.sequence());
        }
        if choices.len() == 1 { choices.remove(0) } else { Rule::Choice(choices) }
    }

    fn sequence(&mut self) -> Rule {
        let mut parts = vec![self.part()];
        while self.take(",") {
            parts.push(self.part());
        }
        if parts.len() == 1 { parts.remove(0) } else { Rule::Sequence(parts) }
    }

    fn part(&mut self) -> Rule {
        if self.take("\"") {
            return Rule::Terminal(self.until('"'));
        }
        if self.take("'") {
            return Rule::Terminal(self.until('\''));
        }
        if self.take("?") {
            self.until('?');
            return Rule::Special;
        }
        for (open, close) in [("(", ")"), ("[", "]"), ("{", "}")] {
            if self.take(open) {
                let inner = self.choice();
                assert!(self.take(close), "{}", self.rest);
                return match open {
                    "(" => inner,
                    "[" => Rule::Optional(Box::new(inner)),
                    _ => Rule::Repeated(Box::new(inner)),
                };
            }
        }
        Rule::Name(self.name())
    }
}

static RULES: LazyLock<HashMap<String, Rule>> =
    LazyLock::new(|| Reader { rest: GRAMMAR }.grammar());

/// What the words between question marks say, for the rule of each name: how many octets of the
/// text they take, if they fit.
fn special(rule: &str, text: &str) -> Option<usize> {
    let next = text.chars().next();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let one = |fits: bool| fits.then(|| next.map_or(0, char::len_utf8));
    let letter = next.unwrap_or(' ');
    match rule {
        "white_space" => one(next.is_some_and(|letter| letter.is_ascii_whitespace())),
        "letter" => one(!letter.is_ascii_whitespace() && !"$\\".contains(letter)),
        "plain" => one(!letter.is_ascii_whitespace() && !"$\\\"{}".contains(letter)),
        "operand_plain" => special("plain", text).filter(|_| !text.starts_with("~=")),
        "quotable" => one(next.is_some_and(|letter| !"$\\\"".contains(letter))),
        "first" => one(letter.is_ascii_alphabetic() || letter == '_'),
        "word_character" => one(is_word(letter)),
        "word_end" => (!is_word(letter)).then_some(0),
        "no_operator" => {
            let word = text.strip_prefix('$')?;
            let length = word.find(|letter| !is_word(letter)).unwrap_or(word.len());
            (!is_condition_word(&word[..length])).then_some(0)
        }
        "digit" => one(letter.is_ascii_digit()),
        "hex" => one(letter.is_ascii_hexdigit()),
        "code_point" => {
            let length = text.bytes().take_while(u8::is_ascii_hexdigit).count();
            let number = u32::from_str_radix(&text[..length], 16).ok()?;
            (length <= 6 && char::from_u32(number).is_some()).then_some(length)
        }
        _ => panic!("the words of {rule} mean nothing to this test"),
    }
}

/// Derivations of the grammar, chosen by a tape of octets. Once it is used up, everything is as
/// short as can be.
struct Derivation<'g> {
    rules: &'g HashMap<String, Rule>,
    tape: std::vec::IntoIter<u8>,
    text: String,
    depth: usize,
}

impl Derivation<'_> {
    fn choose(&mut self, choices: usize) -> usize {
        // The first alternative of each rule does not lead back to it.
        let choice = if self.depth > 60 { None } else { self.tape.next() };
        usize::from(choice.unwrap_or(0)) % choices
    }

    fn derive(&mut self, rule: &Rule) {
        self.depth += 1;
        match rule {
            Rule::Terminal(text) => self.text.push_str(text),
            Rule::Name(name) => match &self.rules[name] {
                Rule::Special => self.special(name),
                rule => self.derive(rule),
            },
            Rule::Special => panic!("a special sequence has a rule of its own"),
            Rule::Sequence(parts) => parts.iter().for_each(|part| self.derive(part)),
            Rule::Choice(choices) => {
                let choice = self.choose(choices.len());
                self.derive(&choices[choice]);
            }
            Rule::Optional(rule) => {
                if self.choose(2) == 1 {
                    self.derive(rule);
                }
            }
            Rule::Repeated(rule) => {
                for _ in 0..self.choose(4) {
                    self.derive(rule);
                }
            }
        }
        self.depth -= 1;
    }

    fn special(&mut self, rule: &str) {
        let samples: &[&str] = match rule {
            "white_space" => &[" ", "\n", "\t", "\r", "\x0c"],
            "first" => &["s", "q", "_", "Z"],
            "word_character" => &["e", "1", "_", "Q"],
            "digit" => &["1", "0"],
            "hex" => &["0", "f", "A"],
            "code_point" => &["41", "e9", "10ffff"],
            // What follows must not be a part of the word, so that a mark stands here for now.
            "word_end" => &["\u{e000}"],
            "no_operator" => &[""],
            "quotable" => &["a", " ", "\n", "{", "}", "ü", "~", "="],
            "letter" => &["a", "5", "\"", "{", "}", "(", ".", "ü", "\u{a0}"],
            "operand_plain" => &["a", ".", "(", "=", "ü", "7", "-"],
            _ => &["a", ".", "(", "~", "=", "ü", "7", "-"],
        };
        let choice = self.choose(samples.len());
        self.text.push_str(samples[choice]);
    }

    /// The text. Where a word would not end, something is put between it and what follows: a
    /// blank behind an operator, an escaped dollar behind a name.
    fn finish(self) -> String {
        let mut text = String::new();
        for part in self.text.split_inclusive('\u{e000}') {
            let goes_on =
                part.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
            if goes_on && !text.is_empty() {
                let word = text.rsplit('$').next().unwrap_or_default();
                text.push_str(if is_condition_word(word) { " " } else { "$$" });
            }
            text.push_str(part.trim_end_matches('\u{e000}'));
        }
        text
    }
}

/// Where derivations of a rule end that begin at some place of a text: every end there is.
struct Recogniser<'g, 't> {
    rules: &'g HashMap<String, Rule>,
    text: &'t str,
    known: RefCell<HashMap<(String, usize), BTreeSet<usize>>>,
}

impl Recogniser<'_, '_> {
    fn ends(&self, rule: &Rule, at: usize) -> BTreeSet<usize> {
        let rest = &self.text[at..];
        match rule {
            Rule::Terminal(text) if rest.starts_with(text.as_str()) => [at + text.len()].into(),
            Rule::Terminal(_) => BTreeSet::new(),
            Rule::Name(name) => self.ends_of_name(name, at),
            Rule::Special => panic!("a special sequence has a rule of its own"),
            Rule::Sequence(parts) => parts.iter().fold([at].into(), |starts, part| {
                starts.into_iter().flat_map(|start: usize| self.ends(part, start)).collect()
            }),
            Rule::Choice(choices) => {
                choices.iter().flat_map(|choice| self.ends(choice, at)).collect()
            }
            Rule::Optional(rule) => {
                let mut ends = self.ends(rule, at);
                ends.insert(at);
                ends
            }
            Rule::Repeated(rule) => {
                let mut all: BTreeSet<usize> = [at].into();
                let mut new = all.clone();
                while !new.is_empty() {
                    let next = new.iter().flat_map(|start| self.ends(rule, *start));
                    new = next.filter(|end| !all.contains(end)).collect();
                    all.extend(&new);
                }
                all
            }
        }
    }

    fn ends_of_name(&self, name: &str, at: usize) -> BTreeSet<usize> {
        let key = (name.to_owned(), at);
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        let ends = match &self.rules[name] {
            Rule::Special => {
                let length = special(name, &self.text[at..]);
                length.into_iter().map(|length| at + length).collect()
            }
            rule => self.ends(rule, at),
        };
        self.known.borrow_mut().insert(key, ends.clone());
        ends
    }
}

fn is_derived(rule: &str, text: &str) -> bool {
    let recogniser = Recogniser { rules: &RULES, text, known: RefCell::default() };
    recogniser.ends_of_name(rule, 0).contains(&text.len())
}

fn derivation(rule: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<u8>(), 0..150).prop_map(move |tape| {
        let mut derivation =
            Derivation { rules: &RULES, tape: tape.into_iter(), text: String::new(), depth: 0 };
        derivation.derive(&Rule::Name(rule.to_owned()));
        derivation.finish()
    })
}

/// Texts of what the grammar is made of, in any order.
fn jumble() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "$", "$$", "${", "{", "}", "\"", "\\", "\\\"", "\\n", "\\x4", "\\u{41}", "\\u{", " ", "\n",
        "a", "Q1", ".", "(", "24", ",", ")", "$a", "$a.b", "${a", "$EQ", "$AND", "$NOT", "$OR ",
        "~=", "~", "=", "_", "ü",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..12).prop_map(|all| all.concat())
}

#[test]
fn the_grammar_in_the_documentation_is_this_one() {
    let page = include_str!("../../../../docs/language.md");
    let shown = page.split("```ebnf\n").nth(1).and_then(|rest| rest.split("\n```").next());
    assert_eq!(shown, Some(GRAMMAR.trim()));
}

#[test]
fn every_rule_is_reached_from_a_template_or_a_condition() {
    let rules = &*RULES;
    let mut reached: BTreeSet<String> =
        ["template", "pieces", "condition"].map(str::to_owned).into();
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let rule = rules.get(&name).unwrap_or_else(|| panic!("{name} has no rule"));
        let debug = format!("{rule:?}");
        for part in debug.split("Name(\"").skip(1) {
            let name = part.split('"').next().unwrap().to_owned();
            if reached.insert(name.clone()) {
                open.push(name);
            }
        }
    }
    let all: BTreeSet<String> = rules.keys().cloned().collect();
    assert_eq!(reached, all);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_template_of_the_grammar_is_read_and_printed_and_read_as_the_same(
        text in derivation("template")
    ) {
        prop_assert!(is_derived("template", &text), "{}", text);
        let (read, faults) = parser::template(&text);
        prop_assert_eq!(&faults, &[], "{}", text);
        let printed = read.to_string();
        prop_assert_eq!(parser::template(&printed), (read, faults), "{} as {}", text, printed);
    }

    #[test]
    fn a_condition_of_the_grammar_is_read_and_printed_and_read_as_the_same(
        text in derivation("condition")
    ) {
        prop_assert!(is_derived("condition", &text), "{}", text);
        let (read, faults) = parser::condition(&text);
        prop_assert_eq!(&faults, &[], "{}", text);
        let read = read.unwrap();
        let printed = read.to_string();
        prop_assert_eq!(parser::condition(&printed), (Ok(read), faults), "{} as {}", text, printed);
    }

    #[test]
    fn the_parser_takes_what_the_grammar_derives_and_nothing_else(text in jumble()) {
        prop_assert_eq!(
            parser::template(&text).1.is_empty(),
            is_derived("template", &text),
            "template {:?}", text
        );
        prop_assert_eq!(
            parser::pieces(&text).1.is_empty(),
            is_derived("pieces", &text),
            "pieces {:?}", text
        );
        let (read, faults) = parser::condition(&text);
        prop_assert_eq!(read.is_ok() && faults.is_empty(), faults.is_empty(), "{:?}", text);
        prop_assert_eq!(
            faults.is_empty(),
            is_derived("condition", &text),
            "condition {:?} {:?}", text, faults
        );
    }
}
