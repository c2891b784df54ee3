//! What one shard knows of the addresses that its miners come from: how many connections each has, how often it comes, what
//! it has done, and whether it is kept out.
//!
//! Pure: time and addresses come in, a verdict comes out. An IPv6 host commands a whole /64, so that is one address here. It
//! refuses to know more than [`VISITORS_MAX`] addresses: those that have done nothing and hold nothing are forgotten first,
//! and when all hold something, others are let in unseen, since a full table must not turn a farm away.

use crate::plan::limits::VISITORS_MAX;
use crate::quota::{Accounts, Pause, Quotas};
use ipnet::IpNet;
use loka_proto::bucket::cost_us;
use loka_proto::{Bucket, End, Spent, Tick};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

const SECOND_US: u64 = 1_000_000;
/// Microseconds in which a score halves.
const SCORE_HALVES_US: u64 = 60 * SECOND_US;
/// A score below this is none.
const SCORE_MIN: f32 = 0.5;

/// What addresses are held to.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Only these may connect; empty: everybody.
    pub allow: Vec<IpNet>,
    /// These may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// Connections that one address may have over all shards.
    pub connections_max: Option<u32>,
    /// Connections that one address may make in a minute, on each shard.
    pub connects_per_minute: Option<NonZeroU32>,
    /// The score at which an address is kept out, for each miner of it that works beside those that misbehave. `None`: never.
    pub score_max: Option<u32>,
    /// How much may be sent.
    pub quotas: Quotas,
    /// Microseconds for which a shard keeps such an address out by itself, until the control plane has its say.
    pub block_us: u64,
}

/// Why a connection is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// By the lists of the configuration.
    Denied,
    /// For what it did.
    Blocked,
    /// It has as many connections as it may.
    TooMany,
    /// It connects too often.
    TooOften,
}

impl Refused {
    pub(crate) fn end(self) -> End {
        match self {
            Refused::Denied => End::Denied,
            Refused::Blocked => End::Blocked,
            Refused::TooMany => End::AddressLimit,
            Refused::TooOften => End::ConnectRate,
        }
    }
}

/// One address, as one shard knows it.
#[derive(Debug, Clone, Copy, Default)]
struct Visitor {
    connections: u32,
    /// Of those, miners at work.
    working: u32,
    /// Connections on other shards, as last told.
    elsewhere: u32,
    connects: Bucket,
    accounts: Accounts,
    score: f32,
    score_at: Tick,
    blocked_until: Tick,
    /// Something changed since it was last told of.
    is_news: bool,
}

impl Visitor {
    fn score(&self, now: Tick) -> f32 {
        let halvings = (now - self.score_at) as f32 / SCORE_HALVES_US as f32;
        self.score * (-halvings).exp2()
    }

    /// Whether nothing is lost by forgetting it.
    fn is_idle(&self, now: Tick) -> bool {
        self.connections == 0
            && !self.is_news
            && self.connects.is_full(now)
            && self.accounts.are_settled(now)
            && self.score(now) < SCORE_MIN
            && now >= self.blocked_until
    }
}

/// What a shard tells of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitorNews {
    /// The address, or the first of its /64.
    pub address: IpAddr,
    /// Its connections on this shard.
    pub connections: u32,
    /// The shard has begun to keep it out.
    pub is_blocked: bool,
}

/// What the control plane tells of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitorRule {
    /// See [`VisitorNews::address`].
    pub address: IpAddr,
    /// Connections on all shards together.
    pub connections: u32,
    /// Microseconds for which it is kept out from now on; zero: it is not.
    pub blocked_us: u64,
}

/// What a connection was good for, while it was there.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conduct {
    /// It asked to subscribe or to be authorized.
    pub(crate) is_miner: bool,
    /// It had all that a miner needs.
    pub(crate) has_worked: bool,
}

/// All addresses of one shard.
#[derive(Debug)]
pub(crate) struct Visitors {
    guard: Guard,
    known: HashMap<IpAddr, Visitor>,
    /// Addresses with news, each once.
    news: Vec<IpAddr>,
}

