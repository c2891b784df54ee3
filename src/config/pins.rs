//! Pins of public keys, `sha256/BASE64`.

use super::key::{Form, must_be};
use super::value::Given;

const PREFIX: &str = "sha256/";
/// The base64 of 32 bytes, the `=` at its end included.
const BASE64_BYTES: usize = 44;

/// A list of pins, none twice.
pub(super) struct Pins {
    pub(super) count_max: usize,
}

impl Form for Pins {
    type Out = Vec<[u8; 32]>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Vec<[u8; 32]>, String> {
        let texts = given.texts().filter(|texts| texts.len() <= self.count_max);
        let mut pins = Vec::new();
        for text in texts.ok_or_else(|| must_be(self))? {
            let pin = text.trim().strip_prefix(PREFIX).and_then(hash).ok_or_else(|| must_be(self))?;
            if pins.contains(&pin) {
                return Err(format!("names {} twice", text.trim()));
            }
            pins.push(pin);
        }
        Ok(pins)
    }

    fn allowed(&self) -> String {
        format!("a list of at most {} pins, each \"{PREFIX}\" and the base64 of 32 bytes", self.count_max)
    }

    fn default_value(&self, _default: &()) -> Vec<[u8; 32]> {
        Vec::new()
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("[]".to_owned())
    }
}

/// Reads the base64 of exactly 32 bytes. Of the last digit only four bits belong to them; the others must be zero, so
/// that no two texts are the same pin.
fn hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_suffix('=').filter(|_| text.len() == BASE64_BYTES)?;
    let (mut bytes, mut count) = ([0_u8; 32], 0);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in digits.bytes() {
        bits = bits << 6 | u32::from(sextet(digit)?);
        held += 6;
        if held >= 8 {
            held -= 8;
            *bytes.get_mut(count)? = u8::try_from(bits >> held).ok()?;
            count += 1;
            bits &= (1 << held) - 1;
        }
    }
    (count == bytes.len() && bits == 0).then_some(bytes)
}

fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fn base64(bytes: &[u8; 32]) -> String {
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let [a, b, c] = [0, 1, 2].map(|at| u32::from(group.get(at).copied().unwrap_or(0)));
            let bits = a << 16 | b << 8 | c;
            for at in 0..=group.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]));
            }
        }
        text + "="
    }

    #[test]
    fn what_is_a_pin() {
        // The SHA-256 of no bytes at all.
        let empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        assert_eq!(hash(empty).map(|bytes| bytes[..4].to_vec()), Some(vec![0xe3, 0xb0, 0xc4, 0x42]));
        assert_eq!(hash(empty).map(|bytes| bytes[31]), Some(0x55));
        let unpadded = empty.trim_end_matches('=');
        for text in [
            "".to_owned(),
            unpadded.to_owned(),
            format!("{unpadded}A"),
            format!("{unpadded}=="),
            format!("A{empty}"),
            empty.replace('+', "-"),
            // Two bits too many in the last digit.
            empty.replace("U=", "V="),
            format!("{}é=", &empty[..41]),
        ] {
            assert_eq!(hash(&text), None, "{text}");
        }
        let read = |text: &str| Pins { count_max: 2 }.read(&Given::Plain(text.to_owned()));
        assert_eq!(read(&format!("sha256/{empty}")).map(|pins| pins.len()), Ok(1));
        assert_eq!(read(""), Ok(Vec::new()));
        assert_eq!(
            read(&format!("sha256/{empty},sha256/{empty}")),
            Err(format!("names sha256/{empty} twice"))
        );
        assert!(read(empty).is_err() && read(&format!("sha1/{empty}")).is_err());
    }

    proptest! {
        #[test]
        fn every_hash_is_read_back(bytes in any::<[u8; 32]>()) {
            prop_assert_eq!(hash(&base64(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in "[A-Za-z0-9+/=é]{40,48}", any in ".*") {
            let _ = (hash(&text), hash(&any));
        }
    }
}
