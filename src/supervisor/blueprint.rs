//! What the configuration means: engines built, chains resolved, actions understood. A blueprint
//! is made once for a configuration; every worker raises its own copy of the engines from it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mppd_engine::slog::{Logger, o};
use mppd_engine::{
    Action, BuildContext, Built, Element, EngineKind, Finding, Prototype, Span, Spanned, Stages,
};

use super::common_options::Common;
use super::effect::{Effect, action};
use crate::config::settings::{DEFAULT_GROUP, GroupOptions};
use crate::config::{Draft, engine_id};

/// One engine, or one method of one, as the chains call it.
pub struct EnginePlan {
    /// Its full ID.
    pub id: Arc<str>,
    /// Name of its kind.
    pub kind: &'static str,
    /// Where it makes sense.
    pub stages: Stages,
    /// What each of its statuses does.
    pub effects: HashMap<&'static str, Effect>,
    /// How long one run may take.
    pub timeout: Duration,
    /// What an exception does; by place in the chains unless configured.
    pub on_exception: Option<Effect>,
    /// Whether it computes without deciding.
    pub dry_run: bool,
    /// Gives each worker its copy.
    pub prototype: Arc<dyn Prototype>,
}

impl std::fmt::Debug for EnginePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnginePlan")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Where in the life of a request an engine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before the checks.
    Begin,
    /// The checks.
    Check,
    /// After the decision.
    End,
    /// After an exception.
    EndException,
}

impl Place {
    /// Every place, in the order of a request's life.
    pub const ALL: [Place; 4] = [Place::Begin, Place::Check, Place::End, Place::EndException];

    /// The element that lists its engines.
    #[must_use]
    pub const fn element(self) -> &'static str {
        match self {
            Place::Begin => "policy_begin_engines",
            Place::Check => "policy_check_engines",
            Place::End => "policy_end_engines",
            Place::EndException => "policy_end_exception_engines",
        }
    }

    /// What an exception does here unless configured: checks fail open.
    #[must_use]
    pub const fn default_on_exception(self) -> Effect {
        match self {
            Place::Check => Effect::Continue,
            Place::Begin | Place::End | Place::EndException => Effect::Fail,
        }
    }
}

/// The engines at each place, as indexes into [`Blueprint::engines`]. Groups share the lists that
/// they do not set themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains([Arc<Vec<usize>>; 4]);

impl Chains {
    /// The engines at one place, in order.
    #[must_use]
    pub fn at(&self, place: Place) -> &[usize] {
        &self.0[place as usize]
    }

    /// Adds an engine at the end of one place.
    pub fn add(&mut self, place: Place, engine: usize) {
        Arc::make_mut(&mut self.0[place as usize]).push(engine);
    }

    fn set(&mut self, place: Place, engines: Vec<usize>) {
        self.0[place as usize] = Arc::new(engines);
    }

    fn engines(&self) -> impl Iterator<Item = usize> {
        Place::ALL.into_iter().flat_map(|place| self.at(place)).copied()
    }
}

/// What a policy group means for its requests.
#[derive(Debug, Clone)]
pub struct GroupPlan {
    /// Its ID.
    pub id: Arc<str>,
    /// Its chains.
    pub chains: Chains,
    /// The reply after an exception.
    pub on_error: Action,
    /// Whether its requests are answered with DUNNO, whatever is decided.
    pub dry_run: bool,
}

impl GroupPlan {
    /// A group that is answered as decided, with DUNNO after an exception.
    #[must_use]
    pub fn new(id: &str, chains: Chains) -> Self {
        GroupPlan { id: id.into(), chains, on_error: Action::Dunno, dry_run: false }
    }
}

/// Everything that the workers need to know of one configuration.
#[derive(Debug)]
pub struct Blueprint {
    /// Every engine that a chain names, once for all groups.
    pub engines: Vec<EnginePlan>,
    /// The policy groups, in the order of the configuration.
    pub groups: Vec<GroupPlan>,
    positions: HashMap<Arc<str>, usize>,
}

impl Blueprint {
    /// A blueprint of engines and groups that are known already.
    #[must_use]
    pub fn new(engines: Vec<EnginePlan>, groups: Vec<GroupPlan>) -> Self {
        let places = groups.iter().enumerate();
        let positions = places.map(|(place, group)| (group.id.clone(), place)).collect();
        Blueprint { engines, groups, positions }
    }

    /// The group of this ID.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&GroupPlan> {
        self.groups.get(*self.positions.get(id)?)
    }

    /// Whether a group's chains put requests on record.
    #[must_use]
    pub fn tracks(&self, group: &GroupPlan) -> bool {
        group.chains.engines().any(|engine| self.engines[engine].kind == "track")
    }

    /// Builds the engines that the chains name. The blueprint is of use only where no finding is
    /// an error, neither one of these nor one of the draft's own.
    #[must_use]
    pub fn build(
        draft: &Draft,
        kinds: &[&'static dyn EngineKind],
        logger: &Logger,
    ) -> (Blueprint, Vec<Finding>) {
        let mut builder = Builder {
            draft,
            kinds,
            logger,
            engines: Vec::new(),
            index: HashMap::new(),
            findings: Vec::new(),
        };
        builder.check_kinds();
        if draft.common.is_none() {
            builder.build_all();
        }
        let groups = builder.groups();
        if draft.common.is_some() {
            builder.warn_of_unused();
        }
        (Blueprint::new(builder.engines, groups), builder.findings)
    }
}

