//! A directory that engines look something up in: where it is, what is asked, and the connection
//! that it is asked over.

mod connection;
mod filter;
mod name;

use std::sync::Arc;

use ldap3::Scope;
use mppd_database::connection::reveal;
use mppd_database::{SecretOptions, TlsOptions};
use mppd_engine::config::{OptionValue, Period, Positive};
use mppd_engine::{BuildContext, Finding, Spanned, options};
use serde::Deserialize;

use self::connection::{Bind, Limits, Settings, open_wire, read_url};
pub(crate) use self::connection::{Connection, Search};
pub(crate) use self::filter::Filter;
pub(crate) use self::name::Name;

options! {
    /// `<limits>`
    pub(crate) struct LimitOptions: Default {
        /// How long opening a connection to one server may take, encryption and bind included.
        connect: Positive<Period> = Positive(Period::seconds(3)),
        /// How long one search may take.
        search: Positive<Period> = Positive(Period::seconds(5)),
        /// How many entries are wanted at most.
        entries: Positive<u32> = Positive(10),
    }
}

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SearchScope {
    Base,
    One,
    Subtree,
}

impl OptionValue for SearchScope {
    const TYPE: &'static str = "`base` (that entry alone), `one` (those directly below it) or \
                                `subtree` (that entry and all below it)";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl SearchScope {
    pub(crate) fn scope(self) -> Scope {
        match self {
            SearchScope::Base => Scope::Base,
            SearchScope::One => Scope::OneLevel,
            SearchScope::Subtree => Scope::Subtree,
        }
    }
}

/// The options of an element that say where a directory is and who asks it.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    pub(crate) url: &'a [Spanned<String>],
    pub(crate) start_tls: bool,
    pub(crate) tls: Option<&'a Spanned<TlsOptions>>,
    pub(crate) bind_dn: Option<&'a Spanned<String>>,
    pub(crate) password: Option<&'a Spanned<SecretOptions>>,
    pub(crate) limits: &'a LimitOptions,
}

impl Server<'_> {
    /// A connection to it, which is opened when it is first asked.
    pub(crate) fn connection(&self, cx: &mut BuildContext<'_>) -> Result<Connection, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut keep = |faults: Vec<Finding>| findings.extend(faults);
        let read = |url| read_url(url, self.start_tls).map_err(|fault| keep(vec![fault])).ok();
        let urls: Vec<String> = self.url.iter().filter_map(read).collect();
        let bind = self.bind(cx).map_err(&mut keep).ok();
        let encrypts = self.start_tls || urls.iter().any(|url| url.starts_with("ldaps:"));
        let tls = crate::tls::client(self.tls, encrypts, cx);
        let tls = tls.map_err(|fault| keep(vec![fault])).ok();
        let (Some(bind), Some(tls), []) = (bind, tls, &findings[..]) else { return Err(findings) };
        if bind.is_some() && !self.start_tls {
            self.url.iter().filter_map(open_wire).for_each(|warning| cx.warn(warning));
        }
        Ok(Connection::new(Settings {
            urls,
            start_tls: self.start_tls,
            tls: Arc::new(tls),
            bind,
            limits: Limits {
                connect: self.limits.connect.0.0,
                search: self.limits.search.0.0,
                entries: self.limits.entries.0,
            },
        }))
    }

    fn bind(&self, cx: &mut BuildContext<'_>) -> Result<Option<Bind>, Vec<Finding>> {
        match (self.bind_dn, self.password) {
            (None, None) => Ok(None),
            (Some(name), Some(password)) => {
                let password = reveal(password, cx).map_err(|fault| vec![fault])?;
                Ok(Some(Bind { name: name.value.clone(), password }))
            }
            // A server takes a bind without a password for an anonymous one (RFC 4513, 5.1.2).
            (Some(name), None) => {
                Err(vec![Finding::error(name.span, "a bind needs a password as well")])
            }
            (None, Some(password)) => {
                Err(vec![Finding::error(password.span, "a password without a bind_dn")])
            }
        }
    }
}
