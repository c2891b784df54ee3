//! Figures as short texts, at most 9 characters wide, in plain ASCII: any terminal can show them.

/// `12.3 T`: three digits and a prefix of a thousand; what is none is told as `-`.
fn scaled(value: f64) -> String {
    const PREFIXES: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    if !value.is_finite() || value < 0.0 {
        return "-".to_owned();
    }
    let (mut value, mut power) = (value, 0);
    // What would be written as 1000 is written with the next prefix.
    while value >= 999.5 && power + 1 < PREFIXES.len() {
        (value, power) = (value / 1000.0, power + 1);
    }
    let digits = match value {
        value if power == 0 && value.fract() == 0.0 => format!("{value:.0}"),
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    };
    match PREFIXES[power] {
        "" => digits,
        prefix => format!("{digits} {prefix}"),
    }
}

/// The same in a unit, which stands right behind the prefix, or behind a blank where there is none.
fn in_unit(value: f64, unit: &str) -> String {
    let told = scaled(value);
    let blank = if told.ends_with(char::is_alphabetic) { "" } else { " " };
    format!("{told}{blank}{unit}")
}

/// Hashes per second.
pub(super) fn hashrate(per_second: f64) -> String {
    in_unit(per_second, "H/s")
}

pub(super) fn bytes(count: u64) -> String {
    in_unit(count as f64, "B")
}

pub(super) fn difficulty(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), scaled)
}

/// A count, exact up to nine digits.
pub(super) fn count(count: u64) -> String {
    if count < 1_000_000_000 { count.to_string() } else { scaled(count as f64) }
}

pub(super) fn per_second(value: f64) -> String {
    match scaled(value) {
        told if told == "-" => told,
        told => format!("{told}/s"),
    }
}

/// The part that `count` is of `all`.
pub(super) fn percent(count: u64, all: u64) -> String {
    match (count, all) {
        (_, 0) => "-".to_owned(),
        (0, _) => "0 %".to_owned(),
        (count, all) if count >= all => "100 %".to_owned(),
        (count, all) => format!("{:.2} %", (100.0 * count as f64 / all as f64).clamp(0.01, 99.99)),
    }
}

pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() || ms < 0.0 => "-".to_owned(),
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 9_999.5 => format!("{ms:.0} ms"),
        ms => format!("{:.0} s", ms / 1e3),
    }
}

/// The two largest units: `2d 4h`, `59s`.
pub(super) fn time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_none_is_told_as_none() {
        for (value, told) in [
            (0.0, "0 H/s"),
            (7.0, "7 H/s"),
            (999.4, "999 H/s"),
            (999.6, "1.00 kH/s"),
            (12_345.0, "12.3 kH/s"),
            (1.234e14, "123 TH/s"),
            (9.996e17, "1.00 EH/s"),
            (f64::NAN, "- H/s"),
            (-1.0, "- H/s"),
        ] {
            assert_eq!(hashrate(value), told);
        }
        assert_eq!((bytes(0), bytes(1_500_000)), ("0 B".to_owned(), "1.50 MB".to_owned()));
        assert_eq!((count(999_999_999), count(u64::MAX)), ("999999999".to_owned(), "18.4 E".to_owned()));
        for (part, all, told) in [
            (0, 0, "-"),
            (0, 5, "0 %"),
            (1, 1_000_000, "0.01 %"),
            (1, 3, "33.33 %"),
            (999_999, 1_000_000, "99.99 %"),
            (5, 5, "100 %"),
        ] {
            assert_eq!(percent(part, all), told);
        }
        let times = [0, 59, 60, 3_599, 3_600, 86_399, 86_400, 8_640_000].map(time);
        assert_eq!(times, ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 0h", "100d 0h"]);
        let waits = [0.04, 9.94, 9.96, 250.4, 9_999.0, 60_000.0, f64::INFINITY].map(milliseconds);
        assert_eq!(waits, ["0.0 ms", "9.9 ms", "10 ms", "250 ms", "9999 ms", "60 s", "-"]);
        assert_eq!((difficulty(None), difficulty(Some(8192.0))), ("-".to_owned(), "8.19 k".to_owned()));
        assert_eq!((per_second(24.96), per_second(f64::NAN)), ("25.0/s".to_owned(), "-".to_owned()));
    }
}
