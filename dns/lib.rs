//! Questions to the domain name system: one resolver for all engines, with one cache, a bound on
//! the questions under way, and a deadline for every single one.
//!
//! Engines hold a [`Dns`], which their `BuildContext` gives them as a service, and ask it for
//! records of a [`Name`]. An [`Answer`] tells apart what checks must tell apart: records, none of
//! this type, no such name, and a temporary failure. What stands behind is a [`Lookup`]: the
//! [`Resolver`], or in tests the zones of `testkit`.
//!
//! | module | what lives there |
//! |---|---|
//! | `name` | domain names, in the form in which they are compared and asked for |
//! | `answer` | questions, records, answers |
//! | `counts` | what was asked, and what came of it |
//! | `options` | `<dns>`: the configuration |
//! | `probe` | whether each of the name servers answers |
//! | `resolver` | the resolver: its thread, its cache, its limits |
//! | `testkit` | zones that a test writes, and a server of them (feature `testkit`) |

mod answer;
mod cache;
mod counts;
mod name;
mod options;
mod probe;
mod resolver;
#[cfg(feature = "testkit")]
pub mod testkit;

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

pub use answer::{Answer, Question, Record, RecordKind, TemporaryFailure};
pub use counts::DnsStatus;
pub use name::{Name, NameError, reversed};
pub use options::DnsOptions;
pub use resolver::{Resolver, ResolverError, ResolverOptions};

/// An answer that is waited for.
pub type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Whoever answers questions.
pub trait Lookup: Send + Sync + 'static {
    /// The answer, where it is known without asking anybody.
    fn at_hand(&self, question: &Question) -> Option<Answer>;

    /// Asks. The answer comes by the deadline at the latest, a temporary failure if need be.
    fn look_up(&self, question: Question, deadline: Instant) -> Pending;

    /// What was asked so far, where somebody counts.
    fn status(&self) -> Option<DnsStatus> {
        None
    }
}

/// The domain name system, as engines know it. A clone is as good as the original.
#[derive(Clone)]
pub struct Dns {
    lookup: Arc<dyn Lookup>,
}

impl Dns {
    /// With this to answer the questions.
    pub fn new(lookup: impl Lookup) -> Self {
        Dns { lookup: Arc::new(lookup) }
    }

    /// Asks a question; the answer comes by the deadline at the latest.
    pub async fn ask(&self, question: Question, deadline: Instant) -> Answer {
        match self.lookup.at_hand(&question) {
            Some(answer) => answer,
            None => self.lookup.look_up(question, deadline).await,
        }
    }

    /// The answer, where it is known without asking anybody.
    #[must_use]
    pub fn at_hand(&self, question: &Question) -> Option<Answer> {
        self.lookup.at_hand(question)
    }

    /// What was asked so far, where somebody counts.
    #[must_use]
    pub fn status(&self) -> Option<DnsStatus> {
        self.lookup.status()
    }

    /// Asks at once, whether or not anybody will wait for the answer.
    #[must_use = "the answer comes to whoever waits for it"]
    pub fn begin(&self, question: Question, deadline: Instant) -> Pending {
        self.lookup.look_up(question, deadline)
    }

    /// Asks for texts.
    pub async fn txt(&self, name: &Name, deadline: Instant) -> Answer {
        self.ask(Question::new(RecordKind::Txt, name.clone()), deadline).await
    }

    /// Asks for IPv4 addresses.
    pub async fn a(&self, name: &Name, deadline: Instant) -> Answer {
        self.ask(Question::new(RecordKind::A, name.clone()), deadline).await
    }

    /// Asks for IPv6 addresses.
    pub async fn aaaa(&self, name: &Name, deadline: Instant) -> Answer {
        self.ask(Question::new(RecordKind::Aaaa, name.clone()), deadline).await
    }

    /// Asks for mail exchangers.
    pub async fn mx(&self, name: &Name, deadline: Instant) -> Answer {
        self.ask(Question::new(RecordKind::Mx, name.clone()), deadline).await
    }

    /// Asks for the names of an address.
    pub async fn ptr(&self, address: IpAddr, deadline: Instant) -> Answer {
        self.ask(Question::new(RecordKind::Ptr, Name::reverse(address)), deadline).await
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}
