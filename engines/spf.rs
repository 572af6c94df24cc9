//! `<spf>`: whether a domain lets the client send its mail, after RFC 7208.
//!
//! ```xml
//! <spf>
//!   <trusted>192.0.2.25 2001:db8::/64</trusted>
//!   <on_pass>PREPEND Received-SPF: $received_spf</on_pass>
//! </spf>
//! ```
//!
//! Two identities are checked: the name that the client gave with HELO, and the domain of the
//! envelope sender. A `fail` of the first decides, otherwise the second does. For the null sender,
//! and before there is a sender, the first is all there is. What the domain name system does not
//! tell for now is `temperror`; what a domain did wrong in its record is `permerror`.
//!
//! Clients that relay mail for this site can pass no check and are `trusted`, as are the site's own
//! and those that have logged in.

mod check;
mod header;
mod known;
mod macros;
mod record;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mppd_dns::Dns;
use mppd_engine::config::{Period, Positive};
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Mailbox, OptionValue,
    Outcome, Reach, Request, Spanned, Stage, Stages, StatusDoc, ValueDoc, options,
};
use mppd_lists::Table as _;
use mppd_lists::networks::Networks;
use mppd_lists::reading::{EntriesOptions, fill};
use serde::Deserialize;

use self::check::{Check, Circumstances, Evaluation, Sender, Verdict};
use self::header::Report;
use self::known::KnownRecords;
use self::record::{Record, is_record};

options! {
    /// `<spf>`
    pub(crate) struct SpfOptions {
        /// What is checked: `helo`, the name that the client gave; `mailfrom`, the domain of the
        /// envelope sender; or `both`.
        identity: Identities = Identities::Both,
        /// Relays that mail for this site may come through: secondary mail exchangers, forwarders.
        /// Addresses and networks, in place, in a file, or both; may stand several times.
        trusted: Vec<EntriesOptions> = Vec::new(),
        /// Networks whose clients are not checked, written as in `trusted`; `127.0.0.0/8 ::1`
        /// unless given.
        skip: Vec<EntriesOptions> = Vec::new(),
        /// Whether clients that have logged in (SASL) are not checked.
        skip_authenticated: bool = true,
        /// A record to try where a domain publishes none, such as `v=spf1 a/24 mx/24 ptr ~all`. If
        /// it passes, the status is `best_guess`, else `none` as without it.
        best_guess: Option<Spanned<String>> = None,
        /// Name of this host in header fields and explanations; that of the node unless given.
        receiver: Option<String> = None,
        /// Most questions of one check that may come to nothing before it is a `permerror`.
        void_lookup_limit: u32 = 2,
        /// How long one request may be checked before it is a `temperror`. Where the engine's
        /// `timeout` is shorter, that comes first, and is an exception.
        time_limit: Positive<Period> = Positive(Period::seconds(20)),
    }
}

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Identities {
    Both,
    Helo,
    MailFrom,
}

impl OptionValue for Identities {
    const TYPE: &'static str = "both, helo or mailfrom";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Spf {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    dns: Arc<Dns>,
    records: KnownRecords,
    identity: Identities,
    trusted: Networks<()>,
    skip: Networks<()>,
    skip_authenticated: bool,
    best_guess: Option<Record>,
    receiver: Option<String>,
    void_lookups: u32,
    time_limit: Duration,
}

/// Networks that are not checked unless others are configured.
const OWN_NETWORKS: [IpNet; 2] = [
    IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
];

