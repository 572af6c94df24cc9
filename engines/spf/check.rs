//! `check_host()` (RFC 7208, section 4): what the record of a domain says about a client.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mppd_dns::{Answer, Dns, Name, Question, Record as DnsRecord, RecordKind};

use super::known::KnownRecords;
use super::macros::{Letter, MacroString, Use, Values};
use super::record::{Directive, Mechanism, Prefixes, Qualifier, Record, is_record};

/// Most terms of one check that ask the domain name system (section 4.6.4).
const MOST_LOOKUPS: u32 = 10;

/// Most mail exchangers of one `mx`, and most names of a client that are looked at.
const MOST_NAMES: usize = 10;

/// Longest name that is asked for; longer ones lose labels on the left (section 7.3).
const LONGEST_NAME: usize = 253;

/// So many octets at the end of a text with macros tell what is left of it as a name.
const ENOUGH: usize = 2 * (LONGEST_NAME + 1);

/// Most octets of an explanation that are given on. A reply of SMTP has 512 (RFC 5321, section
/// 4.5.3.1.5).
const LONGEST_EXPLANATION: usize = 400;

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
    pub(super) mechanism: Option<String>,
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
    pub(super) domain: Vec<u8>,
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

/// Where a term points after its macros are expanded.
enum Target {
    Name(Name),
    /// No name that could be asked for.
    Malformed,
    /// A local part that is not ASCII stands in it, so that it can't match (RFC 8616, section 4).
    Unmatchable,
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
            mechanism: found.mechanism.as_deref().map(String::from),
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

