//! `<greylist>`: asks clients that write for the first time to come back later, as mail servers do
//! and most senders of spam do not.
//!
//! ```xml
//! <greylist>
//!   <delay>5m</delay>
//!   <opt_out>postmaster@ sales@example.com</opt_out>
//!   <on_passed>PREPEND X-Greylist: delayed $waited seconds</on_passed>
//! </greylist>
//! ```
//!
//! What is remembered is a triplet: the client, the envelope sender, the recipient. The first attempt
//! of a triplet is `new`; those before `delay` is over are `early`; the first after it is `passed`,
//! those that follow are `known`. A client of which enough triplets have passed is `whitelisted`, as
//! are recipients that opted out and users who have logged in.
//!
//! A client is its network or, where its name is verified and tells who runs it, the domain below
//! which that name was registered. Of senders only what stays the same from message to message
//! counts. Each recipient of a message has a triplet of its own.
//!
//! | module | what lives there |
//! |---|---|
//! | `client` | who a client counts as |
//! | `generic` | names that an access provider gave |
//! | `sender` | what of a sender stays the same |
//! | `triplet` | what becomes of a triplet at each attempt |
//! | `regular` | clients that have passed often enough |
//! | [`import`] | what another program remembered |

mod client;
mod generic;
pub mod import;
pub(crate) mod regular;
mod sender;
pub(crate) mod triplet;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use mppd_engine::config::{Period, Positive};
use mppd_engine::{
    Attribute, BuildContext, Engine, Exchange, Failure, Finding, Outcome, Request, Spanned, Stage,
    Stages, StatusDoc, ValueDoc, options,
};
use mppd_lists::mailboxes::Mailboxes;
use mppd_lists::prefix::{Prefix, Prefixes};
use mppd_lists::reading::{EntriesOptions, fill};
use mppd_lists::subject;
use mppd_state::{Change, Record, Space, StateError, StateStore};

use self::client::{Client, Clients};
use self::regular::{Regular, RegularTerms};
use self::triplet::{Next, Standing, Terms, Triplet};

options! {
    /// `<greylist>`
    pub(crate) struct GreylistOptions {
        /// How long a triplet has to wait.
        delay: Positive<Period> = Positive(Period::seconds(300)),
        /// How long a first attempt is remembered, `2d` unless given. Whoever comes back later
        /// than that begins anew.
        window: Option<Spanned<Period>> = None,
        /// How long a triplet that has passed is remembered after it was last seen.
        lifetime: Positive<Period> = Positive(LIFETIME),
        /// How many bits of a client's IPv4 address count.
        ipv4_prefix: Prefix<32> = Prefix::bits(24),
        /// How many bits of a client's IPv6 address count.
        ipv6_prefix: Prefix<128> = Prefix::bits(64),
        /// Whether clients with verified names below one registered domain count as one, wherever
        /// their addresses are. Names that access providers and hosters give out do not count.
        shared_names: bool = true,
        /// After how many triplets that have passed a client need not wait any more; 0 for never.
        auto_whitelist: u32 = 5,
        /// How much time lies at least between two triplets that count for `auto_whitelist`.
        auto_whitelist_interval: Period = Period::seconds(3600),
        /// How long a client that need not wait is remembered after it was last seen.
        auto_whitelist_lifetime: Positive<Period> = Positive(LIFETIME),
        /// Recipients for whom nobody has to wait, written as the senders of `<wbl>` are. May stand
        /// several times.
        opt_out: Vec<EntriesOptions> = Vec::new(),
        /// Whether clients that have logged in (SASL) need not wait.
        skip_authenticated: bool = true,
    }
}

const LIFETIME: Period = Period::seconds(35 * 24 * 3600);

/// How long a first attempt is remembered unless configured.
const WINDOW: Period = Period::seconds(2 * 24 * 3600);

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Greylist {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    space: Space,
    terms: Terms,
    /// `None` where every triplet has to wait.
    regulars: Option<RegularTerms>,
    clients: Clients,
    opt_out: Mailboxes<()>,
    skip_authenticated: bool,
}

