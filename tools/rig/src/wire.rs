//! One line of Stratum V1, read with `serde_json` and borrowed from the line. Knows shapes, not meanings.
//!
//! Refuses to be lenient: a key given twice, bytes that are no UTF-8, or anything after the object is malformed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Any message of either side: a request, a notice or an answer. Absent keys are `None`; `id` and `result` that are given
/// as `null` are `Some` with the text `null`.
#[derive(serde::Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "given")]
    pub(crate) result: Option<&'a RawValue>,
    /// `None` too when the key holds `null`: both mean that there is no error.
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Parses one line without its newline.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// The id as the bytes on the wire; `null` when there is none.
    pub(crate) fn id_text(&self) -> &'a str {
        self.id.map_or("null", RawValue::get)
    }

    pub(crate) fn method_name(&self) -> Option<&str> {
        self.method.as_ref().map(|text| text.0.as_ref())
    }

    /// Accepted means `result === true` without an error, and nothing else.
    pub(crate) fn is_accepted(&self) -> bool {
        self.error.is_none() && self.result.is_some_and(|result| result.get() == "true")
    }

    /// The code of an error in array or object form.
    pub(crate) fn error_code(&self) -> Option<i64> {
        let value: serde_json::Value = serde_json::from_str(self.error?.get()).ok()?;
        value.get(0).or_else(|| value.get("code"))?.as_i64()
    }

    /// The params as raw values; empty when there are none or when they are not an array.
    pub(crate) fn param_list(&self) -> Vec<&'a RawValue> {
        self.params.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    /// The params as a tree, for the rare messages of a handshake.
    pub(crate) fn param_tree(&self) -> serde_json::Value {
        self.params.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }
}

/// Keeps a `null` that was given apart from a key that is absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string that borrows from the line unless it holds escapes.
#[derive(serde::Deserialize, Default)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// What a raw value says if it is a string.
pub(crate) fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// A submit has five params, or six with version bits.
pub(crate) const SUBMIT_PARAMS_MAX: usize = 6;
const SUBMIT_PARAMS_MIN: usize = 5;

/// The params of `mining.submit`: all strings, 5 or 6 of them.
pub(crate) struct SubmitParams<'a> {
    fields: [Text<'a>; SUBMIT_PARAMS_MAX],
    count: usize,
}

impl<'a> SubmitParams<'a> {
    /// `None` when the params are not 5 or 6 strings.
    pub(crate) fn parse(params: Option<&'a RawValue>) -> Option<Self> {
        let parsed: Self = serde_json::from_str(params?.get()).ok()?;
        (parsed.count >= SUBMIT_PARAMS_MIN).then_some(parsed)
    }

    pub(crate) fn user(&self) -> &str {
        &self.fields[0].0
    }

    pub(crate) fn job_id(&self) -> &str {
        &self.fields[1].0
    }

    pub(crate) fn extranonce2(&self) -> &str {
        &self.fields[2].0
    }

    pub(crate) fn ntime(&self) -> &str {
        &self.fields[3].0
    }

    pub(crate) fn nonce(&self) -> &str {
        &self.fields[4].0
    }

    pub(crate) fn version_bits(&self) -> Option<&str> {
        (self.count == SUBMIT_PARAMS_MAX).then(|| self.fields[5].0.as_ref())
    }
}

impl<'de> Deserialize<'de> for SubmitParams<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SubmitVisitor)
    }
}

struct SubmitVisitor;

impl<'de> Visitor<'de> for SubmitVisitor {
    type Value = SubmitParams<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of five or six strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut params = SubmitParams { fields: Default::default(), count: 0 };
        while let Some(text) = seq.next_element::<Text<'de>>()? {
            let Some(slot) = params.fields.get_mut(params.count) else {
                return Err(serde::de::Error::invalid_length(params.count + 1, &self));
            };
            *slot = text;
            params.count += 1;
        }
        Ok(params)
    }
}

