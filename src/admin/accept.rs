//! Which form of `/metrics` or of the first page a client wants, by its Accept header.

/// A form of `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Prometheus text.
    Prometheus,
    /// JSON.
    Json,
}

/// Media ranges of an Accept header that are looked at; what follows is not.
const RANGES_MAX: usize = 32;
/// Types that a client of Prometheus text asks for.
const TEXT: [(&str, &str); 2] = [("text", "plain"), ("application", "openmetrics-text")];
const JSON: [(&str, &str); 1] = [("application", "json")];
const PLAIN: [(&str, &str); 1] = [("text", "plain")];
const HTML: [(&str, &str); 1] = [("text", "html")];

impl Form {
    /// The form that `accept` prefers; `default` when it prefers none, takes neither, or is absent.
    #[must_use]
    pub fn choose(accept: Option<&str>, default: Form) -> Form {
        let accept = accept.unwrap_or("*/*");
        let (text, json) = (quality(accept, &TEXT), quality(accept, &JSON));
        match text.cmp(&json) {
            std::cmp::Ordering::Greater => Form::Prometheus,
            std::cmp::Ordering::Less => Form::Json,
            std::cmp::Ordering::Equal => default,
        }
    }
}

/// Whether a page is liked better than plain text. Who takes anything gets the text: it is not a browser.
pub(super) fn wants_html(accept: &str) -> bool {
    quality(accept, &HTML) > quality(accept, &PLAIN)
}

/// The best quality, in thousandths, that the header gives to one of the types. For each the closest range counts.
fn quality(accept: &str, types: &[(&str, &str)]) -> u32 {
    let of = |(main, sub): &(&str, &str)| {
        let ranges = accept.split(',').take(RANGES_MAX).filter_map(|range| fit(range, main, sub));
        ranges.max_by_key(|(closeness, _)| *closeness).map_or(0, |(_, quality)| quality)
    };
    types.iter().map(of).max().unwrap_or(0)
}

/// How closely a range names the type (0 to 2) and its quality in thousandths; `None` when it does not.
fn fit(range: &str, main: &str, sub: &str) -> Option<(u8, u32)> {
    let mut parts = range.split(';').map(str::trim);
    let (range_main, range_sub) = parts.next()?.split_once('/')?;
    let closeness = match (range_main, range_sub) {
        ("*", "*") => 0,
        (named, "*") if named.eq_ignore_ascii_case(main) => 1,
        (named, exact) if named.eq_ignore_ascii_case(main) && exact.eq_ignore_ascii_case(sub) => 2,
        _ => return None,
    };
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    // A weight that is no number is as good as none.
    let weight = weight.and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0);
    Some((closeness, (weight.clamp(0.0, 1.0) * 1000.0) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_form_is_chosen() {
        let cases = [
            (None, Form::Prometheus),
            (Some("*/*"), Form::Prometheus),
            (Some(""), Form::Prometheus),
            (Some("image/png"), Form::Prometheus),
            (Some("text/plain"), Form::Prometheus),
            (Some("application/json"), Form::Json),
            (Some("Application/JSON; charset=utf-8"), Form::Json),
            (Some("application/json, */*;q=0.5"), Form::Json),
            (Some("application/json;q=0.2, text/plain"), Form::Prometheus),
            (Some("application/*"), Form::Prometheus),
            (Some("text/html, application/json;q=0.9, */*;q=0.8"), Form::Json),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Form::Prometheus),
            (Some("*/*, application/json;q=0"), Form::Prometheus),
            (Some("application/json;q=nonsense"), Form::Json),
            // What Prometheus 2 and 3 send.
            (
                Some("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
                Form::Prometheus,
            ),
        ];
        for (accept, form) in cases {
            assert_eq!(Form::choose(accept, Form::Prometheus), form, "{accept:?}");
        }
    }

    #[test]
    fn a_page_is_for_those_who_ask_for_it() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";
        for (accept, is_page) in [
            (browser, true),
            ("text/html", true),
            ("TEXT/HTML, text/plain;q=0.5", true),
            ("", false),
            ("*/*", false),
            ("text/*", false),
            ("text/plain, text/html;q=0.5", false),
            ("application/json", false),
            ("text/html;q=0, */*", false),
        ] {
            assert_eq!(wants_html(accept), is_page, "{accept}");
        }
    }

    #[test]
    fn the_default_decides_when_the_client_does_not_care() {
        assert_eq!(Form::choose(Some("*/*"), Form::Json), Form::Json);
        assert_eq!(Form::choose(None, Form::Json), Form::Json);
        assert_eq!(Form::choose(Some("text/plain"), Form::Json), Form::Prometheus);
    }
}
