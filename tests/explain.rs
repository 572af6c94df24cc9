//! `mppd explain`: why a request is decided as it is, beside a server that runs or without one.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::records::{Store, sqlite};
use crate::harness::redis::Redis;
use crate::harness::web::WebService;

/// A configuration in a directory of its own.
fn configuration(settings: &Settings) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    std::fs::write(&file, settings.xml(&directory.path().join("state"))).unwrap();
    (directory, file)
}

fn explain(configuration: &Path, request: &PolicyRequest, arguments: &[&str]) -> String {
    let call = Call::new(["explain", "-"].iter().chain(arguments)).with(configuration);
    call.input(&request.octets()).succeed()
}

fn explain_json(configuration: &Path, request: &PolicyRequest, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&explain(configuration, request, &arguments)).unwrap()
}

/// What is shown, without the times that engines took.
fn without_times(shown: &str) -> String {
    let line = |line: &str| match line.split_once(" ms") {
        Some((before, after)) => {
            let before =
                before.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
            format!("{before}# ms{after}\n")
        }
        None => format!("{line}\n"),
    };
    shown.lines().map(line).collect()
}

/// The step of an engine.
fn step<'a>(explanation: &'a Value, engine: &str) -> &'a Value {
    let steps = explanation["steps"].as_array().unwrap();
    steps.iter().find(|step| step["engine"] == engine).unwrap()
}

/// Every file below a directory, with what is in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.is_file() {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn each_step_is_shown_with_what_it_did() {
    let (_directory, file) = configuration(&Settings {
        tracking: true,
        checks: "dry other look points header late wbl never".into(),
        engines: "<wbl id=\"dry\"><dry_run>true</dry_run>
              <black><sender>example.org</sender></black></wbl>
            <set id=\"other\"><precondition>$sender.domain $EQ elsewhere.example</precondition></set>
            <spf id=\"look\"/>
            <wbl id=\"points\"><black><sender>example.org</sender></black>
              <on_black>score 2.5</on_black></wbl>
            <set id=\"header\"><result id=\"name\">$helo</result>
              <on_done>PREPEND X-Helo: $helo</on_done></set>
            <threshold id=\"late\"><key>$ip</key><limit max=\"5\" per=\"1h\"/>
              </threshold>
            <wbl id=\"wbl\"><black><recipient>bob@example.com</recipient></black>
              <on_black>550 5.7.1 not $recipient</on_black></wbl>
            <set id=\"never\"/>"
            .into(),
        ..Settings::default()
    });
    let request = PolicyRequest::new().set("instance", "");
    let shown = without_times(&explain(&file, &request, &[]));
    let expected = "\
request   policy-rcpt, client mail.example.net [192.0.2.17], helo mail.example.net, from alice@example.org, to bob@example.com
group     default, as no method finds another one
begin
╰─ PPXX0001.received  not asked: nothing is put on record
checks
├─ dry     black  # ms  dry run: REJECT 5.7.1 refused by a block list of this site; on the black list: sender example.org
│    list = sender
│    entry = example.org
│    on_black is REJECT 5.7.1 refused by a block list of this site by default; a dry run, so it decides nothing
├─ other   skipped
│    precondition ${sender.domain} $EQ \"elsewhere.example\": does not hold
├─ look    not asked: it would ask name servers; --connect asks
├─ points  black  # ms  on the black list: sender example.org
│    list = sender
│    entry = example.org
│    on_black is score 2.5
├─ header  done  # ms
│    name = mail.example.net
│    on_done is PREPEND X-Helo: ${helo}, here PREPEND X-Helo: mail.example.net; kept until the checks end
";
    assert!(shown.starts_with(expected), "{shown}");
    let expected = "\
╰─ wbl     black  # ms  on the black list: recipient bob@example.com
     list = recipient
     entry = bob@example.com
     on_black is 550 5.7.1 not ${recipient}, here 550 5.7.1 not bob@example.com: the chain ends
score     2.5: 2.5 by points (black)
end
╰─ PPXX0001.processed  not asked: nothing is put on record
decision  550 5.7.1 not bob@example.com, by wbl
reply     action=550 5.7.1 not bob@example.com\\n\\n
not as in a server that runs:
  engines that were not asked are taken to have no opinion
  what engines remember is that of now; what they would change is forgotten
