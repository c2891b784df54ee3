//! Logs: where they go, in which form, and what is worth a line.
//!
//! Nothing here ever blocks the thread that logs: lines go through a bounded queue to a thread of their own, and are
//! dropped and counted when it is full. Logs go to standard error or a file; standard output belongs to commands.

mod level;
mod panics;
mod protocol;
#[cfg(test)]
mod tests;

pub use level::{LevelError, level, set_level};
pub use protocol::TraceLog;

use crate::config::{LogFormat, LogLevel};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// Lines that may wait to be written.
const LINES_MAX: usize = 16 * 1024;
/// The variable that adds to the level of the configuration.
const VARIABLE: &str = "RUST_LOG";
/// glommio tells much of its own life at INFO: of that, only this much is wanted.
const QUIET_TARGET: &str = "glommio";
const QUIET_LEVEL: LevelFilter = LevelFilter::WARN;

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `RUST_LOG` does not hold filters.
    #[error("RUST_LOG={text:?}: {reason} (write a level, or TARGET=LEVEL, separated by commas)")]
    Filter {
        /// What it holds.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The log file cannot be opened for appending.
    #[error("cannot open the log file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody has set up logging before.
    #[error("logging is set up already")]
    Twice,
}

/// Keeps the log alive: lines that still wait are written when it is dropped.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard {
    dropped: DroppedLines,
    _writer: WorkerGuard,
}

impl LogGuard {
    /// The counter of lost lines.
    pub fn dropped_lines(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

/// Counts log lines that were lost because the log could not be written fast enough. The default counts none.
#[derive(Debug, Clone, Default)]
pub struct DroppedLines(Option<ErrorCounter>);

impl DroppedLines {
    /// How many so far.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |lines| lines.dropped_lines() as u64)
    }
}

/// Sets up logging for the whole process: lines of `level` and worse, of the targets that `RUST_LOG` names as it says,
/// to `file` or standard error. Panics become one ERROR line each; records of the `log` crate are taken too. Times are
/// UTC.
///
/// # Errors
/// `RUST_LOG` is malformed, the file cannot be opened, or this was called before.
pub fn init(level: LogLevel, format: LogFormat, file: Option<&Path>) -> Result<LogGuard, LogError> {
    let variable = std::env::var_os(VARIABLE).map(|text| text.to_string_lossy().into_owned());
    let variable = variable.unwrap_or_default();
    let (filter, running) = level::running(level, &variable)?;
    let colours = file.is_none() && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (writer, guard) = match file {
        Some(path) => lossy(append(path)?),
        None => lossy(io::stderr()),
    };
    let dropped = DroppedLines(Some(writer.error_counter()));
    subscriber(filter, format, colours, writer).try_init().map_err(|_| LogError::Twice)?;
    running.keep();
    panics::report();
    Ok(LogGuard { dropped, _writer: guard })
}

fn lossy(to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
    builder.thread_name("log").finish(to)
}

fn append(path: &Path) -> Result<File, LogError> {
    let open = OpenOptions::new().create(true).append(true).open(path);
    open.map_err(|source| LogError::File { path: path.to_owned(), source })
}

/// The level for everything, and on top of it what `RUST_LOG` says: a bare level there replaces the level, a target
/// with a level stands beside it.
fn filter(level: LogLevel, variable: &str) -> Result<EnvFilter, LogError> {
    let named: Vec<&str> = variable.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let bare = named.iter().rev().find_map(|part| part.parse::<LevelFilter>().ok());
    let base = bare.or_else(|| level.as_str().parse().ok()).unwrap_or(LevelFilter::INFO);
    let quiet = base.min(QUIET_LEVEL);
    let all = format!("{base},{QUIET_TARGET}={quiet},{}", named.join(","));
    let malformed = |reason: String| LogError::Filter { text: variable.to_owned(), reason };
    EnvFilter::builder().with_regex(false).parse(all).map_err(|error| malformed(error.to_string()))
}

fn subscriber<W, F>(
    filter: F,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    F: Layer<Registry> + Send + Sync,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
    let filtered = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => Box::new(filtered.with(lines)),
        LogFormat::Json => Box::new(filtered.with(lines.json().flatten_event(true))),
    }
}
