//! One list: what it is asked, and what its answers mean.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use mppd_dns::{Answer, Dns, Name, Question, Record, RecordKind};
use mppd_engine::{Request, Score};

use super::health::Health;
use super::reply::Pattern;
use super::subject::{Of, Subject};

/// Most characters of what a list says that are repeated.
const LONGEST_REASON: usize = 200;

/// What stands where a text of a list would have shown the secret of its zone.
const STARS: &str = "******";

/// What a listing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It counts against the request.
    Block,
    /// It overrules all that counts against the request.
    Allow,
}

/// What some replies mean.
#[derive(Debug)]
pub(super) struct Meaning {
    pub(super) patterns: Vec<Pattern>,
    pub(super) weight: Score,
    pub(super) reason: Option<String>,
}

/// One list.
#[derive(Debug)]
pub(super) struct List {
    /// How it is called wherever it is shown.
    pub(super) site: String,
    pub(super) role: Role,
    pub(super) of: Of,
    pub(super) registrable: bool,
    pub(super) meanings: Vec<Meaning>,
    /// Replies by which it says that it does not answer.
    pub(super) errors: Vec<Pattern>,
    /// What it says of what no list must have, if that is looked at.
    pub(super) tests: Option<Tests>,
    pub(super) health: Health,
    pub(super) zone: Zone,
}

/// Where the list is asked.
pub(super) struct Zone {
    /// With the secret.
    pub(super) name: Name,
    pub(super) secret: Option<String>,
}

impl std::fmt::Debug for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zone").finish_non_exhaustive()
    }
}

/// What nobody has, in the words of RFC 5782, section 5.
pub(super) struct Tests {
    v4: Question,
    v6: Question,
    name: Question,
}

impl std::fmt::Debug for Tests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tests").finish_non_exhaustive()
    }
}

impl Tests {
    /// 127.0.0.1, the same as an IPv6 address, and the name that is reserved for being none.
    pub(super) fn of(zone: &Name) -> Option<Self> {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let question = |labels: &str| {
            let name = zone.with_labels(labels.as_bytes()).ok()?;
            Some(Question::new(RecordKind::A, name))
        };
        Some(Tests {
            v4: question(&mppd_dns::reversed(Ipv4Addr::LOCALHOST.into()))?,
            v6: question(&mppd_dns::reversed(mapped.into()))?,
            name: question("invalid")?,
        })
    }

    fn for_subject(&self, subject: &Subject<'_>) -> &Question {
        match subject {
            Subject::Address(address, _) if address.is_ipv4() => &self.v4,
            Subject::Address(..) => &self.v6,
            Subject::Name(_) => &self.name,
        }
    }
}

/// What a list has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// It has the subject.
    Listed(Listing),
    /// It has everything, so it says nothing.
    Everything,
    /// It did not answer.
    Failed(String),
}

/// That a list has the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) weight: Score,
    /// The reply that says so.
    pub(super) reply: Ipv4Addr,
    /// What the configuration says about that reply.
    pub(super) reason: Option<String>,
    /// What was asked.
    pub(super) question: Question,
    /// What it was asked about.
    pub(super) subject: String,
}

/// What a list is asked about one request.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) list: &'a Arc<List>,
    pub(super) question: Question,
    subject: Subject<'a>,
}

