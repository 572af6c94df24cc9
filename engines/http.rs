//! `<http>`: asks a Web service.
//!
//! ```xml
//! <http id="reputation">
//!   <uri>https://reputation.example.net/v1/clients/$ip?helo=$helo</uri>
//!   <header name="Authorization" file="secrets/reputation"/>
//!   <json>
//!     <field name="sender">$sender</field>
//!     <field name="size" type="number">$request.size</field>
//!   </json>
//!   <value id="verdict" pointer="/result/verdict"/>
//! </http>
//! ```
//!
//! What a peer chose cannot change what is asked, by construction:
//!
//! - In the URI each macro is percent-encoded, octet by octet, whatever its place: it can't end a
//!   path segment, a parameter or the path. Scheme, host and port hold no macros. A value that
//!   would be the path segment `.` or `..` on its own can't be written in a URI at all; such a run
//!   is a failure.
//! - In a header every control octet, CR and LF among them, becomes a blank, and white space at the
//!   ends is dropped; other octets are sent as they are.
//! - In `<form>` names and values are percent-encoded.
//! - In `<json>` the values are strings, numbers or truth values of JSON; what is not UTF-8 becomes
//!   U+FFFD.
//! - `<body>` is the text as its macros make it: escape each with the function that fits
//!   (`${json_escape $sender}`).
//!
//! The class of the status code is the engine's status, whatever the body says; `<value>` takes
//! parts out of a body in JSON. That there is no answer, none in time, one that is too long, or one
//! with success that should be JSON and is not, is a failure, and `on_exception` says what follows.
//! Proxies that the environment names are not used.

mod body;
mod client;
mod header;
mod reach;
#[cfg(test)]
mod tests;
mod uri;
mod value;

use std::borrow::Cow;
use std::sync::Arc;

use mppd_database::TlsOptions;
use mppd_engine::config::{FileSize, OptionValue, Period, Positive};
use mppd_engine::{
    BuildContext, Engine, Exchange, Failure, Finding, Outcome, Probe, Reach, Spanned, StatusDoc,
    ValueDoc, View, options,
};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use self::body::{Body, FormOptions, JsonOptions, RawOptions};
use self::client::{Answer, Client, Settings};
use self::header::{HeaderOptions, Headers};
use self::uri::Uri;
use self::value::{Pointers, ValueOptions};

options! {
    /// `<http>`
    pub(crate) struct HttpOptions {
        /// What is asked: `http://` or `https://`, host, and then anything, where each macro is
        /// percent-encoded.
        uri: Spanned<String>,
        /// The method: `GET`, or `POST` where there is a body, unless given.
        method: Option<HttpMethod> = None,
        /// A header of the request. May stand several times.
        header: Vec<HeaderOptions> = Vec::new(),
        /// The body: the fields of a form, `application/x-www-form-urlencoded`.
        form: Option<Spanned<FormOptions>> = None,
        /// The body: JSON.
        json: Option<Spanned<JsonOptions>> = None,
        /// The body: any text.
        body: Option<Spanned<RawOptions>> = None,
        /// A part of a JSON answer that becomes a value. May stand several times.
        value: Vec<ValueOptions> = Vec::new(),
        /// How many redirections are followed, all of them to the same scheme, host and port. One
        /// that is not followed is an answer of status `other`.
        redirects: usize = 0,
        /// Bounds of time and size.
        limits: LimitOptions = LimitOptions::default(),
        /// For how long an unused connection is kept for the next request.
        max_idle: Period = Period::seconds(60),
        /// Encryption, for `https://`. The authorities to trust are those of the system unless a
        /// file is given.
        tls: Option<Spanned<TlsOptions>> = None,
    }
}

