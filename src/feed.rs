//! Decisions as they happen, for whoever looks on. Where nobody does, a decision costs the look at
//! one number; who reads too slowly misses some, is told how many, and holds up nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mppd_engine::{Attribute, Escaped, Exchange};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::status::text;

/// Decisions that are kept for those who look on and read slowly.
const KEPT: usize = 1_024;

/// A decision, in words that cannot deceive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decided {
    /// When the request came (RFC 3339).
    pub time: String,
    /// Its key in the records.
    pub id: String,
    /// The word or code that is answered.
    pub decision: String,
    /// The text that goes with it.
    pub text: String,
    /// The engine that decided.
    pub engine: String,
    /// The policy group.
    pub group: String,
    /// The stage.
    pub stage: &'static str,
    /// The client's address.
    pub client: String,
    /// The client's name.
    pub client_name: String,
    /// What it says it is.
    pub helo: String,
    /// The sender.
    pub sender: String,
    /// The recipient.
    pub recipient: String,
    /// The name that somebody has logged in with.
    pub sasl_username: String,
    /// The mail transaction.
    pub instance: String,
    /// How long the answer took.
    pub milliseconds: f64,
}

impl Decided {
    /// What a request has come to.
    #[must_use]
    pub fn of(exchange: &Exchange, started: Instant) -> Self {
        let request = exchange.request();
        let attribute = |attribute: Attribute| Escaped(request.get(attribute)).to_string();
        let (word, reason) = exchange.answer().unwrap_or_default();
        let engine = exchange.decision().and_then(|decision| decision.engine.as_deref());
        Decided {
            time: text(exchange.received()),
            id: exchange.key().to_string(),
            decision: word.into_owned(),
            text: Escaped(reason.unwrap_or_default().as_bytes()).to_string(),
            engine: engine.unwrap_or_default().to_owned(),
            group: exchange.group().to_string(),
            stage: exchange.stage().name(),
            client: attribute(Attribute::ClientAddress),
            client_name: attribute(Attribute::ClientName),
            helo: attribute(Attribute::HeloName),
            sender: attribute(Attribute::Sender),
            recipient: attribute(Attribute::Recipient),
            sasl_username: attribute(Attribute::SaslUsername),
            instance: attribute(Attribute::Instance),
            milliseconds: started.elapsed().as_secs_f64() * 1e3,
        }
    }
}

/// Where decisions are said.
#[derive(Debug)]
pub struct Feed {
    listeners: Arc<AtomicUsize>,
    sender: broadcast::Sender<Arc<Decided>>,
}

impl Default for Feed {
    fn default() -> Self {
        Feed { listeners: Arc::default(), sender: broadcast::Sender::new(KEPT) }
    }
}

impl Feed {
    /// Says a decision to those who look on, if there are any.
    pub fn say(&self, exchange: &Exchange, started: Instant) {
        if self.listeners.load(Ordering::Relaxed) == 0 {
            return;
        }
        // The last one may have gone in between.
        let _unheard = self.sender.send(Arc::new(Decided::of(exchange, started)));
    }

    /// Looks on from now on, unless `most` do already.
    #[must_use]
    pub fn listen(&self, most: usize) -> Option<Listening> {
        let before = self.listeners.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(self.listeners.clone());
        (before < most).then(|| Listening { receiver: self.sender.subscribe(), _counted: counted })
    }
}

/// Counts one who looks on, for as long as this lives.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What somebody who looks on hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A decision.
    Decided(Arc<Decided>),
    /// So many were not heard.
    Missed(u64),
}

/// Somebody who looks on.
#[derive(Debug)]
pub struct Listening {
    receiver: broadcast::Receiver<Arc<Decided>>,
    _counted: Counted,
}

impl Listening {
    /// What comes next; `None` when the server ends.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(decided) => Some(Heard::Decided(decided)),
            Err(RecvError::Lagged(count)) => Some(Heard::Missed(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::exchange;

    use super::*;

    #[tokio::test]
    async fn decisions_are_heard_by_who_listens_and_nobody_else() {
        let feed = Feed::default();
        let exchange = exchange([("sender", "a@example.org"), ("helo_name", "\u{202e}x")]);
        feed.say(&exchange, Instant::now());
        let mut listening = feed.listen(1).unwrap();
        assert!(feed.listen(1).is_none(), "only so many may");
        feed.say(&exchange, Instant::now());
        let Some(Heard::Decided(decided)) = listening.next().await else { panic!() };
        assert_eq!(
            (decided.sender.as_str(), decided.helo.as_str()),
            ("a@example.org", r"\u{202e}x")
        );
        drop(listening);
        assert!(feed.listen(1).is_some());
    }

    #[tokio::test]
    async fn who_reads_too_slowly_is_told_how_much_is_missed() {
        let feed = Feed::default();
        let exchange = exchange([("sender", "")]);
        let mut listening = feed.listen(1).unwrap();
        for _ in 0..KEPT + 5 {
            feed.say(&exchange, Instant::now());
        }
        assert_eq!(listening.next().await, Some(Heard::Missed(5)));
        assert!(matches!(listening.next().await, Some(Heard::Decided(_))));
    }
}
