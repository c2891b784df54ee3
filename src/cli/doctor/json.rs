//! The report for programs: one JSON object with every fact. Times are in milliseconds.

use super::host::Check;
use super::{Patient, Report};
use crate::pools::certificate::{date_text, pin_text};
use crate::pools::findings::block_hash;
use crate::pools::{ExtranonceSubscription, Problem, TlsFacts};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn object(report: &Report) -> Value {
    json!({
        "good": report.verdict().is_ok(),
        "pools": report.pools.iter().map(pool).collect::<Vec<_>>(),
        "host": {
            "good": report.host_is_good(),
            "checks": report.host.iter().map(check).collect::<Vec<_>>(),
        },
    })
}

fn pool(patient: &Patient) -> Value {
    let found = &patient.findings;
    json!({
        "name": patient.name,
        "endpoint": patient.endpoint,
        "good": patient.is_good(),
        "addresses": patient.addresses,
        "resolve_ms": ms(patient.resolve),
        "address": found.address,
        "connect_ms": found.connect.map(ms),
        "tls": found.tls.as_ref().map(tls),
        "time_to_subscribe_ms": found.time_to_subscribe.map(ms),
        "extranonce1_bytes": found.extranonce1_bytes,
        "extranonce2_size": found.extranonce2_size,
        "version_mask": found.version_mask.map(|mask| format!("{mask:08x}")),
        "authorized": found.authorized,
        "difficulty": found.difficulty,
        "time_to_first_job_ms": found.time_to_first_job.map(ms),
        "prev_hash": found.prev_hash,
        "block_hash": found.prev_hash.as_deref().map(block_hash),
        "extranonce_subscription": found.extranonce_subscription.map(extranonce),
        "problem": found.problem.as_ref().map(problem),
    })
}

fn tls(facts: &TlsFacts) -> Value {
    json!({
        "version": facts.version,
        "cipher": facts.cipher,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "expires": date_text(facts.expires),
        "expires_unix": facts.expires,
        "pin": pin_text(&facts.pin),
    })
}

fn extranonce(subscription: ExtranonceSubscription) -> &'static str {
    match subscription {
        ExtranonceSubscription::Answered(true) => "granted",
        ExtranonceSubscription::Answered(false) => "refused",
        ExtranonceSubscription::Silent => "silent",
        ExtranonceSubscription::Closed => "closed",
    }
}

fn problem(problem: &Problem) -> Value {
    json!({"kind": problem.label(), "text": problem.to_string(), "fix": problem.fix()})
}

fn check(check: &Check) -> Value {
    let fix = (!check.fix.is_empty()).then_some(&check.fix);
    json!({"name": check.name, "grade": check.grade.label(), "value": check.value, "fix": fix})
}

/// Rounded to microseconds.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
