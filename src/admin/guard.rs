//! What holds for every answer: by which name the console was reached, where a form came from, how
//! long an answer may take, and what a browser may do with it.

use std::net::IpAddr;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, ResponseError as _, web};

use super::Console;
use super::page::PageError;

/// How long an answer may take until it begins, the reading of the request included.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Nothing from anywhere else, nothing inline, no frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Paths that programs ask by whatever name they know: no page of theirs shows mail.
const FOR_PROGRAMS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Lets a request through, or not, and protects what is answered.
///
/// # Errors
/// It took too long.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if let Some(refusal) = refusal(&request) {
        let mut response = refusal.error_response();
        protect(response.headers_mut());
        return Ok(request.into_response(response));
    }
    let called = tokio::time::timeout(ANSWER_TIMEOUT, next.call(request)).await;
    let answered = called.unwrap_or_else(|_| {
        let mut response = HttpResponse::new(StatusCode::SERVICE_UNAVAILABLE);
        protect(response.headers_mut());
        Err(InternalError::from_response("it took too long", response).into())
    });
    let mut response = answered?.map_into_boxed_body();
    protect(response.headers_mut());
    Ok(response)
}

fn refusal(request: &ServiceRequest) -> Option<PageError> {
    let headers = request.headers();
    if !FOR_PROGRAMS.contains(&request.path()) {
        let console = request.app_data::<web::Data<Console>>()?;
        let host = text(headers, &HOST);
        if !is_ours(host, &console.in_force().admin.names) {
            return Some(PageError::Misdirected);
        }
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    (!reads && is_foreign(headers)).then_some(PageError::Foreign)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether a name in `Host` is one of the console's. Addresses are: a page of somebody else has a
/// name, even where it leads here.
fn is_ours(host: &str, names: &[String]) -> bool {
    let name = without_port(host).to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    address.unwrap_or(&name).parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || names.contains(&name)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a form comes from another page than one of ours. A browser says where it comes from.
fn is_foreign(headers: &HeaderMap) -> bool {
    let origin = text(headers, &ORIGIN);
    let host = text(headers, &HOST);
    match origin.split_once("://") {
        Some((_, authority)) => authority != host,
        None => true,
    }
}

fn protect(headers: &mut HeaderMap) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    // With "no-referrer" browsers would not say where a form comes from.
    set(REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_ours_are_known() {
        let names = ["console.example.com".to_owned()];
        for host in [
            "localhost",
            "localhost:10041",
            "mppd.localhost:1",
            "127.0.0.1:10041",
            "[::1]:10041",
            "[::1]",
            "Console.Example.com:443",
        ] {
            assert!(is_ours(host, &names), "{host}");
        }
        for host in ["", "evil.example", "evil.example:10041", "127.0.0.1.evil.example", "::x"] {
            assert!(!is_ours(host, &names), "{host}");
        }
    }

    #[test]
    fn a_form_of_another_page_is_foreign_and_so_is_one_that_does_not_say() {
        let headers = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("localhost:10041"));
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_static(origin));
            }
            headers
        };
        assert!(!is_foreign(&headers(Some("http://localhost:10041"))));
        assert!(!is_foreign(&headers(Some("https://localhost:10041"))));
        for origin in [None, Some("null"), Some("http://localhost"), Some("http://evil.example")] {
            assert!(is_foreign(&headers(origin)), "{origin:?}");
        }
    }
}
