//! `<rbl>`: what block and allow lists in the domain name system say about the client, or about
//! names.
//!
//! ```xml
//! <rbl threshold="2">
//!   <list zone="bl.example.org" weight="2"/>
//!   <list zone="score.example.net">
//!     <reply weight="2">127.0.0.2</reply>
//!     <reply weight="0.5">127.0.0.[4..7]</reply>
//!   </list>
//!   <list zone="names.example.net" of="sender_domain"/>
//!   <allow zone="wl.example.org"/>
//! </rbl>
//! ```
//!
//! All lists are asked side by side, and `time_limit` ends the waiting. Each is one question,
//! whatever its replies mean. What they list adds up; at `threshold` the request is `listed`, unless
//! an allow list has it. As soon as nothing that is still to come could change that, the engine
//! answers. The reason, a list's TXT record, is asked only of the list that weighs most.
//!
//! A list that says that it does not answer, answers what no list can, or does not answer in time
//! has failed: that is never a listing. If the lists that failed could have decided, the status is
//! `unknown`. A list that fails again and again, or that lists what nobody has, is not asked for
//! `suspend_for`; a line in the log says so once, and the outcome's text as long as it lasts.
//!
//! What lists say is cached by the resolver for as long as they allow.

mod health;
mod list;
mod options;
mod reply;
mod subject;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ipnet::IpNet;
use mppd_dns::{Dns, Question, Record, RecordKind};
use mppd_engine::slog::{self, Logger};
use mppd_engine::{
    Attribute, BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, Reach, Request,
    Score, Stage, Stages, StatusDoc, ValueDoc,
};

use self::health::{Change, Patience, Turn};
use self::list::{Asked, List, Listing, Role, Said};
use self::options::{RblOptions, Weight};
use self::subject::{Of, Subject};
use self::tally::{Tally, Verdict};

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Rbl {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    dns: Arc<Dns>,
    lists: Vec<Arc<List>>,
    asks_about_addresses: bool,
    threshold: Score,
    skip: Vec<IpNet>,
    skip_authenticated: bool,
    time_limit: Duration,
    patience: Patience,
    logger: Logger,
}

impl Engine for Rbl {
    const NAME: &'static str = "rbl";
    const SUMMARY: &'static str = "DNS block and allow lists of addresses and names, with weights";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new(
            "listed",
            "The weights of the lists that have something of the request come to the threshold.",
            "REJECT 5.7.1 $text",
        ),
        StatusDoc::new(
            "allowed",
            "An allow list has something of the request, whatever else is listed.",
            "continue",
        ),
        StatusDoc::new(
            "none",
            "Nothing is listed, or not enough, or there is nothing to ask about.",
            "continue",
        ),
        StatusDoc::new(
            "unknown",
            "Not enough is listed, but lists failed that could have made a difference.",
            "continue",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc {
            name: "site",
            meaning: "With `listed` and `allowed`, the list that decided; of several the one that \
                      weighs most.",
        },
        ValueDoc {
            name: "reason",
            meaning: "With `listed`, what that list says about it, in one line of at most 200 \
                      characters; often a link. May be empty.",
        },
        ValueDoc {
            name: "reply",
            meaning: "With `listed` and `allowed`, the address by which that list said so.",
        },
        ValueDoc {
            name: "subject",
            meaning: "With `listed` and `allowed`, the address or name that is on that list.",
        },
        ValueDoc { name: "weight", meaning: "The weights of all listings, added up." },
        ValueDoc {
            name: "sites",
            meaning: "All lists that have something of the request, as far as they had answered \
                      when it was decided, separated by blanks.",
        },
        ValueDoc {
            name: "failed",
            meaning: "The lists that did not answer or are suspended, separated by blanks.",
        },
    ];
    const STAGES: Stages = Stages::of(&[
        Stage::Connect,
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::EndOfMessage,
        Stage::Vrfy,
        Stage::Etrn,
    ]);
    type Options = RblOptions;

    fn build(options: RblOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let lists = options::lists(&options, cx, &mut findings);
        let skip = options::skipped(options.skip.as_ref(), &mut findings);
        let threshold = options.threshold.as_ref().map_or(Weight::ONE, |it| it.value).0;
        if let Some(written) = options.threshold.as_ref().filter(|_| threshold.0 <= 0) {
            let message = "a threshold is greater than 0";
            findings.push(Finding::error(written.span, message));
        }
        let dns = cx.service::<Dns>();
        if dns.is_none() {
            findings.push(Finding::nowhere("this server gives its engines no resolver of names"));
        }
        let (Some(dns), true) = (dns, findings.is_empty()) else { return Err(findings) };
        let blocks = || lists.iter().filter(|list| list.role == Role::Block);
        let most = Score(blocks().map(|list| list.most().0).sum());
        if most < threshold && blocks().next().is_some() {
            let message = format!("all weights together are {most}, less than the threshold");
            let warning = match &options.threshold {
                Some(written) => Finding::warning(written.span, message),
                None => Finding::nowhere(message),
            };
            cx.warn(warning.with_help("nothing will ever be listed"));
        }
        Ok(Rbl {
            plan: Arc::new(Plan {
                dns,
                asks_about_addresses: lists.iter().any(|list| list.of == Of::ClientAddress),
                lists,
                threshold,
                skip,
                skip_authenticated: options.skip_authenticated,
                time_limit: options.time_limit.0.0,
                patience: Patience {
                    failures: options.suspend_after.0,
                    pause: options.suspend_for.0.0,
                },
                logger: cx.logger().clone(),
            }),
        })
    }

    fn reach(&self) -> Reach {
        Reach::Dns
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let plan = &*self.plan;
        let request = exchange.request();
        let user = request.get(Attribute::SaslUsername);
        if plan.skip_authenticated && !user.is_empty() {
            let text = format!("nothing is asked: {} has logged in", Escaped(user));
            return Ok(Outcome::new("none").with_text(text).with_value("weight", *b"0"));
        }
        Ok(plan.survey(exchange, request).await)
    }
}

