//! What is logged may change while the program runs.

use crate::config::{LogFilter, LogLevel};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_log::AsLog;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload;

/// glommio tells much of its own life at INFO: of that, only this much is wanted, unless it is asked for by name.
const QUIET_TARGET: &str = "glommio";
const QUIET_LEVEL: LogLevel = LogLevel::Warn;

/// Why what is logged could not be changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LogLevelError {
    /// The text holds no filter.
    #[error("log level: {0}")]
    Filter(String),
    /// This process keeps no log.
    #[error("log level: logging is not set up in this process")]
    NoLog,
}

/// Changes what is logged, from any thread. The default belongs to no log.
#[derive(Debug, Clone, Default)]
pub struct LogLevels(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    handle: reload::Handle<Targets, Registry>,
    now: Mutex<LogFilter>,
}

impl LogLevels {
    pub(super) fn new(handle: reload::Handle<Targets, Registry>, now: LogFilter) -> Self {
        Self(Some(Arc::new(Inner { handle, now: Mutex::new(now) })))
    }

    /// From now on this is logged, and nothing of what the configuration or `RUST_LOG` said counts any more. Written as
    /// `logging.level`: `debug`, or `info,loka_stratum::protocol=trace`. Gives the filter that is in force.
    ///
    /// # Errors
    /// What is wrong with the text; then nothing has changed.
    pub fn set(&self, text: &str) -> Result<LogFilter, LogLevelError> {
        let filter = LogFilter::parse(text).map_err(LogLevelError::Filter)?;
        let inner = self.0.as_ref().ok_or(LogLevelError::NoLog)?;
        // Held over both, so that what is told is what counts. A poisoned lock still holds a whole filter.
        let mut now = inner.now.lock().unwrap_or_else(PoisonError::into_inner);
        inner.handle.reload(targets(&filter)).map_err(|_| LogLevelError::NoLog)?;
        // Records of the `log` crate are held against a level of their own before they come here.
        tracing_log::log::set_max_level(LevelFilter::current().as_log());
        now.clone_from(&filter);
        Ok(filter)
    }

    /// What is logged now; `None` without a log.
    pub fn now(&self) -> Option<LogFilter> {
        let inner = self.0.as_ref()?;
        Some(inner.now.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// The filter as tracing takes it.
pub(super) fn targets(filter: &LogFilter) -> Targets {
    let quiet = filter.level().min(QUIET_LEVEL);
    let named = filter.targets().iter().map(|(target, level)| (target.as_str(), level_filter(*level)));
    Targets::new()
        .with_default(level_filter(filter.level()))
        .with_target(QUIET_TARGET, level_filter(quiet))
        .with_targets(named)
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
