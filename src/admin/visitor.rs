//! Who looks at a page: somebody with a session, or a program with a token.

use std::future::{Ready, ready};
use std::time::Instant;

use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest, web};
use subtle::ConstantTimeEq as _;

use super::Console;
use super::accounts::Role;
use super::page::PageError;
use super::plan::AdminPlan;
use super::sessions::Lengths;

/// Name of the cookie of a session.
const SESSION: &str = "mppd_session";

/// Name of the cookie of a login form.
const LOGIN: &str = "mppd_login";

/// Somebody who may look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The account, or the name of the token.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// What their forms have to say; nothing for a program, which has none.
    pub csrf: String,
}

impl Visitor {
    /// Whether a form is theirs.
    ///
    /// # Errors
    /// It is not.
    pub fn sent(&self, csrf: &str) -> Result<(), PageError> {
        if self.csrf.is_empty() || !is_same(&self.csrf, csrf) {
            return Err(PageError::Stale);
        }
        Ok(())
    }

    /// Whether they may change something.
    ///
    /// # Errors
    /// They may not.
    pub fn may_change(&self) -> Result<(), PageError> {
        if self.role < Role::Admin {
            return Err(PageError::ReadOnly);
        }
        Ok(())
    }
}

/// Whether two secrets are the same; how long that takes says nothing about them.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

impl FromRequest for Visitor {
    type Error = PageError;
    type Future = Ready<Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(visitor(request))
    }
}

fn visitor(request: &HttpRequest) -> Result<Visitor, PageError> {
    let console = console(request)?;
    let plan = &console.in_force().admin;
    if request.headers().contains_key(AUTHORIZATION) {
        return with_token(request, plan);
    }
    let not_logged_in = || {
        let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
        PageError::NotLoggedIn(asked.to_owned())
    };
    let cookie = session_cookie(request, plan).ok_or_else(not_logged_in)?;
    let lengths = Lengths { whole: plan.session_length, idle: plan.idle_timeout };
    let found = console.sessions.find(&cookie, &plan.accounts, lengths, Instant::now());
    let found = found.ok_or_else(not_logged_in)?;
    let account = plan.accounts.iter().find(|account| account.name == found.account);
    let role = account.map_or(Role::Viewer, |account| account.role);
    Ok(Visitor { name: found.account, role, csrf: found.csrf })
}

fn with_token(request: &HttpRequest, plan: &AdminPlan) -> Result<Visitor, PageError> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|header| header.strip_prefix("Bearer ")).map(str::trim);
    let token = token.ok_or(PageError::NoToken)?;
    let known = plan.tokens.iter().find(|known| known.is(token)).ok_or(PageError::NoToken)?;
    Ok(Visitor { name: known.name.clone(), role: Role::Viewer, csrf: String::new() })
}

/// What all handlers share.
///
/// # Errors
/// A defect: it was not put there.
pub(super) fn console(request: &HttpRequest) -> Result<&web::Data<Console>, PageError> {
    let console = request.app_data::<web::Data<Console>>();
    console.ok_or_else(|| PageError::Template("there is no console".to_owned()))
}

/// Whether a browser has come by TLS, as far as the proxy in front says so.
fn is_secure(request: &HttpRequest, plan: &AdminPlan) -> bool {
    let forwarded = request.headers().get("x-forwarded-proto");
    plan.is_behind_tls || forwarded.is_some_and(|scheme| scheme == "https")
}

/// A name that only this host can set a cookie of, where TLS is there to make sure of it.
fn cookie_name(name: &str, request: &HttpRequest, plan: &AdminPlan) -> String {
    if is_secure(request, plan) { format!("__Host-{name}") } else { name.to_owned() }
}

fn value_of(name: &str, request: &HttpRequest, plan: &AdminPlan) -> Option<String> {
    let cookie = request.cookie(&cookie_name(name, request, plan))?;
    Some(cookie.value().to_owned())
}

/// What the cookie of a session says.
pub(super) fn session_cookie(request: &HttpRequest, plan: &AdminPlan) -> Option<String> {
    value_of(SESSION, request, plan)
}

/// What the cookie of a login form says.
pub(super) fn login_cookie(request: &HttpRequest, plan: &AdminPlan) -> Option<String> {
    value_of(LOGIN, request, plan)
}

fn cookie(name: &str, value: String, request: &HttpRequest, plan: &AdminPlan) -> Cookie<'static> {
    Cookie::build(cookie_name(name, request, plan), value)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(is_secure(request, plan))
        .finish()
}

/// The cookie of a session.
pub(super) fn new_session(
    value: String,
    request: &HttpRequest,
    plan: &AdminPlan,
) -> Cookie<'static> {
    cookie(SESSION, value, request, plan)
}

/// The cookie of a login form.
pub(super) fn new_login(value: String, request: &HttpRequest, plan: &AdminPlan) -> Cookie<'static> {
    cookie(LOGIN, value, request, plan)
}

/// One that takes the cookie of a session away.
pub(super) fn no_session(request: &HttpRequest, plan: &AdminPlan) -> Cookie<'static> {
    let mut cookie = cookie(SESSION, String::new(), request, plan);
    cookie.make_removal();
    cookie
}
