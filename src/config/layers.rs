//! Options of `<common>` that the environment or the command line overrides.
//!
//! The config crate decides which layer wins: the file, then the environment
//! (`MPPD_COMMON__LOG__LEVEL=debug`), then `--set common.log.level=debug`. What wins over the file
//! is written into the tree, with the place it comes from, so that whatever is wrong with it is
//! found and reported like everything else.

use std::collections::{BTreeMap, HashMap};

use config::{Config, ConfigError, Environment, Map, Source as _, Value, ValueKind};
use mppd_engine::config::{Origin, Source, SourceMap, nearest};
use mppd_engine::{Element, Finding, OptionDoc, Options as _, Span};

use super::merge::SECTIONS;
use super::settings::CommonOptions;

/// What the names of environment variables of mppd begin with.
const PREFIX: &str = "MPPD_";

/// The variable that names the configuration file; it overrides no option.
const FILE_VARIABLE: &str = "MPPD_CONFIG";

/// Applies the environment and the command line to `<common>`.
pub(super) fn apply(
    common: &mut Element,
    environment: &BTreeMap<String, String>,
    set: &[String],
    sources: &mut SourceMap,
    findings: &mut Vec<Finding>,
) {
    let options = scalar_options();
    let mut overrides = Overrides { options: &options, sources, findings };
    let variables = overrides.read_environment(environment);
    let settings = overrides.read_command_line(set);
    match layered(common, &options, &variables, &settings) {
        Ok(winners) => {
            for (path, value) in winners {
                put(common, &path, &value);
            }
        }
        Err(error) => findings.push(Finding::nowhere(format!("can't apply overrides: {error}"))),
    }
}

/// The paths of the options that can be overridden: `common.log.level`.
fn scalar_options() -> Vec<String> {
    let docs = CommonOptions::docs();
    let mut paths = Vec::new();
    for doc in &docs {
        if SECTIONS.contains(&doc.name) {
            let inner = doc.nested.iter().filter(|option| option.nested.is_empty());
            paths.extend(inner.map(|option| format!("common.{}.{}", doc.name, option.name)));
        } else if is_scalar(doc) {
            paths.push(format!("common.{}", doc.name));
        }
    }
    paths
}

fn is_scalar(doc: &OptionDoc) -> bool {
    doc.nested.is_empty() && !super::include::ENGINE_LISTS.contains(&doc.name)
}

/// The variable that overrides the option of this path.
fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', "__"))
}

/// A value from outside the file, and where it stands.
#[derive(Debug, Clone)]
struct Override {
    text: String,
    name_span: Span,
    text_span: Span,
}

struct Overrides<'a> {
    options: &'a [String],
    sources: &'a mut SourceMap,
    findings: &'a mut Vec<Finding>,
}

impl Overrides<'_> {
    /// A source that holds `before`, a name, `=` and a value.
    fn place(&mut self, origin: Origin, before: &str, name: &str, value: &str) -> Override {
        let text = format!("{before}{name}={value}");
        let source = self.sources.add(Source { origin, text });
        let name_span = Span { source, start: before.len(), end: before.len() + name.len() };
        let start = name_span.end + 1;
        let blank = value.len() - value.trim_start().len();
        let text_span = match value.trim() {
            "" => name_span,
            value => Span { source, start: start + blank, end: start + blank + value.len() },
        };
        Override { text: value.to_owned(), name_span, text_span }
    }

    /// The variables that override an option, by their names.
    fn read_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
    ) -> HashMap<String, Override> {
        let known: Vec<String> = self.options.iter().map(|path| variable_of(path)).collect();
        let mut found = HashMap::new();
        for (name, value) in environment {
            if !name.starts_with(PREFIX) || name == FILE_VARIABLE {
                continue;
            }
            let nearest = nearest(name, known.iter().map(String::as_str));
            // Where services are linked to containers, variables such as MPPD_PORT appear by
            // themselves; only what looks like an override is taken for a misspelt one.
            if !name.contains("__") && nearest.is_none() {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            let place = self.place(origin, "", name, value);
            if known.contains(name) {
                found.insert(name.clone(), place);
                continue;
            }
            let path = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            self.findings.push(unknown(place.name_span, name, &path, nearest));
        }
        found
    }

    /// What `--set` overrides, by path; the last one of a path counts.
    fn read_command_line(&mut self, set: &[String]) -> HashMap<String, Override> {
        let mut found = HashMap::new();
        for argument in set {
            let Some((path, value)) = argument.split_once('=') else {
                let text = format!("--set {argument}");
                let span = Span {
                    end: text.len(),
                    start: "--set ".len(),
                    source: self.sources.add(Source { origin: Origin::CommandLine, text }),
                };
                let finding = Finding::error(span, "\"=\" and a value are missing")
                    .with_help("for example: --set common.log.level=debug");
                self.findings.push(finding);
                continue;
            };
            let place = self.place(Origin::CommandLine, "--set ", path, value);
            let path = path.trim();
            if self.options.iter().any(|option| option == path) {
                found.insert(path.to_owned(), place);
                continue;
            }
            let nearest = nearest(path, self.options.iter().map(String::as_str));
            self.findings.push(unknown(place.name_span, path, path, nearest));
        }
        found
    }
}

