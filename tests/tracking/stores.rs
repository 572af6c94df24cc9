//! What every store does, whichever it is.

use mppd_database::Tls;

use super::*;
use crate::harness::mariadb::tls_file;

async fn row_of(transition: Transition, request: Request, action: Option<&str>) -> Row {
    // The tracker makes rows; one that writes into a file of its own serves as their source.
    let directory = TempDir::new().unwrap();
    let tracker = TrackerHandle::start(options(directory.path(), None), logger()).await.unwrap();
    let exchange = exchange(&tracker, request);
    if let Some(action) = action {
        decide(&exchange, action);
    }
    tracker.record(transition, &exchange).await.unwrap();
    tracker.stop().await;
    rows_in_file(&directory.path().join("requests.sqlite")).await.remove(0)
}

fn write(row: &Row, fresh: bool) -> RowWrite {
    let state = if row.is_processed() { State::Processed } else { State::Received };
    Write { key: row.key().unwrap(), state, fresh, content: Arc::new(row.clone()) }
}

/// The same request, received and processed.
async fn life() -> (Row, Row) {
    let processed = row_of(Transition::Processed, numbered(1), Some("REJECT no")).await;
    let mut received = Row::with_capacity(100);
    for (column, cell) in COLUMNS.iter().zip(processed.cells()) {
        match column.name {
            "state" => received.push(Cell::Text("received")),
            _ if column.is_outcome() => received.push(Cell::Null),
            _ => received.push(cell),
        }
    }
    (received, processed)
}

async fn store_suite(store: &mut dyn Store) {
    store.prepare().await.unwrap();
    store.prepare().await.unwrap();
    assert_eq!(store.count().await.unwrap(), 0);
    rows_are_written_once_and_only_forward(store).await;
    rows_come_back_in_the_order_of_keys(store).await;
    undecided_rows_are_closed(store).await;
    the_oldest_rows_are_removed(store).await;
    questions_are_answered(store).await;
}

const FIRST: RequestKey = RequestKey([0; 16]);
const LAST: RequestKey = RequestKey([0xff; 16]);

async fn undecided_rows_are_closed(store: &mut dyn Store) {
    let mut keys = Vec::new();
    for number in 0..5 {
        let (received, processed) = life().await;
        let row = if number % 2 == 0 { received } else { processed };
        store.write(&[write(&row, true)]).await.unwrap();
        keys.push(row.key().unwrap());
    }
    let others = store.undecided("other", FIRST..LAST, 10).await.unwrap();
    assert_eq!(others, Undecided { keys: Vec::new(), last: Some(keys[4]) });
    let some = store.undecided("node-1", FIRST..LAST, 2).await.unwrap();
    assert_eq!(some, Undecided { keys: vec![keys[0]], last: Some(keys[1]) });
    let rest = store.undecided("node-1", keys[1]..keys[4], 10).await.unwrap();
    assert_eq!(rest, Undecided { keys: vec![keys[2]], last: Some(keys[3]) });
    let none = store.undecided("node-1", LAST..LAST, 10).await.unwrap();
    assert_eq!(none, Undecided::default());
    let ending = Ending { at: 1_795_352_400_000_042, error_text: "it's over".to_owned() };
    assert_eq!(store.close(&keys[..3], &ending).await.unwrap(), 2);
    let closed = store.find(keys[0]).await.unwrap().unwrap();
    assert!(closed.is_processed());
    assert_eq!(closed.get("error_text"), Cell::Text("it's over"));
    assert_eq!(closed.get("processed_timestamp"), Cell::Time(ending.at));
    let decided = store.find(keys[1]).await.unwrap().unwrap();
    assert_eq!(decided.get("error_text"), Cell::Null);
    let open = store.undecided("node-1", FIRST..LAST, 10).await.unwrap();
    assert_eq!(open.keys, [keys[4]]);
    store.remove(&keys).await.unwrap();
}

