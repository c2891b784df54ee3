//! What stands under `config/observe/`: every metric, label and value that alerts and dashboard name is one that the
//! proxy exports, and the files have what Prometheus and Grafana ask for. It draws no dashboard and sends no alert.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "observe/query.rs"]
mod query;
mod support;

use loka_rig::{PoolConfig, PoolHandle};
use loka_stratum::export::{FAMILIES, Kind};
use query::{Query, Selector};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Proxy, finish, http};

/// Labels that Prometheus itself adds, and that of a bucket's bound.
const LABELS_OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

fn observe(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/observe").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(observe(path)).unwrap()
}

/// A rule of `alerts.yml`, read line by line: the file keeps to one form, so that no YAML parser is needed.
#[derive(Debug, Default)]
struct Alert {
    name: String,
    expression: String,
    severity: String,
    annotations: Vec<String>,
}

fn alerts() -> Vec<Alert> {
    let text = read("alerts.yml");
    let mut alerts: Vec<Alert> = Vec::new();
    let mut in_expression = false;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        assert!(!line.contains('\t') && line.trim_end() == line, "YAML takes no tab: {line:?}");
        if let Some(name) = line.strip_prefix("      - alert: ") {
            alerts.push(Alert { name: name.to_owned(), ..Alert::default() });
            continue;
        }
        let Some(alert) = alerts.last_mut() else { continue };
        if let Some(more) = line.strip_prefix("          ").filter(|_| in_expression) {
            alert.expression += " ";
            alert.expression += more;
            continue;
        }
        in_expression = line == "        expr: >-";
        if let Some(expression) = line.strip_prefix("        expr: ").filter(|_| !in_expression) {
            expression.clone_into(&mut alert.expression);
        } else if let Some(severity) = line.strip_prefix("          severity: ") {
            severity.clone_into(&mut alert.severity);
        } else if let Some((name, text)) = line.trim().split_once(": \"") {
            assert!(text.len() > 10 && text.ends_with('"'), "{line}");
            alert.annotations.push(name.to_owned());
        }
    }
    alerts
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/loka-stratum.json")).unwrap()
}

