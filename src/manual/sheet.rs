//! A manual page in the language of man(7), written from texts whose words between backticks are
//! code. Nothing in a text is taken for a command of the language.

use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::reference::{Block, Document, MUST_BE_GIVEN, Table};

/// A page that grows.
pub(super) struct Sheet {
    roff: Roff,
    /// Whether the last line is a heading, below which a paragraph begins by itself.
    is_headed: bool,
}

/// Where a long word may be broken without a hyphen.
const BREAK: char = '\u{200b}';

/// More octets of a word than this do not fit into the line of a list.
const LONG_WORD: usize = 50;

/// Columns whose cells are not headed by the name of the column.
const PLAIN: &str = "Meaning";

impl Sheet {
    pub(super) fn new(name: &str, section: &str, date: &str, manual: &str) -> Self {
        let mut roff = Roff::new();
        let source = format!("mppd {}", env!("CARGO_PKG_VERSION"));
        let (name, source) = (argument(&name.to_uppercase()), argument(&source));
        roff.control("TH", [name.as_str(), section, date, &source, manual]);
        // Words are not hyphenated, and lines not stretched: much of it is typed as it is read.
        roff.control("nh", []).control("ad", ["l"]);
        Sheet { roff, is_headed: false }
    }

    /// A section, in capitals as manual pages have them.
    pub(super) fn section(&mut self, heading: &str) {
        self.roff.control("SH", [argument(&heading.to_uppercase()).as_str()]);
        self.is_headed = true;
    }

    pub(super) fn subsection(&mut self, heading: &str) {
        self.roff.control("SS", [argument(heading).as_str()]);
        self.is_headed = true;
    }

    /// The line by which `apropos` finds the page.
    pub(super) fn name(&mut self, name: &str, summary: &str) {
        self.is_headed = false;
        let summary = summary.replace('`', "");
        self.roff.text([roman(format!("{name} - {summary}"))]);
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.begin_paragraph();
        self.roff.text(inlines(text));
    }

    fn begin_paragraph(&mut self) {
        if !std::mem::take(&mut self.is_headed) {
            self.roff.control("PP", []);
        }
    }

    /// Something with what is said about it.
    pub(super) fn term(&mut self, term: &str, about: &[&str]) {
        self.is_headed = false;
        self.roff.control("TP", []).text(inlines(term));
        let mut about = about.iter().filter(|text| !text.trim().is_empty());
        let Some(first) = about.next() else {
            self.roff.text([roman("\u{a0}")]);
            return;
        };
        self.roff.text(inlines(first));
        for text in about {
            self.roff.control("br", []).text(inlines(text));
        }
    }

    /// Lines that stay as they are.
    pub(super) fn code(&mut self, text: &str) {
        self.begin_paragraph();
        self.roff.control("RS", ["4"]).control("nf", []);
        for line in text.lines() {
            self.roff.text([roman(line)]);
        }
        self.roff.control("fi", []).control("RE", []);
    }

    /// A document, whose headings of the first level are sections.
    pub(super) fn document(&mut self, document: &Document) {
        for block in document.blocks() {
            match block {
                Block::Heading(1, text) => self.section(&text.replace('`', "")),
                Block::Heading(_, text) => self.subsection(&text.replace('`', "")),
                Block::Paragraph(text) => self.paragraph(text),
                Block::Code(text) => self.code(text),
                Block::Table(table) => self.table(table),
            }
        }
    }

    /// A table as a list: the first cell of a row is what it is about.
    fn table(&mut self, table: &Table) {
        for row in &table.rows {
            let Some((term, cells)) = row.split_first() else { continue };
            let columns = table.columns.iter().skip(1);
            let cells: Vec<(&str, &String)> = columns.copied().zip(cells).collect();
            let meaning = cells.iter().filter(|(column, _)| *column == PLAIN);
            let others = cells.iter().filter(|(column, cell)| *column != PLAIN && !cell.is_empty());
            let others: Vec<String> = others.map(|(column, cell)| labelled(column, cell)).collect();
            let mut about: Vec<&str> = meaning.map(|(_, cell)| cell.as_str()).collect();
            about.extend(others.iter().map(String::as_str));
            self.term(term, &about);
        }
    }

