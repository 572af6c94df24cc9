//! `<mysql>`: asks MySQL or MariaDB, one method for each statement.
//!
//! ```xml
//! <mysql id="lists">
//!   <connection>
//!     <host>127.0.0.1</host> <user>mppd</user> <password file="secrets/db"/>
//!     <database>lists</database>
//!   </connection>
//!   <query id="blocked">
//!     <statement>SELECT reason FROM blocked WHERE client = $ip</statement>
//!     <cache found="5m" empty="1m"/>
//!     <on_found>REJECT ${field reason}</on_found>
//!   </query>
//! </mysql>
//! ```
//!
//! A chain names the method: `lists.blocked`. In a statement every macro is a bound parameter, also
//! where it stands in a literal (`'%@$sender.domain'`, `'${escape $recipient}'`): there is no way to
//! paste a value into SQL. The columns of the first row become values by their names, `rows`,
//! `affected` and `insert_id` as well. A column that is NULL gives no value, so it is empty.
//!
//! The statement runs with the server's own `sql_mode`, to which `STRICT_ALL_TABLES` is added: what
//! a column can't hold is refused, never cut. Values are bound octet for octet; to text columns they
//! are UTF-8. Octets that are not UTF-8 equal nothing in a `utf8mb4` column and are refused when
//! they would be stored there; a binary column takes and finds any. Columns in other character sets
//! make the server refuse what they can't hold, so `utf8mb4` or binary columns are better.
//!
//! A statement is a transaction of its own. Of several result sets (`CALL`) the first one counts,
//! and the others are passed over. A statement that only reads is asked again over a new
//! connection, once, if its connection turns out to be broken; one that changes something never
//! is. What is asked when nobody waits for it any more runs to its end, or to `write_timeout`.
//!
//! `docs/engines/mysql.md` tells it at length.

mod query;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use mppd_database::{
    AnswerCache, CacheLimits, ConnectionOptions, Pool, PoolLimits, Statement, resolve,
};
use mppd_engine::config::{FileSize, Period, Positive, is_common_option, salvage};
use mppd_engine::language::Reference;
use mppd_engine::{
    BuildContext, Built, Element, EngineKind, Finding, MethodDoc, OptionDoc, Options as _, Span,
    Spanned, StatusDoc, ValueDoc, options,
};

use self::query::Query;

/// The element of one method.
const QUERY: &str = "query";

options! {
    /// `<mysql>`, without its queries.
    pub(crate) struct MysqlOptions {
        /// The server.
        connection: ConnectionOptions,
        /// How many connections there are.
        pool: Option<Spanned<PoolOptions>> = None,
    }
}

options! {
    /// `<pool>`
    pub(crate) struct PoolOptions: Default {
        /// Connections that stay open however long they rest. None is made before it is needed.
        min: u16 = 0,
        /// Most connections at once, for all workers together; who needs one more waits.
        max: Positive<u16> = Positive(10),
        /// How long a connection may rest before it is closed.
        idle_timeout: Period = Period::seconds(60),
    }
}

options! {
    /// `<query>`
    pub(crate) struct QueryOptions {
        /// The method's name: letters, digits and `_`.
        id: Spanned<String>,
        /// One statement of SQL. Every macro is a bound parameter.
        statement: Spanned<String>,
        /// Keeps answers. Only for statements that read.
        cache: Option<Spanned<CacheOptions>> = None,
    }
}

options! {
    /// `<cache>`: answers are kept for each combination of parameters. However many ask the same
    /// at once, the database is asked once. Failures are not kept.
    pub(crate) struct CacheOptions: Default {
        /// How long an answer with rows is kept.
        found: Period = Period::seconds(60),
        /// How long an answer without rows is kept.
        empty: Period = Period::seconds(60),
        /// Octets of all answers that are kept, with their parameters.
        size: Positive<FileSize> = Positive(FileSize::kib(16 << 10)),
    }
}

/// The kind: an element with a method for each of its queries.
#[derive(Debug)]
pub(crate) struct Mysql;

