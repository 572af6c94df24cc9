//! What people find with `mppd track`.

use super::absence::until;
use super::*;

#[derive(clap::Parser)]
struct Mppd {
    #[command(flatten)]
    track: TrackArguments,
}

/// What `mppd track` prints, what it complains of, and whether it succeeds.
pub(super) async fn track(places: &[Place], arguments: &str) -> (String, String, bool) {
    let words = std::iter::once("track").chain(arguments.split_whitespace());
    let arguments = <Mppd as clap::Parser>::try_parse_from(words).unwrap();
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, errors: &mut errors, is_terminal: false };
    let code = mppd::cli::track::run(&arguments.track, places, &mut output).await.unwrap();
    let [out, errors] = [out, errors].map(|octets| String::from_utf8(octets).unwrap());
    (out, errors, code == std::process::ExitCode::SUCCESS)
}

pub(super) fn json_lines(out: &str) -> Vec<serde_json::Value> {
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
            assert!(out.is_empty() && errors.starts_with("nothing found\n"), "{nothing}: {errors}");
        }

        let (out, _, succeeds) = track(&places, "show i.1 --all").await;
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

/// A request that has a bit of everything.
fn special() -> Request {
    Request::from_attributes([
        ("protocol_state", "RCPT"),
        ("client_address", "2001:db8:0:1::7"),
        ("client_name", "mail.example.net"),
        ("helo_name", "DYN-7.example.net"),
        ("sender", "carol@example.net"),
        ("recipient", "dave@sub.example.com"),
        ("size", "70000"),
        ("instance", "i.2"),
    ])
    .unwrap()
}

#[test]
fn requests_are_found_by_whatever_a_column_holds() {
    block_on(async {
        let server = MariaDb::start().await;
        let directories = [(); 2].map(|()| TempDir::new().unwrap());
        let places: [[Place; 1]; 2] = [
            [(None, directories[0].path().to_owned())],
            [(Some(server.connection()), directories[1].path().to_owned())],
        ];
        for [place] in places {
            let options = options(&place.1, place.0.clone());
            let tracker = TrackerHandle::start(options, logger()).await.unwrap();
            let (plain, _) = live(&tracker, numbered(1)).await;
            let (special, _) = live(&tracker, special()).await;
            tracker.stop().await;
            let (both, special_only, plain_only) = (
                vec![special.to_string(), plain.to_string()],
                vec![special.to_string()],
                vec![plain.to_string()],
            );
            for (question, wanted) in [
                ("", &both),
                ("--where instance=i.2", &special_only),
                ("--where instance!=i.2", &plain_only),
                ("--where helo_name~dyn", &special_only),
                ("--where helo_name=DYN*", &special_only),
                ("--where helo_name=*", &special_only),
                ("--where helo_name=", &plain_only),
                ("--where error_text=", &both),
                ("--where size>69999", &special_only),
                ("--where size<=69999", &vec![]),
                ("--where ch_wbl=none --where decision=REJECT", &both),
                ("--where checks.ch_wbl=none", &both),
                ("--where checks.wbl=*", &vec![]),
                ("--where received_timestamp>=1h", &both),
                ("--where client_address=2001:db8::/62", &special_only),
                ("--where sender=.example.net", &special_only),
                ("--recipient .example.com", &both),
                ("--recipient example.com", &plain_only),
                ("--client 192.0.2.0/30", &plain_only),
                ("--client 192.0.2.2/31", &vec![]),
                ("--client 2001:db8:0:1::/64", &special_only),
                ("--client 2001:db8:0:2::/63", &vec![]),
                ("--client ::/0", &special_only),
                ("--client 0.0.0.0/0", &plain_only),
                ("--text NO", &both),
                ("--text %", &vec![]),
                (&format!("--where id={special}"), &special_only),
                (&format!("--before {special}"), &plain_only),
                (&format!("--before {plain}"), &vec![]),
            ] {
                let search = format!("search {question} --json");
                let (out, errors, succeeds) = track(std::slice::from_ref(&place), &search).await;
                assert!(succeeds, "{question}: {errors}");
                let found: Vec<String> = json_lines(&out)
                    .iter()
                    .map(|row| row["id"].as_str().unwrap().to_owned())
                    .collect();
                assert_eq!(&found, wanted, "{question}");
            }
        }
    });
}

