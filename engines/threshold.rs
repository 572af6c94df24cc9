//! `<threshold>`: counts requests, messages, recipients or octets for a key, and says when it is
//! enough.
//!
//! ```xml
//! <threshold id="outbound">
//!   <key>${lower $sasl_username}</key>
//!   <count>recipients</count>
//!   <limit id="hourly" max="100" per="1h"/>
//!   <limit id="daily" max="500" per="day"/>
//!   <blacklist for="1h" after="10"/>
//! </threshold>
//! ```
//!
//! A request counts if all limits let it pass, for all of them at once; what one of them refuses
//! counts for none. A message (its `instance`; at RCPT a recipient of it) counts once, however often
//! Postfix asks. All that is kept for a key is one record of the state store and changes in one
//! step, so that no count is lost and none is let through twice, whoever else counts.
//!
//! `docs/engines/threshold.md` tells it at length, `meter.rs` how exact each kind of limit is.

pub(crate) mod account;
mod exceptions;
mod limits;
mod listing;
mod meter;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use jiff::Timestamp;
use mppd_engine::config::{OptionValue, Period, Positive};
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, Probe, Reach,
    Request, Spanned, Stage, Stages, StatusDoc, Template, ValueDoc, View, options,
};
use mppd_state::{Space, StateStore};

use self::account::{Account, Ask, Reading, Terms, Token, Verdict};
use self::exceptions::{Exceptions, ExceptionsOptions};
use self::limits::{Limit, LimitOptions, Limits, milliseconds};
use self::meter::Rule;

pub use self::listing::{Counted, Listed, listed};

/// Most refusals that can be asked for before a key is blacklisted: each is kept.
const MOST_REFUSALS: u32 = 1_000;

options! {
    /// `<threshold>`
    pub(crate) struct ThresholdOptions {
        /// Whom or what to count for: a text with macros. Where it comes to nothing, nothing is
        /// counted.
        key: Spanned<String>,
        /// What to count. `requests`: each request counts 1. `messages`: each message counts 1.
        /// `recipients`: each message counts as many as Postfix has accepted recipients of it.
        /// `octets`: each message counts its size. `requests` unless there is an `amount`.
        count: Option<Spanned<Count>> = None,
        /// How much a request counts: a text with macros that comes to a whole number. In place of
        /// `count`.
        amount: Option<Spanned<String>> = None,
        /// At which stage to count; the others pass by. Unless given it is the one where what is to
        /// be counted is known: `policy-rcpt` for `requests` and `amount`, `policy-data` for
        /// `messages` and `recipients`, `policy-end-of-message` for `octets`.
        stage: Option<Spanned<StageName>> = None,
        /// How much may pass. May stand several times; all limits hold at once.
        limit: Vec<LimitOptions>,
        /// The time zone in which days, weeks and months begin: a name of the IANA database. That
        /// of the system unless given.
        zone: Option<Spanned<String>> = None,
        /// At how many percent of a limit the status is `near`, once.
        near: Option<Spanned<u16>> = None,
        /// Whether what is refused counts as well. Then a limit opens again only when its key has
        /// been quiet.
        count_refused: bool = false,
        /// Refuses everything of a key for a time when it has been over a limit too often.
        blacklist: Option<BlacklistOptions> = None,
        /// Other limits for some keys, from MySQL or MariaDB.
        exceptions: Option<ExceptionsOptions> = None,
    }
}

