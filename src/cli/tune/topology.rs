//! Which hardware threads share a core, a node of memory and a package, as the kernel tells it.
//!
//! It does not guess: where the kernel is silent about one CPU, nothing is claimed about any.

use crate::config::CpuList;
use std::fs;
use std::path::Path;

/// Where Linux tells about CPUs.
pub(super) const SYSTEM: &str = "/sys/devices/system/cpu";

/// One hardware thread, which the kernel calls a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) cpu: usize,
    /// The lowest CPU of its physical core.
    pub(super) core: usize,
    pub(super) node: usize,
    pub(super) package: i64,
}

/// The hardware threads of these CPUs. `None` when the kernel does not tell about each of them.
pub(super) fn read(system: &Path, cpus: &[usize]) -> Option<Vec<Thread>> {
    cpus.iter().map(|cpu| thread(system, *cpu)).collect()
}

/// What stands in where the kernel is silent: each CPU a core of its own, all of them in one package.
pub(super) fn plain(cpus: &[usize]) -> Vec<Thread> {
    cpus.iter().map(|cpu| Thread { cpu: *cpu, core: *cpu, node: 0, package: 0 }).collect()
}

fn thread(system: &Path, cpu: usize) -> Option<Thread> {
    let folder = system.join(format!("cpu{cpu}"));
    let tell = |name: &str| fs::read_to_string(folder.join("topology").join(name)).ok();
    // The number in `core_id` is unique within a die only; the list of siblings says the same without that question.
    let siblings = CpuList::parse(tell("thread_siblings_list")?.trim())?;
    let core = *siblings.ids().first()?;
    let package = tell("physical_package_id")?.trim().parse().ok()?;
    Some(Thread { cpu, core, node: node(&folder), package })
}

/// A CPU's folder links to its node. A kernel that knows no nodes has one.
fn node(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_prefix("node")?.parse().ok()).next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(system: &Path, cpu: usize, siblings: &str, node: usize) {
        let folder = system.join(format!("cpu{cpu}"));
        fs::create_dir_all(folder.join("topology")).unwrap();
        fs::create_dir(folder.join(format!("node{node}"))).unwrap();
        fs::write(folder.join("topology/thread_siblings_list"), format!("{siblings}\n")).unwrap();
        fs::write(folder.join("topology/physical_package_id"), "1\n").unwrap();
    }

    #[test]
    fn what_the_kernel_tells_is_read_whole_or_not_at_all() {
        let system = tempfile::tempdir().unwrap();
        write(system.path(), 3, "1,3", 2);
        let thread = Thread { cpu: 3, core: 1, node: 2, package: 1 };
        assert_eq!(read(system.path(), &[3]), Some(vec![thread]));
        assert_eq!(read(system.path(), &[3, 4]), None);
        assert_eq!(plain(&[4])[0], Thread { cpu: 4, core: 4, node: 0, package: 0 });
    }
}