";
    assert!(shown.ends_with(expected), "{shown}");
}

#[test]
fn an_engine_that_fails_is_shown_with_what_follows() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_directory, file) = configuration(&Settings {
        tracking: true,
        group: "<on_error>DEFER try later</on_error>".into(),
        checks: "open ask".into(),
        engines: format!(
            "<http id=\"open\"><uri>{origin}</uri></http>
             <http id=\"ask\"><uri>{origin}</uri><on_exception>fail</on_exception></http>"
        ),
        ..Settings::default()
    });
    let explanation = explain_json(&file, &PolicyRequest::new(), &["--connect"]);
    let open = step(&explanation, "open");
    assert_eq!(open["end"], "failed");
    assert_eq!(open["outcome"]["effect"], "continue");
    assert_eq!(step(&explanation, "ask")["outcome"]["effect"], "exception");
    assert_eq!(explanation["exception"]["engine"], "ask");
    assert_eq!(explanation["reply"], "action=DEFER try later\n\n");
    assert_eq!(step(&explanation, "PPXX0001.exception")["place"], "end_exception");
    let shown = explain(&file, &PolicyRequest::new(), &["--connect"]);
    assert!(shown.contains("exception ask: failed: "), "{shown}");
}

#[test]
fn nobody_is_asked_unless_that_is_wanted() {
    let service = WebService::start(|_| (200, "{}".to_owned()));
    let (_directory, file) = configuration(&Settings {
        checks: "read write".into(),
        engines: format!(
            "<http id=\"read\"><uri>{origin}/read</uri><on_success>WARN read</on_success></http>
             <http id=\"write\"><uri>{origin}/write</uri><method>POST</method></http>",
            origin = service.origin
        ),
        ..Settings::default()
    });
    let offline = explain_json(&file, &PolicyRequest::new(), &[]);
    assert_eq!(step(&offline, "read")["end"], "not_asked");
    assert_eq!(offline["decision"]["action"], "DUNNO");
    let connected = explain_json(&file, &PolicyRequest::new(), &["--connect"]);
    assert_eq!(step(&connected, "read")["outcome"]["status"], "success");
    assert_eq!(connected["decision"]["action"], "WARN");
    assert_eq!(step(&connected, "write")["end"], "not_asked");
    let asked: Vec<String> = service.lines.try_iter().collect();
    assert_eq!(asked, ["GET /read HTTP/1.1"]);
}

#[test]
fn what_peers_chose_is_shown_as_text() {
    let (_directory, file) = configuration(&Settings {
        checks: "said".into(),
        engines: "<set id=\"said\"><result id=\"it\">$helo</result>
            <on_done>REJECT $sender $helo</on_done></set>"
            .into(),
        ..Settings::default()
    });
    let hostile = "\u{1b}[2J\u{202e}\u{9b}31m\u{2028}<script>";
    let request = ["helo_name", "sender", "recipient", "client_name", "sasl_username"]
        .into_iter()
        .fold(PolicyRequest::new(), |request, name| request.set(name, hostile));
    for arguments in [&[][..], &["--json"]] {
        let shown = explain(&file, &request, arguments);
        let obeyed = shown
            .lines()
            .flat_map(str::chars)
            .find(|letter| letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}'));
        assert_eq!(obeyed, None, "{shown:?}");
        assert!(shown.contains("script"), "{shown}");
    }
}

