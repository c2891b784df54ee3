//! Which CPUs this process may use, and which shard gets which.

use crate::plan::ShardSpec;
use std::io;
use thiserror::Error;

/// Why shards cannot be placed.
#[derive(Debug, Error)]
pub enum CoresError {
    /// The kernel does not tell the allowed CPUs.
    #[error("cannot read the allowed CPUs: {0}")]
    Affinity(#[source] io::Error),
    /// A CPU was asked for that the process may not use.
    #[error("CPU {cpu} is not among the allowed CPUs ({allowed})")]
    NotAllowed {
        /// The CPU asked for.
        cpu: usize,
        /// Those that are allowed.
        allowed: String,
    },
}

/// CPUs that the process may use: its affinity mask, which a cpuset cgroup narrows; glommio's own list does not see it.
///
/// # Errors
/// [`CoresError::Affinity`] when the kernel does not tell.
pub fn allowed() -> Result<Vec<usize>, CoresError> {
    let set = rustix::thread::sched_getaffinity(None).map_err(|error| CoresError::Affinity(error.into()))?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Gives each of `shards` shards a CPU of `wanted` (all of `allowed` when empty); zero shards means one for each CPU.
/// With more shards than CPUs, CPUs are used again in turn.
///
/// # Errors
/// [`CoresError::NotAllowed`]
pub fn place(shards: usize, wanted: &[usize], allowed: &[usize]) -> Result<Vec<ShardSpec>, CoresError> {
    if let Some(cpu) = wanted.iter().find(|cpu| !allowed.contains(cpu)) {
        let allowed = allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        return Err(CoresError::NotAllowed { cpu: *cpu, allowed });
    }
    let cpus = if wanted.is_empty() { allowed } else { wanted };
    let count = if shards == 0 { cpus.len() } else { shards };
    Ok((0..count).zip(cpus.iter().cycle()).map(|(index, cpu)| ShardSpec { index, cpu: *cpu }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_get_allowed_cpus_only() {
        let cpus = |specs: Vec<ShardSpec>| specs.iter().map(|spec| spec.cpu).collect::<Vec<_>>();
        assert_eq!(cpus(place(0, &[], &[3, 5]).unwrap()), vec![3, 5]);
        assert_eq!(cpus(place(3, &[], &[3, 5]).unwrap()), vec![3, 5, 3]);
        assert_eq!(cpus(place(1, &[5], &[3, 5]).unwrap()), vec![5]);
        assert!(place(1, &[4], &[3, 5]).is_err());
    }
}