struct Builder<'a> {
    draft: &'a Draft,
    kinds: &'a [&'static dyn EngineKind],
    logger: &'a Logger,
    engines: Vec<EnginePlan>,
    /// The engines of the elements that were built or could not be, by position in the draft.
    index: HashMap<usize, Vec<(Arc<str>, usize)>>,
    findings: Vec<Finding>,
}

impl Builder<'_> {
    fn warn_of_unused(&mut self) {
        for (position, element) in self.draft.engines.iter().enumerate() {
            if self.kind(element).is_some() && !self.index.contains_key(&position) {
                let id = engine_id(element);
                let message = format!("no chain names the engine \"{}\"", id.value);
                let warning = Finding::warning(id.span, message);
                self.findings.push(warning.with_help("it is neither checked nor used"));
            }
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
    fn chain(&mut self, lists: &[Spanned<String>]) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for word in lists.iter().flat_map(Spanned::words) {
            if let Some(first) = seen.insert(word.value, word.span) {
                let message = format!("engine \"{}\" stands twice in one chain", word.value);
                self.findings
                    .push(Finding::error(word.span, message).with_related(first, "first here"));
            } else if let Some(engine) = self.engine(&word) {
                chain.push(engine);
            }
        }
        chain
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
            let known: Vec<String> =
                engines.iter().map(|element| engine_id(element).value).collect();
            let finding =
                Finding::unknown(name.span, "engine", id, known.iter().map(String::as_str));
            self.findings.push(finding);
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
        // An element that could not be built has its own findings.
        if !built.is_empty() {
            let finding = unknown_method(name.span, id, method, built);
            self.findings.push(finding);
        }
        None
    }

    /// Builds the engines of an element, and says under which full IDs.
    fn build_element(&mut self, element: &Element) -> Vec<(Arc<str>, usize)> {
        let Some(kind) = self.kind(element) else { return Vec::new() };
        let id = &engine_id(element).value;
        let logger = self.logger.new(o!("engine" => id.clone()));
        let mut context = BuildContext::new(&self.draft.sources, logger);
        let built = kind.build(element, &mut context);
        self.findings.extend(context.into_warnings());
        let common = self.common_options(element, kind);
        match (built, common) {
            (Ok(parts), Some(common)) => {
                parts.into_iter().map(|part| self.add(id, kind, part, &common)).collect()
            }
            (Ok(_), None) => Vec::new(),
            (Err(findings), _) => {
                self.findings.extend(findings);
                Vec::new()
            }
        }
    }

    fn add(
        &mut self,
        id: &str,
        kind: &'static dyn EngineKind,
        part: Built,
        common: &Common,
    ) -> (Arc<str>, usize) {
        let full: Arc<str> = match part.method {
            Some(method) => format!("{id}.{method}").into(),
            None => id.into(),
        };
        self.engines.push(EnginePlan {
            id: full.clone(),
            kind: kind.name(),
            stages: kind.stages(),
            effects: common.effects.clone(),
            timeout: common.timeout,
            on_exception: common.on_exception.clone(),
            dry_run: common.dry_run,
            prototype: part.prototype,
        });
        (full, self.engines.len() - 1)
    }

    /// Reads what every engine's element can say. `None` after an error.
    fn common_options(&mut self, element: &Element, kind: &dyn EngineKind) -> Option<Common> {
        let before = self.findings.len();
        let mut common = Common::of(kind.statuses());
        let attributes =
            element.attributes.iter().map(|a| (&*a.name, a.name_span, &*a.value, a.value_span));
        let children =
            element.children.iter().map(|c| (&*c.name, c.name_span, c.trimmed_text(), c.text_span));
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for (name, name_span, text, text_span) in attributes.chain(children) {
            if name == "id" || !mppd_engine::config::is_common_option(name) {
                continue;
            }
            if let Some(first) = seen.insert(name, name_span) {
                let finding = Finding::error(name_span, format!("\"{name}\" is given twice"));
                self.findings.push(finding.with_related(first, "first here"));
                continue;
            }
            let value = Spanned { value: text, span: text_span };
            if let Err(finding) = common.set(&Spanned { value: name, span: name_span }, &value) {
                self.findings.push(finding);
            }
        }
        (self.findings.len() == before).then_some(common)
    }

    fn on_error(&mut self, text: &Spanned<String>) -> Action {
        match action(&Spanned { value: &text.value, span: text.span }, &[]) {
            Ok(action) => action,
            Err(finding) => {
                self.findings.push(finding);
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
