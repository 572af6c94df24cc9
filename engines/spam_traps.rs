//! `<spam_traps>`: recipients that nobody has, and clients that write to them.
//!
//! ```xml
//! <spam_traps>
//!   <trap file="lists/traps"/>
//!   <mark_for>1d</mark_for>
//!   <never>
//!     <client_address>192.0.2.0/24</client_address>
//!     <client_name>google.com outlook.com</client_name>
//!   </never>
//! </spam_traps>
//! ```
//!
//! A request to a trap is `trap`, and marks its client for a time; each further one makes the time
//! begin anew. Any other request of a marked client is `marked`, all the rest `none`.
//!
//! Bounces mark nobody: they come from servers that were told by spam that the trap had sent it. Nor
//! does a user who has logged in, or a client that is on the list `never`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use mppd_engine::config::{Period, Positive};
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, Request,
    StatusDoc, ValueDoc, options,
};
use mppd_lists::mailboxes::Mailboxes;
use mppd_lists::names::Names;
use mppd_lists::networks::Networks;
use mppd_lists::prefix::{Prefix, Prefixes};
use mppd_lists::reading::{EntriesOptions, fill};
use mppd_lists::{Table, subject};
use mppd_state::{Change, Reader, Record, Space, StateError, StateStore, Writer};

options! {
    /// `<spam_traps>`
    pub(crate) struct SpamTrapsOptions {
        /// Recipients that are traps: `user@example.org` is that address, `user@` that local part in
        /// any domain, `@example.org` every address in that domain, `example.org` also those in
        /// domains below it, `.example.org` only those. May stand several times.
        trap: Vec<EntriesOptions> = Vec::new(),
        /// How long a client is marked after it last wrote to a trap.
        mark_for: Positive<Period> = Positive(Period::seconds(24 * 3600)),
        /// How many bits of a client's IPv4 address are marked with it.
        ipv4_prefix: Prefix<32> = Prefix::bits(32),
        /// How many bits of a client's IPv6 address are marked with it.
        ipv6_prefix: Prefix<128> = Prefix::bits(64),
        /// Clients that are never marked. May stand several times.
        never: Vec<NeverOptions> = Vec::new(),
        /// Whether clients that have logged in (SASL) are never marked.
        skip_authenticated: bool = true,
    }
}

options! {
    /// `<never>`
    pub(crate) struct NeverOptions {
        /// Addresses and networks: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`. May stand several
        /// times, as may the following.
        client_address: Vec<EntriesOptions> = Vec::new(),
        /// Verified client names: `example.org` is that name and all names below it, `.example.org`
        /// only the names below it.
        client_name: Vec<EntriesOptions> = Vec::new(),
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct SpamTraps {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    space: Space,
    traps: Mailboxes<()>,
    mark_for: Duration,
    prefixes: Prefixes,
    never: Never,
    skip_authenticated: bool,
}

/// Clients that are never marked.
#[derive(Debug, Default)]
struct Never {
    client_address: Networks<()>,
    client_name: Names<()>,
}

/// A client that wrote to a trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hit {
    /// When it did so first, of all times since when it has been marked.
    since: Timestamp,
    /// Until when it is marked.
    until: Timestamp,
    /// The last trap.
    trap: Vec<u8>,
}

impl Record for Hit {
    const KIND: u8 = b'H';

    fn write(&self, writer: &mut Writer) {
        writer.time(self.since);
        writer.time(self.until);
        writer.octets(&self.trap);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (since, until) = (reader.time()?, reader.time()?);
        Some(Hit { since, until, trap: reader.octets()?.to_vec() })
    }
}

impl Engine for SpamTraps {
    const NAME: &'static str = "spam_traps";
    const SUMMARY: &'static str = "recipients that nobody has, and clients that write to them";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("trap", "The recipient is a trap.", "550 5.1.1 User unknown"),
        StatusDoc::new(
            "marked",
            "The client wrote to a trap not long ago.",
            "DEFER_IF_PERMIT 4.7.1 Mail from your network is not taken for now",
        ),
        StatusDoc::new("none", "Neither.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc {
            name: "trap",
            meaning: "The trap: the recipient with `trap`, the last that the client wrote to with \
                      `marked`.",
        },
        ValueDoc {
            name: "client",
            meaning: "The network that is marked. Not where the request marks nobody.",
        },
        ValueDoc {
            name: "since",
            meaning: "Since when it is marked, as `2026-01-31T12:00:00Z`. With `client`.",
        },
        ValueDoc { name: "until", meaning: "Until when it is marked. With `client`." },
    ];
    type Options = SpamTrapsOptions;

    fn build(options: SpamTrapsOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut traps = Mailboxes::default();
        findings.extend(fill(&mut traps, Attribute::Recipient, &options.trap, cx));
        let mut never = Never::default();
        for entries in &options.never {
            let Never { client_address, client_name } = &mut never;
            let (addresses, names) = (&entries.client_address, &entries.client_name);
            findings.extend(fill(client_address, Attribute::ClientAddress, addresses, cx));
            findings.extend(fill(client_name, Attribute::ClientName, names, cx));
        }
        let store = cx.service::<StateStore>();
        if store.is_none() {
            findings.push(Finding::nowhere("there is no store for the clients that are marked"));
        }
        let Some(store) = store.filter(|_| findings.is_empty()) else { return Err(findings) };
        if Table::<()>::is_empty(&traps) {
            cx.warn(Finding::nowhere("there is no trap, so nobody is ever marked"));
        }
        let prefixes = Prefixes { ipv4: options.ipv4_prefix, ipv6: options.ipv6_prefix };
        let plan = Plan {
            space: store.space(cx.id()),
            traps,
            mark_for: options.mark_for.0.0,
            prefixes,
            never,
            skip_authenticated: options.skip_authenticated,
        };
        Ok(SpamTraps { plan: Arc::new(plan) })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let answer = self.plan.judge(exchange.request(), received(exchange)).await;
        answer.map_err(|error| Failure::new("can't tell who is marked").with_source(error))
    }
}

