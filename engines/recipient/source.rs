//! Where it is known which addresses a domain has.

use std::path::Path as FilePath;
use std::sync::Arc;

use jiff::Timestamp;
use mppd_database::{
    ConnectionOptions, Pool, PoolLimits, SecretOptions, Statement, TlsOptions, resolve,
};
use mppd_engine::exchange::Receipt;
use mppd_engine::slog::{Logger, o};
use mppd_engine::trouble::Trouble;
use mppd_engine::{
    Attribute, BuildContext, EngineResult, Exchange, Failure, Finding, OptionValue as _, Probe,
    Request, Spanned, View, options,
};
use mppd_lists::Table as _;
use mppd_lists::mailboxes::Mailboxes;

use super::address::{Address, Path};
use super::callout::Callout;
use super::kept::{KeepOptions, Keeper};
use crate::directory::{Connection, Filter, LimitOptions, Name, Search, SearchScope, Server};

options! {
    /// `<sql>`
    pub(crate) struct SqlOptions {
        /// The server.
        connection: ConnectionOptions,
        /// One statement of SQL that gives a row for an address that is valid. Every macro is a
        /// bound parameter. Where `recipient_delimiter` cuts off an extension, it is asked again
        /// with a `$recipient` that has none.
        statement: Spanned<String>,
        /// How long answers are kept; they are not unless this is given.
        cache: Option<KeepOptions> = None,
    }
}

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
        /// The entry where the search begins.
        base: Spanned<String>,
        /// How far the search goes.
        scope: SearchScope = SearchScope::Subtree,
        /// What finds an entry for an address that is valid: a filter (RFC 4515), in which a macro
        /// stands for a value. Where `recipient_delimiter` cuts off an extension, it is asked again
        /// with a `$recipient` that has none.
        filter: Spanned<String>,
        /// Bounds of time and size.
        limits: LimitOptions = LimitOptions::default(),
        /// How long answers are kept; they are not unless this is given.
        cache: Option<KeepOptions> = None,
    }
}

/// Connections to a database; questions are short, and wait for one another.
const CONNECTIONS: PoolLimits =
    PoolLimits { min: 0, max: 4, idle_timeout: std::time::Duration::from_mins(1) };

/// What is known of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Valid = 1,
    Invalid = 2,
    /// Its source does not say.
    Unknown = 3,
}

impl Verdict {
    pub(super) const ALL: [Verdict; 3] = [Verdict::Valid, Verdict::Invalid, Verdict::Unknown];
}

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// In its own words, or why it says nothing; fit to be read.
    pub(super) said: String,
}

impl Answer {
    fn found(is_found: bool) -> Self {
        let verdict = if is_found { Verdict::Valid } else { Verdict::Invalid };
        Answer { verdict, said: String::new() }
    }

    fn unknown(why: impl Into<String>) -> Self {
        Answer { verdict: Verdict::Unknown, said: why.into() }
    }
}

/// One request for which a source is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) address: &'a Address<'a>,
    pub(super) now: Timestamp,
}

/// A source that is asked over a network. A clone shares what it can; each has a connection of its
/// own to a directory, which belongs to the worker that opened it.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Sql(Arc<Sql>),
    Ldap(Arc<Ldap>, Connection),
    Callout(Callout, KeepOptions),
}

#[derive(Debug)]
pub(super) struct Sql {
    statement: Statement,
    pool: Pool,
    label: String,
    cache: Option<KeepOptions>,
    troubles: Troubles,
}

/// What the log is told of a source that can't be asked: the mail goes on without it.
#[derive(Debug)]
struct Troubles {
    trouble: Trouble,
    logger: Logger,
}

impl Troubles {
    fn of(cx: &BuildContext<'_>, source: &'static str) -> Self {
        let logger = cx.logger().new(o!("source" => source));
        Troubles { trouble: Trouble::default(), logger }
    }

    fn note<T>(&self, answer: &Result<T, String>) {
        match answer {
            Ok(_) => self.trouble.log_end(&self.logger, "the source of recipients answers again"),
            Err(why) => self.trouble.log(&self.logger, "can't ask a source of recipients", why),
        }
    }
}

