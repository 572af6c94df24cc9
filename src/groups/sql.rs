//! The method `sql`: a statement that gives the ID of the group.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mppd_database::{
    Answer, AnswerCache, CacheLimits, Pool, PoolLimits, Pools, QueryError, ResolvedConnection,
    Statement, resolve,
};
use mppd_engine::language::Target;
use mppd_engine::slog::{Logger, warn};
use mppd_engine::{BuildContext, Exchange, Finding, Probe, View};

use crate::config::settings::SqlOptions;

/// Answers are kept, so that few questions are under way at once.
const CONNECTIONS: PoolLimits = PoolLimits { min: 0, max: 4, idle_timeout: Duration::from_mins(1) };

/// How long nothing is asked after the database could not be reached.
const REST: Duration = Duration::from_secs(1);

/// What the pool is called among those of engines: no engine can have this ID.
const NAME: &str = "groups/sql";

/// A statement that gives the ID of a request's group.
#[derive(Debug)]
pub(super) struct Lookup {
    statement: Statement,
    pool: Pool,
    cache: AnswerCache,
    timeout: Duration,
    /// Until when the database is left alone.
    resting: Mutex<Option<Instant>>,
    logger: Logger,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Query(#[from] Arc<QueryError>),
}

impl Lookup {
    /// Reads `<sql>`.
    pub(super) fn read(
        options: &SqlOptions,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let connection = resolve(&options.connection, cx).map_err(|faults| findings.extend(faults));
        let statement = Statement::reading(&options.statement, "SELECT the ID of the group", cx)
            .map_err(|faults| findings.extend(faults));
        let unknown = cx.take_references().into_iter().filter_map(|reference| {
            let what = match &reference.target {
                Target::Stages { .. } | Target::Status { .. } | Target::Own { .. } => return None,
                Target::Engine { .. } => "no engine has run",
                Target::Decision | Target::Exception => "nothing is decided",
            };
            let message = format!("{what} when the group of a request is looked for");
            Some(Finding::error(reference.span, message))
        });
        findings.extend(unknown);
        match (connection, statement) {
            (Ok(connection), Ok(statement)) if findings.is_empty() => Ok(Lookup {
                statement,
                pool: Pool::new(connection, CONNECTIONS),
                cache: AnswerCache::new(CacheLimits {
                    found: options.cache.found.0,
                    empty: options.cache.empty.0,
                    octets: options.cache.size.0.octets(),
                }),
                timeout: options.timeout.0.0,
                resting: Mutex::new(None),
                logger: cx.logger().clone(),
            }),
            _ => Err(findings),
        }
    }

    /// The statement, and the server that it is for.
    pub(super) fn question(&self) -> (&Statement, &ResolvedConnection) {
        (&self.statement, self.pool.connection())
    }

    /// Has what is asked counted.
    pub(super) fn count_in(&self, pools: &Pools) {
        self.pool.count_in(pools, NAME);
    }

    /// A probe of the database, and of the statement.
    pub(super) fn probe(&self) -> Probe {
        self.pool.probe(&self.statement)
    }

    /// The ID that the statement gives for a request. A failure is logged and gives none.
    pub(super) async fn ask(&self, exchange: &Exchange) -> Option<String> {
        let parameters = self.statement.parameters(&View::of(exchange));
        if self.is_resting() {
            return self.cache.kept(&parameters).as_deref().and_then(id);
        }
        match self.answer(parameters, exchange).await {
            Ok(answer) => id(&answer),
            Err(error) => {
                warn!(self.logger, "the database can't be asked for the group of a request";
                    "reason" => %error, "id" => %exchange.key());
                self.rest_after(&error);
                None
            }
        }
    }

    /// Says that the statement gave the ID of no group.
    pub(super) fn say_unknown(&self, id: &str, exchange: &Exchange) {
        warn!(self.logger, "the database names a group that is not configured";
            "group" => %mppd_engine::Escaped(id.as_bytes()), "id" => %exchange.key());
    }

    async fn answer(
        &self,
        parameters: Vec<Vec<u8>>,
        exchange: &Exchange,
    ) -> Result<Arc<Answer>, LookupError> {
        let left = exchange.deadline().saturating_duration_since(Instant::now());
        let limit = self.timeout.min(left);
        let asked = self.cache.ask(&self.pool, &self.statement, parameters);
        let answer = tokio::time::timeout(limit, asked).await;
        Ok(answer.map_err(|_| LookupError::Timeout(limit))??)
    }

    fn is_resting(&self) -> bool {
        let resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.is_some_and(|end| Instant::now() < end)
    }

    /// Requests need not wait one after the other for a database that is away. What a peer's values
    /// can bring about, a refusal or a slow answer, is no reason to pass over other requests.
    fn rest_after(&self, error: &LookupError) {
        let LookupError::Query(error) = error else { return };
        match **error {
            QueryError::NoConnection(_) | QueryError::Broken(_) | QueryError::Thread(_) => {
                let end = Instant::now() + REST;
                *self.resting.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
            }
            QueryError::Timeout(_) | QueryError::Refused { .. } | QueryError::TooLarge { .. } => {}
        }
    }
}

/// The group's ID: the first column of the first row. None where it is empty or NULL.
fn id(answer: &Answer) -> Option<String> {
    let id = answer.first().filter(|id| !id.is_empty())?;
    Some(String::from_utf8_lossy(id).into_owned())
}
