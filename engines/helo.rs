//! `<helo>`: what is wrong with the name that the client gave with HELO or EHLO.
//!
//! ```xml
//! <helo>
//!   <own>mx.example.net 198.51.100.25</own>
//!   <on_no_dot>score 1</on_no_dot>
//!   <on_unresolvable>score 2</on_unresolvable>
//! </helo>
//! ```
//!
//! The first that holds is the status: there is no name (`missing`); it is none (`syntax`); it is
//! this site's (`own`); it is an address that is not the client's, one for private networks
//! (`private`) or any other (`literal`); it has no dot (`no_dot`); the domain name system does not
//! know it (`unresolvable`), or can't tell for now (`temperror`). Otherwise it is `ok`.
//!
//! By default only a client that takes this site's name, or an address that can't be its own, is
//! refused. All else is common among honest hosts, if wrong, and is better counted: `score N`.
//!
//! Clients that have logged in, and those of one's own networks, are not checked: programs of users
//! give whatever name their machine has.

mod name;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use mppd_dns::{Answer, Dns, Name, Question, Record, RecordKind};
use mppd_engine::config::{Period, Positive};
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, Reach, Request,
    Spanned, Stage, Stages, StatusDoc, ValueDoc, options,
};
use mppd_lists::Table;
use mppd_lists::names::{HostEntry, NameEntry, Names};
use mppd_lists::networks::Networks;
use mppd_lists::reading::Fault;

use self::name::{Called, NotAName};

