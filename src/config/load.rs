//! From the files, the environment and the command line to one configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use mppd_database::{ResolvedConnection, ServerFiles};
use mppd_engine::config::{Severity, SourceMap, Spanned, nearest, salvage};
use mppd_engine::{Element, Finding};
use mppd_state::StorePlan;
use serde::de::DeserializeOwned;

use super::files::{ConfigurationFile, Files};
use super::limits::Limits;
use super::merge::Parts;
use super::settings::{CommonOptions, DEFAULT_GROUP, GroupOptions, GroupsOptions};
use super::{include, layers, merge};

/// The name of the outermost element.
const ROOT: &str = "mppd";

/// What is to be loaded.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// The main file.
    pub file: ConfigurationFile,
    /// The environment, all of it; what mppd does not know is left alone.
    pub environment: BTreeMap<String, String>,
    /// What stands behind each `--set`.
    pub set: Vec<String>,
}

/// A configuration without faults, as far as they can be found without building the engines.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// What holds for the whole server.
    pub common: CommonOptions,
    /// How the group of a request is found.
    pub selection: GroupsOptions,
    /// The policy groups; `default` is one of them.
    pub groups: Vec<GroupOptions>,
    /// The databases for the records, by the ID of the group that names one.
    pub connections: BTreeMap<String, ResolvedConnection>,
    /// Where engines keep what they remember.
    pub state_store: StorePlan,
    /// The engines, as written; their kinds read them.
    pub engines: Vec<Element>,
    /// Where everything stands.
    pub sources: SourceMap,
    /// What works, but probably not as meant.
    pub warnings: Vec<Finding>,
}

impl Configuration {
    /// The database for the records of a group: its own, else that of group `default`; `None` for
    /// the embedded store.
    #[must_use]
    pub fn connection(&self, group: &str) -> Option<&ResolvedConnection> {
        self.connections.get(group).or_else(|| self.connections.get(DEFAULT_GROUP))
    }
}

/// A configuration that can't be used, and why.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Rejected {
    /// Where everything stands.
    pub sources: SourceMap,
    /// What is wrong, in the order of the places; at least one is an error.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {}", super::report::count(&self.findings))
    }
}

/// What could be read of a configuration, and everything that is wrong with it so far. Engines are
/// checked by who knows their kinds, so that their faults are told together with all others.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What holds for the whole server, if it could be read.
    pub common: Option<CommonOptions>,
    /// How the group of a request is found.
    pub selection: GroupsOptions,
    /// The policy groups that could be read.
    pub groups: Vec<GroupOptions>,
    /// The databases for the records, by the ID of the group.
    pub connections: BTreeMap<String, ResolvedConnection>,
    /// Where engines keep what they remember.
    pub state_store: StorePlan,
    /// The engines, as written.
    pub engines: Vec<Element>,
    /// Whether something could not be read, or not be included, so that what it holds is missing.
    pub is_incomplete: bool,
    /// Where everything stands.
    pub sources: SourceMap,
    /// What is wrong, or probably not as meant.
    pub findings: Vec<Finding>,
}

impl Draft {
    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    /// All findings, in the order of their places, where one of them is an error.
    pub fn finish(mut self) -> Result<Configuration, Rejected> {
        sort(&mut self.findings);
        let is_good = self.findings.iter().all(|finding| finding.severity == Severity::Warning);
        match self.common {
            Some(common) if is_good => Ok(Configuration {
                common,
                selection: self.selection,
                groups: self.groups,
                connections: self.connections,
                state_store: self.state_store,
                engines: self.engines,
                sources: self.sources,
                warnings: self.findings,
            }),
            _ => Err(Rejected { sources: self.sources, findings: self.findings }),
        }
    }
}

/// Reads a configuration as far as it can be read.
#[must_use]
pub fn draft(request: &LoadRequest, limits: &Limits) -> Draft {
    let mut files = Files::new(limits);
    let root = read(&mut files, &request.file);
    let Files { sources, findings, .. } = files;
    let is_incomplete = findings.iter().any(|finding| finding.severity == Severity::Error);
    let mut draft = Draft {
        common: None,
        selection: GroupsOptions::default(),
        groups: Vec::new(),
        connections: BTreeMap::new(),
        state_store: StorePlan::default(),
        engines: Vec::new(),
        is_incomplete,
        sources,
        findings,
    };
    if let Some(root) = root {
        draft.interpret(&root, request);
    }
    draft
}

