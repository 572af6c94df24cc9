//! Logging in and out.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{LOCATION, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use mppd_engine::Escaped;
use mppd_engine::slog::{info, warn};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::accounts::{Account, Hash, random_text};
use super::page::{PageError, html, typed};
use super::visitor::{
    Visitor, console, is_same, login_cookie, new_login, new_session, no_session, session_cookie,
};
use super::{Console, plan::AdminPlan};

/// Passwords that are checked at once: each takes a processor and 19 MiB for a while.
const AT_ONCE: usize = 2;

/// Passwords that may wait to be checked.
const MOST_WAITING: usize = 16;

/// The longest password, in octets.
const LONGEST: usize = 1_024;

/// Bounds the work of checking passwords.
#[derive(Debug)]
pub struct Doorkeeper {
    seats: Semaphore,
    queue: Semaphore,
    /// What the password of an account that is not there is checked against, so that it takes as
    /// long.
    nobody: Option<Hash>,
}

impl Default for Doorkeeper {
    fn default() -> Self {
        Doorkeeper {
            seats: Semaphore::new(AT_ONCE),
            queue: Semaphore::new(AT_ONCE + MOST_WAITING),
            nobody: Hash::of("").ok(),
        }
    }
}

impl Doorkeeper {
    /// The account of this name, if the password is its own.
    async fn check(
        &self,
        account: Option<Account>,
        password: String,
    ) -> Result<Option<Account>, PageError> {
        let _place = self.queue.try_acquire().map_err(|_| PageError::TooMany(5))?;
        // Nobody closes it.
        let _seat = self.seats.acquire().await.map_err(|_| PageError::TooMany(5))?;
        let hash = account.as_ref().map(|account| account.hash.clone()).or(self.nobody.clone());
        let checked = web::block(move || hash.is_some_and(|hash| hash.is_of(&password))).await;
        let is_right = checked.map_err(|_| PageError::TooMany(5))?;
        Ok(account.filter(|_| is_right))
    }
}

/// Where to go after the login.
#[derive(Debug, Deserialize)]
pub struct Next {
    next: Option<String>,
}

/// What the login form says.
#[derive(Deserialize)]
pub struct LoginForm {
    name: String,
    password: String,
    csrf: String,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    csrf: String,
    next: String,
    name: String,
    failure: Option<String>,
    has_accounts: bool,
    version: &'static str,
}