async fn the_oldest_rows_are_removed(store: &mut dyn Store) {
    let mut rows = Vec::new();
    for _ in 0..5 {
        rows.push(life().await.1);
    }
    let writes: Vec<RowWrite> = rows.iter().map(|row| write(row, true)).collect();
    store.write(&writes).await.unwrap();
    let key = |index: usize| rows[index].key().unwrap();
    let removed = store.remove_oldest(FIRST..key(4), 3).await.unwrap();
    assert_eq!(removed, Removed { rows: 3, last: Some(key(2)) });
    let removed = store.remove_oldest(key(2)..key(4), 3).await.unwrap();
    assert_eq!(removed, Removed { rows: 1, last: Some(key(3)) });
    let removed = store.remove_oldest(FIRST..key(4), 3).await.unwrap();
    assert_eq!(removed, Removed::default());
    assert_eq!(store.oldest(None, 10).await.unwrap(), rows[4..]);
    store.remove(&[key(4)]).await.unwrap();
}

async fn rows_are_written_once_and_only_forward(store: &mut dyn Store) {
    let (received, processed) = life().await;
    let key = received.key().unwrap();
    store.write(&[write(&received, true)]).await.unwrap();
    assert_eq!(store.find(key).await.unwrap(), Some(received.clone()));
    let again = store.write(&[write(&processed, true)]).await;
    assert!(matches!(again, Err(StoreError::Duplicate)), "{again:?}");
    store.write(&[write(&processed, false)]).await.unwrap();
    assert_eq!(store.find(key).await.unwrap(), Some(processed.clone()));
    store.write(&[write(&received, false)]).await.unwrap();
    store.write(&[write(&processed, false)]).await.unwrap();
    assert_eq!(store.find(key).await.unwrap(), Some(processed.clone()));
    let (_, other) = life().await;
    let failed = store.write(&[write(&other, true), write(&processed, true)]).await;
    assert!(matches!(failed, Err(StoreError::Duplicate)), "{failed:?}");
    assert_eq!(store.find(other.key().unwrap()).await.unwrap(), None, "all rows or none");
    store.remove(&[key]).await.unwrap();
    assert_eq!(store.count().await.unwrap(), 0);
}

async fn rows_come_back_in_the_order_of_keys(store: &mut dyn Store) {
    let mut rows = Vec::new();
    for _ in 0..7 {
        rows.push(life().await.1);
    }
    let writes: Vec<RowWrite> = rows.iter().rev().map(|row| write(row, true)).collect();
    store.write(&writes).await.unwrap();
    let first = store.oldest(None, 3).await.unwrap();
    assert_eq!(first, rows[..3]);
    let rest = store.oldest(first[2].key(), 100).await.unwrap();
    assert_eq!(rest, rows[3..]);
    assert_eq!(store.search(&everything()).await.unwrap(), rows);
    store.remove(&keys(&rows)).await.unwrap();
}

async fn questions_are_answered(store: &mut dyn Store) {
    let senders = ["a@example.com", "b@mail.example.com", "c@examplexcom", "d@Xample.com", "e"];
    for sender in senders {
        let request = Request::from_attributes([("sender", sender), ("instance", "A%_ ")]).unwrap();
        let row = row_of(Transition::Processed, request, None).await;
        store.write(&[write(&row, true)]).await.unwrap();
    }
    let domain = "sender_reverse_domain";
    let asked = [
        (Condition::Equals(domain, "com.example".into()), "a"),
        (Condition::Begins(domain, "com.example.".into()), "b"),
        (Condition::Begins(domain, "com_".into()), ""),
        (Condition::Begins(domain, "com.".into()), "abd"),
        (Condition::Absent(domain), "e"),
        (Condition::Equals("instance", "A%_ ".into()), "abcde"),
        (Condition::Equals("instance", "A%_".into()), ""),
        (Condition::Equals("instance", "a%_ ".into()), ""),
        (Condition::Begins("instance", "A%_".into()), "abcde"),
        (Condition::Begins("instance", "A%x".into()), ""),
        (Condition::Since(0), "abcde"),
        (Condition::Before(0), ""),
    ];
    for (condition, expected) in asked {
        let query = Query { condition: condition.clone(), limit: 10, newest_first: false };
        let rows = store.search(&query).await.unwrap();
        let locals: Vec<Cell<'_>> = rows.iter().map(|row| row.get("sender_local")).collect();
        let expected: Vec<String> = expected.chars().map(String::from).collect();
        let expected: Vec<Cell<'_>> = expected.iter().map(|local| Cell::Text(local)).collect();
        assert_eq!(locals, expected, "{condition:?}");
    }
    let newest = Query { limit: 1, newest_first: true, ..everything() };
    let rows = store.search(&newest).await.unwrap();
    assert_eq!(rows[0].get("sender_local"), Cell::Text("e"));
}

