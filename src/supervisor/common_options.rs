//! What every engine's element can say, understood.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mppd_engine::config::{DEFAULT_TIMEOUT, Period, ResultOptions, from_element, is_common_option};
use mppd_engine::language::{Patterns, Reference, Scope};
use mppd_engine::{Condition, Element, Finding, Span, Spanned, StatusDoc};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

use super::breaker::BreakerPlan;
use super::effect::{Effect, effect, exception_effect};
use super::results::{NamedResult, WrittenResult, check_names};

/// The option that is an element with options of its own.
const RESULT: &str = "result";

/// What every engine's element can say, understood.
#[derive(Debug, Clone)]
pub(super) struct Common {
    pub(super) precondition: Option<Condition>,
    pub(super) effects: HashMap<&'static str, Effect>,
    pub(super) timeout: Duration,
    pub(super) on_exception: Option<Effect>,
    pub(super) breaker: BreakerPlan,
    pub(super) dry_run: bool,
    pub(super) results: Vec<NamedResult>,
    /// What the precondition refers to.
    pub(super) before: Vec<Reference>,
    /// What the results and effects refer to.
    pub(super) after: Vec<Reference>,
    /// The IDs of the engines whose regular expressions are asked for.
    pub(super) used_patterns: BTreeSet<String>,
    /// What will work, but probably not as meant.
    pub(super) warnings: Vec<Finding>,
    /// Where the options stand that were given.
    pub(super) places: HashMap<String, Span>,
}

/// Common options at fault.
#[derive(Debug)]
pub(super) struct Faulty {
    /// Everything that is wrong with them, each with its place.
    pub(super) findings: Vec<Finding>,
    /// What their texts refer to, as far as they could be read.
    pub(super) references: Vec<Reference>,
}

/// The common options of one element, or of a method's over those of its engine's, as written.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    options: Vec<WrittenOption>,
    results: Vec<WrittenResult>,
}

#[derive(Debug, Clone)]
struct WrittenOption {
    name: Spanned<String>,
    value: Spanned<String>,
}

/// The kind's part: what an engine can come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declared<'a> {
    pub(super) statuses: &'static [StatusDoc],
    /// The names of its values.
    pub(super) values: &'a [Cow<'static, str>],
    /// Place of what the kind declares, for want of a better one.
    pub(super) element: Span,
}

impl Written {
    /// Collects the common options of an element.
    pub(super) fn of(element: &Element, findings: &mut Vec<Finding>) -> Self {
        let mut written = Written::default();
        let attributes = element
            .attributes
            .iter()
            .map(|a| (&*a.name, a.name_span, a.value.as_str(), a.value_span));
        let children = element
            .children
            .iter()
            .filter(|child| child.name != RESULT)
            .map(|c| (&*c.name, c.name_span, c.trimmed_text(), c.text_span));
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (name, name_span, text, text_span) in attributes.chain(children) {
            if name == "id" || !is_common_option(name) {
                continue;
            }
            if name == RESULT {
                let finding = Finding::error(name_span, "a result is an element, <result>");
                findings.push(finding);
            } else if let Some(first) = seen.insert(name, name_span) {
                let finding = Finding::error(name_span, format!("\"{name}\" is given twice"));
                findings.push(finding.with_related(first, "first here"));
            } else {
                let name = Spanned { value: name.to_owned(), span: name_span };
                let value = Spanned { value: text.to_owned(), span: text_span };
                written.options.push(WrittenOption { name, value });
            }
        }
        for child in element.children_named(RESULT) {
            match from_element::<ResultOptions>(child, |_| false) {
                Ok(options) => written.results.push(WrittenResult::of(options, child.name_span)),
                Err(faults) => findings.extend(faults),
            }
        }
        findings.extend(check_names(&written.results, |_| false));
        written
    }

    /// These options, and those of the others that are not among them.
    pub(super) fn over(mut self, others: &Written) -> Self {
        let is_new = |option: &&WrittenOption| {
            !self.options.iter().any(|own| own.name.value == option.name.value)
        };
        let options: Vec<_> = others.options.iter().filter(is_new).cloned().collect();
        let is_new = |result: &&WrittenResult| {
            !self.results.iter().any(|own| own.name.value == result.name.value)
        };
        let mut results: Vec<_> = others.results.iter().filter(is_new).cloned().collect();
        self.options.extend(options);
        // The method's own results may use those that hold for the whole engine.
        results.append(&mut self.results);
        self.results = results;
        self
    }

    /// How long one run may take; as if it said nothing where what it says is wrong.
    pub(super) fn timeout(&self) -> Duration {
        let option = self.options.iter().find(|option| option.name.value == "timeout");
        let period = option.and_then(|option| period(&option.value.as_deref()).ok());
        period.unwrap_or(DEFAULT_TIMEOUT.0)
    }