impl Engine for Spf {
    const NAME: &'static str = "spf";
    const SUMMARY: &'static str = "whether a domain lets the client send its mail (RFC 7208)";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("none", "The domain says nothing about who sends its mail.", "continue"),
        StatusDoc::new("neutral", "The domain leaves it open.", "continue"),
        StatusDoc::new("pass", "The domain lets the client send its mail.", "continue"),
        StatusDoc::new(
            "fail",
            "The domain does not let the client send its mail.",
            "550 5.7.23 $text",
        ),
        StatusDoc::new(
            "softfail",
            "The domain says that the client probably may not send its mail.",
            "continue",
        ),
        StatusDoc::new(
            "temperror",
            "The domain name system does not tell for now what the domain says.",
            "continue",
        ),
        StatusDoc::new("permerror", "What the domain publishes has an error.", "continue"),
        StatusDoc::new(
            "best_guess",
            "The domain says nothing, but the record of `best_guess` lets the client send its \
             mail.",
            "continue",
        ),
        StatusDoc::new(
            "trusted",
            "The client is a trusted relay, is in a network that is not checked, or has logged in.",
            "continue",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "identity", meaning: "What decided: `helo` or `mailfrom`." },
        ValueDoc { name: "domain", meaning: "The domain that was checked." },
        ValueDoc {
            name: "mechanism",
            meaning: "The part of the domain's record that matched, such as `ip4:192.0.2.0/24`; \
                      empty where none did.",
        },
        ValueDoc {
            name: "explanation",
            meaning: "With `fail`, what the domain says about it (`exp`); in printable ASCII, at \
                      most 400 characters, often empty.",
        },
        ValueDoc {
            name: "problem",
            meaning: "With `temperror`, `permerror` and `none`, what there was in the way.",
        },
        ValueDoc {
            name: "received_spf",
            meaning: "The text of the header field `Received-SPF`, for PREPEND.",
        },
        ValueDoc {
            name: "authentication_results",
            meaning: "The text of the header field `Authentication-Results` (RFC 8601), for \
                      PREPEND.",
        },
    ];
    const STAGES: Stages =
        Stages::of(&[Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfMessage]);
    type Options = SpfOptions;

    fn build(options: SpfOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let (mut trusted, mut skip) = (Networks::default(), Networks::default());
        findings.extend(fill(&mut trusted, Attribute::ClientAddress, &options.trusted, cx));
        findings.extend(fill(&mut skip, Attribute::ClientAddress, &options.skip, cx));
        if options.skip.is_empty() {
            for network in OWN_NETWORKS {
                skip.insert(network, ());
            }
        }
        let best_guess = options
            .best_guess
            .as_ref()
            .and_then(|text| best_guess(text).map_err(|finding| findings.push(finding)).ok());
        let dns = cx.service::<Dns>();
        if dns.is_none() {
            findings.push(Finding::nowhere("this server gives its engines no resolver of names"));
        }
        let (Some(dns), true) = (dns, findings.is_empty()) else { return Err(findings) };
        Ok(Spf {
            plan: Arc::new(Plan {
                dns,
                records: KnownRecords::default(),
                identity: options.identity,
                trusted,
                skip,
                skip_authenticated: options.skip_authenticated,
                best_guess,
                receiver: options.receiver,
                void_lookups: options.void_lookup_limit,
                time_limit: options.time_limit.0.0,
            }),
        })
    }

    fn reach(&self) -> Reach {
        Reach::Dns
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let request = exchange.request();
        let Some(client) = request.client_address() else {
            return Ok(Outcome::new("none").with_text("the client's address is not known"));
        };
        if let Some(why) = self.plan.why_trusted(client, request) {
            return Ok(Outcome::new("trusted").with_text(why));
        }
        let helo = request.get(Attribute::HeloName);
        let receiver = self.plan.receiver.as_deref().unwrap_or(exchange.node());
        let around = Circumstances {
            dns: &self.plan.dns,
            records: &self.plan.records,
            client,
            helo: with_a_labels(helo),
            receiver,
            now: exchange.received(),
            deadline: exchange.deadline().min(Instant::now() + self.plan.time_limit),
            void_lookups: self.plan.void_lookups,
        };
        let Some(checked) = self.plan.check(&around, request).await else {
            return Ok(Outcome::new("none").with_text("there is nothing to check yet"));
        };
        Ok(checked.outcome(&around, request))
    }
}

impl Plan {
    fn why_trusted(&self, client: IpAddr, request: &Request) -> Option<String> {
        let is_in = |networks: &Networks<()>| networks.find(client).is_some();
        if is_in(&self.trusted) {
            return Some(format!("{client} is a trusted relay"));
        }
        if is_in(&self.skip) {
            return Some(format!("{client} is in a network that is not checked"));
        }
        let user = request.get(Attribute::SaslUsername);
        (self.skip_authenticated && !user.is_empty())
            .then(|| format!("{} has logged in", Escaped(user)))
    }

    /// Checks what there is to check; `None` if there is nothing yet.
    async fn check<'a>(
        &self,
        around: &'a Circumstances<'_>,
        request: &'a Request,
    ) -> Option<Checked<'a>> {
        let has_sender = request.stage() != Stage::Helo;
        let sender = request.sender();
        if self.identity != Identities::MailFrom && !around.helo.is_empty() {
            let checked = self.check_identity(around, "helo", Sender::of_helo(&around.helo)).await;
            // The null sender is the HELO identity again (section 2.4).
            let is_all = self.identity == Identities::Helo || !has_sender || sender.is_null();
            if is_all || checked.evaluation.verdict == Verdict::Fail {
                return Some(checked);
            }
        }
        if self.identity == Identities::Helo || !has_sender {
            return None;
        }
        let sender = if sender.is_null() {
            Sender::of_helo(&around.helo)
        } else {
            Sender::of_mailbox(sender)
        };
        Some(self.check_identity(around, "mailfrom", sender).await)
    }

    async fn check_identity<'a>(
        &self,
        around: &Circumstances<'_>,
        identity: &'static str,
        sender: Sender<'a>,
    ) -> Checked<'a> {
        let evaluation = Check::new(around, &sender).run().await;
        let is_guessed = match &self.best_guess {
            Some(record) if evaluation.verdict == Verdict::None && identity == "mailfrom" => {
                let guess = Check::new(around, &sender).run_with(record).await;
                guess.verdict == Verdict::Pass
            }
            _ => false,
        };
        Checked { evaluation, identity, domain: sender.domain, is_guessed }
    }
}

