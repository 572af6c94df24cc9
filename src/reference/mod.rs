//! The reference of every option, engine, method, status, macro and metric, made from the declarations that
//! the parser uses: as Markdown, and for the pages of [`crate::manual`].
//!
//! `docs/reference.md` is this text; `cargo run -- reference > docs/reference.md` renews it.

mod document;

use mppd_engine::config::{OptionDoc, common_option_docs};
use mppd_engine::language::{self, MacroDoc, MacroFamily};
use mppd_engine::{EngineKind, Stage, Stages};

pub(crate) use self::document::{Block, Document, Table};
use crate::config::settings;
use crate::metrics::declared;

/// The field that stands for the text of an element.
const TEXT: &str = "$text";

/// Stands where an option has no default.
pub(crate) const MUST_BE_GIVEN: &str = "must be given";

const INTRODUCTION: [&str; 2] = [
    "\
Every option, engine, method, status, macro and metric, as `mppd reference` prints it from the declarations that
the parser uses.",
    "\
An option is an attribute or a child element of its own name. One whose value is an element has a
table of its own, headed by the path to it.",
];

const ENGINES: &str = "An engine computes a status. What that does to the mail is configuration: the option `on_STATUS`.";

/// The whole reference as Markdown, with these kinds of engines.
#[must_use]
pub fn markdown(kinds: &[&dyn EngineKind]) -> String {
    whole(kinds).markdown()
}

/// The whole reference, with these kinds of engines.
pub(crate) fn whole(kinds: &[&dyn EngineKind]) -> Document {
    let mut page = Page::default();
    page.document.heading(1, "Reference");
    for text in INTRODUCTION {
        page.document.paragraph(text);
    }
    page.document.heading(2, "Outside the engines");
    page.outside(3);
    page.document.heading(2, "Engines");
    page.document.paragraph(ENGINES);
    page.document.heading(3, "Options of every engine");
    page.with_elements(4, "", &common_option_docs());
    for kind in kinds {
        page.engine(3, *kind);
    }
    page.document.heading(2, "Macros");
    page.macros(3);
    page.document.heading(2, "Metrics");
    page.metrics(3);
    page.document
}

/// The reference of the macros alone.
pub(crate) fn macros() -> Document {
    let mut page = Page::default();
    page.document.heading(1, "Macros");
    page.macros(2);
    page.document
}

/// The reference of the metrics alone.
pub(crate) fn metrics() -> Document {
    let mut page = Page::default();
    page.document.heading(1, "Metrics");
    page.metrics(2);
    page.document
}

/// The reference of the options alone: those outside the engines, and those that every engine has.
pub(crate) fn options() -> Document {
    let mut page = Page::default();
    page.document.heading(1, "Options");
    page.document.paragraph(INTRODUCTION[1]);
    page.outside(2);
    page.document.heading(2, "Options of every engine");
    page.with_elements(3, "", &common_option_docs());
    page.document
}

/// The reference of one kind of engine.
pub(crate) fn engine(kind: &dyn EngineKind) -> Document {
    let mut page = Page::default();
    page.engine(1, kind);
    page.document
}

/// What is to be said of one kind of engine, by headings.
pub(crate) fn engine_parts(kind: &dyn EngineKind) -> Vec<(&'static str, Document)> {
    let part = |write: fn(&mut Page, &dyn EngineKind)| {
        let mut page = Page::default();
        write(&mut page, kind);
        page.document
    };
    let mut parts = vec![
        ("Description", part(Page::about)),
        ("Methods", part(Page::methods)),
        ("Options", part(|page, kind| page.own_options(2, kind))),
        ("Statuses", part(Page::statuses)),
        ("Values", part(Page::values)),
    ];
    parts.retain(|(_, document)| !document.blocks().is_empty());
    parts
}

