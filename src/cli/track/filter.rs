//! What requests must be like to be found, counted or followed, as the command line says it.

use std::time::Duration;

use clap::Args;

use crate::tracking::search::Question;

/// Everything that is said must hold
#[derive(Debug, Args)]
pub(in crate::cli) struct Filter {
    /// Sender: an address, a domain, .DOMAIN for a domain and all below it, or <> for the null sender
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    sender: Option<String>,
    /// Recipient: an address, a domain, or .DOMAIN
    #[arg(long, value_name = "ADDRESS|DOMAIN")]
    recipient: Option<String>,
    /// Sender or recipient in this domain or below it
    #[arg(long)]
    domain: Option<String>,
    /// Client: an address, the beginning of one, or a network (192.0.2.0/24, 192.0.2.,
    /// `2001:db8::/32`)
    #[arg(long, value_name = "ADDRESS|NETWORK")]
    client: Option<String>,
    /// Decision: an action such as REJECT, or a code such as 450
    #[arg(long, value_name = "ACTION")]
    decision: Option<String>,
    /// A text somewhere in the decision, its text, the exception or the reason of a list, whatever
    /// the case of its letters; no key helps there, so see --since
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// What any column holds: COLUMN=VALUE, COLUMN!=VALUE, COLUMN=BEGINNING*, COLUMN~PART, COLUMN=*
    /// (is there), COLUMN= (is not there), COLUMN>NUMBER (also >=, <, <=); checks.ID=STATUS for an
    /// engine without a column
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    conditions: Vec<String>,
    /// Requests of this mail transaction
    #[arg(long)]
    instance: Option<String>,
}

/// Times are local: 2h, "3 days", yesterday, 13:00, 2026-11-22, "2026-11-22 13:00"
#[derive(Debug, Args)]
pub(in crate::cli) struct Period {
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after this time, or this day
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// On this day
    #[arg(long, value_name = "DAY", conflicts_with_all = ["since", "until"])]
    on: Option<String>,
}

/// How long the answer may take
#[derive(Debug, Args)]
pub(super) struct Patience {
    /// Gives up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
}

impl Patience {
    pub(super) fn time(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }
}

/// The question that is asked.
pub(in crate::cli) fn question(filter: &Filter, period: Option<&Period>) -> Question {
    let time = |of: fn(&Period) -> &Option<String>| period.and_then(|period| of(period).clone());
    Question {
        sender: filter.sender.clone(),
        recipient: filter.recipient.clone(),
        domain: filter.domain.clone(),
        client: filter.client.clone(),
        decision: filter.decision.clone(),
        text: filter.text.clone(),
        conditions: filter.conditions.clone(),
        instance: filter.instance.clone(),
        since: time(|period| &period.since),
        until: time(|period| &period.until),
        on: time(|period| &period.on),
        ..Question::default()
    }
}
