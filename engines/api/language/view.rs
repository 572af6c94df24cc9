//! What a text sees of a request when it is evaluated.

use crate::exchange::Exchange;
use crate::outcome::Outcome;

/// What a text sees of a request: the exchange and, behind an engine's run, what it came to.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    exchange: &'a Exchange,
    own: Option<(&'a str, &'a Outcome)>,
}

impl<'a> View<'a> {
    /// Before an engine has run.
    #[must_use]
    pub fn of(exchange: &'a Exchange) -> Self {
        View { exchange, own: None }
    }

    /// Behind the run of the engine of this full ID.
    #[must_use]
    pub fn after(exchange: &'a Exchange, engine: &'a str, outcome: &'a Outcome) -> Self {
        View { exchange, own: Some((engine, outcome)) }
    }

    /// The exchange.
    #[must_use]
    #[inline]
    pub fn exchange(&self) -> &'a Exchange {
        self.exchange
    }

    /// The engine that has just run, and what it came to.
    #[must_use]
    pub fn own(&self) -> Option<(&'a str, &'a Outcome)> {
        self.own
    }
}
