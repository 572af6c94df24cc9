//! The names that a configuration gives to the values of an engine, as in `$engines.ID.NAME`.

use std::collections::BTreeSet;

use mppd_engine::{Finding, Spanned};

/// The names of one engine, as they are read.
pub(crate) struct ValueNames<'a> {
    taken: &'static [&'static str],
    given: BTreeSet<&'a str>,
}

impl<'a> ValueNames<'a> {
    /// None yet. Those that are taken mean something else already.
    pub(crate) fn besides(taken: &'static [&'static str]) -> Self {
        ValueNames { taken, given: BTreeSet::new() }
    }

    /// One more; what is wrong with it.
    pub(crate) fn add(&mut self, id: &'a Spanned<String>) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.check(id));
        if !self.given.insert(&id.value) {
            let message = format!("there is a value \"{}\" already", id.value);
            findings.push(Finding::error(id.span, message));
        }
        findings
    }

    fn check(&self, id: &Spanned<String>) -> Option<Finding> {
        let is_word = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
        if id.value.is_empty() || !id.value.bytes().all(is_word) {
            let message = format!("{:?} is not made of letters, digits and \"_\"", id.value);
            return Some(Finding::error(id.span, message));
        }
        if self.taken.contains(&id.value.as_str()) {
            let message = format!("\"{}\" means something else already", id.value);
            return Some(Finding::error(id.span, message));
        }
        None
    }
}