impl Engine for Greylist {
    const NAME: &'static str = "greylist";
    const SUMMARY: &'static str = "asks clients that write for the first time to come back later";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new(
            "new",
            "This client has not written from this sender to this recipient before, or too long \
             ago.",
            "DEFER_IF_PERMIT 4.2.0 Greylisted, try again in $seconds seconds",
        ),
        StatusDoc::new(
            "early",
            "It came back before the delay was over.",
            "DEFER_IF_PERMIT 4.2.0 Greylisted, try again in $seconds seconds",
        ),
        StatusDoc::new("passed", "It came back after the delay, the first time.", "continue"),
        StatusDoc::new("known", "It has passed before.", "continue"),
        StatusDoc::new(
            "whitelisted",
            "It need not wait: enough of the client's mail has passed, the recipient opted out, or \
             the client has logged in.",
            "continue",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc {
            name: "seconds",
            meaning: "With `new` and `early`: after how many seconds it passes.",
        },
        ValueDoc {
            name: "waited",
            meaning: "With `early` and `passed`: how many seconds ago the first attempt was.",
        },
        ValueDoc {
            name: "client",
            meaning: "What the client counts as: a network, or the domain of its name; `unknown` \
                      where Postfix does not know its address.",
        },
        ValueDoc {
            name: "counted_sender",
            meaning: "What of the sender counts; `<>` for the null sender. Not with `whitelisted`.",
        },
        ValueDoc {
            name: "reason",
            meaning: "With `whitelisted`: `client`, `recipient` or `login`.",
        },
    ];
    // With several recipients there is none to be told at DATA.
    const STAGES: Stages = Stages::of(&[Stage::Rcpt]);
    type Options = GreylistOptions;

    fn build(options: GreylistOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Greylist { plan: Arc::new(Plan::new(&options, cx)?) })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let answer = self.plan.judge(exchange.request(), received(exchange)).await;
        answer.map_err(|error| Failure::new("can't tell how long it waits").with_source(error))
    }
}

/// When a request came, to the millisecond, as records have it.
fn received(exchange: &Exchange) -> Timestamp {
    let time = Timestamp::try_from(exchange.received()).unwrap_or(Timestamp::UNIX_EPOCH);
    Timestamp::from_millisecond(time.as_millisecond()).unwrap_or(time)
}

impl Plan {
    fn new(options: &GreylistOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let (delay, window) = (options.delay.0, options.window.as_ref());
        if window.map_or(WINDOW, |window| window.value) <= delay {
            findings.push(short_window(window, delay));
        }
        let mut opt_out = Mailboxes::default();
        findings.extend(fill(&mut opt_out, Attribute::Recipient, &options.opt_out, cx));
        let store = cx.service::<StateStore>();
        if store.is_none() {
            findings.push(Finding::nowhere("there is no store for what has been seen"));
        }
        let Some(store) = store.filter(|_| findings.is_empty()) else { return Err(findings) };
        Ok(Plan {
            space: store.space(cx.id()),
            terms: Terms {
                delay: delay.0,
                window: window.map_or(WINDOW, |window| window.value).0,
                lifetime: options.lifetime.0.0,
            },
            regulars: options.regulars(),
            clients: Clients {
                prefixes: Prefixes { ipv4: options.ipv4_prefix, ipv6: options.ipv6_prefix },
                shared_names: options.shared_names,
            },
            opt_out,
            skip_authenticated: options.skip_authenticated,
        })
    }

    /// What the engine comes to.
    async fn judge(&self, request: &Request, now: Timestamp) -> Result<Outcome, StateError> {
        if let Some(outcome) = self.excuse(request) {
            return Ok(outcome);
        }
        let client = self.clients.of(request);
        if let Some(outcome) = self.excuse_regular(&client, now).await? {
            return Ok(outcome);
        }
        let sender = sender::steady(request.sender());
        let recipient = subject::recipient(request).unwrap_or_default();
        let key = |client: &str| triplet_key(client, &sender, &recipient);
        let standing = match &client.domain {
            Some(domain) => self.attempt_of(key(domain), key(&client.network), now).await?,
            None => self.attempt(key(&client.network), None, now).await?,
        };
        if let Standing::Passed { .. } = standing {
            self.count_success(client.shown(), now).await?;
        }
        Ok(self.outcome(standing, client.shown(), &sender))
    }

    /// That nobody has to wait, whatever happened before.
    fn excuse(&self, request: &Request) -> Option<Outcome> {
        if self.skip_authenticated && subject::sasl_username(request).is_some() {
            return Some(whitelisted("login").with_text("the client has logged in"));
        }
        let recipient = subject::recipient(request)?;
        let found = self.opt_out.find(&recipient)?;
        let text = format!("nobody waits to write to {}", found.entry);
        Some(whitelisted("recipient").with_text(text))
    }

    /// That enough of the client's mail has passed, under one name or the other.
    async fn excuse_regular(
        &self,
        client: &Client<'_>,
        now: Timestamp,
    ) -> Result<Option<Outcome>, StateError> {
        let Some(terms) = self.regulars else { return Ok(None) };
        let names = [client.domain.as_deref(), Some(&*client.network)];
        for name in names.into_iter().flatten() {
            let visit = move |known: Option<Regular>| {
                let (is_regular, next) = Regular::visit(known.as_ref(), now, terms);
                change(is_regular, next)
            };
            if self.space.update(name.as_bytes(), now, visit).await? {
                let text = format!("{name} has passed often enough");
                let outcome = whitelisted("client").with_text(text);
                return Ok(Some(outcome.with_value("client", name)));
            }
        }
        Ok(None)
    }

