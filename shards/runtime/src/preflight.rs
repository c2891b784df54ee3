//! Asks the kernel for what the shards need before any of them starts, and tells the true cause and the fix where it
//! is not to be had. glommio itself blames an old kernel for every refusal, and panics.

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use thiserror::Error;

/// glommio refuses to start with less locked memory than this, whatever its rings take.
const MEMLOCK_FLOOR: u64 = 512 * 1024;
/// Locked memory of one shard: three rings of 128 entries and three registered buffers of 64 KiB.
const MEMLOCK_PER_SHARD: u64 = 3 * 16 * 1024 + 3 * 64 * 1024;
/// Descriptors besides those of links: rings, epoll sets, timers, listeners, logs, the admin port and its clients.
const FILES_RESERVED: u64 = 128;
/// Descriptors of one shard: three rings, an event descriptor, an epoll set, a timer, a reserve, its listeners.
const FILES_PER_SHARD: u64 = 12;
/// Fewer links than this per shard are of no use to anybody.
const LINKS_PER_SHARD_MIN: u64 = 16;
/// Descriptors for which there is room from the start: 2 MiB of the kernel's memory.
const TABLE_MAX: u64 = 1 << 18;

/// Why the shards cannot run here.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum PreflightError {
    /// Another policy than the kernel's forbids io_uring.
    #[error("io_uring is forbidden to this process (EPERM): {cause}\n  fix: {fix}")]
    Forbidden {
        /// Who forbids it.
        cause: &'static str,
        /// What to do.
        fix: &'static str,
    },
    /// The kernel has no io_uring.
    #[error(
        "this kernel has no io_uring, or one that is too old (ENOSYS or EINVAL)\n  fix: run Linux 5.8 or newer, built with CONFIG_IO_URING; some sandboxes answer ENOSYS too"
    )]
    Missing,
    /// Too little memory may be locked.
    #[error(
        "locked memory (memlock) is limited to {limit} KiB and {shards} shard(s) need {need} KiB\n  fix: LimitMEMLOCK=infinity in the systemd unit, or `ulimit -l unlimited`, or fewer shards"
    )]
    Memlock {
        /// The hard limit, in KiB.
        limit: u64,
        /// What the shards need, in KiB.
        need: u64,
        /// How many shards.
        shards: usize,
    },
    /// Locked memory is used up, although the limit would be enough.
    #[error(
        "the kernel has no locked memory left for io_uring (ENOMEM); it counts all processes of this user together\n  fix: LimitMEMLOCK=infinity, or end what else of this user uses it"
    )]
    NoMemory,
    /// Too few files may be open.
    #[error(
        "open files are limited to {limit}, which leaves no room for miners: {need} are needed at least\n  fix: LimitNOFILE=1048576 in the systemd unit, or `ulimit -n 1048576`"
    )]
    Files {
        /// The hard limit.
        limit: u64,
        /// The least that is of use.
        need: u64,
    },
    /// Something else.
    #[error("io_uring cannot be set up: {0}")]
    Other(String),
}

/// What the preflight found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preflight {
    /// Miners that all shards together may hold: half of the descriptors, after what else needs them.
    pub connections_max: u64,
    /// The limit of open files, after it was raised as far as it goes.
    pub open_files: u64,
}

/// What each part of the preflight says by itself, for one who wants to know all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Whether io_uring works.
    pub io_uring: Result<(), PreflightError>,
    /// Whether enough memory may be locked.
    pub memlock: Result<(), PreflightError>,
    /// Whether enough files may be open.
    pub open_files: Result<Preflight, PreflightError>,
}

/// Raises the soft limits of locked memory and open files, then tries what a shard does.
///
/// # Errors
/// [`PreflightError`] with the cause and the fix.
pub fn check(shards: usize) -> Result<Preflight, PreflightError> {
    let parts = parts(shards);
    parts.io_uring?;
    parts.memlock?;
    parts.open_files
}

/// The same, without stopping at the first failure.
pub fn parts(shards: usize) -> Parts {
    raise(Resource::Memlock);
    raise(Resource::Nofile);
    Parts {
        io_uring: try_io_uring(),
        memlock: check_memlock(shards, getrlimit(Resource::Memlock)),
        open_files: check_files(shards, getrlimit(Resource::Nofile)),
    }
}

