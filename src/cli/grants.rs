//! `mppd schema grants`: what the database users of a configuration must be allowed to do, and
//! nothing beyond it.

use std::fmt::Write as _;

use mppd_database::{ResolvedConnection, Statement};
use mppd_state::StorePlan;

use crate::config::Configuration;
use crate::tracking::table::{SCHEMA_TABLE, TABLE};

/// The table of the state store.
const STATE_STORE: &str = "state_store";

/// What a user may do with a table.
struct Grant<'a> {
    connection: &'a ResolvedConnection,
    privileges: Vec<&'static str>,
    table: &'static str,
}

/// The statements, for whoever may grant. With `create`, users may make and change their tables, as
/// is needed before the tables are there. Users connect from `client`.
///
/// `question` is what a database is asked for the groups of requests, and which one.
pub(super) fn statements(
    configuration: &Configuration,
    question: Option<(&Statement, &ResolvedConnection)>,
    create: bool,
    client: &str,
) -> String {
    let mut text = String::new();
    for grant in grants(configuration, create) {
        let Grant { connection, privileges, table } = grant;
        let (privileges, database) = (privileges.join(", "), &connection.database);
        push(&mut text, &privileges, (database, table), connection, client);
    }
    let Some((statement, connection)) = question else { return text };
    let Some(tables) = statement.tables() else {
        text.push_str(
            "-- and SELECT on what the statement of <sql> in <groups> reads: its words alone do not \
             tell\n",
        );
        return text;
    };
    for table in tables {
        let database = table.database.as_ref().unwrap_or(&connection.database);
        push(&mut text, "SELECT", (database, &table.name), connection, client);
    }
    text
}

fn push(
    text: &mut String,
    privileges: &str,
    (database, table): (&str, &str),
    connection: &ResolvedConnection,
    client: &str,
) {
    // Writing to a String can't fail.
    let _infallible = writeln!(
        text,
        "GRANT {privileges} ON {}.{} TO {}@{};",
        name(database),
        name(table),
        literal(&connection.user),
        literal(client)
    );
}

fn grants(configuration: &Configuration, create: bool) -> Vec<Grant<'_>> {
    let mut grants = Vec::new();
    let retires = configuration.common.tracking.retention.is_some();
    let mut seen: Vec<&ResolvedConnection> = Vec::new();
    for connection in configuration.connections.values() {
        let is_same = |known: &&ResolvedConnection| {
            known.database == connection.database && known.user == connection.user
        };
        if seen.iter().any(is_same) {
            continue;
        }
        seen.push(connection);
        let rows = ["SELECT", "INSERT", "UPDATE"].into_iter().chain(retires.then_some("DELETE"));
        let version = if create { vec!["SELECT", "INSERT", "UPDATE"] } else { vec!["SELECT"] };
        grants.push(Grant { connection, privileges: version, table: SCHEMA_TABLE });
        grants.push(Grant { connection, privileges: rows.collect(), table: TABLE });
    }
    if let StorePlan::MySql(plan) = &configuration.state_store {
        let privileges = vec!["SELECT", "INSERT", "UPDATE", "DELETE"];
        grants.push(Grant { connection: &plan.connection, privileges, table: STATE_STORE });
    }
    if create {
        for grant in &mut grants {
            grant.privileges.push("CREATE");
            if grant.table == TABLE {
                grant.privileges.push("ALTER");
            }
        }
    }
    grants
}

/// A name as SQL writes it.
fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL writes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_end_where_they_should() {
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(literal("o'brien\\"), "'o''brien\\\\'");
    }
}