impl LoginPage {
    fn new(csrf: &str, next: &str, plan: &AdminPlan) -> Self {
        LoginPage {
            csrf: csrf.to_owned(),
            next: next.to_owned(),
            name: String::new(),
            failure: None,
            has_accounts: !plan.accounts.is_empty(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// A path of this console, and nothing that leads anywhere else.
fn local(path: Option<&str>) -> &str {
    let is_local = |path: &&str| {
        let is_plain = |octet: u8| matches!(octet, b'!'..=b'~') && octet != b'\\';
        path.starts_with('/') && !path.starts_with("//") && path.bytes().all(is_plain)
    };
    path.filter(is_local).unwrap_or("/")
}

/// The form.
///
/// # Errors
/// There are no random numbers.
pub async fn form(
    request: HttpRequest,
    query: web::Query<Next>,
    visitor: Option<Visitor>,
) -> Result<HttpResponse, PageError> {
    let next = local(query.next.as_deref());
    if visitor.is_some() {
        return Ok(see_other(next).finish());
    }
    let plan = &console(&request)?.in_force().admin;
    // A form that is open in another window stays good.
    let csrf = login_cookie(&request, plan).filter(|csrf| csrf.len() == 64);
    let csrf = match csrf {
        Some(csrf) => csrf,
        None => random_text().map_err(|error| PageError::Unavailable(error.to_string()))?,
    };
    let mut response = html(&LoginPage::new(&csrf, next, plan))?;
    add_cookie(&mut response, &new_login(csrf, &request, plan))?;
    Ok(response)
}

fn add_cookie(
    response: &mut HttpResponse,
    cookie: &actix_web::cookie::Cookie<'_>,
) -> Result<(), PageError> {
    response.add_cookie(cookie).map_err(|error| PageError::Template(error.to_string()))
}

fn see_other(path: &str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::SeeOther();
    response.insert_header((LOCATION, path));
    response
}

/// Who asks, as failures are counted: the address that the proxy in front tells of, if there is one.
fn address(request: &HttpRequest, plan: &AdminPlan) -> String {
    let forwarded = || {
        let header = request.headers().get("x-forwarded-for")?.to_str().ok()?;
        let last = header.rsplit(',').next()?.trim();
        last.parse::<std::net::IpAddr>().ok()
    };
    let forwarded = plan.is_behind_tls.then(forwarded).flatten();
    let peer = forwarded.or_else(|| request.peer_addr().map(|peer| peer.ip()));
    peer.map_or_else(|| "a socket file".to_owned(), |peer| peer.to_string())
}

/// Logs somebody in.
///
/// # Errors
/// The form is not one of ours, or too many passwords wait to be checked.
pub async fn log_in(
    request: HttpRequest,
    form: web::Form<LoginForm>,
) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let plan = &console.in_force().admin;
    let form = form.into_inner();
    if !login_cookie(&request, plan).is_some_and(|csrf| is_same(&csrf, &form.csrf)) {
        return Err(PageError::Stale);
    }
    let next = local(form.next.as_deref()).to_owned();
    let (address, name) = (address(&request, plan), form.name.trim().to_owned());
    if let Err(wait) = console.throttle.admit(&address, &name, Instant::now()) {
        return too_often(plan, &form.csrf, &next, wait);
    }
    let account = plan.accounts.iter().find(|account| account.name == name).cloned();
    let password = if form.password.len() > LONGEST { String::new() } else { form.password };
    // Counted before it is known whether it fails, so that many at once count as many.
    console.throttle.failed(&address, &name, Instant::now());
    let Some(account) = console.doorkeeper.check(account, password).await? else {
        warn!(console.logger, "somebody could not log in to the console";
            "account" => %Escaped(name.as_bytes()), "address" => &address);
        let failure = Some("Name or password is wrong.".to_owned());
        let page =
            LoginPage { failure, name: typed(&name), ..LoginPage::new(&form.csrf, &next, plan) };
        let mut response = html(&page)?;
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    };
    console.throttle.succeeded(&address, &name);
    info!(console.logger, "logged in to the console";
        "account" => &account.name, "address" => &address);
    let begun = console.sessions.begin(&account, Instant::now());
    let begun = begun.map_err(|error| PageError::Unavailable(error.to_string()))?;
    if let Some(old) = session_cookie(&request, plan) {
        console.sessions.end(&old);
    }
    let mut response = see_other(&next).finish();
    add_cookie(&mut response, &new_session(begun.cookie, &request, plan))?;
    Ok(response)
}

fn too_often(
    plan: &AdminPlan,
    csrf: &str,
    next: &str,
    wait: Duration,
) -> Result<HttpResponse, PageError> {
    let minutes = wait.as_secs().div_ceil(60);
    let failure = format!("Too many tries have failed. Try again in {minutes} minutes.");
    let page = LoginPage { failure: Some(failure), ..LoginPage::new(csrf, next, plan) };
    let mut response = html(&page)?;
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(RETRY_AFTER, wait.as_secs().max(1).into());
    Ok(response)
}

/// What the logout form says.
#[derive(Debug, Deserialize)]
pub struct LogoutForm {
    csrf: String,
}

/// Ends the session.
///
/// # Errors
/// The form is not one of the session.
pub async fn log_out(
    request: HttpRequest,
    visitor: Visitor,
    form: web::Form<LogoutForm>,
) -> Result<HttpResponse, PageError> {
    visitor.sent(&form.csrf)?;
    let console: &web::Data<Console> = console(&request)?;
    let plan = &console.in_force().admin;
    if let Some(cookie) = session_cookie(&request, plan) {
        console.sessions.end(&cookie);
    }
    info!(console.logger, "logged out of the console"; "account" => &visitor.name);
    let mut response = see_other("/login").finish();
    add_cookie(&mut response, &no_session(&request, plan))?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_a_page_of_the_console_and_nowhere_else() {
        assert_eq!(local(Some("/search?sender=a%40b")), "/search?sender=a%40b");
        for elsewhere in ["//evil.example", "/\\evil.example", "https://evil.example", "x", "/a\nb"]
        {
            assert_eq!(local(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(local(None), "/");
    }
}
