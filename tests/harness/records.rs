//! The table `track_policy_request` as the stores hold it, read past mppd.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::captures::Capture;
use super::daemon::{Daemon, Settings};
use super::mariadb::MariaDb;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// One row: octets by column; what is NULL is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    values: BTreeMap<String, Vec<u8>>,
}

impl Row {
    pub(crate) fn new(values: BTreeMap<String, Vec<u8>>) -> Self {
        Row { values }
    }

    /// The octets of a column, empty where it is NULL.
    pub(crate) fn octets(&self, column: &str) -> &[u8] {
        self.values.get(column).map_or(&[], Vec::as_slice)
    }

    /// The text of a column, empty where it is NULL.
    pub(crate) fn text(&self, column: &str) -> String {
        String::from_utf8_lossy(self.octets(column)).into_owned()
    }

    /// The text of a column, or of a part of `checks`: `checks.ID.status`.
    pub(crate) fn part(&self, name: &str) -> String {
        let Some((id, key)) = name.strip_prefix("checks.").and_then(|rest| rest.rsplit_once('.'))
        else {
            return self.text(name);
        };
        let checks: serde_json::Value =
            serde_json::from_slice(self.octets("checks")).unwrap_or_default();
        checks[id][key].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that the row gives back every attribute as it was sent: from its column or, where
    /// one can't, from `raw_request`.
    pub(crate) fn assert_is(&self, capture: &Capture) {
        let name = &capture.name;
        if self.has("raw_request") {
            assert_eq!(self.octets("raw_request"), capture.octets, "{name}");
            return;
        }
        for (attribute, value) in &capture.attributes {
            if attribute == "sender" || attribute == "recipient" {
                self.assert_address(attribute, value, name);
            } else {
                assert_eq!(self.octets(attribute), value, "{name}: {attribute}");
            }
        }
    }

    fn assert_address(&self, attribute: &str, address: &[u8], name: &str) {
        let text = std::str::from_utf8(address).unwrap();
        let (local, domain) = text.rsplit_once('@').unwrap_or((text, ""));
        assert_eq!(self.text(&format!("{attribute}_local")), local, "{name}: {attribute}");
        // An address literal has no labels.
        let labels: Vec<&str> =
            if domain.starts_with('[') { vec![domain] } else { domain.rsplit('.').collect() };
        let reversed = self.text(&format!("{attribute}_reverse_domain"));
        assert_eq!(reversed, labels.join("."), "{name}: {attribute}");
    }

    /// Whether a column has a value.
    pub(crate) fn has(&self, column: &str) -> bool {
        self.values.contains_key(column)
    }
}

/// Where a test has its requests put on record.
pub(crate) enum Store {
    /// The embedded store.
    Sqlite,
    /// A private MariaDB.
    MariaDb(MariaDb),
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Store::Sqlite => "the embedded store",
            Store::MariaDb(_) => "MariaDB",
        })
    }
}

impl Store {
    /// One of each kind.
    pub(crate) fn each() -> [Store; 2] {
        [Store::Sqlite, Store::MariaDb(block_on(MariaDb::start()))]
    }

    /// The settings, with this store for the records.
    pub(crate) fn track(&self, settings: Settings) -> Settings {
        let group = match self {
            Store::Sqlite => String::new(),
            Store::MariaDb(server) => server.element(),
        };
        Settings { tracking: true, group, ..settings }
    }

    /// The rows, in the order received.
    pub(crate) fn rows(&self, daemon: &Daemon) -> Vec<Row> {
        match self {
            Store::Sqlite => sqlite(&daemon.state_directory()),
            Store::MariaDb(server) => block_on(mariadb(server)),
        }
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

async fn mariadb(server: &MariaDb) -> Vec<Row> {
    let query = "SELECT * FROM track_policy_request ORDER BY id";
    let rows: Vec<mysql_async::Row> = server.ask(query).await;
    let values = |row: mysql_async::Row| {
        let columns = row.columns();
        let named = columns.iter().zip(row.unwrap());
        // Over the text protocol every value comes as the octets of its text.
        let present = named.filter_map(|(column, value)| match value {
            mysql_async::Value::Bytes(octets) => Some((column.name_str().into_owned(), octets)),
            _ => None,
        });
        Row::new(present.collect())
    };
    rows.into_iter().map(values).collect()
}

/// The rows of the embedded store below this state directory, in the order received.
pub(crate) fn sqlite(state_directory: &Path) -> Vec<Row> {
    // Reading what a killed process left in the write-ahead log needs permission to write.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = state_directory.join("requests.sqlite");
    let connection = Connection::open_with_flags(path, flags).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let query = "SELECT * FROM track_policy_request ORDER BY id";
    let mut statement = connection.prepare(query).unwrap();
    let names: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
    let rows = statement.query_map([], |row| {
        let mut values = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            if let Some(value) = octets(row.get_ref(index)?) {
                values.insert(name.clone(), value);
            }
        }
        Ok(Row::new(values))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn octets(value: ValueRef<'_>) -> Option<Vec<u8>> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(number) => Some(number.to_string().into_bytes()),
        ValueRef::Text(octets) | ValueRef::Blob(octets) => Some(octets.to_vec()),
    }
}
