//! Logs: where they go, in which form, and what is worth a line.
//!
//! Nothing here ever blocks the thread that logs: lines go through a bounded queue to a thread of their own, and are
//! dropped and counted when it is full. A line that this thread cannot write is counted too. Logs go to standard error or
//! a file; standard output belongs to commands.

mod file;
mod levels;
mod panics;
mod protocol;
mod sink;
#[cfg(test)]
mod tests;

pub use levels::{LogLevelError, LogLevels};
pub use protocol::TraceLog;

use crate::config::{LogFile, LogFilter, LogFormat, LoggingConfig};
use file::{ReopenWish, RotatingFile};
use signal_hook::consts::{SIGUSR1, SIGXFSZ};
use sink::{Lines, Sink};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// Lines that may wait to be written.
const LINES_MAX: usize = 16 * 1024;

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file cannot be opened for appending.
    #[error("cannot open the log file {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The signals that speak of the log file cannot be caught.
    #[error("cannot catch SIGUSR1 and SIGXFSZ: {0}")]
    Signals(io::Error),
    /// Somebody has set up logging before.
    #[error("logging is set up already")]
    Twice,
}

/// Keeps the log alive: lines that still wait are written when it is dropped.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard {
    handle: LogHandle,
    _writer: WorkerGuard,
}

impl LogGuard {
    /// For those who run beside it.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }
}

/// What others have of the log: the counter of lost lines, and the filter to change. The default belongs to no log.
#[derive(Debug, Clone, Default)]
pub struct LogHandle {
    /// The counter of lost lines.
    pub dropped: DroppedLines,
    /// Changes what is logged.
    pub levels: LogLevels,
}

/// Counts log lines that were lost: for want of room in the queue, and because they could not be written. The default
/// counts none.
#[derive(Debug, Clone, Default)]
pub struct DroppedLines {
    queue: Option<ErrorCounter>,
    unwritten: Arc<AtomicU64>,
}

impl DroppedLines {
    /// How many so far.
    pub fn count(&self) -> u64 {
        let queue = self.queue.as_ref().map_or(0, |lines| lines.dropped_lines() as u64);
        queue.saturating_add(self.unwritten.load(Ordering::Relaxed))
    }
}

/// Sets up logging for the whole process. Panics become one ERROR line each; records of the `log` crate are taken too.
/// Times are UTC. From now on SIGUSR1 opens the log file anew, if there is one.
///
/// # Errors
/// The file cannot be opened, signals cannot be caught, or this was called before.
pub fn init(config: &LoggingConfig) -> Result<LogGuard, LogError> {
    let LoggingConfig { level, format, file } = config;
    let wish = ReopenWish::default();
    catch_signals(&wish).map_err(LogError::Signals)?;
    let colours = file.is_none() && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let unwritten = Arc::new(AtomicU64::new(0));
    let (writer, guard) = match file {
        Some(log) => lossy(open(log, wish)?, &unwritten),
        None => lossy(io::stderr(), &unwritten),
    };
    let dropped = DroppedLines { queue: Some(writer.error_counter()), unwritten };
    let (subscriber, levels) = subscriber(level, *format, colours, writer);
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    panics::report();
    Ok(LogGuard { handle: LogHandle { dropped, levels }, _writer: guard })
}

/// SIGUSR1 would end a process that does not know it, and SIGXFSZ one whose file has come to its limit (`ulimit -f`): the
/// line is lost then, not the farm.
fn catch_signals(wish: &ReopenWish) -> io::Result<()> {
    signal_hook::flag::register(SIGUSR1, Arc::clone(wish))?;
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

fn lossy(to: impl Lines + Send + 'static, unwritten: &Arc<AtomicU64>) -> (NonBlocking, WorkerGuard) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX);
    builder.thread_name("log").finish(Sink::new(to, Arc::clone(unwritten)))
}

fn open(log: &LogFile, wish: ReopenWish) -> Result<RotatingFile, LogError> {
    RotatingFile::open(log, wish).map_err(|source| LogError::File { path: log.path.clone(), source })
}

fn subscriber<W>(
    filter: &LogFilter,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, LogLevels)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (wanted, handle) = reload::Layer::new(levels::targets(filter));
    let registry = Registry::default().with(wanted);
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        LogFormat::Text => Box::new(registry.with(lines)),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true))),
    };
    (subscriber, LogLevels::new(handle, filter.clone()))
}