/// How long there is to wait.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    until: Instant,
    /// Whether the request must be answered before the lists have had their time.
    is_cut: bool,
}

impl Waiting {
    fn of(exchange: &Exchange, time_limit: Duration) -> Self {
        let since = Instant::now();
        let end = since + time_limit;
        let deadline = exchange.deadline();
        Waiting { since, until: end.min(deadline), is_cut: deadline < end }
    }

    /// Whether a list that has failed has had all its time, or did not use it.
    fn was_fair(self) -> bool {
        !self.is_cut || Instant::now() < self.until
    }
}

impl Plan {
    /// Asks what has to be asked, until that decides.
    async fn survey(&self, exchange: &Exchange, request: &Request) -> Outcome {
        let now = exchange.received();
        let address = self.asks_about_addresses.then(|| Subject::address(request, &self.skip));
        let address = address.flatten();
        let mut tally = Tally::new(self.threshold);
        let mut open = Vec::new();
        let mut has_asked = false;
        for list in &self.lists {
            let Some(asked) = list.asked(request, address.as_ref()) else { continue };
            has_asked = true;
            let health = &list.health;
            if health.is_suspended(now) {
                tally.suspended.push((list, health.why()));
            } else if let Some(said) = asked.at_hand(&self.dns) {
                self.hear(&mut tally, list, said, now, None);
            } else if health.turn(now) == Turn::Suspended {
                tally.suspended.push((list, health.why()));
            } else {
                tally.open(list);
                open.push(asked);
            }
        }
        if !has_asked {
            let text = "there is nothing to ask the lists about";
            return Outcome::new("none").with_text(text).with_value("weight", *b"0");
        }
        if open.is_empty() || tally.is_decided() {
            return self.outcome(&tally, || Waiting::of(exchange, self.time_limit)).await;
        }
        let waiting = Waiting::of(exchange, self.time_limit);
        self.ask(&mut tally, open, waiting, now).await;
        tally.sort(&self.lists);
        self.outcome(&tally, || waiting).await
    }

