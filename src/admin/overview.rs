//! How the server is, in one page; and the button that has it read its configuration again.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use mppd_engine::slog::info;
use serde::Deserialize;

use super::page::{Page, PageError, html};
use super::visitor::{Visitor, console};
use crate::control::Refusal;
use crate::status::{ServerStatus, troubles};
use crate::supervisor::breaker::{BreakerState, BreakerStatus};
use crate::tracking::status::{Place, TrackerStatus};

/// A tracker as the page shows it.
struct TrackerRow {
    of: TrackerStatus,
    /// Where its rows go, in words.
    place: String,
    spool: String,
}

impl From<TrackerStatus> for TrackerRow {
    fn from(of: TrackerStatus) -> Self {
        let place = match &of.place {
            Place::Embedded => "embedded store".to_owned(),
            Place::Connected => "connected".to_owned(),
            Place::Away { since, reason } => format!("away since {since:.0}: {reason}"),
        };
        let spool = format!("{} KiB", of.spooled_octets.div_ceil(1024));
        TrackerRow { of, place, spool }
    }
}

/// An engine as the page shows it.
struct EngineRow {
    of: BreakerStatus,
    /// How its breaker stands, in words.
    state: &'static str,
}

impl From<BreakerStatus> for EngineRow {
    fn from(of: BreakerStatus) -> Self {
        let is_closed = of.state == BreakerState::Closed;
        EngineRow { of, state: if is_closed { "runs" } else { "suspended" } }
    }
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    page: Page,
    status: ServerStatus,
    trackers: Vec<TrackerRow>,
    engines: Vec<EngineRow>,
    troubles: Vec<String>,
    warnings: usize,
    has_changed: bool,
}

/// The page.
///
/// # Errors
/// The server does not say how it is.
pub async fn overview(request: HttpRequest, visitor: Visitor) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let status = console.inquiries.status().await;
    let mut status = status.map_err(|silence| PageError::Unavailable(silence.to_string()))?;
    html(&Overview {
        page: Page::new("/", "Overview", visitor),
        troubles: troubles(&status),
        warnings: console.in_force().warnings.len(),
        has_changed: !status.configuration.changed.is_empty(),
        trackers: std::mem::take(&mut status.trackers).into_iter().map(Into::into).collect(),
        engines: std::mem::take(&mut status.engines).into_iter().map(Into::into).collect(),
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