/// The address that stands for all that one host commands: an IPv4 address itself, of an IPv6 address the first of its /64.
#[must_use]
pub fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl Visitors {
    pub(crate) fn new(guard: Guard) -> Visitors {
        Visitors { guard, known: HashMap::new(), news: Vec::new() }
    }

    /// From now on addresses are held to this. What is known of them stays.
    pub(crate) fn renew(&mut self, guard: Guard) {
        self.guard = guard;
    }

    /// Whether the lists of the configuration keep this address out.
    pub(crate) fn is_denied(&self, address: IpAddr) -> bool {
        let listed = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address.to_canonical()));
        listed(&self.guard.deny) || !self.guard.allow.is_empty() && !listed(&self.guard.allow)
    }

    /// A connection from this address; counted when it may stay.
    pub(crate) fn enter(&mut self, address: IpAddr, now: Tick) -> Result<(), Refused> {
        if self.is_denied(address) {
            return Err(Refused::Denied);
        }
        let host = host_of(address);
        let connections_max = self.guard.connections_max;
        let pace_us = self.pace_us();
        let Some(visitor) = self.visitor(host, now) else { return Ok(()) };
        if now < visitor.blocked_until {
            return Err(Refused::Blocked);
        }
        if connections_max.is_some_and(|max| visitor.connections + visitor.elsewhere >= max) {
            return Err(Refused::TooMany);
        }
        if !visitor.connects.take(pace_us, 60 * SECOND_US, now) {
            return Err(Refused::TooOften);
        }
        visitor.connections += 1;
        self.note(host);
        Ok(())
    }

    /// Counts a connection that another process had let in.
    pub(crate) fn adopt(&mut self, address: IpAddr, has_worked: bool, now: Tick) {
        let host = host_of(address);
        let Some(visitor) = self.visitor(host, now) else { return };
        visitor.connections += 1;
        visitor.working += u32::from(has_worked);
        self.note(host);
    }

    /// What a connection costs.
    fn pace_us(&self) -> u64 {
        self.guard.connects_per_minute.map_or(0, |limit| cost_us(1, limit))
    }

    /// The record of an address; `None` when the table is full of others that matter.
    fn visitor(&mut self, host: IpAddr, now: Tick) -> Option<&mut Visitor> {
        if self.known.len() >= VISITORS_MAX && !self.known.contains_key(&host) {
            self.known.retain(|_, visitor| !visitor.is_idle(now));
            if self.known.len() >= VISITORS_MAX {
                return None;
            }
        }
        Some(self.known.entry(host).or_default())
    }

    /// Takes what a connection of this address has sent. Gives for how long nothing more is to be read from it.
    pub(crate) fn charge(&mut self, address: IpAddr, bytes: u64, spent: Spent, now: Tick) -> Option<Pause> {
        let visitor = self.known.get_mut(&host_of(address))?;
        visitor.accounts.charge(&self.guard.quotas, bytes, spent, now)
    }

    /// For how long newcomers of this address are not read.
    pub(crate) fn newcomers_wait(&self, address: IpAddr, now: Tick) -> Option<Pause> {
        self.known.get(&host_of(address))?.accounts.newcomers_wait(&self.guard.quotas, now)
    }

    /// How much may be sent.
    pub(crate) fn quotas(&self) -> &Quotas {
        &self.guard.quotas
    }

    /// A miner of this address has begun to work.
    pub(crate) fn works(&mut self, address: IpAddr) {
        let host = host_of(address);
        if let Some(visitor) = self.known.get_mut(&host) {
            visitor.working += 1;
            self.note(host);
        }
    }

    /// A connection that had entered has ended. True when the address is kept out from now on.
    pub(crate) fn leave(&mut self, address: IpAddr, end: End, conduct: Conduct, now: Tick) -> bool {
        let host = host_of(address);
        let (score_max, block_us) = (self.guard.score_max, self.guard.block_us);
        let pace_us = self.pace_us();
        let Some(visitor) = self.known.get_mut(&host) else { return false };
        visitor.connections = visitor.connections.saturating_sub(1);
        visitor.working = visitor.working.saturating_sub(u32::from(conduct.has_worked));
        if end == End::Http {
            // It asked somebody else: that takes nothing from what its miners may do.
            visitor.connects.give_back(pace_us, now);
        }
        if let Some(weight) = end.offence(conduct.is_miner) {
            (visitor.score, visitor.score_at) = (visitor.score(now) + weight, now);
        }
        // A farm behind one address is not kept out for a few of its machines.
        let limit = score_max.map(|max| max as f32 * (1.0 + visitor.working as f32));
        let is_bad = limit.is_some_and(|limit| visitor.score >= limit) && now >= visitor.blocked_until;
        if is_bad {
            visitor.blocked_until = now + block_us;
            visitor.score = 0.0;
        }
        self.note(host);
        is_bad
    }

    fn note(&mut self, host: IpAddr) {
        if let Some(visitor) = self.known.get_mut(&host).filter(|visitor| !visitor.is_news) {
            visitor.is_news = true;
            self.news.push(host);
        }
    }

    /// Takes what the control plane says.
    pub(crate) fn obey(&mut self, rules: &[VisitorRule], now: Tick) {
        for rule in rules {
            let Some(visitor) = self.visitor(rule.address, now) else { continue };
            visitor.elsewhere = rule.connections.saturating_sub(visitor.connections);
            visitor.blocked_until = if rule.blocked_us == 0 { Tick(0) } else { now + rule.blocked_us };
        }
    }

    /// Tells at most `max` addresses of which something has changed, the rest at the next report.
    pub(crate) fn tell(&mut self, max: usize, now: Tick, to: &mut Vec<VisitorNews>) {
        for address in self.news.drain(..max.min(self.news.len())) {
            let Some(visitor) = self.known.get_mut(&address) else { continue };
            visitor.is_news = false;
            to.push(VisitorNews {
                address,
                connections: visitor.connections,
                is_blocked: now < visitor.blocked_until,
            });
        }
    }

    /// Addresses known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick(1_000 * SECOND_US);
    const STRANGER: Conduct = Conduct { is_miner: false, has_worked: false };
    const WORKED: Conduct = Conduct { is_miner: true, has_worked: true };
    const BLOCK_US: u64 = 10 * SECOND_US;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn visitors(change: impl Fn(&mut Guard)) -> Visitors {
        let mut guard = Guard { score_max: Some(100), block_us: BLOCK_US, ..Guard::default() };
        change(&mut guard);
        Visitors::new(guard)
    }

    #[test]
    fn lists_decide_first_and_deny_before_allow() {
        let mut visitors = visitors(|guard| {
            guard.allow = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
            guard.deny = vec!["10.6.6.0/24".parse().unwrap()];
        });
        for (from, verdict) in [
            ("10.1.1.1", Ok(())),
            ("::ffff:10.1.1.1", Ok(())),
            ("2001:db8::1", Ok(())),
            ("10.6.6.6", Err(Refused::Denied)),
            ("::ffff:10.6.6.6", Err(Refused::Denied)),
            ("192.0.2.1", Err(Refused::Denied)),
        ] {
            assert_eq!(visitors.enter(address(from), NOW), verdict, "{from}");
        }
    }

    #[test]
    fn connections_are_limited_for_an_address_over_all_shards() {
        let mut visitors = visitors(|guard| guard.connections_max = Some(3));
        let farm = address("10.0.0.1");
        assert_eq!((visitors.enter(farm, NOW), visitors.enter(farm, NOW)), (Ok(()), Ok(())));
        let told = VisitorRule { address: farm, connections: 3, blocked_us: 0 };
        visitors.obey(&[told], NOW);
        assert_eq!(visitors.enter(farm, NOW), Err(Refused::TooMany), "one is on another shard");
        assert_eq!(visitors.enter(address("10.0.0.2"), NOW), Ok(()));
        visitors.leave(farm, End::MinerLeft, WORKED, NOW);
        assert_eq!(visitors.enter(farm, NOW), Ok(()));
        // Neighbours of one /64 are one host.
        let mut visitors = self::visitors(|guard| guard.connections_max = Some(1));
        assert_eq!(visitors.enter(address("2001:db8::1"), NOW), Ok(()));
        assert_eq!(visitors.enter(address("2001:db8::2"), NOW), Err(Refused::TooMany));
    }

    #[test]
    fn who_connects_too_often_waits() {
        let mut visitors = visitors(|guard| guard.connects_per_minute = NonZeroU32::new(60));
        let storm = address("10.0.0.1");
        let entered = (0..100).filter(|_| visitors.enter(storm, NOW).is_ok()).count();
        assert_eq!((entered, visitors.enter(storm, NOW)), (60, Err(Refused::TooOften)));
        assert_eq!(visitors.enter(storm, NOW + SECOND_US), Ok(()));
        visitors.leave(storm, End::Http, STRANGER, NOW + SECOND_US);
        assert_eq!(visitors.enter(storm, NOW + SECOND_US), Ok(()), "who asked by HTTP has not connected");
        assert_eq!(visitors.enter(storm, NOW + SECOND_US), Err(Refused::TooOften));
    }

    #[test]
    fn misbehaviour_adds_up_fades_and_keeps_an_address_out_for_a_while() {
        let mut visitors = visitors(|_| {});
        let scanner = address("192.0.2.7");
        let misbehave = |visitors: &mut Visitors, now| {
            visitors.enter(scanner, now).unwrap();
            visitors.leave(scanner, End::NotStratum, STRANGER, now)
        };
        let blocked: Vec<bool> = (0..10).map(|_| misbehave(&mut visitors, NOW)).collect();
        assert_eq!(blocked.iter().position(|blocked| *blocked), Some(9));
        assert_eq!(visitors.enter(scanner, NOW + (BLOCK_US - 1)), Err(Refused::Blocked));
        assert_eq!(visitors.enter(scanner, NOW + BLOCK_US), Ok(()));
        visitors.leave(scanner, End::MinerLeft, WORKED, NOW + BLOCK_US);
        // One a minute is never too much.
        let minutes = |count: u64| NOW + count * 60 * SECOND_US;
        assert!((1..200).all(|minute| !misbehave(&mut visitors, minutes(minute))));
    }

    #[test]
    fn miners_that_find_no_pool_and_leave_have_done_nothing() {
        let mut visitors = visitors(|_| {});
        let (farm, scanner) = (address("10.0.0.1"), address("192.0.2.7"));
        let unlucky = Conduct { is_miner: true, has_worked: false };
        for _ in 0..10_000 {
            visitors.enter(farm, NOW).unwrap();
            assert!(!visitors.leave(farm, End::MinerLeft, unlucky, NOW));
        }
        let connects = (0..1_000).position(|_| {
            visitors.enter(scanner, NOW).unwrap();
            visitors.leave(scanner, End::MinerLeft, STRANGER, NOW)
        });
        assert_eq!(connects, Some(199));
    }

    #[test]
    fn a_farm_behind_one_address_is_not_kept_out_for_a_few_machines() {
        let mut visitors = visitors(|_| {});
        let farm = address("10.0.0.1");
        for _ in 0..20 {
            visitors.enter(farm, NOW).unwrap();
            visitors.works(farm);
        }
        for _ in 0..100 {
            visitors.enter(farm, NOW).unwrap();
            assert!(!visitors.leave(farm, End::NotStratum, STRANGER, NOW));
        }
        visitors.enter(farm, NOW).unwrap();
        assert!(
            (0..120).any(|_| visitors.leave(farm, End::Flood, STRANGER, NOW)),
            "there is a limit all the same"
        );
    }

    #[test]
    fn news_is_told_once_and_the_control_plane_has_the_last_word() {
        let mut visitors = visitors(|_| {});
        let (one, two) = (address("10.0.0.1"), address("10.0.0.2"));
        visitors.enter(one, NOW).unwrap();
        visitors.enter(one, NOW).unwrap();
        visitors.enter(two, NOW).unwrap();
        let mut told = Vec::new();
        visitors.tell(1, NOW, &mut told);
        visitors.tell(10, NOW, &mut told);
        visitors.tell(10, NOW, &mut told);
        let mut counts: Vec<(IpAddr, u32)> =
            told.iter().map(|news| (news.address, news.connections)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(one, 2), (two, 1)]);
        visitors.obey(&[VisitorRule { address: one, connections: 2, blocked_us: BLOCK_US }], NOW);
        assert_eq!(visitors.enter(one, NOW), Err(Refused::Blocked));
        visitors.obey(&[VisitorRule { address: one, connections: 2, blocked_us: 0 }], NOW);
        assert_eq!(visitors.enter(one, NOW), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_turns_nobody_away_when_it_is_full() {
        let mut visitors = visitors(|_| {});
        for number in 0..u32::try_from(VISITORS_MAX).unwrap() + 10 {
            assert_eq!(visitors.enter(IpAddr::V4(number.into()), NOW), Ok(()));
        }
        assert_eq!(visitors.len(), VISITORS_MAX);
        let mut told = Vec::new();
        visitors.tell(usize::MAX, NOW, &mut told);
        for number in 0..1000_u32 {
            visitors.leave(IpAddr::V4(number.into()), End::MinerLeft, WORKED, NOW);
        }
        visitors.tell(usize::MAX, NOW, &mut told);
        visitors.enter(address("192.0.2.1"), NOW).unwrap();
        assert!(visitors.len() <= VISITORS_MAX - 999, "those that hold nothing are forgotten");
    }
}