/// One identity, checked.
struct Checked<'a> {
    evaluation: Evaluation,
    identity: &'static str,
    domain: Cow<'a, [u8]>,
    /// Whether the record to try lets the client send.
    is_guessed: bool,
}

impl Checked<'_> {
    fn outcome(self, around: &Circumstances<'_>, request: &Request) -> Outcome {
        let client = around.client.to_string();
        let text = self.text(&client);
        let report = Report {
            evaluation: &self.evaluation,
            identity: self.identity,
            domain: &self.domain,
            client: &client,
            sender: request.sender().whole(),
            helo: request.get(Attribute::HeloName),
            receiver: around.receiver,
            text: &text,
        };
        let (received_spf, results) = (report.received_spf(), report.authentication_results());
        let status = if self.is_guessed { "best_guess" } else { self.evaluation.verdict.word() };
        let Evaluation { mechanism, explanation, problem, .. } = self.evaluation;
        let mut outcome = Outcome::new(status).with_text(text);
        outcome.values.reserve_exact(7);
        outcome
            .with_value("identity", self.identity)
            .with_value("domain", self.domain.into_owned())
            .with_value("mechanism", mechanism.as_deref().unwrap_or_default())
            .with_value("explanation", explanation.unwrap_or_default())
            .with_value("problem", problem.unwrap_or_default())
            .with_value("received_spf", received_spf)
            .with_value("authentication_results", results)
    }

    fn text(&self, client: &str) -> String {
        let domain = Escaped(&self.domain);
        let problem = self.evaluation.problem.as_deref().unwrap_or_default();
        match self.evaluation.verdict {
            Verdict::None if self.is_guessed => {
                format!("{problem}; by the best guess {client} may send its mail")
            }
            Verdict::None | Verdict::TempError | Verdict::PermError => problem.to_owned(),
            Verdict::Neutral => format!("{domain} leaves open whether {client} may send its mail"),
            Verdict::Pass => format!("{domain} lets {client} send its mail"),
            Verdict::SoftFail => format!("{domain} probably does not let {client} send its mail"),
            // That the rest is the domain's own words must be plain (section 6.2).
            Verdict::Fail => match &self.evaluation.explanation {
                Some(explanation) => format!(
                    "{domain} does not let {client} send its mail; {domain} explains: {explanation}"
                ),
                None => format!("{domain} does not let {client} send its mail"),
            },
        }
    }
}

impl<'a> Sender<'a> {
    /// The identity of a client that gave this name (section 2.4).
    fn of_helo(helo: &'a [u8]) -> Self {
        Sender { local: b"postmaster", domain: Cow::Borrowed(helo) }
    }

    /// The identity of an envelope sender.
    fn of_mailbox(sender: Mailbox<'a>) -> Self {
        let Some(domain) = sender.domain() else {
            return Sender { local: sender.whole(), domain: Cow::default() };
        };
        let local = if sender.local().is_empty() { b"postmaster" } else { sender.local() };
        Sender { local, domain: with_a_labels(domain) }
    }
}

/// A name with its international labels as A-labels (RFC 8616); as it is where that can't be.
fn with_a_labels(name: &[u8]) -> Cow<'_, [u8]> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    let text = std::str::from_utf8(name).ok();
    match text.and_then(|text| idna::domain_to_ascii(text).ok()) {
        Some(ascii) => Cow::Owned(ascii.into_bytes()),
        None => Cow::Borrowed(name),
    }
}

fn best_guess(text: &Spanned<String>) -> Result<Record, Finding> {
    let record = text.value.trim().as_bytes();
    if !is_record(record) {
        let finding = Finding::error(text.span, "this is not an SPF record");
        return Err(finding.with_help("it begins with \"v=spf1 \""));
    }
    Record::parse(record)
        .map_err(|error| Finding::error(text.span, format!("the SPF record has an error: {error}")))
}

#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