    /// An attempt of a client that has a domain. What is known of it under its network counts as
    /// well: the name may not have been known before, or not to a program that was here before.
    async fn attempt_of(
        &self,
        by_domain: Vec<u8>,
        by_network: Vec<u8>,
        now: Timestamp,
    ) -> Result<Standing, StateError> {
        let terms = self.terms;
        let again = move |known: Option<Triplet>| match known {
            None => Change::Keep(None),
            Some(known) => {
                let (standing, next) = Triplet::attempt(Some(&known), now, terms);
                change(Some(standing), next)
            }
        };
        if let Some(standing) = self.space.update(&by_domain, now, again).await? {
            return Ok(standing);
        }
        let under_network = self.space.get::<Triplet>(&by_network, now).await?;
        self.attempt(by_domain, under_network, now).await
    }

    async fn attempt(
        &self,
        key: Vec<u8>,
        otherwise: Option<Triplet>,
        now: Timestamp,
    ) -> Result<Standing, StateError> {
        let terms = self.terms;
        let attempt = move |known: Option<Triplet>| {
            let known = known.as_ref().or(otherwise.as_ref());
            let (standing, next) = Triplet::attempt(known, now, terms);
            change(standing, next)
        };
        self.space.update(&key, now, attempt).await
    }

    async fn count_success(&self, client: &str, now: Timestamp) -> Result<(), StateError> {
        // Who these are nobody knows.
        if client == client::UNKNOWN {
            return Ok(());
        }
        let Some(terms) = self.regulars else { return Ok(()) };
        let success =
            move |known: Option<Regular>| change((), Regular::success(known.as_ref(), now, terms));
        self.space.update(client.as_bytes(), now, success).await
    }

    fn outcome(&self, standing: Standing, client: &str, sender: &[u8]) -> Outcome {
        let outcome = match standing {
            Standing::New => {
                let seconds = whole_seconds(self.terms.delay);
                let wait = in_words(seconds);
                Outcome::new("new")
                    .with_text(format!("first attempt of {client}, {wait} to wait"))
                    .with_value("seconds", seconds.to_string())
            }
            Standing::Early { waited, left } => {
                let seconds = whole_seconds(left);
                let wait = in_words(seconds);
                Outcome::new("early")
                    .with_text(format!("{client} is back early, {wait} to wait"))
                    .with_value("seconds", seconds.to_string())
                    .with_value("waited", waited.as_secs().to_string())
            }
            Standing::Passed { waited } => Outcome::new("passed")
                .with_text(format!("{client} is back after {}", in_words(waited.as_secs())))
                .with_value("waited", waited.as_secs().to_string()),
            Standing::Known => Outcome::new("known"),
        };
        outcome.with_value("client", client).with_value("counted_sender", sender)
    }
}

impl GreylistOptions {
    fn regulars(&self) -> Option<RegularTerms> {
        (self.auto_whitelist > 0).then_some(RegularTerms {
            successes: self.auto_whitelist,
            interval: self.auto_whitelist_interval.0,
            lifetime: self.auto_whitelist_lifetime.0.0,
        })
    }
}

fn short_window(window: Option<&Spanned<Period>>, delay: Period) -> Finding {
    let Period(whole) = window.map_or(WINDOW, |window| window.value);
    let message = format!(
        "a first attempt is forgotten after {}, before the delay of {delay} is over",
        Period(whole)
    );
    let finding = match window {
        Some(window) => Finding::error(window.span, message),
        None => Finding::nowhere(message),
    };
    finding.with_help("\"window\" must be longer than \"delay\"")
}

fn whitelisted(reason: &'static str) -> Outcome {
    Outcome::new("whitelisted").with_value("reason", reason)
}

fn change<R: Record, A>(answer: A, next: Next<R>) -> Change<R, A> {
    match next {
        Some((record, until)) => Change::Put(record, until, answer),
        None => Change::Keep(answer),
    }
}

/// `CLIENT SENDER RECIPIENT`; the record of a client has no blank in its key.
fn triplet_key(client: &str, sender: &[u8], recipient: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(client.len() + sender.len() + recipient.len() + 2);
    key.extend_from_slice(client.as_bytes());
    for part in [sender, recipient] {
        key.push(b' ');
        append_part(&mut key, part);
    }
    key
}

/// Appends octets; those that end a part or can't be seen as `%` with two digits.
fn append_part(key: &mut Vec<u8>, part: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for octet in part {
        if *octet <= b' ' || *octet == 0x7f || *octet == b'%' {
            let [high, low] = [octet >> 4, octet & 15].map(|digit| DIGITS[usize::from(digit)]);
            key.extend_from_slice(&[b'%', high, low]);
        } else {
            key.push(*octet);
        }
    }
}

fn in_words(seconds: u64) -> String {
    match seconds {
        1 => "1 second".to_owned(),
        _ => format!("{seconds} seconds"),
    }
}

/// Seconds, a part of one counted as a whole.
fn whole_seconds(period: Duration) -> u64 {
    period.as_secs() + u64::from(period.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
