//! The reference of every option, engine, method and status as Markdown, made from the
//! declarations that the parser uses.
//!
//! `docs/reference.md` is this text; `cargo run -- reference > docs/reference.md` renews it.

use mppd_engine::config::{OptionDoc, common_option_docs};
use mppd_engine::{EngineKind, Stage};

use crate::config::settings;

/// The field that stands for the text of an element.
const TEXT: &str = "$text";

const INTRODUCTION: &str = "\
# Reference

Every option, engine, method and status, as `mppd reference` prints it from the declarations that
the parser uses.

An option is an attribute or a child element of its own name. One whose value is an element has a
table of its own, headed by the path to it.
";

const ENGINES: &str = "
## Engines

An engine computes a status. What that does to the mail is configuration: the option `on_STATUS`.

### Options of every engine
";

/// The whole reference, with these kinds of engines.
#[must_use]
pub fn markdown(kinds: &[&dyn EngineKind]) -> String {
    let mut page = Page { text: INTRODUCTION.to_owned() };
    page.line("\n## Outside the engines");
    for (name, options) in settings::reference() {
        page.elements("###", name, &options);
    }
    page.text.push_str(ENGINES);
    page.with_elements("####", "", &common_option_docs());
    for kind in kinds {
        page.engine(*kind);
    }
    page.text
}

struct Page {
    text: String,
}

/// The elements that have a table, by path, so that none is told twice.
type Told = Vec<(String, Vec<OptionDoc>)>;

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn table(&mut self, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        self.line("");
        self.line(&format!("| {} |", columns.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(columns.len())));
        for row in rows {
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            self.line(&format!("| {} |", cells.join(" | ")));
        }
    }

    fn engine(&mut self, kind: &dyn EngineKind) {
        let name = kind.name();
        self.line(&format!("\n### `<{name}>`\n\n{}.", capitalised(kind.summary())));
        self.stages(kind);
        let methods = kind.methods().iter();
        let methods: Vec<Vec<String>> = methods
            .map(|method| vec![format!("`ID.{}`", method.name), method.meaning.to_owned()])
            .collect();
        if !methods.is_empty() {
            self.table(&["Method", "Meaning"], methods);
        }
        let options = kind.options();
        if options.is_empty() {
            self.line("\nIt has no options of its own.");
        } else {
            self.elements("####", name, &options);
        }
        let statuses = kind.statuses().iter().map(|status| {
            let (name, default) = (status.name, status.default_action);
            vec![format!("`{name}`"), status.meaning.to_owned(), format!("`{default}`")]
        });
        self.line(&format!("\n#### Statuses of `{name}`"));
        self.table(&["Status", "Meaning", "`on_STATUS` unless given"], statuses);
        let values = kind.values().iter();
        let values: Vec<Vec<String>> = values
            .map(|value| vec![format!("`{}`", value.name), value.meaning.to_owned()])
            .collect();
        if !values.is_empty() {
            self.line(&format!("\n#### Values of `{name}`"));
            self.table(&["Value", "Meaning"], values);
        }
    }

    fn stages(&mut self, kind: &dyn EngineKind) {
        let stages = Stage::ALL.iter().filter(|stage| kind.stages().contains(**stage));
        let stages: Vec<String> = stages.map(|stage| format!("`{stage}`")).collect();
        if stages.len() < Stage::ALL.len() {
            self.line(&format!("\nIt runs at {} only.", stages.join(", ")));
        }
    }

    /// An element with its options, and every element inside.
    fn elements(&mut self, heading: &str, path: &str, options: &[OptionDoc]) {
        self.line(&format!("\n{heading} `{path}`"));
        self.with_elements(heading, path, options);
    }

    /// Options that have a heading already, and every element inside.
    fn with_elements(&mut self, heading: &str, path: &str, options: &[OptionDoc]) {
        let mut told = vec![(path.to_owned(), options.to_vec())];
        self.options(path, options, &mut told);
        let mut next = 1;
        while let Some((path, options)) = told.get(next).cloned() {
            self.line(&format!("\n{heading} `{path}`"));
            self.options(&path, &options, &mut told);
            next += 1;
        }
    }

    fn options(&mut self, path: &str, options: &[OptionDoc], told: &mut Told) {
        let rows: Vec<Vec<String>> = options
            .iter()
            .map(|option| {
                let name = match option.name {
                    TEXT => "(the text)".to_owned(),
                    name => format!("`{name}`"),
                };
                vec![name, value(path, option, told), default(option), meaning(option)]
            })
            .collect();
        self.table(&["Option", "Value", "Unless given", "Meaning"], rows);
    }
}

fn value(path: &str, option: &OptionDoc, told: &mut Told) -> String {
    if option.nested.is_empty() {
        return option.value.to_owned();
    }
    if let Some((path, _)) = told.iter().find(|(_, options)| *options == option.nested) {
        return format!("{}, see `{path}`", option.value);
    }
    let path = format!("{path}.{}", option.name).trim_start_matches('.').to_owned();
    let value = format!("{}, see `{path}`", option.value);
    told.push((path, option.nested.clone()));
    value
}

fn default(option: &OptionDoc) -> String {
    match option.default.as_deref() {
        None => "must be given".to_owned(),
        Some("") => String::new(),
        Some(words) if words.contains([' ', '`']) => words.to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters.as_str().chars()).collect()
    })
}

/// The doc comment of an option, whose lines each begin with a blank.
fn meaning(option: &OptionDoc) -> String {
    option.meaning.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_documentation_is_current() {
        let page = include_str!("../docs/reference.md");
        let current = markdown(mppd_engines::ENGINES);
        assert!(
            page.trim_end() == current.trim_end(),
            "docs/reference.md is old; cargo run -- reference > docs/reference.md"
        );
    }

    #[test]
    fn every_engine_status_and_method_has_its_line() {
        let page = markdown(mppd_engines::ENGINES);
        for kind in mppd_engines::ENGINES {
            assert!(page.contains(&format!("### `<{}>`", kind.name())));
            for status in kind.statuses() {
                let row = format!("| `{}` | {} |", status.name, status.meaning);
                assert!(page.contains(&row), "{row}");
            }
            for method in kind.methods() {
                assert!(page.contains(&format!("| `ID.{}` |", method.name)));
            }
        }
    }

    #[test]
    fn an_element_that_stands_in_two_places_is_told_once() {
        let page = markdown(mppd_engines::ENGINES);
        assert!(page.contains("#### `wbl.white`\n"));
        assert!(page.contains("| `black` | an element, see `wbl.white` |"));
        assert!(!page.contains("#### `wbl.black`\n"));
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let mut page = Page { text: String::new() };
        page.table(&["a"], [vec!["x|y".to_owned()]]);
        assert_eq!(page.text, "\n| a |\n| --- |\n| x\\|y |\n");
    }
}
