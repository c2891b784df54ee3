//! Times as operators write them on the command line, and as they are shown: UTC.

use crate::config;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of Unix time from a day, a time, or how long ago it was.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let wrong =
        || "expected 2026-11-25, 2026-11-25T04:00:00Z, or a time ago such as 90m, 2h or 7d".to_owned();
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let at = match humantime::parse_rfc3339_weak(&whole) {
        Ok(at) => at,
        Err(_) => {
            let ago = config::duration(text).ok_or_else(wrong)?;
            SystemTime::now().checked_sub(ago).ok_or_else(wrong)?
        }
    };
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| wrong())?;
    i64::try_from(since.as_secs()).map_err(|_| wrong())
}

/// The second, as RFC 3339 has it.
pub(super) fn shown(seconds: i64) -> String {
    humantime::format_rfc3339_seconds(at_ms(seconds.saturating_mul(1_000))).to_string()
}

/// The millisecond, as RFC 3339 has it.
pub(super) fn shown_ms(milliseconds: i64) -> String {
    humantime::format_rfc3339_millis(at_ms(milliseconds)).to_string()
}

/// What no calendar holds, of a file that somebody has changed, becomes its end.
fn at_ms(milliseconds: i64) -> SystemTime {
    /// The last millisecond of the year 9999.
    const LAST: u64 = 253_402_300_799_999;
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0).min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_times_and_ages() {
        assert_eq!(parse("1970-01-02"), Ok(86_400));
        assert_eq!(parse("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(parse("1970-01-01 00:01:00"), Ok(60));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let hours = parse("2h").unwrap();
        assert!((now - 7_205..=now - 7_195).contains(&u64::try_from(hours).unwrap()));
        for wrong in ["", "yesterday", "2026-13-01", "1969-12-31", "99999999999999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (shown(60), shown_ms(1)),
            ("1970-01-01T00:01:00Z".into(), "1970-01-01T00:00:00.001Z".into())
        );
        assert_eq!(
            (shown(-1), shown(i64::MAX)),
            ("1970-01-01T00:00:00Z".into(), "9999-12-31T23:59:59Z".into())
        );
    }
}
