//! Whether the server can be reached that the state store is on, and lets its user do what is
//! needed. Nothing is written.

use mppd_database::probe::Reached;
use mppd_engine::probe::{Probe, Unreached};
use mysql_async::prelude::Queryable as _;

use crate::mysql::{EXISTS, INSERT, MySqlPlan, NO_SUCH_TABLE, REMOVE, SCHEMA, UPDATE, code};
use crate::options::StorePlan;

impl StorePlan {
    /// A probe of the server; none of the embedded store.
    #[must_use]
    pub fn probe(&self) -> Option<Probe> {
        match self {
            StorePlan::Embedded { .. } => None,
            StorePlan::MySql(plan) => Some(mysql(plan.clone())),
            StorePlan::Redis(plan) => Some(plan.probe()),
        }
    }
}

fn mysql(plan: MySqlPlan) -> Probe {
    Probe::new(plan.connection.url(), async move {
        let mut reached = plan.connection.reach().await?;
        let fit = fit(&mut reached).await;
        let server = reached.end().await;
        Ok(format!("{server}; {}", fit?))
    })
}

async fn fit(reached: &mut Reached) -> Result<&'static str, Unreached> {
    reached.is_writable().await?;
    match reached.conn().query_drop(EXISTS).await {
        Ok(()) => {}
        Err(error) if code(&error) == Some(NO_SUCH_TABLE) => {
            return match reached.understands(SCHEMA).await {
                Ok(()) => Ok("mppd makes the table state_store when it starts"),
                Err(error) => Err(missing(error)),
            };
        }
        Err(error) => return Err(mppd_database::probe::unreached(&error)),
    }
    for sql in [INSERT, UPDATE, REMOVE] {
        reached.understands(sql).await?;
    }
    Ok("the table state_store is there and can be written")
}

fn missing(error: Unreached) -> Unreached {
    let unreached = Unreached::new("the table state_store is missing and can't be made");
    unreached
        .with_source(error)
        .with_help("let a user who may run what `mppd schema state_store` prints")
}
