//! `check_host()` (RFC 7208, section 4): what the record of a domain says about a client, within the
//! limits of one check.

mod domains;
mod mechanisms;

use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use mppd_dns::{Answer, Dns, Name, Question, Record as DnsRecord, RecordKind};

use self::domains::Target;
use super::known::KnownRecords;
use super::macros::MacroString;
use super::record::{Mechanism, Qualifier, Record, is_record};

/// Most terms of one check that ask the domain name system (section 4.6.4).
const MOST_LOOKUPS: u32 = 10;

/// What a check comes to (section 2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    None,
    Neutral,
    Pass,
    Fail,
    SoftFail,
    TempError,
    PermError,
}

impl Verdict {
    /// The word of the RFC.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Verdict::None => "none",
            Verdict::Neutral => "neutral",
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::SoftFail => "softfail",
            Verdict::TempError => "temperror",
            Verdict::PermError => "permerror",
        }
    }
}

impl From<Qualifier> for Verdict {
    fn from(qualifier: Qualifier) -> Self {
        match qualifier {
            Qualifier::Pass => Verdict::Pass,
            Qualifier::Fail => Verdict::Fail,
            Qualifier::SoftFail => Verdict::SoftFail,
            Qualifier::Neutral => Verdict::Neutral,
        }
    }
}

/// What a check came to, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evaluation {
    pub(super) verdict: Verdict,
    /// The mechanism that matched, as it is written; none where the end of the record decided.
    pub(super) mechanism: Option<Arc<str>>,
    /// What the domain says to whom it refuses, in printable ASCII.
    pub(super) explanation: Option<String>,
    /// What went wrong, or why there is nothing to go by.
    pub(super) problem: Option<String>,
}

/// Who sends, in the words of an identity.
#[derive(Debug, Clone)]
pub(super) struct Sender<'a> {
    /// Never empty.
    pub(super) local: &'a [u8],
    /// As A-labels where it is a domain at all.
    pub(super) domain: Cow<'a, [u8]>,
}

/// What every check of one request has in common.
pub(super) struct Circumstances<'a> {
    pub(super) dns: &'a Dns,
    pub(super) records: &'a KnownRecords,
    pub(super) client: IpAddr,
    pub(super) helo: Cow<'a, [u8]>,
    /// Who checks.
    pub(super) receiver: &'a str,
    pub(super) now: SystemTime,
    pub(super) deadline: Instant,
    /// Most questions that may come to nothing.
    pub(super) void_lookups: u32,
}

/// Why a check ends before the record does.
enum Stop {
    Temporary(String),
    Permanent(String),
}

/// What a record comes to.
struct Found {
    verdict: Verdict,
    mechanism: Option<Arc<str>>,
    /// The `exp` of the record that decided, and whose record that is.
    explanation: Option<(MacroString, Name)>,
    problem: Option<String>,
}

impl Found {
    fn none(problem: String) -> Self {
        let problem = Some(problem);
        Found { verdict: Verdict::None, mechanism: None, explanation: None, problem }
    }
}

type Checking<'c> = Pin<Box<dyn Future<Output = Result<Found, Stop>> + 'c>>;

/// One check under way.
pub(super) struct Check<'a> {
    around: &'a Circumstances<'a>,
    sender: &'a Sender<'a>,
    lookups: u32,
    void_lookups: u32,
    /// The client's validated names, once somebody has asked for them.
    validated: Option<Vec<Name>>,
}

impl<'a> Check<'a> {
    pub(super) const fn new(around: &'a Circumstances<'a>, sender: &'a Sender<'a>) -> Self {
        Check { around, sender, lookups: 0, void_lookups: 0, validated: None }
    }

    /// Checks the sender's domain.
    pub(super) async fn run(mut self) -> Evaluation {
        let found = match checkable(&self.sender.domain) {
            Some(domain) => self.check_host(domain).await,
            None => Ok(Found::none("the name is not a domain".to_owned())),
        };
        self.conclude(found).await
    }

    /// Checks what a record would say if the sender's domain had published it.
    pub(super) async fn run_with(mut self, record: &Record) -> Evaluation {
        let found = match checkable(&self.sender.domain) {
            Some(domain) => self.evaluate(record, domain).await,
            None => Ok(Found::none("the name is not a domain".to_owned())),
        };
        self.conclude(found).await
    }

    async fn conclude(&mut self, found: Result<Found, Stop>) -> Evaluation {
        let (verdict, problem) = match found {
            Ok(found) => return self.explained(found).await,
            Err(Stop::Temporary(problem)) => (Verdict::TempError, problem),
            Err(Stop::Permanent(problem)) => (Verdict::PermError, problem),
        };
        Evaluation { verdict, mechanism: None, explanation: None, problem: Some(problem) }
    }