/// A name that overrides nothing; `path` is what it would be the name of.
fn unknown(place: Span, name: &str, path: &str, nearest: Option<&str>) -> Finding {
    if is_declared(path) {
        let message = format!("\"{name}\" can't be overridden");
        return Finding::error(place, message)
            .with_help("only options that are a single value can be");
    }
    let finding = Finding::error(place, format!("\"{name}\" names no option"));
    finding.with_help(match nearest {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => "names are such as MPPD_COMMON__LOG__LEVEL and common.log.level".to_owned(),
    })
}

/// Whether there is such an option or section at all.
fn is_declared(path: &str) -> bool {
    let mut docs = CommonOptions::docs();
    names(path).all(|name| match docs.iter_mut().find(|doc| doc.name == name) {
        Some(doc) => {
            docs = std::mem::take(&mut doc.nested);
            true
        }
        None => false,
    }) && path.split('.').next() == Some("common")
}

/// The options that do not come from the file, each with its path.
fn layered(
    common: &Element,
    options: &[String],
    variables: &HashMap<String, Override>,
    settings: &HashMap<String, Override>,
) -> Result<Vec<(String, Override)>, ConfigError> {
    let values = variables.iter().map(|(name, place)| (name.clone(), place.text.clone()));
    let environment = Environment::with_prefix("MPPD")
        .prefix_separator("_")
        .separator("__")
        .ignore_empty(true)
        .source(Some(values.collect()));
    let layers = Config::builder()
        .add_source(Layer::of_file(common, options))
        .add_source(environment)
        .add_source(Layer::of_command_line(settings))
        .build()?;
    // Only the values as collected still know which layer they come from.
    let values = Value::new(None, layers.collect()?);
    let mut winners = Vec::new();
    for path in options {
        let Some(value) = value_at(&values, path) else { continue };
        let winner = match value.origin() {
            Some(FILE_LAYER) => None,
            Some(COMMAND_LINE_LAYER) => settings.get(path),
            _ => variables.get(&variable_of(path)),
        };
        winners.extend(winner.map(|place| (path.clone(), place.clone())));
    }
    Ok(winners)
}

fn value_at<'v>(values: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(values, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name),
        _ => None,
    })
}

const FILE_LAYER: &str = "file";
const COMMAND_LINE_LAYER: &str = "command line";

/// One layer, as the config crate wants it.
#[derive(Debug, Clone)]
struct Layer {
    origin: String,
    values: BTreeMap<String, String>,
}

impl Layer {
    fn of_file(common: &Element, options: &[String]) -> Self {
        let value = |path: &String| Some((path.clone(), written(common, path)?));
        let values = options.iter().filter_map(value).collect();
        Layer { origin: FILE_LAYER.to_owned(), values }
    }

    fn of_command_line(settings: &HashMap<String, Override>) -> Self {
        let value = |(path, place): (&String, &Override)| (path.clone(), place.text.clone());
        let values = settings.iter().map(value).collect();
        Layer { origin: COMMAND_LINE_LAYER.to_owned(), values }
    }
}

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |text: &String| Value::new(Some(&self.origin), ValueKind::String(text.clone()));
        Ok(self.values.iter().map(|(path, text)| (path.clone(), value(text))).collect())
    }
}

/// The names below `common` on the way to an option.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').skip(1)
}

/// What the file says for an option.
fn written(common: &Element, path: &str) -> Option<String> {
    let mut element = common;
    let mut names = names(path).peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none()
            && let Some(attribute) = element.attribute(name)
        {
            return Some(attribute.value.clone());
        }
        element = element.child(name)?;
    }
    Some(element.trimmed_text().to_owned())
}

/// Writes an option into the tree, in place of whatever the file says.
fn put(common: &mut Element, path: &str, value: &Override) {
    let mut sections: Vec<&str> = names(path).collect();
    let Some(option) = sections.pop() else { return };
    let mut element = common;
    for section in sections {
        element = child_or_new(element, section, value.name_span);
    }
    element.attributes.retain(|attribute| attribute.name != option);
    element.children.retain(|child| child.name != option);
    let mut written = empty(option, value.name_span);
    written.text.clone_from(&value.text);
    written.text_span = value.text_span;
    element.children.push(written);
}

fn child_or_new<'e>(parent: &'e mut Element, name: &str, place: Span) -> &'e mut Element {
    let at = parent.children.iter().position(|child| child.name == name);
    let at = at.unwrap_or_else(|| {
        // Another place than that of the option inside: elements are told apart by their places.
        parent.children.push(empty(name, Span { end: place.start, ..place }));
        parent.children.len() - 1
    });
    &mut parent.children[at]
}

fn empty(name: &str, place: Span) -> Element {
    Element {
        name: name.to_owned(),
        name_span: place,
        span: place,
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
        text_span: place,
    }
}
