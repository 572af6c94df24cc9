//! What all lists have said so far, and whether that decides.

use std::sync::Arc;

use mppd_engine::Score;

use super::list::{List, Listing, Role, Said};

/// What all lists have said so far.
#[derive(Debug)]
pub(super) struct Tally<'a> {
    threshold: Score,
    score: Score,
    /// What the lists whose answers are still to come can add, and take.
    open_most: i64,
    open_least: i64,
    open_allows: usize,
    /// What the lists that failed could have added.
    failed_most: i64,
    listings: Vec<(&'a Arc<List>, Listing)>,
    allowed: Option<(&'a Arc<List>, Listing)>,
    /// Lists that did not answer, and why.
    pub(super) failed: Vec<(&'a Arc<List>, String)>,
    /// Lists that were not asked, and why.
    pub(super) suspended: Vec<(&'a Arc<List>, String)>,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Listed,
    Allowed,
    None,
    Unknown,
}

impl<'a> Tally<'a> {
    pub(super) const fn new(threshold: Score) -> Self {
        Tally {
            threshold,
            score: Score(0),
            open_most: 0,
            open_least: 0,
            open_allows: 0,
            failed_most: 0,
            listings: Vec::new(),
            allowed: None,
            failed: Vec::new(),
            suspended: Vec::new(),
        }
    }

    /// A list is being asked.
    pub(super) fn open(&mut self, list: &List) {
        match list.role {
            Role::Allow => self.open_allows += 1,
            Role::Block => {
                self.open_most = self.open_most.saturating_add(list.most().0);
                self.open_least = self.open_least.saturating_add(list.least().0);
            }
        }
    }

    /// A list that was being asked has answered.
    pub(super) fn close(&mut self, list: &List) {
        match list.role {
            Role::Allow => self.open_allows -= 1,
            Role::Block => {
                self.open_most = self.open_most.saturating_sub(list.most().0);
                self.open_least = self.open_least.saturating_sub(list.least().0);
            }
        }
    }

    /// Adds what a list said.
    pub(super) fn add(&mut self, list: &'a Arc<List>, said: Said) {
        match (said, list.role) {
            (Said::Nothing, _) => {}
            (Said::Listed(listing), Role::Allow) => {
                self.allowed.get_or_insert((list, listing));
            }
            (Said::Listed(listing), Role::Block) => {
                self.score = Score(self.score.0.saturating_add(listing.weight.0));
                self.listings.push((list, listing));
            }
            (Said::Everything, _) => self.suspended.push((list, list.health.why())),
            (Said::Failed(why), role) => {
                if role == Role::Block {
                    self.failed_most = self.failed_most.saturating_add(list.most().0);
                }
                self.failed.push((list, why));
            }
        }
    }

    /// Puts all lists into the order of the configuration, whichever answered first.
    pub(super) fn sort(&mut self, order: &[Arc<List>]) {
        let place = |list: &Arc<List>| order.iter().position(|other| Arc::ptr_eq(list, other));
        self.listings.sort_by_key(|(list, _)| place(list));
        self.failed.sort_by_key(|(list, _)| place(list));
        self.suspended.sort_by_key(|(list, _)| place(list));
    }

    /// Whether nothing that is still to come can change the verdict.
    pub(super) fn is_decided(&self) -> bool {
        if self.allowed.is_some() {
            return true;
        }
        let least = self.score.0.saturating_add(self.open_least);
        let most = self.score.0.saturating_add(self.open_most);
        let can_change = least < self.threshold.0 && most >= self.threshold.0;
        self.open_allows == 0 && !can_change
    }

    pub(super) fn verdict(&self) -> Verdict {
        if self.allowed.is_some() {
            return Verdict::Allowed;
        }
        if self.score >= self.threshold {
            return Verdict::Listed;
        }
        // A list that failed and could not have decided makes no difference.
        let could_be = self.score.0.saturating_add(self.failed_most) >= self.threshold.0;
        if could_be { Verdict::Unknown } else { Verdict::None }
    }

    pub(super) const fn score(&self) -> Score {
        self.score
    }

    pub(super) const fn threshold(&self) -> Score {
        self.threshold
    }

    /// The lists that have the subject.
    pub(super) fn sites(&self) -> impl Iterator<Item = &str> {
        self.listings.iter().map(|(list, _)| list.site.as_str())
    }

    pub(super) const fn allowed(&self) -> Option<&(&'a Arc<List>, Listing)> {
        self.allowed.as_ref()
    }

    /// The listing with the greatest weight; of several the one that stands first in the
    /// configuration.
    pub(super) fn heaviest(&self, order: &[Arc<List>]) -> Option<&(&'a Arc<List>, Listing)> {
        let place = |list: &Arc<List>| order.iter().position(|other| Arc::ptr_eq(list, other));
        let mut listings: Vec<_> = self.listings.iter().collect();
        listings.sort_by_key(|(list, listing)| (-listing.weight.0.max(-i64::MAX), place(list)));
        listings.first().copied()
    }
}
