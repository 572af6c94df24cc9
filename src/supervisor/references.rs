//! What texts refer to, checked against the chains: engines that are there and have run, values
//! that exist, macros that have a value where the engine runs; and effects that come to nothing
//! where they are asked for.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use mppd_engine::config::nearest;
use mppd_engine::language::{Reference, Target};
use mppd_engine::{Finding, Span, Stage, Stages};

use super::blueprint::Place;
use super::effect::Effect;

/// What every engine gives besides its values.
const ALWAYS: &[&str] = &["status", "text", "result"];

/// What an engine's status is besides its own: when it has failed, was skipped, or has not run.
const ALWAYS_STATUSES: &[&str] = &["exception", "skipped", ""];

/// The kind that puts requests on record, and where its methods belong.
const TRACK: &str = "track";
const TRACK_PLACES: &[(&str, Place)] =
    &[("received", Place::Begin), ("processed", Place::End), ("exception", Place::EndException)];

/// The kind that compares the score.
const SCORE: &str = "score";

/// Actions that touch a message, which these stages do not have (yet).
const OF_A_MESSAGE: &[&str] = &["HOLD", "DISCARD", "FILTER", "REDIRECT", "BCC", "PREPEND"];
const WITHOUT_A_MESSAGE: Stages =
    Stages::of(&[Stage::Connect, Stage::Helo, Stage::Vrfy, Stage::Etrn]);

/// A header cannot be put on top of a message that has been received.
const AFTER_THE_HEADERS: Stages = Stages::of(&[Stage::EndOfMessage]);

/// What is to be checked of one engine once the chains are known.
#[derive(Debug)]
pub(super) struct Facts {
    /// Its full ID.
    pub(super) id: Arc<str>,
    /// Name of its kind.
    pub(super) kind: &'static str,
    /// The part of the ID behind the dot.
    pub(super) method: Option<String>,
    /// The stages of its kind.
    pub(super) stages: Stages,
    /// Where its precondition stands, and the stages at which that can hold.
    pub(super) precondition: Option<(Span, Stages)>,
    /// What it can come to.
    pub(super) statuses: Vec<&'static str>,
    /// Names of its values and results.
    pub(super) names: Vec<Cow<'static, str>>,
    /// Whether it may give values of other names as well.
    pub(super) has_open_values: bool,
    /// What it refers to before it runs.
    pub(super) before: Vec<Reference>,
    /// What it refers to when it has run.
    pub(super) after: Vec<Reference>,
    /// The effects that were configured.
    pub(super) effects: Vec<Configured>,
}

/// An effect that was configured for a status.
#[derive(Debug)]
pub(super) struct Configured {
    /// Its option: `on_black`.
    pub(super) option: String,
    /// The action's word, where it is an action and known.
    pub(super) action: Option<String>,
    /// Whether it is without any effect unless the engine is a check.
    pub(super) decides: bool,
    /// Whether it adds to the score.
    pub(super) adds: bool,
    /// Its place.
    pub(super) span: Span,
}

impl Configured {
    /// An effect that counts wherever the engine stands.
    pub(super) fn new(option: String, effect: &Effect, span: Span) -> Self {
        let action = effect.word().map(Cow::into_owned);
        let adds = matches!(effect, Effect::Score(_));
        Configured { option, action, decides: false, adds, span }
    }
}

/// An engine in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Listed {
    /// Which chain.
    pub(super) place: Place,
    /// Which engine, by its position among the facts.
    pub(super) engine: usize,
    /// Where the chain names it.
    pub(super) span: Span,
}

/// An engine that texts can name, but that stands in no chain or could not be built.
#[derive(Debug)]
pub(super) struct Absent {
    /// Its ID, without a method.
    pub(super) id: String,
    /// Where it stands.
    pub(super) span: Span,
    /// Whether that has a fault of its own, which is told already.
    pub(super) is_faulty: bool,
}

/// What texts can name and is not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing<'a> {
    /// The engines of which something is known.
    pub(super) absent: &'a [Absent],
    /// Whether there may be more, in what could not be read.
    pub(super) may_be_more: bool,
}

/// Checks every engine against the chains of every group, by ID.
pub(super) fn check(
    facts: &[Facts],
    missing: Missing<'_>,
    mut groups: Vec<(&str, Vec<Listed>)>,
) -> Vec<Finding> {
    // Groups that inherit their chains have the same ones.
    let mut seen = HashSet::new();
    groups.retain(|(_, chains)| seen.insert(chains.clone()));
    let mut checks = Checks { facts, missing, groups: &groups, findings: Vec::new() };
    for engine in facts {
        checks.stages(engine);
        checks.effects_at_stages(engine);
        checks.names(engine);
    }
    for (group, chains) in &groups {
        checks.chains(group, chains);
        checks.score(group, chains);
    }
    checks.effects_without_decision();
    checks.findings
}

