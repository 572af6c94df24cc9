//! `<recipient>`: whether the recipient is an address that exists.
//!
//! ```xml
//! <recipient>
//!   <domain name="example.org .example.org">
//!     <list file="lists/recipients"/>
//!     <callout host="mail.example.org"/>
//!   </domain>
//!   <guessing after="10" within="1h" mark_for="1d"/>
//! </recipient>
//! ```
//!
//! A domain has sources: lists, statements of SQL, searches in a directory, and mail servers that
//! are asked by a callout. They are asked in this order, and those of one kind as they stand, until
//! one knows the address. It is `invalid` only when all have said that they do not; if one of them
//! could not be asked, it is `unknown`. What mail servers say is kept, in the store that all nodes
//! share.
//!
//! `postmaster` of a domain that is configured is always valid (RFC 5321, section 4.5.1), and so is
//! the address from which Postfix sends its own probes.

mod address;
mod callout;
pub(crate) mod guessing;
pub(crate) mod kept;
pub(crate) mod reply;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, Probe, Reach,
    Span, Spanned, Stage, Stages, StatusDoc, ValueDoc, options,
};
use mppd_lists::mailboxes::{MailboxEntry, Mailboxes};
use mppd_lists::reading::{EntriesOptions, Fault, Said, read};
use mppd_lists::{Table as _, names};
use mppd_state::StateStore;

use self::address::{Address, MAX_NAME, is_domain};
use self::callout::{Callout, CalloutOptions};
use self::guessing::{Guessing, GuessingOptions};
use self::kept::Keeper;
use self::source::{Asked, LdapOptions, Source, SqlOptions, Verdict, is_in};

options! {
    /// `<recipient>`
    pub(crate) struct RecipientOptions {
        /// Domains, and where their addresses are to be found. May stand several times; a
        /// recipient of any other domain is `foreign`.
        domain: Vec<Spanned<DomainOptions>> = Vec::new(),
        /// The characters that begin an extension, as in Postfix's parameter of this name: with
        /// `+`, `alice+news@example.org` is valid if `alice@example.org` is.
        recipient_delimiter: Option<Spanned<String>> = None,
        /// The local part from which Postfix sends its probes (its parameter of this name). It is
        /// always valid.
        double_bounce_sender: String = "double-bounce".to_owned(),
        /// Marks clients that ask for many addresses that do not exist; none is unless this is
        /// given.
        guessing: Option<GuessingOptions> = None,
    }
}

