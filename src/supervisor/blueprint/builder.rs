//! From the elements of a configuration to the engines and chains of a blueprint, with everything
//! that is wrong with them.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mppd_engine::config::{Services, Severity, nearest};
use mppd_engine::language::{Patterns, Reference};
use mppd_engine::slog::{Logger, o};
use mppd_engine::{Action, BuildContext, Built, Element, EngineKind, Finding, Span, Spanned};
use mppd_state::StateStore;

use super::records::unused_connections;
use super::whole::Whole;
use super::{Blueprint, Chain, Chains, EnginePlan, GroupPlan, Place};
use crate::config::settings::{DEFAULT_GROUP, GroupOptions};
use crate::config::{Draft, engine_id};
use crate::supervisor::common_options::{Common, Declared, Written};
use crate::supervisor::effect::fixed_action;
use crate::supervisor::references::{self, Absent, Facts, Listed, Missing};
use crate::supervisor::services::services;

/// What [`Blueprint::build`] promises.
pub(super) fn build(
    draft: &Draft,
    kinds: &[&'static dyn EngineKind],
    state_store: &Arc<StateStore>,
    logger: &Logger,
) -> (Blueprint, Vec<Finding>) {
    let (services, findings) = services(draft.common.as_ref(), state_store, logger);
    let mut builder = Builder {
        draft,
        kinds,
        logger,
        services,
        patterns: Arc::default(),
        declaring: BTreeSet::new(),
        used_patterns: BTreeSet::new(),
        engines: Vec::new(),
        facts: Vec::new(),
        references_at_fault: Vec::new(),
        index: HashMap::new(),
        at_fault: BTreeSet::new(),
        has_unknown_engines: false,
        findings,
    };
    builder.check_kinds();
    builder.read_patterns();
    if draft.common.is_none() {
        builder.build_all();
    }
    let groups = builder.groups();
    if draft.common.is_some() {
        builder.warn_of_unused();
        builder.check_references(&groups);
        builder.warn_of_unused_records(&groups);
    }
    let blueprint = Blueprint::new(builder.engines, groups).with_services(builder.services);
    (blueprint, builder.findings)
}

struct Builder<'a> {
    draft: &'a Draft,
    kinds: &'a [&'static dyn EngineKind],
    logger: &'a Logger,
    /// What all engines share.
    services: Services,
    /// The named regular expressions of the whole configuration.
    patterns: Arc<Patterns>,
    /// The IDs of the engines that declare some.
    declaring: BTreeSet<String>,
    /// The IDs of the engines whose expressions texts ask for.
    used_patterns: BTreeSet<String>,
    engines: Vec<EnginePlan>,
    /// What is to be checked of each engine once the chains are known.
    facts: Vec<Facts>,
    /// What the texts of engines that could not be built refer to.
    references_at_fault: Vec<Reference>,
    /// The engines of the elements that were built or could not be, by position in the draft.
    index: HashMap<usize, Vec<(Arc<str>, usize)>>,
    /// The IDs of the elements of which not every engine could be built.
    at_fault: BTreeSet<String>,
    /// Whether a chain names an engine that is not there, perhaps for one that is.
    has_unknown_engines: bool,
    findings: Vec<Finding>,
}

