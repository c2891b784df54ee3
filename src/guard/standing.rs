//! The addresses that are kept out now, in the order in which they came and in the order in which they go.
//!
//! Pure. It remembers nothing of addresses that are let in again, and never reads all of them: pages cost what they show.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

/// Addresses that are kept out.
#[derive(Debug, Default)]
pub(super) struct Standing {
    by_begin: BTreeSet<(Instant, IpAddr)>,
    by_end: BTreeSet<(Instant, IpAddr)>,
}

impl Standing {
    /// An address is kept out from `since` to `until`. It must not stand here already.
    pub(super) fn add(&mut self, address: IpAddr, (since, until): (Instant, Instant)) {
        self.by_begin.insert((since, address));
        self.by_end.insert((until, address));
    }

    /// Takes it out again, with the times it was added with. Nothing happens when it does not stand here.
    pub(super) fn remove(&mut self, address: IpAddr, (since, until): (Instant, Instant)) {
        self.by_begin.remove(&(since, address));
        self.by_end.remove(&(until, address));
    }

    /// The next address whose time has come, for as long as there is one.
    pub(super) fn next_over(&self, now: Instant) -> Option<IpAddr> {
        self.by_end.first().filter(|(until, _)| *until <= now).map(|(_, address)| *address)
    }

    /// How many stand here.
    pub(super) fn len(&self) -> usize {
        self.by_begin.len()
    }

    /// Those that came last first, without the first `offset` of them.
    pub(super) fn newest(&self, offset: usize) -> impl Iterator<Item = IpAddr> + '_ {
        self.by_begin.iter().rev().skip(offset).map(|(_, address)| *address)
    }
}