    /// The names of the options that each of these others gives as well; none without others.
    pub(super) fn given_by_all<'w>(
        &'w self,
        others: &'w [Written],
    ) -> impl Iterator<Item = &'w Spanned<String>> {
        let names = self.options.iter().map(|option| &option.name);
        names.filter(move |name| {
            let gives =
                |other: &Written| other.options.iter().any(|own| own.name.value == name.value);
            !others.is_empty() && others.iter().all(gives)
        })
    }

    /// What is left without the texts that may use what the engine comes to.
    pub(super) fn without_own_values(&self) -> Self {
        let has_none = |option: &&WrittenOption| {
            option.name.value == "precondition" || !option.value.value.contains('$')
        };
        Written {
            options: self.options.iter().filter(has_none).cloned().collect(),
            results: Vec::new(),
        }
    }

    /// Compiles the options of one engine.
    ///
    /// # Errors
    /// Everything that is wrong with them, each with its place.
    pub(super) fn compile(
        &self,
        declared: &Declared<'_>,
        patterns: &Arc<Patterns>,
    ) -> Result<Common, Faulty> {
        let values = declared.values;
        let mut findings = check_names(&self.results, |name| values.iter().any(|v| v == name));
        let mut compiler = Compiler {
            common: Common::default(),
            before: Scope::before(patterns.clone()),
            after: Scope::after(patterns.clone(), values.to_vec()),
        };
        compiler.results(&self.results, values, patterns, &mut findings);
        compiler.defaults(declared, &mut findings);
        for option in &self.options {
            if let Err(faults) = compiler.option(option) {
                findings.extend(faults);
            }
        }
        compiler.keep_what_was_noted();
        let common = compiler.common;
        if findings.is_empty() { Ok(common) } else { Err(common.at_fault(findings)) }
    }
}

impl Common {
    /// What is left of them where something is wrong.
    pub(super) fn at_fault(mut self, findings: Vec<Finding>) -> Faulty {
        self.before.append(&mut self.after);
        Faulty { findings, references: self.before }
    }
}

impl Default for Common {
    fn default() -> Self {
        Common {
            precondition: None,
            effects: HashMap::new(),
            timeout: DEFAULT_TIMEOUT.0,
            on_exception: None,
            breaker: BreakerPlan::default(),
            dry_run: false,
            results: Vec::new(),
            before: Vec::new(),
            after: Vec::new(),
            used_patterns: BTreeSet::new(),
            warnings: Vec::new(),
            places: HashMap::new(),
        }
    }
}

struct Compiler {
    common: Common,
    before: Scope,
    after: Scope,
}

impl Compiler {
    /// What the texts compiled so far refer to and use, and what is said of them.
    fn keep_what_was_noted(&mut self) {
        let Compiler { common, before, after } = self;
        common.before.extend(before.take_references());
        common.after.extend(after.take_references());
        for scope in [before, after] {
            common.used_patterns.append(&mut scope.take_used_patterns());
            common.warnings.extend(scope.take_warnings());
        }
    }

    /// Each result sees the engine's values and the results before it; the effects see all.
    fn results(
        &mut self,
        written: &[WrittenResult],
        values: &[Cow<'static, str>],
        patterns: &Arc<Patterns>,
        findings: &mut Vec<Finding>,
    ) {
        let mut known = values.to_vec();
        for result in written {
            match NamedResult::compile(result, &mut self.after) {
                Ok(result) => self.common.results.push(result),
                Err(faults) => findings.extend(faults),
            }
            self.keep_what_was_noted();
            known.push(result.name.value.clone().into());
            self.after = Scope::after(patterns.clone(), known.clone());
        }
    }

    fn defaults(&mut self, declared: &Declared<'_>, findings: &mut Vec<Finding>) {
        for status in declared.statuses {
            let text = Spanned { value: status.default_action, span: declared.element };
            match effect(&text, &mut self.after) {
                Ok(effect) => {
                    self.common.effects.insert(status.name, effect);
                }
                Err(faults) => findings.extend(faults),
            }
        }
    }

    fn option(&mut self, option: &WrittenOption) -> Result<(), Vec<Finding>> {
        let (name, value) = (option.name.as_deref(), option.value.as_deref());
        let common = &mut self.common;
        match name.value {
            "timeout" => common.timeout = period(&value)?,
            "breaker_failures" => common.breaker.failures = number(&value)?,
            "breaker_pause" => common.breaker.pause = period(&value)?,
            "dry_run" => common.dry_run = truth(&value)?,
            "precondition" => {
                common.precondition = Some(Condition::compile(&value, &mut self.before)?);
            }
            "on_exception" => {
                common.on_exception = Some(exception_effect(&value, &mut self.after)?);
            }
            on_status => {
                let status = on_status.strip_prefix("on_").unwrap_or(on_status);
                let Some(slot) = common.effects.get_mut(status) else {
                    return Err(vec![unknown_status(&name, &common.effects)]);
                };
                *slot = effect(&value, &mut self.after)?;
            }
        }
        common.places.insert(option.name.value.clone(), option.value.span);
        Ok(())
    }
}

fn unknown_status(name: &Spanned<&str>, effects: &HashMap<&'static str, Effect>) -> Finding {
    let mut known: Vec<String> = effects.keys().map(|status| format!("on_{status}")).collect();
    known.push("on_exception".to_owned());
    known.sort();
    Finding::unknown(name.span, "option", name.value, known.iter().map(String::as_str))
}

fn period(text: &Spanned<&str>) -> Result<Duration, Vec<Finding>> {
    let value: StrDeserializer<'_, serde::de::value::Error> = text.value.into_deserializer();
    match Period::deserialize(value) {
        Ok(period) if period.0.is_zero() => {
            Err(vec![Finding::error(text.span, "0 makes no sense here")])
        }
        Ok(period) => Ok(period.0),
        Err(error) => Err(vec![Finding::error(text.span, error.to_string())]),
    }
}

fn number(text: &Spanned<&str>) -> Result<u32, Vec<Finding>> {
    text.value.parse().map_err(|_| {
        let message = format!("\"{}\" is not a number", text.value);
        vec![Finding::error(text.span, message).with_help("0 for never, or such as 5")]
    })
}

fn truth(text: &Spanned<&str>) -> Result<bool, Vec<Finding>> {
    match text.value {
        "true" | "yes" => Ok(true),
        "false" | "no" => Ok(false),
        other => {
            let message = format!("\"{other}\" is neither true nor false");
            Err(vec![Finding::error(text.span, message)])
        }
    }
}
