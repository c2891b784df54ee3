//! How much may be sent in a minute, by one connection and by all of one address.
//!
//! Pure. It only tells for how long nothing more is to be read from somebody; nothing is thrown away because of it.

use loka_proto::bucket::cost_us;
use loka_proto::{Bucket, Spent, Tick};
use std::num::NonZeroU32;

/// Bytes that a connection spends before its accounts are looked at: an honest miner needs most of an hour for them, so
/// that it does not pay for being counted.
pub(crate) const CREDIT_BYTES: i32 = 64 * 1024;

/// Limits a minute; `None`: as much as anybody likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes, with what is no message.
    pub bytes: Option<NonZeroU32>,
    /// Messages.
    pub requests: Option<NonZeroU32>,
    /// Authorizations; one that a pool refused counts for several.
    pub authorizations: Option<NonZeroU32>,
}

/// What connections and addresses are held to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quotas {
    /// Bytes of one connection in a minute. Its messages are held to limits by the core.
    pub connection_bytes: Option<NonZeroU32>,
    /// All of one address, on each shard.
    pub address: Rates,
    /// What a limit allows in so many microseconds may come at once.
    pub window_us: u64,
}

loka_proto::labels! {
    /// What somebody had too much of.
    pub enum Excess {
        /// Bytes of one connection.
        ConnectionBytes => "connection_bytes",
        /// Bytes of one address.
        AddressBytes => "address_bytes",
        /// Messages of one address.
        AddressRequests => "address_requests",
        /// Authorizations of one address.
        AddressAuthorizations => "address_authorizations",
    }
}

/// For how long nothing is to be read, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) excess: Excess,
    pub(crate) us: u64,
}

impl Pause {
    /// The longer of two.
    pub(crate) fn longer(one: Option<Pause>, other: Option<Pause>) -> Option<Pause> {
        one.into_iter().chain(other).max_by_key(|pause| pause.us)
    }
}

/// One account: a bucket and the limit that it is held to.
fn charge(
    bucket: &mut Bucket,
    limit: Option<NonZeroU32>,
    window_us: u64,
    count: u64,
    now: Tick,
    excess: Excess,
) -> Option<Pause> {
    let us = bucket.charge(cost_us(count, limit?), window_us, now);
    (us > 0).then_some(Pause { excess, us })
}

impl Quotas {
    /// Takes from a connection's account what it has sent.
    pub(crate) fn charge_connection(&self, bucket: &mut Bucket, bytes: u64, now: Tick) -> Option<Pause> {
        charge(bucket, self.connection_bytes, self.window_us, bytes, now, Excess::ConnectionBytes)
    }
}

/// The accounts of one address.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accounts {
    bytes: Bucket,
    requests: Bucket,
    authorizations: Bucket,
}

impl Accounts {
    /// Takes what a connection of the address has sent.
    pub(crate) fn charge(&mut self, quotas: &Quotas, bytes: u64, spent: Spent, now: Tick) -> Option<Pause> {
        let Rates { bytes: bytes_max, requests, authorizations } = quotas.address;
        let window_us = quotas.window_us;
        let (asked, tried) = (u64::from(spent.requests), u64::from(spent.authorizations));
        let bytes = charge(&mut self.bytes, bytes_max, window_us, bytes, now, Excess::AddressBytes);
        let requests = charge(&mut self.requests, requests, window_us, asked, now, Excess::AddressRequests);
        let excess = Excess::AddressAuthorizations;
        let tried = charge(&mut self.authorizations, authorizations, window_us, tried, now, excess);
        Pause::longer(Pause::longer(bytes, requests), tried)
    }

    /// Whether newcomers of this address have to wait: others of it have tried to be authorized too often.
    pub(crate) fn newcomers_wait(&self, quotas: &Quotas, now: Tick) -> Option<Pause> {
        let us = self.authorizations.debt(quotas.window_us, now);
        (us > 0).then_some(Pause { excess: Excess::AddressAuthorizations, us })
    }

    /// Whether nothing is owed.
    pub(crate) fn are_settled(&self, now: Tick) -> bool {
        self.bytes.is_full(now) && self.requests.is_full(now) && self.authorizations.is_full(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(1_000_000_000);
    const WINDOW_US: u64 = 10_000_000;

    fn quotas() -> Quotas {
        let a_minute = NonZeroU32::new;
        Quotas {
            connection_bytes: a_minute(60_000),
            address: Rates {
                bytes: a_minute(600_000),
                requests: a_minute(600),
                authorizations: a_minute(60),
            },
            window_us: WINDOW_US,
        }
    }

    #[test]
    fn a_window_s_worth_may_come_at_once_and_the_rest_waits_its_time() {
        let (quotas, mut bucket) = (quotas(), Bucket::default());
        assert_eq!(quotas.charge_connection(&mut bucket, 10_000, NOW), None);
        let pause = Pause { excess: Excess::ConnectionBytes, us: 1_000_000 };
        assert_eq!(quotas.charge_connection(&mut bucket, 1_000, NOW), Some(pause));
        assert_eq!(quotas.charge_connection(&mut bucket, 0, NOW + 1_000_000), None);
    }

    #[test]
    fn an_address_is_held_to_each_of_its_limits() {
        for (bytes, requests, authorizations, excess) in [
            (100_000, 100, 10, None),
            (110_000, 0, 0, Some(Excess::AddressBytes)),
            (0, 110, 0, Some(Excess::AddressRequests)),
            (0, 0, 11, Some(Excess::AddressAuthorizations)),
            (110_000, 200, 11, Some(Excess::AddressRequests)),
        ] {
            let mut accounts = Accounts::default();
            let pause = accounts.charge(&quotas(), bytes, Spent { requests, authorizations }, NOW);
            assert_eq!(pause.map(|pause| pause.excess), excess);
            assert!(!accounts.are_settled(NOW) && accounts.are_settled(NOW + 2 * WINDOW_US));
            let waits = accounts.newcomers_wait(&quotas(), NOW).is_some();
            assert_eq!(waits, authorizations > 10);
        }
    }

    #[test]
    fn without_limits_nobody_waits() {
        let mut accounts = Accounts::default();
        let spent = Spent { requests: u32::MAX, authorizations: u32::MAX };
        assert_eq!(accounts.charge(&Quotas::default(), u64::MAX, spent, NOW), None);
        assert_eq!(accounts.newcomers_wait(&Quotas::default(), NOW), None);
    }
}
