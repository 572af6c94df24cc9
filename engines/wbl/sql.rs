//! `<sql>`: a statement that finds what is on a list.

use std::sync::Arc;
use std::time::Duration;

use mppd_database::{
    Answer, AnswerCache, CacheLimits, ConnectionOptions, Pool, PoolLimits, QueryError, Statement,
    resolve,
};
use mppd_engine::config::{FileSize, Period, Positive};
use mppd_engine::{BuildContext, Exchange, Finding, Probe, Spanned, View, options};

options! {
    /// `<sql>`
    pub(crate) struct SqlOptions {
        /// The server.
        connection: ConnectionOptions,
        /// One statement of SQL that reads. A row says that the request is on the list; its first
        /// column is the value `entry`. Every macro is a bound parameter.
        statement: Spanned<String>,
        /// How long the answer may take; an exception after that.
        timeout: Positive<Period> = Positive(Period::seconds(2)),
        /// Answers are kept for each combination of parameters.
        cache: SqlCacheOptions = SqlCacheOptions::default(),
    }
}

options! {
    /// `<cache>`: however many ask the same at once, the database is asked once. Failures are not
    /// kept.
    pub(crate) struct SqlCacheOptions: Default {
        /// How long an answer with a row is kept.
        found: Period = Period::seconds(60),
        /// How long an answer without a row is kept.
        empty: Period = Period::seconds(60),
        /// Octets of all answers that are kept, with their parameters.
        size: Positive<FileSize> = Positive(FileSize::kib(4 << 10)),
    }
}

/// Answers are kept, so that few questions are under way at once.
const CONNECTIONS: PoolLimits = PoolLimits { min: 0, max: 4, idle_timeout: Duration::from_mins(1) };

/// A statement, with where to ask it.
#[derive(Debug)]
pub(super) struct Lookup {
    statement: Statement,
    pool: Pool,
    cache: AnswerCache,
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Query(#[from] Arc<QueryError>),
}

impl Lookup {
    pub(super) fn read(
        options: &SqlOptions,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let connection = resolve(&options.connection, cx).map_err(|faults| findings.extend(faults));
        let statement = Statement::reading(&options.statement, "SELECT what is on the list", cx)
            .map_err(|faults| findings.extend(faults));
        match (connection, statement) {
            (Ok(connection), Ok(statement)) if findings.is_empty() => Ok(Lookup {
                statement,
                pool: Pool::of_engine(connection, CONNECTIONS, cx),
                cache: AnswerCache::new(CacheLimits {
                    found: options.cache.found.0,
                    empty: options.cache.empty.0,
                    octets: options.cache.size.0.octets(),
                }),
                timeout: options.timeout.0.0,
            }),
            _ => Err(findings),
        }
    }

    pub(super) fn probe(&self) -> Probe {
        self.pool.probe(&self.statement)
    }

    /// The entry that the statement finds for a request.
    pub(super) async fn ask(&self, exchange: &Exchange) -> Result<Option<Vec<u8>>, LookupError> {
        let parameters = self.statement.parameters(&View::of(exchange));
        if let Some(answer) = self.cache.kept(&parameters) {
            return Ok(entry(&answer));
        }
        let asked = self.cache.ask(&self.pool, &self.statement, parameters);
        let answer = tokio::time::timeout(self.timeout, asked).await;
        Ok(entry(&*answer.map_err(|_| LookupError::Timeout(self.timeout))??))
    }
}

/// The first column of the first row; empty where it is NULL.
fn entry(answer: &Answer) -> Option<Vec<u8>> {
    (answer.rows > 0).then(|| answer.first().unwrap_or_default().to_vec())
}
