//! Decisions as they happen: a page of the last ones, and a stream of those that follow.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use futures_util::stream;
use jiff::Timestamp;
use serde::Serialize;

use super::page::{Page, PageError, html};
use super::records::{Line, Records, kind_of, local};
use super::visitor::{Visitor, console};
use crate::feed::{Decided, Heard, Listening};
use crate::tracking::search::Question;

/// How many look on at once, at most.
const MOST: usize = 16;

/// How many of the last decisions the page begins with.
const LAST: u32 = 50;

/// How often something is sent although nothing happens, so that a peer that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream goes on. The browser asks for another one, and is looked at again then: its
/// session may have ended.
const LENGTH: Duration = Duration::from_mins(5);

#[derive(Template)]
#[template(path = "live.html")]
struct LivePage {
    page: Page,
    lines: Vec<Line>,
    failures: Vec<String>,
}

/// The page. It shows the last decisions on record; with script, those that follow as well.
///
/// # Errors
/// The records can't be asked at the moment.
pub async fn live(request: HttpRequest, visitor: Visitor) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let question = Question { limit: LAST, ..Question::default() };
    let found = console.records.search(&console.in_force(), &question).await?;
    html(&LivePage {
        page: Page::new("/live", "Live", visitor),
        lines: found.lines(),
        failures: Records::failures(&found),
    })
}

/// The stream, as Server-Sent Events.
///
/// # Errors
/// Too many look on already.
pub async fn events(request: HttpRequest, _: Visitor) -> Result<HttpResponse, PageError> {
    let listening = console(&request)?.feed.listen(MOST);
    let listening = listening.ok_or_else(|| {
        PageError::Unavailable(format!("{MOST} pages show live decisions already"))
    })?;
    let begun = Looking { listening, end: Instant::now() + LENGTH, has_begun: false };
    Ok(HttpResponse::Ok()
        .content_type(ContentType(mime_of_events()))
        .insert_header((CACHE_CONTROL, "no-store"))
        // A proxy in front is not to gather what comes.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::unfold(begun, next)))
}

fn mime_of_events() -> actix_web::mime::Mime {
    actix_web::mime::TEXT_EVENT_STREAM
}

struct Looking {
    listening: Listening,
    end: Instant,
    has_begun: bool,
}

async fn next(mut looking: Looking) -> Option<(Result<Bytes, Infallible>, Looking)> {
    if !looking.has_begun {
        looking.has_begun = true;
        return Some((Ok(Bytes::from_static(b"retry: 3000\n\n")), looking));
    }
    if Instant::now() >= looking.end {
        return None;
    }
    let text = match tokio::time::timeout(HEARTBEAT, looking.listening.next()).await {
        Ok(Some(Heard::Decided(decided))) => event_of(&decided),
        Ok(Some(Heard::Missed(count))) => format!("event: missed\ndata: {count}\n\n"),
        Ok(None) => return None,
        Err(_) => ":\n\n".to_owned(),
    };
    Some((Ok(Bytes::from(text)), looking))
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(flatten)]
    decided: &'a Decided,
    kind: &'static str,
    /// The time and the stage as the records have them.
    local_time: String,
    state: String,
}

/// A decision in one line of JSON.
fn event_of(decided: &Decided) -> String {
    let time = decided.time.parse::<Timestamp>().map(Timestamp::as_microsecond);
    let event = Event {
        decided,
        kind: kind_of(&decided.decision),
        local_time: time.map_or_else(|_| decided.time.clone(), local),
        state: decided.stage.trim_start_matches("policy-").to_uppercase(),
    };
    // Text and numbers can't fail to be written.
    let json = serde_json::to_string(&event).unwrap_or_default();
    format!("event: decision\ndata: {json}\n\n")
}
