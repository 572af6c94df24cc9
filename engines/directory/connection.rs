//! The connection of one worker to a directory.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry, SearchOptions,
};
use mppd_database::Secret;
use mppd_engine::probe::{Probe, Unreached, help_with};
use mppd_engine::{Escaped, Finding, Spanned};
use reqwest::Url;
use rustls::ClientConfig;
use tokio::time::timeout;

/// How to reach the directory.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) urls: Vec<String>,
    pub(crate) start_tls: bool,
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) bind: Option<Bind>,
    pub(crate) limits: Limits,
}

/// Who asks.
pub(crate) struct Bind {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

impl std::fmt::Debug for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bind").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) search: Duration,
    pub(crate) entries: u32,
}

/// One search.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) base: String,
    pub(crate) scope: Scope,
    pub(crate) filter: String,
    pub(crate) attributes: &'a [String],
    /// Whether a base that does not or can't exist is one below which nothing was found.
    pub(crate) base_may_be_missing: bool,
}

/// Why a search found neither something nor nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("can't connect to {url}")]
    Connect { url: String, source: LdapError },
    #[error("no connection to {url} within {limit:?}")]
    ConnectTimeout { url: String, limit: Duration },
    #[error("{url} refuses the bind: {result}")]
    Bind { url: String, result: LdapResult },
    #[error("there is no server")]
    NoServer,
    #[error("the connection broke")]
    Broken(#[source] LdapError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the server refuses the search: {0}")]
    Refused(LdapResult),
    /// Somebody else could not connect, at the same time.
    #[error(transparent)]
    Shared(Arc<SearchError>),
}

/// How the last attempt to connect failed, and when.
type LastFailure = Option<(Instant, Arc<SearchError>)>;

/// The connection of one worker. A clone is another worker's: a connection belongs to the runtime
/// on which it was opened, so it starts without one.
pub(crate) struct Connection {
    settings: Arc<Settings>,
    open: Mutex<Option<Ldap>>,
    /// Held while a connection is opened, so that runs that come at the same time open one.
    opening: tokio::sync::Mutex<LastFailure>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        Connection::of(self.settings.clone())
    }
}

// Result codes (RFC 4511, appendix A).
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN_SYNTAX: u32 = 34;

impl Connection {
    pub(crate) fn new(settings: Settings) -> Self {
        Connection::of(Arc::new(settings))
    }

    fn of(settings: Arc<Settings>) -> Self {
        Connection { settings, open: Mutex::new(None), opening: tokio::sync::Mutex::new(None) }
    }

    /// What a search finds, up to the limit of entries.
    pub(crate) async fn search(
        &self,
        search: &Search<'_>,
    ) -> Result<Vec<SearchEntry>, SearchError> {
        // Apart, so that the lock is not held while the search waits.
        let open = self.lock_open().clone();
        if let Some(open) = open {
            match self.search_on(open, search).await {
                // Closed between two searches: only now is it seen.
                Err(SearchError::Broken(_)) => {}
                found => return found,
            }
        }
        let open = self.connect().await?;
        self.search_on(open, search).await
    }

    async fn search_on(
        &self,
        mut connection: Ldap,
        search: &Search<'_>,
    ) -> Result<Vec<SearchEntry>, SearchError> {
        // A search that gets no answer, or is given up, takes the connection along: the next one
        // shall not wait for the same silence.
        let suspicion = Suspicion(self);
        let limits = self.settings.limits;
        let options = SearchOptions::new()
            .sizelimit(i32::try_from(limits.entries).unwrap_or(i32::MAX))
            .timelimit(i32::try_from(limits.search.as_secs().max(1)).unwrap_or(i32::MAX));
        connection.with_search_options(options);
        let Search { base, scope, filter, attributes, .. } = search;
        let searching = connection.search(base, *scope, filter, attributes);
        let found = match timeout(limits.search, searching).await {
            Err(_) => return Err(SearchError::Timeout(limits.search)),
            // It was sound when the configuration was read; an empty value between two wildcards
            // leaves nothing to look for. A client can bring that about, so it is no failure.
            Ok(Err(LdapError::FilterParsing)) => {
                suspicion.dispel();
                return Ok(Vec::new());
            }
            Ok(Err(error)) => return Err(SearchError::Broken(error)),
            Ok(Ok(found)) => found,
        };
        suspicion.dispel();
        match found.1.rc {
            SUCCESS | SIZE_LIMIT_EXCEEDED => {
                Ok(found.0.into_iter().map(SearchEntry::construct).collect())
            }
            NO_SUCH_OBJECT | INVALID_DN_SYNTAX if search.base_may_be_missing => Ok(Vec::new()),
            _ => Err(SearchError::Refused(found.1)),
        }
    }

    /// Probes of each server: whether it takes the connection and the bind, and has the entry that
    /// searches begin at, where that is always the same.
    pub(crate) fn probes(&self, base: Option<&String>) -> Vec<Probe> {
        let probe = |url: &String| {
            let (connection, url, base) = (self.clone(), url.clone(), base.cloned());
            Probe::new(url.clone(), async move {
                connection.reach(&url, base).await.map_err(|error| unreached(&error))
            })
        };
        self.settings.urls.iter().map(probe).collect()
    }

    async fn reach(&self, url: &str, base: Option<String>) -> Result<String, SearchError> {
        let open = self.connect_to(url).await?;
        let bound = match &self.settings.bind {
            Some(bind) => format!("takes the bind of {}", Escaped(bind.name.as_bytes())),
            None => "takes connections".to_owned(),
        };
        let Some(base) = base else { return Ok(bound) };
        let search = Search {
            base,
            scope: Scope::Base,
            filter: "(objectClass=*)".to_owned(),
            attributes: &["1.1".to_owned()],
            base_may_be_missing: false,
        };
        // What the entry itself is does not matter: some servers hide it.
        self.search_on(open, &search).await?;
        Ok(format!("{bound}, and the base is there"))
    }