#[test]
fn the_story_of_a_message_has_its_requests_in_order() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let tracker = TrackerHandle::start(options(directory.path(), None), logger()).await;
        let tracker = tracker.unwrap();
        let stage = |stage: &str| {
            let attributes = [
                ("protocol_state", stage),
                ("client_address", "192.0.2.1"),
                ("client_name", "mail.example.org"),
                ("helo_name", "mail.example.org"),
                ("sender", "alice@example.org"),
                ("recipient", "bob@example.com"),
                ("instance", "i.3"),
            ];
            Request::from_attributes(attributes).unwrap()
        };
        let (first, _) = live(&tracker, stage("RCPT")).await;
        let (second, _) = live(&tracker, stage("END-OF-MESSAGE")).await;
        live(&tracker, numbered(1)).await;
        tracker.stop().await;
        let places = [(None, directory.path().to_owned())];
        let (out, errors, succeeds) = track(&places, "show i.3").await;
        assert!(succeeds && errors.is_empty(), "{errors}");
        for part in [
            "message i.3: 2 requests of mail.example.org [192.0.2.1], helo mail.example.org",
            "RCPT  from alice@example.org to bob@example.com",
            "ch_wbl  none      0.005 ms  not listed",
            "→ REJECT no  (after ",
        ] {
            assert!(out.contains(part), "{part}: {out}");
        }
        let at = |key: &RequestKey| out.find(&key.to_string()).unwrap();
        assert!(at(&first) < at(&second), "{out}");
        assert!(!out.contains("sender_reverse_domain"), "{out}");
        let (out, _, _) = track(&places, "show i.3 --all").await;
        assert!(out.contains("sender_reverse_domain"), "{out}");
        let (out, _, _) = track(&places, "show i.3 --json").await;
        assert_eq!(json_lines(&out).len(), 2);
        let (out, _, _) = track(&places, &format!("show {second}")).await;
        assert!(out.contains("1 request of") && out.contains("END-OF-MESSAGE"), "{out}");
    });
}

#[test]
fn reading_takes_no_more_than_the_right_to_select() {
    block_on(async {
        let server = MariaDb::start().await;
        let directory = TempDir::new().unwrap();
        let options = options(directory.path(), Some(server.connection()));
        let tracker = TrackerHandle::start(options, logger()).await.unwrap();
        live(&tracker, numbered(1)).await;
        tracker.stop().await;
        server
            .execute(
                "CREATE USER reader@'%' IDENTIFIED BY 'only'; \
                 GRANT SELECT ON mppd.track_policy_request TO reader@'%'",
            )
            .await;
        let reader = ResolvedConnection {
            user: "reader".to_owned(),
            password: Some("only".to_owned().into()),
            ..server.connection()
        };
        let places = [(Some(reader), directory.path().to_owned())];
        for question in ["search", "search --count", "show 4491.6b02ccc2.1.0", "stats"] {
            let (out, errors, succeeds) = track(&places, question).await;
            assert!(succeeds && errors.lines().all(|line| line.starts_with("only ")), "{errors}");
            assert!(!out.is_empty(), "{question}");
        }
    });
}

#[test]
fn a_question_that_no_key_answers_says_how_far_back_it_looked() {
    block_on(async {
        let directory = TempDir::new().unwrap();
        let tracker = TrackerHandle::start(options(directory.path(), None), logger()).await;
        let tracker = tracker.unwrap();
        live(&tracker, numbered(1)).await;
        tracker.stop().await;
        let places = [(None, directory.path().to_owned())];
        let (_, errors, _) = track(&places, "search --text no").await;
        assert!(errors.starts_with("only requests since ") && errors.contains("--since"));
        for question in ["search --text no --since 9d", "search --sender example.org", "search"] {
            let (_, errors, _) = track(&places, question).await;
            assert!(!errors.contains("only requests"), "{question}: {errors}");
        }
    });
}
