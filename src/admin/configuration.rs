//! The configuration in force, as it is written, with its secrets hidden.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::page::{Page, PageError, html};
use super::visitor::{Visitor, console};
use crate::status::ConfigurationStatus;

/// One file, or whatever else it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How people know it.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

#[derive(Template)]
#[template(path = "configuration.html")]
struct ConfigurationPage {
    page: Page,
    status: ConfigurationStatus,
    warnings: Vec<String>,
    parts: Vec<Part>,
}

/// The page.
///
/// # Errors
/// The server does not say how it is.
pub async fn configuration(
    request: HttpRequest,
    visitor: Visitor,
) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let status = console.inquiries.status().await;
    let status = status.map_err(|silence| PageError::Unavailable(silence.to_string()))?;
    let in_force = console.in_force();
    html(&ConfigurationPage {
        page: Page::new("/configuration", "Configuration", visitor),
        status: status.configuration,
        warnings: in_force.warnings.clone(),
        parts: in_force.parts.clone(),
    })
}
