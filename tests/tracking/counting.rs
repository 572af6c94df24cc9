//! What `mppd track stats` and `search --count` count, in both kinds of database.

use std::collections::HashMap;

use super::rows::Rows;
use super::search::{json_lines, track};
use super::*;
use mppd::tracking::row::restore_domain;

const MINUTE: i64 = 60_000_000;

/// The same rows in MariaDB and in SQLite.
struct Both {
    server: MariaDb,
    directories: [TempDir; 2],
    rows: Vec<Row>,
}

impl Both {
    async fn filled() -> Self {
        let (server, directories) =
            (MariaDb::start().await, [(); 2].map(|()| TempDir::new().unwrap()));
        let end = rows::now() - MINUTE;
        let mut made = Rows::new(1_500, end - 120 * MINUTE, end);
        let rows: Vec<Row> = (0..1_500).map(|_| made.next()).collect();
        let path = directories[0].path().join("requests.sqlite");
        let mut stores: [Box<dyn Store>; 2] = [
            Box::new(SqliteStore::open(&path).unwrap()),
            Box::new(MySqlStore::connect(&server.connection()).await.unwrap()),
        ];
        for store in &mut stores {
            store.prepare().await.unwrap();
            for rows in rows.chunks(500) {
                let write = |row: &Row| {
                    let content = Arc::new(row.clone());
                    Write { key: row.key().unwrap(), state: State::Processed, fresh: true, content }
                };
                store.write(&rows.iter().map(write).collect::<Vec<_>>()).await.unwrap();
            }
        }
        Both { server, directories, rows }
    }

    fn places(&self) -> [[Place; 1]; 2] {
        let [sqlite, spool] = &self.directories;
        let database = (Some(self.server.connection()), spool.path().to_owned());
        [[(None, sqlite.path().to_owned())], [database]]
    }

    /// How many rows have which value.
    fn counted(&self, value: impl Fn(&Row) -> String) -> HashMap<String, u64> {
        let mut counts = HashMap::new();
        self.rows.iter().for_each(|row| *counts.entry(value(row)).or_default() += 1);
        counts
    }
}

fn text(row: &Row, column: &str) -> String {
    match row.get(column) {
        Cell::Text(text) => text.to_owned(),
        _ => String::new(),
    }
}

fn told(counts: &serde_json::Value) -> HashMap<String, u64> {
    let pair = |count: &serde_json::Value| {
        (count["value"].as_str().unwrap().to_owned(), count["requests"].as_u64().unwrap())
    };
    counts.as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn requests_are_counted_by_what_they_have() {
    block_on(async {
        let both = Both::filled().await;
        let by_domain = both.counted(|row| restore_domain(&text(row, "sender_reverse_domain")));
        let wanted = [
            ("--by decision", both.counted(|row| text(row, "decision"))),
            ("--by group", both.counted(|row| text(row, "group_id"))),
            ("--by node", both.counted(|row| text(row, "node"))),
            ("--by client", both.counted(|row| text(row, "client_address"))),
            ("--by sender-domain", by_domain),
            ("--status spf", both.counted(|row| text(row, "spf"))),
        ];
        for places in both.places() {
            for (by, wanted) in &wanted {
                let arguments = format!("stats {by} --top 5000 --since 3h --json");
                let (out, errors, succeeds) = track(&places, &arguments).await;
                assert!(succeeds, "{errors}");
                let counts = &json_lines(&out)[0]["counts"];
                assert_eq!(&told(&counts["top"]), wanted, "{by}");
                assert_eq!(counts["total"], 1_500);
            }
        }
    });
}

#[test]
fn the_largest_values_are_told_and_the_rest_is_summed_up() {
    block_on(async {
        let both = Both::filled().await;
        for places in both.places() {
            let (out, _, _) = track(&places, "stats --by network --top 3 --json").await;
            let counts = &json_lines(&out)[0]["counts"];
            let top: u64 = told(&counts["top"]).values().sum();
            assert_eq!(counts["top"].as_array().unwrap().len(), 3);
            assert_eq!(top + counts["others"].as_u64().unwrap(), 1_500);
        }
    });
}

#[test]
fn what_engines_said_is_counted_whether_or_not_they_have_a_column() {
    block_on(async {
        let both = Both::filled().await;
        let spf = both.counted(|row| text(row, "spf"));
        let over = both.counted(|row| text(row, "checks").contains("\"over\"").to_string());
        for places in both.places() {
            let (out, _, _) = track(&places, "stats --by engine --since 3h --json").await;
            let stats = &json_lines(&out)[0]["engines"];
            assert_eq!((&stats["total"], &stats["sample"]), (&1_500.into(), &1_500.into()));
            let engines = stats["engines"].as_array().unwrap();
            let of = |id: &str| engines.iter().find(|engine| engine["id"] == id).unwrap();
            assert_eq!(told(&of("spf")["statuses"]), spf);
            assert_eq!(told(&of("quota")["statuses"])["over"], over["true"]);
            assert_eq!(engines[0]["id"], "ch_wbl");
        }
    });
}

#[test]
fn a_chart_has_every_request_in_its_step_of_time() {
    block_on(async {
        let both = Both::filled().await;
        let mut charts = Vec::new();
        for places in both.places() {
            let (out, _, _) = track(&places, "stats --by hour --since 3h --json").await;
            let series = json_lines(&out)[0]["series"].clone();
            let begin = series["begin"].as_i64().unwrap();
            let steps: Vec<u64> = series["lines"][0]["requests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|step| step.as_u64().unwrap())
                .collect();
            for (place, requests) in (0_i64..).zip(&steps) {
                let from = begin + place * 60 * MINUTE;
                let is_in = |row: &&Row| {
                    let Cell::Time(time) = row.get("received_timestamp") else { return false };
                    (from..from + 60 * MINUTE).contains(&time)
                };
                assert_eq!(both.rows.iter().filter(is_in).count() as u64, *requests);
            }
            assert_eq!(steps.iter().sum::<u64>(), 1_500);
            charts.push(steps);
        }
        assert_eq!(charts[0], charts[1]);
    });
}

#[test]
fn requests_that_are_searched_are_counted_each_once() {
    block_on(async {
        let both = Both::filled().await;
        let rejected = both.counted(|row| text(row, "decision"))["REJECT"];
        let sender = both.counted(|row| text(row, "sender_reverse_domain"))["com.gmail"];
        for places in both.places() {
            for (question, wanted) in [
                ("", 1_500),
                ("--decision REJECT", rejected),
                ("--domain gmail.com", sender),
                // Every recipient is there; no request counts twice.
                ("--domain com", 1_500),
                ("--since 30s", 0),
            ] {
                let (out, _, _) = track(&places, &format!("search {question} --count")).await;
                assert_eq!(out.trim(), wanted.to_string(), "{question}");
            }
        }
    });
}

#[test]
fn people_see_bars_and_columns() {
    block_on(async {
        let both = Both::filled().await;
        for places in both.places() {
            let (out, errors, succeeds) = track(&places, "stats").await;
            assert!(succeeds && errors.is_empty(), "{errors}");
            for part in
                ["1500 requests", "REJECT 5.7.23 SPF says no", "█", "greylist", "half within"]
            {
                assert!(out.contains(part), "{part}: {out}");
            }
            assert!(!out.contains('\u{1b}'), "{out}");
        }
    });
}
