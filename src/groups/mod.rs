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
//! | `sql` | the method that asks a database |
//! | `stress` | the group that is used while Postfix is under stress |

pub mod members;
pub mod method;
mod sql;
mod stress;

use std::collections::HashMap;

use mppd_database::{Pools, ResolvedConnection, Statement};
use mppd_engine::slog::Logger;
use mppd_engine::{BuildContext, Exchange, Finding, Probe};

use self::members::Members;
use self::method::Method;
use self::sql::Lookup;
use self::stress::{UnderStress, is_under_stress};
use crate::config::Draft;
use crate::config::settings::DEFAULT_GROUP;

/// How the group of a request is found. A group is known by its place among the configured ones.
#[derive(Debug, Default)]
pub struct Groups {
    sequence: Vec<Method>,
    members: Members,
    lookup: Option<Lookup>,
    /// The places of the groups, by ID.
    places: HashMap<String, usize>,
    default: usize,
    under_stress: UnderStress,
}

/// How the group of a request was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its place among the groups.
    pub group: usize,
    /// The place of the group that it is a member of: another one while Postfix is under stress.
    pub member_of: usize,
    /// The method that found it; none for a request that belongs to no other than `default`.
    pub method: Option<Method>,
    /// A method before that which was not asked.
    pub not_asked: Option<Method>,
}

impl Groups {
    /// Reads the members of all groups. What was read is of use only where no finding is an error,
    /// neither one of these nor one of the draft's own.
    #[must_use]
    pub fn build(draft: &Draft, logger: &Logger) -> (Groups, Vec<Finding>) {
        let mut cx = BuildContext::new(&draft.sources, logger.clone());
        let (sequence, mut findings) = method::sequence(&draft.selection);
        let ids = draft.groups.iter().map(|group| group.id.value.clone());
        let places: HashMap<String, usize> = ids.zip(0..).collect();
        let (under_stress, faults) = UnderStress::read(&draft.groups, &places);
        findings.extend(faults);
        let (members, faults) = Members::read(&draft.groups, &sequence, &under_stress, &cx);
        findings.extend(faults);
        let mut lookup = None;
        if let Some(options) = &draft.selection.sql {
            match Lookup::read(&options.value, &mut cx) {
                Ok(read) => lookup = Some(read),
                Err(faults) => findings.extend(faults),
            }
        }
        findings.extend(cx.into_warnings());
        // Without a group of this name there is a finding that says so.
        let default = places.get(DEFAULT_GROUP).copied().unwrap_or_default();
        (Groups { sequence, members, lookup, places, default, under_stress }, findings)
    }

    /// What a database is asked for the group of a request, if one is, and which.
    #[must_use]
    pub fn question(&self) -> Option<(&Statement, &ResolvedConnection)> {
        self.lookup.as_ref().map(Lookup::question)
    }

    /// A probe of the database that is asked for groups, and of its statement; none where none is.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        self.lookup.as_ref().map(Lookup::probe)
    }

    /// Has the questions to the database of `<sql>` counted.
    pub fn count_in(&self, pools: &Pools) {
        if let Some(lookup) = &self.lookup {
            lookup.count_in(pools);
        }
    }

    /// The group of every request that belongs to no other.
    #[must_use]
    pub fn default_group(&self) -> usize {
        self.default
    }

    /// The methods that look for a group, in the order in which they are asked.
    #[must_use]
    pub fn sequence(&self) -> &[Method] {
        &self.sequence
    }

    /// The group that is used in the stead of this one while Postfix is under stress; itself where
    /// that is none.
    #[must_use]
    pub fn under_stress(&self, group: usize) -> usize {
        self.under_stress.of(group)
    }

    /// The group of a request that no engine has seen yet.
    pub async fn select(&self, exchange: &Exchange) -> usize {
        self.find(exchange, true).await.group
    }

    /// The same, with how it was found; no database is asked unless `asks_database` says so.
    pub async fn find(&self, exchange: &Exchange, asks_database: bool) -> Found {
        let mut found = self.find_by_members(exchange, asks_database).await;
        if is_under_stress(exchange.request()) {
            found.group = self.under_stress.of(found.group);
        }
        found
    }

    async fn find_by_members(&self, exchange: &Exchange, asks_database: bool) -> Found {
        let mut not_asked = None;
        for method in &self.sequence {
            let group = match method {
                Method::Sql if !asks_database => {
                    not_asked = Some(Method::Sql);
                    None
                }
                Method::Sql => self.ask(exchange).await,
                method => self.members.find(*method, exchange.request()),
            };
            if let Some(group) = group {
                return Found { group, member_of: group, method: Some(*method), not_asked };
            }
        }
        Found { group: self.default, member_of: self.default, method: None, not_asked }
    }

    async fn ask(&self, exchange: &Exchange) -> Option<usize> {
        let lookup = self.lookup.as_ref()?;
        let id = lookup.ask(exchange).await?;
        let place = self.places.get(&id).copied();
        if place.is_none() {
            lookup.say_unknown(&id, exchange);
        }
        place
    }
}

#[cfg(test)]
mod tests;
