//! How an engine puts a request on record. The records themselves (stores, batches, spool) are the
//! server's; an engine sees this much of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::action::Action;
use crate::exchange::Exchange;

/// The key of one request in the records: time-ordered and unique across nodes, made when the
/// request is received. Its text form is that of a UUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey(pub [u8; 16]);

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A step in the life of a request's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The request came; nothing is decided.
    Received,
    /// The decision stands.
    Processed,
    /// An exception ended the chains; the decision is that of `on_error`.
    Exception,
}

/// Why a transition could not be put on record.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request could not be put on record: {reason}")]
pub struct TrackingError {
    /// What the store said.
    pub reason: String,
    /// What the request is to be answered with for this reason, where the configuration of the
    /// records says so.
    pub reply: Option<Action>,
}

impl TrackingError {
    /// For this reason; the group's `on_error` says what is answered.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        TrackingError { reason: reason.into(), reply: None }
    }

    /// With an answer that stands in place of `on_error`.
    #[must_use]
    pub fn with_reply(mut self, reply: Action) -> Self {
        self.reply = Some(reply);
        self
    }
}

/// Ready when the transition is as durable as the configuration asks, which may be at once.
pub type Recorded = Pin<Box<dyn Future<Output = Result<(), TrackingError>>>>;

/// Where the transitions of a group's requests go.
pub trait Tracker: Send + Sync {
    /// Puts one transition on record. What is recorded is the state of the exchange at the time of
    /// the call; dropping the returned future gives up waiting, not the record.
    fn record(&self, transition: Transition, exchange: &Exchange) -> Recorded;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_like_a_uuid() {
        let key = RequestKey(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
        assert_eq!(key.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }
}
