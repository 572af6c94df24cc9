//! What people find with `mppd track`.

use super::absence::until;
use super::*;

#[derive(clap::Parser)]
struct Mppd {
    #[command(flatten)]
    track: TrackArguments,
}

/// What `mppd track` prints, what it complains of, and whether it succeeds.
async fn track(places: &[Place], arguments: &str) -> (String, String, bool) {
    let words = std::iter::once("track").chain(arguments.split_whitespace());
    let arguments = <Mppd as clap::Parser>::try_parse_from(words).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, errors: &mut errors, is_terminal: false };
    let code = mppd::cli::track::run(&arguments.track, places, &mut output).await.unwrap();
    let [out, errors] = [out, errors].map(|octets| String::from_utf8(octets).unwrap());
    (out, errors, code == std::process::ExitCode::SUCCESS)
}

fn json_lines(out: &str) -> Vec<serde_json::Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn records_are_found_and_shown() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let tracker = TrackerHandle::start(options(directory.path(), None), logger()).await;
        let tracker = tracker.unwrap();
        let mut found = Vec::new();
        for number in 0..3 {
            found.push(live(&tracker, numbered(number)).await.0);
        }
        let hostile = "\u{1b}[2J\u{202e}@mail.example.org";
        let attributes = [("sender", hostile), ("instance", "i.1"), ("helo_name", "\u{9b}31m")];
        let hostile = live(&tracker, Request::from_attributes(attributes).unwrap()).await.0;
        tracker.stop().await;
        let places = [(None, directory.path().to_owned())];

        let (out, errors, succeeds) =
            track(&places, "search --sender alice@MAIL.example.org --since 1h").await;
        assert!(succeeds && errors.is_empty(), "{errors}");
        let at = |key: &RequestKey| out.find(&key.to_string()).unwrap();
        assert!(at(&found[2]) < at(&found[1]) && at(&found[1]) < at(&found[0]), "{out}");
        assert!(out.contains("alice@mail.example.org") && out.contains("REJECT no"), "{out}");
        assert!(!out.contains(&hostile.to_string()), "{out}");

        let (out, _, _) = track(&places, "search --domain example.org --limit 2 --json").await;
        let rows = json_lines(&out);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["id"], hostile.to_string());
        assert_eq!(rows[1]["id"], found[2].to_string());
        assert_eq!(rows[1]["checks"]["ch_wbl"]["status"], "none");
        assert_eq!(rows[1]["spooled"], false);

        for nothing in ["--decision DUNNO", "--until 1h", "--client 192.0.3.", "--domain ample.org"]
        {
            let (out, errors, _) = track(&places, &format!("search {nothing}")).await;
            assert_eq!((out.as_str(), errors.as_str()), ("", "nothing found\n"), "{nothing}");
        }

        let (out, _, succeeds) = track(&places, "show i.1").await;
        assert!(succeeds && out.contains("helo_name") && out.contains("not listed"), "{out}");
        let (listed, _, _) = track(&places, "search").await;
        let (json, _, _) = track(&places, "search --json").await;
        for shown in [out, listed, json] {
            let is_harmless = |c: char| (!c.is_control() || c == '\n') && c != '\u{202e}';
            assert!(shown.chars().all(is_harmless), "{shown:?}");
        }
        let (out, _, _) = track(&places, &format!("show {} --json", found[0])).await;
        assert_eq!(json_lines(&out)[0]["sender_local"], "alice");
        let (_, errors, succeeds) = track(&places, "show nobody").await;
        assert!(!succeeds && errors.contains("no such request: nobody"), "{errors}");
    });
}

