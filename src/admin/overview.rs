//! How the server is, in one page; and the button that has it read its configuration again.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use mppd_engine::slog::info;
use serde::Deserialize;

use super::page::{Page, PageError, html};
use super::visitor::{Visitor, console};
use crate::control::Refusal;
use crate::status::{ServerStatus, troubles};
use crate::supervisor::breaker::BreakerState;
use crate::tracking::status::{Place, TrackerStatus};

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    status: ServerStatus,
    troubles: Vec<String>,
    warnings: usize,
    has_changed: bool,
}

impl Overview {
    /// Where the rows of a tracker go, in words.
    fn place(&self, tracker: &TrackerStatus) -> String {
        match &tracker.place {
            Place::Embedded => "embedded store".to_owned(),
            Place::Connected => "connected".to_owned(),
            Place::Away { since, reason } => format!("away since {since:.0}: {reason}"),
        }
    }

    /// How a breaker stands, in words.
    fn breaker(&self, state: &BreakerState) -> &'static str {
        match state {
            BreakerState::Closed => "runs",
            _ => "suspended",
        }
    }

    fn kibibytes(&self, octets: &u64) -> String {
        format!("{} KiB", octets.div_ceil(1024))
    }
}

/// The page.
///
/// # Errors
/// The server does not say how it is.
pub async fn overview(request: HttpRequest, visitor: Visitor) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let status = console.inquiries.status().await;
    let status = status.map_err(|silence| PageError::Unavailable(silence.to_string()))?;
    html(&Overview {
        page: Page::new("/", "Overview", visitor),
        troubles: troubles(&status),
        warnings: console.in_force().warnings.len(),
        has_changed: !status.configuration.changed.is_empty(),
        status,
    })
}

/// What the form of the button says.
#[derive(Debug, Deserialize)]
pub struct ReloadForm {
    csrf: String,
}

#[derive(Template)]
#[template(path = "reloaded.html")]
struct ReloadedPage {
    page: Page,
    is_in_force: bool,
    report: String,
}

/// Has the configuration read again.
///
/// # Errors
/// Who asks may not.
pub async fn reload(
    request: HttpRequest,
    visitor: Visitor,
    form: web::Form<ReloadForm>,
) -> Result<HttpResponse, PageError> {
    visitor.sent(&form.csrf)?;
    visitor.may_change()?;
    let console = console(&request)?;
    info!(console.logger, "asked to reload"; "account" => &visitor.name);
    let (is_in_force, report) = match console.inquiries.reload().await {
        Ok(report) => (true, report),
        Err(Refusal { report, .. }) => (false, report),
    };
    html(&ReloadedPage { page: Page::new("/", "Reload", visitor), is_in_force, report })
}