options! {
    /// `<helo>`
    pub(crate) struct HeloOptions {
        /// Names and addresses of this site, which no client has: `mx.example.net` is that name
        /// and all names below it, `.example.net` only those below it. The address and the name
        /// of this host are own in any case. May stand several times.
        own: Vec<Spanned<String>> = Vec::new(),
        /// Networks whose clients are not checked; `127.0.0.0/8 ::1` unless given. A client that
        /// has the address of this host is never checked.
        skip: Option<Vec<Spanned<String>>> = None,
        /// Whether clients that have logged in (SASL) are not checked.
        skip_authenticated: bool = true,
        /// Whether the domain name system is asked about a name.
        resolve: bool = true,
        /// How long to wait for the domain name system before the status is `temperror`. Where the
        /// engine's `timeout` is shorter, that comes first, and is an exception.
        time_limit: Positive<Period> = Positive(Period::seconds(3)),
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Helo {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    own_names: Names<()>,
    own_addresses: Networks<()>,
    skip: Networks<()>,
    skip_authenticated: bool,
    /// Asked about names, if that is wanted.
    dns: Option<Arc<Dns>>,
    time_limit: Duration,
}

/// Networks that are not checked unless others are configured.
const OWN_NETWORKS: [&str; 2] = ["127.0.0.0/8", "::1"];

impl Engine for Helo {
    const NAME: &'static str = "helo";
    const SUMMARY: &'static str = "what is wrong with the name that the client gave";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("ok", "Nothing is, or the client is not checked.", "continue"),
        StatusDoc::new("missing", "There is none.", "continue"),
        StatusDoc::new(
            "syntax",
            "It is neither a domain name nor an address in brackets.",
            "continue",
        ),
        StatusDoc::new("own", "It is a name or address of this site.", "REJECT 5.7.1 $text"),
        StatusDoc::new(
            "literal",
            "It is an address in brackets that is not the client's.",
            "REJECT 5.7.1 $text",
        ),
        StatusDoc::new(
            "private",
            "It is an address in brackets that is not the client's, but one of a private \
             network: the client may be behind a translation of addresses.",
            "continue",
        ),
        StatusDoc::new("no_dot", "It is a name of one part, such as `localhost`.", "continue"),
        StatusDoc::new(
            "unresolvable",
            "There is no such name, or it has neither an address nor a mail exchanger.",
            "continue",
        ),
        StatusDoc::new(
            "temperror",
            "The domain name system does not tell for now whether there is such a name.",
            "continue",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[ValueDoc {
        name: "name",
        meaning: "The name in normal form: lower case, with A-labels, without a dot at its end; \
                  or the address. Empty with `missing` and `syntax`.",
    }];
    const STAGES: Stages =
        Stages::of(&[Stage::Helo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfMessage]);
    type Options = HeloOptions;

    fn build(options: HeloOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let (own_names, own_addresses) = read_own(&options.own, &mut findings);
        let skip = read_skip(options.skip.as_ref(), &mut findings);
        let dns = if options.resolve { cx.service::<Dns>() } else { None };
        if options.resolve && dns.is_none() {
            findings.push(Finding::nowhere("this server gives its engines no resolver of names"));
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Helo {
            plan: Arc::new(Plan {
                own_names,
                own_addresses,
                skip,
                skip_authenticated: options.skip_authenticated,
                dns,
                time_limit: options.time_limit.0.0,
            }),
        })
    }

    fn reach(&self) -> Reach {
        if self.plan.dns.is_some() { Reach::Dns } else { Reach::Inside }
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let plan = &*self.plan;
        let request = exchange.request();
        if let Some(why) = plan.why_skipped(request) {
            return Ok(Outcome::new("ok").with_text(why));
        }
        let helo = request.get(Attribute::HeloName);
        if helo.is_empty() {
            return Ok(Outcome::new("missing").with_text("the client gave no name"));
        }
        Ok(match Called::parse(helo) {
            // Whoever claims to be this site, does so with brackets or without them.
            Err(NotAName::BareAddress(Some(address)))
                if plan.is_own(address, request) && request.client_address() != Some(address) =>
            {
                Outcome::new("own").with_text(format!("{address} is an address of this site"))
            }
            Err(error) => {
                Outcome::new("syntax").with_text(format!("\"{}\": {error}", Escaped(helo)))
            }
            Ok(Called::Literal(address)) => plan.check_literal(address, request),
            Ok(Called::Name(name)) => plan.check_name(&name, exchange).await,
        })
    }
}

/// A network or a name, as in the lists of other engines.
enum Own {
    Network(ipnet::IpNet),
    Name(NameEntry),
}

fn read_own(lists: &[Spanned<String>], findings: &mut Vec<Finding>) -> (Names<()>, Networks<()>) {
    let (mut names, mut networks) = (Names::default(), Networks::default());
    for word in lists.iter().flat_map(Spanned::words) {
        match own(word.value) {
            Ok(Own::Network(network)) => networks.insert(network, ()),
            Ok(Own::Name(name)) => names.insert(HostEntry::Name(name), ()),
            Err(fault) => findings.push(finding(&word, fault)),
        }
    }
    (names, networks)
}

fn own(text: &str) -> Result<Own, Fault> {
    let looks_like_an_address = text.contains([':', '/'])
        || text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    if looks_like_an_address {
        return network(text).map(Own::Network);
    }
    NameEntry::parse(text).map(Own::Name)
}

fn network(text: &str) -> Result<ipnet::IpNet, Fault> {
    <Networks<()> as Table<()>>::parse(text, Attribute::ClientAddress)
}

fn read_skip(written: Option<&Vec<Spanned<String>>>, findings: &mut Vec<Finding>) -> Networks<()> {
    let mut networks = Networks::default();
    let Some(written) = written else {
        for network in OWN_NETWORKS.iter().filter_map(|text| network(text).ok()) {
            networks.insert(network, ());
        }
        return networks;
    };
    for word in written.iter().flat_map(Spanned::words) {
        match network(word.value) {
            Ok(network) => networks.insert(network, ()),
            Err(fault) => findings.push(finding(&word, fault)),
        }
    }
    networks
}

fn finding(word: &Spanned<&str>, fault: Fault) -> Finding {
    let finding = Finding::error(word.span, fault.message);
    match fault.help {
        Some(help) => finding.with_help(help),
        None => finding,
    }
}

impl Plan {
    fn why_skipped(&self, request: &Request) -> Option<String> {
        let user = request.get(Attribute::SaslUsername);
        if self.skip_authenticated && !user.is_empty() {
            return Some(format!("{} has logged in", Escaped(user)));
        }
        let client = request.client_address()?;
        if self.skip.find(client).is_some() {
            return Some(format!("{client} is in a network that is not checked"));
        }
        (server_address(request) == Some(client)).then(|| format!("{client} is this host"))
    }

    fn is_own(&self, address: IpAddr, request: &Request) -> bool {
        self.own_addresses.find(address).is_some() || server_address(request) == Some(address)
    }

    fn check_literal(&self, address: IpAddr, request: &Request) -> Outcome {
        let client = request.client_address();
        let (status, text) = if client == Some(address) || client.is_none() {
            ("ok", String::new())
        } else if self.is_own(address, request) {
            ("own", format!("[{address}] is an address of this site"))
        } else if is_private(address) {
            ("private", format!("[{address}] is not the client's address, but a private one"))
        } else {
            ("literal", format!("[{address}] is not the client's address"))
        };
        Outcome::new(status).with_text(text).with_value("name", address.to_string())
    }

    async fn check_name(&self, name: &[u8], exchange: &Exchange) -> Outcome {
        let shown = Escaped(name);
        let is_own = self.own_names.find(name).is_some()
            || name.contains(&b'.') && name.eq_ignore_ascii_case(exchange.node().as_bytes());
        let outcome = if is_own {
            Outcome::new("own").with_text(format!("{shown} is a name of this site"))
        } else if !name.contains(&b'.') {
            Outcome::new("no_dot").with_text(format!("{shown} is not a fully qualified name"))
        } else {
            self.resolve(name, exchange).await
        };
        outcome.with_value("name", name)
    }

    async fn resolve(&self, name: &[u8], exchange: &Exchange) -> Outcome {
        let Some(dns) = &self.dns else { return Outcome::new("ok") };
        // Whatever is a name to this engine is one to the domain name system.
        let Ok(name) = Name::parse(name) else { return Outcome::new("ok") };
        match exists(dns, &name, || exchange.deadline().min(Instant::now() + self.time_limit)).await
        {
            Existence::Exists => Outcome::new("ok"),
            Existence::NoSuchName => {
                Outcome::new("unresolvable").with_text(format!("{name} does not exist"))
            }
            Existence::NoRecords => {
                let text = format!("{name} has neither an address nor a mail exchanger");
                Outcome::new("unresolvable").with_text(text)
            }
            Existence::Unknown(why) => {
                Outcome::new("temperror").with_text(format!("{name}: {why}"))
            }
        }
    }
}

/// What the domain name system knows of a name.
enum Existence {
    Exists,
    NoSuchName,
    NoRecords,
    /// Nothing for now.
    Unknown(String),
}

/// Asks for addresses and mail exchangers at the same time; the first answer that decides ends the
/// waiting.
async fn exists(dns: &Dns, name: &Name, deadline: impl FnOnce() -> Instant) -> Existence {
    let questions = [RecordKind::A, RecordKind::Aaaa, RecordKind::Mx]
        .map(|kind| Question::new(kind, name.clone()));
    let mut failed = None;
    let mut open = Vec::new();
    for question in questions {
        match dns.at_hand(&question).map(|answer| Found::of(question.kind, &answer)) {
            Some(Found::Decided(existence)) => return existence,
            Some(Found::Nothing) => {}
            Some(Found::Failed(why)) => failed = Some(why),
            None => open.push(question),
        }
    }
    if !open.is_empty() {
        let deadline = deadline();
        let ask = |question: Question| async move {
            let kind = question.kind;
            Found::of(kind, &dns.ask(question, deadline).await)
        };
        let mut answers: FuturesUnordered<_> = open.into_iter().map(ask).collect();
        while let Some(found) = answers.next().await {
            match found {
                Found::Decided(existence) => return existence,
                Found::Nothing => {}
                Found::Failed(why) => failed = Some(why),
            }
        }
    }
    failed.map_or(Existence::NoRecords, Existence::Unknown)
}

/// What one answer says.
enum Found {
    Decided(Existence),
    Nothing,
    Failed(String),
}

impl Found {
    fn of(kind: RecordKind, answer: &Answer) -> Self {
        match answer {
            Answer::Records(records) if records.iter().any(is_of_use) => {
                Found::Decided(Existence::Exists)
            }
            // What does not exist has no records of any type. Only of IPv4 addresses that is
            // believed: some servers say it of any type that they do not know (RFC 4074, section
            // 4.2).
            Answer::NoSuchName if kind == RecordKind::A => Found::Decided(Existence::NoSuchName),
            Answer::Records(_) | Answer::NoRecords | Answer::NoSuchName => Found::Nothing,
            Answer::Temporary(failure) => Found::Failed(failure.to_string()),
        }
    }
}

/// A domain may say that it has no mail exchanger (RFC 7505).
fn is_of_use(record: &Record) -> bool {
    !matches!(record, Record::Mx { exchange, .. } if exchange.is_root())
}

fn server_address(request: &Request) -> Option<IpAddr> {
    let text = std::str::from_utf8(request.get(Attribute::ServerAddress)).ok()?;
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// Whether an address can't be the client's as others see it.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let is_shared = a == 100 && b & 0b1100_0000 == 64;
            address.is_private() || address.is_loopback() || address.is_link_local() || is_shared
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}
