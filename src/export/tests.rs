//! The exposition against its table, and the JSON against what was promised.

use super::*;
use crate::aggregate::tests::{facts, report, running, wait_for};
use crate::aggregate::{AggregatorHandle, Snapshot};
use hdrhistogram::Histogram;
use loka_proto::{End, Filtered, Reject};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Two shards that have reported.
fn farm() -> (AggregatorHandle, Arc<Snapshot>) {
    let (post, handle) = running(2);
    let mut first = report(0);
    first.stats.counts.ends[End::MinerLeft.index()] = 5;
    first.stats.counts.ends[End::Idle.index()] = 2;
    first.stats.counts.ends[End::Panicked.index()] = 1;
    first.stats.counts.rejects[Reject::Malformed.index()] = 4;
    first.stats.counts.rejects[Reject::RateLimited.index()] = 9;
    first.stats.counts.filtered[Filtered::Orphan.index()] = 3;
    post.send(first);
    post.send(report(1));
    let now = wait_for(handle.snapshots(), Snapshot::is_ready);
    (handle, now)
}

/// Families of a text: name -> (kind, has help, series with value).
type Parsed = BTreeMap<String, (String, bool, BTreeMap<String, f64>)>;

fn parse(text: &str) -> Parsed {
    let mut families = Parsed::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            let family = families.entry(name.to_owned()).or_default();
            assert!(!std::mem::replace(&mut family.1, !help.is_empty()), "{name} comes once");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.get_mut(name).unwrap().0 = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let whole = families.contains_key(name);
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let name = if whole { name } else { base.unwrap() };
            let family = families.get_mut(name).unwrap();
            let value = value.parse().unwrap();
            assert!(family.2.insert(series.to_owned(), value).is_none(), "{series} comes once");
        }
    }
    families
}

fn exposition(handle: &AggregatorHandle) -> (String, Parsed) {
    let text = Exposition::new(handle.snapshots()).unwrap().text().unwrap();
    let text = String::from_utf8(text).unwrap();
    let parsed = parse(&text);
    (text, parsed)
}

#[test]
fn the_text_holds_the_table_and_nothing_else() {
    let (handle, _) = farm();
    let (_, parsed) = exposition(&handle);
    let in_table: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(in_table.len(), FAMILIES.len(), "no name stands twice");
    let in_text: BTreeSet<&str> = parsed.keys().map(String::as_str).collect();
    assert_eq!(in_table, in_text);
    for family in FAMILIES {
        let (kind, helped, series) = &parsed[family.name];
        let expected = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert_eq!(kind, expected, "{}", family.name);
        assert!(*helped && !series.is_empty(), "{}", family.name);
        for series in series.keys() {
            for label in family.labels {
                assert!(series.contains(&format!("{label}=\"")), "{series} has {label}");
            }
        }
    }
}

