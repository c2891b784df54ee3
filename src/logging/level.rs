//! The level of a running process, which an operator may change until the next start.
//!
//! A process has one log, so this is one handle for all of it. What `RUST_LOG` says of single targets stays as it is.

use super::{LogError, filter};
use crate::config::LogLevel;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Why the level stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// This process has no log of ours.
    #[error("logging was not set up by this program")]
    NoLog,
    /// The filter cannot be made or put in place.
    #[error("the level cannot be changed: {0}")]
    Failed(String),
}

/// The filter in use, until it is kept.
pub(super) struct Running {
    handle: reload::Handle<EnvFilter, Registry>,
    variable: String,
    level: LogLevel,
}

struct Kept {
    running: Running,
    /// Index of the level in [`LogLevel::NAMES`].
    now: AtomicU8,
}

static KEPT: OnceLock<Kept> = OnceLock::new();

/// A filter that can be exchanged while it is in use.
pub(super) fn running(
    level: LogLevel,
    variable: &str,
) -> Result<(reload::Layer<EnvFilter, Registry>, Running), LogError> {
    let (layer, handle) = reload::Layer::new(filter(level, variable)?);
    Ok((layer, Running { handle, variable: variable.to_owned(), level }))
}

impl Running {
    /// From now on it can be changed.
    pub(super) fn keep(self) {
        let now = AtomicU8::new(index_of(self.level));
        // There is one log a process: whoever comes second has been refused already.
        let _ = KEPT.set(Kept { running: self, now });
    }
}

fn index_of(level: LogLevel) -> u8 {
    LogLevel::ALL.iter().position(|known| *known == level).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

/// The level that is logged now; `None` where logging was not set up.
pub fn level() -> Option<LogLevel> {
    let now = KEPT.get()?.now.load(Ordering::Relaxed);
    LogLevel::ALL.get(usize::from(now)).copied()
}

/// From now on lines of this level and worse are logged. A bare level in `RUST_LOG` no longer counts.
///
/// # Errors
/// [`LevelError`]
pub fn set_level(level: LogLevel) -> Result<(), LevelError> {
    let kept = KEPT.get().ok_or(LevelError::NoLog)?;
    let is_bare = |part: &&str| part.trim().parse::<tracing::level_filters::LevelFilter>().is_err();
    let targets: Vec<&str> = kept.running.variable.split(',').filter(is_bare).collect();
    let new = filter(level, &targets.join(",")).map_err(|error| LevelError::Failed(error.to_string()))?;
    kept.running.handle.reload(new).map_err(|error| LevelError::Failed(error.to_string()))?;
    kept.now.store(index_of(level), Ordering::Relaxed);
    Ok(())
}