options! {
    /// `<domain>`
    pub(crate) struct DomainOptions {
        /// The domains, separated by white space: `example.org` is that domain, `.example.org` all
        /// below it, `*` every other.
        name: Spanned<String>,
        /// Addresses that are valid: `alice@example.org`, `alice@` in each of the domains,
        /// `@example.org` for all addresses of a domain. May stand several times, as may each of
        /// the following.
        list: Vec<EntriesOptions> = Vec::new(),
        /// A statement that finds valid addresses in MySQL or MariaDB.
        sql: Vec<SqlOptions> = Vec::new(),
        /// A search that finds valid addresses in a directory.
        ldap: Vec<LdapOptions> = Vec::new(),
        /// A mail server that is asked whether it would take a message for the address.
        callout: Vec<CalloutOptions> = Vec::new(),
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    plan: Arc<Plan>,
    /// Of each domain; each worker has connections of its own.
    sources: Vec<Vec<Source>>,
}

#[derive(Debug)]
struct Plan {
    domains: Domains,
    lists: Vec<Mailboxes<()>>,
    delimiters: Vec<u8>,
    double_bounce_sender: String,
    keeper: Option<Keeper>,
    guessing: Option<Guessing>,
}

impl Engine for Recipient {
    const NAME: &'static str = "recipient";
    const SUMMARY: &'static str = "whether the recipient exists: lists, SQL, LDAP, or a callout";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("valid", "The address exists.", "continue"),
        StatusDoc::new(
            "invalid",
            "No source of the domain knows the address, and all of them have answered.",
            "550 5.1.1 no such address here",
        ),
        StatusDoc::new(
            "unknown",
            "No source knows the address, but not all of them could be asked.",
            "continue",
        ),
        StatusDoc::new("foreign", "The recipient is of no domain that is configured.", "continue"),
        StatusDoc::new(
            "guessing",
            "The client has asked for too many addresses that do not exist, and is marked for a \
             time. Nobody was asked whether this one exists.",
            "DEFER_IF_PERMIT 4.7.1 too many recipients that do not exist",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "domain", meaning: "The domain of the recipient, in normal form." },
        ValueDoc {
            name: "source",
            meaning: "What decided: `list`, `sql`, `ldap`, `callout`, or `always` for an address \
                      that is always valid.",
        },
        ValueDoc {
            name: "reply",
            meaning: "What the mail server said to a callout, or why a source gave no answer; in \
                      one line of at most 200 characters, with all that can't be read escaped.",
        },
    ];
    const STAGES: Stages = Stages::of(&[Stage::Rcpt, Stage::Vrfy]);
    type Options = RecipientOptions;

    fn build(options: RecipientOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        if options.domain.is_empty() {
            findings.push(Finding::nowhere("<recipient> needs a <domain>"));
        }
        let mut domains = Domains::default();
        let (mut lists, mut sources, mut callouts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, Spanned { value: options, span }) in options.domain.iter().enumerate() {
            findings.extend(domains.add(&options.name, number));
            lists.push(read_lists(options, cx, &mut findings));
            sources.push(read_sources(options, &mut callouts, cx, &mut findings));
            if options.has_no_source() {
                let message = "<domain> needs a <list>, <sql>, <ldap> or <callout>";
                findings.push(Finding::error(*span, message));
            }
        }
        let delimiters = options.recipient_delimiter.as_ref().map(delimiters).transpose();
        let delimiters = delimiters.map_err(|finding| findings.push(finding));
        let store = cx.service::<StateStore>();
        let wants_store = options.guessing.is_some() || sources.iter().flatten().any(Source::keeps);
        // A space is asked for only where it is needed: the store is opened for it.
        let space = store.filter(|_| wants_store).map(|store| store.space(cx.id()));
        if wants_store && space.is_none() {
            findings.push(Finding::nowhere("this server gives its engines no state store"));
        }
        let guessing = match (&options.guessing, &space) {
            (Some(options), Some(space)) => Guessing::read(options, space.clone())
                .map_err(|faults| findings.extend(faults))
                .ok(),
            _ => None,
        };
        let (Ok(delimiters), true) = (delimiters, findings.is_empty()) else {
            return Err(findings);
        };
        let keeper = space.filter(|_| sources.iter().flatten().any(Source::keeps)).map(Keeper::new);
        let plan = Plan {
            domains,
            lists,
            delimiters: delimiters.unwrap_or_default(),
            double_bounce_sender: options.double_bounce_sender,
            keeper,
            guessing,
        };
        Ok(Recipient { plan: Arc::new(plan), sources })
    }

    fn probes(&self) -> Vec<Probe> {
        self.sources.iter().flatten().flat_map(Source::probes).collect()
    }

    fn reach(&self) -> Reach {
        let is_inside = self.sources.iter().all(Vec::is_empty);
        if is_inside { Reach::Inside } else { Reach::Services }
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let (plan, request) = (&self.plan, exchange.request());
        let recipient = request.recipient();
        let known = Address::new(recipient, &plan.delimiters)
            .and_then(|address| Some((plan.domains.find(address.domain())?, address)));
        let Some((domain, address)) = known else {
            let text = format!("{} is of no domain here", Escaped(recipient.whole()));
            return Ok(Outcome::new("foreign").with_text(text));
        };
        if plan.is_always_valid(address.local()) {
            return Ok(outcome(&address, Verdict::Valid, "always", String::new()));
        }
        let now = Timestamp::try_from(exchange.received())
            .map_err(|error| Failure::new("can't tell the time").with_source(error))?;
        let stored = |error| Failure::new("can't tell who is marked").with_source(error);
        let watched = plan.guessing.as_ref();
        let watched = watched.and_then(|guessing| Some((guessing, guessing.client(request)?)));
        if let Some((guessing, client)) = &watched
            && let Some(reason) = guessing.mark(client, now).await.map_err(stored)?
        {
            let outcome = Outcome::new("guessing").with_text(reason);
            return Ok(outcome.with_value("domain", address.domain()));
        }
        let asked = Asked { exchange, address: &address, now };
        let (verdict, source, said) = self.ask(domain, &asked).await?;
        if let Some((guessing, client)) = &watched
            && verdict != Verdict::Unknown
        {
            let exists = verdict == Verdict::Valid;
            guessing.note(client, address.whole(), exists, now).await.map_err(stored)?;
        }
        Ok(outcome(&address, verdict, source, said))
    }
}