    async fn connect(&self) -> Result<Ldap, SearchError> {
        let since = Instant::now();
        let mut last_failure = self.opening.lock().await;
        if let Some(open) = self.lock_open().clone() {
            return Ok(open);
        }
        // Whoever waited for an attempt shares its failure: one by one, all would wait in vain.
        if let Some((at, error)) = &*last_failure
            && *at > since
        {
            return Err(SearchError::Shared(error.clone()));
        }
        let connected = self.connect_to_any().await;
        connected.map_err(|error| {
            let error = Arc::new(error);
            *last_failure = Some((Instant::now(), error.clone()));
            SearchError::Shared(error)
        })
    }

    /// The first server that can be reached.
    async fn connect_to_any(&self) -> Result<Ldap, SearchError> {
        let mut last = SearchError::NoServer;
        for url in &self.settings.urls {
            match self.connect_to(url).await {
                Ok(connection) => {
                    *self.lock_open() = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, url: &str) -> Result<Ldap, SearchError> {
        let limit = self.settings.limits.connect;
        let connecting = self.connect_and_bind(url);
        let late = |_| SearchError::ConnectTimeout { url: url.to_owned(), limit };
        timeout(limit, connecting).await.map_err(late)?
    }

    async fn connect_and_bind(&self, url: &str) -> Result<Ldap, SearchError> {
        let failed = |source| SearchError::Connect { url: url.to_owned(), source };
        let settings = LdapConnSettings::new()
            .set_config(self.settings.tls.clone())
            .set_starttls(self.settings.start_tls && url.starts_with("ldap://"));
        let (driver, mut connection) =
            LdapConnAsync::with_settings(settings, url).await.map_err(failed)?;
        // What goes wrong shows in the searches.
        tokio::spawn(async move { drop(driver.drive().await) });
        if let Some(Bind { name, password }) = &self.settings.bind {
            let bound = connection.simple_bind(name, password.reveal()).await.map_err(failed)?;
            if bound.rc != SUCCESS {
                return Err(SearchError::Bind { url: url.to_owned(), result: bound });
            }
        }
        Ok(connection)
    }

    fn lock_open(&self) -> MutexGuard<'_, Option<Ldap>> {
        // Nothing leaves the slot half-way, so a poisoned lock is as good as any.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error means to whoever configures the connection. Servers say what they like.
fn unreached(error: &SearchError) -> Unreached {
    let (text, help) = match error {
        SearchError::Connect { source: LdapError::Io { source }, .. } => {
            (format!("no connection: {source}"), help_with(source))
        }
        SearchError::Connect { source, .. } => (format!("no connection: {source}"), None),
        SearchError::Bind { .. } => (error.to_string(), Some("correct bind_dn and password")),
        SearchError::Refused(result) if result.rc == NO_SUCH_OBJECT => {
            (error.to_string(), Some("correct the base, or let the user read it"))
        }
        _ => (error.to_string(), None),
    };
    let unreached = Unreached::new(Escaped(text.as_bytes()).to_string());
    match help {
        Some(help) => unreached.with_help(help),
        None => unreached,
    }
}

/// Gives the connection up unless it is dispelled.
struct Suspicion<'a>(&'a Connection);

impl Suspicion<'_> {
    fn dispel(self) {
        std::mem::forget(self);
    }
}

impl Drop for Suspicion<'_> {
    fn drop(&mut self) {
        *self.0.lock_open() = None;
    }
}

/// Checks what can be checked of a server's URL without asking it.
pub(crate) fn read_url(url: &Spanned<String>, start_tls: bool) -> Result<String, Finding> {
    let bad = |message: String| Finding::error(url.span, message);
    let read =
        Url::parse(&url.value).map_err(|error| bad(format!("this is not a URL: {error}")))?;
    if !matches!(read.scheme(), "ldap" | "ldaps" | "ldapi") {
        let message = format!("\"{}\" is not a scheme of LDAP", read.scheme());
        return Err(bad(message).with_help("one of: ldap, ldaps, ldapi"));
    }
    if read.host_str().is_none_or(str::is_empty) {
        return Err(bad("the URL has no host".to_owned()));
    }
    if start_tls && read.scheme() != "ldap" {
        let message = format!("start_tls is for ldap://, not for {}://", read.scheme());
        return Err(bad(message));
    }
    if !matches!(read.path(), "" | "/") || read.query().is_some() {
        let finding = bad("the URL of a server ends behind its port".to_owned());
        return Err(finding.with_help("where to search is said by base, scope and filter"));
    }
    if !read.username().is_empty() || read.password().is_some() {
        let finding = bad("the URL of a server has no user in it".to_owned());
        return Err(finding.with_help("who asks is said by bind_dn and password"));
    }
    // As the parser writes it, so with the scheme in lower case.
    Ok(read.into())
}

/// Warns of a server to which a password would go over the network for all to read.
pub(crate) fn open_wire(url: &Spanned<String>) -> Option<Finding> {
    let read = Url::parse(&url.value).ok().filter(|read| read.scheme() == "ldap")?;
    let host = read.host_str()?.trim_matches(['[', ']']);
    let is_here =
        host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback());
    if is_here {
        return None;
    }
    let warning = Finding::warning(url.span, "the password goes over the network as it is");
    Some(warning.with_help("encrypt the connection: <start_tls>true</start_tls>, or ldaps://"))
}
