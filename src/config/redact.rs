//! Hides secrets in the texts that are kept for reports.
//!
//! A report shows the line at fault, and the line at fault may hold a password. So the text that is
//! kept beside the tree has stars where secrets stand. This goes by the letters, not by the tree:
//! a file that can't be parsed is reported, too, and so is a misspelt `<pasword>`.

use std::ops::Range;

use mppd_database::redact::{is_secret, with_stars};

/// The text of an XML file with its secrets hidden; every octet keeps its place.
pub(super) fn xml(text: &str) -> String {
    let mut hidden = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find('<') {
        let tag = Tag::at(text, at + offset + 1);
        let name = &text[tag.name.clone()];
        hidden.extend(tag.secret_values(text));
        at = tag.name.end;
        let holds_secret = is_secret(name) || tag.is_secret_header(text);
        if holds_secret && !name.is_empty() && !text[..tag.end].ends_with("/>") {
            let end = content_end(text, tag.end);
            hidden.push(tag.end..end);
            at = end;
        }
    }
    hidden.extend(passwords_in_addresses(text));
    hidden.sort_by_key(|range| range.start);
    with_stars(text, &hidden)
}

/// Where `scheme://user:password@host` has a password, whether or not one may stand there.
fn passwords_in_addresses(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, slashes)| {
        let start = at + slashes.len();
        let is_end = |letter: char| letter.is_whitespace() || "/<>\"'".contains(letter);
        let rest = &text[start..];
        let authority = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        let (user, _) = authority.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(start + name.len() + 1..start + user.len())
    })
}

/// What the names of headers have in them whose values let one in somewhere.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "key", "token"];

/// A start tag, as far as it can be told without a parser.
struct Tag {
    name: Range<usize>,
    /// Behind its `>`, or the end of the text.
    end: usize,
}

impl Tag {
    fn at(text: &str, start: usize) -> Self {
        let rest = &text[start..];
        let name = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
        let mut quote = None;
        for (offset, letter) in rest.char_indices().skip_while(|(offset, _)| *offset < name) {
            match (letter, quote) {
                ('>', None) => return Tag { name: start..start + name, end: start + offset + 1 },
                ('<', None) => return Tag { name: start..start + name, end: start + offset },
                ('"' | '\'', None) => quote = Some(letter),
                (letter, Some(open)) if letter == open => quote = None,
                _ => {}
            }
        }
        Tag { name: start..start + name, end: text.len() }
    }

    /// Whether it is that of a `<header>` of HTTP by which mppd says who it is.
    fn is_secret_header(&self, text: &str) -> bool {
        let attributes = text[self.name.end..self.end].to_lowercase();
        &text[self.name.clone()] == "header"
            && SECRET_HEADERS.iter().any(|secret| attributes.contains(secret))
    }

    /// Where the values of attributes stand whose names say that they are secret.
    fn secret_values(&self, text: &str) -> Vec<Range<usize>> {
        let mut values = Vec::new();
        let mut at = self.name.end;
        while let Some(offset) = text[at..self.end].find('=') {
            let equals = at + offset;
            let before = text[at..equals].trim_end();
            let name = before.rsplit(|letter: char| !is_word(letter)).next().unwrap_or_default();
            let rest = &text[equals + 1..self.end];
            let quote = equals + 1 + (rest.len() - rest.trim_start().len());
            let Some(length) = quoted_length(&text[quote..self.end]) else {
                at = equals + 1;
                continue;
            };
            if is_secret(name) {
                values.push(quote..quote + length);
            }
            at = quote + length;
        }
        values
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':')
}

/// The length of the quoted text that this begins with, quotes included.
fn quoted_length(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    Some(text[1..].find(quote).map_or(text.len(), |length| length + 2))
}

/// Where the content ends that begins here: at the next end tag that is not inside CDATA.
fn content_end(text: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(offset) = text[at..].find('<') {
        at += offset;
        let rest = &text[at..];
        if rest.starts_with("</") {
            return at;
        }
        let end_of_cdata = || rest.find("]]>").unwrap_or(rest.len());
        at += if rest.starts_with("<![CDATA[") { end_of_cdata() } else { 1 };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_in_xml_are_hidden() {
        for (text, expected) in [
            ("<password>geheim</password><a/>", "<password>******</password><a/>"),
            ("<pasword> gé</pasword>", "<pasword> ***</pasword>"),
            ("<password x='>'>a</b>", "<password x='>'>*</b>"),
            ("<password><![CDATA[</a]]>b</password>", "<password>****************</password>"),
            ("<password file='db'/> <b>x</b>", "<password file='db'/> <b>x</b>"),
            ("<db password = \"x y\" host='h'>z", "<db password = ** ** host='h'>z"),
            ("<!-- <password>old</password> -->", "<!-- <password>***</password> -->"),
            ("<bind_password>a", "<bind_password>*"),
            ("<host>h</host>", "<host>h</host>"),
            ("<url>redis://me:geheim@h:1/</url>", "<url>redis://me:******@h:1/</url>"),
            ("<url>http://h/a:b@c</url>", "<url>http://h/a:b@c</url>"),
            ("<header name='X'>h</header>", "<header name='X'>h</header>"),
            ("<header name='X-Api-Key'>k</header>", "<header name='X-Api-Key'>*</header>"),
            ("<header name=\"authorization\">B x", "<header name=\"authorization\">* *"),
        ] {
            assert_eq!(xml(text), expected);
        }
    }

    proptest! {
        #[test]
        fn every_octet_keeps_its_place(text in "(<|>|/|password|=|\"|'|</|é| |\n|<!\\[CDATA\\[|]]>|x){0,40}") {
            let hidden = xml(&text);
            prop_assert_eq!(hidden.len(), text.len());
            let line_ends = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(line_ends(&hidden), line_ends(&text));
        }
    }
}
