//! What every page has, and pages that say why there is no other.

use std::fmt::Write as _;

use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use askama::Template;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mppd_engine::Escaped;

use super::accounts::Role;
use super::visitor::Visitor;

/// The pages that the head of each leads to: path, and name.
const PAGES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/live", "Live"),
    ("/search", "Search"),
    ("/top", "Most frequent"),
    ("/charts", "Charts"),
    ("/chains", "Chains"),
    ("/try", "Try a request"),
    ("/configuration", "Configuration"),
];

/// One of the links at the head of a page.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Where to.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Whether it leads to where one is.
    pub is_here: bool,
}

/// What every page has.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its title.
    pub title: &'static str,
    /// Its path.
    pub path: &'static str,
    /// Who looks.
    pub visitor: Visitor,
}

impl Page {
    /// A page for somebody.
    #[must_use]
    pub fn new(path: &'static str, title: &'static str, visitor: Visitor) -> Self {
        Page { title, path, visitor }
    }

    /// The links at its head.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let link = |(path, name)| Link { path, name, is_here: path == self.path };
        PAGES.into_iter().map(link).collect()
    }

    /// The version of mppd, so that no browser shows a page with the script of another version.
    #[must_use]
    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// A text from elsewhere, fit to be read: one line that cannot deceive.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        Escaped(text.as_bytes()).to_string()
    }

    /// A time as it is put on record (RFC 3339), in the server's time zone; anything else as it is.
    #[must_use]
    pub fn time(&self, text: &str) -> String {
        let Ok(time) = text.parse::<Timestamp>() else { return self.shown(text) };
        time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Where the records with this in a field of the search form are.
    #[must_use]
    pub fn search(&self, field: &str, value: &str) -> String {
        format!("/search?{field}={}", escaped(value))
    }

    /// Whether who looks may change something.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.visitor.role == Role::Admin
    }
}

/// Why there is no page, or not this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Nobody is logged in; where to go afterwards.
    #[error("log in first")]
    NotLoggedIn(String),
    /// A program without a token, or with a wrong one.
    #[error("a token is missing, or is not one of the configuration")]
    NoToken,
    /// Who is logged in may only look.
    #[error("this account may only look; an account with role=\"admin\" may do this")]
    ReadOnly,
    /// The form is not one of this session.
    #[error("this form is out of date; go back, load the page again and send it once more")]
    Stale,
    /// The form comes from somewhere else.
    #[error("this form does not come from a page of this console")]
    Foreign,
    /// The console was reached by a name that it does not know.
    #[error(
        "the console is not known by this name; add it to the configuration: \
         <admin> <server_name>…</server_name> </admin>"
    )]
    Misdirected,
    /// Nothing is there.
    #[error("there is no such page")]
    NotFound,
    /// What was asked can't be understood.
    #[error("{0}")]
    Bad(String),
    /// Too much is asked; in so many seconds it may be asked again.
    #[error("too much is asked at once; try again in {0} seconds")]
    TooMany(u64),
    /// It can't be answered at the moment.
    #[error("{0}")]
    Unavailable(String),
    /// A defect.
    #[error("this page can't be shown: {0}")]
    Template(String),
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    title: &'a str,
    message: String,
    version: &'static str,
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        match self {
            PageError::NotLoggedIn(_) => StatusCode::SEE_OTHER,
            PageError::NoToken => StatusCode::UNAUTHORIZED,
            PageError::ReadOnly | PageError::Stale | PageError::Foreign => StatusCode::FORBIDDEN,
            PageError::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            PageError::NotFound => StatusCode::NOT_FOUND,
            PageError::Bad(_) => StatusCode::BAD_REQUEST,
            PageError::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            PageError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            PageError::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        match self {
            PageError::NotLoggedIn(path) => {
                response.insert_header((LOCATION, format!("/login?next={}", escaped(path))));
            }
            PageError::NoToken => {
                response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"mppd\""));
            }
            PageError::TooMany(seconds) => {
                response.insert_header((RETRY_AFTER, seconds.to_string()));
            }
            _ => {}
        }
        let title = status.canonical_reason().unwrap_or("Error");
        let version = env!("CARGO_PKG_VERSION");
        let page = ErrorPage { title, message: self.to_string(), version };
        let text = page.render().unwrap_or_else(|_| title.to_owned());
        response.content_type(ContentType::html()).body(text)
    }
}

/// What somebody has typed, to be typed over: without what can't be seen.
#[must_use]
pub fn typed(text: &str) -> String {
    let is_seen = |letter: &char| {
        let turns = matches!(*letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        !letter.is_control() && !turns
    };
    text.chars().filter(is_seen).collect()
}

/// A text as part of a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(octet));
            }
            octet => {
                // Writing to a string can't fail.
                let _written = write!(escaped, "%{octet:02X}");
            }
        }
    }
    escaped
}

/// A page as it is sent.
///
/// # Errors
/// It can't be made.
pub fn html(page: &impl Template) -> Result<HttpResponse, PageError> {
    let text = page.render().map_err(|error| PageError::Template(error.to_string()))?;
    Ok(HttpResponse::Ok().content_type(ContentType::html()).body(text))
}

/// Where nothing is.
///
/// # Errors
/// Always.
pub async fn not_found() -> Result<HttpResponse, PageError> {
    Err(PageError::NotFound)
}