    /// Asks the lists whose answers are not at hand, all at the same time.
    async fn ask<'a>(
        &self,
        tally: &mut Tally<'a>,
        open: Vec<Asked<'a>>,
        waiting: Waiting,
        now: SystemTime,
    ) {
        let ask = |asked: Asked<'a>| async move {
            let said = asked.ask(&self.dns, waiting.until).await;
            (asked.list, said)
        };
        let mut answers: FuturesUnordered<_> = open.into_iter().map(ask).collect();
        while !tally.is_decided() {
            let Some((list, said)) = answers.next().await else { break };
            tally.close(list);
            let is_listing = matches!(said, Said::Listed(_));
            self.hear(tally, list, said, now, Some(waiting));
            if is_listing {
                self.prepare_reason(tally, list, waiting);
            }
        }
    }

    /// Asks for the reason while others are waited for, if the list is the one that would decide.
    fn prepare_reason(&self, tally: &Tally<'_>, list: &Arc<List>, waiting: Waiting) {
        let Some((heaviest, listing)) = tally.heaviest(&self.lists) else { return };
        if Arc::ptr_eq(heaviest, list) && listing.reason.is_none() {
            let question = reason_of(listing);
            if self.dns.at_hand(&question).is_none() {
                // The answer is found in the cache, or is still under way, when it is wanted.
                drop(self.dns.begin(question, waiting.until));
            }
        }
    }

    /// Takes note of what a list said; without `waiting` it did so a while ago.
    fn hear<'a>(
        &self,
        tally: &mut Tally<'a>,
        list: &'a Arc<List>,
        said: Said,
        now: SystemTime,
        waiting: Option<Waiting>,
    ) {
        let health = &list.health;
        let change = match (&said, waiting) {
            (Said::Everything, _) => {
                health.suspend(now, self.patience, "it lists what nobody has".to_owned())
            }
            (Said::Nothing | Said::Listed(_), Some(_)) => health.answered(),
            (Said::Failed(why), Some(waiting)) if waiting.was_fair() => {
                health.failed(waiting.since, now, self.patience, why)
            }
            // What the cache has does not tell whether the list answers now.
            _ => Change::None,
        };
        let site = list.site.as_str();
        match change {
            Change::None => {}
            Change::Suspended => {
                let pause = mppd_engine::config::Period(self.patience.pause);
                let why = health.why();
                slog::warn!(self.logger, "the list {site} is not asked for {pause}: {why}"; "list" => site);
            }
            Change::Resumed => {
                slog::info!(self.logger, "the list {site} answers, and is asked again"; "list" => site);
            }
        }
        tally.add(list, said);
    }

    async fn outcome(&self, tally: &Tally<'_>, waiting: impl FnOnce() -> Waiting) -> Outcome {
        let outcome = match tally.verdict() {
            Verdict::Allowed => allowed(tally),
            Verdict::Listed => self.listed(tally, waiting).await,
            Verdict::None => Outcome::new("none").with_text(none_text(tally)),
            Verdict::Unknown => Outcome::new("unknown").with_text(unknown_text(tally)),
        };
        let outcome = outcome.with_value("weight", tally.score().to_string());
        let sites = joined(tally.sites());
        let outcome = if sites.is_empty() { outcome } else { outcome.with_value("sites", sites) };
        let absent = tally.failed.iter().chain(&tally.suspended);
        let absent = joined(absent.map(|(list, _)| list.site.as_str()));
        if absent.is_empty() { outcome } else { outcome.with_value("failed", absent) }
    }

    async fn listed(&self, tally: &Tally<'_>, waiting: impl FnOnce() -> Waiting) -> Outcome {
        let Some((list, listing)) = tally.heaviest(&self.lists) else {
            return Outcome::new("listed");
        };
        let reason = match &listing.reason {
            Some(reason) => reason.clone(),
            None => self.reason(list, listing, waiting).await,
        };
        let mut text = format!("{} is listed by {}", listing.subject, list.site);
        if !reason.is_empty() {
            text.extend([": ", &reason]);
        }
        Outcome::new("listed")
            .with_text(text)
            .with_value("site", list.site.clone())
            .with_value("reason", reason)
            .with_value("reply", listing.reply.to_string())
            .with_value("subject", listing.subject.clone())
    }

    /// What a list says about a listing of its own; nothing where it says nothing in time.
    async fn reason(
        &self,
        list: &List,
        listing: &Listing,
        waiting: impl FnOnce() -> Waiting,
    ) -> String {
        let question = reason_of(listing);
        let answer = match self.dns.at_hand(&question) {
            Some(answer) => answer,
            None => self.dns.ask(question, waiting().until).await,
        };
        let texts = answer.records().unwrap_or_default().iter();
        let mut texts = texts.filter_map(|record| match record {
            Record::Txt(text) => Some(list.fit(text)),
            _ => None,
        });
        texts.find(|text| !text.is_empty()).unwrap_or_default()
    }
}

fn allowed(tally: &Tally<'_>) -> Outcome {
    let Some((list, listing)) = tally.allowed() else { return Outcome::new("allowed") };
    Outcome::new("allowed")
        .with_text(format!("{} is on the allow list {}", listing.subject, list.site))
        .with_value("site", list.site.clone())
        .with_value("reply", listing.reply.to_string())
        .with_value("subject", listing.subject.clone())
}

fn reason_of(listing: &Listing) -> Question {
    Question::new(RecordKind::Txt, listing.question.name.clone())
}

fn none_text(tally: &Tally<'_>) -> String {
    let mut text = match joined(tally.sites()) {
        sites if sites.is_empty() => "not listed".to_owned(),
        sites => {
            let (score, threshold) = (tally.score(), tally.threshold());
            format!("{score}, less than {threshold}: listed by {sites}")
        }
    };
    for (list, why) in &tally.suspended {
        text.extend(["; ", &list.site, " is suspended: ", why]);
    }
    for (list, why) in &tally.failed {
        text.extend(["; ", &list.site, ": ", why]);
    }
    text
}

fn unknown_text(tally: &Tally<'_>) -> String {
    let failed = tally.failed.iter().map(|(list, why)| format!("{}: {why}", list.site));
    failed.collect::<Vec<_>>().join("; ")
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}