    async fn explained(&mut self, found: Found) -> Evaluation {
        let explanation = match &found.explanation {
            Some((text, domain)) if found.verdict == Verdict::Fail => {
                self.explanation(text, domain).await
            }
            _ => None,
        };
        Evaluation {
            verdict: found.verdict,
            mechanism: found.mechanism,
            explanation,
            problem: found.problem,
        }
    }

    /// Section 4.3 to 4.6. Boxed, since records lead to records.
    fn check_host(&mut self, domain: Name) -> Checking<'_> {
        Box::pin(async move {
            let answer = self.ask(RecordKind::Txt, &domain).await;
            let texts = match &answer {
                Answer::NoSuchName => return Ok(Found::none(format!("{domain} does not exist"))),
                answer => records(answer, &domain)?,
            };
            let mut texts = texts.iter().filter_map(|record| match record {
                DnsRecord::Txt(text) if is_record(text) => Some(text),
                _ => None,
            });
            let Some(text) = texts.next() else {
                return Ok(Found::none(format!("{domain} publishes no record")));
            };
            if texts.next().is_some() {
                return Err(Stop::Permanent(format!("{domain} publishes more than one record")));
            }
            let record = self.around.records.read(text).map_err(|error| {
                Stop::Permanent(format!("the record of {domain} has an error: {error}"))
            })?;
            self.evaluate(&record, domain).await
        })
    }

    async fn evaluate(&mut self, record: &Record, domain: Name) -> Result<Found, Stop> {
        for directive in &record.directives {
            if self.matches(directive, &domain).await? {
                let verdict = Verdict::from(directive.qualifier);
                let explanation = record.explanation.as_ref();
                let explanation = explanation.filter(|_| verdict == Verdict::Fail);
                return Ok(Found {
                    verdict,
                    mechanism: Some(directive.text.clone()),
                    explanation: explanation.map(|text| (text.clone(), domain)),
                    problem: None,
                });
            }
        }
        let has_all = record.directives.iter().any(|it| it.mechanism == Mechanism::All);
        match &record.redirect {
            Some(redirect) if !has_all => self.redirect(redirect, &domain).await,
            _ => Ok(Found::neutral()),
        }
    }

    /// Section 6.1.
    async fn redirect(&mut self, text: &MacroString, domain: &Name) -> Result<Found, Stop> {
        self.count_lookup()?;
        let target = match self.target(text, domain).await? {
            Target::Name(target) => target,
            Target::Unmatchable => return Ok(Found::neutral()),
            Target::Malformed => {
                return Err(Stop::Permanent("\"redirect\" leads to no domain".to_owned()));
            }
        };
        let found = self.check_host(target.clone()).await?;
        if found.verdict == Verdict::None {
            let problem = format!("\"redirect\" leads to {target}, which publishes no record");
            return Err(Stop::Permanent(problem));
        }
        Ok(found)
    }

    fn count_lookup(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > MOST_LOOKUPS {
            let problem = format!("more than {MOST_LOOKUPS} terms ask the domain name system");
            return Err(Stop::Permanent(problem));
        }
        Ok(())
    }

    async fn ask(&self, kind: RecordKind, name: &Name) -> Answer {
        self.around.dns.ask(Question::new(kind, name.clone()), self.around.deadline).await
    }

    /// Asks, and counts the questions that come to nothing.
    async fn ask_counting(&mut self, kind: RecordKind, name: &Name) -> Result<Answer, Stop> {
        let answer = self.ask(kind, name).await;
        if matches!(answer, Answer::NoRecords | Answer::NoSuchName) {
            self.void_lookups += 1;
        }
        if self.void_lookups > self.around.void_lookups {
            let most = self.around.void_lookups;
            let problem = format!("more than {most} questions of the record come to nothing");
            return Err(Stop::Permanent(problem));
        }
        Ok(answer)
    }
}

impl Found {
    /// Where nothing matches (section 4.7).
    const fn neutral() -> Self {
        let verdict = Verdict::Neutral;
        Found { verdict, mechanism: None, explanation: None, problem: None }
    }
}

/// A name of at least two labels (section 4.3).
pub(super) fn checkable(domain: &[u8]) -> Option<Name> {
    let name = Name::parse(domain).ok()?;
    (name.labels().count() > 1).then_some(name)
}

fn records<'r>(answer: &'r Answer, name: &Name) -> Result<&'r [DnsRecord], Stop> {
    answer.records().map_err(|failure| Stop::Temporary(format!("{name}: {failure}")))
}
