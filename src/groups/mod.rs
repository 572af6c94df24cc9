//! Policy groups: which one a request belongs to.
//!
//! The methods of `<members_global_sequence>` are asked in order; the first that finds a group
//! wins, and what none finds belongs to group `default`. There is one table for each method over
//! the members of all groups, so that finding a group costs the same however many there are.
//!
//! | module | what lives there |
//! |---|---|
//! | [`method`] | the methods, and the order in which they are asked |
//! | [`members`] | the tables |

pub mod members;
pub mod method;

use mppd_engine::slog::Logger;
use mppd_engine::{BuildContext, Finding, Request};

use self::members::Members;
use self::method::Method;
use crate::config::Draft;
use crate::config::settings::DEFAULT_GROUP;

/// How the group of a request is found. A group is known by its place among the configured ones.
#[derive(Debug, Default)]
pub struct Groups {
    sequence: Vec<Method>,
    members: Members,
    default: usize,
}

impl Groups {
    /// Reads the members of all groups. What was read is of use only where no finding is an error,
    /// neither one of these nor one of the draft's own.
    #[must_use]
    pub fn build(draft: &Draft, logger: &Logger) -> (Groups, Vec<Finding>) {
        let cx = BuildContext::new(&draft.sources, logger.clone());
        let sequence = draft.selection.members_global_sequence.as_ref();
        let (sequence, mut findings) = method::sequence(sequence);
        let (members, faults) = Members::read(&draft.groups, &sequence, &cx);
        findings.extend(faults);
        // Without a group of this name there is a finding that says so.
        let default = draft.groups.iter().position(|group| group.id.value == DEFAULT_GROUP);
        (Groups { sequence, members, default: default.unwrap_or_default() }, findings)
    }

    /// The group of a request.
    #[must_use]
    pub fn select(&self, request: &Request) -> usize {
        let found = self.sequence.iter().find_map(|method| self.members.find(*method, request));
        found.unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests;
