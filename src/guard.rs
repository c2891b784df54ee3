//! What is known of the addresses of miners over all shards: how many connections each has, and which are kept out for how
//! long. Shards report, this adds up, and shards are told.
//!
//! Pure: reports, times and wishes of the operator come in, rules for the shards and records for the log come out. It lives
//! on the aggregator's thread. It refuses to remember more than [`ADDRESSES_MAX`] addresses; shards go on by themselves then.

mod standing;
mod wishes;

pub use wishes::{BlockPage, GuardDesk, Kicked, PAGE_MAX, WishError, Wishes, desk};

use loka_runtime::{VisitorNews, VisitorRule};
use standing::Standing;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered.
pub const ADDRESSES_MAX: usize = 262_144;
/// The longest term of an address that offends again and again.
const TERM_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How long an offence is remembered after its term has ended: the next is the first again then.
const REMEMBERED: Duration = Duration::from_secs(86_400);
/// How often a full book looks for addresses to forget: it reads all of them, whoever makes it do so.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Blocks that are logged in a minute; the others are counted.
const LOGGED_PER_MINUTE: u32 = 60;

/// What the operator's configuration says.
#[derive(Debug, Clone, Copy)]
pub struct GuardLimits {
    /// See `security.max_connections_per_ip`.
    pub connections_max: Option<u32>,
    /// The first term of an address that is kept out; each further one is twice as long.
    pub term: Duration,
}

/// One address that is kept out.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The address, or the first of its /64.
    pub address: IpAddr,
    /// When it began.
    pub since: Instant,
    /// When it ends.
    pub until: Instant,
    /// How often the address has been kept out.
    pub offences: u32,
}

#[derive(Debug, Default)]
struct Record {
    /// Connections on each shard.
    by_shard: Vec<u32>,
    /// Shards count on connections that others have. Then they hear of each change until the last of them has gone, or they
    /// would count on what is no longer there.
    is_shared: bool,
    offences: u32,
    block: Option<(Instant, Instant)>,
}

impl Record {
    fn connections(&self) -> u32 {
        self.by_shard.iter().sum()
    }

    fn is_blocked(&self, now: Instant) -> bool {
        self.block.is_some_and(|(_, until)| now < until)
    }

    /// Whether nothing is lost by forgetting it.
    fn is_idle(&self, now: Instant) -> bool {
        self.connections() == 0 && self.block.is_none_or(|(_, until)| now >= until + REMEMBERED)
    }
}

/// Everything that is known of addresses.
#[derive(Debug)]
pub struct GuardBook {
    limits: GuardLimits,
    records: HashMap<IpAddr, Record>,
    /// Those that are kept out now: the others are many more.
    standing: Standing,
    /// When it was last looked for addresses to forget.
    swept: Option<Instant>,
    /// Addresses of which shards are to be told.
    dirty: Vec<IpAddr>,
    /// Blocks since the start.
    blocks: u64,
    logged: (Instant, u32),
    unlogged: u64,
}

impl GuardBook {
    /// Nothing is known yet.
    pub fn new(limits: GuardLimits, now: Instant) -> GuardBook {
        GuardBook {
            limits,
            records: HashMap::new(),
            standing: Standing::default(),
            swept: None,
            dirty: Vec::new(),
            blocks: 0,
            logged: (now, 0),
            unlogged: 0,
        }
    }

    /// From now on addresses are held to this. Blocks that stand keep their terms.
    pub fn hold_to(&mut self, limits: GuardLimits) {
        self.limits = limits;
    }

    /// Takes what a shard tells.
    pub fn add(&mut self, shard: usize, news: &[VisitorNews], now: Instant) {
        self.let_go(now);
        for news in news {
            self.add_one(shard, news, now);
        }
    }

    fn add_one(&mut self, shard: usize, news: &VisitorNews, now: Instant) {
        if !self.has_room_for(news.address, now) {
            return;
        }
        let record = self.records.entry(news.address).or_default();
        if record.by_shard.len() <= shard {
            record.by_shard.resize(shard + 1, 0);
        }
        record.by_shard[shard] = news.connections;
        let near = self.limits.connections_max.map(|max| max / 2);
        let is_spread = record.by_shard.iter().filter(|count| **count > 0).count() > 1;
        let is_near = is_spread && near.is_some_and(|near| record.connections() >= near);
        let is_new_block = news.is_blocked && !record.is_blocked(now);
        if is_new_block {
            self.block(news.address, None, now);
        } else if is_near || record.is_shared {
            self.dirty.push(news.address);
        }
    }

