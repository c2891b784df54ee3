//! The signature of a post: HMAC-SHA256 over the time of the attempt and the body, so that the receiver knows who sent it,
//! and can drop what is old. It shows the secret to nobody.

use crate::config::Secret;
use ring::hmac::{HMAC_SHA256, Key, sign};
use std::fmt;

/// What signs; nothing where there is no secret.
pub(super) struct Signer(Option<Key>);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Signer(hidden)" } else { "Signer(none)" })
    }
}

impl Signer {
    pub(super) fn new(secret: &Secret) -> Signer {
        Signer((!secret.is_empty()).then(|| Key::new(HMAC_SHA256, secret.reveal().as_bytes())))
    }

    /// `v1=` and 64 hex digits, over `SECONDS.BODY`.
    pub(super) fn sign(&self, unix_seconds: u64, body: &str) -> Option<String> {
        let tag = sign(self.0.as_ref()?, format!("{unix_seconds}.{body}").as_bytes());
        Some(format!("v1={}", hex(tag.as_ref())))
    }
}

/// Bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '1700000000.{"text":"x"}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
    const BY_OPENSSL: &str = "d45a4099794762678794e4c0fd69e6b1d0dae5521f4cd90db7b29cc57844a36f";

    #[test]
    fn a_signature_is_what_other_programs_make_of_it() {
        let signer = Signer::new(&Secret::new("0123456789abcdef"));
        assert_eq!(signer.sign(1_700_000_000, "{\"text\":\"x\"}").unwrap(), format!("v1={BY_OPENSSL}"));
        assert_eq!(Signer::new(&Secret::default()).sign(1, "x"), None);
        assert!(!format!("{signer:?}").contains("0123456789abcdef"));
    }
}
