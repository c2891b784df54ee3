//! Times as operators write them: `"10m"`, `"2d"`, `"1h 30m"`, or a bare number of seconds.

use std::time::Duration;

/// More digits than this in one number would only be a mistake, and keeping them out keeps every sum below
/// inside the range of `Duration` (humantime's own addition can overflow on numbers near 2^64).
const DIGITS_MAX: usize = 9;
const TEXT_BYTES_MAX: usize = 64;

/// Reads `"10m"`, `"2d"`, `"1h 30m"`, `"250ms"`; a bare number means seconds. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let longest_number = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || longest_number > DIGITS_MAX {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    humantime::parse_duration(text).ok()
}

/// Writes a time the way [`parse`] reads it, in its largest whole unit: `2d`, `10m`, `90s`, `250ms`.
pub(super) fn format(time: Duration) -> String {
    if time.subsec_nanos() != 0 {
        return if time.subsec_nanos().is_multiple_of(1_000_000) {
            format!("{}ms", time.as_millis())
        } else {
            humantime::format_duration(time).to_string()
        };
    }
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    match units.into_iter().find(|(size, _)| seconds != 0 && seconds.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings() {
        for (text, seconds) in
            [("10m", 600), ("2d", 172_800), ("7d", 604_800), ("1h 30m", 5_400), (" 15 ", 15)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for text in ["", " ", "m", "10", "-1s", "1x", "10 m s", "1e9s", "18446744073709551615s 1000ms"] {
            assert_eq!(parse(text).is_some(), text == "10", "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..u64::from(u32::MAX)) {
            let time = Duration::from_millis(millis);
            // Ten and more digits of milliseconds are refused like any such number.
            prop_assume!(format(time).trim_end_matches(char::is_alphabetic).len() <= DIGITS_MAX);
            prop_assert_eq!(parse(&format(time)), Some(time));
        }

        #[test]
        fn no_text_panics(text in "[0-9.a-zµ ]{0,70}", any in ".*") {
            let _ = (parse(&text), parse(&any));
        }
    }
}