/// Loads a configuration whose engines are of no interest.
///
/// # Errors
/// Everything that is wrong in all of its files, at once.
pub fn load(request: &LoadRequest) -> Result<Configuration, Rejected> {
    load_within(request, &Limits::default())
}

/// Loads a configuration within bounds of one's own.
///
/// # Errors
/// Everything that is wrong in all of its files, at once.
pub fn load_within(request: &LoadRequest, limits: &Limits) -> Result<Configuration, Rejected> {
    draft(request, limits).finish()
}

/// The main file with its includes, if it can be read to its end.
fn read(files: &mut Files<'_>, file: &ConfigurationFile) -> Option<Element> {
    let main = files.read_main(file)?;
    let root = main.document.root.as_ref()?;
    if root.name != ROOT {
        files.findings.push(wrong_root(root));
        return None;
    }
    // Includes that stand before a fault are read all the same, for the faults in their files.
    let resolved = include::resolve(files, root);
    resolved.filter(|_| main.document.complete)
}

fn wrong_root(root: &Element) -> Finding {
    let message = format!("the outermost element is <{}>, not <{ROOT}>", root.name);
    let finding = Finding::error(root.name_span, message);
    match nearest(&root.name, [ROOT]) {
        Some(_) => finding.with_help(format!("did you mean \"{ROOT}\"?")),
        None => finding,
    }
}

impl Draft {
    /// Reads what the tree says.
    fn interpret(&mut self, root: &Element, request: &LoadRequest) {
        let (sources, findings) = (&mut self.sources, &mut self.findings);
        let Parts { mut common, selection, groups, engines } = merge::parts(root, findings);
        layers::apply(&mut common, &request.environment, &request.set, sources, findings);
        self.common = sound(&common, findings);
        self.selection = sound(&selection, findings).unwrap_or_default();
        self.groups = groups.iter().filter_map(|group| sound(group, findings)).collect();
        if self.groups.is_empty() {
            let id = Spanned { value: DEFAULT_GROUP.to_owned(), span: root.name_span };
            self.groups.push(GroupOptions::of_id(id));
        }
        for group in &self.groups {
            let Some(options) = &group.tracking else { continue };
            let mut files = ServerFiles::new(sources);
            let resolved = keep(mppd_database::resolve(&options.value, &mut files), findings);
            findings.append(&mut files.warnings);
            let deadline = self.common.as_ref().map(|common| common.policy_server.request_deadline);
            if let (Some(connection), Some(deadline)) = (&resolved, deadline)
                && connection.write_timeout >= deadline.0.0
            {
                findings.push(slow_database(group, connection, deadline.0.0));
            }
            let named = resolved.map(|connection| (group.id.value.clone(), connection));
            self.connections.extend(named);
        }
        if let Some(common) = &self.common {
            let mut files = ServerFiles::new(sources);
            let plan = keep(common.state_store.resolve(&mut files), findings);
            findings.append(&mut files.warnings);
            self.state_store = plan.unwrap_or_default();
        }
        self.engines = engines;
    }
}

/// A database that hangs must be given up before its requests are.
fn slow_database(
    group: &GroupOptions,
    connection: &ResolvedConnection,
    deadline: Duration,
) -> Finding {
    let message = format!(
        "the write_timeout of the tracking connection ({:?}) is not shorter than request_deadline \
         ({deadline:?})",
        connection.write_timeout
    );
    let help = "while the database hangs, requests would come to an end before their rows go to \
                the spool";
    Finding::warning(group.id.span, message).with_help(help)
}

/// What is sound of an element's options.
fn sound<T: DeserializeOwned>(element: &Element, findings: &mut Vec<Finding>) -> Option<T> {
    let (value, faults) = salvage(element, |_| false);
    findings.extend(faults);
    value
}

fn keep<T>(read: Result<T, Vec<Finding>>, findings: &mut Vec<Finding>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(faults) => {
            findings.extend(faults);
            None
        }
    }
}

/// In the order of the places; what an element that is included twice has wrong is told once.
fn sort(findings: &mut Vec<Finding>) {
    findings.sort_by_key(|finding| finding.span.map(|span| (span.source, span.start)));
    findings.dedup();
}
