//! The form of a token: a secret that is long enough not to be guessed, or none.

use super::form::{Hidden, Text};
use super::key::{Form, must_be};
use super::secret::Secret;
use super::value::Given;

/// Empty, or a text of printable ASCII without spaces, of limited length in bytes; never shown.
pub(super) struct Token(pub(super) Hidden);

impl Form for Token {
    type Out = Secret;
    type Default = &'static str;

    fn read(&self, given: &Given) -> Result<Secret, String> {
        match given.text() {
            Some("") => Ok(Secret::default()),
            // Anything else could not stand in a header.
            Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(must_be(self)),
            Some(_) | None => self.0.read(given).map_err(|_| must_be(self)),
        }
    }

    fn allowed(&self) -> String {
        let Hidden(Text { min, max }) = self.0;
        format!("empty, or {min} to {max} printable ASCII characters without spaces")
    }

    fn default_value(&self, default: &&'static str) -> Secret {
        self.0.default_value(default)
    }

    fn default_toml(&self, default: &&'static str) -> Option<String> {
        self.0.default_toml(default)
    }

    fn is_secret(&self, text: &str) -> bool {
        self.0.is_secret(text)
    }
}