    /// Section 5.
    async fn matches(&mut self, directive: &Directive, domain: &Name) -> Result<bool, Stop> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => {
                let IpAddr::V4(client) = self.around.client else { return Ok(false) };
                Ok(same_network_v4(client, *network, *bits))
            }
            Mechanism::Ip6(network, bits) => {
                let IpAddr::V6(client) = self.around.client else { return Ok(false) };
                Ok(same_network_v6(client, *network, *bits))
            }
            Mechanism::Include(text) => self.include(text, domain).await,
            Mechanism::A(text, prefixes) => {
                self.count_lookup()?;
                let Some(target) = self.target_or(text.as_ref(), domain).await? else {
                    return Ok(false);
                };
                self.has_address(&target, *prefixes).await
            }
            Mechanism::Mx(text, prefixes) => self.mx(text.as_ref(), domain, *prefixes).await,
            Mechanism::Ptr(text) => {
                self.count_lookup()?;
                let Some(target) = self.target_or(text.as_ref(), domain).await? else {
                    return Ok(false);
                };
                let names = self.validated_names().await?;
                Ok(names.iter().any(|name| name.is_within(&target)))
            }
            Mechanism::Exists(text) => {
                self.count_lookup()?;
                let Some(target) = self.target_or(Some(text), domain).await? else {
                    return Ok(false);
                };
                // IPv4 whatever the client's address is (section 5.7).
                let answer = self.ask_counting(RecordKind::A, &target).await?;
                Ok(!records(&answer, &target)?.is_empty())
            }
        }
    }

    /// Section 5.2.
    async fn include(&mut self, text: &MacroString, domain: &Name) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = match self.target(text, domain).await? {
            Target::Name(target) => target,
            Target::Unmatchable => return Ok(false),
            Target::Malformed => {
                return Err(Stop::Permanent("\"include\" leads to no domain".to_owned()));
            }
        };
        let found = self.check_host(target.clone()).await?;
        if found.verdict == Verdict::None {
            let problem = format!("{target}, which is included, publishes no record");
            return Err(Stop::Permanent(problem));
        }
        Ok(found.verdict == Verdict::Pass)
    }

    /// Section 5.4.
    async fn mx(
        &mut self,
        text: Option<&MacroString>,
        domain: &Name,
        prefixes: Prefixes,
    ) -> Result<bool, Stop> {
        self.count_lookup()?;
        let Some(target) = self.target_or(text, domain).await? else { return Ok(false) };
        let answer = self.ask_counting(RecordKind::Mx, &target).await?;
        let exchangers = records(&answer, &target)?;
        if exchangers.len() > MOST_NAMES {
            let problem = format!("{target} has more than {MOST_NAMES} mail exchangers");
            return Err(Stop::Permanent(problem));
        }
        for record in exchangers {
            let DnsRecord::Mx { exchange, .. } = record else { continue };
            if !exchange.is_root() && self.has_address(exchange, prefixes).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a name has an address in one network with the client's.
    async fn has_address(&mut self, name: &Name, prefixes: Prefixes) -> Result<bool, Stop> {
        let answer = self.ask_counting(self.address_kind(), name).await?;
        let addresses = records(&answer, name)?;
        Ok(addresses.iter().any(|record| match (record, self.around.client) {
            (DnsRecord::A(address), IpAddr::V4(client)) => {
                same_network_v4(client, *address, prefixes.v4)
            }
            (DnsRecord::Aaaa(address), IpAddr::V6(client)) => {
                same_network_v6(client, *address, prefixes.v6)
            }
            _ => false,
        }))
    }

    /// The client's names that have its address (section 5.5).
    async fn validated_names(&mut self) -> Result<&[Name], Stop> {
        if self.validated.is_none() {
            let names = self.validate_names().await?;
            self.validated = Some(names);
        }
        Ok(self.validated.as_deref().unwrap_or_default())
    }

    async fn validate_names(&mut self) -> Result<Vec<Name>, Stop> {
        let reverse = Name::reverse(self.around.client);
        let answer = self.ask_counting(RecordKind::Ptr, &reverse).await?;
        // A failure is no name here, and below no such name.
        let pointers = answer.records().unwrap_or_default();
        let mut validated = Vec::new();
        for record in pointers.iter().take(MOST_NAMES) {
            let DnsRecord::Ptr(name) = record else { continue };
            let answer = self.ask_counting(self.address_kind(), name).await?;
            let is_clients = |record: &DnsRecord| match record {
                DnsRecord::A(address) => self.around.client == IpAddr::V4(*address),
                DnsRecord::Aaaa(address) => self.around.client == IpAddr::V6(*address),
                _ => false,
            };
            if answer.records().unwrap_or_default().iter().any(is_clients) {
                validated.push(name.clone());
            }
        }
        Ok(validated)
    }

    /// The domain of a term, or the one whose record this is; `None` where it can match nothing.
    async fn target_or(
        &mut self,
        text: Option<&MacroString>,
        domain: &Name,
    ) -> Result<Option<Name>, Stop> {
        let Some(text) = text else { return Ok(Some(domain.clone())) };
        Ok(match self.target(text, domain).await? {
            Target::Name(target) => Some(target),
            Target::Malformed | Target::Unmatchable => None,
        })
    }

    async fn target(&mut self, text: &MacroString, domain: &Name) -> Result<Target, Stop> {
        if let Some(name) = text.constant() {
            return Ok(Target::Name(name.clone()));
        }
        let names_sender = text.uses(Letter::Sender) || text.uses(Letter::LocalPart);
        if names_sender && !self.sender.local.is_ascii() {
            return Ok(Target::Unmatchable);
        }
        self.prepare(text).await?;
        let expanded = text.expand_end(&InRecord { check: self, domain }, ENOUGH);
        Ok(Name::parse(shortened(&expanded)).map_or(Target::Malformed, Target::Name))
    }

    /// Asks for what the values of macros depend on.
    async fn prepare(&mut self, text: &MacroString) -> Result<(), Stop> {
        if text.uses(Letter::ValidatedName) {
            self.validated_names().await?;
        }
        Ok(())
    }

    /// Section 6.2: whatever is wrong with it, it is as if there were none.
    async fn explanation(&mut self, text: &MacroString, domain: &Name) -> Option<String> {
        let Ok(Target::Name(target)) = self.target(text, domain).await else { return None };
        let answer = self.ask(RecordKind::Txt, &target).await;
        let Ok([DnsRecord::Txt(text)]) = answer.records() else { return None };
        let text = std::str::from_utf8(text).ok()?;
        let text = MacroString::parse(text, Use::Explanation).ok()?;
        self.prepare(&text).await.ok()?;
        let most = LONGEST_EXPLANATION;
        let mut expanded = text.expand(&InRecord { check: self, domain }, most + 1);
        if expanded.len() > most {
            expanded.truncate(most);
            expanded.extend_from_slice(b"...");
        }
        let is_printable = expanded.iter().all(|octet| matches!(octet, b' '..=b'~'));
        String::from_utf8(expanded).ok().filter(|text| is_printable && !text.is_empty())
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

    const fn address_kind(&self) -> RecordKind {
        match self.around.client {
            IpAddr::V4(_) => RecordKind::A,
            IpAddr::V6(_) => RecordKind::Aaaa,
        }
    }
}

impl Found {
    /// Where nothing matches (section 4.7).
    const fn neutral() -> Self {
        let verdict = Verdict::Neutral;
        Found { verdict, mechanism: None, explanation: None, problem: None }
    }
}

/// The values of macros in the record of a domain.
struct InRecord<'c, 'a> {
    check: &'c Check<'a>,
    domain: &'c Name,
}

impl Values for InRecord<'_, '_> {
    fn value(&self, letter: Letter) -> Cow<'_, [u8]> {
        let Check { around, sender, validated, .. } = self.check;
        match letter {
            Letter::Sender => Cow::Owned([sender.local, b"@", &sender.domain].concat()),
            Letter::LocalPart => Cow::Borrowed(sender.local),
            Letter::SenderDomain => Cow::Borrowed(&sender.domain),
            Letter::Domain => Cow::Borrowed(self.domain.as_bytes()),
            Letter::Address => Cow::Owned(labels_of(around.client)),
            Letter::ValidatedName => {
                preferred(validated.as_deref().unwrap_or_default(), self.domain)
            }
            Letter::ReverseZone => Cow::Borrowed(match around.client {
                IpAddr::V4(_) => b"in-addr".as_slice(),
                IpAddr::V6(_) => b"ip6",
            }),
            Letter::Helo => Cow::Borrowed(&around.helo),
            Letter::ReadableAddress => Cow::Owned(around.client.to_string().into_bytes()),
            Letter::Receiver => Cow::Borrowed(around.receiver.as_bytes()),
            Letter::Time => {
                let since = around.now.duration_since(UNIX_EPOCH).unwrap_or_default();
                Cow::Owned(since.as_secs().to_string().into_bytes())
            }
        }
    }
}

/// The validated name that `%{p}` stands for: the domain itself, one below it, or any.
fn preferred<'n>(names: &'n [Name], domain: &Name) -> Cow<'n, [u8]> {
    let same = names.iter().find(|name| *name == domain);
    let within = || names.iter().find(|name| name.is_within(domain));
    let name = same.or_else(within).or_else(|| names.first());
    Cow::Borrowed(name.map_or(b"unknown", Name::as_bytes))
}

