//! What Prometheus is told at `/metrics`.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::http::get;
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;
use crate::harness::programs::program;
use crate::harness::records::block_on;
use crate::harness::redis::Redis;

/// A server with these checks, and where it tells.
fn watched(checks: &str, engines: &str) -> (Settings, SocketAddr) {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let settings = Settings {
        common: format!("<admin><listen>inet:{at}</listen></admin>"),
        tracking: true,
        checks: checks.into(),
        engines: engines.into(),
        ..Settings::default()
    };
    (settings, at)
}

const REFUSING: &str = "<set id=\"judge\">
    <precondition>$helo $NE friend</precondition>
    <on_done>550 5.7.1 no</on_done>
</set>";

fn metrics(at: SocketAddr) -> String {
    let response = get(at, "/metrics", &[]);
    assert_eq!(response.status, 200);
    response.body
}

/// The value of a series; `None` where it is not told.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// Waits for a series to have a value: what is counted after an answer may be told a moment later.
fn until(at: SocketAddr, series: &str, wanted: f64) -> String {
    let told = eventually(|| Some(metrics(at)).filter(|text| value(text, series) == Some(wanted)));
    told.unwrap_or_else(|| panic!("{series} is not {wanted}:\n{}", metrics(at)))
}

fn ask(daemon: &Daemon, helo: &str, instance: &str) -> String {
    let request = PolicyRequest::new().set("helo_name", helo).set("instance", instance);
    daemon.connect().ask(&request.octets()).unwrap()
}

#[test]
fn requests_engines_and_records_are_counted() {
    let (settings, at) = watched("judge", REFUSING);
    let daemon = Daemon::start(settings);
    assert_eq!(ask(&daemon, "stranger", "1"), "550 5.7.1 no");
    assert_eq!(ask(&daemon, "stranger", "2"), "550 5.7.1 no");
    assert_eq!(ask(&daemon, "friend", "3"), "DUNNO");
    let text = until(at, "mppd_requests_total{group=\"default\",stage=\"policy-rcpt\"}", 3.0);
    for (series, wanted) in [
        ("mppd_decisions_total{group=\"default\",decision=\"5xx\"}", 2.0),
        ("mppd_decisions_total{group=\"default\",decision=\"DUNNO\"}", 1.0),
        ("mppd_request_duration_seconds_count", 3.0),
        ("mppd_engine_runs_total{engine=\"judge\",status=\"done\"}", 2.0),
        ("mppd_engine_runs_total{engine=\"judge\",status=\"skipped\"}", 1.0),
        ("mppd_engine_decisions_total{engine=\"judge\"}", 2.0),
        ("mppd_engine_duration_seconds_count{engine=\"judge\"}", 2.0),
        ("mppd_engine_breaker_state{engine=\"judge\",state=\"closed\"}", 1.0),
        ("mppd_engine_info{engine=\"judge\",kind=\"set\"}", 1.0),
        ("mppd_ready", 1.0),
        ("mppd_configuration_refused", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(wanted), "{series}\n{text}");
    }
    let file = daemon.state_directory().join("requests.sqlite");
    let records = format!("{{records=\"{}\"}}", file.display());
    let rows = value(&text, &format!("mppd_tracker_rows_total{records}")).unwrap();
    assert!(rows >= 3.0, "{text}");
    assert!(value(&text, &format!("mppd_tracker_batch_rows_count{records}")).unwrap() >= 1.0);
    assert!(value(&text, "process_resident_memory_bytes").unwrap() > 1e6);
}

#[test]
fn an_exception_is_counted_by_engine_and_by_word() {
    let unreachable = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let engine = format!("<http id=\"web\"><uri>http://{unreachable}/</uri></http>");
    let (settings, at) = watched("web", &engine);
    let daemon = Daemon::start(settings);
    ask(&daemon, "stranger", "1");
    let text = until(at, "mppd_engine_exceptions_total{engine=\"web\",exception=\"failed\"}", 1.0);
    let status = "mppd_engine_runs_total{engine=\"web\",status=\"exception\"}";
    assert_eq!(value(&text, status), Some(1.0), "{text}");
}

#[test]
fn counts_go_on_over_a_reload_and_those_of_engines_that_are_no_more_go() {
    let other = "<set id=\"other\"/>";
    let (mut settings, at) = watched("judge other", &format!("{REFUSING}{other}"));
    let mut daemon = Daemon::start(settings.clone());
    ask(&daemon, "friend", "1");
    until(at, "mppd_engine_runs_total{engine=\"other\",status=\"done\"}", 1.0);
    settings.checks = "judge".into();
    settings.engines = REFUSING.into();
    daemon.configure(settings);
    Call::new(["reload"]).with(&daemon.configuration()).succeed();
    ask(&daemon, "friend", "2");
    let text = until(at, "mppd_engine_runs_total{engine=\"judge\",status=\"skipped\"}", 2.0);
    assert!(!text.contains("engine=\"other\""), "{text}");
    assert_eq!(value(&text, "mppd_reloads_total{result=\"ok\"}"), Some(1.0));
}