options! {
    /// `<blacklist>`
    pub(crate) struct BlacklistOptions {
        /// How long a key stays blacklisted.
        ["for"] lasting: Positive<Period>,
        /// After how many refusals at a limit.
        after: Spanned<Positive<u32>>,
        /// In which time they must come; that of `for` unless given.
        within: Option<Positive<Period>> = None,
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Count {
    Requests,
    Messages,
    Recipients,
    Octets,
}

impl OptionValue for Count {
    const TYPE: &'static str = "`requests`, `messages`, `recipients` or `octets`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Count {
    /// Where it is counted unless the configuration says otherwise.
    fn default_stage(self) -> Stage {
        match self {
            Count::Requests => Stage::Rcpt,
            Count::Messages | Count::Recipients => Stage::Data,
            Count::Octets => Stage::EndOfMessage,
        }
    }

    /// Why it can't be counted at a stage, if so.
    fn unknown_at(self, stage: Stage) -> Option<&'static str> {
        let has_message = matches!(stage, Stage::Rcpt | Stage::Data | Stage::EndOfMessage);
        match self {
            Count::Messages if !has_message => Some("there is no message at this stage"),
            Count::Recipients if !matches!(stage, Stage::Data | Stage::EndOfMessage) => Some(
                "Postfix tells how many recipients it has accepted only at policy-data and \
                      policy-end-of-message",
            ),
            Count::Octets if stage != Stage::EndOfMessage => {
                Some("Postfix knows the size of a message only at policy-end-of-message")
            }
            _ => None,
        }
    }
}

/// A stage, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(crate) enum StageName {
    #[serde(rename = "policy-connect")]
    Connect,
    #[serde(rename = "policy-helo")]
    Helo,
    #[serde(rename = "policy-mail")]
    Mail,
    #[serde(rename = "policy-rcpt")]
    Rcpt,
    #[serde(rename = "policy-data")]
    Data,
    #[serde(rename = "policy-end-of-message")]
    EndOfMessage,
    #[serde(rename = "policy-vrfy")]
    Vrfy,
    #[serde(rename = "policy-etrn")]
    Etrn,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::Connect => Stage::Connect,
            StageName::Helo => Stage::Helo,
            StageName::Mail => Stage::Mail,
            StageName::Rcpt => Stage::Rcpt,
            StageName::Data => Stage::Data,
            StageName::EndOfMessage => Stage::EndOfMessage,
            StageName::Vrfy => Stage::Vrfy,
            StageName::Etrn => Stage::Etrn,
        }
    }
}

impl OptionValue for StageName {
    const TYPE: &'static str = "a stage, such as `policy-rcpt`";