/// Reads `1..=digits_max` hex digits; `None` for anything else, a sign or a prefix included.
pub(crate) fn hex_number(text: &str, digits_max: usize) -> Option<u128> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > digits_max.min(32) {
        return None;
    }
    digits.iter().try_fold(0_u128, |sum, &digit| {
        let value = char::from(digit).to_digit(16)?;
        Some((sum << 4) | u128::from(value))
    })
}

/// As [`hex_number`] with at most eight digits.
pub(crate) fn hex_word(text: &str) -> Option<u32> {
    hex_number(text, 8).and_then(|value| u32::try_from(value).ok())
}

/// Appends `value` as exactly `digits` lower-case hex digits; higher digits of the value are cut off.
pub(crate) fn push_hex(out: &mut Vec<u8>, value: u128, digits: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for position in (0..digits).rev() {
        let nibble = if position < 32 { (value >> (position * 4)) & 15 } else { 0 };
        out.push(DIGITS[usize::try_from(nibble).unwrap_or(0)]);
    }
}

/// Appends `value` in decimal.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_as_they_were_written() {
        for id in ["0", "-7", "18446744073709551616", "\"a\\u0041\"", "null", "1.50"] {
            let line = format!("{{ \"id\" : {id} , \"method\":\"mining.ping\",\"worker\":1}}");
            assert_eq!(Message::parse(line.as_bytes()).unwrap().id_text(), id);
        }
        assert_eq!(Message::parse(b"{\"method\":\"x\"}").unwrap().id_text(), "null");
    }

    #[test]
    fn only_true_without_error_is_accepted() {
        let accepted = |line: &str| Message::parse(line.as_bytes()).unwrap().is_accepted();
        assert!(accepted("{\"id\":1,\"result\":true,\"error\":null}"));
        assert!(accepted("{\"id\":1,\"result\":true}"));
        assert!(!accepted("{\"id\":1,\"result\":false,\"error\":null}"));
        assert!(!accepted("{\"id\":1,\"result\":null,\"error\":null}"));
        assert!(!accepted("{\"id\":1,\"result\":true,\"error\":[21,\"Job not found\",\"\"]}"));
    }

    #[test]
    fn error_codes_of_arrays_and_objects() {
        let code = |line: &str| Message::parse(line.as_bytes()).unwrap().error_code();
        assert_eq!(code("{\"id\":1,\"result\":null,\"error\":[23,\"Low\",null]}"), Some(23));
        assert_eq!(code("{\"id\":1,\"error\":{\"code\":-2,\"message\":\"x\"}}"), Some(-2));
        assert_eq!(code("{\"id\":1,\"error\":\"bare\"}"), None);
    }

    #[test]
    fn submits_take_five_or_six_strings() {
        let parse = |params: &str| {
            let line = format!("{{\"id\":1,\"method\":\"mining.submit\",\"params\":{params}}}");
            let message = Message::parse(line.as_bytes()).unwrap();
            SubmitParams::parse(message.params)
                .map(|p| (p.user().to_owned(), p.version_bits().map(str::to_owned)))
        };
        assert_eq!(parse(r#"["u\u00e9","j","00","1","2"]"#), Some(("u\u{e9}".to_owned(), None)));
        assert_eq!(
            parse(r#"["u","j","00","1","2","2000"]"#),
            Some(("u".to_owned(), Some("2000".to_owned())))
        );
        assert_eq!(parse(r#"["u","j","00","1"]"#), None);
        assert_eq!(parse(r#"["u","j","00","1","2","3","4"]"#), None);
        assert_eq!(parse(r#"["u","j",0,"1","2"]"#), None);
    }

    #[test]
    fn numbers_round_trip() {
        let mut out = Vec::new();
        push_hex(&mut out, 0xab_u128, 8);
        push_decimal(&mut out, 0);
        push_decimal(&mut out, u64::MAX);
        assert_eq!(out, b"000000ab018446744073709551615");
        assert_eq!(hex_word("1fffe000"), Some(0x1fff_e000));
        assert_eq!(hex_word("+1"), None);
        assert_eq!(hex_word(""), None);
        assert_eq!(hex_word("123456789"), None);
        assert_eq!(hex_number(&"f".repeat(32), 32), Some(u128::MAX));
    }
}
