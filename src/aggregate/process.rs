//! What this process uses, as the kernel tells it.

use loka_runtime::AllocatorFigures;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;

/// What this process uses. A figure that cannot be read is zero: monitoring must not fail where `/proc` is hidden.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessFigures {
    /// CPU seconds used by all threads, user and system.
    pub cpu_seconds: f64,
    /// Bytes of memory in use (resident set).
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The soft limit of file descriptors; `u64::MAX` when there is none.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
    /// What the allocator holds; only with memory profiling.
    pub allocator: Option<AllocatorFigures>,
}

impl ProcessFigures {
    /// Reads the present figures.
    pub fn read() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let (threads, virtual_bytes, resident_pages) = of_stat(&stat).unwrap_or_default();
        Self {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: resident_pages * rustix::param::page_size() as u64,
            virtual_bytes,
            // The listing itself holds one descriptor.
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |fds| (fds.count() as u64).saturating_sub(1)),
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            threads,
            allocator: None,
        }
    }
}

/// Threads, bytes of address space and resident pages. The second field is the program's name in parentheses and may
/// hold anything, so fields are counted from the last parenthesis.
fn of_stat(stat: &str) -> Option<(u64, u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    // `rest` begins with field 3 of proc_pid_stat(5); wanted are 20, 23 and 24.
    let mut fields = rest.split_ascii_whitespace().skip(17);
    let threads = fields.next()?.parse().ok()?;
    let mut fields = fields.skip(2);
    Some((threads, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4 1 0 0 0 11 12 0 0 20 0 5 0 99 4096 33 18446744073709551615 1";
        assert_eq!(of_stat(stat), Some((5, 4096, 33)));
        assert_eq!(of_stat(""), None);
        assert_eq!(of_stat("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let figures = ProcessFigures::read();
        assert!(figures.cpu_seconds > 0.0);
        assert!(figures.resident_bytes > 100_000 && figures.virtual_bytes > figures.resident_bytes);
        assert!(figures.open_fds >= 3 && figures.max_fds > figures.open_fds);
        assert!(figures.threads >= 1);
    }
}
