//! How much memory the process may use, how much it does, and when that is too much.
//!
//! Read once a second from `/proc` and, where the process stands in a control group with a limit (version 2), from there. What
//! cannot be read counts as no limit: protection that fails must not turn a farm away.

use loka_runtime::MemoryLoad;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(1);
const MIB: u64 = 1024 * 1024;
/// Percent of the limit from which on the load is high, and from which on it is critical.
const HIGH_PERCENT: u64 = 95;
const CRITICAL_PERCENT: u64 = 98;
/// Percent by which it must have fallen again before the load is called less.
const SLACK_PERCENT: u64 = 2;
/// What a control group counts that cannot be given back by writing it to a disk.
const HELD: [&str; 6] = ["anon", "sock", "kernel_stack", "pagetables", "slab_unreclaimable", "shmem"];

/// What was seen last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Bytes in use that count.
    pub used_bytes: u64,
    /// Bytes that may be used; zero where that is not known.
    pub limit_bytes: u64,
    /// What follows.
    pub load: MemoryLoad,
}

impl MemoryFigures {
    /// The load by these figures, after it was `before`.
    fn judge(used_bytes: u64, limit_bytes: u64, before: MemoryLoad) -> MemoryFigures {
        let is_above = |percent: u64, is_on: bool| {
            let percent = if is_on { percent - SLACK_PERCENT } else { percent };
            limit_bytes > 0 && used_bytes.saturating_mul(100) >= limit_bytes.saturating_mul(percent)
        };
        let load = if is_above(CRITICAL_PERCENT, before == MemoryLoad::Critical) {
            MemoryLoad::Critical
        } else if is_above(HIGH_PERCENT, before != MemoryLoad::Fine) {
            MemoryLoad::High
        } else {
            MemoryLoad::Fine
        };
        MemoryFigures { used_bytes, limit_bytes, load }
    }
}

/// Looks at the memory.
#[derive(Debug)]
pub struct MemoryWatch {
    /// Bytes that the process itself may use; zero where that is not known.
    own_limit: u64,
    group: Option<Group>,
    looked: Option<Instant>,
    figures: MemoryFigures,
}

#[derive(Debug)]
struct Group {
    folder: PathBuf,
    limit: u64,
}

fn own_limit(max_mib: Option<u32>) -> u64 {
    let of_host = || field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1024;
    max_mib.map_or_else(of_host, |mib| u64::from(mib) * MIB)
}

impl MemoryWatch {
    /// `max_mib` as configured; without it what the host has.
    pub fn new(max_mib: Option<u32>) -> MemoryWatch {
        let place = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = group_of(&place).and_then(|group| limited(Path::new("/sys/fs/cgroup"), &group));
        MemoryWatch { own_limit: own_limit(max_mib), group, looked: None, figures: MemoryFigures::default() }
    }

    /// As [`MemoryWatch::new`], from the next look on.
    pub fn hold_to(&mut self, max_mib: Option<u32>) {
        self.own_limit = own_limit(max_mib);
    }

    /// What is so now; looked at once a second.
    pub fn look(&mut self, now: Instant) -> MemoryFigures {
        if self.looked.is_some_and(|at| now.duration_since(at) < LOOK_EVERY) {
            return self.figures;
        }
        self.looked = Some(now);
        let before = self.figures.load;
        let own = MemoryFigures::judge(own_bytes(), self.own_limit, before);
        let group = self.group.as_ref().map(|group| {
            let held = fs::read_to_string(group.folder.join("memory.stat")).unwrap_or_default();
            MemoryFigures::judge(HELD.iter().map(|name| field(&held, name)).sum(), group.limit, before)
        });
        // Whichever is nearer to its limit counts.
        let share = |figures: &MemoryFigures| figures.used_bytes as f64 / figures.limit_bytes.max(1) as f64;
        self.figures = group.filter(|group| share(group) > share(&own)).unwrap_or(own);
        if self.figures.load != before {
            let MemoryFigures { used_bytes, limit_bytes, load } = self.figures;
            match load {
                MemoryLoad::Fine => tracing::info!(used_bytes, limit_bytes, "memory is enough again"),
                MemoryLoad::High => {
                    tracing::warn!(used_bytes, limit_bytes, "memory is short: nobody new is let in")
                }
                MemoryLoad::Critical => {
                    tracing::warn!(used_bytes, limit_bytes, "memory is short: connections are closed");
                }
            }
        }
        self.figures
    }
}

/// Resident bytes of the process that no file stands behind.
fn own_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut pages = pages.split_ascii_whitespace().skip(1).map_while(|pages| pages.parse::<u64>().ok());
    let (resident, of_files) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(of_files) * rustix::param::page_size() as u64
}

/// The number behind a name at the beginning of a line; zero where there is none.
fn field(text: &str, name: &str) -> u64 {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    let words = lines.find_map(|mut words| (words.next()? == name).then_some(words));
    words.and_then(|mut words| words.next()?.parse().ok()).unwrap_or(0)
}

/// The control group (version 2) that `/proc/self/cgroup` names.
fn group_of(place: &str) -> Option<PathBuf> {
    let path = place.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from(path))
}

/// The group itself, or the nearest above it, that has a limit.
fn limited(root: &Path, group: &Path) -> Option<Group> {
    group.ancestors().find_map(|group| {
        let folder = root.join(group);
        let limit = fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()?;
        Some(Group { folder, limit })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_rises_at_once_and_falls_with_slack() {
        let mut load = MemoryLoad::Fine;
        for (used, expected) in [
            (94, MemoryLoad::Fine),
            (95, MemoryLoad::High),
            (94, MemoryLoad::High),
            (93, MemoryLoad::High),
            (92, MemoryLoad::Fine),
            (98, MemoryLoad::Critical),
            (96, MemoryLoad::Critical),
            (95, MemoryLoad::High),
            (200, MemoryLoad::Critical),
            (0, MemoryLoad::Fine),
        ] {
            load = MemoryFigures::judge(used, 100, load).load;
            assert_eq!(load, expected, "{used}");
        }
        assert_eq!(MemoryFigures::judge(u64::MAX, 0, MemoryLoad::Fine).load, MemoryLoad::Fine, "no limit");
    }

    #[test]
    fn this_process_uses_some_memory_of_some() {
        let figures = MemoryWatch::new(None).look(Instant::now());
        assert!(figures.used_bytes > 100_000 && figures.limit_bytes > figures.used_bytes);
        let figures = MemoryWatch::new(Some(1)).look(Instant::now());
        assert_eq!((figures.limit_bytes, figures.load), (MIB, MemoryLoad::Critical));
    }

    #[test]
    fn the_nearest_group_with_a_limit_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("system.slice/loka.service");
        fs::create_dir_all(&inner).unwrap();
        let group = group_of("12:pids:/x\n0::/system.slice/loka.service\n").unwrap();
        assert!(limited(root.path(), &group).is_none());
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("system.slice/memory.max"), "268435456\n").unwrap();
        let found = limited(root.path(), &group).unwrap();
        assert_eq!((found.limit, found.folder), (268_435_456, root.path().join("system.slice")));
        fs::write(inner.join("memory.max"), "1048576\n").unwrap();
        assert_eq!(limited(root.path(), &group).unwrap().limit, 1_048_576);
        assert!(group_of("1:name=systemd:/\n").is_none());
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "anon_thp 7\nanon 12\nsock x\nMemTotal: 5 kB\n";
        assert_eq!((field(text, "anon"), field(text, "sock"), field(text, "MemTotal:")), (12, 0, 5));
    }
}
