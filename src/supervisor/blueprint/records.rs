//! Whether what is configured for the records can be of any use.

use mppd_engine::Finding;

use super::{EnginePlan, GroupPlan};
use crate::config::Draft;
use crate::config::settings::DEFAULT_GROUP;

/// What to do about a database for records that nobody writes.
const HELP: &str = "include esm/PPXX0001.xml, as the configuration that comes with mppd does";

/// Warns of databases that stay empty, since no chain of a group that has them tracks.
pub(super) fn unused_connections(
    draft: &Draft,
    groups: &[GroupPlan],
    engines: &[EnginePlan],
) -> Vec<Finding> {
    let has_own = |id: &str| {
        draft.groups.iter().any(|group| group.id.value == id && group.tracking.is_some())
    };
    let tracks = |group: &GroupPlan| group.chains.engines().any(|engine| engines[engine].tracks());
    let unused = draft.groups.iter().filter_map(|owner| {
        let connection = owner.tracking.as_ref()?;
        let is_user = |group: &&GroupPlan| {
            *group.id == *owner.id.value || owner.id.value == DEFAULT_GROUP && !has_own(&group.id)
        };
        if groups.iter().filter(is_user).any(tracks) {
            return None;
        }
        let message = "no chain puts requests on record, so nothing is written to this database";
        Some(Finding::warning(connection.span, message).with_help(HELP))
    });
    unused.collect()
}
