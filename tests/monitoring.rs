//! What is shipped for Prometheus and Grafana: alerts that speak when they should, and a dashboard
//! of metrics that exist.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mppd::metrics::declared::{self, Kind, Metric};
use serde_json::Value;

use crate::harness::programs::program;

const RULES: &str = "mppd-alerts.yml";
const TESTS: &str = "mppd-alerts.test.yml";
const DASHBOARD: &str = "grafana-dashboard.json";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/monitoring").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap()
}

fn promtool(arguments: &[&str], file: &Path) {
    let output =
        Command::new(program("promtool", "prometheus")).args(arguments).arg(file).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && !said.contains("FAILED"), "{said}");
}

/// Every name in a text that is one of a metric.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("mppd_") || word.starts_with("process_")).collect()
}

fn is_told(name: &str) -> bool {
    let parts: &[&str] = &["_bucket", "_sum", "_count"];
    declared::all().any(|Metric { name: declared, kind, .. }| match kind {
        Kind::Counter | Kind::Gauge => name == *declared,
        Kind::Histogram => parts.iter().any(|part| name.strip_suffix(part) == Some(declared)),
        Kind::Summary => parts[1..].iter().any(|part| name.strip_suffix(part) == Some(declared)),
    })
}

/// Every expression of the dashboard, panels first.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let expressions = targets.chain(annotations).map(|place| place["expr"].as_str().unwrap());
    expressions.map(ToOwned::to_owned).collect()
}

#[test]
fn every_metric_in_the_alerts_and_the_dashboard_exists() {
    for file in [RULES, TESTS, DASHBOARD] {
        let text = read(file);
        let names = names(&text);
        assert!(names.len() > 10, "{file}: {names:?}");
        let unknown: Vec<&&str> = names.iter().filter(|name| !is_told(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_alert_speaks_when_it_should_and_only_then() {
    promtool(&["check", "rules"], &shipped(RULES));
    promtool(&["test", "rules"], &shipped(TESTS));
    let (rules, tests) = (read(RULES), read(TESTS));
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let (name, quiet) = (format!("- name: {alert}\n"), format!("alertname: {alert}\n"));
        let test = tests.split(&name).nth(1).unwrap_or_else(|| panic!("{alert} has no test"));
        let test = test.split("- name: ").next().unwrap();
        assert_eq!(test.matches(&quiet).count(), 2, "{alert}: once quiet, once not");
        assert_eq!(test.matches("exp_alerts: []").count(), 1, "{alert}");
        assert_eq!(test.matches("- exp_labels:").count(), 1, "{alert}");
    }
}

#[test]
fn prometheus_understands_every_expression_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 40);
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m");
        writeln!(rules, "      - record: panel_{number}\n        expr: {expression:?}").unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.yml");
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules"], &file);
}

#[test]
fn panels_of_the_dashboard_do_not_overlap_and_can_be_told_apart() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let (mut taken, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let of = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{panel}");
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}