/// An address in labels: an IPv6 one digit by digit.
fn labels_of(address: IpAddr) -> Vec<u8> {
    let IpAddr::V6(address) = address else { return address.to_string().into_bytes() };
    let digits: Vec<String> = address
        .octets()
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 0xf])
        .map(|digit| format!("{digit:X}"))
        .collect();
    digits.join(".").into_bytes()
}

/// A name without as many labels on the left as it is too long for.
fn shortened(name: &[u8]) -> &[u8] {
    let mut rest = name.strip_suffix(b".").unwrap_or(name);
    while rest.len() > LONGEST_NAME {
        match rest.iter().position(|octet| *octet == b'.') {
            Some(dot) => rest = &rest[dot + 1..],
            None => return rest,
        }
    }
    rest
}

/// A name of at least two labels (section 4.3).
pub(super) fn checkable(domain: &[u8]) -> Option<Name> {
    let name = Name::parse(domain).ok()?;
    (name.labels().count() > 1).then_some(name)
}

fn records<'r>(answer: &'r Answer, name: &Name) -> Result<&'r [DnsRecord], Stop> {
    answer.records().map_err(|failure| Stop::Temporary(format!("{name}: {failure}")))
}

fn same_network_v4(a: Ipv4Addr, b: Ipv4Addr, bits: u8) -> bool {
    let differing = a.to_bits() ^ b.to_bits();
    differing.leading_zeros() >= u32::from(bits)
}

fn same_network_v6(a: Ipv6Addr, b: Ipv6Addr, bits: u8) -> bool {
    let differing = a.to_bits() ^ b.to_bits();
    differing.leading_zeros() >= u32::from(bits)
}
