//! The paths of includes: the part of `XPath` that names elements from the outermost one down, such
//! as `/mppd/groups/group[@id="default"]`.

use std::ops::Range;

use mppd_engine::Element;

use super::xml::characters;

/// What is understood, for reports.
pub(super) const SUPPORTED: &str = "a path names elements from the outermost one down, each with \
     attributes if needed: /mppd/groups/group[@id=\"default\"]";

/// A path to elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// The outermost element first; never empty.
    pub(super) steps: Vec<Step>,
}

/// One element on the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) predicates: Vec<Predicate>,
    /// Where it stands in the text of the path.
    pub(super) range: Range<usize>,
}

/// `[@attribute="value"]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Predicate {
    pub(super) attribute: String,
    pub(super) value: String,
}

/// Why a text is not such a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: &'static str,
    /// Where in the text.
    pub(super) range: Range<usize>,
}

impl Predicate {
    /// Whether the element meets it; `None` where it does not have the attribute.
    pub(super) fn holds(&self, element: &Element) -> Option<bool> {
        element.attribute(&self.attribute).map(|attribute| attribute.value == self.value)
    }
}

/// Reads a path.
pub(super) fn parse(text: &str) -> Result<Path, Fault> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_blanks();
    let mut steps = Vec::new();
    while !reader.rest().is_empty() {
        steps.push(reader.step()?);
    }
    if steps.is_empty() {
        return Err(reader.fault("the path is empty"));
    }
    Ok(Path { steps })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault(&self, message: &'static str) -> Fault {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        Fault { message, range: self.at..self.at + length }
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, expected: char) -> bool {
        let found = self.rest().starts_with(expected);
        self.at += if found { expected.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, expected: char, message: &'static str) -> Result<(), Fault> {
        if self.take(expected) { Ok(()) } else { Err(self.fault(message)) }
    }

    fn name(&mut self, message: &'static str) -> Result<&'t str, Fault> {
        let rest = self.rest();
        let end = rest.find(|character| !characters::continues_name(character));
        let name = &rest[..end.unwrap_or(rest.len())];
        // A dot continues names, but "." and ".." are steps of their own in XPath.
        if !characters::is_name(name) {
            return Err(self.fault(message));
        }
        self.at += name.len();
        Ok(name)
    }

    fn step(&mut self) -> Result<Step, Fault> {
        let missing_slash = match self.at {
            0 => "the path must begin with \"/\"",
            _ => "\"/\", \"[\" or the end of the path is expected here",
        };
        self.expect('/', missing_slash)?;
        let start = self.at;
        let name = self.name("the name of an element is expected here")?.to_owned();
        let mut predicates = Vec::new();
        let mut end = self.at;
        self.skip_blanks();
        while self.take('[') {
            predicates.push(self.predicate()?);
            end = self.at;
            self.skip_blanks();
        }
        Ok(Step { name, predicates, range: start..end })
    }

    fn predicate(&mut self) -> Result<Predicate, Fault> {
        self.skip_blanks();
        self.expect('@', "only attributes can be asked for: [@name=\"value\"]")?;
        let attribute = self.name("the name of an attribute is expected here")?.to_owned();
        self.skip_blanks();
        self.expect('=', "\"=\" is expected here")?;
        self.skip_blanks();
        let value = self.quoted()?.to_owned();
        self.skip_blanks();
        self.expect(']', "\"]\" is expected here")?;
        Ok(Predicate { attribute, value })
    }

    fn quoted(&mut self) -> Result<&'t str, Fault> {
        let Some(quote) = self.rest().chars().next().filter(|quote| matches!(quote, '"' | '\''))
        else {
            return Err(self.fault("a value in quotes is expected here"));
        };
        let inside = &self.rest()[1..];
        let Some(length) = inside.find(quote) else {
            return Err(self.fault("this quote is not closed"));
        };
        self.at += length + 2;
        Ok(&inside[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_predicates_are_read() {
        let text = "/mppd/groups/group[ @id = \"a/b\" ][@x='\"']";
        let path = parse(text).unwrap();
        let names: Vec<&str> = path.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["mppd", "groups", "group"]);
        let predicate = |attribute: &str, value: &str| Predicate {
            attribute: attribute.to_owned(),
            value: value.to_owned(),
        };
        assert_eq!(path.steps[2].predicates, [predicate("id", "a/b"), predicate("x", "\"")]);
        assert_eq!(&text[path.steps[2].range.clone()], "group[ @id = \"a/b\" ][@x='\"']");
    }

    #[test]
    fn what_is_not_understood_is_refused_at_its_place() {
        for (text, at) in [
            ("", 0),
            ("mppd", 0),
            ("/", 1),
            ("//mppd", 1),
            ("/mppd/", 6),
            ("/mppd/..", 6),
            ("/mppd/*", 6),
            ("/mppd/@id", 6),
            ("/mppd[1]", 6),
            ("/mppd[@id]", 9),
            ("/mppd[@id=x]", 10),
            ("/mppd[@id='x]", 10),
            ("/mppd[@id='x'", 13),
            ("/mppd/text()", 10),
            ("/mppd | /x", 6),
            ("/größe[@ä='ö'", 17),
        ] {
            assert_eq!(parse(text).unwrap_err().range.start, at, "{text}");
        }
    }
}
