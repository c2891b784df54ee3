//! The kinds of values that keys take: numbers, switches, times, texts, choices. Those of the network are in
//! `net`.

use std::time::Duration;

use super::duration;
use super::key::{Form, must_be};
use super::secret::Secret;
use super::value::{Given, Value};

/// A whole number in a closed range.
pub(super) struct Whole {
    pub(super) min: u32,
    pub(super) max: u32,
}

impl Form for Whole {
    type Out = u32;
    type Default = u32;

    fn read(&self, given: &Given) -> Result<u32, String> {
        let number = given.whole().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| (self.min..=self.max).contains(number)).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn default_value(&self, default: &u32) -> u32 {
        *default
    }

    fn default_toml(&self, default: &u32) -> Option<String> {
        Some(default.to_string())
    }
}

/// `true` or `false`.
pub(super) struct Switch;

impl Form for Switch {
    type Out = bool;
    type Default = bool;

    fn read(&self, given: &Given) -> Result<bool, String> {
        given.switch().ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn default_value(&self, default: &bool) -> bool {
        *default
    }

    fn default_toml(&self, default: &bool) -> Option<String> {
        Some(default.to_string())
    }
}

/// A time in a closed range, `"10m"` or a whole number of seconds.
pub(super) struct Time {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

impl Form for Time {
    type Out = Duration;
    type Default = Duration;

    fn read(&self, given: &Given) -> Result<Duration, String> {
        let time = match given {
            Given::Toml(Value::Whole(_)) => given.whole().map(Duration::from_secs),
            Given::Toml(Value::Text(text)) | Given::Plain(text) => duration::parse(text),
            Given::Toml(Value::Switch(_) | Value::List(_) | Value::Other) | Given::NotText => None,
        };
        time.filter(|time| (self.min..=self.max).contains(time)).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        let (min, max) = (duration::format(self.min), duration::format(self.max));
        format!("a time from {min} to {max}, such as \"30s\" or \"5m\", or a whole number of seconds")
    }

    fn default_value(&self, default: &Duration) -> Duration {
        *default
    }

    fn default_toml(&self, default: &Duration) -> Option<String> {
        Some(format!("\"{}\"", duration::format(*default)))
    }
}

/// A text without control characters, of limited length in bytes.
pub(super) struct Text {
    pub(super) min: usize,
    pub(super) max: usize,
}

impl Form for Text {
    type Out = String;
    type Default = &'static str;

    fn read(&self, given: &Given) -> Result<String, String> {
        let text = given.text().filter(|text| (self.min..=self.max).contains(&text.len()) && is_clean(text));
        text.map(str::to_owned).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        match self.min {
            0 => format!("a text of at most {} bytes without control characters", self.max),
            min => format!("a text of {min} to {} bytes without control characters", self.max),
        }
    }

    fn default_value(&self, default: &&'static str) -> String {
        (*default).to_owned()
    }

    fn default_toml(&self, default: &&'static str) -> Option<String> {
        Some(format!("\"{default}\""))
    }
}

/// A text that is never shown.
pub(super) struct Hidden(pub(super) Text);

impl Form for Hidden {
    type Out = Secret;
    type Default = &'static str;

    fn read(&self, given: &Given) -> Result<Secret, String> {
        self.0.read(given).map(Secret::new)
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn default_value(&self, default: &&'static str) -> Secret {
        Secret::new(*default)
    }

    fn default_toml(&self, default: &&'static str) -> Option<String> {
        self.0.default_toml(default)
    }

    fn is_secret(&self, _text: &str) -> bool {
        true
    }
}

/// A list of short texts, none of them empty or named twice.
pub(super) struct Words {
    pub(super) count_max: usize,
    pub(super) bytes_max: usize,
}

impl Form for Words {
    type Out = Vec<String>;
    type Default = &'static [&'static str];

    fn read(&self, given: &Given) -> Result<Vec<String>, String> {
        let words = given.texts().filter(|words| {
            words.len() <= self.count_max
                && words.iter().all(|word| (1..=self.bytes_max).contains(&word.len()) && is_clean(word))
        });
        let words = words.ok_or_else(|| must_be(self))?;
        match words.iter().enumerate().find(|(index, word)| words[..*index].contains(word)) {
            Some((_, word)) => Err(format!("names \"{word}\" twice")),
            None => Ok(words),
        }
    }

    fn allowed(&self) -> String {
        let Self { count_max, bytes_max } = self;
        format!("a text or a list of at most {count_max} texts, each of 1 to {bytes_max} bytes")
    }

    fn default_value(&self, default: &Self::Default) -> Vec<String> {
        default.iter().map(|word| (*word).to_owned()).collect()
    }

    fn default_toml(&self, default: &Self::Default) -> Option<String> {
        let words: Vec<String> = default.iter().map(|word| format!("\"{word}\"")).collect();
        Some(format!("[{}]", words.join(", ")))
    }
}

/// One of a few words. Other spellings of the same choices are accepted and not listed.
pub(super) struct Choice<T: 'static> {
    pub(super) listed: &'static [(&'static str, T)],
    pub(super) accepted: &'static [(&'static str, T)],
}

impl<T: Copy + PartialEq + Sync> Form for Choice<T> {
    type Out = T;
    type Default = T;

    fn read(&self, given: &Given) -> Result<T, String> {
        let word = given.text().map(|text| text.trim().to_ascii_lowercase()).ok_or_else(|| must_be(self))?;
        let found = self.listed.iter().chain(self.accepted).find(|(name, _)| *name == word);
        found.map(|(_, choice)| *choice).ok_or_else(|| must_be(self))
    }

    fn allowed(&self) -> String {
        let names: Vec<String> = self.listed.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("one of {}", names.join(", "))
    }

    fn default_value(&self, default: &T) -> T {
        *default
    }

    fn default_toml(&self, default: &T) -> Option<String> {
        self.listed.iter().find(|(_, choice)| choice == default).map(|(name, _)| format!("\"{name}\""))
    }
}

/// True for a text that can stand in a log line and in a JSON string as it is.
pub(super) fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