/// Checks what the texts of engines name that could not be built: whether it exists, since where
/// they would run is not known.
pub(super) fn check_names(
    references: &[Reference],
    facts: &[Facts],
    missing: Missing<'_>,
) -> Vec<Finding> {
    let checks = Checks { facts, missing, groups: &[], findings: Vec::new() };
    references.iter().filter_map(|reference| checks.name(reference)).collect()
}

impl Facts {
    /// Where it runs.
    fn runs_at(&self) -> Stages {
        let possible = self.precondition.map_or(Stages::ALL, |(_, stages)| stages);
        self.stages.intersection(possible)
    }

    /// Whether its texts name the engine of this ID, or a method of it.
    pub(super) fn asks_for(&self, element: &str) -> bool {
        ask_for(&self.before, element) || ask_for(&self.after, element)
    }

    fn knows(&self, name: &str) -> bool {
        ALWAYS.contains(&name) || self.has_value(name)
    }

    fn has_value(&self, name: &str) -> bool {
        self.has_open_values || self.names.iter().any(|known| known == name)
    }
}

/// Whether one of the references is to the engine of this ID, or to a method of it.
pub(super) fn ask_for(references: &[Reference], element: &str) -> bool {
    references.iter().any(|reference| match &reference.target {
        Target::Engine { id, .. } => id.split('.').next() == Some(element),
        _ => false,
    })
}

struct Checks<'a> {
    facts: &'a [Facts],
    missing: Missing<'a>,
    groups: &'a [(&'a str, Vec<Listed>)],
    findings: Vec<Finding>,
}

