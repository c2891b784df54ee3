//! `[records]`, checked: whether records of shares are kept, where, and where those of many hosts are put together.

use std::fmt;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::net::Host;
use crate::config::secret::Secret;

/// `[records]`: share records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordsConfig {
    /// Whether they are kept where there is a file for them.
    pub enable: bool,
    /// The file; `None` where nobody named one and there is no state folder.
    pub file: Option<PathBuf>,
    /// Bytes that they may take of the disk; `None`: as many as there are.
    pub bytes_max: Option<NonZeroU64>,
    /// The database that they are sent to, beside the file; `None`: there is none.
    pub database: Option<Database>,
    /// PEM file of the authorities that may vouch for the database; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// What this host is called there; empty: the name of the host.
    pub host: String,
    /// How often new records are sent; 1 s to 1 h.
    pub send_every: Duration,
}

impl RecordsConfig {
    /// Name of the file in a state folder.
    pub const FILE_NAME: &'static str = "records.sqlite";

    /// The file that is written; `None` when no records are kept.
    pub fn written(&self) -> Option<&Path> {
        self.file.as_deref().filter(|_| self.enable)
    }

    /// The database that they are sent to from there; `None` where there is none, or nothing to send.
    pub fn sent_to(&self) -> Option<&Database> {
        self.database.as_ref().filter(|_| self.written().is_some())
    }
}

/// A database that speaks as PostgreSQL does. It prints no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Who logs in; 1 to 128 bytes.
    pub user: String,
    /// With what; empty: without.
    pub password: Secret,
    /// Where it is.
    pub place: DatabasePlace,
    /// Its name there; 1 to 128 bytes.
    pub name: String,
    /// Whether TLS is spoken. At a socket of this host none is.
    pub tls: SslMode,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, place, name, tls, password: _ } = self;
        match place {
            DatabasePlace::Tcp { host, port } => {
                let (place, mode) = (host.with_port(*port), tls.as_str());
                write!(f, "postgres://{user}@{place}/{name}?sslmode={mode}")
            }
            DatabasePlace::Socket(path) => write!(f, "postgres://{user}@/{name}?host={}", path.display()),
        }
    }
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabasePlace {
    /// On a machine; a name is not yet resolved.
    Tcp {
        /// Which.
        host: Host,
        /// TCP port, never 0.
        port: u16,
    },
    /// A socket of this host, by its absolute path.
    Socket(PathBuf),
}

/// Whether TLS is spoken to the database, in the words of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    Disable,
    /// Where the database offers it; nobody is checked.
    Prefer,
    /// Always; nobody is checked.
    Require,
    /// Always, with a certificate for the host from an authority that is trusted.
    VerifyFull,
}

impl SslMode {
    pub(in crate::config) const NAMES: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-full", Self::VerifyFull),
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }
}
