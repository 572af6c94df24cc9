//! Comparisons, and what joins them.

use std::fmt;
use std::sync::Arc;

use regex::bytes::RegexSet;

use super::comparison::{compare, is_number, is_true};
use super::compile::Compiler;
use super::expression::Expression;
use super::parser;
use super::patterns::NoPattern;
use super::scope::{Scope, Target};
use super::syntax::{Argument, At, Clause, Macro, Operator, Part, Word};
use super::view::View;
use crate::config::{Finding, Spanned, nearest};
use crate::stage::{Stage, Stages};

/// A condition, compiled. Cloning is cheap.
///
/// Shown, it is the same condition in its canonical form.
#[derive(Debug, Clone)]
pub struct Condition(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: String,
    condition: Test,
    possible_stages: Stages,
}

#[derive(Debug)]
enum Test {
    Constant(bool),
    Value(Expression),
    Comparison { left: Expression, operator: Operator, right: Expression, as_octets: bool },
    Stage { operator: Operator, constant: Box<[u8]> },
    Match(Expression, RegexSet),
    Not(Box<Test>),
    All(Box<[Test]>),
    Any(Box<[Test]>),
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(text: &Spanned<&str>, scope: &mut Scope) -> Result<Self, Vec<Finding>> {
        let (clause, faults) = parser::condition(text.value);
        let mut compiler = Compiler::new(text, scope, faults);
        let (condition, source) = match clause {
            Ok(clause) => (compiler.clause(&clause), clause.to_string()),
            // There are faults, so that nothing is made of this; there may be more.
            Err(operands) => {
                for operand in &operands {
                    compiler.text(&operand.text);
                }
                (Test::Constant(false), String::new())
            }
        };
        let possible = Stage::ALL.iter().copied();
        let possible: Vec<Stage> =
            possible.filter(|stage| condition.at(*stage) != Some(false)).collect();
        let possible_stages = Stages::of(&possible);
        compiler.finish(Condition(Arc::new(Compiled { source, condition, possible_stages })))
    }

    /// Whether it holds for one request.
    #[must_use]
    pub fn holds(&self, view: &View<'_>) -> bool {
        self.0.condition.holds(view)
    }

