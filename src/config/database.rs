//! `records.url`: the database that share records of many hosts go to. Nothing is connected to here.

use std::path::PathBuf;

use super::form::is_clean;
use super::key::{Form, must_be};
use super::net::host_and_port;
use super::secret::Secret;
use super::sections::{Database, DatabasePlace, SslMode};
use super::value::Given;

/// The longest address that is taken.
const URL_BYTES_MAX: usize = 2_048;
/// Bytes of a user, a database or a folder. PostgreSQL itself cuts names at 63.
const NAME_BYTES_MAX: usize = 128;
const PASSWORD_BYTES_MAX: usize = 1_024;
/// The port of PostgreSQL.
const PORT: u16 = 5_432;

/// `postgres://user:password@host:port/database?sslmode=…`, or nothing. Never shown as it was written.
pub(super) struct DatabaseUrl;

impl Form for DatabaseUrl {
    type Out = Option<Database>;
    type Default = ();

    fn read(&self, given: &Given) -> Result<Option<Database>, String> {
        let text = given.text().ok_or_else(|| must_be(self))?.trim();
        if text.is_empty() {
            return Ok(None);
        }
        match database(text) {
            Ok(database) => Ok(Some(database)),
            Err(Wrong::Form) => Err(must_be(self)),
            Err(Wrong::Parameter) => {
                Err("has a parameter other than sslmode and host; authorities are named by records.ca_file, \
                                          and \"?\" and \"&\" in a password are written %3F and %26"
                    .to_owned())
            }
            Err(Wrong::Mode) => {
                let modes: Vec<&str> = SslMode::NAMES.iter().map(|(name, _)| *name).collect();
                Err(format!("must have sslmode as one of {}", modes.join(", ")))
            }
        }
    }

    fn allowed(&self) -> String {
        "\"postgres://user:password@host:port/database?sslmode=verify-full\", with what is special in a password written as \
         %40 for @, or \"\" for none"
            .to_owned()
    }

    fn default_value(&self, _default: &()) -> Option<Database> {
        None
    }

    fn default_toml(&self, _default: &()) -> Option<String> {
        Some("\"\"".to_owned())
    }

    fn is_secret(&self, text: &str) -> bool {
        !text.trim().is_empty()
    }
}

/// What is wrong; it repeats nothing of the text, which may be that of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Form,
    Parameter,
    Mode,
}

fn database(text: &str) -> Result<Database, Wrong> {
    if text.len() > URL_BYTES_MAX || text.contains('#') {
        return Err(Wrong::Form);
    }
    let (scheme, rest) = text.split_once("://").ok_or(Wrong::Form)?;
    if !["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(Wrong::Form);
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = rest.split_once('/').ok_or(Wrong::Form)?;
    let (who, place) = authority.rsplit_once('@').ok_or(Wrong::Form)?;
    let (user, password) = who.split_once(':').unwrap_or((who, ""));
    let mut tls = SslMode::Prefer;
    let mut folder = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').ok_or(Wrong::Parameter)?;
        match key {
            "sslmode" => {
                let known = SslMode::NAMES.iter().find(|(name, _)| *name == value);
                tls = known.map(|(_, mode)| *mode).ok_or(Wrong::Mode)?;
            }
            "host" => folder = Some(decoded(value, NAME_BYTES_MAX).ok_or(Wrong::Form)?),
            _ => return Err(Wrong::Parameter),
        }
    }
    Ok(Database {
        user: decoded(user, NAME_BYTES_MAX).filter(|user| !user.is_empty()).ok_or(Wrong::Form)?,
        password: Secret::new(decoded(password, PASSWORD_BYTES_MAX).ok_or(Wrong::Form)?),
        place: place_of(place, folder).ok_or(Wrong::Form)?,
        name: decoded(name, NAME_BYTES_MAX).filter(|name| !name.is_empty()).ok_or(Wrong::Form)?,
        tls,
    })
}

/// A host, or the folder of a socket as libpq takes it: `/run/postgresql` stands for the socket in it.
fn place_of(place: &str, folder: Option<String>) -> Option<DatabasePlace> {
    match folder {
        Some(folder) => {
            let port = match place.strip_prefix(':') {
                Some(port) => super::net::port(port)?,
                None if place.is_empty() => PORT,
                None => return None,
            };
            let path = PathBuf::from(folder).join(format!(".s.PGSQL.{port}"));
            path.is_absolute().then_some(DatabasePlace::Socket(path))
        }
        None => {
            let bare_ipv6 = place.matches(':').count() > 1 && !place.starts_with('[');
            let (host, port) = host_and_port(place).filter(|_| !bare_ipv6)?;
            Some(DatabasePlace::Tcp { host, port: port.unwrap_or(PORT) })
        }
    }
}

/// Reads `%40`; `None` for what is no text, has control characters, or is too long.
fn decoded(text: &str, bytes_max: usize) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let byte = match byte {
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok().filter(|text| text.len() <= bytes_max && is_clean(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_of_databases() {
        for (text, shown, password) in [
            ("postgres://farm:a@db.example/loka", "postgres://farm@db.example:5432/loka?sslmode=prefer", "a"),
            (
                "PostgreSQL://farm@10.0.0.5:6000/loka?sslmode=disable",
                "postgres://farm@10.0.0.5:6000/loka?sslmode=disable",
                "",
            ),
            (
                "postgres://f:p%40%2F%3f%25@[::1]:1/l?sslmode=verify-full",
                "postgres://f@[::1]:1/l?sslmode=verify-full",
                "p@/?%",
            ),
            ("postgres://f:a:b@c@db/l?sslmode=require", "postgres://f@db:5432/l?sslmode=require", "a:b@c"),
            (
                "postgres://farm:x@/loka?host=/run/postgresql",
                "postgres://farm@/loka?host=/run/postgresql/.s.PGSQL.5432",
                "x",
            ),
            ("postgres://farm@:6000/loka?host=%2Frun", "postgres://farm@/loka?host=/run/.s.PGSQL.6000", ""),
        ] {
            let Ok(read) = database(text) else { panic!("{text}") };
            assert_eq!((read.to_string().as_str(), read.password.reveal()), (shown, password), "{text}");
        }
        let long = format!("postgres://f@h/{}", "x".repeat(NAME_BYTES_MAX + 1));
        for text in [
            "postgres://",
            "postgres://h/d",
            "postgres://u@h",
            "postgres://u@h/",
            "postgres://:p@h/d",
            "mysql://u:p@h/d",
            "postgres://u:p@/d",
            "postgres://u:p@h:0/d",
            "postgres://u:p%4@h/d",
            "postgres://u:p%00@h/d",
            "postgres://u:p%ff@h/d",
            "postgres://u@::1/d",
            "postgres://u@h/d?host=run",
            "postgres://u@h/d?host=/run",
            "postgres://u@h/d#x",
            &long,
        ] {
            assert_eq!(database(text), Err(Wrong::Form), "{text}");
        }
        for text in ["postgres://u@h/d?sslrootcert=/x", "postgres://u@h/d?sslmode", "postgres://u:a?b@h/d"] {
            assert!(database(text).is_err(), "{text}");
        }
        assert_eq!(database("postgres://u@h/d?sslmode=verify-ca"), Err(Wrong::Mode));
        let shown = database("postgres://farm:hunter2@h/d").unwrap();
        assert!(!format!("{shown} {shown:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "postgres://[a-c0-9:@/?=&%\\[\\]é]{0,24}", any in ".*") {
            let _ = (database(&text), database(&any));
        }
    }
}
