//! Memory profiling (`performance.enable_memory_profiling`): the allocator's figures, read when asked for, and a line of
//! them in the log once a minute. Off, it reads nothing.

use super::ProcessFigures;
use loka_runtime::AllocatorFigures;
use std::time::{Duration, Instant};

/// How often a line is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Reads the allocator's figures, where that is switched on.
#[derive(Debug)]
pub(super) struct MemoryProfile {
    is_on: bool,
    logged: Option<Instant>,
}

impl MemoryProfile {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, logged: None }
    }

    /// The figures of the process, with the allocator's, and a log line if it is time for one.
    pub(super) fn read(&mut self, now: Instant) -> ProcessFigures {
        let process = ProcessFigures::read();
        if !self.is_on {
            return process;
        }
        let allocator = AllocatorFigures::read();
        if self.logged.is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY) {
            self.logged = Some(now);
            tracing::info!(
                resident_bytes = process.resident_bytes,
                resident_bytes_max = allocator.resident_bytes_max,
                committed_bytes = allocator.committed_bytes,
                committed_bytes_max = allocator.committed_bytes_max,
                page_faults = allocator.page_faults,
                "memory"
            );
        }
        ProcessFigures { allocator: Some(allocator), ..process }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_reads_nothing_and_on_logs_once_a_minute() {
        let now = Instant::now();
        let mut off = MemoryProfile::new(false);
        assert_eq!((off.read(now).allocator, off.logged), (None, None));
        let mut on = MemoryProfile::new(true);
        assert!(on.read(now).allocator.is_some());
        on.read(now + Duration::from_secs(59));
        assert_eq!(on.logged, Some(now));
        let later = now + Duration::from_secs(60);
        on.read(later);
        assert_eq!(on.logged, Some(later));
    }
}