/// Everything that no kind of engine has for itself: what is outside the engines, what every engine
/// has, and the macros. The headings of its parts have the level 1.
pub(crate) fn without_engines() -> Document {
    let mut page = Page::default();
    page.document.heading(1, "Outside the engines");
    page.outside(2);
    page.document.heading(1, "Options of every engine");
    page.with_elements(2, "", &common_option_docs());
    page.document.heading(1, "Macros");
    page.macros(2);
    page.document
}

const MACROS: &str = "\
Every macro of templates and conditions. One without arguments is written `$name`, or `${name}` where
text follows that would belong to the name; one with arguments `${name argument …}`. Arguments in
square brackets may be left out. How texts and conditions are written is in
[language.md](language.md). The examples are about this request, which the engine `wbl` has refused:
";

const METRICS: &str = "\
What `/metrics` of the admin listener tells Prometheus. A histogram NAME is told as `NAME_bucket`,
`NAME_sum` and `NAME_count`, a summary as the latter two. [monitoring.md](monitoring.md) says how to
watch over mppd with them.";

fn some_stages(stages: Stages) -> Option<String> {
    let names = Stage::ALL.iter().filter(|stage| stages.contains(**stage));
    let names: Vec<String> = names.map(|stage| format!("`{stage}`")).collect();
    (names.len() < Stage::ALL.len()).then(|| names.join(", "))
}

/// The line of a macro, and those of its parts.
fn macro_rows(entry: &MacroDoc) -> Vec<Vec<String>> {
    let name = match entry.arguments {
        "" => format!("`${}`", entry.name),
        arguments if arguments.starts_with('[') => {
            format!("`${0}`, `${{{0} {arguments}}}`", entry.name)
        }
        arguments => format!("`${{{} {arguments}}}`", entry.name),
    };
    let mut meaning = entry.meaning.to_owned();
    if let Some(stages) = some_stages(entry.stages) {
        meaning = format!("{meaning} It can have a value at {stages} only.");
    }
    let examples: Vec<String> = entry.examples.iter().map(example).collect();
    let mut rows = vec![vec![name, meaning, examples.join(", ")]];
    for part in entry.parts {
        let name = format!("`${}.{}`", entry.name, part.form);
        rows.push(vec![name, part.meaning.to_owned(), example(&part.example)]);
    }
    rows
}

