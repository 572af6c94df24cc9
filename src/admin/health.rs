//! Whether the process lives, whether it answers policy requests, and `/metrics`: for whoever
//! watches over it.

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpResponse, web};

use super::Console;
use super::page::PageError;
use super::visitor::Visitor;
use crate::config::admin_settings::MetricsAccess;
use crate::metrics::CONTENT_TYPE;
use crate::status::ServerStatus;

/// `/healthz`: the process is alive.
pub async fn healthz() -> HttpResponse {
    plain(HttpResponse::Ok(), "alive\n".to_owned())
}

/// `/readyz`: policy requests are answered; else 503, and why they are not.
pub async fn readyz(console: web::Data<Console>) -> HttpResponse {
    let reasons = match console.inquiries.status().await {
        Ok(status) => unready(&status),
        Err(silence) => vec![silence.to_string()],
    };
    if reasons.is_empty() {
        return plain(HttpResponse::Ok(), "ready\n".to_owned());
    }
    let lines = reasons.iter().map(|reason| format!("{reason}\n"));
    plain(HttpResponse::ServiceUnavailable(), lines.collect())
}

/// `/metrics`.
///
/// # Errors
/// Only who has a token may read it.
pub async fn metrics(
    console: web::Data<Console>,
    visitor: Result<Visitor, PageError>,
) -> Result<HttpResponse, PageError> {
    if console.in_force().admin.metrics == MetricsAccess::Token && visitor.is_err() {
        return Err(PageError::NoToken);
    }
    let status = console.inquiries.status().await.ok();
    Ok(HttpResponse::Ok()
        .content_type(CONTENT_TYPE)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(console.monitor.render(status.as_ref())))
}

fn plain(mut response: actix_web::HttpResponseBuilder, text: String) -> HttpResponse {
    response
        .content_type(ContentType::plaintext())
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text)
}

/// Why policy requests are not answered as they should be; empty if they are.
#[must_use]
pub fn unready(status: &ServerStatus) -> Vec<String> {
    let mut reasons = Vec::new();
    if status.stopping {
        reasons.push("mppd is about to end".to_owned());
    }
    if status.listening.is_empty() {
        reasons.push("mppd listens nowhere".to_owned());
    }
    let workers = &status.workers;
    if !workers.is_empty() && workers.iter().all(|worker| worker.held_up_by.is_some()) {
        reasons.push("every worker is held up".to_owned());
    }
    for tracker in &status.trackers {
        if let Some(reason) = &tracker.blocked {
            reasons.push(format!("rows for {} can be kept nowhere: {reason}", tracker.records));
        } else if tracker.at_bound {
            reasons.push(format!("the spool for {} has reached its bound", tracker.records));
        }
    }
    reasons
}