    /// Whether it holds, if that is the same for every request.
    #[must_use]
    pub fn as_constant(&self) -> Option<bool> {
        match self.0.condition {
            Test::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// The stages at which it can hold at all, as far as its comparisons of `$stage` with a
    /// constant tell.
    #[must_use]
    pub fn possible_stages(&self) -> Stages {
        self.0.possible_stages
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

impl Operator {
    fn decide(self, order: std::cmp::Ordering) -> bool {
        match self {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }

    fn is_equality(self) -> bool {
        matches!(self, Operator::Equal | Operator::NotEqual)
    }

    /// The same with the operands exchanged.
    fn reversed(self) -> Self {
        match self {
            Operator::Less => Operator::Greater,
            Operator::LessOrEqual => Operator::GreaterOrEqual,
            Operator::Greater => Operator::Less,
            Operator::GreaterOrEqual => Operator::LessOrEqual,
            equality => equality,
        }
    }

    fn compare(self, left: &[u8], right: &[u8], as_octets: bool) -> bool {
        match self {
            Operator::Equal if as_octets => left == right,
            Operator::NotEqual if as_octets => left != right,
            _ if as_octets => self.decide(left.cmp(right)),
            _ => self.decide(compare(left, right)),
        }
    }
}

impl Test {
    fn holds(&self, view: &View<'_>) -> bool {
        match self {
            Test::Constant(constant) => *constant,
            Test::Value(value) => is_true(&value.evaluate(view)),
            Test::Comparison { left, operator, right, as_octets } => {
                operator.compare(&left.evaluate(view), &right.evaluate(view), *as_octets)
            }
            Test::Stage { operator, constant } => {
                operator.compare(view.exchange().stage().name().as_bytes(), constant, true)
            }
            Test::Match(value, set) => set.is_match(&value.evaluate(view)),
            Test::Not(test) => !test.holds(view),
            Test::All(tests) => tests.iter().all(|test| test.holds(view)),
            Test::Any(tests) => tests.iter().any(|test| test.holds(view)),
        }
    }

    /// Whether it holds at this stage, where the stage alone tells.
    fn at(&self, stage: Stage) -> Option<bool> {
        match self {
            Test::Constant(constant) => Some(*constant),
            Test::Stage { operator, constant } => {
                Some(operator.compare(stage.name().as_bytes(), constant, true))
            }
            Test::Value(_) | Test::Comparison { .. } | Test::Match(..) => None,
            Test::Not(test) => test.at(stage).map(|holds| !holds),
            Test::All(tests) => decided(tests, stage, false),
            Test::Any(tests) => decided(tests, stage, true),
        }
    }

    fn not(self) -> Test {
        match self {
            Test::Constant(constant) => Test::Constant(!constant),
            test => Test::Not(Box::new(test)),
        }
    }

    /// Several joined, where one that comes out as `decisive` decides.
    fn joined(tests: Vec<Test>, decisive: bool, join: fn(Box<[Test]>) -> Test) -> Test {
        let mut kept = Vec::new();
        for test in tests {
            match test {
                // What stands before it is still evaluated: it may set variables.
                Test::Constant(constant) if constant == decisive && kept.is_empty() => {
                    return Test::Constant(decisive);
                }
                Test::Constant(constant) if constant != decisive => {}
                test => kept.push(test),
            }
        }
        match kept.len() {
            0 => Test::Constant(!decisive),
            1 => kept.remove(0),
            _ => join(kept.into()),
        }
    }
}

/// Whether tests of which a `decisive` one decides come out at this stage.
fn decided(tests: &[Test], stage: Stage, decisive: bool) -> Option<bool> {
    let mut outcome = Some(!decisive);
    for test in tests {
        match test.at(stage) {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => outcome = None,
        }
    }
    outcome
}

impl Compiler<'_, '_> {
    fn clause(&mut self, clause: &Clause) -> Test {
        match clause {
            Clause::Operand(operand) => {
                let value = self.operand(operand);
                self.warn_of_constant(operand, &value);
                match value.as_constant().map(is_true) {
                    Some(constant) => Test::Constant(constant),
                    None => Test::Value(value),
                }
            }
            Clause::Comparison(left, operator, right) => self.comparison(left, *operator, right),
            Clause::Match(operand, names) => {
                let value = self.operand(operand);
                match (self.set(names), value.as_constant()) {
                    // At fault: whether it can hold is not known.
                    (None, _) => Test::Match(value, RegexSet::empty()),
                    (Some(set), Some(constant)) => Test::Constant(set.is_match(constant)),
                    (Some(set), None) => Test::Match(value, set),
                }
            }
            Clause::Not(clause) => self.clause(clause).not(),
            Clause::All(clauses) => {
                let tests = clauses.iter().map(|clause| self.clause(clause)).collect();
                Test::joined(tests, false, Test::All)
            }
            Clause::Any(clauses) => {
                let tests = clauses.iter().map(|clause| self.clause(clause)).collect();
                Test::joined(tests, true, Test::Any)
            }
        }
    }

    fn operand(&mut self, operand: &Argument) -> Expression {
        self.warn_of_opening(operand);
        self.text(&operand.text)
    }

    /// What other languages group or quote with is text here, which is hardly ever meant.
    fn warn_of_opening(&mut self, operand: &Argument) {
        let Some((opening, help)) = parser::foreign_opening(self.written(operand.at)) else {
            return;
        };
        let at = At::new(operand.at.start, operand.at.start + opening.len());
        let message = format!("\"{opening}\" is a part of the text that is compared");
        self.warn(Finding::warning(self.span(at), message).with_help(help));
    }

    fn warn_of_constant(&mut self, operand: &Argument, value: &Expression) {
        let is_text = |part: &Part| matches!(part, Part::Literal(_));
        let is_foreign = parser::foreign_opening(self.written(operand.at)).is_some();
        if is_foreign || !operand.text.parts.iter().all(is_text) {
            return;
        }
        let Some(holds) = value.as_constant().map(is_true) else { return };
        let when = if holds { "always" } else { "never" };
        let message = format!("this is a constant text, which {when} holds");
        let warning = Finding::warning(self.span(operand.at), message);
        self.warn(warning.with_help("only an empty text and \"0\" are false"));
    }

    fn comparison(&mut self, left: &Argument, operator: Operator, right: &Argument) -> Test {
        let (left_value, right_value) = (self.operand(left), self.operand(right));
        if let Some(test) = self.stage(left, &right_value, right, operator) {
            return test;
        }
        if let Some(test) = self.stage(right, &left_value, left, operator.reversed()) {
            return test;
        }
        if operator.is_equality() {
            self.status(left, &right_value, right);
            self.status(right, &left_value, left);
        }
        // A constant that is no number makes the other side none.
        let (left, right) = (left_value, right_value);
        let is_text = |value: &Expression| value.as_constant().is_some_and(|text| !is_number(text));
        let as_octets = is_text(&left) || is_text(&right);
        match (left.as_constant(), right.as_constant()) {
            (Some(left), Some(right)) => Test::Constant(operator.compare(left, right, as_octets)),
            _ => Test::Comparison { left, operator, right, as_octets },
        }
    }

    /// A comparison of the stage with a constant, which must be a stage then.
    fn stage(
        &mut self,
        operand: &Argument,
        other: &Expression,
        place: &Argument,
        operator: Operator,
    ) -> Option<Test> {
        let [Part::Macro(Macro { name, .. })] = operand.text.parts.as_slice() else { return None };
        let [Word { text, .. }] = name.as_slice() else { return None };
        let constant = other.as_constant().filter(|_| text == "stage")?;
        let is_stage = Stage::ALL.iter().any(|stage| stage.name().as_bytes() == constant);
        if operator.is_equality() && !is_stage {
            let shown = String::from_utf8_lossy(constant).into_owned();
            let span = self.span(place.at);
            let known = || Stage::ALL.iter().map(|stage| stage.name());
            let mut finding = Finding::unknown(span, "stage", &shown, known());
            let with_prefix = format!("policy-{}", shown.to_ascii_lowercase());
            if let Some(nearest) = nearest(&with_prefix, known()) {
                finding.help = Some(format!("did you mean \"{nearest}\"?"));
            }
            self.find_fault(finding);
        }
        Some(Test::Stage { operator, constant: constant.into() })
    }

    /// A comparison of an engine's status with a constant, for those who know its statuses.
    fn status(&mut self, operand: &Argument, other: &Expression, place: &Argument) {
        let [Part::Macro(Macro { name, .. })] = operand.text.parts.as_slice() else { return };
        let [first, id @ .., last] = name.as_slice() else { return };
        if (first.text.as_str(), last.text.as_str()) != ("engines", "status") || id.is_empty() {
            return;
        }
        let Some(constant) = other.as_constant() else { return };
        let id: Vec<&str> = id.iter().map(|word| word.text.as_str()).collect();
        let status = String::from_utf8_lossy(constant).into_owned();
        self.refer(place.at, Target::Status { id: id.join("."), status });
    }

    fn set(&mut self, names: &[Word]) -> Option<RegexSet> {
        let patterns = Arc::clone(self.scope.patterns());
        let mut found = Vec::new();
        for name in names {
            match patterns.find(&name.text) {
                Ok(items) => {
                    self.scope.use_patterns(items.engine());
                    found.push(items);
                }
                // It may be among those that could not be read, which has been told.
                Err(NoPattern::Unknown(_)) if patterns.are_incomplete() => {}
                Err(reason) => {
                    let finding = no_pattern(self.span(name.at), &name.text, reason);
                    self.find_fault(finding);
                }
            }
        }
        if found.len() < names.len() {
            return None;
        }
        match patterns.set(&found) {
            Ok(set) => Some(set),
            Err(message) => {
                let at = names.first().map(|name| name.at)?;
                self.find_fault(Finding::error(self.span(at), message));
                None
            }
        }
    }
}

fn no_pattern(span: crate::config::Span, name: &str, reason: NoPattern) -> Finding {
    match reason {
        NoPattern::Unknown(known) if known.is_empty() => {
            let message = format!("unknown regular expression \"{name}\"");
            let help = "a boorex engine declares them, and there is none";
            Finding::error(span, message).with_help(help)
        }
        NoPattern::Unknown(known) => {
            let known = known.iter().map(String::as_str);
            Finding::unknown(span, "regular expression", name, known)
        }
        NoPattern::Ambiguous(all) => {
            let message = format!("several engines declare \"{name}\"");
            Finding::error(span, message).with_help(format!("write {}", all.join(" or ")))
        }
    }
}
