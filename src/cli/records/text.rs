//! Rows and sums as text, CSV and JSON.

use super::time;
use crate::records::{MinuteRow, Part, PartSum, ReadEvent, Reason, Shares, Summary};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The first line of rows of minutes.
pub(super) const MINUTES_HEAD: &str =
    "minute,worker,accepted,rejected,refused,unanswered,lost,difficulty,best,reasons";
/// The first line of single shares.
pub(super) const EVENTS_HEAD: &str = "at,worker,pool,side,reason,difficulty,waited_us,share_difficulty,hash";

/// What stands for those that cannot be told apart.
const OTHERS: &str = "(others)";

/// A field of RFC 4180: in quotes where it has to be. No field and an empty one are not the same: that has quotes.
fn field(text: Option<&str>) -> String {
    let Some(text) = text else { return String::new() };
    let is_plain = !text.is_empty() && !text.contains([',', '"', '\r', '\n']) && text.trim() == text;
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn optional(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn reasons(reasons: &[Reason]) -> String {
    let one = |reason: &Reason| format!("{}:{}={}", reason.side, reason.name, reason.count);
    reasons.iter().map(one).collect::<Vec<_>>().join(" ")
}

pub(super) fn minute_csv(row: &MinuteRow) -> String {
    let Shares { accepted, rejected, refused, unanswered, lost, difficulty, best } = &row.shares;
    let (minute, worker) = (time::shown(row.minute.saturating_mul(60)), field(row.worker.as_deref()));
    let (best, reasons) = (optional(*best), reasons(&row.reasons));
    format!(
        "{minute},{worker},{accepted},{rejected},{refused},{unanswered},{lost},{difficulty},{best},{}",
        field((!reasons.is_empty()).then_some(&*reasons))
    )
}

pub(super) fn event_csv(row: &ReadEvent) -> String {
    [
        time::shown_ms(row.at_ms),
        field(row.worker.as_deref()),
        field(row.pool.as_deref()),
        field(Some(&row.side)),
        field(Some(&row.reason)),
        optional(row.difficulty),
        optional(row.waited_us),
        optional(row.share_difficulty),
        field(row.hash.as_deref()),
    ]
    .join(",")
}

fn reasons_json(reasons: &[Reason]) -> Value {
    reasons
        .iter()
        .map(|reason| json!({ "side": reason.side, "reason": reason.name, "count": reason.count }))
        .collect()
}

fn shares_json(shares: &Shares) -> Value {
    let Shares { accepted, rejected, refused, unanswered, lost, difficulty, best } = shares;
    json!({
        "accepted": accepted,
        "rejected": rejected,
        "refused": refused,
        "unanswered": unanswered,
        "lost": lost,
        "difficulty": difficulty,
        "best": best,
    })
}

pub(super) fn minute_json(row: &MinuteRow) -> Value {
    let mut value = shares_json(&row.shares);
    value["minute"] = time::shown(row.minute.saturating_mul(60)).into();
    value["worker"] = row.worker.clone().into();
    value["reasons"] = reasons_json(&row.reasons);
    value
}

pub(super) fn event_json(row: &ReadEvent) -> Value {
    json!({
        "at": time::shown_ms(row.at_ms),
        "worker": row.worker,
        "pool": row.pool,
        "side": row.side,
        "reason": row.reason,
        "difficulty": row.difficulty,
        "waited_us": row.waited_us,
        "share_difficulty": row.share_difficulty,
        "hash": row.hash,
    })
}

/// Sums, with what they are made of under the key `parts`.
pub(super) fn summary_json(file: &Path, summary: &Summary, parts: &str, of: &[PartSum]) -> Value {
    let minute = |minute: i64| time::shown(minute.saturating_mul(60));
    let part = |PartSum { of, shares }: &PartSum| {
        let mut value = json!({
            "accepted": shares.accepted,
            "rejected": shares.rejected,
            "refused": shares.refused,
            "difficulty": shares.difficulty,
        });
        match of {
            Part::Hour(hour) => value["hour"] = time::shown(hour.saturating_mul(3_600)).into(),
            Part::Worker(name) => value["worker"] = name.clone().into(),
        }
        value
    };
    let mut value = shares_json(&summary.shares);
    value["file"] = file.to_string_lossy().into();
    value["first_minute"] = summary.minutes.map(|(first, _)| minute(first)).into();
    value["last_minute"] = summary.minutes.map(|(_, last)| minute(last)).into();
    value["rows"] = summary.rows.into();
    value["workers"] = summary.workers.into();
    value["hashrate"] = summary.hashrate().into();
    value["reasons"] = reasons_json(&summary.reasons);
    value[parts] = of.iter().map(part).collect();
    value
}

pub(super) fn summary(file: &Path, summary: &Summary, of: &[PartSum]) -> String {
    let Some((first, last)) = summary.minutes else {
        return format!("no rows of that time in {}", file.display());
    };
    let mut text = format!(
        "{} to {}, workers: {}, rows: {}\n",
        time::shown(first.saturating_mul(60)),
        time::shown(last.saturating_add(1).saturating_mul(60)),
        summary.workers,
        summary.rows
    );
    let Shares { accepted, rejected, refused, unanswered, lost, difficulty, best } = &summary.shares;
    let answered = (accepted + rejected).max(1) as f64;
    let percent = *rejected as f64 * 100.0 / answered;
    let mut line = |name: &str, value: String| {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "{name:<12} {}", value.trim_end());
    };
    line("accepted", accepted.to_string());
    line("rejected", format!("{rejected} ({percent:.2} %) {}", of_side(summary, "pool")));
    line("refused", format!("{refused} {}", of_side(summary, "proxy")));
    line("unanswered", unanswered.to_string());
    line("lost", lost.to_string());
    line("difficulty", difficulty.to_string());
    line("hashrate", summary.hashrate().map_or_else(String::new, hashes));
    if let Some(best) = best {
        line("best share", best.to_string());
    }
    text.push_str(&table(of));
    text.trim_end().to_owned()
}

/// A line a sum, behind an empty one and a line of names.
fn table(of: &[PartSum]) -> String {
    let what = match of.first().map(|sum| &sum.of) {
        Some(Part::Hour(_)) => "hour",
        Some(Part::Worker(_)) => "worker",
        None => return String::new(),
    };
    let mut text =
        format!("\n{:>12} {:>10} {:>10} {:>16}  {what}", "accepted", "rejected", "refused", "difficulty");
    for PartSum { of, shares } in of {
        let name = match of {
            Part::Hour(hour) => time::shown(hour.saturating_mul(3_600)),
            Part::Worker(name) => {
                name.as_deref().unwrap_or(OTHERS).chars().filter(|c| !c.is_control()).collect()
            }
        };
        let Shares { accepted, rejected, refused, difficulty, .. } = shares;
        let _ = write!(text, "\n{accepted:>12} {rejected:>10} {refused:>10} {difficulty:>16}  {name}");
    }
    text
}

fn of_side(summary: &Summary, side: &str) -> String {
    let reasons = summary.reasons.iter().filter(|reason| reason.side == side);
    reasons.map(|reason| format!("{} {}", reason.name, reason.count)).collect::<Vec<_>>().join(", ")
}

fn hashes(rate: f64) -> String {
    const UNITS: [&str; 7] = ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s"];
    let mut unit = 0;
    let mut rate = rate;
    while rate >= 1_000.0 && unit + 1 < UNITS.len() {
        rate /= 1_000.0;
        unit += 1;
    }
    format!("{rate:.2} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were() {
        let none: Option<&str> = None;
        assert_eq!(field(none), "");
        for (text, written) in [
            ("", "\"\""),
            ("farm.rig", "farm.rig"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            (" edge ", "\" edge \""),
            ("né=1", "né=1"),
        ] {
            assert_eq!(field(Some(text)), written);
        }
    }

    #[test]
    fn a_row_has_as_many_fields_as_the_head() {
        let minute = MinuteRow {
            minute: 1,
            worker: Some("a.b".into()),
            shares: Shares { accepted: 1, rejected: 2, difficulty: 1.5, ..Shares::default() },
            reasons: vec![Reason { side: "pool".into(), name: "stale".into(), count: 2 }],
        };
        assert_eq!(minute_csv(&minute), "1970-01-01T00:01:00Z,a.b,1,2,0,0,0,1.5,,pool:stale=2");
        let event = ReadEvent {
            at_ms: 1,
            worker: None,
            pool: Some("p".into()),
            side: "pool".into(),
            reason: "stale".into(),
            difficulty: Some(16.0),
            waited_us: Some(7),
            share_difficulty: None,
            hash: None,
        };
        assert_eq!(event_csv(&event), "1970-01-01T00:00:00.001Z,,p,pool,stale,16,7,,");
        let fields = |line: &str| line.matches(',').count();
        assert_eq!(fields(&minute_csv(&minute)), fields(MINUTES_HEAD));
        assert_eq!(fields(&event_csv(&event)), fields(EVENTS_HEAD));
    }

    #[test]
    fn sums_are_shown_with_their_reasons_and_nothing_of_a_name_reaches_the_terminal() {
        let shares = Shares { accepted: 99, rejected: 1, difficulty: 1e6, ..Shares::default() };
        let summary_of = Summary {
            minutes: Some((60, 119)),
            rows: 3,
            workers: 2,
            shares: shares.clone(),
            reasons: vec![Reason { side: "pool".into(), name: "stale".into(), count: 1 }],
        };
        let worker = PartSum { of: Part::Worker(Some("a\u{1b}[31m".into())), shares };
        let text = summary(Path::new("r"), &summary_of, &[worker]);
        assert!(
            text.starts_with("1970-01-01T01:00:00Z to 1970-01-01T02:00:00Z, workers: 2, rows: 3\n"),
            "{text}"
        );
        assert!(
            text.contains("rejected     1 (1.00 %) stale 1\n") && text.contains("hashrate     1.19 TH/s"),
            "{text}"
        );
        assert!(text.ends_with("1000000  a[31m"), "{text}");
        assert_eq!(summary(Path::new("r"), &Summary::default(), &[]), "no rows of that time in r");
    }
}