/// When a request came, to the millisecond, as records have it.
fn received(exchange: &Exchange) -> Timestamp {
    let time = Timestamp::try_from(exchange.received()).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

impl Plan {
    /// What the engine comes to.
    async fn judge(&self, request: &Request, now: Timestamp) -> Result<Outcome, StateError> {
        let client = self.markable(request);
        let recipient = subject::recipient(request);
        let trap = recipient.filter(|recipient| self.traps.find(recipient).is_some());
        if let Some(trap) = trap {
            let client = client.filter(|_| !request.sender().is_null());
            return self.trapped(client, &trap, now).await;
        }
        let Some(client) = client else { return Ok(Outcome::new("none")) };
        let hit: Option<Hit> = self.space.get(client.as_bytes(), now).await?;
        Ok(match hit {
            Some(hit) => marked(&client, &hit),
            None => Outcome::new("none"),
        })
    }

    /// What is marked if this client writes to a trap; nothing where it never is.
    fn markable(&self, request: &Request) -> Option<String> {
        let address = request.client_address()?;
        let name = subject::client_name(request);
        let is_named = name.is_some_and(|name| self.never.client_name.find(&name).is_some());
        if is_named || self.never.client_address.find(address).is_some() {
            return None;
        }
        if self.skip_authenticated && subject::sasl_username(request).is_some() {
            return None;
        }
        Some(self.prefixes.network(address).to_string())
    }

    /// A request to a trap.
    async fn trapped(
        &self,
        client: Option<String>,
        trap: &[u8],
        now: Timestamp,
    ) -> Result<Outcome, StateError> {
        let Some(client) = client else {
            let text = format!("{} is a trap; nobody is marked", Escaped(trap));
            return Ok(Outcome::new("trap").with_text(text).with_value("trap", trap));
        };
        let until = now.checked_add(self.mark_for).unwrap_or(Timestamp::MAX);
        let (owned, name) = (trap.to_vec(), client.as_bytes());
        let mark = move |known: Option<Hit>| {
            let since = known.map_or(now, |known| known.since.min(now));
            let hit = Hit { since, until, trap: owned.clone() };
            Change::Put(hit.clone(), until, hit)
        };
        let hit = self.space.update(name, now, mark).await?;
        let text = format!("{} is a trap, {client} is marked", Escaped(trap));
        Ok(with_hit(Outcome::new("trap").with_text(text), &client, &hit))
    }
}

fn marked(client: &str, hit: &Hit) -> Outcome {
    let (trap, until) = (Escaped(&hit.trap), shown(hit.until));
    let text = format!("{client} wrote to the trap {trap}, and is marked until {until}");
    with_hit(Outcome::new("marked").with_text(text), client, hit)
}

fn with_hit(outcome: Outcome, client: &str, hit: &Hit) -> Outcome {
    outcome
        .with_value("trap", hit.trap.clone())
        .with_value("client", client)
        .with_value("since", shown(hit.since))
        .with_value("until", shown(hit.until))
}

/// A time, to the second.
fn shown(time: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    PRINTER.timestamp_to_string(&time)
}

#[cfg(test)]
mod tests;