#[derive(Debug)]
pub(super) struct Ldap {
    base: Name,
    scope: SearchScope,
    filter: Filter,
    label: String,
    cache: Option<KeepOptions>,
    troubles: Troubles,
}

impl Source {
    pub(super) fn sql(
        options: &SqlOptions,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let connection = resolve(&options.connection, cx).map_err(|faults| findings.extend(faults));
        let statement =
            Statement::reading(&options.statement, "SELECT a row for an address that is valid", cx)
                .map_err(|faults| findings.extend(faults));
        match (connection, statement) {
            (Ok(connection), Ok(statement)) if findings.is_empty() => {
                let label = sql_label(options);
                let pool = Pool::of_engine(connection, CONNECTIONS, cx);
                let cache = options.cache.clone();
                let troubles = Troubles::of(cx, "sql");
                Ok(Source::Sql(Arc::new(Sql { statement, pool, label, cache, troubles })))
            }
            _ => Err(findings),
        }
    }

    pub(super) fn ldap(
        options: &LdapOptions,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut keep = |faults: Vec<Finding>| findings.extend(faults);
        let base = Name::compile(&options.base, cx).map_err(&mut keep).ok();
        let filter = Filter::compile(&options.filter, cx).map_err(&mut keep).ok();
        let server = Server {
            url: &options.url,
            start_tls: options.start_tls,
            tls: options.tls.as_ref(),
            bind_dn: options.bind_dn.as_ref(),
            password: options.password.as_ref(),
            limits: &options.limits,
        };
        let connection = server.connection(cx).map_err(&mut keep).ok();
        let (Some(base), Some(filter), Some(connection)) = (base, filter, connection) else {
            return Err(findings);
        };
        let scope = options.scope.show();
        let urls = options.url.iter().map(|url| url.value.as_str());
        let label = label("ldap", [scope.as_str()].into_iter().chain(urls));
        let (scope, cache) = (options.scope, options.cache.clone());
        let troubles = Troubles::of(cx, "ldap");
        let ldap = Ldap { base, scope, filter, label, cache, troubles };
        Ok(Source::Ldap(Arc::new(ldap), connection))
    }

    /// Its kind, as the value `source` has it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Source::Sql(_) => "sql",
            Source::Ldap(..) => "ldap",
            Source::Callout(..) => "callout",
        }
    }

    /// Whether it needs the state store.
    pub(super) fn keeps(&self) -> bool {
        match self {
            Source::Sql(sql) => sql.cache.is_some(),
            Source::Ldap(ldap, _) => ldap.cache.is_some(),
            Source::Callout(..) => true,
        }
    }

    pub(super) fn probes(&self) -> Vec<Probe> {
        match self {
            Source::Sql(sql) => vec![sql.pool.probe(&sql.statement)],
            Source::Ldap(ldap, connection) => connection.probes(ldap.base.constant().as_ref()),
            Source::Callout(callout, _) => vec![callout.probe()],
        }
    }

    /// What it says of the address of a request.
    pub(super) async fn ask(
        &self,
        asked: &Asked<'_>,
        keeper: Option<&Keeper>,
    ) -> Result<Answer, Failure> {
        let answer = match self {
            Source::Callout(callout, limits) => {
                // What this one client brings about must not be kept for others.
                let path = match path(callout, asked) {
                    Ok(path) => path,
                    Err(why) => return Ok(Answer::unknown(why)),
                };
                let Some(keeper) = keeper else {
                    return Ok(ask_host(callout, asked, &path).await);
                };
                // The server decides what case and extensions mean, so it gets the address as it
                // is; the case of letters makes no other question of it.
                let key = joined(&callout.server(), [asked.address.whole()]);
                keeper.ask(key, asked.now, limits, ask_host(callout, asked, &path)).await
            }
            Source::Sql(sql) => {
                let parameters = sql.statement.parameters(&View::of(asked.exchange));
                match (&sql.cache, keeper) {
                    (Some(limits), Some(keeper)) => {
                        let key = joined(&sql.label, parameters.iter().map(Vec::as_slice));
                        keeper.ask(key, asked.now, limits, sql.ask(asked, parameters)).await
                    }
                    _ => Ok(sql.ask(asked, parameters).await),
                }
            }
            Source::Ldap(ldap, connection) => match (&ldap.cache, keeper) {
                (Some(limits), Some(keeper)) => {
                    let (base, filter) = ldap.search(asked.exchange);
                    let key = joined(&ldap.label, [base.as_bytes(), filter.as_bytes()]);
                    keeper.ask(key, asked.now, limits, ldap.ask(asked, connection)).await
                }
                _ => Ok(ldap.ask(asked, connection).await),
            },
        };
        answer.map_err(|error| Failure::new("can't tell what is kept").with_source(error))
    }
}

