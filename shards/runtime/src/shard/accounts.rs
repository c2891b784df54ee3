//! What connections have sent is held against what they and their addresses may. Who has sent too much is not read for a
//! while: the kernel's buffer fills, and the sender waits. Nothing is lost, and nobody else of the shard waits with him.

use super::Shard;
use crate::link::Link;
use crate::quota::{CREDIT_BYTES, Pause};
use loka_proto::Tick;
use loka_proto::middleware::Stage;

impl<P: Stage> Shard<P> {
    /// Takes from a connection's credit what was just read. Its accounts are looked at when that is used up, and when
    /// somebody was to be authorized.
    pub(super) fn spend(&mut self, key: usize, bytes: usize) {
        let link = &mut self.links[key];
        link.use_credit(bytes);
        if link.has_used_its_credit() || link.session.has_spent_authorizations() {
            self.settle_accounts(key);
        }
    }

    fn settle_accounts(&mut self, key: usize) {
        let now = self.now;
        let link = &mut self.links[key];
        let bytes = link.take_spent_bytes();
        let own = self.visitors.quotas().charge_connection(&mut link.sent, bytes, now);
        let spent = link.session.take_spent();
        let of_all = link.address.and_then(|address| self.visitors.charge(address, bytes, spent, now));
        if let Some(pause) = Pause::longer(own, of_all) {
            self.hold_back(key, pause);
        }
    }

    /// Whether a connection is to be read now. One that only comes waits while others of its address ask for too many
    /// authorizations: what it asks for would go to the pool.
    pub(super) fn may_be_read(&mut self, key: usize) -> bool {
        let link = &self.links[key];
        if link.is_held_back() {
            return false;
        }
        if link.session.is_at_work() {
            return true;
        }
        let wait = link.address.and_then(|address| self.visitors.newcomers_wait(address, self.now));
        if let Some(pause) = wait {
            self.hold_back(key, pause);
        }
        wait.is_none()
    }

    fn hold_back(&mut self, key: usize, pause: Pause) {
        self.links[key].resume_at = self.now + pause.us;
        self.report.shell.excesses[pause.excess.index()] += 1;
        self.tell_held_back(key, pause);
    }

    /// Reads a connection again that has waited long enough.
    pub(super) fn resume(&mut self, key: usize) {
        let link = &mut self.links[key];
        if self.now >= link.resume_at {
            link.resume_at = Tick::NEVER;
        }
    }

    /// A connection is gone: what it had not been charged for is charged to its address.
    pub(super) fn close_accounts(&mut self, link: &mut Link, now: Tick) {
        let (bytes, spent) = (link.take_spent_bytes(), link.session.take_spent());
        if let Some(address) = link.address {
            // Nobody is left to be held back for it.
            let _ = self.visitors.charge(address, bytes, spent, now);
        }
    }
}

impl Link {
    /// The miner has sent so much.
    pub(crate) fn use_credit(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(i32::try_from(bytes).unwrap_or(i32::MAX));
    }

    /// Whether it has sent all that it may before somebody looks at it: at its accounts, or, while its link is closing, at
    /// whether it ever stops.
    pub(crate) fn has_used_its_credit(&self) -> bool {
        self.credit < 0
    }

    fn take_spent_bytes(&mut self) -> u64 {
        let spent = i64::from(CREDIT_BYTES) - i64::from(self.credit);
        self.credit = CREDIT_BYTES;
        u64::try_from(spent).unwrap_or(0)
    }

    /// Whether it is not read for a while because of what it, or its address, has sent.
    pub(crate) fn is_held_back(&self) -> bool {
        self.resume_at != Tick::NEVER
    }
}
