//! `<ldap>`: looks something up in a directory.
//!
//! ```xml
//! <ldap id="people">
//!   <url>ldaps://ldap.example.org</url>
//!   <bind_dn>cn=mppd,dc=example,dc=org</bind_dn>
//!   <password file="secrets/ldap"/>
//!   <base>ou=people,dc=example,dc=org</base>
//!   <filter>(&amp;(objectClass=inetOrgPerson)(mail=$recipient))</filter>
//!   <value id="quota" attribute="mailQuota"/>
//! </ldap>
//! ```
//!
//! What a peer chose cannot change what is asked, by construction: in `<filter>` and `<base>` a
//! macro stands for a value, and every octet of it that could mean anything else is escaped
//! (RFC 4515 and RFC 4514). A macro anywhere else, in the name of an attribute say, is refused when
//! the configuration is read. In `<filter>` line breaks and the white space around them do not
//! count, so that a filter can be indented.
//!
//! Each worker keeps one connection, on which searches run side by side. One that broke, or did not
//! answer in time, is replaced. The servers are tried in the order given.
//!
//! That no server can be reached, or that the search is refused, is a failure, and `on_exception`
//! says what follows. A base that does not exist is a failure as well, unless it has macros: then
//! nothing was found. Nothing is found either where an empty value stands between two wildcards.

#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::sync::Arc;

use ldap3::{Scope, SearchEntry};
use mppd_database::{SecretOptions, TlsOptions};
use mppd_engine::{
    BuildContext, Engine, Exchange, Failure, Finding, Outcome, Probe, Reach, Spanned, StatusDoc,
    ValueDoc, View, options,
};

use self::value::{ValueOptions, Values};
use crate::directory::{Connection, Filter, LimitOptions, Name, Search, SearchScope, Server};

options! {
    /// `<ldap>`
    pub(crate) struct LdapOptions {
        /// A server: `ldap://host`, `ldaps://host`, or `ldapi://%2Frun%2Fslapd%2Fldapi` for a
        /// socket. May stand several times; the first that can be reached is asked.
        url: Vec<Spanned<String>>,
        /// Whether a connection to an `ldap://` server is encrypted before anything is asked.
        start_tls: bool = false,
        /// Encryption, for `ldaps://` and `start_tls`. The authorities to trust are those of the
        /// system unless a file is given.
        tls: Option<Spanned<TlsOptions>> = None,
        /// The name to bind with; anonymous unless given.
        bind_dn: Option<Spanned<String>> = None,
        /// The password to bind with.
        password: Option<Spanned<SecretOptions>> = None,
        /// The entry where the search begins. A macro stands for the value of an attribute:
        /// `uid=$sasl_username,ou=people,dc=example,dc=org`.
        base: Spanned<String>,
        /// How far the search goes.
        scope: SearchScope = SearchScope::Subtree,
        /// What is looked for: a filter (RFC 4515), in which a macro stands for a value.
        filter: Spanned<String>,
        /// An attribute of the entry that becomes a value. May stand several times.
        value: Vec<ValueOptions> = Vec::new(),
        /// Bounds of time and size.
        limits: LimitOptions = LimitOptions::default(),
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Ldap {
    question: Arc<Question>,
    connection: Connection,
}

/// What is looked for.
#[derive(Debug)]
struct Question {
    base: Name,
    scope: Scope,
    filter: Filter,
    values: Values,
}

impl Engine for Ldap {
    const NAME: &'static str = "ldap";
    const SUMMARY: &'static str = "looks something up in a directory";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("found", "The search found an entry.", "continue"),
        StatusDoc::new("empty", "The search found nothing.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "dn", meaning: "The name of the first entry found." },
        ValueDoc { name: "count", meaning: "How many entries were found, up to `entries`." },
    ];
    const NAMES_VALUES: bool = true;
    type Options = LdapOptions;

    fn build(options: LdapOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut keep = |faults: Vec<Finding>| findings.extend(faults);
        let base = Name::compile(&options.base, cx).map_err(&mut keep).ok();
        let filter = Filter::compile(&options.filter, cx).map_err(&mut keep).ok();
        let values = Values::compile(&options.value, cx).map_err(&mut keep).ok();
        let server = Server {
            url: &options.url,
            start_tls: options.start_tls,
            tls: options.tls.as_ref(),
            bind_dn: options.bind_dn.as_ref(),
            password: options.password.as_ref(),
            limits: &options.limits,
        };
        let connection = server.connection(cx).map_err(&mut keep).ok();
        let (Some(base), Some(filter), Some(values), Some(connection)) =
            (base, filter, values, connection)
        else {
            return Err(findings);
        };
        let question = Question { base, scope: options.scope.scope(), filter, values };
        Ok(Ldap { question: Arc::new(question), connection })
    }

    fn value_names(&self) -> Vec<Cow<'static, str>> {
        self.question.values.names()
    }

    fn probes(&self) -> Vec<Probe> {
        self.connection.probes(self.question.base.constant().as_ref())
    }

    fn reach(&self) -> Reach {
        Reach::Services
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let (question, view) = (&self.question, View::of(exchange));
        let failed = |error| Failure::new("can't search the directory").with_source(error);
        let search = Search {
            base: question.base.of(&view),
            scope: question.scope,
            filter: question.filter.of(&view),
            attributes: question.values.attributes(),
            base_may_be_missing: question.base.has_macros(),
        };
        let entries = self.connection.search(&search).await.map_err(failed)?;
        Ok(question.outcome(&entries))
    }
}

impl Question {
    fn outcome(&self, entries: &[SearchEntry]) -> Outcome {
        let count = entries.len().to_string();
        let outcome = match entries.first() {
            Some(entry) => Outcome::new("found")
                .with_text(entry.dn.clone())
                .with_value("dn", entry.dn.as_bytes()),
            None => Outcome::new("empty"),
        };
        let mut outcome = outcome.with_value("count", count);
        outcome.values.extend(self.values.of(entries.first()));
        outcome
    }
}
