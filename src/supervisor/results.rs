//! Named results: what an engine gives besides its own values, as `<result>` says.

use std::collections::HashMap;

use mppd_engine::config::{CaseOptions, DEFAULT_RESULT, ResultOptions};
use mppd_engine::language::{LONGEST, Scope};
use mppd_engine::{Condition, Finding, NamedValue, Span, Spanned, Template, View};

/// The names that mean something else behind `$engines.ID.`.
const TAKEN: &[&str] = &["status", "text"];

/// A value that an engine gives besides its own.
#[derive(Debug, Clone)]
pub struct NamedResult {
    /// Its name.
    pub name: String,
    cases: Vec<(Condition, Template)>,
    otherwise: Template,
}

impl NamedResult {
    /// Its value behind one run of the engine.
    #[must_use]
    pub fn evaluate(&self, view: &View<'_>) -> NamedValue {
        let case = self.cases.iter().find(|(condition, _)| condition.holds(view));
        let template = case.map_or(&self.otherwise, |(_, template)| template);
        let mut value = template.evaluate(view).into_owned();
        value.truncate(LONGEST);
        NamedValue { name: self.name.clone().into(), value }
    }

    /// Compiles what the element says.
    pub(super) fn compile(
        written: &WrittenResult,
        scope: &mut Scope,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut cases = Vec::new();
        for case in &written.options.case {
            match compile_case(case, scope) {
                Ok(case) => cases.push(case),
                Err(faults) => findings.extend(faults),
            }
        }
        let otherwise = match written.otherwise(&mut findings) {
            Some(text) => Template::compile(&text.as_deref(), scope),
            None => Ok(Template::constant("")),
        };
        match otherwise {
            Ok(otherwise) if findings.is_empty() => {
                Ok(NamedResult { name: written.name.value.clone(), cases, otherwise })
            }
            Ok(_) => Err(findings),
            Err(faults) => {
                findings.extend(faults);
                Err(findings)
            }
        }
    }
}

fn compile_case(
    case: &CaseOptions,
    scope: &mut Scope,
) -> Result<(Condition, Template), Vec<Finding>> {
    let condition = Condition::compile(&case.condition.as_deref(), scope);
    let result = Template::compile(&case.result.as_deref(), scope);
    match (condition, result) {
        (Ok(condition), Ok(result)) => Ok((condition, result)),
        (condition, result) => {
            let faults = condition.err().into_iter().chain(result.err());
            Err(faults.flatten().collect())
        }
    }
}

/// A `<result>` as the configuration writes it.
#[derive(Debug, Clone)]
pub(super) struct WrittenResult {
    pub(super) name: Spanned<String>,
    options: ResultOptions,
}

impl WrittenResult {
    pub(super) fn of(options: ResultOptions, element: Span) -> Self {
        let unnamed = || Spanned { value: DEFAULT_RESULT.to_owned(), span: element };
        WrittenResult { name: options.id.clone().unwrap_or_else(unnamed), options }
    }

    /// What the result is when no case applies.
    fn otherwise(&self, findings: &mut Vec<Finding>) -> Option<&Spanned<String>> {
        let ResultOptions { case, default, text, .. } = &self.options;
        if let Some(text) = text.as_ref().filter(|_| !case.is_empty() || default.is_some()) {
            let message = "text is not expected here beside <case> and <default>";
            let finding = Finding::error(text.span, message);
            findings.push(finding.with_help("what holds otherwise stands in <default>"));
        }
        default.as_ref().or(text.as_ref())
    }
}

/// What is wrong with the names of one element's results; `values` are those of the engine itself.
pub(super) fn check_names<'a>(
    results: &[WrittenResult],
    values: impl Fn(&str) -> bool + 'a,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for WrittenResult { name, .. } in results {
        let text = name.value.as_str();
        let is_word = !text.is_empty()
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
        if !is_word {
            let message = format!("\"{text}\" is no name for a result");
            let finding = Finding::error(name.span, message);
            findings.push(finding.with_help("a name is made of letters, digits and \"_\""));
        } else if TAKEN.contains(&text) || values(text) {
            let message = format!("the engine gives \"{text}\" itself");
            let finding = Finding::error(name.span, message);
            findings.push(finding.with_help("the result needs another name"));
        } else if let Some(first) = seen.insert(text, name.span) {
            let message = format!("the result \"{text}\" is given twice");
            findings.push(Finding::error(name.span, message).with_related(first, "first here"));
        }
    }
    findings
}