impl Recipient {
    /// What the sources of a domain come to: the verdict, the kind of source that decided, and
    /// what it said.
    async fn ask(
        &self,
        domain: usize,
        asked: &Asked<'_>,
    ) -> Result<(Verdict, &'static str, String), Failure> {
        if is_in(&self.plan.lists[domain], asked.address) {
            return Ok((Verdict::Valid, "list", String::new()));
        }
        let mut result = (Verdict::Invalid, "list", String::new());
        for source in &self.sources[domain] {
            let answer = source.ask(asked, self.plan.keeper.as_ref()).await?;
            match (answer.verdict, result.0) {
                (Verdict::Valid, _) => return Ok((Verdict::Valid, source.kind(), answer.said)),
                // The first that could not be asked is what there is to tell.
                (_, Verdict::Unknown) => {}
                (verdict, _) => result = (verdict, source.kind(), answer.said),
            }
        }
        Ok(result)
    }
}

impl Plan {
    fn is_always_valid(&self, local: &[u8]) -> bool {
        let is_always = |name: &[u8]| !name.is_empty() && local.eq_ignore_ascii_case(name);
        is_always(b"postmaster") || is_always(self.double_bounce_sender.as_bytes())
    }
}

fn outcome(address: &Address<'_>, verdict: Verdict, source: &'static str, said: String) -> Outcome {
    let whole = Escaped(address.whole());
    let (status, text) = match verdict {
        Verdict::Valid => ("valid", String::new()),
        Verdict::Invalid if said.is_empty() => ("invalid", format!("{whole} does not exist")),
        Verdict::Invalid => ("invalid", format!("{whole} does not exist: {said}")),
        Verdict::Unknown => ("unknown", format!("{source}: {said}")),
    };
    Outcome::new(status)
        .with_text(text)
        .with_value("domain", address.domain())
        .with_value("source", source)
        .with_value("reply", said)
}

impl DomainOptions {
    fn has_no_source(&self) -> bool {
        self.list.is_empty()
            && self.sql.is_empty()
            && self.ldap.is_empty()
            && self.callout.is_empty()
    }
}

fn read_sources(
    options: &DomainOptions,
    callouts: &mut Vec<Callout>,
    cx: &mut BuildContext<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut take = |source: Result<Source, Vec<Finding>>| match source {
        Ok(source) => sources.push(source),
        Err(faults) => findings.extend(faults),
    };
    options.sql.iter().for_each(|sql| take(Source::sql(sql, cx)));
    options.ldap.iter().for_each(|ldap| take(Source::ldap(ldap, cx)));
    for options in &options.callout {
        let callout = Callout::read(options, callouts, cx.logger());
        callouts.extend(callout.as_ref().ok().cloned());
        take(callout.map(|callout| Source::Callout(callout, options.cache.clone())));
    }
    sources
}

/// The lists of a domain as one. Warns of addresses that are those of other domains.
fn read_lists(
    options: &DomainOptions,
    cx: &mut BuildContext<'_>,
    findings: &mut Vec<Finding>,
) -> Mailboxes<()> {
    let mut mailboxes = Mailboxes::default();
    let names: Vec<Name> = options.name.words().filter_map(|word| Name::read(word.value)).collect();
    for list in &options.list {
        let mut lost = Said::default();
        findings.extend(read::<(), Mailboxes<()>>(
            list,
            Attribute::Recipient,
            cx,
            |entry, text, place| {
                if !is_of(&entry, &names) {
                    let message = format!("\"{text}\" is of none of these domains, so never found");
                    lost.say(place.finding(Fault::new(message)), place);
                }
                mailboxes.insert(entry, ());
                None
            },
        ));
        lost.into_findings().into_iter().for_each(|warning| cx.warn(warning));
    }
    mailboxes
}