#[test]
fn a_request_of_the_records_is_explained_beside_the_server_which_notices_nothing() {
    let daemon = Daemon::start(Store::Sqlite.track(Settings {
        checks: "greylist".into(),
        engines: "<greylist/>".into(),
        ..Settings::default()
    }));
    let file = daemon.configuration();
    let request = PolicyRequest::new();
    let first = daemon.connect().ask(&request.octets()).unwrap();
    assert!(first.starts_with("DEFER_IF_PERMIT"), "{first}");
    let explained = |arguments: &[&str]| -> Value {
        let call = Call::new(["explain", "--json"].iter().chain(arguments)).with(&file);
        serde_json::from_str(&call.succeed()).unwrap()
    };
    // The server writes what it remembers within a second.
    let early = eventually(|| {
        let explanation = explained(&["--id", &request.instance()]);
        let status = step(&explanation, "greylist")["outcome"]["status"].clone();
        (status == "early").then_some(explanation)
    });
    let early = early.expect("what the server remembers is seen");
    assert_eq!(early["decision"]["engine"], "greylist");
    let row = &sqlite(&daemon.state_directory())[0];
    let id = row.octets("id");
    let id = id.iter().fold(String::new(), |id, octet| id + &format!("{octet:02x}"));
    let other = explained(&["--id", &id, "--attr", "sender=new@example.org"]);
    assert_eq!(step(&other, "greylist")["outcome"]["status"], "new");
    // What would have been remembered of the other sender is not.
    let other = explained(&["--id", &id, "--attr", "sender=new@example.org"]);
    assert_eq!(step(&other, "greylist")["outcome"]["status"], "new");
    assert_eq!(sqlite(&daemon.state_directory()).len(), 1);
}

#[test]
fn without_a_server_not_a_file_is_changed_or_made() {
    let mut daemon = Daemon::start(Store::Sqlite.track(Settings {
        checks: "greylist".into(),
        engines: "<greylist/>".into(),
        ..Settings::default()
    }));
    let request = PolicyRequest::new();
    daemon.connect().ask(&request.octets()).unwrap();
    assert!(daemon.terminate().success());
    let before = files(&daemon.state_directory());
    let explanation = explain_json(&daemon.configuration(), &request, &["--connect"]);
    assert_eq!(step(&explanation, "greylist")["outcome"]["status"], "early");
    let after = files(&daemon.state_directory());
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    // What SQLite shares between processes that have a file open holds nothing that lasts.
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, octets)| after[*path] != **octets && !path.ends_with("state.sqlite-shm"))
        .map(|(path, _)| path)
        .collect();
    assert!(changed.is_empty(), "{changed:?} have changed");
}

#[test]
fn what_a_store_elsewhere_remembers_is_read_when_that_is_wanted_and_never_written() {
    let redis = Redis::start();
    let daemon = Daemon::start(Settings {
        common: format!("<state_store><redis><url>{}</url></redis></state_store>", redis.url()),
        checks: "greylist".into(),
        engines: "<greylist/>".into(),
        ..Settings::default()
    });
    let request = PolicyRequest::new();
    daemon.connect().ask(&request.octets()).unwrap();
    let contents = || {
        let mut keys: Vec<String> = redis.say(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.sort();
        // The server itself shows now and then that it can write.
        keys.retain(|key| !key.contains("probe"));
        keys.iter().map(|key| (key.clone(), redis.say(&["GET", key]))).collect::<Vec<_>>()
    };
    let before = contents();
    assert!(!before.is_empty());
    let status = |request: &PolicyRequest, arguments: &[&str]| {
        let explanation = explain_json(&daemon.configuration(), request, arguments);
        step(&explanation, "greylist")["outcome"]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(&request, &[]), "new");
    assert_eq!(status(&request, &["--connect"]), "early");
    let other = PolicyRequest::new().set("sender", "new@example.org");
    assert_eq!(status(&other, &["--connect"]), "new");
    assert_eq!(contents(), before);
}

#[test]
fn what_is_no_request_is_refused_with_the_reason() {
    let (_directory, file) =
        configuration(&Settings::wbl("<black><sender>a.example</sender></black>"));
    let said = Call::new(["explain", "--attr", "sender"]).with(&file).run();
    assert_eq!((said.code, &*said.err), (Some(1), "mppd explain: \"sender\" is not NAME=VALUE\n"));
    let two = [PolicyRequest::new().octets(), PolicyRequest::new().octets()].concat();
    let said = Call::new(["explain", "-"]).with(&file).input(&two).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("2 requests were given"), "{}", said.err);
    let said = Call::new(["explain", "--id", "1.2.3"]).with(&file).run();
    assert_eq!((said.code, &*said.err), (Some(1), "mppd explain: no such request: 1.2.3\n"));
    std::fs::write(&file, "<mppd><oops/></mppd>").unwrap();
    let said = Call::new(["explain", "--attr", "size=1"]).with(&file).run();
    assert_eq!(said.code, Some(78), "{}", said.err);
}
