//! One method: a statement, and what its answer means.

use std::rc::Rc;
use std::sync::Arc;

use mppd_database::{Answer, AnswerCache, Pool, Statement};
use mppd_engine::engine::Run;
use mppd_engine::{Exchange, Failure, NamedValue, Outcome, Probe, Prototype, Reach, Running, View};

/// A statement with the connections that it is asked over. The copies share everything.
#[derive(Debug, Clone)]
pub(super) struct Query {
    statement: Statement,
    pool: Pool,
    cache: Option<AnswerCache>,
}

impl Query {
    pub(super) fn new(statement: Statement, pool: Pool, cache: Option<AnswerCache>) -> Self {
        Query { statement, pool, cache }
    }

    /// Whom it asks: one that does more than to read may change what it finds.
    pub(super) fn reach(&self) -> Reach {
        if self.statement.reads() { Reach::Services } else { Reach::Changes }
    }

    async fn ask(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let parameters = self.statement.parameters(&View::of(exchange));
        let reply = match &self.cache {
            Some(cache) => cache.ask(&self.pool, &self.statement, parameters).await,
            None => self.pool.ask(&self.statement, parameters).await,
        };
        let failed = |error| Failure::new("can't ask the database").with_source(error);
        Ok(outcome(&*reply.map_err(failed)?))
    }
}

impl Prototype for Query {
    fn copy(&self) -> Rc<dyn Running> {
        Rc::new(self.clone())
    }
}

impl Running for Query {
    fn run(self: Rc<Self>, exchange: Arc<Exchange>) -> Run {
        Box::pin(async move { self.ask(&exchange).await })
    }

    fn probes(&self) -> Vec<Probe> {
        vec![self.pool.probe(&self.statement)]
    }
}

fn outcome(answer: &Answer) -> Outcome {
    let (status, text) = match (answer.has_rows, answer.rows) {
        (false, _) => ("done", counted(answer.affected, "changed")),
        (true, 0) => ("empty", String::new()),
        (true, rows) => ("found", counted(rows, "found")),
    };
    // Those that every answer has come first, so that no column can be taken for them.
    let mut outcome = Outcome::new(status)
        .with_text(text)
        .with_value("rows", answer.rows.to_string())
        .with_value("affected", answer.affected.to_string())
        .with_value("insert_id", answer.insert_id.to_string());
    let columns = answer
        .row
        .iter()
        .map(|(name, value)| NamedValue { name: name.to_string().into(), value: value.clone() });
    outcome.values.extend(columns);
    outcome
}

fn counted(rows: u64, what: &str) -> String {
    let noun = if rows == 1 { "row" } else { "rows" };
    format!("{rows} {noun} {what}")
}