options! {
    /// `<limits>`
    pub(crate) struct LimitOptions: Default {
        /// How long finding the addresses of the host may take.
        resolve: Positive<Period> = Positive(Period::seconds(2)),
        /// How long opening a connection may take, finding the addresses and the handshake of TLS
        /// included.
        connect: Positive<Period> = Positive(Period::seconds(4)),
        /// How long the whole may take.
        total: Positive<Period> = Positive(Period::seconds(8)),
        /// How long the body of an answer may be.
        response: Positive<FileSize> = Positive(FileSize::kib(64)),
    }
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl OptionValue for HttpMethod {
    const TYPE: &'static str = "`GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`";

    fn show(&self) -> String {
        self.method().to_string()
    }
}

impl HttpMethod {
    fn method(self) -> Method {
        match self {
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Delete => Method::DELETE,
        }
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    question: Arc<Question>,
    pointers: Arc<Pointers>,
    client: Client,
}

/// What is asked.
#[derive(Debug)]
struct Question {
    method: Method,
    uri: Uri,
    headers: Headers,
    body: Body,
}

impl Engine for Http {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "asks a Web service";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("success", "The service answered with a code 2NN.", "continue"),
        StatusDoc::new("client_error", "The service answered with a code 4NN.", "continue"),
        StatusDoc::new("server_error", "The service answered with a code 5NN.", "continue"),
        StatusDoc::new("other", "The service answered with any other code.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "code", meaning: "The status code: `200`." },
        ValueDoc { name: "body", meaning: "The body of the answer, as it came." },
    ];
    const NAMES_VALUES: bool = true;
    type Options = HttpOptions;

    fn build(options: HttpOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut keep = |faults: Vec<Finding>| findings.extend(faults);
        let uri = Uri::compile(&options.uri, cx).map_err(&mut keep).ok();
        let body =
            Body::compile(options.form.as_ref(), options.json.as_ref(), options.body.as_ref(), cx)
                .map_err(&mut keep)
                .ok();
        let has_body = body.as_ref().is_some_and(|body| !body.is_none());
        let headers = Headers::compile(&options.header, has_body, cx).map_err(&mut keep).ok();
        let pointers = Pointers::compile(&options.value).map_err(&mut keep).ok();
        let encrypts = uri.as_ref().is_some_and(Uri::is_encrypted);
        let tls = crate::tls::client(options.tls.as_ref(), encrypts, cx);
        let tls = tls.map_err(|fault| keep(vec![fault])).ok();
        let (Some(uri), Some(body), Some(headers), Some(pointers), Some(tls)) =
            (uri, body, headers, pointers, tls)
        else {
            return Err(findings);
        };
        let otherwise = if has_body { Method::POST } else { Method::GET };
        let method = options.method.map_or(otherwise, HttpMethod::method);
        let client = Client::new(Settings {
            tls,
            redirects: options.redirects,
            resolve: options.limits.resolve.0.0,
            connect: options.limits.connect.0.0,
            total: options.limits.total.0.0,
            response: options.limits.response.0.octets(),
            idle: options.max_idle.0,
        });
        client.check().map_err(|error| vec![Finding::nowhere(error.to_string())])?;
        let question = Arc::new(Question { method, uri, headers, body });
        Ok(Http { question, pointers: Arc::new(pointers), client })
    }

    fn value_names(&self) -> Vec<Cow<'static, str>> {
        self.pointers.names()
    }

    fn probes(&self) -> Vec<Probe> {
        let (question, client) = (self.question.clone(), self.client.clone());
        let target = question.uri.origin().to_owned();
        vec![Probe::new(target, async move { client.reach(question.uri.origin()).await })]
    }

    fn reach(&self) -> Reach {
        if self.question.method.is_safe() { Reach::Services } else { Reach::Changes }
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let answer = self.ask(&View::of(exchange)).await?;
        self.outcome(answer)
    }
}

impl Http {
    async fn ask(&self, view: &View<'_>) -> Result<Answer, Failure> {
        let question = &self.question;
        let failed = || Failure::new(format!("can't ask {}", question.uri.origin()));
        let uri =
            question.uri.of(view).map_err(|error| failed().with_source(error).of_request())?;
        let mut headers = HeaderMap::new();
        question.body.describe(&mut headers);
        question.headers.add_to(&mut headers, view);
        let body = question.body.octets(view);
        let answer = self.client.ask(question.method.clone(), uri, headers, body).await;
        answer.map_err(|error| failed().with_source(error))
    }

    fn outcome(&self, answer: Answer) -> Result<Outcome, Failure> {
        let Answer { code, body } = answer;
        let status = match code.as_u16() {
            200..300 => "success",
            400..500 => "client_error",
            500..600 => "server_error",
            _ => "other",
        };
        let values = self.pointers.values(&body, code.is_success()).map_err(|error| {
            let origin = self.question.uri.origin();
            Failure::new(format!("{origin} gave an answer that is not JSON")).with_source(error)
        })?;
        let mut outcome = Outcome::new(status)
            .with_text(code.to_string())
            .with_value("code", code.as_str())
            .with_value("body", body);
        outcome.values.extend(values);
        Ok(outcome)
    }
}