impl List {
    /// What to ask about a request, if there is anything.
    pub(super) fn asked<'a>(
        self: &'a Arc<Self>,
        request: &'a Request,
        address: Option<&Subject<'a>>,
    ) -> Option<Asked<'a>> {
        let subject = match self.of {
            Of::ClientAddress => address?.clone(),
            of => Subject::name(of, request)?,
        };
        let subject = if self.registrable { subject.registrable()? } else { subject };
        // A name that is too long with the zone behind it can't be on the list.
        let name = self.zone.name.with_labels(subject.labels()).ok()?;
        Some(Asked { list: self, question: Question::new(RecordKind::A, name), subject })
    }

    /// The most that it can add to the score.
    pub(super) fn most(&self) -> Score {
        let weights = self.meanings.iter().map(|meaning| meaning.weight.0.max(0));
        Score(weights.fold(0, i64::saturating_add))
    }

    /// The most that it can take from the score, as a number that is not positive.
    pub(super) fn least(&self) -> Score {
        let weights = self.meanings.iter().map(|meaning| meaning.weight.0.min(0));
        Score(weights.fold(0, i64::saturating_add))
    }

    /// A text of others in one line, neither too long nor with the secret of the zone.
    pub(super) fn fit(&self, text: &[u8]) -> String {
        let text = mppd_engine::Escaped(text).to_string();
        let text = self.without_secret(text.trim());
        match text.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => format!("{}...", text[..end].trim_end()),
            None => text,
        }
    }

    fn without_secret(&self, text: &str) -> String {
        let Some(secret) = &self.zone.secret else { return text.to_owned() };
        let (lower, secret) = (text.to_ascii_lowercase(), secret.to_ascii_lowercase());
        let mut shown = String::with_capacity(text.len());
        let mut at = 0;
        for (start, found) in lower.match_indices(&secret) {
            shown.push_str(&text[at..start]);
            shown.push_str(STARS);
            at = start + found.len();
        }
        shown + &text[at..]
    }

    /// The weights of all meanings that one of the replies has, each once, and the first such reply
    /// with its reason.
    fn weigh(&self, replies: &[Ipv4Addr]) -> Option<(Score, Ipv4Addr, Option<String>)> {
        let mut found = None;
        let mut weight = 0_i64;
        for meaning in &self.meanings {
            let has = |reply: &&Ipv4Addr| meaning.patterns.iter().any(|it| it.matches(**reply));
            let Some(reply) = replies.iter().find(has) else { continue };
            weight = weight.saturating_add(meaning.weight.0);
            found.get_or_insert((*reply, &meaning.reason));
        }
        found.map(|(reply, reason)| (Score(weight), reply, reason.clone()))
    }
}

impl Asked<'_> {
    /// What there is to say without asking anybody.
    pub(super) fn at_hand(&self, dns: &Dns) -> Option<Said> {
        match self.meaning(&dns.at_hand(&self.question)?) {
            Said::Listed(listing) => match self.test() {
                Some(test) => Some(self.tested(listing, &dns.at_hand(test)?)),
                None => Some(Said::Listed(listing)),
            },
            said => Some(said),
        }
    }

    /// Asks. What no list must have is asked for at the same time.
    pub(super) async fn ask(&self, dns: &Dns, deadline: Instant) -> Said {
        let begun = self.test().map(|test| match dns.at_hand(test) {
            Some(answer) => Box::pin(std::future::ready(answer)),
            None => dns.begin(test.clone(), deadline),
        });
        match self.meaning(&dns.ask(self.question.clone(), deadline).await) {
            Said::Listed(listing) => match begun {
                Some(test) => self.tested(listing, &test.await),
                None => Said::Listed(listing),
            },
            said => said,
        }
    }

    fn test(&self) -> Option<&Question> {
        self.list.tests.as_ref().map(|tests| tests.for_subject(&self.subject))
    }

    /// A listing counts unless the list has what nobody has.
    fn tested(&self, listing: Listing, test: &Answer) -> Said {
        match self.meaning(test) {
            Said::Listed(_) => Said::Everything,
            _ => Said::Listed(listing),
        }
    }

    /// What an answer means.
    fn meaning(&self, answer: &Answer) -> Said {
        let records = match answer.records() {
            Ok([]) => return Said::Nothing,
            Ok(records) => records,
            Err(failure) => return Said::Failed(self.list.fit(failure.to_string().as_bytes())),
        };
        let replies: Vec<Ipv4Addr> = records.iter().filter_map(address).collect();
        if let Some(error) = replies.iter().find(|reply| self.is_error(**reply)) {
            return Said::Failed(format!("the answer {error} is no listing but an error"));
        }
        match self.list.weigh(&replies) {
            Some((weight, reply, reason)) => Said::Listed(Listing {
                weight,
                reply,
                reason,
                question: self.question.clone(),
                subject: self.subject.shown(),
            }),
            None => Said::Nothing,
        }
    }

    /// Codes by which lists say that they do not answer, and what no list answers: a resolver that
    /// has another address for every name that does not exist says that.
    fn is_error(&self, reply: Ipv4Addr) -> bool {
        let [net, a, b, _] = reply.octets();
        net != 127
            || (a == 255 && b == 255)
            || self.list.errors.iter().any(|pattern| pattern.matches(reply))
    }
}

fn address(record: &Record) -> Option<Ipv4Addr> {
    match record {
        Record::A(address) => Some(*address),
        _ => None,
    }
}
