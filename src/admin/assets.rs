//! Styles, scripts and pictures: compiled in, so that nothing has to be installed beside the
//! program.
//!
//! uPlot 1.6.32 (MIT, `uplot.LICENSE`) draws the charts; everything else is ours.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};

use super::page::PageError;

/// One file.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: [Asset; 8] = [
    Asset { name: "console.css", content_type: CSS, text: include_str!("assets/console.css") },
    Asset { name: "uplot.css", content_type: CSS, text: include_str!("assets/uplot.css") },
    Asset { name: "uplot.js", content_type: SCRIPT, text: include_str!("assets/uplot.js") },
    Asset { name: "charts.js", content_type: SCRIPT, text: include_str!("assets/charts.js") },
    Asset { name: "overview.js", content_type: SCRIPT, text: include_str!("assets/overview.js") },
    Asset { name: "live.js", content_type: SCRIPT, text: include_str!("assets/live.js") },
    Asset {
        name: "icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("assets/icon.svg"),
    },
    Asset {
        name: "uplot.LICENSE",
        content_type: "text/plain; charset=utf-8",
        text: include_str!("assets/uplot.LICENSE"),
    },
];

/// One of the files. They are no secret: the login page needs some.
///
/// # Errors
/// There is no such file.
pub async fn asset(name: web::Path<String>) -> Result<HttpResponse, PageError> {
    let asset = ASSETS.iter().find(|asset| asset.name == name.as_str());
    let asset = asset.ok_or(PageError::NotFound)?;
    Ok(HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((CACHE_CONTROL, "private, max-age=3600"))
        .body(asset.text))
}