    fn show(&self) -> String {
        Stage::from(*self).to_string()
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Threshold {
    space: Space,
    key: Template,
    amount: Amount,
    /// Whether all requests of a message count as one, whatever their recipients.
    is_by_message: bool,
    stage: Stage,
    limits: Limits,
    terms: Terms,
    exceptions: Option<Exceptions>,
}

/// How much a request counts.
#[derive(Debug, Clone)]
enum Amount {
    One,
    Attribute(Attribute),
    Text(Template),
}

impl Engine for Threshold {
    const NAME: &'static str = "threshold";
    const SUMMARY: &'static str = "rates and quotas";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("under", "It was counted, and every limit lets it pass.", "continue"),
        StatusDoc::new(
            "near",
            "The same, and it takes a limit to `near` percent or more; the next one is `under` \
             again.",
            "continue",
        ),
        StatusDoc::new(
            "over",
            "A limit is reached: it would be exceeded.",
            "450 4.7.1 limit of $max per $per reached, try again in $seconds seconds",
        ),
        StatusDoc::new(
            "blacklisted",
            "The key has been over a limit too often, and is blacklisted for a time.",
            "450 4.7.1 too often over a limit, try again in $seconds seconds",
        ),
        StatusDoc::new("exempt", "The exceptions have no limit for it.", "continue"),
        StatusDoc::new(
            "none",
            "Nothing is to be counted: the key is empty, the amount is 0, or it is another stage.",
            "continue",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "key", meaning: "Whom or what it was counted for, except with `none`." },
        ValueDoc {
            name: "limit",
            meaning: "The name of the limit that the other values are about, with `under`, `near` \
                      and `over`: the one of which the largest share is used up; the one that comes \
                      near; the one that refuses for longest.",
        },
        ValueDoc { name: "count", meaning: "What this limit has counted." },
        ValueDoc { name: "max", meaning: "Its `max`, or that of an exception." },
        ValueDoc { name: "per", meaning: "Its period." },
        ValueDoc { name: "remaining", meaning: "How much more may pass." },
        ValueDoc {
            name: "seconds",
            meaning: "How many seconds it is until the same may pass, with `over`, or until the key \
                      is no longer blacklisted. Where an amount is more than a limit ever lets \
                      pass, the length of the period.",
        },
    ];
    type Options = ThresholdOptions;

    fn build(options: ThresholdOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = check(&options);
        let mut take = |faults: Vec<Finding>| findings.extend(faults);
        let key = cx.template(&options.key).map_err(&mut take);
        let amount = amount(&options, cx).map_err(&mut take);
        let limits = Limits::read(&options.limit, options.zone.as_ref(), cx).map_err(&mut take);
        let exceptions =
            options.exceptions.as_ref().map(|options| Exceptions::read(options, cx)).transpose();
        let exceptions = exceptions.map_err(&mut take);
        if let (Ok(limits), Some(_)) = (&limits, &options.exceptions) {
            take(exceptions::check_names(&limits.all));
        }
        if key.as_ref().is_ok_and(|key| key.as_constant().is_some_and(<[u8]>::is_empty)) {
            take(vec![Finding::error(options.key.span, "the key is empty")]);
        }
        let Some(store) = cx.service::<StateStore>() else {
            return Err(vec![Finding::nowhere("there is no state store")]);
        };
        match (key, amount, limits, exceptions) {
            (Ok(key), Ok(amount), Ok(limits), Ok(exceptions)) if findings.is_empty() => {
                let (stage, terms) = (stage(&options), terms(&options));
                let space = store.space(cx.id());
                let is_by_message =
                    options.count.is_some_and(|count| count.value == Count::Messages);
                Ok(Threshold {
                    space,
                    key,
                    amount,
                    is_by_message,
                    stage,
                    limits,
                    terms,
                    exceptions,
                })
            }
            _ => Err(findings),
        }
    }

    fn useful_at(&self) -> Stages {
        Stages::of(&[self.stage])
    }

    fn probes(&self) -> Vec<Probe> {
        self.exceptions.iter().map(Exceptions::probe).collect()
    }

    fn reach(&self) -> Reach {
        if self.exceptions.is_some() { Reach::Services } else { Reach::Inside }
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        if exchange.stage() != self.stage {
            return Ok(Outcome::new(NONE));
        }
        let view = View::of(exchange);
        let key = self.key.evaluate(&view);
        let amount = self.amount(exchange.request(), &view)?;
        if key.is_empty() || amount == 0 {
            return Ok(Outcome::new(NONE));
        }
        let now = Timestamp::try_from(exchange.received())
            .map_err(|error| Failure::new("can't tell the time").with_source(error))?;
        let mut rules = self.limits.rules(now)?;
        if let Some(exceptions) = &self.exceptions {
            rules = exceptions.apply(&view, &self.limits.all, rules).await?;
        }
        if rules.iter().all(Rule::is_unlimited) {
            return Ok(Outcome::new("exempt").with_value("key", key));
        }
        let ask = Ask {
            rules: rules.clone(),
            amount,
            token: self.token(exchange.request()),
            now: u64::try_from(now.as_millisecond()).unwrap_or(0),
            terms: self.terms,
        };
        let judge = move |account: Option<Account>| account.unwrap_or_default().judge(&ask);
        let verdict = self.space.update(&key, now, judge).await;
        let failed = |error| Failure::new("can't count").with_source(error);
        Ok(self.outcome(&key, verdict.map_err(failed)?, &rules))
    }
}

const NONE: &str = "none";

impl Threshold {
    fn amount(&self, request: &Request, view: &View<'_>) -> Result<u64, Failure> {
        let octets = match &self.amount {
            Amount::One => return Ok(1),
            Amount::Attribute(attribute) => Cow::Borrowed(request.get(*attribute)),
            Amount::Text(text) => text.evaluate(view),
        };
        if octets.is_empty() {
            return Ok(0);
        }
        let number = std::str::from_utf8(&octets).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| {
            Failure::new(format!(
                "the amount is \"{}\", which is no whole number",
                Escaped(&octets)
            ))
            .of_request()
        })
    }

    /// What is counted once: a recipient of a message, or a message.
    fn token(&self, request: &Request) -> Option<Token> {
        if request.instance().is_empty() {
            return None;
        }
        // The keys of this hasher are the same everywhere. No peer knows its instance before it is
        // over, so none can look for two recipients that are taken for one.
        let mut hasher = DefaultHasher::new();
        request.instance().hash(&mut hasher);
        if !self.is_by_message {
            request.get(Attribute::Recipient).hash(&mut hasher);
        }
        Some(Token::new(hasher.finish()))
    }