/// Every query of the dashboard: of panels, of annotations, of variables.
fn dashboard_queries() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value.as_str()) {
                        ("expr" | "definition", Some(query)) => found.push(query.to_owned()),
                        _ => walk(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(&dashboard(), &mut found);
    found
}

fn queries() -> Vec<(String, Query)> {
    let all = alerts().into_iter().map(|alert| alert.expression).chain(dashboard_queries());
    all.map(|text| (text.clone(), Query::read(&text).unwrap_or_else(|why| panic!("{why}: {text}")))).collect()
}

/// The labels that series of this name have, if the proxy exports any; `up` is Prometheus' own.
fn labels_of(name: &str) -> Option<&'static [&'static str]> {
    if name == "up" {
        return Some(&[]);
    }
    let family = FAMILIES.iter().find(|family| match family.kind {
        Kind::Counter | Kind::Gauge => family.name == name,
        Kind::Histogram => {
            let rest = name.strip_prefix(family.name);
            rest.is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
    })?;
    Some(family.labels)
}

#[test]
fn every_metric_and_label_of_alerts_and_dashboard_is_in_the_table() {
    let queries = queries();
    assert!(queries.len() > 90, "only {} queries", queries.len());
    for (text, query) in queries {
        assert!(!query.selectors.is_empty(), "asks for nothing: {text}");
        let mut known: BTreeSet<&str> = LABELS_OF_PROMETHEUS.into();
        for Selector { name, matchers } in &query.selectors {
            let labels = labels_of(name).unwrap_or_else(|| panic!("{name} is no metric: {text}"));
            known.extend(labels);
            for matcher in matchers {
                let label = matcher.label.as_str();
                let is_known = labels.contains(&label) || LABELS_OF_PROMETHEUS.contains(&label);
                assert!(is_known, "{name} has no label {label}: {text}");
            }
        }
        for label in &query.groupings {
            assert!(known.contains(label.as_str()), "no label {label}: {text}");
        }
    }
}

/// A reason that was renamed would leave an alert that never fires.
#[test]
fn every_value_of_a_label_is_one_that_a_running_proxy_exports() {
    let pool = PoolHandle::start(PoolConfig::default()).unwrap();
    let proxy = Proxy::start(pool.addr(), &["--shards", "1"]);
    let text = http(proxy.metrics, "/metrics").unwrap();
    for (query, Query { selectors, .. }) in queries() {
        for selector in selectors.iter().filter(|selector| selector.name != "up") {
            let series: Vec<&str> = text.lines().filter(|line| selector.is_name_of(line)).collect();
            assert!(!series.is_empty(), "{}: not exported", selector.name);
            for matcher in &selector.matchers {
                // What Prometheus adds, and what Grafana fills in.
                if LABELS_OF_PROMETHEUS.contains(&matcher.label.as_str()) || matcher.value.starts_with('$') {
                    continue;
                }
                for value in matcher.value.split('|') {
                    let pair = format!("{}=\"{value}\"", matcher.label);
                    assert!(
                        series.iter().any(|line| line.contains(&pair)),
                        "{pair}: no such series: {query}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_alert_has_what_it_needs_and_is_tried() {
    let alerts = alerts();
    assert!(alerts.len() >= 20, "only {} alerts", alerts.len());
    let tried = read("alerts_test.yml");
    let names: BTreeSet<&str> = alerts.iter().map(|alert| alert.name.as_str()).collect();
    assert_eq!(names.len(), alerts.len(), "a name stands twice");
    for alert in &alerts {
        let name = &alert.name;
        assert!(name.starts_with("Loka") && name.bytes().all(|byte| byte.is_ascii_alphabetic()), "{name}");
        assert!(SEVERITIES.contains(&alert.severity.as_str()), "{name}: severity {:?}", alert.severity);
        assert_eq!(alert.annotations, ["summary", "description"], "{name}");
        assert!(tried.contains(&format!("alertname=\"{name}\"")), "{name} is not in alerts_test.yml");
    }
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id stands twice");
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{title}: out of the page");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{title}: lies upon another");
            }
        }
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for source in targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
    }
    assert_eq!(dashboard["uid"], "loka-stratum");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    for query in dashboard_queries() {
        for name in query.split('$').skip(1) {
            let name = name.split(|other: char| !other.is_alphanumeric() && other != '_').next().unwrap();
            let is_known = name == "__rate_interval" || variables.iter().any(|known| known["name"] == name);
            assert!(is_known, "no variable {name}: {query}");
        }
    }
}

#[test]
fn compose_brings_these_files() {
    let folder = observe("../deploy/docker");
    let text = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let mut mounted = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("- ../../observe/")) {
        let path = line.split(':').next().unwrap();
        assert!(observe(path).is_file(), "{path}: there is no such file");
        mounted.insert(path.to_owned());
    }
    for path in [
        "prometheus.yml",
        "alerts.yml",
        "grafana/datasource.yaml",
        "grafana/dashboards.yaml",
        "grafana/loka-stratum.json",
    ] {
        assert!(mounted.contains(path), "{path} is not mounted");
    }
    let dashboards = read("grafana/dashboards.yaml");
    let place = dashboards.lines().find_map(|line| line.trim().strip_prefix("path: ")).unwrap();
    assert!(text.contains(&format!("loka-stratum.json:{place}/")), "the dashboard lies where Grafana looks");
    assert!(read("prometheus.yml").contains("  - alerts.yml\n"), "the rules are asked for");
    assert!(read("prometheus.yml").contains("job_name: loka-stratum\n"), "the rules ask for this job");
}

/// Where Prometheus is installed its own tool reads the files and tries the alerts.
#[test]
fn promtool_takes_the_files_where_it_is_installed() {
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "config", "fleet.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let mut promtool = Command::new("promtool");
        promtool.args(arguments).current_dir(observe(""));
        if Command::new("promtool").arg("--version").output().is_err() {
            return;
        }
        let output = finish(&mut promtool);
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&text));
    }
}
