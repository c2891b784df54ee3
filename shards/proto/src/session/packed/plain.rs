//! Bytes and numbers as text. It refuses what is not exact: every byte and every bit of a number comes back as it was.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of any kind, written as lower-case hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::session) struct Hex(pub(in crate::session) Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
        let text: String = self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.as_bytes();
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(value(*high)? << 4 | value(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        bytes.map(Hex).ok_or_else(|| D::Error::custom("no bytes in hexadecimal digits"))
    }
}

/// A difficulty, finite and not below zero: written as text, since readers of JSON differ in the last digit of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::session) struct Exact(pub(in crate::session) f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:?}", self.0))
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exact, D::Error> {
        let number: Option<f64> = String::deserialize(deserializer)?.parse().ok();
        let number = number.filter(|number| number.is_finite() && *number >= 0.0);
        number.map(Exact).ok_or_else(|| D::Error::custom("no difficulty"))
    }
}

/// For a field that may be null and may not be missing, which serde would take for null.
pub(in crate::session) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}