#[test]
fn names_follow_the_conventions() {
    for family in FAMILIES {
        let name = family.name;
        assert!(name.starts_with("loka_stratum_") || name.starts_with("process_"), "{name}");
        assert_eq!(family.kind == Kind::Counter, name.ends_with("_total"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!name.contains("milli") && !name.contains("_ms") && !name.contains("_kb"), "{name}");
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        assert!(family.kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
    }
}

#[test]
fn figures_arrive_under_their_names() {
    let (handle, _) = farm();
    let (text, parsed) = exposition(&handle);
    let value = |series: &str| {
        let family = parsed.values().find_map(|family| family.2.get(series));
        *family.unwrap_or_else(|| panic!("no {series} in\n{text}"))
    };
    assert_eq!(value("loka_stratum_active_connections"), 14.0);
    assert_eq!(value("loka_stratum_connections_total"), 20.0);
    assert_eq!(value("loka_stratum_connection_errors_total"), 3.0);
    assert_eq!(value("loka_stratum_connections_ended_total{reason=\"miner_left\"}"), 5.0);
    assert_eq!(value("loka_stratum_messages_received_total{from=\"miner\",method=\"submit\"}"), 2.0);
    assert_eq!(value("loka_stratum_messages_sent_total{to=\"pool\",method=\"submit\"}"), 2.0);
    assert_eq!(value("loka_stratum_protocol_errors_total{from=\"miner\",reason=\"malformed\"}"), 4.0);
    assert_eq!(value("loka_stratum_protocol_errors_total{from=\"pool\",reason=\"orphan\"}"), 3.0);
    assert_eq!(value("loka_stratum_requests_refused_total{reason=\"rate_limited\"}"), 9.0);
    assert!(!text.contains("from=\"miner\",reason=\"rate_limited\""), "no error of the protocol");
    assert_eq!(value("loka_stratum_shares_rejected_total{reason=\"stale\"}"), 2.0);
    assert_eq!(value("loka_stratum_accepted_difficulty_total"), 2048.0);
    assert_eq!(value("loka_stratum_shard_busy_seconds_total{shard=\"1\"}"), 0.25);
    assert_eq!(value("loka_stratum_build_info{version=\"1.2.3\"}"), 1.0);
    assert_eq!(value("loka_stratum_ready"), 1.0);
    assert!(text.len() < 64 * 1024, "{} bytes", text.len());
}

#[test]
fn buckets_are_cumulative() {
    let (handle, _) = farm();
    let (text, parsed) = exposition(&handle);
    for name in ["loka_stratum_submit_response_seconds", "loka_stratum_pool_connect_seconds"] {
        let buckets = text.lines().filter(|line| line.starts_with(&format!("{name}_bucket")));
        let counts: Vec<u64> =
            buckets.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        assert_eq!(counts.len(), histogram::BOUNDS_US.len() + 1);
        assert!(counts.is_sorted(), "{counts:?}");
        assert_eq!(*counts.last().unwrap() as f64, parsed[name].2[&format!("{name}_count")]);
    }
    let series = &parsed["loka_stratum_submit_response_seconds"].2;
    let le = |bound: &str| series[&format!("loka_stratum_submit_response_seconds_bucket{{le=\"{bound}\"}}")];
    assert_eq!((le("0.01"), le("0.025"), le("0.05"), le("+Inf")), (0.0, 2.0, 4.0, 4.0));
    let sum = series["loka_stratum_submit_response_seconds_sum"];
    assert!((sum - 0.12).abs() < 0.0012, "{sum}");
}

proptest! {
    #[test]
    fn buckets_are_exact_but_for_the_width_of_a_cell(values in prop::collection::vec(1u64..60_000_000, 0..200)) {
        let mut recorded = Histogram::new_with_bounds(1, 60_000_000, 2).unwrap();
        values.iter().for_each(|value| recorded.record(*value).unwrap());
        let histogram = histogram::of(&recorded);
        for (bound, bucket) in histogram::BOUNDS_US.iter().zip(histogram.get_bucket()) {
            let up_to = |bound: u64| values.iter().filter(|value| **value <= bound).count() as u64;
            prop_assert!(bucket.cumulative_count() >= up_to(*bound));
            prop_assert!(bucket.cumulative_count() <= up_to(bound + bound / 100));
        }
        prop_assert_eq!(histogram.get_sample_count(), values.len() as u64);
        let sum = values.iter().sum::<u64>() as f64 / 1e6;
        prop_assert!((histogram.get_sample_sum() - sum).abs() <= sum * 0.01 + 1e-9);
    }
}

#[test]
fn json_has_the_keys_of_the_first_version() {
    let (_handle, now) = farm();
    let json = serde_json::to_value(Figures::of(&now)).unwrap();
    let at = |path: &str| json.pointer(path).unwrap_or_else(|| panic!("{path} in {json:#}")).clone();
    assert_eq!((at("/connections/total"), at("/connections/active")), (20.into(), 14.into()));
    assert_eq!(at("/connections/errors"), 3);
    assert_eq!((at("/messages/received"), at("/messages/sent")), (4.into(), 2.into()));
    assert_eq!(at("/messages/protocol_errors"), 7);
    let mean = at("/performance/avg_response_time").as_f64().unwrap();
    assert!((mean - 30.0).abs() < 0.3, "milliseconds: {mean}");
    assert!(at("/performance/cpu_usage").as_f64().unwrap() >= 0.0);
    assert!(at("/performance/memory_usage").as_u64().unwrap() > 100_000);
    assert_eq!(at("/connections/ended/idle"), 2);
    assert_eq!((at("/shares/accepted"), at("/shares/rejected")), (2.into(), 2.into()));
    assert_eq!(at("/shares/rejected_by_reason"), serde_json::json!({ "stale": 2 }));
    assert_eq!((at("/shards/1/shard"), at("/shards/1/cpu")), (1.into(), 6.into()));
    assert_eq!((at("/ready"), at("/pool/state")), (true.into(), "up".into()));
    assert!(at("/performance/response_time_ms/p99").as_f64().unwrap() >= 39.0);
}

#[test]
fn json_of_nothing_is_finite() {
    let (_post, handle) = running(1);
    let json = serde_json::to_value(Figures::of(&handle.snapshots().latest())).unwrap();
    assert_eq!(json.pointer("/performance/avg_response_time"), Some(&0.0.into()));
    assert_eq!(json.pointer("/performance/response_time_ms/max"), Some(&0.0.into()));
    assert_eq!(json.pointer("/shards/0/report_age_seconds"), Some(&serde_json::Value::Null));
}

#[test]
fn health_tells_the_state() {
    let (post, handle) = running(1);
    let status = |now: &Snapshot| Health::of(now).status;
    assert_eq!(status(&handle.snapshots().latest()), "starting");
    post.send(report(0));
    let now = wait_for(handle.snapshots(), Snapshot::is_ready);
    let health = Health::of(&now);
    assert_eq!((health.status, health.connections, health.version), ("healthy", 7, facts().version));
    let services = health.services;
    assert_eq!((services.shards, services.pool, services.metrics), ("up", "up", "up"));
    let mut stalled = Snapshot::clone(&now);
    stalled.shards[0].report_age = Some(Duration::from_secs(60));
    assert_eq!((status(&stalled), Health::of(&stalled).services.shards), ("degraded", "stalled"));
    let mut cut_off = Snapshot::clone(&now);
    cut_off.shards[0].shell.pool_links = 0;
    assert_eq!(Health::of(&cut_off).services.pool, "idle");
    cut_off.last_dial_failed = true;
    assert_eq!((status(&cut_off), Health::of(&cut_off).services.pool), ("degraded", "unreachable"));
    handle.set_draining();
    assert_eq!(status(&wait_for(handle.snapshots(), |now| now.draining)), "draining");
}

#[test]
fn uptime_is_for_people() {
    let cases = [
        (0, "0s"),
        (59, "59s"),
        (60, "1m 0s"),
        (1385, "23m 5s"),
        (3600, "1h 0m"),
        (86_399, "23h 59m"),
        (2 * 86_400 + 4 * 3600 + 23 * 60 + 59, "2d 4h 23m"),
        (400 * 86_400, "400d 0h 0m"),
    ];
    for (seconds, text) in cases {
        assert_eq!(Uptime(Duration::from_secs(seconds)).to_string(), text);
    }
}