    /// The page.
    pub(super) fn finish(self) -> String {
        // Typesetters make other letters of these, which nobody could type back.
        let mut page = String::new();
        for letter in self.roff.render().chars() {
            match letter {
                '~' => page.push_str("\\(ti"),
                '^' => page.push_str("\\(ha"),
                '`' => page.push_str("\\(ga"),
                '\u{a0}' => page.push_str("\\ "),
                BREAK => page.push_str("\\:"),
                letter if letter.is_ascii() => page.push(letter),
                letter => page.extend(["\\[u", &format!("{:04X}", u32::from(letter)), "]"]),
            }
        }
        page
    }
}

/// A text as the argument of a command of the language.
fn argument(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\e"),
            '"' => escaped.push_str("\\(dq"),
            '-' => escaped.push_str("\\-"),
            letter if letter.is_whitespace() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A text in one line; words between backticks are bold, and of a link the text is kept.
fn inlines(text: &str) -> Vec<Inline> {
    let text = text.split_whitespace().map(breakable).collect::<Vec<_>>().join(" ");
    let mut inlines = Vec::new();
    for (index, piece) in text.split('`').enumerate().filter(|(_, piece)| !piece.is_empty()) {
        let is_code = index % 2 == 1;
        inlines.push(if is_code { bold(piece) } else { roman(without_links(piece)) });
    }
    inlines
}

/// A word that can be broken somewhere if it is long.
fn breakable(word: &str) -> String {
    let mut broken = String::new();
    for (index, letter) in word.chars().enumerate() {
        if index > 0 && index % LONG_WORD == 0 {
            broken.push(BREAK);
        }
        broken.push(letter);
    }
    broken
}

/// A cell under the name of its column, as a sentence.
fn labelled(column: &str, cell: &str) -> String {
    match cell {
        MUST_BE_GIVEN => "It must be given.".to_owned(),
        _ => format!("{column}: {cell}."),
    }
}

/// A text with the texts of its links only.
fn without_links(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        let parts = link.split_once("](").and_then(|(words, target)| {
            let (_, after) = target.split_once(')')?;
            (!words.contains(['[', ']'])).then_some((words, after))
        });
        if let Some((words, after)) = parts {
            plain.push_str(words);
            rest = after;
        } else {
            plain.push('[');
            rest = link;
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Sheet)) -> String {
        let mut sheet = Sheet::new("x", "7", "2026-01-31", "mppd");
        write(&mut sheet);
        let page = sheet.finish();
        page.split_once(".ad l\n").unwrap().1.to_owned()
    }

    #[test]
    fn what_would_be_a_command_is_text() {
        let page = written(|sheet| {
            sheet.code(".so /etc/passwd\n'br\n\\n(zz\n\\fBno");
            sheet.paragraph(".de X");
        });
        for line in ["\\&.so /etc/passwd", "\\*(Aqbr", "\\\\n(zz", "\\\\fBno", "\\&.de X"] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
    }

    #[test]
    fn a_heading_may_hold_what_ends_an_argument() {
        let page = written(|sheet| sheet.section("a \"b\" \\c\n.so d"));
        assert_eq!(page, ".SH \"A \\(dqB\\(dq \\eC .SO D\"\n");
    }

    #[test]
    fn letters_that_are_typed_stay_what_they_are() {
        let page = written(|sheet| sheet.paragraph("a ~= ^b …"));
        assert_eq!(page, ".PP\na \\(ti= \\(hab \\[u2026]\n");
    }

    #[test]
    fn of_a_link_the_text_is_kept_and_other_brackets_stay() {
        let text = "see [language.md](language.md), `$date [FORMAT]` or [x] (y)";
        let page = written(|sheet| sheet.paragraph(text));
        assert_eq!(page, ".PP\nsee language.md, \\fB$date [FORMAT]\\fR or [x] (y)\n");
    }

    #[test]
    fn a_word_that_fits_into_no_line_can_be_broken() {
        let page = written(|sheet| sheet.paragraph(&"x".repeat(60)));
        assert_eq!(page, format!(".PP\n{}\\:{}\n", "x".repeat(50), "x".repeat(10)));
    }
}
