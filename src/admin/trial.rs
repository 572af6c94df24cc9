//! Trying a request: what the configuration would decide, step by step.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use mppd_engine::Request;
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use super::page::{Page, PageError, html, typed};
use super::visitor::{Visitor, console};
use crate::config::report::{Look, render};
use crate::explain::step::{Step, StepEnd};
use crate::explain::{self, Explanation, Mode, Question, RehearsalError};
use crate::supervisor::Origin;
use crate::tracking::key;

/// How long a trial may take.
const PATIENCE: Duration = Duration::from_secs(50);

/// What the form begins with.
const EXAMPLE: &str = "\
protocol_state=RCPT
client_address=192.0.2.1
client_name=mail.example.org
helo_name=mail.example.org
sender=alice@example.org
recipient=bob@example.com
";

/// One trial at a time: each reads the whole configuration and raises its engines.
#[derive(Debug)]
pub struct Trials(Semaphore);

impl Default for Trials {
    fn default() -> Self {
        Trials(Semaphore::new(1))
    }
}

/// What the form says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TrialForm {
    csrf: String,
    request: String,
    /// Whether others are asked.
    connect: Option<String>,
}

/// The request on record that the form begins with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Begin {
    id: String,
}

#[derive(Template)]
#[template(path = "try.html")]
struct TrialPage {
    page: Page,
    request: String,
    connects: bool,
    fault: Option<String>,
    /// What is wrong with the configuration.
    report: Option<String>,
    explanation: Option<Explanation>,
}

impl TrialPage {
    fn new(visitor: Visitor, request: String) -> Self {
        TrialPage {
            page: Page::new("/try", "Try a request", visitor),
            request,
            connects: false,
            fault: None,
            report: None,
            explanation: None,
        }
    }
}

/// What became of an engine's turn, in words.
fn words_of(step: &Step) -> &'static str {
    match step.end {
        StepEnd::OtherStage => "not at this stage",
        StepEnd::Skipped => "skipped",
        StepEnd::NotAsked => "not asked",
        StepEnd::Ran => "",
        StepEnd::Failed => "failed",
    }
}

/// The form.
///
/// # Errors
/// The request on record can't be found.
pub async fn form(
    request: HttpRequest,
    visitor: Visitor,
    begin: web::Query<Begin>,
) -> Result<HttpResponse, PageError> {
    if begin.id.is_empty() {
        return html(&TrialPage::new(visitor, EXAMPLE.to_owned()));
    }
    let console = console(&request)?;
    let key = key::parse(&begin.id).ok_or(PageError::NotFound)?;
    let found = console.records.find(&console.in_force(), key).await?;
    let row = found.0.rows.into_iter().next().ok_or(PageError::NotFound)?.row;
    let recorded = row.to_request().map_err(|error| PageError::Bad(error.to_string()))?;
    let line = |(name, value): (&[u8], &[u8])| {
        let text = |octets: &[u8]| typed(&String::from_utf8_lossy(octets));
        format!("{}={}\n", text(name), text(value))
    };
    html(&TrialPage::new(visitor, recorded.attributes().map(line).collect()))
}

/// Tries a request.
///
/// # Errors
/// Who asks may not, or another trial is under way.
pub async fn run(
    request: HttpRequest,
    visitor: Visitor,
    form: web::Form<TrialForm>,
) -> Result<HttpResponse, PageError> {
    visitor.sent(&form.csrf)?;
    let mode = if form.connect.is_some() { Mode::Connect } else { Mode::Offline };
    if mode == Mode::Connect {
        visitor.may_change()?;
    }
    let text = form.request.lines().fold(String::new(), |text, line| text + &typed(line) + "\n");
    let mut page = TrialPage { connects: mode == Mode::Connect, ..TrialPage::new(visitor, text) };
    let asked = match read(&form.request) {
        Ok(asked) => asked,
        Err(fault) => {
            page.fault = Some(fault);
            return html(&page);
        }
    };
    let console = console(&request)?;
    let _seat = console.trials.0.try_acquire().map_err(|_| PageError::TooMany(10))?;
    match tried(console.origin.clone(), asked, mode).await {
        Ok(explanation) => page.explanation = Some(explanation),
        Err(TrialError::Rejected(report)) => page.report = Some(report),
        Err(error) => page.fault = Some(error.to_string()),
    }
    html(&page)
}

/// The request that lines of `name=value` make.
fn read(text: &str) -> Result<Request, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let split = |line: &str| {
        let fault = || format!("\"{line}\" is no attribute; write name=value, one a line");
        line.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).ok_or_else(fault)
    };
    let attributes: Vec<(String, String)> = lines.map(split).collect::<Result<_, _>>()?;
    Request::from_attributes(attributes).map_err(|error| format!("not a request: {error}"))
}

/// Why a trial came to nothing.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    #[error("the configuration has errors")]
    Rejected(String),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error("it took too long")]
    Late,
    #[error("it failed; the log may say why")]
    Gone,
    #[error("can't start: {0}")]
    Start(#[from] std::io::Error),
}

/// A trial, on a thread of its own: engines need an actix system, and may hold up their thread.
async fn tried(origin: Origin, request: Request, mode: Mode) -> Result<Explanation, TrialError> {
    let (sender, receiver) = oneshot::channel();
    let trial = move || {
        let explained = explain::load(&origin.request, &origin.kinds)
            .map_err(|rejected| {
                let report = render(&rejected.sources, &rejected.findings, Look::default());
                TrialError::Rejected(report)
            })
            .and_then(|plan| {
                let question = Question::now(request);
                let system = actix_rt::System::new();
                Ok(system.block_on(explain::run(plan, question, mode))?)
            });
        // Who does not wait any more needs no answer.
        let _gone = sender.send(explained);
    };
    std::thread::Builder::new().name("trial".to_owned()).spawn(trial)?;
    let explained = tokio::time::timeout(PATIENCE, receiver).await;
    explained.map_err(|_| TrialError::Late)?.map_err(|_| TrialError::Gone)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_line_by_line() {
        let request = read("sender=a=b@example.org \r\n\n recipient=c@example.com").unwrap();
        let said = String::from_utf8(request.octets().to_vec()).unwrap();
        assert!(said.contains("sender=a=b@example.org\n"), "{said}");
        assert!(read("sender").unwrap_err().contains("write name=value"));
        assert!(read(EXAMPLE).is_ok());
    }
}
