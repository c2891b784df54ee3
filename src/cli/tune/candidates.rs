//! What is worth trying: a short list of shard counts, each with the CPUs it would run on.
//!
//! It knows the host only by the hardware threads it is given, and says nothing about which candidate is good.

use super::topology::Thread;
use crate::config::CpuList;
use serde::{Serialize, Serializer};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// One way to place the shards: one on each of these CPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Candidate {
    pub(super) shards: usize,
    #[serde(serialize_with = "as_text")]
    pub(super) cpus: CpuList,
    /// Whether two of the CPUs are hardware threads of one core.
    pub(super) shares_cores: bool,
}

impl Candidate {
    fn of(threads: &[Thread]) -> Option<Candidate> {
        let cores: BTreeSet<usize> = threads.iter().map(|thread| thread.core).collect();
        let cpus = CpuList::of(threads.iter().map(|thread| thread.cpu))?;
        let shards = cpus.ids().len();
        Some(Candidate { shards, cpus, shares_cores: cores.len() < shards })
    }

    /// `2 shards on CPUs 0-1`.
    pub(super) fn name(&self) -> String {
        let Candidate { shards, cpus, .. } = self;
        if *shards == 1 {
            format!("1 shard on CPU {cpus}")
        } else {
            format!("{shards} shards on CPUs {cpus}")
        }
    }
}

fn as_text<S: Serializer>(cpus: &CpuList, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cpus)
}

/// 1, 2, 4, 8 ... shards up to one for each physical core; then one for each thread of the first package, and one for
/// each thread of all, where cores have more than one. `shards_max` bounds the list and is itself tried.
pub(super) fn candidates(threads: &[Thread], shards_max: Option<usize>) -> Vec<Candidate> {
    let ordered = in_order(threads);
    let all = ordered.len().min(shards_max.unwrap_or(usize::MAX));
    let cores = threads.iter().map(|thread| thread.core).collect::<BTreeSet<_>>().len().min(all);
    let powers = std::iter::successors(Some(1_usize), |count| count.checked_mul(2));
    let mut counts: BTreeSet<usize> = powers.take_while(|count| *count < cores).collect();
    counts.extend([cores, all]);
    let mut found: Vec<Candidate> =
        counts.into_iter().filter_map(|count| Candidate::of(&ordered[..count])).collect();
    let first_package: Vec<Thread> =
        ordered.iter().filter(|thread| thread.package == ordered[0].package).copied().collect();
    if first_package.len() <= all {
        found.extend(Candidate::of(&first_package).filter(|candidate| !found.contains(candidate)));
    }
    found.sort_by_key(|candidate| (candidate.shards, candidate.shares_cores));
    found
}

/// The order in which CPUs are taken: one thread of every core before the second of any; the package with the most cores
/// first, and within it the node with the most, so that few shards stay together as long as they can.
fn in_order(threads: &[Thread]) -> Vec<Thread> {
    let mut ordered = threads.to_vec();
    ordered.sort_by_key(|thread| {
        let earlier = |other: &&Thread| other.core == thread.core && other.cpu < thread.cpu;
        let rank = threads.iter().filter(earlier).count();
        let in_package = cores(threads, |other| other.package == thread.package);
        let in_node = cores(threads, |other| (other.package, other.node) == (thread.package, thread.node));
        (rank, Reverse(in_package), thread.package, Reverse(in_node), thread.node, thread.core, thread.cpu)
    });
    ordered
}

fn cores(threads: &[Thread], among: impl Fn(&Thread) -> bool) -> usize {
    threads.iter().filter(|thread| among(thread)).map(|thread| thread.core).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::super::topology::plain;
    use super::*;

    fn names(threads: &[Thread], shards_max: Option<usize>) -> Vec<String> {
        candidates(threads, shards_max)
            .into_iter()
            .map(|found| format!("{}{}", found.cpus, if found.shares_cores { " shared" } else { "" }))
            .collect()
    }

    /// As many servers count: CPUs 0.. are one thread of each core, package by package, and then come the second ones.
    fn server(packages: usize, cores: usize) -> Vec<Thread> {
        let all = packages * cores;
        let thread = |cpu: usize| {
            let package = cpu % all / cores;
            Thread { cpu, core: cpu % all, node: package, package: i64::try_from(package).unwrap() }
        };
        (0..2 * all).map(thread).collect()
    }

    #[test]
    fn powers_of_two_and_all_of_them() {
        assert_eq!(names(&plain(&[0]), None), ["0"]);
        assert_eq!(names(&plain(&[0, 1]), None), ["0", "0-1"]);
        assert_eq!(names(&plain(&[1, 3, 5, 6, 7, 9]), None), ["1", "1,3", "1,3,5-6", "1,3,5-7,9"]);
        assert_eq!(names(&plain(&[]), None), [""; 0]);
    }

    #[test]
    fn a_bound_is_kept_and_tried() {
        let eight: Vec<usize> = (0..8).collect();
        assert_eq!(names(&plain(&eight), Some(3)), ["0", "0-1", "0-2"]);
        assert_eq!(names(&plain(&eight), Some(1)), ["0"]);
        assert_eq!(names(&plain(&eight), Some(100)), ["0", "0-1", "0-3", "0-7"]);
        assert_eq!(names(&server(1, 4), Some(6)), ["0", "0-1", "0-3", "0-5 shared"]);
    }

    #[test]
    fn cores_come_before_their_second_threads() {
        assert_eq!(names(&server(1, 4), None), ["0", "0-1", "0-3", "0-7 shared"]);
        let neighbours = |cpu| Thread { cpu, core: cpu / 2 * 2, node: 0, package: 0 };
        let threads: Vec<Thread> = (0..4).map(neighbours).collect();
        assert_eq!(names(&threads, None), ["0", "0,2", "0-3 shared"]);
    }

    #[test]
    fn a_package_is_filled_before_the_next_is_begun() {
        assert_eq!(names(&server(2, 4), None), ["0", "0-1", "0-3", "0-7", "0-3,8-11 shared", "0-15 shared"]);
        // Of the first package two cores are left, of the second one all: that is where four shards stay together.
        let threads: Vec<Thread> = server(2, 4).into_iter().filter(|thread| thread.core > 1).collect();
        assert_eq!(names(&threads, Some(4)), ["4", "4-5", "4-7"]);
    }

    #[test]
    fn a_node_is_filled_before_the_next_is_begun() {
        let thread = |cpu: usize| Thread { cpu, core: cpu, node: cpu % 2, package: 0 };
        let threads: Vec<Thread> = (0..8).map(thread).collect();
        assert_eq!(names(&threads, None), ["0", "0,2", "0,2,4,6", "0-7"]);
    }
}