impl Checks<'_> {
    /// Whether the engine, and what its texts need, can be there at one stage at least.
    fn stages(&mut self, engine: &Facts) {
        let runs_at = engine.runs_at();
        if let Some((span, possible)) = engine.precondition.filter(|_| runs_at.is_empty()) {
            let message = format!("engine \"{}\" is always skipped", engine.id);
            let why = if possible.is_empty() {
                "there is no stage at which this condition holds".to_owned()
            } else {
                format!("it makes sense at {} only", engine.stages)
            };
            self.findings.push(Finding::warning(span, message).with_help(why));
            return;
        }
        for reference in engine.before.iter().chain(&engine.after) {
            let Target::Stages { name, stages } = &reference.target else { continue };
            if !runs_at.intersection(*stages).is_empty() {
                continue;
            }
            let message = format!("${name} never has a value where \"{}\" runs", engine.id);
            let help = format!("it can have one at {stages}; the engine runs at {runs_at}");
            self.findings.push(Finding::error(reference.span, message).with_help(help));
        }
    }

    fn effects_at_stages(&mut self, engine: &Facts) {
        let runs_at = engine.runs_at();
        if runs_at == Stages::ALL {
            return;
        }
        for effect in &engine.effects {
            let Some(action) = effect.action.as_deref() else { continue };
            let without = runs_at.intersection(without_effect(action));
            if without.is_empty() {
                continue;
            }
            let message = format!("Postfix ignores {action} at {without}");
            let finding = Finding::warning(effect.span, message);
            self.findings.push(if without == runs_at {
                finding.with_help("the engine runs nowhere else")
            } else {
                finding.with_help("a precondition can keep the engine from there")
            });
        }
    }

    /// Whether what the texts name exists.
    fn names(&mut self, engine: &Facts) {
        for reference in engine.before.iter().chain(&engine.after) {
            let finding = match &reference.target {
                Target::Own { name } if !engine.has_value(name) => {
                    Some(unknown_field(reference.span, engine, name))
                }
                _ => self.name(reference),
            };
            self.findings.extend(finding);
        }
    }

    fn name(&self, reference: &Reference) -> Option<Finding> {
        let (id, name) = match &reference.target {
            Target::Engine { id, name } => (id, name),
            Target::Status { id, status } => return self.status(reference.span, id, status),
            _ => return None,
        };
        match self.facts.iter().find(|facts| *facts.id == **id) {
            None => self.unknown_engine(reference.span, id),
            Some(target) if target.knows(name) => None,
            Some(target) => Some(unknown_value(reference.span, target, name)),
        }
    }

    /// Whether the engine can come to this status; that it exists is looked at where it is named.
    fn status(&self, span: Span, id: &str, status: &str) -> Option<Finding> {
        let target = self.facts.iter().find(|facts| *facts.id == *id)?;
        let known = || target.statuses.iter().chain(ALWAYS_STATUSES).copied();
        if known().any(|known| known == status) {
            return None;
        }
        let finding = Finding::error(span, format!("engine \"{id}\" never comes to \"{status}\""));
        let mut known: Vec<&str> = known().filter(|known| !known.is_empty()).collect();
        known.sort_unstable();
        Some(match nearest(status, known.iter().copied()) {
            Some(nearest) => finding.with_help(format!("did you mean \"{nearest}\"?")),
            None => finding.with_help(format!("it comes to: {}", known.join(", "))),
        })
    }

    fn unknown_engine(&self, span: Span, id: &str) -> Option<Finding> {
        let element = id.split_once('.').map_or(id, |(element, _)| element);
        if let Some(absent) = self.missing.absent.iter().find(|absent| absent.id == element) {
            if absent.is_faulty {
                return None;
            }
            let message = format!("no chain names the engine \"{element}\", so it never runs");
            return Some(Finding::error(span, message).with_related(absent.span, "it stands here"));
        }
        let prefix = format!("{element}.");
        let methods: Vec<&str> = self
            .facts
            .iter()
            .map(|facts| &*facts.id)
            .filter(|id| id.starts_with(&prefix))
            .collect();
        if !methods.is_empty() {
            if id.contains('.') {
                return Some(Finding::unknown(span, "method", id, methods));
            }
            let message = format!("engine \"{id}\" has methods; one must be named");
            let help = format!("known here: {}", methods.join(", "));
            return Some(Finding::error(span, message).with_help(help));
        }
        if self.missing.may_be_more {
            return None;
        }
        let known = self.facts.iter().map(|facts| &*facts.id);
        let known: Vec<&str> =
            known.chain(self.missing.absent.iter().map(|a| a.id.as_str())).collect();
        Some(Finding::unknown(span, "engine", id, known))
    }

    /// Whether what the texts of these chains name has run before.
    fn chains(&mut self, group: &str, chains: &[Listed]) {
        for (position, listed) in chains.iter().enumerate() {
            let engine = &self.facts[listed.engine];
            self.track(engine, *listed);
            for reference in &engine.before {
                self.reference(reference, group, chains, position, false);
            }
            for reference in &engine.after {
                self.reference(reference, group, chains, position, true);
            }
        }
    }

    fn reference(
        &mut self,
        reference: &Reference,
        group: &str,
        chains: &[Listed],
        position: usize,
        has_run: bool,
    ) {
        let here = chains[position];
        match &reference.target {
            Target::Decision if matches!(here.place, Place::Begin | Place::Check) => {
                let message = "there is no decision before the checks have ended";
                self.too_early(reference.span, message, here);
            }
            Target::Exception if here.place != Place::EndException => {
                let message = "there is an exception in the end-exception chain only";
                self.too_early(reference.span, message, here);
            }
            Target::Engine { id, .. } => {
                let Some(target) = self.facts.iter().position(|facts| *facts.id == **id) else {
                    return;
                };
                let behind = position + usize::from(has_run);
                if chains[..behind].iter().any(|listed| listed.engine == target) {
                    return;
                }
                match chains[behind..].iter().find(|listed| listed.engine == target) {
                    Some(later) => self.runs_later(reference.span, id, group, here, *later),
                    None => self.does_not_run(reference.span, group, here, target),
                }
            }
            Target::Own { .. }
            | Target::Status { .. }
            | Target::Decision
            | Target::Exception
            | Target::Stages { .. } => {}
        }
    }

    fn too_early(&mut self, span: Span, message: &str, here: Listed) {
        let related = format!("this engine runs in {}", here.place.element());
        self.push(Finding::error(span, message).with_related(here.span, related));
    }

    fn runs_later(&mut self, span: Span, id: &str, group: &str, here: Listed, later: Listed) {
        if here == later {
            let finding = Finding::error(span, format!("engine \"{id}\" has not run yet here"));
            self.push(finding.with_help("it cannot ask for what it is going to come to"));
            return;
        }
        let in_group = self.among_groups(" in", group);
        let message = format!("engine \"{id}\" runs later{in_group}");
        let finding = Finding::error(span, message)
            .with_related(here.span, "this engine runs here")
            .with_related(later.span, format!("\"{id}\" here, in {}", later.place.element()));
        self.push(finding);
    }

    /// Another group's chains may have it; then its values are empty here.
    fn does_not_run(&mut self, span: Span, group: &str, here: Listed, target: usize) {
        let facts = &self.facts[target];
        let is_before = |chains: &[Listed]| {
            let position = |engine| chains.iter().position(|listed| listed.engine == engine);
            match (position(target), position(here.engine)) {
                (Some(target), Some(this)) => target < this,
                _ => false,
            }
        };
        let elsewhere = self.groups.iter().any(|(_, chains)| is_before(chains));
        let of_group = self.among_groups(" of", group);
        let message = format!("no chain{of_group} runs the engine \"{}\"", facts.id);
        let finding = if elsewhere {
            Finding::warning(span, message).with_help("what it would give is empty there")
        } else {
            Finding::error(span, message)
        };
        self.push(finding.with_related(here.span, "this engine runs here"));
    }

    /// The name of the group, unless all have the same chains.
    fn among_groups(&self, preposition: &str, group: &str) -> String {
        match self.groups.len() {
            1 => String::new(),
            _ => format!("{preposition} group \"{group}\""),
        }
    }

    /// A step of the records belongs where it is true.
    fn track(&mut self, engine: &Facts, listed: Listed) {
        let Some(method) = engine.method.as_deref().filter(|_| engine.kind == TRACK) else {
            return;
        };
        let Some((_, place)) = TRACK_PLACES.iter().find(|(name, _)| *name == method) else {
            return;
        };
        if *place != listed.place {
            let message =
                format!("\"{}\" does not belong in {}", engine.id, listed.place.element());
            let help = format!("its place is {}", place.element());
            self.push(Finding::error(listed.span, message).with_help(help));
        }
    }

    /// What is added to the score behind the last engine that compares it.
    fn score(&mut self, group: &str, chains: &[Listed]) {
        let is_check = |listed: &&Listed| listed.place == Place::Check;
        let checks: Vec<&Listed> = chains.iter().filter(is_check).collect();
        let facts = |listed: &Listed| &self.facts[listed.engine];
        let Some(last) = checks.iter().rposition(|listed| facts(listed).kind == SCORE) else {
            return;
        };
        let in_group = self.among_groups(" in", group);
        let too_late = |listed: &&Listed| {
            let facts = facts(listed);
            let effect = facts.effects.iter().find(|effect| effect.adds)?;
            let id = &facts.id;
            let message = format!("\"{id}\" adds to the score after it was compared{in_group}");
            let finding = Finding::warning(effect.span, message);
            let finding = finding.with_related(checks[last].span, "it is compared here");
            Some(finding.with_related(listed.span, "this engine runs here"))
        };
        let findings: Vec<Finding> = checks[last + 1..].iter().filter_map(too_late).collect();
        for finding in findings {
            self.push(finding);
        }
    }

    /// Only checks decide.
    fn effects_without_decision(&mut self) {
        for (index, engine) in self.facts.iter().enumerate() {
            let places: Vec<Listed> = self
                .groups
                .iter()
                .flat_map(|(_, chains)| chains)
                .filter(|listed| listed.engine == index)
                .copied()
                .collect();
            let Some(first) = places.first().copied() else { continue };
            if places.iter().any(|listed| listed.place == Place::Check) {
                continue;
            }
            for effect in engine.effects.iter().filter(|effect| effect.decides) {
                let message = format!("{} decides nothing: only checks decide", effect.option);
                let related = format!("this engine runs in {}", first.place.element());
                let finding = Finding::warning(effect.span, message);
                self.push(finding.with_related(first.span, related));
            }
        }
    }

    fn push(&mut self, finding: Finding) {
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

fn unknown_value(span: Span, engine: &Facts, name: &str) -> Finding {
    let finding = Finding::error(span, format!("engine \"{}\" gives no \"{name}\"", engine.id));
    let known = || engine.names.iter().map(AsRef::as_ref).chain(ALWAYS.iter().copied());
    if let Some(nearest) = nearest(name, known()) {
        return finding.with_help(format!("did you mean \"{nearest}\"?"));
    }
    let known: Vec<&str> = known().collect();
    finding.with_help(format!("it gives: {}", known.join(", ")))
}

fn unknown_field(span: Span, engine: &Facts, name: &str) -> Finding {
    if ALWAYS.contains(&name) {
        let finding = Finding::error(span, format!("\"{name}\" is no value of the engine"));
        return finding.with_help(format!("write \"${name}\""));
    }
    unknown_value(span, engine, name)
}

/// The stages at which Postfix does not do what the action says.
fn without_effect(action: &str) -> Stages {
    match action {
        "PREPEND" => WITHOUT_A_MESSAGE.union(AFTER_THE_HEADERS),
        action if OF_A_MESSAGE.contains(&action) => WITHOUT_A_MESSAGE,
        _ => Stages::of(&[]),
    }
}
