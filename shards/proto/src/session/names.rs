//! Whose account a miner works for: `pool.username` replaces the account, the worker's part stays byte for byte.

use crate::message::Authorize;
use crate::wire::{Json, JsonKind, Span, write};

/// What is done with the user names of miners.
#[derive(Debug, Clone, Default)]
pub struct UserRule {
    account: Option<Account>,
    separators: Vec<String>,
}

#[derive(Debug, Clone)]
struct Account {
    /// The inside of a JSON string.
    username: Vec<u8>,
    /// A whole JSON string.
    password: Option<Vec<u8>>,
}

impl UserRule {
    /// `username` empty: names and passwords of miners pass through. `password` empty: only passwords do.
    /// The worker's part begins at the first of `separators`, in their order, that the miner's name holds.
    #[must_use]
    pub fn new(username: &str, password: &str, separators: &[String]) -> UserRule {
        let account = (!username.is_empty()).then(|| {
            let mut name = Vec::new();
            write::escape(&mut name, username);
            let mut quoted = vec![b'"'];
            write::escape(&mut quoted, password);
            quoted.push(b'"');
            Account { username: name, password: (!password.is_empty()).then_some(quoted) }
        });
        UserRule { account, separators: separators.iter().filter(|s| !s.is_empty()).cloned().collect() }
    }

    /// Whether an account takes the place of the miner's.
    #[must_use]
    pub fn replaces_account(&self) -> bool {
        self.account.is_some()
    }

    /// Appends `line`, whose user is `user`, with the account in its place, and without the bytes of `cut`, which stand
    /// behind the user.
    pub(crate) fn write_submit(&self, out: &mut Vec<u8>, line: &[u8], user: Json<'_>, cut: Option<Span>) {
        let account = self.account.as_ref().zip(user.string_span());
        let name =
            account.map(|(account, span)| (self.account_part(line, span), account.username.as_slice()));
        match (name, cut) {
            (None, None) => out.extend_from_slice(line),
            (Some(name), None) => write::splice(out, line, &[name]),
            (None, Some(cut)) => write::splice(out, line, &[(cut, b"")]),
            (Some(name), Some(cut)) => write::splice(out, line, &[name, (cut, b"")]),
        }
    }

    /// Appends the authorize `line` with account and password in their places.
    pub(crate) fn write_authorize(&self, out: &mut Vec<u8>, line: &[u8], authorize: &Authorize<'_>) {
        let (Some(account), Some(user)) = (&self.account, authorize.user.string_span()) else {
            out.extend_from_slice(line);
            return;
        };
        let name = (self.account_part(line, user), account.username.as_slice());
        let Some(password) = &account.password else {
            write::splice(out, line, &[name]);
            return;
        };
        match authorize.password {
            Some(given) => {
                let span = password_span(line, user, given);
                write::splice(out, line, &[name, (span, password)]);
            }
            None => {
                let after = Span { start: user.end + 1, end: user.end + 1 };
                write::splice(out, line, &[name, (after, b","), (after, password)]);
            }
        }
    }

    /// The bytes of the name up to its separator, or all of them. Separators are no letters, digits, quotes or
    /// backslashes, so none is ever found inside an escape.
    fn account_part(&self, line: &[u8], name: Span) -> Span {
        let bytes = &line[name.start..name.end];
        let found =
            self.separators.iter().find_map(|separator| memchr::memmem::find(bytes, separator.as_bytes()));
        Span { start: name.start, end: name.start + found.unwrap_or(bytes.len()) }
    }
}

/// The second parameter with its quotes: what stands behind the comma that follows the user.
fn password_span(line: &[u8], user: Span, given: Json<'_>) -> Span {
    if let Some(inside) = given.string_span() {
        return Span { start: inside.start - 1, end: inside.end + 1 };
    }
    debug_assert!(!matches!(given.kind(), JsonKind::Array | JsonKind::Object));
    let blank = |b: &u8| b.is_ascii_whitespace() || *b == b',';
    let start = user.end + 1 + line[user.end + 1..].iter().take_while(|b| blank(b)).count();
    let ends = |b: &u8| blank(b) || *b == b']';
    let end = line[start..].iter().position(ends).map_or(line.len(), |length| start + length);
    Span { start, end }
}
