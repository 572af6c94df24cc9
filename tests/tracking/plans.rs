//! How databases go about what `mppd track search` asks them: over a key, and never by reading a
//! whole table.

use super::rows::Rows;
use super::search::{json_lines, track};
use super::*;

/// Enough for a database to prefer a key.
const ROWS: i64 = 4_000;

const HOUR: i64 = 3_600_000_000;

/// A question, and the keys over which it may be answered: a few rows are counted by another key than
/// the primary one, the newest are read by the primary one, the rest by the other.
const QUESTIONS: [(&str, &[&str]); 12] = [
    ("", &["PRIMARY"]),
    ("--since 2h", &["PRIMARY"]),
    ("--text listed --since 2h", &["PRIMARY"]),
    ("--text listed", &["PRIMARY"]),
    ("--where spf=fail", &["PRIMARY"]),
    ("--instance 1.2.3.0", &["instance"]),
    ("--sender user3@company77.example", &["sender", "PRIMARY", "sender"]),
    ("--sender .company77.example", &["sender", "PRIMARY", "sender"]),
    ("--recipient user3@other.example", &["recipient", "PRIMARY", "recipient"]),
    ("--domain company77.example", &["recipient", "PRIMARY", "sender", "recipient"]),
    ("--client 192.0.16.0/20", &["client_address", "PRIMARY", "client_address"]),
    (
        "--client 2001:db8:1::/49 --decision REJECT",
        &["client_address", "PRIMARY", "client_address"],
    ),
];

async fn fill(store: &mut dyn Store) {
    store.prepare().await.unwrap();
    let end = rows::now();
    let mut rows = Rows::new(ROWS, end - 48 * HOUR, end);
    for _ in 0..ROWS / 1_000 {
        let write = |row: Row| {
            let key = row.key().unwrap();
            Write { key, state: State::Processed, fresh: true, content: Arc::new(row) }
        };
        let writes: Vec<RowWrite> = (0..1_000).map(|_| write(rows.next())).collect();
        store.write(&writes).await.unwrap();
    }
}

/// The plan of each statement that a question becomes.
async fn plans(places: &[Place], question: &str) -> Vec<String> {
    let (out, errors, succeeds) = track(places, &format!("search {question} --plan --json")).await;
    assert!(succeeds, "{errors}");
    let lines = |step: &serde_json::Value| {
        let lines = step["plan"].as_array().unwrap().iter();
        lines.map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    };
    json_lines(&out).iter().map(lines).collect()
}

#[test]
fn mariadb_answers_every_question_over_a_key() {
    block_on(async {
        let server = MariaDb::start().await;
        let mut store = MySqlStore::connect(&server.connection()).await.unwrap();
        fill(&mut store).await;
        server.execute("ANALYZE TABLE track_policy_request").await;
        let directory = TempDir::new().unwrap();
        let places = [(Some(server.connection()), directory.path().to_owned())];
        for (question, keys) in QUESTIONS {
            let plans = plans(&places, question).await;
            assert_eq!(plans.len(), keys.len(), "{question}: {plans:#?}");
            for (plan, key) in plans.iter().zip(keys) {
                // One line for each table: id, select, table, how, possible keys, key …
                let read = plan.lines().rfind(|line| line.contains("track_policy_request"));
                let fields: Vec<&str> = read.unwrap().split("  ").collect();
                // MySQL tells the partitions as well.
                let behind = usize::from(!MariaDb::is_mariadb());
                let (how, used) = (fields[3 + behind], fields[5 + behind]);
                // All of the primary key is walked only until there is enough.
                let is_walk = how == "index" && used == "PRIMARY" && plan.lines().count() == 1;
                assert!(how != "ALL" && (how != "index" || is_walk), "{question}: {plan}");
                assert_eq!(used, *key, "{question}: {plan}");
            }
        }
    });
}

#[test]
fn sqlite_answers_every_question_over_a_key() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("requests.sqlite");
        fill(&mut SqliteStore::open(&path).unwrap()).await;
        let places = [(None, directory.path().to_owned())];
        for (question, keys) in QUESTIONS {
            let plans = plans(&places, question).await;
            assert_eq!(plans.len(), keys.len(), "{question}: {plans:#?}");
            for (plan, key) in plans.iter().zip(keys) {
                let index = match *key {
                    "PRIMARY" => "sqlite_autoindex_track_policy_request_1".to_owned(),
                    key => format!("track_policy_request_{key}"),
                };
                let is_over = |line: &&str| line.contains(&format!("INDEX {index}"));
                assert!(plan.lines().any(|line| is_over(&line)), "{question}: {plan}");
                let is_bare = |line: &str| {
                    line.contains("SCAN track_policy_request") && !line.contains("USING")
                };
                assert!(!plan.lines().any(is_bare), "{question}: {plan}");
            }
        }
    });
}

#[test]
fn what_is_frequent_and_what_is_rare_is_found_alike() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("requests.sqlite");
        let mut store = SqliteStore::open(&path).unwrap();
        fill(&mut store).await;
        let places = [(None, directory.path().to_owned())];
        let all = store.search(&everything()).await.unwrap();
        for (column, option) in
            [("sender_reverse_domain", "--sender"), ("client_address", "--client")]
        {
            for place in [0, 100, 1_000, 3_999] {
                let Cell::Text(value) = all[place].get(column) else { panic!("{column}") };
                let told = value.split('.').rev().collect::<Vec<_>>().join(".");
                let argument = if option == "--sender" { format!("@{told}") } else { value.into() };
                let wanted: Vec<String> = all
                    .iter()
                    .rev()
                    .filter(|row| row.get(column) == Cell::Text(value))
                    .take(20)
                    .map(|row| row.key().unwrap().to_string())
                    .collect();
                let question = format!("search {option} {argument} --limit 20 --json");
                let (out, errors, _) = track(&places, &question).await;
                let found: Vec<String> = json_lines(&out)
                    .iter()
                    .map(|row| row["id"].as_str().unwrap().to_owned())
                    .collect();
                assert_eq!(found, wanted, "{question} {errors}");
            }
        }
    });
}
