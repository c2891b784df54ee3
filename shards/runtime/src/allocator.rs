//! What the allocator of this program holds, if that is mimalloc. Reading it counts nothing and slows nothing down.

use libmimalloc_sys::mi_process_info;
use std::ptr;

/// Memory as mimalloc and the kernel see it. All zero where the program uses another allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocatorFigures {
    /// Bytes that it has of the kernel for reading and writing: in use, or kept for the next who asks.
    pub committed_bytes: u64,
    /// The most that it has had.
    pub committed_bytes_max: u64,
    /// The most bytes of memory that the process has had in use (resident set).
    pub resident_bytes_max: u64,
    /// Pages that had to be read from a disk.
    pub page_faults: u64,
}

impl AllocatorFigures {
    /// The present figures.
    #[must_use]
    pub fn read() -> Self {
        let (mut resident_max, mut committed, mut committed_max, mut faults) = (0, 0, 0, 0);
        let unwanted = ptr::null_mut();
        // SAFETY: each pointer is null, which asks for nothing, or leads to a number of its own that lives until the call
        // returns.
        unsafe {
            mi_process_info(
                unwanted,
                unwanted,
                unwanted,
                unwanted,
                &raw mut resident_max,
                &raw mut committed,
                &raw mut committed_max,
                &raw mut faults,
            );
        }
        Self {
            committed_bytes: committed as u64,
            committed_bytes_max: committed_max as u64,
            resident_bytes_max: resident_max as u64,
            page_faults: faults as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_fit_each_other() {
        let first = AllocatorFigures::read();
        assert!(first.committed_bytes <= first.committed_bytes_max, "{first:?}");
        // The kernel tells it of any process.
        assert!(first.resident_bytes_max > 0, "{first:?}");
        assert!(AllocatorFigures::read().resident_bytes_max >= first.resident_bytes_max);
    }
}