/// Whether an address is of one of the domains, or no whole address.
fn is_of(entry: &MailboxEntry, names: &[Name]) -> bool {
    let MailboxEntry::Address(address) = entry else { return true };
    let domain = mppd_engine::Mailbox::new(address).domain().unwrap_or_default();
    names.iter().any(|name| match name {
        Name::Whole(name) => name == domain,
        Name::Below(name) => parents(domain).any(|parent| parent == name.as_slice()),
        Name::Other => true,
    })
}

/// The names above a name, the nearest first.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let dots = name.iter().enumerate().filter(|(_, octet)| **octet == b'.');
    dots.map(|(dot, _)| &name[dot + 1..])
}

fn delimiters(text: &Spanned<String>) -> Result<Vec<u8>, Finding> {
    // What else stands in an address (RFC 5322, section 3.2.3), and what parts and quotes it.
    let is_delimiter = |octet: &u8| octet.is_ascii_punctuation() && !b"@.\"\\".contains(octet);
    if text.value.is_empty() || !text.value.as_bytes().iter().all(is_delimiter) {
        let message = format!("no extension begins with \"{}\"", text.value);
        return Err(Finding::error(text.span, message).with_help("such as + or +-"));
    }
    Ok(text.value.as_bytes().to_vec())
}

/// A word of `name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Whole(Vec<u8>),
    Below(Vec<u8>),
    Other,
}

impl Name {
    fn read(word: &str) -> Option<Self> {
        if word == "*" {
            return Some(Name::Other);
        }
        let (below, name) = match word.strip_prefix('.') {
            Some(name) => (true, name),
            None => (false, word),
        };
        let name = names::normalise(name.as_bytes()).into_owned();
        let name = Some(name).filter(|name| is_domain(name))?;
        Some(if below { Name::Below(name) } else { Name::Whole(name) })
    }
}

/// Which `<domain>` a recipient belongs to.
#[derive(Debug, Default)]
struct Domains {
    /// Where each of them stands.
    places: HashMap<Name, Span>,
    whole: HashMap<Vec<u8>, usize>,
    below: HashMap<Vec<u8>, usize>,
    other: Option<usize>,
}

impl Domains {
    fn add(&mut self, names: &Spanned<String>, number: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        if names.value.trim().is_empty() {
            findings.push(Finding::error(names.span, "the name of a domain is expected here"));
        }
        for word in names.words() {
            let Some(name) = Name::read(word.value) else {
                let message = format!("\"{}\" is not the name of a domain", word.value);
                let finding = Finding::error(word.span, message);
                findings
                    .push(finding.with_help("example.org, .example.org for all below it, or *"));
                continue;
            };
            match self.places.entry(name.clone()) {
                Entry::Occupied(first) => {
                    let message = format!("the domain {} is given twice", word.value);
                    let finding = Finding::error(word.span, message);
                    findings.push(finding.with_related(*first.get(), "first here"));
                }
                Entry::Vacant(place) => {
                    place.insert(word.span);
                    self.place(name, number);
                }
            }
        }
        findings
    }

    fn place(&mut self, name: Name, number: usize) {
        match name {
            Name::Whole(name) => drop(self.whole.insert(name, number)),
            Name::Below(name) => drop(self.below.insert(name, number)),
            Name::Other => self.other = Some(number),
        }
    }

    /// The number of the `<domain>` that a domain in normal form belongs to, the nearest one.
    fn find(&self, domain: &[u8]) -> Option<usize> {
        let whole = || self.whole.get(domain);
        // What is too long for a name has no names above it, however many dots it has.
        let names = || Some(domain).filter(|domain| domain.len() <= MAX_NAME).into_iter();
        let below = || names().flat_map(parents).find_map(|parent| self.below.get(parent));
        whole().or_else(below).copied().or(self.other)
    }
}
