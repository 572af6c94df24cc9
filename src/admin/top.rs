//! What is most frequent in the records of a while: clients, senders, recipients, reasons, and what
//! the engines came to.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::Zoned;
use mppd_engine::Escaped;
use serde::Deserialize;

use super::page::{Page, PageError, escaped, html};
use super::visitor::{Visitor, console};
use crate::tracking::search::Question;
use crate::tracking::stats::{self, By, Counts, Limits};

/// How long all questions together may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many values are told of each.
const TOP: usize = 10;

/// Periods that can be asked for: as it is written, and in words.
const PERIODS: [(&str, &str); 4] =
    [("1h", "Last hour"), ("6h", "Last six hours"), ("1d", "Last day"), ("7d", "Last week")];

/// Stand for more than one field of the search form, and for a condition on a column.
const REASON: &str = "reason";
const USER: &str = "user";

/// What is counted: a heading, by what, and the field of the search form that finds it.
const COUNTED: [(&str, By, &str); 8] = [
    ("Decisions", By::Decision, "decision"),
    ("Reasons", By::Reason, REASON),
    ("Clients", By::Client, "client"),
    ("Networks of clients", By::Network, "client"),
    ("Senders", By::Sender, "sender"),
    ("Recipients", By::Recipient, "recipient"),
    ("Domains of senders", By::SenderDomain, "sender"),
    ("Users", By::SaslUser, USER),
];

/// What is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TopForm {
    #[serde(default)]
    since: String,
}

impl TopForm {
    /// One of the periods.
    fn period(&self) -> &'static str {
        let known = PERIODS.iter().find(|(period, _)| *period == self.since);
        known.map_or(PERIODS[0].0, |(period, _)| *period)
    }
}

struct Row {
    value: String,
    /// Where these requests are shown.
    link: Option<String>,
    requests: u64,
    share: String,
}

struct Table {
    title: &'static str,
    rows: Vec<Row>,
    others: u64,
}

struct Period {
    value: &'static str,
    name: &'static str,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "top.html")]
struct TopPage {
    page: Page,
    periods: Vec<Period>,
    total: u64,
    tables: Vec<Table>,
    failures: Vec<String>,
}

/// The page.
///
/// # Errors
/// The records can't be asked at the moment.
pub async fn page(
    request: HttpRequest,
    visitor: Visitor,
    form: web::Query<TopForm>,
) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let since = form.period();
    let question = Question { since: Some(since.to_owned()), ..Question::default() };
    let query = question.query(&Zoned::now());
    let condition = query.map_err(|error| PageError::Bad(error.to_string()))?.condition;
    let places = console.in_force().places.clone();
    let asked = async move || {
        let time = PATIENCE / u32::try_from(COUNTED.len()).unwrap_or(1);
        let limits = Limits { time, top: TOP, ..Limits::default() };
        let mut counted = Vec::new();
        for (title, by, field) in COUNTED {
            counted.push((title, field, stats::counts(&places, &condition, by, limits).await));
        }
        counted
    };
    let counted = console.records.ask(asked).await?;
    let mut failures: Vec<String> = counted
        .iter()
        .flat_map(|(_, _, counts)| &counts.failures)
        .map(|(place, error)| format!("{place}: {error}"))
        .collect();
    failures.dedup();
    let period = |(value, name)| Period { value, name, is_chosen: value == since };
    html(&TopPage {
        page: Page::new("/top", "Most frequent", visitor),
        periods: PERIODS.into_iter().map(period).collect(),
        total: counted.first().map_or(0, |(_, _, counts)| counts.total),
        tables: counted
            .into_iter()
            .map(|(title, field, counts)| table(title, field, since, &counts))
            .collect(),
        failures,
    })
}

fn table(title: &'static str, field: &str, since: &str, counts: &Counts) -> Table {
    let row = |count: &stats::Count| {
        let found = || format!("/search?{}&since={since}", asked(field, &count.value));
        Row {
            link: (!count.value.is_empty()).then(found),
            value: Escaped(count.value.as_bytes()).to_string(),
            requests: count.requests,
            share: share(count.requests, counts.total),
        }
    };
    Table { title, rows: counts.top.iter().map(row).collect(), others: counts.others }
}

/// What the search form says to find a value.
fn asked(field: &str, value: &str) -> String {
    match (field, value.split_once(' ')) {
        (REASON, Some(("failed:", error))) => format!("text={}", escaped(error)),
        (REASON, Some((word, text))) => {
            format!("decision={}&text={}", escaped(word), escaped(text))
        }
        (REASON, None) => format!("decision={}", escaped(value)),
        (USER, _) => format!("columns={}", escaped(&format!("sasl_username={value}"))),
        _ => format!("{field}={}", escaped(value)),
    }
}

/// So many of a total, in percent.
fn share(count: u64, total: u64) -> String {
    let permille = count.saturating_mul(1_000).checked_div(total).unwrap_or_default();
    format!("{}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_in_percent_also_of_nothing() {
        assert_eq!(share(1, 8), "12.5 %");
        assert_eq!(share(8, 8), "100.0 %");
        assert_eq!(share(0, 0), "0.0 %");
    }

    #[test]
    fn a_value_leads_to_a_search_for_it() {
        assert_eq!(asked("client", "192.0.2.0/24"), "client=192.0.2.0%2F24");
        assert_eq!(asked(REASON, "REJECT not you"), "decision=REJECT&text=not%20you");
        assert_eq!(asked(REASON, "DUNNO"), "decision=DUNNO");
        assert_eq!(asked(REASON, "failed: spf: late"), "text=spf%3A%20late");
        assert_eq!(asked(USER, "a b"), "columns=sasl_username%3Da%20b");
    }

    #[test]
    fn only_periods_that_are_bounded_can_be_asked_for() {
        for (asked, period) in [("1d", "1d"), ("", "1h"), ("10 years", "1h")] {
            assert_eq!(TopForm { since: asked.to_owned() }.period(), period);
        }
    }
}
