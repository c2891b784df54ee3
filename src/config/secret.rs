//! Text that must never reach a log, an error message or an API answer.

use std::fmt;

/// A secret such as the pool password. `Debug` and `Display` print `(hidden)`, so that a section can be
/// logged whole; only [`Secret::reveal`] gives the text, which makes every use of it easy to find.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

/// What is printed in place of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

impl Secret {
    /// Wraps a text that must not be printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True when no secret was configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { HIDDEN })
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "(hidden) (hidden) Some((hidden))");
        assert_eq!(secret.reveal(), "hunter2");
        assert_eq!(format!("{:?}", Secret::default()), "(none)");
    }
}
