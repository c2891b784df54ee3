//! Times and rates: what can be held against others exactly, and against the swarm's own clock where no machine is too busy
//! for it.

use crate::sources::{Scrape, get, top_figures};
use crate::support::Proxy;
use crate::truth::Figures;
use crate::{ANSWERED_AFTER, ask_for_json, json_of};
use loka_rig::SwarmReport;
use serde_json::Value;

/// Hashes that a share of difficulty one stands for.
pub(crate) const HASHES: f64 = 4_294_967_296.0;
const SECONDS: &str = "loka_stratum_submit_response_seconds";

pub(crate) fn check(proxy: &Proxy, swarm: &SwarmReport, truth: &Figures) {
    let (scrape, told) = (Scrape::of(proxy, "/metrics"), json_of(&ask_for_json(proxy.metrics, "/metrics")));
    let answer = |key: &str| told["performance"]["response_time_ms"][key].as_f64().unwrap();
    // Two forms of one histogram: the same mean, and each percentile in the bucket where so many have been counted.
    let mean_ms = 1e3 * scrape.sum(&format!("{SECONDS}_sum")) / scrape.sum(&format!("{SECONDS}_count"));
    assert!((mean_ms / answer("mean") - 1.0).abs() < 1e-6, "{mean_ms} and {}", answer("mean"));
    assert_eq!(told["performance"]["avg_response_time"], told["performance"]["response_time_ms"]["mean"]);
    let buckets: Vec<(f64, f64)> = scrape
        .by(&format!("{SECONDS}_bucket"), "le")
        .into_iter()
        .map(|(bound, count)| (1e3 * bound.replace("+Inf", "inf").parse::<f64>().unwrap(), count))
        .collect();
    for (key, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
        let first = buckets.iter().find(|(_, count)| *count >= part * answer("count")).unwrap().0;
        let before =
            buckets.iter().rev().find(|(_, count)| *count < part * answer("count")).map_or(0.0, |one| one.0);
        // A percentile is the upper end of its cell, of which the bound may be in the middle: a cell is 1 % wide.
        assert!(
            answer(key) >= before && answer(key) <= 1.01 * first,
            "{key}: {} of {buckets:?}",
            answer(key)
        );
    }
    // The proxy's part of the way lies within the miner's. Each reads its clock once for all that a turn or a read holds, so
    // single shares may be off by a turn; half of all are not.
    let (held, p50) = (1e3 * ANSWERED_AFTER.as_secs_f64(), answer("p50"));
    let of_swarm = swarm.submit_us.p50 as f64 / 1e3;
    assert!(p50 > 0.9 * held && p50 <= 1.02 * of_swarm + 2.0, "{p50} ms, and {of_swarm} ms by the swarm");
    assert!(answer("p99") <= 1.02 * swarm.submit_us.max as f64 / 1e3 + held, "{swarm:?}");
    check_top(proxy, truth, [p50, answer("p99")]);
    check_worker(proxy, answer("max"));
    check_history(proxy, truth, answer("max"));
}

/// What `top` makes of them.
fn check_top(proxy: &Proxy, truth: &Figures, answers: [f64; 2]) {
    let uptime = || get(proxy.metrics, "/health")["uptime_seconds"].as_f64().unwrap();
    let before = uptime();
    let [p50, p99, hashrate] = top_figures(proxy, ["answer", "99 %", "hashrate"]);
    for (shown, ms) in [p50, p99].into_iter().zip(answers) {
        let number: f64 = shown.strip_suffix(" ms").unwrap().parse().unwrap();
        assert!((number - ms).abs() <= 0.5, "{shown} of {ms} ms");
    }
    // One look knows the mean since the start; three digits of it are shown.
    let hashes = truth["shares.difficulty"] * HASHES;
    let (number, unit) = hashrate.split_once(' ').unwrap();
    let power = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s"].iter().position(|own| *own == unit).unwrap();
    let shown = number.parse::<f64>().unwrap() * 1e3_f64.powi(i32::try_from(power).unwrap());
    let (least, most) = (hashes / uptime(), hashes / before);
    assert!(shown >= 0.99 * least && shown <= 1.01 * most, "{hashrate}: {least:e} to {most:e}");
}

/// The figures of one worker fit each other.
fn check_worker(proxy: &Proxy, max_ms: f64) {
    let worker = get(proxy.metrics, "/api/v1/workers/rig.00007");
    let of = |pointer: &str| worker.pointer(pointer).and_then(Value::as_f64).unwrap();
    let (response, known) = (of("/response_ms"), of("/known_seconds"));
    assert!(response > 0.5 * 1e3 * ANSWERED_AFTER.as_secs_f64() && response <= max_ms, "{worker}");
    // Younger than 30 s counts as that old; over a minute older work weighs a little less.
    let work = of("/shares/accepted_difficulty") * HASHES;
    let rate = of("/hashrate/24h");
    let expected = work / known.max(30.0);
    assert!((rate / expected - 1.0).abs() < 0.05, "{rate:e} and {expected:e}: {worker}");
}

/// Rows of the past: rates that are of the same shares, and together all of them.
fn check_history(proxy: &Proxy, truth: &Figures, max_ms: f64) {
    let difficulty = truth["shares.difficulty"] / truth["shares.accepted"];
    let history = get(proxy.metrics, "/api/v1/history?range=1h");
    let line = |name: &str| -> Vec<Option<f64>> {
        history["series"][name].as_array().unwrap().iter().map(Value::as_f64).collect()
    };
    let (accepted, hashrate, of_pool) = (line("accepted"), line("hashrate"), line("pool_hashrate/pool"));
    for ((accepted, hashrate), of_pool) in accepted.iter().zip(&hashrate).zip(&of_pool) {
        let (accepted, hashrate) = (accepted.unwrap(), hashrate.unwrap());
        let expected = accepted * difficulty * HASHES;
        // Figures of the past have 24 bits.
        assert!((hashrate - expected).abs() <= 1e-6 * expected, "{hashrate:e} and {expected:e}");
        assert_eq!(*of_pool, Some(hashrate), "there is one pool");
    }
    let moments: Vec<u64> =
        history["unix_milliseconds"].as_array().unwrap().iter().map(|at| at.as_u64().unwrap()).collect();
    // A step is as long as it says or longer; of the first one it is not known when it began.
    let first = moments[0].saturating_sub(1_000 * history["step_seconds"].as_u64().unwrap());
    let begins = [first].into_iter().chain(moments.iter().copied());
    let seconds: Vec<f64> = begins.zip(&moments).map(|(from, to)| (to - from) as f64 / 1e3).collect();
    for name in ["accepted", "rejected", "refused"] {
        let kept: f64 = line(name).iter().zip(&seconds).map(|(rate, seconds)| rate.unwrap() * seconds).sum();
        let all = truth[&format!("shares.{name}")];
        // The clock of the moments is read a little later than that of the steps.
        assert!(kept > 0.8 * all && kept < 1.2 * all, "{name}: {kept} of {all}: {seconds:?}");
    }
    for name in ["response_p50_ms", "response_p99_ms"] {
        assert!(line(name).into_iter().flatten().all(|ms| ms <= 1.01 * max_ms), "{name}");
    }
}
