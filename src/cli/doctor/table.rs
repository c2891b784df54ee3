//! The report for people: one block for each pool, one for the host, columns aligned.

use super::host::{Check, Grade};
use super::{Patient, Report};
use crate::pools::certificate::{date_text, pin_text};
use crate::pools::findings::block_hash;
use crate::pools::{ExtranonceSubscription, Findings, TlsFacts};
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A certificate that ends sooner than this is worth a word.
const SOON_DAYS: u64 = 30;

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    for patient in &report.pools {
        let verdict = if patient.is_good() { "ok" } else { "bad" };
        block(
            &mut text,
            &format!("pool {} ({})", patient.name, patient.endpoint),
            verdict,
            &pool_rows(patient),
        );
    }
    let worst = report.host.iter().map(|check| check.grade);
    let verdict = worst.fold("ok", |verdict, grade| match grade {
        Grade::Ok => verdict,
        Grade::Warn if verdict == "bad" => verdict,
        Grade::Warn | Grade::Bad => grade.label(),
    });
    block(&mut text, "host", verdict, &host_rows(&report.host));
    text.trim_end().to_owned()
}

type Row = (String, String);

fn block(text: &mut String, title: &str, verdict: &str, rows: &[Row]) {
    let width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    // Writing to a text cannot fail.
    let _ = writeln!(text, "{title}: {verdict}");
    for (label, value) in rows {
        let _ = writeln!(text, "  {label:width$}  {value}");
    }
    text.push('\n');
}

fn pool_rows(patient: &Patient) -> Vec<Row> {
    let found = &patient.findings;
    let mut rows = Vec::new();
    let mut row = |label: &str, value: String| rows.push((label.to_owned(), value));
    if !patient.addresses.is_empty() {
        let all: Vec<String> = patient.addresses.iter().map(ToString::to_string).collect();
        row("addresses", format!("{} ({})", all.join(", "), ms(patient.resolve)));
    }
    if let (Some(address), Some(connect)) = (found.address, found.connect) {
        row("connected", format!("{address} in {}", ms(connect)));
    }
    if let Some(tls) = &found.tls {
        row("tls", format!("{}, {}", tls.version, tls.cipher));
        row("certificate", certificate(tls, SystemTime::now()));
        row("pin", pin_text(&tls.pin));
    }
    if let (Some(first), Some(second), Some(time)) =
        (found.extranonce1_bytes, found.extranonce2_size, found.time_to_subscribe)
    {
        row("subscribed", format!("in {}, extranonce {first} + {second} bytes", ms(time)));
        row("version bits", version_bits(found));
    }
    if patient.has_account {
        if let Some(authorized) = found.authorized {
            row("account", if authorized { "accepted" } else { "refused" }.to_owned());
        }
    } else if found.time_to_subscribe.is_some() {
        row("account", "none configured: miners bring their own, so none was tried".to_owned());
    }
    if let Some(difficulty) = found.difficulty {
        row("difficulty", difficulty.to_string());
    }
    if let (Some(time), Some(prev_hash)) = (found.time_to_first_job, &found.prev_hash) {
        row("first job", format!("in {}, on block {}", ms(time), block_hash(prev_hash)));
    }
    if let Some(subscription) = found.extranonce_subscription {
        row("extranonce", extranonce(subscription).to_owned());
    }
    if let Some(problem) = &found.problem {
        row("problem", problem.to_string());
        row("fix", problem.fix().to_owned());
    }
    rows
}

fn version_bits(found: &Findings) -> String {
    found.version_mask.map_or_else(
        || "not granted: miners cannot use version rolling here".to_owned(),
        |mask| format!("{mask:08x}"),
    )
}

fn extranonce(subscription: ExtranonceSubscription) -> &'static str {
    match subscription {
        ExtranonceSubscription::Answered(true) => "changes are announced",
        ExtranonceSubscription::Answered(false) => {
            "changes are not announced (the pool does not know the request)"
        }
        ExtranonceSubscription::Silent => "the pool does not answer the request for changes",
        ExtranonceSubscription::Closed => {
            "the pool closes the connection when asked for changes: set extranonce = false for it"
        }
    }
}

fn certificate(tls: &TlsFacts, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = tls.expires.saturating_sub(now) / 86_400;
    let soon = if days < SOON_DAYS { format!(", in {days} days") } else { String::new() };
    format!("{}, issued by {}, until {}{soon}", tls.subject, tls.issuer, date_text(tls.expires))
}

fn host_rows(checks: &[Check]) -> Vec<Row> {
    let mut rows = Vec::new();
    for check in checks {
        rows.push((check.name.to_owned(), format!("{:4}  {}", check.grade.label(), check.value)));
        if !check.fix.is_empty() {
            rows.push((String::new(), format!("      fix: {}", check.fix)));
        }
    }
    rows
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_told_with_the_days() {
        let day = 86_400;
        let facts = TlsFacts {
            version: "TLS 1.3",
            cipher: String::new(),
            subject: "CN=pool".to_owned(),
            issuer: "CN=ca".to_owned(),
            expires: 100 * day,
            pin: [0; 32],
        };
        let at = |days| certificate(&facts, UNIX_EPOCH + Duration::from_secs(days * day));
        assert_eq!(at(10), "CN=pool, issued by CN=ca, until 1970-04-11 00:00:00 UTC");
        assert!(at(90).ends_with(", in 10 days") && at(200).ends_with(", in 0 days"));
    }

    #[test]
    fn labels_stand_in_a_column() {
        let mut text = String::new();
        let row = |label: &str| (label.to_owned(), "x".to_owned());
        block(&mut text, "t", "ok", &[row("a"), row("long")]);
        assert_eq!(text, "t: ok\n  a     x\n  long  x\n\n");
    }
}
