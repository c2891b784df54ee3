//! What became of the shares of one connection, for whoever asks about it. What is reported is counted elsewhere, by worker and
//! in all: nothing here is ever added up.

use crate::tick::Tick;
use serde::{Deserialize, Serialize};

/// What became of the shares of one connection. Counters stop at their largest value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// A pool accepted them.
    pub accepted: u32,
    /// A pool rejected them.
    pub rejected: u32,
    /// The proxy refused them.
    pub refused: u32,
    /// When the last one was accepted; nothing where none was.
    accepted_at: Tick,
}

impl Tally {
    /// When a share was accepted last, if one was.
    #[must_use]
    pub fn last_accepted(&self) -> Option<Tick> {
        (self.accepted > 0).then_some(self.accepted_at)
    }

    #[inline]
    pub(super) fn accepted(&mut self, now: Tick) {
        self.accepted = self.accepted.saturating_add(1);
        self.accepted_at = now;
    }

    #[inline]
    pub(super) fn rejected(&mut self) {
        self.rejected = self.rejected.saturating_add(1);
    }

    pub(super) fn refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }
}
