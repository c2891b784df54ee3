//! A value as its source gave it, before any key has accepted it.

use toml::de::DeValue;

/// Characters of a value that are repeated in a message.
const SHOWN_CHARS_MAX: usize = 60;

/// A value of the file in the few shapes that keys can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Whole(i128),
    Switch(bool),
    Text(String),
    List(Vec<Value>),
    /// A float, a date, a table: nothing here takes one.
    Other,
}

impl From<&DeValue<'_>> for Value {
    fn from(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(whole) => match i128::from_str_radix(whole.as_str(), whole.radix()) {
                Ok(number) => Self::Whole(number),
                Err(_) => Self::Other,
            },
            DeValue::Boolean(switch) => Self::Switch(*switch),
            DeValue::Array(list) => Self::List(list.iter().map(|item| Self::from(item.get_ref())).collect()),
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => Self::Other,
        }
    }
}

/// What a form reads: a typed value of the file, or plain text of the environment or the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    Toml(Value),
    Plain(String),
    /// An environment variable whose bytes are no UTF-8.
    NotText,
}

impl Given {
    pub(super) fn whole(&self) -> Option<u64> {
        match self {
            Self::Toml(Value::Whole(number)) => u64::try_from(*number).ok(),
            Self::Plain(text) => text.trim().parse().ok(),
            Self::Toml(Value::Switch(_) | Value::Text(_) | Value::List(_) | Value::Other) | Self::NotText => {
                None
            }
        }
    }

    pub(super) fn switch(&self) -> Option<bool> {
        match self {
            Self::Toml(Value::Switch(switch)) => Some(*switch),
            Self::Plain(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            Self::Toml(Value::Whole(_) | Value::Text(_) | Value::List(_) | Value::Other) | Self::NotText => {
                None
            }
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(Value::Text(text)) | Self::Plain(text) => Some(text),
            Self::Toml(Value::Whole(_) | Value::Switch(_) | Value::List(_) | Value::Other)
            | Self::NotText => None,
        }
    }

    /// A list of texts; a single text is a list of one. In plain text the items are separated by commas.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Toml(Value::List(list)) => list
                .iter()
                .map(|item| match item {
                    Value::Text(text) => Some(text.clone()),
                    Value::Whole(_) | Value::Switch(_) | Value::List(_) | Value::Other => None,
                })
                .collect(),
            Self::Toml(Value::Text(text)) => Some(vec![text.clone()]),
            Self::Plain(text) if text.trim().is_empty() => Some(Vec::new()),
            Self::Plain(text) => Some(text.split(',').map(|item| item.trim().to_owned()).collect()),
            Self::Toml(Value::Whole(_) | Value::Switch(_) | Value::Other) | Self::NotText => None,
        }
    }
}

/// A piece of input made safe and short enough for one line of a message: control characters are escaped.
pub(super) fn shown(text: &str) -> String {
    escaped(text, SHOWN_CHARS_MAX)
}

/// A path made safe for one line of a message. It is not cut: the operator must be able to find the file.
pub(super) fn shown_path(path: &str) -> String {
    escaped(path, usize::MAX)
}

fn escaped(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == chars_max {
            line.push('…');
            break;
        }
        if character.is_control() || is_invisible(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line
}

/// Characters that change how a terminal shows the rest of the line.
fn is_invisible(character: char) -> bool {
    let ranges =
        ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    ranges.iter().any(|range| range.contains(&character))
}