#[test]
fn a_reload_that_is_refused_is_told() {
    let (settings, at) = watched("judge", REFUSING);
    let daemon = Daemon::start(settings);
    daemon.write_configuration("<mppd>");
    daemon.hangup();
    let text = until(at, "mppd_reloads_total{result=\"refused\"}", 1.0);
    assert_eq!(value(&text, "mppd_configuration_refused"), Some(1.0));
    assert_eq!(value(&text, "mppd_configuration_changed_files"), Some(1.0), "{text}");
}

#[test]
fn nothing_that_a_peer_chose_is_told() {
    let (settings, at) = watched("judge", REFUSING);
    let daemon = Daemon::start(settings);
    let hostile = "evil\"}\\ 1";
    let request = PolicyRequest::new()
        .set("helo_name", hostile)
        .set("sender", hostile)
        .set("protocol_state", hostile)
        .set("sasl_username", hostile);
    daemon.connect().ask(&request.octets()).unwrap();
    let text = until(at, "mppd_requests_total{group=\"default\",stage=\"policy-other\"}", 1.0);
    assert!(!text.contains("evil"), "{text}");
}

#[test]
fn databases_are_told_those_of_engines_and_that_of_the_records_also_when_it_is_away() {
    let mut server = block_on(MariaDb::start());
    let connection = server.element_named("connection");
    let engine = format!(
        "<mysql id=\"lists\">{connection}
           <query id=\"q\"><statement>SELECT 1 WHERE $sender = ''</statement></query></mysql>"
    );
    let (mut settings, at) = watched("lists.q", &engine);
    settings.group = server.element();
    let daemon = Daemon::start(settings);
    ask(&daemon, "stranger", "1");
    until(at, "mppd_sql_questions_total{engine=\"lists\",result=\"answered\"}", 1.0);
    let text = until(at, "mppd_sql_connections{engine=\"lists\"}", 1.0);
    let away = text.lines().find(|line| line.starts_with("mppd_tracker_away{")).unwrap();
    let (series, value) = away.rsplit_once(' ').unwrap();
    assert_eq!(value, "0");
    server.kill();
    ask(&daemon, "stranger", "2");
    let text = until(at, series, 1.0);
    assert!(text.contains(&format!("\n{} 1\n", series.replace("_away", "_absences_total"))));
    until(at, &series.replace("_away", "_spooled_rows"), 1.0);
    until(at, "mppd_sql_questions_total{engine=\"lists\",result=\"failed\"}", 1.0);
}

#[test]
fn promtool_finds_nothing_wrong_with_it() {
    let (settings, at) = watched("judge", REFUSING);
    let daemon = Daemon::start(settings);
    ask(&daemon, "stranger", "1");
    let text = until(at, "mppd_request_duration_seconds_count", 1.0);
    let mut promtool = Command::new(program("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn questions_for_the_group_of_a_request_and_to_the_state_store_are_told() {
    let server = block_on(MariaDb::start());
    block_on(server.execute("CREATE TABLE members (id VARCHAR(255))"));
    let connection = server.element_named("connection");
    let (mut settings, at) = watched("greylist", "<greylist/>");
    settings.groups = format!(
        "<sql>{connection}<statement>SELECT id FROM members WHERE id = $sender</statement></sql>"
    );
    let store = format!("<state_store><mysql>{connection}</mysql></state_store>");
    settings.common.push_str(&store);
    let daemon = Daemon::start(settings);
    ask(&daemon, "stranger", "1");
    until(at, "mppd_sql_questions_total{engine=\"groups/sql\",result=\"answered\"}", 1.0);
    until(at, "mppd_sql_connections{engine=\"groups/sql\"}", 1.0);
    until(at, "mppd_state_under_way{store=\"mysql\"}", 0.0);
    let text = metrics(at);
    let connections = value(&text, "mppd_state_connections{store=\"mysql\"}");
    assert!(connections >= Some(1.0), "{connections:?}: {text}");
}

#[test]
fn the_connection_to_a_redis_is_told_until_it_is_gone() {
    let mut redis = Redis::start();
    let (mut settings, at) = watched("greylist", "<greylist/>");
    let store = format!("<state_store><redis><url>{}</url></redis></state_store>", redis.url());
    settings.common.push_str(&store);
    let daemon = Daemon::start(settings);
    ask(&daemon, "stranger", "1");
    until(at, "mppd_state_connections{store=\"redis\"}", 1.0);
    redis.kill();
    ask(&daemon, "stranger", "2");
    until(at, "mppd_state_connections{store=\"redis\"}", 0.0);
}

#[test]
fn a_store_without_a_server_has_no_connections_to_tell_of() {
    let (settings, at) = watched("greylist", "<greylist/>");
    let daemon = Daemon::start(settings);
    ask(&daemon, "stranger", "1");
    let text = metrics(at);
    assert_eq!(value(&text, "mppd_state_connections{store=\"embedded\"}"), None, "{text}");
}