/// What a mail server can be asked for; else why it can't.
fn path(callout: &Callout, asked: &Asked<'_>) -> Result<Path, String> {
    let request = asked.exchange.request();
    let helo = callout.helo(asked.exchange.node());
    // A callout of our own that comes back to us would go round for ever.
    if request.sender().is_null()
        && request.get(Attribute::HeloName).eq_ignore_ascii_case(helo.as_bytes())
    {
        return Err("the client gives this host's own name, so it is asked by itself".to_owned());
    }
    Path::new(asked.address.local(), asked.address.domain()).map_err(|error| error.to_string())
}

async fn ask_host(callout: &Callout, asked: &Asked<'_>, path: &Path) -> Answer {
    let asking = callout.ask(path, asked.exchange.node());
    // It is large, and a run that never comes here need not carry it.
    let (verdict, said) = Box::pin(asking).await;
    Answer { verdict, said }
}

impl Sql {
    async fn ask(&self, asked: &Asked<'_>, parameters: Vec<Vec<u8>>) -> Answer {
        match self.ask_once(parameters).await {
            Ok(false) => {}
            Ok(true) => return Answer::found(true),
            Err(why) => return Answer::unknown(why),
        }
        let Some(base) = without_extension(asked) else { return Answer::found(false) };
        let parameters = self.statement.parameters(&View::of(&base));
        self.ask_once(parameters).await.map_or_else(Answer::unknown, Answer::found)
    }

    async fn ask_once(&self, parameters: Vec<Vec<u8>>) -> Result<bool, String> {
        let answer = self.pool.ask(&self.statement, parameters).await;
        let found = answer.map(|answer| answer.rows > 0).map_err(|error| told(&*error));
        self.troubles.note(&found);
        found
    }
}

impl Ldap {
    fn search(&self, exchange: &Exchange) -> (String, String) {
        let view = View::of(exchange);
        (self.base.of(&view), self.filter.of(&view))
    }

    async fn ask(&self, asked: &Asked<'_>, connection: &Connection) -> Answer {
        match self.ask_once(asked.exchange, connection).await {
            Ok(false) => {}
            Ok(true) => return Answer::found(true),
            Err(why) => return Answer::unknown(why),
        }
        let Some(base) = without_extension(asked) else { return Answer::found(false) };
        self.ask_once(&base, connection).await.map_or_else(Answer::unknown, Answer::found)
    }

    async fn ask_once(&self, exchange: &Exchange, connection: &Connection) -> Result<bool, String> {
        let (base, filter) = self.search(exchange);
        let no_attribute = ["1.1".to_owned()];
        let search = Search {
            base,
            scope: self.scope.scope(),
            filter,
            attributes: &no_attribute,
            base_may_be_missing: self.base.has_macros(),
        };
        // It is large, and a run that never comes here need not carry it.
        let found = Box::pin(connection.search(&search)).await;
        let found = found.map(|entries| !entries.is_empty()).map_err(|error| told(&error));
        self.troubles.note(&found);
        found
    }
}