impl EngineKind for Mysql {
    fn name(&self) -> &'static str {
        "mysql"
    }

    fn summary(&self) -> &'static str {
        "asks MySQL or MariaDB"
    }

    fn options(&self) -> Vec<OptionDoc> {
        let mut docs = MysqlOptions::docs();
        docs.push(OptionDoc {
            name: QUERY,
            value: "an element",
            default: None,
            meaning: " A statement, and what its answer does: a method. May stand several times. \
                      The options of every engine can stand here as well, for this method.",
            nested: QueryOptions::docs(),
        });
        docs
    }

    fn statuses(&self) -> &'static [StatusDoc] {
        const {
            &[
                StatusDoc::new("found", "The answer has rows.", "continue"),
                StatusDoc::new("empty", "The answer has no row.", "continue"),
                StatusDoc::new(
                    "done",
                    "The statement was carried out, and is none that gives rows.",
                    "continue",
                ),
            ]
        }
    }

    fn values(&self) -> &'static [ValueDoc] {
        &[
            ValueDoc { name: "rows", meaning: "How many rows the answer has." },
            ValueDoc {
                name: "affected",
                meaning: "How many rows the statement changed, as MySQL counts them: an `INSERT … \
                          ON DUPLICATE KEY UPDATE` that updates counts 2.",
            },
            ValueDoc {
                name: "insert_id",
                meaning: "What the statement gave to `LAST_INSERT_ID(…)`, or the number that \
                          `AUTO_INCREMENT` gave; 0 for nothing.",
            },
        ]
    }

    fn methods(&self) -> &'static [MethodDoc] {
        &[MethodDoc {
            name: QUERY,
            meaning: "Asks the statement of the `<query>` of this ID. The columns of the first \
                      row are values by their names: `$engines.ID.METHOD.COLUMN` and, in texts of \
                      the query itself, `${field COLUMN}`.",
        }]
    }

    fn build(
        &self,
        element: &Element,
        cx: &mut BuildContext<'_>,
    ) -> Result<Vec<Built>, Vec<Finding>> {
        let is_read_elsewhere = |name: &str| name == QUERY || is_common_option(name);
        let (options, mut findings) = salvage::<MysqlOptions>(element, is_read_elsewhere);
        let pool = options.and_then(|options| pool(&options, cx, &mut findings));
        let mut queries = Vec::new();
        let mut names = HashMap::new();
        for element in element.children_named(QUERY) {
            findings.extend(name_again(element, &mut names));
            match Declared::read(element, cx) {
                Ok(query) => queries.push(query),
                Err(faults) => findings.extend(faults),
            }
        }
        if element.child(QUERY).is_none() {
            let message = format!("\"{QUERY}\" is missing in <{}>", self.name());
            findings.push(Finding::error(element.name_span, message));
        }
        match pool {
            Some(pool) if findings.is_empty() => {
                Ok(queries.into_iter().map(|query| query.built(&pool)).collect())
            }
            _ => {
                let placed = findings.into_iter().map(|finding| finding.or_at(element.name_span));
                Err(placed.collect())
            }
        }
    }
}

fn pool(
    options: &MysqlOptions,
    cx: &mut BuildContext<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Pool> {
    let limits = pool_limits(options.pool.as_ref(), findings);
    let connection =
        resolve(&options.connection, cx).map_err(|faults| findings.extend(faults)).ok()?;
    Some(Pool::of_engine(connection, limits?, cx))
}

/// How many connections there are; `None` after a fault.
pub(crate) fn pool_limits(
    options: Option<&Spanned<PoolOptions>>,
    findings: &mut Vec<Finding>,
) -> Option<PoolLimits> {
    match options {
        Some(Spanned { value, span }) if value.min > value.max.0 => {
            findings.push(Finding::error(*span, "\"min\" is more than \"max\""));
            None
        }
        options => Some(limits(&options.map(|options| options.value.clone()).unwrap_or_default())),
    }
}

fn limits(options: &PoolOptions) -> PoolLimits {
    PoolLimits {
        min: usize::from(options.min),
        max: usize::from(options.max.0),
        idle_timeout: options.idle_timeout.0,
    }
}

/// A query as the configuration declares it.
struct Declared {
    id: Spanned<String>,
    statement: Statement,
    cache: Option<AnswerCache>,
    references: Vec<Reference>,
    element: Element,
}

impl Declared {
    fn read(element: &Element, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let is_read_elsewhere = |name: &str| name != "id" && is_common_option(name);
        let (options, mut findings) = salvage::<QueryOptions>(element, is_read_elsewhere);
        let Some(options) = options else { return Err(findings) };
        findings.extend(check_id(&options.id));
        let span = options.statement.span;
        let statement = cx
            .pieces(&options.statement)
            .and_then(|pieces| Statement::compile(pieces, span))
            .map_err(|faults| findings.extend(faults));
        let references = cx.take_references();
        let Ok(statement) = statement else { return Err(findings) };
        if let Some(cache) = options.cache.as_ref().filter(|_| !statement.reads()) {
            let message = "only what a statement reads can be kept";
            findings.push(Finding::error(cache.span, message));
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let cache = options.cache.map(|cache| AnswerCache::new(cache.value.limits()));
        Ok(Declared { id: options.id, statement, cache, references, element: element.clone() })
    }

    fn built(self, pool: &Pool) -> Built {
        let query = Query::new(self.statement, pool.clone(), self.cache);
        let reach = query.reach();
        Built::new(Some(self.id.value), Arc::new(query))
            .with_reach(reach)
            .with_open_values()
            .with_references(self.references)
            .with_element(self.element)
    }
}

/// Whether another query has the same name.
fn name_again<'a>(element: &'a Element, names: &mut HashMap<&'a str, Span>) -> Option<Finding> {
    let (name, span) = match (element.attribute("id"), element.child("id")) {
        (Some(id), _) => (id.value.trim(), id.value_span),
        (None, Some(id)) => (id.trimmed_text(), id.text_span),
        (None, None) => return None,
    };
    let first = names.insert(name, span)?;
    let finding = Finding::error(span, format!("query \"{name}\" is defined twice"));
    Some(finding.with_related(first, "first here"))
}

fn check_id(id: &Spanned<String>) -> Option<Finding> {
    let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'_';
    if !id.value.is_empty() && id.value.bytes().all(is_letter) {
        return None;
    }
    let finding = Finding::error(id.span, format!("\"{}\" is not a name", id.value));
    Some(finding.with_help("letters, digits and \"_\" make a name"))
}

impl CacheOptions {
    pub(crate) fn limits(&self) -> CacheLimits {
        CacheLimits { found: self.found.0, empty: self.empty.0, octets: self.size.0.octets() }
    }
}