#[test]
fn the_embedded_store_does_what_a_store_does() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut store = SqliteStore::open(&directory.path().join("x.sqlite")).unwrap();
        store_suite(&mut store).await;
    });
}

#[test]
fn the_store_in_mariadb_does_what_a_store_does() {
    block_on(async {
        let server = MariaDb::start().await;
        let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
        store_suite(&mut store).await;
        let mut store = MySqlStore::connect(&server.connection_by_socket()).await.unwrap();
        assert_eq!(store.count().await.unwrap(), 5);
    });
}

#[test]
fn the_store_in_mariadb_does_not_depend_on_how_the_server_is_configured() {
    block_on(async {
        let server = MariaDb::start().await;
        server
            .execute(
                "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', GLOBAL time_zone = \
                 '-07:30', GLOBAL character_set_server = latin1, GLOBAL autocommit = 0",
            )
            .await;
        server.execute("ALTER DATABASE mppd CHARACTER SET latin1").await;
        let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
        store_suite(&mut store).await;
    });
}

#[test]
fn a_connection_is_encrypted_and_the_server_is_who_it_says() {
    block_on(async {
        let server = MariaDb::start_with_tls().await;
        let with = |tls| ResolvedConnection { tls, ..server.connection() };
        let plain = MySqlStore::connect(&with(None)).await;
        assert!(plain.is_err(), "the server takes a plain connection");
        let ca_file = Some(tls_file("ca.pem"));
        let ours = Tls { ca_file, skip_verification: false };
        let mut store = MySqlStore::connect(&with(Some(ours))).await.unwrap();
        store.prepare().await.unwrap();
        assert_eq!(store.count().await.unwrap(), 0);
        let of_the_web = Tls { ca_file: None, skip_verification: false };
        let stranger = MySqlStore::connect(&with(Some(of_the_web))).await;
        assert!(matches!(stranger, Err(StoreError::Away(_))), "{stranger:?}");
        let any = Tls { ca_file: None, skip_verification: true };
        let mut store = MySqlStore::connect(&with(Some(any))).await.unwrap();
        assert_eq!(store.count().await.unwrap(), 0);
    });
}

#[test]
fn a_server_that_is_not_who_it_should_be_gets_no_rows() {
    block_on(async {
        let server = MariaDb::start_with_tls().await;
        let refusal = async |host: &str, authority: &str| {
            let ca_file = Some(tls_file(authority));
            let tls = Some(Tls { ca_file, skip_verification: false });
            let host = Some(host.to_owned());
            match MySqlStore::connect(&ResolvedConnection { host, tls, ..server.connection() })
                .await
            {
                Ok(_) => None,
                Err(StoreError::Away(error)) => Some(chain_of(&*error)),
                Err(error) => panic!("{error:?}"),
            }
        };
        assert_eq!(refusal("127.0.0.1", "ca.pem").await, None);
        assert_eq!(refusal("localhost", "ca.pem").await, None);
        let stranger = refusal("127.0.0.1", "other-ca.pem").await.unwrap();
        assert!(stranger.contains("UnknownIssuer"), "{stranger}");
        // The same server, by an address that its certificate does not have.
        let renamed = refusal("0.0.0.0", "ca.pem").await.unwrap();
        assert!(renamed.contains("0.0.0.0"), "{renamed}");
    });
}

/// An error and what it came from.
fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