    fn has_room_for(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.records.len() >= ADDRESSES_MAX && !self.records.contains_key(&address) {
            self.sweep(now);
            return self.records.len() < ADDRESSES_MAX;
        }
        true
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|at| now.duration_since(at) >= SWEEP_EVERY) {
            self.swept = Some(now);
            self.let_go(now);
            self.records.retain(|_, record| !record.is_idle(now));
        }
    }

    /// Keeps an address out, for a term of its own or for one that grows with each offence. `None` when no more addresses
    /// can be remembered.
    pub fn block(&mut self, address: IpAddr, term: Option<Duration>, now: Instant) -> Option<Block> {
        if !self.has_room_for(address, now) {
            return None;
        }
        let record = self.records.entry(address).or_default();
        if record.block.is_some_and(|(_, until)| now >= until + REMEMBERED) {
            record.offences = 0;
        }
        let grown = self.limits.term.saturating_mul(1 << record.offences.min(16)).min(TERM_MAX);
        let term = term.unwrap_or(grown.max(self.limits.term));
        let times = (now, now + term);
        if let Some(before) = record.block.replace(times) {
            self.standing.remove(address, before);
        }
        self.standing.add(address, times);
        record.offences = record.offences.saturating_add(1);
        self.blocks += 1;
        self.dirty.push(address);
        let offences = record.offences;
        self.log(address, term, offences, now);
        Some(Block { address, since: times.0, until: times.1, offences })
    }

    /// Those whose term is over are no longer kept out. What they did is remembered for a while.
    fn let_go(&mut self, now: Instant) {
        while let Some(address) = self.standing.next_over(now) {
            let times = self.records.get(&address).and_then(|record| record.block);
            debug_assert!(times.is_some(), "who is kept out is remembered");
            // Without its times it could not be taken out, and this would not end.
            let Some(times) = times else { return };
            self.standing.remove(address, times);
        }
    }

    /// One record a block, but not more than anybody reads.
    fn log(&mut self, address: IpAddr, term: Duration, offences: u32, now: Instant) {
        if now.duration_since(self.logged.0) >= Duration::from_secs(60) {
            self.logged = (now, 0);
        }
        if self.logged.1 >= LOGGED_PER_MINUTE {
            self.unlogged += 1;
            return;
        }
        self.logged.1 += 1;
        let unlogged = std::mem::take(&mut self.unlogged);
        tracing::warn!(%address, ?term, offences, unlogged, "address blocked");
    }

    /// Lets an address in again. False when it was not kept out.
    pub fn unblock(&mut self, address: IpAddr, now: Instant) -> bool {
        let Some(record) = self.records.get_mut(&address).filter(|record| record.is_blocked(now)) else {
            return false;
        };
        if let Some(times) = record.block.take() {
            self.standing.remove(address, times);
        }
        self.dirty.push(address);
        true
    }

    /// What shards are to be told since the last time.
    pub fn take_rules(&mut self, now: Instant) -> Vec<VisitorRule> {
        self.dirty.sort_unstable();
        self.dirty.dedup();
        let records = &mut self.records;
        let rule = |address: IpAddr| {
            let record = records.get_mut(&address)?;
            record.is_shared = record.connections() > 0;
            let left = record.block.map_or(Duration::ZERO, |(_, until)| until.saturating_duration_since(now));
            let blocked_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
            Some(VisitorRule { address, connections: record.connections(), blocked_us })
        };
        self.dirty.drain(..).filter_map(rule).collect()
    }

    /// The addresses that are kept out, those that came last first: at most `max`, without the first `offset`.
    pub fn blocked(&mut self, offset: usize, max: usize, now: Instant) -> Vec<Block> {
        self.let_go(now);
        let block = |address: IpAddr| {
            let record = self.records.get(&address)?;
            let (since, until) = record.block?;
            Some(Block { address, since, until, offences: record.offences })
        };
        self.standing.newest(offset).take(max).filter_map(block).collect()
    }

    /// How many addresses are kept out, as of the last look at them.
    pub fn standing(&self) -> usize {
        self.standing.len()
    }

    /// Connections of an address over all shards, as far as they told.
    pub fn connections_of(&self, address: IpAddr) -> u32 {
        self.records.get(&address).map_or(0, Record::connections)
    }

    /// Blocks since the start.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(3600);

    fn book(connections_max: Option<u32>) -> (GuardBook, Instant) {
        let now = Instant::now();
        (GuardBook::new(GuardLimits { connections_max, term: TERM }, now), now)
    }

    fn news(address: &str, connections: u32, is_blocked: bool) -> VisitorNews {
        VisitorNews { address: address.parse().unwrap(), connections, is_blocked }
    }

    #[test]
    fn what_one_shard_keeps_out_all_do_and_terms_grow() {
        let (mut book, mut now) = book(None);
        for offence in 1..=3_u32 {
            book.add(0, &[news("192.0.2.1", 0, true)], now);
            book.add(1, &[news("192.0.2.1", 0, true)], now);
            let rules = book.take_rules(now);
            let us = u64::try_from((TERM * (1 << (offence - 1))).as_micros()).unwrap();
            assert_eq!((rules.len(), rules[0].blocked_us), (1, us));
            assert_eq!(book.blocked(0, 10, now)[0].offences, offence);
            now += TERM * (1 << (offence - 1));
            assert!(book.blocked(0, 10, now).is_empty());
        }
        assert_eq!(book.blocks(), 3);
        // After a quiet day the next is the first again.
        now += REMEMBERED;
        book.add(0, &[news("192.0.2.1", 0, true)], now);
        assert_eq!(book.blocked(0, 10, now)[0].offences, 1);
    }

    #[test]
    fn an_operator_blocks_and_lets_in() {
        let (mut book, now) = book(None);
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        book.block(address, Some(Duration::from_secs(10)), now);
        assert_eq!(book.take_rules(now)[0].blocked_us, 10_000_000);
        assert!(book.unblock(address, now) && !book.unblock(address, now));
        assert_eq!(book.take_rules(now), [VisitorRule { address, connections: 0, blocked_us: 0 }]);
    }

    #[test]
    fn the_list_is_those_kept_out_now_the_newest_first() {
        let (mut book, now) = book(None);
        let address = |host: u8| IpAddr::from([192, 0, 2, host]);
        let second = Duration::from_secs(1);
        for host in 0..10_u8 {
            // The later they come the sooner they go.
            book.block(address(host), Some(second * (100 - u32::from(host))), now + second * u32::from(host));
        }
        let listed = |book: &mut GuardBook, offset, max, now| -> Vec<IpAddr> {
            book.blocked(offset, max, now).iter().map(|block| block.address).collect()
        };
        let at = now + second * 10;
        assert_eq!(listed(&mut book, 1, 3, at), [address(8), address(7), address(6)]);
        assert_eq!((listed(&mut book, 9, 10, at), book.standing()), (vec![address(0)], 10));
        assert!(book.unblock(address(8), at));
        // Blocked again: once in the list, as the newest.
        book.block(address(3), Some(second * 200), at);
        assert_eq!(listed(&mut book, 0, 2, at), [address(3), address(9)]);
        assert_eq!(book.standing(), 9);
        assert_eq!(listed(&mut book, 0, 10, now + second * 100), [address(3)]);
        assert_eq!((listed(&mut book, 0, 10, at + second * 200), book.standing()), (Vec::new(), 0));
    }

    #[test]
    fn counts_are_shared_only_where_they_matter() {
        let (mut book, now) = book(Some(10));
        book.add(0, &[news("10.0.0.1", 4, false)], now);
        assert!(book.take_rules(now).is_empty(), "it is on one shard only");
        book.add(1, &[news("10.0.0.1", 3, false)], now);
        let told = book.take_rules(now);
        assert_eq!(
            told,
            [VisitorRule { address: "10.0.0.1".parse().unwrap(), connections: 7, blocked_us: 0 }]
        );
        // What shards count on is corrected to the last connection, on whatever shards those are.
        for (shard, left, told) in [(1, 0, 4), (0, 3, 3), (0, 0, 0)] {
            book.add(shard, &[news("10.0.0.1", left, false)], now);
            assert_eq!(book.take_rules(now)[0].connections, told);
        }
        book.add(0, &[news("10.0.0.1", 4, false)], now);
        assert!(book.take_rules(now).is_empty(), "it begins anew");
    }

    #[test]
    fn a_million_invented_addresses_are_not_remembered() {
        let (mut book, now) = book(None);
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 1000 {
            let told = VisitorNews { address: IpAddr::V4(number.into()), ..news("0.0.0.0", 1, false) };
            book.add(0, &[told], now);
        }
        assert_eq!(book.records.len(), ADDRESSES_MAX);
        // Those that leave make room, at the next look.
        book.add(0, &[news("0.0.0.1", 0, false)], now);
        book.add(0, &[news("198.51.100.1", 1, false)], now);
        assert_eq!(book.records.len(), ADDRESSES_MAX);
        assert!(!book.records.contains_key(&"198.51.100.1".parse::<IpAddr>().unwrap()));
        book.add(0, &[news("198.51.100.1", 1, false)], now + SWEEP_EVERY);
        assert!(book.records.contains_key(&"198.51.100.1".parse::<IpAddr>().unwrap()));
    }
}
