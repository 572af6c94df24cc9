//! Other limits for some keys: a row of a table of SQL.

use std::sync::Arc;

use mppd_database::{Answer, AnswerCache, ConnectionOptions, Pool, Statement, resolve};
use mppd_engine::{BuildContext, Escaped, Failure, Finding, Probe, Spanned, View, options};

use super::limits::{DEFAULT_ID, Limit};
use super::meter::Rule;
use crate::mysql::{CacheOptions, PoolOptions, pool_limits};

options! {
    /// `<exceptions>`
    pub(crate) struct ExceptionsOptions {
        /// The MySQL or MariaDB server.
        connection: ConnectionOptions,
        /// How many connections there are.
        pool: Option<Spanned<PoolOptions>> = None,
        /// One statement of SQL that reads. Every macro is a bound parameter. Columns of its first
        /// row that are named like limits are their `max`: 0 for no limit, NULL for the configured
        /// one. No row means the configured limits.
        statement: Spanned<String>,
        /// How long answers are kept.
        cache: CacheOptions = CacheOptions::default(),
    }
}

/// Where other limits are looked up.
#[derive(Debug, Clone)]
pub(super) struct Exceptions {
    statement: Statement,
    pool: Pool,
    cache: AnswerCache,
}

impl Exceptions {
    pub(super) fn read(
        options: &ExceptionsOptions,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let span = options.statement.span;
        let statement = cx
            .pieces(&options.statement)
            .and_then(|pieces| Statement::compile(pieces, span))
            .map_err(|faults| findings.extend(faults))
            .ok();
        if statement.as_ref().is_some_and(|statement| !statement.reads()) {
            findings.push(Finding::error(span, "the statement must be one that only reads"));
        }
        let limits = pool_limits(options.pool.as_ref(), &mut findings);
        let connection =
            resolve(&options.connection, cx).map_err(|faults| findings.extend(faults)).ok();
        match (statement, limits, connection) {
            (Some(statement), Some(limits), Some(connection)) if findings.is_empty() => {
                let pool = Pool::of_engine(connection, limits, cx);
                let cache = AnswerCache::new(options.cache.limits());
                Ok(Exceptions { statement, pool, cache })
            }
            _ => Err(findings),
        }
    }

    pub(super) fn probe(&self) -> Probe {
        self.pool.probe(&self.statement)
    }

    /// The rules for one request.
    ///
    /// # Errors
    /// The database can't be asked, or answers what is no limit.
    pub(super) async fn apply(
        &self,
        view: &View<'_>,
        limits: &[Limit],
        rules: Arc<[Rule]>,
    ) -> Result<Arc<[Rule]>, Failure> {
        let parameters = self.statement.parameters(view);
        let reply = self.cache.ask(&self.pool, &self.statement, parameters).await;
        let failed = |error| Failure::new("can't ask for exceptions").with_source(error);
        changed(&*reply.map_err(failed)?, limits, rules)
    }
}

/// The rules with what the first row of an answer says.
fn changed(
    answer: &Answer,
    limits: &[Limit],
    mut rules: Arc<[Rule]>,
) -> Result<Arc<[Rule]>, Failure> {
    for (name, value) in &answer.row {
        let named = |limit: &Limit| limit.id.value.eq_ignore_ascii_case(name);
        let Some(index) = limits.iter().position(named) else { continue };
        let max = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let Some(max) = max else {
            let message =
                format!("the exception {name} is \"{}\", which is no limit", Escaped(value));
            return Err(Failure::new(message));
        };
        if let Some(rule) = Arc::make_mut(&mut rules).get_mut(index) {
            *rule = rule.with_max(max);
        }
    }
    Ok(rules)
}

/// What is wrong with the names of limits that exceptions tell apart.
pub(super) fn check_names(limits: &[Limit]) -> Vec<Finding> {
    let again = |(index, limit): (usize, &Limit)| {
        let same = |other: &&Limit| other.id.value.eq_ignore_ascii_case(&limit.id.value);
        let first = limits[..index].iter().find(same)?;
        let message = format!("exceptions can't tell two limits \"{}\" apart", limit.id.value);
        let finding = Finding::error(limit.id.span, message);
        let finding = finding.with_related(first.id.span, "the first");
        Some(finding.with_help(format!("give each an `id`; without, it is \"{DEFAULT_ID}\"")))
    };
    limits.iter().enumerate().filter_map(again).collect()
}
