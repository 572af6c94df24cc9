//! Stress: the group to which the requests of another belong while Postfix says `stress=yes`. One
//! step is taken: the group that is used then is not asked for one of its own.

use std::collections::HashMap;

use mppd_engine::{Attribute, Finding, Request, Spanned};

use crate::config::settings::{DEFAULT_GROUP, GroupOptions};

/// What Postfix sends under stress (`STRESS_README`); without it the attribute is empty.
const STRESS: &[u8] = b"yes";

/// Whether Postfix says so.
pub(super) fn is_under_stress(request: &Request) -> bool {
    request.get(Attribute::Stress) == STRESS
}

/// For each group the place of the one that is used in its stead, itself where that is none.
#[derive(Debug, Default)]
pub(super) struct UnderStress(Vec<usize>);

impl UnderStress {
    /// Reads what the groups say; a group that says nothing is as group `default`.
    pub(super) fn read(
        groups: &[GroupOptions],
        places: &HashMap<String, usize>,
    ) -> (UnderStress, Vec<Finding>) {
        let mut findings = Vec::new();
        let options = |group: &GroupOptions| group.under_stress.clone();
        let default = groups.iter().find(|group| group.id.value == DEFAULT_GROUP).and_then(options);
        let inherited = default.and_then(|option| places.get(option.value.trim()).copied());
        let mut places_used = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            let used = match &group.under_stress {
                Some(option) => find(option, group, inherited, places, &mut findings),
                None => inherited,
            };
            places_used.push(used.unwrap_or(place));
        }
        findings.extend(rings(groups, &places_used));
        (UnderStress(places_used), findings)
    }

    /// The group that is used under stress in the stead of this one.
    pub(super) fn of(&self, group: usize) -> usize {
        self.0.get(group).copied().unwrap_or(group)
    }

    /// Whether a group is used under stress in the stead of another.
    pub(super) fn uses(&self, group: usize) -> bool {
        self.0.iter().enumerate().any(|(other, used)| *used == group && other != group)
    }
}

/// The place of the group that an option names.
fn find(
    option: &Spanned<String>,
    group: &GroupOptions,
    inherited: Option<usize>,
    places: &HashMap<String, usize>,
    findings: &mut Vec<Finding>,
) -> Option<usize> {
    let id = option.value.trim();
    let place = places.get(id).copied();
    if place.is_none() {
        let known = places.keys().map(String::as_str);
        findings.push(Finding::unknown(option.span, "group", id, known));
    }
    // What is inherited can be switched off by naming oneself.
    let is_needless = inherited.is_none() || group.id.value == DEFAULT_GROUP;
    if id == group.id.value && is_needless {
        let message = format!("group \"{id}\" names itself");
        let finding = Finding::error(option.span, message);
        findings.push(finding.with_help("leave it out, or name a group with lighter chains"));
    }
    place
}

/// Groups that stand in for each other: whoever wrote that expected more steps than one.
fn rings(groups: &[GroupOptions], used: &[usize]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (first, group) in groups.iter().enumerate() {
        let Some(option) = &group.under_stress else { continue };
        let mut ring = vec![first];
        let mut next = used[first];
        while !ring.contains(&next) {
            ring.push(next);
            next = used[next];
        }
        // It is told once, of the first of its groups that says anything.
        let is_told = |place: &usize| *place < first && groups[*place].under_stress.is_some();
        if ring.len() == 1 || next != first || ring.iter().any(is_told) {
            continue;
        }
        let ids = ring.iter().chain([&first]).map(|place| groups[*place].id.value.as_str());
        let message = format!(
            "groups stand in for each other under stress: {}",
            ids.collect::<Vec<&str>>().join(" -> ")
        );
        let mut finding = Finding::error(option.span, message);
        for other in ring[1..].iter().filter_map(|place| groups[*place].under_stress.as_ref()) {
            finding = finding.with_related(other.span, "and here");
        }
        findings.push(finding);
    }
    findings
}