impl Builder<'_> {
    fn warn_of_unused(&mut self) {
        let is_error = |finding: &Finding| finding.severity == Severity::Error;
        let is_faulty = self.findings.iter().any(is_error);
        for (position, element) in self.draft.engines.iter().enumerate() {
            let id = engine_id(element);
            // A condition at fault may be meant to ask for its expressions.
            if is_faulty && self.declaring.contains(&id.value) {
                continue;
            }
            // What asks for it although it never runs is an error, and says so.
            let is_used = self.index.contains_key(&position)
                || self.used_patterns.contains(&id.value)
                || self.facts.iter().any(|facts| facts.asks_for(&id.value))
                || references::ask_for(&self.references_at_fault, &id.value);
            if self.kind(element).is_some() && !is_used && !self.is_repeated(&id.value) {
                let message = format!("no chain names the engine \"{}\"", id.value);
                let warning = Finding::warning(id.span, message);
                self.findings.push(warning.with_help("it is neither checked nor used"));
            }
        }
    }

    fn warn_of_unused_records(&mut self, groups: &[GroupPlan]) {
        // A chain that is at fault may be meant to track.
        if self.findings.iter().all(|finding| finding.severity != Severity::Error) {
            self.findings.extend(unused_connections(self.draft, groups, &self.engines));
        }
    }

    /// Builds every engine, for its faults: which of them are wanted can't be told.
    fn build_all(&mut self) {
        for (position, element) in self.draft.engines.iter().enumerate() {
            let built = self.build_element(element);
            self.index.insert(position, built);
        }
    }

    fn kind(&self, element: &Element) -> Option<&'static dyn EngineKind> {
        self.kinds.iter().copied().find(|kind| kind.name() == element.name)
    }

    fn check_kinds(&mut self) {
        for element in &self.draft.engines {
            if self.kind(element).is_none() {
                let known = self.kinds.iter().map(|kind| kind.name());
                self.findings.push(Finding::unknown(
                    element.name_span,
                    "engine",
                    &element.name,
                    known,
                ));
            }
        }
    }

    /// Reads the named regular expressions, also of engines that no chain names.
    fn read_patterns(&mut self) {
        let mut patterns = Patterns::default();
        for element in &self.draft.engines {
            let Some(kind) = self.kind(element) else { continue };
            let id = engine_id(element).value;
            let logger = self.logger.new(o!("engine" => id.clone()));
            let mut context = BuildContext::new(&self.draft.sources, logger);
            match kind.patterns(element, &mut context) {
                Ok(Some(library)) => {
                    patterns.add(id.clone(), library);
                    self.declaring.insert(id);
                }
                Ok(None) => {}
                Err(faults) => {
                    patterns.add_faulty();
                    self.declaring.insert(id);
                    self.report(faults);
                }
            }
        }
        self.patterns = Arc::new(patterns);
    }

    /// Adds what is wrong; what an element says for several of its methods is told once.
    fn report(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
    }

    /// The groups. What `default` does not set is as in `common`, what another does not set is as
    /// in `default`.
    fn groups(&mut self) -> Vec<GroupPlan> {
        let options = &self.draft.groups;
        let common = GroupPlan::new(DEFAULT_GROUP, self.chains_of_common());
        let default = options.iter().find(|group| group.id.value == DEFAULT_GROUP);
        let default = default.map(|options| self.group(options, &common)).unwrap_or(common);
        let plans = options.iter().map(|options| match &*options.id.value {
            DEFAULT_GROUP => default.clone(),
            _ => self.group(options, &default),
        });
        plans.collect()
    }

    fn group(&mut self, options: &GroupOptions, inherited: &GroupPlan) -> GroupPlan {
        let mut chains = inherited.chains.clone();
        for place in Place::ALL {
            let lists = match place {
                Place::Begin => &options.policy_begin_engines,
                Place::Check => &options.policy_check_engines,
                Place::End => &options.policy_end_engines,
                Place::EndException => &options.policy_end_exception_engines,
            };
            if !lists.is_empty() {
                chains.set(place, self.chain(lists));
            }
        }
        let on_error = options.on_error.as_ref().map(|text| self.on_error(text));
        GroupPlan {
            id: options.id.value.as_str().into(),
            chains,
            on_error: on_error.unwrap_or_else(|| inherited.on_error.clone()),
            dry_run: options.dry_run.unwrap_or(inherited.dry_run),
        }
    }

    fn chains_of_common(&mut self) -> Chains {
        let mut chains = Chains::default();
        let Some(common) = &self.draft.common else { return chains };
        for place in Place::ALL {
            let lists = match place {
                Place::Begin => &common.policy_begin_engines,
                Place::Check => &common.policy_check_engines,
                Place::End => &common.policy_end_engines,
                Place::EndException => &common.policy_end_exception_engines,
            };
            chains.set(place, self.chain(lists));
        }
        chains
    }

    /// The engines that some lists name, one after the other.
    fn chain(&mut self, lists: &[Spanned<String>]) -> Chain {
        let mut chain = Chain::default();
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for word in lists.iter().flat_map(Spanned::words) {
            if let Some(first) = seen.insert(word.value, word.span) {
                let message = format!("engine \"{}\" stands twice in one chain", word.value);
                self.findings
                    .push(Finding::error(word.span, message).with_related(first, "first here"));
            } else if let Some(engine) = self.engine(&word) {
                chain.engines.push(engine);
                chain.places.push(word.span);
            }
        }
        chain
    }

    /// What is to be said of an ID that no engine has.
    fn missing_engine(&self, span: Span, id: &str) -> Finding {
        let engines = self.draft.engines.iter();
        let known: Vec<String> = engines.map(|element| engine_id(element).value).collect();
        let known = known.iter().map(String::as_str);
        if self.kinds.iter().any(|kind| kind.name() == id) && nearest(id, known.clone()).is_none() {
            let message = format!("there is no engine \"{id}\" in <engines>");
            return Finding::error(span, message)
                .with_help(format!("write <{id}/> into <engines>, with its options if needed"));
        }
        Finding::unknown(span, "engine", id, known)
    }

    /// The engine of a full ID, built when it is first named.
    fn engine(&mut self, name: &Spanned<&str>) -> Option<usize> {
        let (id, method) = match name.value.split_once('.') {
            Some((id, method)) => (id, Some(method)),
            None => (name.value, None),
        };
        let engines = &self.draft.engines;
        let Some(position) = engines.iter().position(|element| engine_id(element).value == id)
        else {
            // It may stand in what could not be read, of which enough has been said.
            if !self.draft.is_incomplete {
                self.findings.push(self.missing_engine(name.span, id));
            }
            self.has_unknown_engines = true;
            return None;
        };
        if !self.index.contains_key(&position) {
            let built = self.build_element(&engines[position]);
            self.index.insert(position, built);
        }
        let built = &self.index[&position];
        if let Some((_, engine)) = built.iter().find(|(full, _)| **full == *name.value) {
            return Some(*engine);
        }
        // What could not be built, or is defined by another element of this ID, has its findings.
        if !self.at_fault.contains(id) && !self.is_repeated(id) {
            let finding = unknown_method(name.span, id, method, built);
            self.findings.push(finding);
        }
        None
    }

    /// Checks what texts refer to against the chains of each group.
    fn check_references(&mut self, groups: &[GroupPlan]) {
        let absent = self.absent();
        let groups: Vec<(&str, Vec<Listed>)> =
            groups.iter().map(|group| (&*group.id, group.chains.listed())).collect();
        let missing = Missing { absent: &absent, may_be_more: self.draft.is_incomplete };
        let mut findings = references::check(&self.facts, missing, groups);
        let at_fault = &self.references_at_fault;
        findings.extend(references::check_names(at_fault, &self.facts, missing));
        self.report(findings);
    }

    /// Whether several elements have this ID, which is a fault that is told already.
    fn is_repeated(&self, id: &str) -> bool {
        let elements = self.draft.engines.iter();
        elements.filter(|element| engine_id(element).value == id).nth(1).is_some()
    }

    /// The engines that no chain names, and those that could not be built.
    fn absent(&self) -> Vec<Absent> {
        let elements = self.draft.engines.iter().enumerate();
        let absent = elements.filter_map(|(position, element)| {
            let Spanned { value: id, span } = engine_id(element);
            let is_built = self.index.contains_key(&position);
            let is_at_fault = self.at_fault.contains(&id) || self.is_repeated(&id);
            if is_built && !is_at_fault {
                return None;
            }
            let is_faulty = self.has_unknown_engines || is_at_fault || self.kind(element).is_none();
            Some(Absent { id, span, is_faulty })
        });
        absent.collect()
    }

    /// Builds the engines of an element, and says under which full IDs; without those at fault.
    fn build_element(&mut self, element: &Element) -> Vec<(Arc<str>, usize)> {
        let id = &engine_id(element).value;
        let Some(kind) = self.kind(element) else {
            self.at_fault.insert(id.clone());
            return Vec::new();
        };
        let logger = self.logger.new(o!("engine" => id.clone()));
        let context = BuildContext::new(&self.draft.sources, logger).with_id(id);
        let context = context.with_services(self.services.clone());
        let context = context.with_patterns(self.patterns.clone());
        // What is wrong with it is told with the other common options.
        let written = Written::of(element, &mut Vec::new());
        let mut context = context.with_timeout(written.timeout());
        let built = kind.build(element, &mut context);
        let references = context.take_references();
        if built.is_err() {
            self.references_at_fault.extend_from_slice(context.taken_references());
        }
        self.used_patterns.append(&mut context.take_used_patterns());
        self.report(context.into_warnings());
        let mut faults = Vec::new();
        let written = Written::of(element, &mut faults);
        let mut is_sound = faults.is_empty();
        self.report(faults);
        let whole = Whole { id, kind, element, written, references };
        let parts = match built {
            Ok(parts) => parts,
            Err(faults) => {
                self.report(faults);
                self.common_faults(&whole);
                self.at_fault.insert(id.clone());
                return Vec::new();
            }
        };
        self.warn_of_overridden(&whole);
        let mut added = Vec::new();
        for part in parts {
            match self.add(&whole, part) {
                Some(engine) => added.push(engine),
                None => is_sound = false,
            }
        }
        if !is_sound {
            self.at_fault.insert(id.clone());
            self.references_at_fault.extend(whole.references);
        }
        added
    }

    /// Warns of what an element says for its methods although each of them says otherwise: it is
    /// read by nobody.
    fn warn_of_overridden(&mut self, whole: &Whole<'_>) {
        // What is wrong with the methods' options is told when they are added.
        let methods: Vec<Written> =
            whole.methods().map(|method| Written::of(method, &mut Vec::new())).collect();
        let warnings = whole.written.given_by_all(&methods).map(|name| {
            let message = format!("\"{}\" has no effect here", name.value);
            Finding::warning(name.span, message).with_help("every method has its own")
        });
        self.report(warnings.collect::<Vec<_>>());
    }

    /// Tells the faults of the common options of an element that has others as well.
    fn common_faults(&mut self, whole: &Whole<'_>) {
        let methods: Vec<&Element> = whole.methods().collect();
        if methods.is_empty() {
            self.written_faults(whole, &whole.written);
        }
        for method in methods {
            let mut faults = Vec::new();
            let written = Written::of(method, &mut faults).over(&whole.written);
            self.report(faults);
            self.written_faults(whole, &written);
        }
    }

    fn written_faults(&mut self, whole: &Whole<'_>, written: &Written) {
        let values = whole.declared();
        let (statuses, element) = (whole.kind.statuses(), whole.element.name_span);
        let declared = Declared { statuses, values: &values, element };
        let compiled = written.compile(&declared, &self.patterns);
        let mut at_fault = match compiled {
            Ok(common) => common.at_fault(Vec::new()),
            Err(at_fault) => at_fault,
        };
        self.references_at_fault.append(&mut at_fault.references);
        // What uses a value that the configuration names can't be told from a fault.
        if whole.kind.names_values() {
            let sure = written.without_own_values().compile(&declared, &self.patterns);
            at_fault.findings = sure.err().map(|sure| sure.findings).unwrap_or_default();
        }
        self.report(at_fault.findings);
    }

    /// Adds one engine of an element.
    fn add(&mut self, whole: &Whole<'_>, part: Built) -> Option<(Arc<str>, usize)> {
        let full: Arc<str> = match &part.method {
            Some(method) => format!("{}.{method}", whole.id).into(),
            None => whole.id.into(),
        };
        let (mut common, names) = self.common_options(whole, &part)?;
        self.used_patterns.append(&mut common.used_patterns);
        self.report(std::mem::take(&mut common.warnings));
        self.facts.push(whole.facts(&full, &part, &common, names));
        let plan = EnginePlan::new(full.clone(), whole.kind.name(), part.prototype);
        self.warn_of_no_breaker(&plan, &common);
        self.engines.push(EnginePlan {
            stages: whole.kind.stages(),
            useful_at: whole.kind.stages().intersection(part.useful_at),
            reach: part.reach,
            statuses: whole.kind.statuses(),
            effects: common.effects,
            given: common.places.into_keys().collect(),
            timeout: common.timeout,
            on_exception: common.on_exception,
            dry_run: common.dry_run,
            precondition: common.precondition,
            results: common.results,
            ..plan.with_breaker(common.breaker)
        });
        Some((full, self.engines.len() - 1))
    }

    /// Warns of options for suspending an engine that is never suspended.
    fn warn_of_no_breaker(&mut self, plan: &EnginePlan, common: &Common) {
        if plan.breaker.is_some() {
            return;
        }
        for option in ["breaker_failures", "breaker_pause"] {
            if let Some(place) = common.places.get(option) {
                let message = format!("\"{option}\" has no effect here");
                let warning = Finding::warning(*place, message);
                let help = "an engine that puts requests on record is never suspended";
                self.report([warning.with_help(help)]);
            }
        }
    }

    /// Reads what every engine's element, or that of its method, can say, and the names of what
    /// the engine gives. `None` after an error.
    fn common_options(
        &mut self,
        whole: &Whole<'_>,
        part: &Built,
    ) -> Option<(Common, Vec<Cow<'static, str>>)> {
        let mut names = whole.declared();
        names.extend(part.values.iter().cloned());
        let mut faults = Vec::new();
        let (written, element) = match &part.element {
            Some(element) => {
                let own = Written::of(element, &mut faults);
                (Cow::Owned(own.over(&whole.written)), element.name_span)
            }
            None => (Cow::Borrowed(&whole.written), whole.element.name_span),
        };
        let statuses = whole.kind.statuses();
        let declared = Declared { statuses, values: &names, element };
        let compiled = written.compile(&declared, &self.patterns);
        let at_fault = match compiled {
            Ok(common) if faults.is_empty() => {
                let results = common.results.iter().map(|result| result.name.clone().into());
                names.extend(results);
                return Some((common, names));
            }
            Ok(common) => common.at_fault(Vec::new()),
            Err(at_fault) => at_fault,
        };
        self.report(faults);
        self.report(at_fault.findings);
        self.references_at_fault.extend(at_fault.references);
        self.references_at_fault.extend_from_slice(&part.references);
        None
    }

    fn on_error(&mut self, text: &Spanned<String>) -> Action {
        match fixed_action(&text.as_deref(), &[]) {
            Ok(action) => action,
            Err(findings) => {
                self.report(findings);
                Action::Dunno
            }
        }
    }
}

fn unknown_method(
    span: Span,
    id: &str,
    method: Option<&str>,
    built: &[(Arc<str>, usize)],
) -> Finding {
    let known: Vec<&str> = built.iter().map(|(full, _)| &**full).collect();
    match method {
        Some(method) => Finding::unknown(span, "method", &format!("{id}.{method}"), known),
        None => Finding::error(span, format!("engine \"{id}\" has methods; one must be named"))
            .with_help(format!("known here: {}", known.join(", "))),
    }
}
