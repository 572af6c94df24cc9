//! One element that declares an engine, or several as its methods, while a blueprint is built of
//! it: what holds for all of them, and what the checks of references are told of each.

use std::borrow::Cow;
use std::sync::Arc;

use mppd_engine::language::Reference;
use mppd_engine::{Built, Condition, Element, EngineKind};

use crate::supervisor::common_options::{Common, Written};
use crate::supervisor::references::{Configured, Facts};

/// An engine's element, and what holds for all of its engines.
pub(super) struct Whole<'a> {
    pub(super) id: &'a str,
    pub(super) kind: &'static dyn EngineKind,
    pub(super) element: &'a Element,
    pub(super) written: Written,
    /// What the texts of the element refer to that are not those of one method.
    pub(super) references: Vec<Reference>,
}

impl Whole<'_> {
    /// The elements inside that declare a method each.
    pub(super) fn methods(&self) -> impl Iterator<Item = &Element> {
        let declares =
            |child: &&Element| self.kind.methods().iter().any(|method| method.name == child.name);
        self.element.children.iter().filter(declares)
    }

    /// The names of the values that its kind declares.
    pub(super) fn declared(&self) -> Vec<Cow<'static, str>> {
        self.kind.values().iter().map(|value| value.name.into()).collect()
    }

    /// What is known of one of its engines, for whoever checks what texts refer to.
    pub(super) fn facts(
        &self,
        id: &Arc<str>,
        part: &Built,
        common: &Common,
        names: Vec<Cow<'static, str>>,
    ) -> Facts {
        let stages_of = |condition: &Condition| condition.possible_stages();
        let precondition = common.places.get("precondition").copied();
        let place = |option: &str| common.places.get(option).copied();
        let of_statuses = common.effects.iter().filter_map(|(status, effect)| {
            let option = format!("on_{status}");
            let span = place(&option)?;
            Some(Configured { decides: effect.decides(), ..Configured::new(option, effect, span) })
        });
        // That of an exception is the answer in every chain.
        let of_exceptions = common.on_exception.iter().zip(place("on_exception"));
        let of_exceptions = of_exceptions
            .map(|(effect, span)| Configured::new("on_exception".to_owned(), effect, span));
        let before = [&self.references, &part.references, &common.before];
        Facts {
            id: id.clone(),
            kind: self.kind.name(),
            method: part.method.clone(),
            stages: self.kind.stages(),
            precondition: precondition.zip(common.precondition.as_ref().map(stages_of)),
            statuses: common.effects.keys().copied().collect(),
            names,
            has_open_values: part.has_open_values,
            before: before.into_iter().flatten().cloned().collect(),
            after: common.after.clone(),
            effects: of_statuses.chain(of_exceptions).collect(),
        }
    }
}
