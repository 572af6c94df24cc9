//! The engine `mysql` and what it is made of, against a real MariaDB.

mod cache;
mod engine;
mod pool;

use std::time::Duration;

use mppd_database::{Answer, Pool, PoolLimits, QueryError, Reply, ResolvedConnection, Statement};
use mppd_engine::View;
use mppd_engine::config::{Origin, Source, SourceMap, Span, Spanned};
use mppd_engine::language::{Scope, Template};
use mppd_engine::testkit::exchange;

use crate::harness::mariadb::MariaDb;

/// Runs a test on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A statement as the configuration writes it.
pub(crate) fn statement(text: &str) -> Statement {
    let mut sources = SourceMap::default();
    let origin = Origin::Embedded("test");
    let source = sources.add(Source { origin, text: text.to_owned() });
    let span = Span { source, start: 0, end: text.len() };
    let pieces = Template::pieces(&Spanned { value: text, span }, &mut Scope::default()).unwrap();
    Statement::compile(pieces, span).unwrap()
}

/// Its parameters for a request from this sender.
pub(crate) fn parameters(statement: &Statement, sender: impl AsRef<[u8]>) -> Vec<Vec<u8>> {
    statement.parameters(&View::of(&exchange([("sender", sender)])))
}

/// Asks a statement for a request from this sender.
pub(crate) async fn ask(pool: &Pool, text: &str, sender: impl AsRef<[u8]>) -> Reply {
    let statement = statement(text);
    let parameters = parameters(&statement, sender);
    pool.ask(&statement, parameters).await
}

/// A pool of at most so many connections.
pub(crate) fn pool_of(max: usize, connection: ResolvedConnection) -> Pool {
    Pool::new(connection, PoolLimits { min: 0, max, idle_timeout: Duration::from_mins(1) })
}

/// The first row, as text.
fn row(answer: &Answer) -> Vec<(&str, String)> {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    answer.row.iter().map(|(name, value)| (&**name, text(value))).collect()
}

/// The only value of the first row.
fn value(reply: &Reply) -> String {
    match row(reply.as_ref().unwrap()).as_slice() {
        [(_, value)] => value.clone(),
        row => panic!("not one value: {row:?}"),
    }
}

fn code(reply: &Reply) -> Option<u16> {
    match reply.as_ref().map_err(AsRef::as_ref) {
        Err(QueryError::Refused { code, .. }) => Some(*code),
        _ => None,
    }
}

/// A function that notes each of its calls, and takes its time.
async fn counting_function(server: &MariaDb) {
    server.execute("CREATE TABLE calls (value VARBINARY(1000))").await;
    server
        .execute(
            "CREATE FUNCTION counted(value VARBINARY(1000)) RETURNS VARBINARY(1000)
             MODIFIES SQL DATA
             BEGIN
               INSERT INTO calls VALUES (value);
               IF value = 'fail' THEN
                 SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no\nway';
               END IF;
               DO SLEEP(0.3);
               RETURN value;
             END",
        )
        .await;
}

async fn calls(server: &MariaDb) -> u64 {
    server.ask::<u64>("SELECT count(*) FROM calls").await[0]
}
