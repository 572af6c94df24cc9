//! Searching the records, the story of a message, and everything about one request.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use mppd_engine::RequestKey;
use serde::Deserialize;

use super::page::{Page, PageError, escaped, html, typed};
use super::records::{Check, Field, Line, Records, checks, fields};
use super::visitor::{Visitor, console};
use crate::tracking::key;
use crate::tracking::search::Question;

/// Requests on one page.
const ON_A_PAGE: u32 = 50;

/// Most requests of one message.
const MOST_OF_A_STORY: u32 = 500;

/// What the form says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SearchForm {
    sender: String,
    recipient: String,
    domain: String,
    client: String,
    decision: String,
    instance: String,
    text: String,
    /// Conditions on columns, one a line.
    columns: String,
    since: String,
    until: String,
    /// The request before which the page begins.
    before: String,
}

impl SearchForm {
    /// What is asked, by the names of the fields; not where the page begins.
    fn texts(&self) -> [(&'static str, &String); 10] {
        [
            ("sender", &self.sender),
            ("recipient", &self.recipient),
            ("domain", &self.domain),
            ("client", &self.client),
            ("decision", &self.decision),
            ("instance", &self.instance),
            ("text", &self.text),
            ("columns", &self.columns),
            ("since", &self.since),
            ("until", &self.until),
        ]
    }

    /// As it can be typed over.
    fn typed(&self) -> Self {
        let lines = self.columns.lines().map(typed).collect::<Vec<_>>();
        SearchForm {
            sender: typed(&self.sender),
            recipient: typed(&self.recipient),
            domain: typed(&self.domain),
            client: typed(&self.client),
            decision: typed(&self.decision),
            instance: typed(&self.instance),
            text: typed(&self.text),
            columns: lines.join("\n"),
            since: typed(&self.since),
            until: typed(&self.until),
            before: String::new(),
        }
    }

    fn question(&self) -> Question {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Question {
            sender: given(&self.sender),
            recipient: given(&self.recipient),
            domain: given(&self.domain),
            client: given(&self.client),
            decision: given(&self.decision),
            instance: given(&self.instance),
            text: given(&self.text),
            conditions: self.columns.lines().filter_map(given).collect(),
            since: given(&self.since),
            until: given(&self.until),
            before: key::parse(self.before.trim()),
            limit: ON_A_PAGE,
            ..Question::default()
        }
    }

    /// Where the next page is, which begins before a request.
    fn next(&self, before: RequestKey) -> String {
        let asked = self.texts().into_iter().filter(|(_, text)| !text.trim().is_empty());
        let asked = asked.map(|(name, text)| format!("{name}={}&", escaped(text)));
        format!("/search?{}before={before}", asked.collect::<String>())
    }
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    page: Page,
    form: SearchForm,
    fault: Option<String>,
    failures: Vec<String>,
    /// How far back was looked where nobody said.
    since: Option<String>,
    lines: Vec<Line>,
    /// Where the next page is.
    next: Option<String>,
    is_first: bool,
}

/// The page.
///
/// # Errors
/// The records can't be asked at the moment.
pub async fn search(
    request: HttpRequest,
    visitor: Visitor,
    form: web::Query<SearchForm>,
) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let form = form.into_inner();
    let found = console.records.search(&console.in_force(), &form.question()).await;
    let (found, fault) = match found {
        Ok(found) => (Some(found), None),
        Err(PageError::Bad(fault)) => (None, Some(fault)),
        Err(error) => return Err(error),
    };
    let lines = found.as_ref().map(super::records::Found::lines).unwrap_or_default();
    html(&SearchPage {
        page: Page::new("/search", "Search", visitor),
        next: found.as_ref().and_then(|found| found.0.next).map(|before| form.next(before)),
        is_first: form.before.is_empty(),
        lines,
        fault,
        since: found.as_ref().and_then(|found| found.1.clone()),
        failures: found.as_ref().map(Records::failures).unwrap_or_default(),
        form: form.typed(),
    })
}

/// One request of a story.
struct Chapter {
    line: Line,
    checks: Vec<Check>,
}

#[derive(Template)]
#[template(path = "story.html")]
struct StoryPage {
    page: Page,
    instance: String,
    failures: Vec<String>,
    chapters: Vec<Chapter>,
}

/// All requests of one mail transaction, in order.
///
/// # Errors
/// The records can't be asked at the moment.
pub async fn story(
    request: HttpRequest,
    visitor: Visitor,
    instance: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let found = console.records.instance(&console.in_force(), &instance, MOST_OF_A_STORY).await?;
    let chapter = |found: &crate::tracking::search::Found| Chapter {
        line: Line::of(&found.row, found.spooled),
        checks: checks(&found.row),
    };
    html(&StoryPage {
        page: Page::new("/story", "The story of a message", visitor),
        instance: mppd_engine::Escaped(instance.as_bytes()).to_string(),
        failures: Records::failures(&found),
        chapters: found.0.rows.iter().map(chapter).collect(),
    })
}

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage {
    page: Page,
    line: Line,
    checks: Vec<Check>,
    fields: Vec<Field>,
}

/// Everything about one request.
///
/// # Errors
/// There is no such request, or the records can't be asked at the moment.
pub async fn request(
    request: HttpRequest,
    visitor: Visitor,
    id: web::Path<String>,
) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let key = key::parse(&id).ok_or(PageError::NotFound)?;
    let found = console.records.find(&console.in_force(), key).await?;
    let failures = Records::failures(&found);
    let Some(found) = found.0.rows.into_iter().next() else {
        return Err(match failures.into_iter().next() {
            Some(failure) => PageError::Unavailable(failure),
            None => PageError::NotFound,
        });
    };
    html(&RequestPage {
        page: Page::new("/request", "Request", visitor),
        line: Line::of(&found.row, found.spooled),
        checks: checks(&found.row),
        fields: fields(&found.row),
    })
}