    fn outcome(&self, key: &[u8], verdict: Verdict, rules: &[Rule]) -> Outcome {
        let (status, reading) = match verdict {
            Verdict::Under(reading) => ("under", reading),
            Verdict::Near(reading) => ("near", reading),
            Verdict::Over(reading) => ("over", reading),
            Verdict::Blacklisted(wait) => {
                let seconds = wait.div_ceil(1_000);
                return Outcome::new("blacklisted")
                    .with_text(format!("blacklisted for {seconds} more seconds"))
                    .with_value("key", key)
                    .with_value("seconds", seconds.to_string());
            }
        };
        let Reading { rule, count, wait } = reading;
        // The reading is that of one of these rules.
        let (Some(limit), Some(rule)) = (self.limits.all.get(rule), rules.get(rule)) else {
            return Outcome::new(status);
        };
        let text = told(count, limit, rule);
        let remaining = rule.capacity().saturating_sub(count);
        let mut values = Vec::with_capacity(7);
        let mut value = |name: &'static str, value: Vec<u8>| {
            values.push(mppd_engine::NamedValue { name: name.into(), value });
        };
        value("key", key.to_vec());
        value("limit", limit.id.value.clone().into_bytes());
        value("count", count.to_string().into_bytes());
        value("max", rule.max.to_string().into_bytes());
        value("per", limit.per.to_string().into_bytes());
        value("remaining", remaining.to_string().into_bytes());
        if status == "over" {
            value("seconds", wait.div_ceil(1_000).to_string().into_bytes());
        }
        Outcome { status, text: text.into(), values }
    }
}

/// What a limit has counted, for people.
fn told(count: u64, limit: &Limit, rule: &Rule) -> String {
    let (max, per) = (rule.max, &limit.per);
    if rule.burst == max {
        return format!("{count} of {max} per {per}");
    }
    format!("{count} of {} at once, {max} per {per}", rule.burst)
}

/// What the options say that can't be.
fn check(options: &ThresholdOptions) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let (Some(count), Some(amount)) = (&options.count, &options.amount) {
        let finding = Finding::error(amount.span, "an amount stands in place of a count");
        findings.push(finding.with_related(count.span, "the count"));
    }
    if let (Some(count), Some(stage)) = (&options.count, &options.stage)
        && let Some(why) = count.value.unknown_at(stage.value.into())
    {
        let (what, place) = (count.value.show(), stage.value.show());
        let message = format!("{what} can't be counted at {place}");
        findings.push(Finding::error(stage.span, message).with_help(why));
    }
    if let Some(near) = options.near.as_ref().filter(|near| !(1..=100).contains(&near.value)) {
        findings.push(Finding::error(near.span, "from 1 to 100 percent make sense here"));
    }
    let after = options.blacklist.as_ref().map(|blacklist| &blacklist.after);
    if let Some(after) = after.filter(|after| after.value.0 > MOST_REFUSALS) {
        let message = format!("{MOST_REFUSALS} refusals at most can be waited for");
        findings.push(Finding::error(after.span, message));
    }
    findings
}

fn stage(options: &ThresholdOptions) -> Stage {
    let count = options.count.as_ref().map_or(Count::Requests, |count| count.value);
    options.stage.as_ref().map_or(count.default_stage(), |stage| stage.value.into())
}

fn amount(options: &ThresholdOptions, cx: &mut BuildContext<'_>) -> Result<Amount, Vec<Finding>> {
    if let Some(text) = &options.amount {
        return cx.template(text).map(Amount::Text);
    }
    Ok(match options.count.as_ref().map(|count| count.value) {
        None | Some(Count::Requests | Count::Messages) => Amount::One,
        Some(Count::Recipients) => Amount::Attribute(Attribute::RecipientCount),
        Some(Count::Octets) => Amount::Attribute(Attribute::Size),
    })
}

fn terms(options: &ThresholdOptions) -> Terms {
    let blacklist = options.blacklist.as_ref().map(|blacklist| account::Blacklist {
        lasting: milliseconds(blacklist.lasting.0),
        after: blacklist.after.value.0.into(),
        within: milliseconds(blacklist.within.unwrap_or(blacklist.lasting).0),
    });
    Terms {
        count_refused: options.count_refused,
        near: options.near.as_ref().and_then(|near| u8::try_from(near.value).ok()),
        blacklist,
    }
}