fn example((text, result): &(&str, &str)) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut shown = String::new();
    for letter in result.chars() {
        match letter {
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    if shown.is_empty() {
        return format!("`{text}` is empty");
    }
    format!("`{text}` is `{shown}`")
}

/// A document, and what it takes to write one about options.
#[derive(Default)]
struct Page {
    document: Document,
}

/// The elements that have a table, by path, so that none is told twice.
type Told = Vec<(String, Vec<OptionDoc>)>;

impl Page {
    fn outside(&mut self, level: usize) {
        for (name, options) in settings::reference() {
            self.elements(level, name, &options);
        }
    }

    fn engine(&mut self, level: usize, kind: &dyn EngineKind) {
        let name = kind.name();
        self.document.heading(level, format!("`<{name}>`"));
        self.about(kind);
        self.methods(kind);
        if !kind.options().is_empty() {
            self.document.heading(level + 1, format!("`{name}`"));
        }
        self.own_options(level + 1, kind);
        self.document.heading(level + 1, format!("Statuses of `{name}`"));
        self.statuses(kind);
        if !kind.values().is_empty() {
            self.document.heading(level + 1, format!("Values of `{name}`"));
            self.values(kind);
        }
    }

    fn about(&mut self, kind: &dyn EngineKind) {
        self.document.paragraph(format!("{}.", capitalised(kind.summary())));
        if let Some(stages) = some_stages(kind.stages()) {
            self.document.paragraph(format!("It runs at {stages} only."));
        }
    }

    fn methods(&mut self, kind: &dyn EngineKind) {
        let methods = kind.methods().iter();
        let methods: Vec<Vec<String>> = methods
            .map(|method| vec![format!("`ID.{}`", method.name), method.meaning.to_owned()])
            .collect();
        if !methods.is_empty() {
            self.document.table(&["Method", "Meaning"], methods);
        }
    }

    /// The options that the kind declares; the elements inside have headings of this level.
    fn own_options(&mut self, level: usize, kind: &dyn EngineKind) {
        match kind.options() {
            options if options.is_empty() => {
                self.document.paragraph("It has no options of its own.");
            }
            options => self.with_elements(level, kind.name(), &options),
        }
    }

    fn statuses(&mut self, kind: &dyn EngineKind) {
        let statuses = kind.statuses().iter().map(|status| {
            let (name, default) = (status.name, status.default_action);
            vec![format!("`{name}`"), status.meaning.to_owned(), format!("`{default}`")]
        });
        self.document.table(&["Status", "Meaning", "`on_STATUS` unless given"], statuses);
    }

    fn values(&mut self, kind: &dyn EngineKind) {
        let values = kind.values().iter();
        let values: Vec<Vec<String>> = values
            .map(|value| vec![format!("`{}`", value.name), value.meaning.to_owned()])
            .collect();
        if !values.is_empty() {
            self.document.table(&["Value", "Meaning"], values);
        }
    }

    /// What is below the heading of the metrics.
    fn metrics(&mut self, level: usize) {
        self.document.paragraph(METRICS);
        for section in declared::SECTIONS {
            self.document.heading(level, section.title);
            let rows = section.metrics.iter().map(|metric| {
                let labels: Vec<String> =
                    metric.labels.iter().map(|label| format!("`{label}`")).collect();
                let (name, kind) = (format!("`{}`", metric.name), metric.kind.name().to_owned());
                vec![name, kind, labels.join(", "), metric.help().to_owned()]
            });
            self.document.table(&["Metric", "Kind", "Labels", "Meaning"], rows);
        }
    }

    /// What is below the heading of the macros.
    fn macros(&mut self, level: usize) {
        self.document.paragraph(MACROS);
        let attributes = language::example_attributes().iter();
        let lines: Vec<String> =
            attributes.map(|(name, value)| format!("{name}={value}")).collect();
        self.document.code(lines.join("\n"));
        for family in MacroFamily::ALL {
            self.document.heading(level, family.title());
            let entries = language::macros().iter().filter(|entry| entry.family == *family);
            self.document.table(&["Macro", "Meaning", "Example"], entries.flat_map(macro_rows));
        }
    }

    /// An element with its options, and every element inside.
    fn elements(&mut self, level: usize, path: &str, options: &[OptionDoc]) {
        self.document.heading(level, format!("`{path}`"));
        self.with_elements(level, path, options);
    }

    /// Options that have a heading already, and every element inside.
    fn with_elements(&mut self, level: usize, path: &str, options: &[OptionDoc]) {
        let mut told = vec![(path.to_owned(), options.to_vec())];
        self.options(path, options, &mut told);
        let mut next = 1;
        while let Some((path, options)) = told.get(next).cloned() {
            self.document.heading(level, format!("`{path}`"));
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
        self.document.table(&["Option", "Value", "Unless given", "Meaning"], rows);
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
        None => MUST_BE_GIVEN.to_owned(),
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
        let page = include_str!("../../docs/reference.md");
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
    fn every_macro_and_every_part_has_its_line() {
        let page = macros().markdown();
        for entry in language::macros() {
            assert!(
                page.contains(&format!("`${}`", entry.name))
                    || page.contains(&format!("`${{{} ", entry.name))
            );
            for part in entry.parts {
                assert!(page.contains(&format!("| `${}.{}` |", entry.name, part.form)));
            }
        }
        assert!(markdown(mppd_engines::ENGINES).contains("## Macros\n"));
    }

    #[test]
    fn every_metric_has_its_line() {
        let page = markdown(mppd_engines::ENGINES);
        for metric in declared::all() {
            let row = format!("| `{}` | {} |", metric.name, metric.kind.name());
            assert!(page.contains(&row), "{row}");
        }
    }
}
