//! Ending all connections of an address because an operator says so, a few on each tick, so that the end of a whole farm
//! does not hold up the others.
//!
//! It keeps nobody out: who is kicked may come again at once.

use super::Shard;
use crate::plan::limits::{COMMANDS_MAX, KICKS_PER_TICK};
use crate::visitors::host_of;
use loka_proto::End;
use loka_proto::middleware::Stage;
use std::net::IpAddr;

/// An address whose connections are to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kick {
    address: IpAddr,
    /// Those that came later are spared.
    before: u64,
}

/// Kicks that may go on at one time; a further one is carried out at once.
const KICKS_MAX: usize = 4 * COMMANDS_MAX;

impl<P: Stage> Shard<P> {
    /// Begins to end the connections that this address has now.
    pub(super) fn kick(&mut self, address: IpAddr) {
        let kick = Kick { address, before: self.next_client };
        self.kicks.retain(|kick| kick.address != address);
        if self.kicks.len() < KICKS_MAX {
            self.kicks.push(kick);
        } else {
            self.kick_some(kick, usize::MAX);
        }
    }

    /// Goes on with those that were begun.
    pub(super) fn go_on_kicking(&mut self) {
        let mut budget = KICKS_PER_TICK;
        while let Some(kick) = self.kicks.last().copied().filter(|_| budget > 0) {
            let ended = self.kick_some(kick, budget);
            if ended < budget {
                self.kicks.pop();
            }
            budget -= ended;
        }
    }

    /// Ends at most `max` connections; how many it ended.
    fn kick_some(&mut self, kick: Kick, max: usize) -> usize {
        let is_meant = |address: Option<IpAddr>| address.is_some_and(|from| host_of(from) == kick.address);
        let keys: Vec<usize> = self
            .links
            .iter()
            .filter(|(_, link)| !link.gone && !link.session.is_over())
            .filter(|(_, link)| is_meant(link.address) && link.session.client().id.0 < kick.before)
            .map(|(key, _)| key)
            .take(max)
            .collect();
        for key in &keys {
            self.guarded(*key, |shard| {
                shard.fail(*key, End::Kicked);
                shard.settle(*key);
            });
        }
        keys.len()
    }
}