/// The soft limit may be raised to the hard one by anybody. A refusal shows in the checks that follow.
fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    if limit.current != limit.maximum {
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn check_memlock(shards: usize, limit: Rlimit) -> Result<(), PreflightError> {
    // The kernel charges no memory to who may lock it freely; glommio looks at the limit all the same.
    let charged = if may_lock_freely() { 0 } else { shards as u64 * MEMLOCK_PER_SHARD };
    let need = charged.max(MEMLOCK_FLOOR);
    match limit.current {
        Some(bytes) if bytes < need => {
            Err(PreflightError::Memlock { limit: bytes / 1024, need: need / 1024, shards })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_files(shards: usize, limit: Rlimit) -> Result<Preflight, PreflightError> {
    let shards = shards as u64;
    let open_files = limit.current.unwrap_or(u64::MAX);
    let reserved = FILES_RESERVED + shards * FILES_PER_SHARD;
    let need = reserved + 2 * shards * LINKS_PER_SHARD_MIN;
    if open_files < need {
        return Err(PreflightError::Files { limit: open_files, need });
    }
    Ok(Preflight { connections_max: (open_files - reserved) / 2, open_files })
}

/// Makes the process's table of descriptors as large as it will have to be, up to [`TABLE_MAX`].
///
/// The kernel lets the table grow by doubling it, and in a process with threads it waits each time until no CPU can be reading
/// the old one: whoever accepts the connection that does not fit stands still for 10 to 15 ms, and all miners of its shard with
/// it (measured 2026-11-25, Linux 6.18). A table costs the kernel 8 bytes a descriptor.
pub fn widen_descriptor_table(host: Preflight) {
    let last = i32::try_from(host.open_files.min(TABLE_MAX)).unwrap_or(i32::MAX).saturating_sub(1);
    // Where it cannot be done the table grows as it always did.
    let _ = eventfd(0, EventfdFlags::CLOEXEC).and_then(|any| fcntl_dupfd_cloexec(any, last));
}

fn may_lock_freely() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// Sets up a small ring, makes each of the three calls on it that glommio makes, and closes it. Rings of the full size
/// are not tried: the kernel gives their memory back some time after they are closed, and the real ones might then fail.
fn try_io_uring() -> Result<(), PreflightError> {
    const ENTRIES: libc::c_uint = 8;
    const REGISTER_PROBE: libc::c_uint = 8;
    const PROBE_OPS: libc::c_uint = 256;
    // `struct io_uring_params` is 120 bytes; all zero asks for nothing special.
    let mut params = [0_u64; 15];
    // SAFETY: the call reads and writes only the parameter block, which is large enough and lives across it.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, params.as_mut_ptr()) };
    if ring < 0 {
        return Err(cause_of(&io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made by the kernel for us and nobody else has it.
    let ring = unsafe { OwnedFd::from_raw_fd(fd_of(ring)) };
    // `struct io_uring_probe` with 256 operations: 16 and 256 times 8 bytes, all zero.
    let mut probe = [0_u64; 2 + PROBE_OPS as usize];
    // SAFETY: the kernel fills the probe, which is large enough for the operations named and lives across the call.
    let registered = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            REGISTER_PROBE,
            probe.as_mut_ptr(),
            PROBE_OPS,
        )
    };
    if registered < 0 {
        return Err(cause_of(&io::Error::last_os_error()));
    }
    let null = std::ptr::null::<libc::sigset_t>();
    // SAFETY: nothing is submitted and nothing is waited for; no memory is passed.
    let entered = unsafe { libc::syscall(libc::SYS_io_uring_enter, ring.as_raw_fd(), 0, 0, 0, null, 0) };
    if entered < 0 {
        return Err(cause_of(&io::Error::last_os_error()));
    }
    Ok(())
}

fn cause_of(error: &io::Error) -> PreflightError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => who_forbids(),
        // EINVAL: a kernel before 5.6 knows io_uring, but not how to tell what it can do.
        Some(libc::ENOSYS | libc::EINVAL) => PreflightError::Missing,
        Some(libc::ENOMEM) => PreflightError::NoMemory,
        Some(_) | None => PreflightError::Other(error.to_string()),
    }
}

/// Descriptors are small numbers.
fn fd_of(value: libc::c_long) -> std::os::fd::RawFd {
    std::os::fd::RawFd::try_from(value).unwrap_or(-1)
}

/// The kernel says EPERM for its sysctl and for a seccomp filter alike; the sysctl can be read.
fn who_forbids() -> PreflightError {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match sysctl.trim() {
        "1" => PreflightError::Forbidden {
            cause: "the sysctl kernel.io_uring_disabled is 1",
            fix: "sysctl -w kernel.io_uring_disabled=0, or put the user into the group of kernel.io_uring_group",
        },
        "2" => PreflightError::Forbidden {
            cause: "the sysctl kernel.io_uring_disabled is 2",
            fix: "sysctl -w kernel.io_uring_disabled=0",
        },
        _ => PreflightError::Forbidden {
            cause: "a seccomp filter denies it, as the default profiles of Docker and containerd do",
            fix: "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile, or run on the host under systemd",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(value: u64) -> Rlimit {
        Rlimit { current: Some(value), maximum: Some(value) }
    }

    /// It is never made smaller again, so other tests of this process can only have made it larger.
    #[test]
    fn the_table_of_descriptors_has_room_for_all_that_may_come() {
        let host = Preflight {
            connections_max: 1,
            open_files: 3_000.min(getrlimit(Resource::Nofile).current.unwrap()),
        };
        widen_descriptor_table(host);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() >= host.open_files, "{size}");
    }

    #[test]
    fn limits_are_judged_by_the_number_of_shards() {
        assert!(check_memlock(2, limit(512 * 1024)).is_ok());
        let need = if may_lock_freely() { 512 } else { 960 };
        let refused = Err(PreflightError::Memlock { limit: 500, need, shards: 4 });
        assert_eq!(check_memlock(4, limit(500 * 1024)), refused);
        assert!(check_memlock(64, Rlimit { current: None, maximum: None }).is_ok());
        assert_eq!(check_files(1, limit(1140)).unwrap().connections_max, 500);
        assert_eq!(check_files(2, limit(64)), Err(PreflightError::Files { limit: 64, need: 216 }));
    }
}
