//! Whether records can be written to a database: its tables are there, and of a version that is
//! known, and the user may do what is needed. Nothing is written: statements are prepared only, by
//! which the server looks for the columns and the rights.

use mppd_database::ResolvedConnection;
use mppd_database::probe::{Reached, unreached};
use mppd_engine::probe::{Probe, Unreached};
use mysql_async::prelude::Queryable as _;

use super::mysql::{KINDS, NO_SUCH_TABLE, code};
use super::row::PROCESSED;
use super::store::check_version;
use super::table::{Dialect, TABLE, VERSION};

/// A probe of the database that records go to; with `retires`, old ones are removed from it.
#[must_use]
pub fn probe(to: &ResolvedConnection, retires: bool) -> Probe {
    let to = to.clone();
    Probe::new(to.url(), async move {
        let mut reached = to.reach().await?;
        let fit = fit(&mut reached, retires).await;
        let server = reached.end().await;
        Ok(format!("{server}; {}", fit?))
    })
}

async fn fit(reached: &mut Reached, retires: bool) -> Result<String, Unreached> {
    reached.is_writable().await?;
    let version = reached.conn().query_first(Dialect::MySql.read_version()).await;
    let version: i64 = match version {
        Ok(Some(version)) => version,
        Ok(None) => return absent(reached).await,
        Err(error) if code(&error) == Some(NO_SUCH_TABLE) => return absent(reached).await,
        Err(error) => return Err(unreached(&error)),
    };
    check_version(version).map_err(|error| {
        Unreached::new(error.to_string()).with_help("use the newer mppd that has made it")
    })?;
    let present: Result<Vec<String>, _> = reached.conn().query(Dialect::MySql.read_columns()).await;
    let present = present.map_err(|error| unreached(&error))?;
    if present.is_empty() {
        return absent(reached).await;
    }
    if !Dialect::MySql.migrate(&present, version).is_empty() {
        return Ok(format!("mppd brings the table {TABLE} up to date when it starts"));
    }
    can_write(reached, retires).await?;
    Ok(format!("the table {TABLE} of version {VERSION} is there and can be written"))
}

async fn can_write(reached: &mut Reached, retires: bool) -> Result<(), Unreached> {
    let mut statements: Vec<String> =
        KINDS.iter().map(|kind| Dialect::MySql.insert(1, *kind)).collect();
    statements.push(Dialect::MySql.select());
    statements.push(format!("UPDATE {TABLE} SET state = '{PROCESSED}' WHERE id = ?"));
    if retires {
        statements.push(format!("DELETE FROM {TABLE} WHERE id = ?"));
    }
    for sql in statements {
        reached.understands(&sql).await?;
    }
    Ok(())
}

/// Whether mppd can make the tables, which are missing.
async fn absent(reached: &mut Reached) -> Result<String, Unreached> {
    let create = Dialect::MySql.create();
    for sql in create.iter().filter(|sql| sql.starts_with("CREATE")) {
        if let Err(error) = reached.understands(sql).await {
            let unreached =
                Unreached::new(format!("the table {TABLE} is missing and can't be made"));
            return Err(unreached
                .with_source(error)
                .with_help("let a user who may run what `mppd schema mysql` prints"));
        }
    }
    Ok(format!("mppd makes the table {TABLE} when it starts"))
}