#[test]
fn records_that_wait_in_the_spool_are_found_and_marked() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let mut server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let (there, _) = live(&tracker, numbered(1)).await;
        server.kill();
        let (waits, _) = live(&tracker, numbered(2)).await;
        tracker.stop().await;
        let places = [(Some(server.connection()), directory.path().to_owned())];
        let (out, errors, succeeds) = track(&places, "search --json").await;
        assert!(!succeeds && errors.contains("cannot look into mppd"), "{errors}");
        assert_eq!(json_lines(&out)[0]["id"], waits.to_string());
        server.restart().await;
        let (out, errors, succeeds) = track(&places, "search --domain example.com --json").await;
        assert!(succeeds, "{errors}");
        let rows = json_lines(&out);
        assert_eq!([&rows[0]["id"], &rows[1]["id"]], [&waits.to_string(), &there.to_string()]);
        assert_eq!((&rows[0]["spooled"], &rows[1]["spooled"]), (&true.into(), &false.into()));
        let (out, _, _) = track(&places, &format!("show {waits}")).await;
        assert!(out.contains("waits for its database"), "{out}");
    });
}

async fn until_so_many_are_refused(places: &[Place], count: usize) {
    for _ in 0..1_000 {
        if json_lines(&track(places, "refused --json").await.0).len() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{count} rows are not refused");
}

#[test]
fn refused_rows_are_listed_with_the_reason_and_moved_when_they_are_to_be_tried_again() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let server = MariaDb::start().await;
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let places = [(Some(server.connection()), directory.path().to_owned())];
        let (_, errors, _) = track(&places, "refused").await;
        assert_eq!(errors, "no row was refused\n");
        server.execute("ALTER TABLE track_policy_request MODIFY helo_name VARCHAR(5)").await;
        let helo = |name: &str| Request::from_attributes([("helo_name", name)]).unwrap();
        let (refused, _) = live(&tracker, helo("too long")).await;
        let (other, _) = live(&tracker, helo("also too long")).await;
        live(&tracker, helo("short")).await;

        // One that the database is too slow to refuse at once waits in the spool first.
        until_so_many_are_refused(&places, 2).await;
        let (out, errors, succeeds) = track(&places, "refused").await;
        assert!(succeeds && errors.is_empty(), "{errors}");
        assert!(out.contains(&refused.to_string()) && out.contains("helo_name"), "{out}");
        let (out, _, _) = track(&places, "refused --json").await;
        let rows = json_lines(&out);
        assert_eq!([&rows[0]["id"], &rows[1]["id"]], [&refused.to_string(), &other.to_string()]);
        assert!(rows[0]["reason"].as_str().unwrap().contains("too long for column"), "{out}");

        server.execute("ALTER TABLE track_policy_request MODIFY helo_name TEXT").await;
        let (out, _, succeeds) = track(&places, &format!("retry {refused}")).await;
        assert!(succeeds && out == "1 to be tried again\n", "{out}");
        until("it is not moved", || tracker.status().spooled == 1).await;
        let (out, _, succeeds) = track(&places, &format!("retry {refused}")).await;
        assert!(!succeeds && out == "0 to be tried again\n", "{out}");
        track(&places, "retry").await;
        until("the rest is not moved", || tracker.status().spooled == 0).await;
        tracker.stop().await;
        assert_eq!(rows_in_database(&server).await.len(), 3);
    });
}

#[test]
fn a_search_for_a_domain_reads_no_more_than_its_part_of_the_key() {
    block_on(async {
        let server = MariaDb::start().await;
        let directory = TempDir::new().unwrap();
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        let calls = (0..600).map(|number| {
            let sender = format!("a@mail.n{number}.example.org");
            live(&tracker, Request::from_attributes([("sender", sender)]).unwrap())
        });
        futures_util::future::join_all(calls).await;
        tracker.stop().await;
        server.execute("ANALYZE TABLE track_policy_request").await;
        let plan = "EXPLAIN FORMAT=JSON SELECT * FROM track_policy_request WHERE \
                    (sender_reverse_domain = 'org.example.n7' AND sender_reverse_domain LIKE \
                    'org.example.n7' ESCAPE '!' OR sender_reverse_domain LIKE 'org.example.n7.%' \
                    ESCAPE '!') ORDER BY id DESC LIMIT 50";
        let plan = server.ask::<String>(plan).await.remove(0);
        assert!(plan.contains("\"key\": \"sender\""), "{plan}");
    });
}