/// The same request for the address without its extension, where it has one.
fn without_extension(asked: &Asked<'_>) -> Option<Exchange> {
    let base = asked.address.without_extension()?;
    let exchange = asked.exchange;
    let recipient = Attribute::Recipient.name().as_bytes();
    let attributes = exchange.request().attributes();
    let request = Request::from_attributes(
        attributes
            .map(|(name, value)| (name, if name == recipient { base.as_slice() } else { value })),
    );
    let copy = Exchange::new(Receipt {
        request: Arc::new(request.ok()?),
        key: exchange.key(),
        received: exchange.received(),
        deadline: exchange.deadline(),
        group: exchange.group().clone(),
        node: exchange.node().clone(),
        tracker: exchange.tracker().clone(),
        repeat_of: exchange.repeat_of(),
    });
    for result in exchange.results() {
        copy.add_result(EngineResult::clone(&result));
    }
    let globals = exchange.with_globals(|globals| globals.clone());
    copy.with_globals(|copied| *copied = globals);
    Some(copy)
}

/// An error with all that is behind it, fit to be shown: servers say what they like.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    super::reply::fit(text.as_bytes())
}

/// The words of a key, with blanks between them. Those within a word are marked, so that no words
/// make the key of others: clients choose some of them.
fn joined<'a>(label: &str, words: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut key = label.as_bytes().to_vec();
    for word in words {
        key.push(b' ');
        for octet in word {
            if matches!(octet, b' ' | b'\\') {
                key.push(b'\\');
            }
            key.push(*octet);
        }
    }
    key
}

/// The server, the database and the statement, as they are written.
fn sql_label(options: &SqlOptions) -> String {
    let ConnectionOptions { host, port, database, unix_socket, user, defaults_file, .. } =
        &options.connection;
    let path = |path: &FilePath| path.display().to_string();
    let parts = [
        host.clone(),
        port.map(|port| port.to_string()),
        unix_socket.as_deref().map(path),
        defaults_file.as_ref().map(|file| path(&file.value)),
        user.clone(),
        database.clone(),
        Some(options.statement.value.clone()),
    ];
    label("sql", parts.iter().map(|part| part.as_deref().unwrap_or_default()))
}

/// What tells the answers of one source from those of another, and from those of the same one
/// before its configuration changed.
fn label<'a>(kind: &str, texts: impl IntoIterator<Item = &'a str>) -> String {
    let whole = texts.into_iter().collect::<Vec<_>>().join("\0");
    format!("{kind}-{:08x}", hash(whole.as_bytes()))
}

/// A hash that is the same in every process (FNV-1a).
pub(super) fn hash(octets: &[u8]) -> u32 {
    octets
        .iter()
        .fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}

/// A list of valid addresses.
pub(super) fn is_in(list: &Mailboxes<()>, address: &Address<'_>) -> bool {
    if list.find(address.whole()).is_some() {
        return true;
    }
    let Some(base) = address.without_extension() else { return false };
    let base = mppd_lists::mailboxes::normalise(mppd_engine::Mailbox::new(&base));
    !list.is_empty() && list.find(&base).is_some()
}

#[cfg(test)]
mod tests {
    use mppd_engine::config::{Origin, Source as Text, SourceMap, Span};

    use super::*;

    #[test]
    fn no_words_make_the_key_of_others() {
        let key = |words: &[&str]| joined("sql-1", words.iter().map(|word| word.as_bytes()));
        assert_eq!(key(&["alice@example.org"]), b"sql-1 alice@example.org");
        assert_ne!(key(&["a b", "c"]), key(&["a", "b c"]));
        assert_ne!(key(&["a\\", "b"]), key(&["a\\ b"]));
    }

    #[test]
    fn the_same_statement_on_another_server_has_answers_of_its_own() {
        let mut sources = SourceMap::default();
        let source = sources.add(Text { origin: Origin::Embedded("test"), text: String::new() });
        let span = Span { source, start: 0, end: 0 };
        let of_port = |port| {
            let connection = ConnectionOptions { port, ..ConnectionOptions::default() };
            let statement = Spanned { value: "SELECT 1".to_owned(), span };
            sql_label(&SqlOptions { connection, statement, cache: None })
        };
        assert_ne!(of_port(Some(3306)), of_port(Some(3307)));
    }

    #[test]
    fn what_a_server_says_of_an_error_is_short_and_in_one_line() {
        let text = format!("a\r\nb {}", "x".repeat(500));
        let told = told(&std::io::Error::other(text));
        assert!(told.starts_with(r"a\r\nb xxx"), "{told}");
        assert_eq!(told.chars().count(), 201);
    }
}
