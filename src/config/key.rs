//! What is known about one key. The table of all keys is made of these; the reader, the reference text, the
//! environment overlay and the suggestions all come from it.

use super::secret::HIDDEN;
use super::value::Given;

/// A kind of value: how it is read, and how its allowed range is said.
pub(super) trait Form: Sync {
    /// The checked value.
    type Out;
    /// The default, as a constant.
    type Default: Sync;

    /// Reads a value; the error is what a message says after the colon, such as `must be a whole number from
    /// 1 to 9`.
    fn read(&self, given: &Given) -> Result<Self::Out, String>;
    /// What is allowed, to be read after "must be".
    fn allowed(&self) -> String;
    /// The default as a checked value.
    fn default_value(&self, default: &Self::Default) -> Self::Out;
    /// The default as TOML; `None` when the key has none.
    fn default_toml(&self, default: &Self::Default) -> Option<String>;
    /// True when this text must not be repeated in a message.
    fn is_secret(&self, _text: &str) -> bool {
        false
    }
}

/// The message for a value that is not what the form allows.
pub(super) fn must_be<F: Form>(form: &F) -> String {
    format!("must be {}", form.allowed())
}

/// One key of the configuration.
pub(super) struct Key<F: Form> {
    path: &'static str,
    form: F,
    default: F::Default,
    aliases: &'static [&'static str],
    flag: Option<&'static str>,
    at_start: bool,
    doc: &'static str,
}

impl<F: Form> Key<F> {
    pub(super) const fn new(path: &'static str, form: F, default: F::Default, doc: &'static str) -> Self {
        Self { path, form, default, aliases: &[], flag: None, at_start: false, doc }
    }

    /// Names of environment variables that mean this key beside `LOKA_<SECTION>_<KEY>`.
    pub(super) const fn aliases(mut self, names: &'static [&'static str]) -> Self {
        self.aliases = names;
        self
    }

    /// The flag of the command line that sets this key.
    pub(super) const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    /// It is read when the process starts, and a reload cannot change it.
    pub(super) const fn at_start(mut self) -> Self {
        self.at_start = true;
        self
    }

    pub(super) fn read(&self, given: &Given) -> Result<F::Out, String> {
        self.form.read(given)
    }

    pub(super) fn default_value(&self) -> F::Out {
        self.form.default_value(&self.default)
    }
}

/// A key without its type, for the table.
pub(super) trait Entry: Sync {
    /// `section.key`.
    fn path(&self) -> &'static str;
    /// Names of its environment variables, the regular one first.
    fn environment(&self) -> Vec<String>;
    fn flag(&self) -> Option<&'static str>;
    /// Whether only the next start takes a change.
    fn is_at_start(&self) -> bool;
    fn doc(&self) -> &'static str;
    fn allowed(&self) -> String;
    fn default_toml(&self) -> Option<String>;
    /// Checks a value without keeping it.
    fn verify(&self, given: &Given) -> Result<(), String>;
    /// True when nobody may be shown this value.
    fn is_secret(&self, given: &Given) -> bool;
    /// The value as a message may show it; `text` is as it was written.
    fn shown(&self, given: &Given, text: &str) -> String;
}

impl<F: Form> Entry for Key<F> {
    fn path(&self) -> &'static str {
        self.path
    }

    fn environment(&self) -> Vec<String> {
        let regular = format!("LOKA_{}", self.path.replace('.', "_").to_uppercase());
        std::iter::once(regular).chain(self.aliases.iter().map(|name| (*name).to_owned())).collect()
    }

    fn flag(&self) -> Option<&'static str> {
        self.flag
    }

    fn is_at_start(&self) -> bool {
        self.at_start
    }

    fn doc(&self) -> &'static str {
        self.doc
    }

    fn allowed(&self) -> String {
        self.form.allowed()
    }

    fn default_toml(&self) -> Option<String> {
        self.form.default_toml(&self.default)
    }

    fn verify(&self, given: &Given) -> Result<(), String> {
        self.form.read(given).map(|_| ())
    }

    fn is_secret(&self, given: &Given) -> bool {
        self.form.is_secret(given.text().unwrap_or_default())
    }

    fn shown(&self, given: &Given, text: &str) -> String {
        let secret = self.form.is_secret(given.text().unwrap_or(text));
        if secret { HIDDEN.to_owned() } else { super::value::shown(text) }
    }
}
