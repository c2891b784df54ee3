//! Which pool has which number. Shards and counters know pools by number, so a number stays with its pool while the process
//! runs, whatever a reload makes of the list.
//!
//! A pool that is to be reached or spoken to in another way is another pool: what its miners have in flight belongs to the old
//! one. So it gets a number of its own, and the old one goes on under its number, not configured any more, until its last
//! miner has moved. A number that is free is given to a pool of the same name only, since its counters are that name's.

use crate::config::PoolConfig;
use loka_proto::limits::POOLS_MAX;

/// The pools of this process, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster(Vec<Place>);

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The pool, as it was configured last.
    pub pool: PoolConfig,
    /// Whether the configuration still has it.
    pub is_configured: bool,
    /// Counted up for each pool that gets this number.
    pub born: u32,
}

/// There is no number left.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "pool {0} has to wait for a restart: a process can know {POOLS_MAX} pools, and those that were changed or taken away \
     since its start count too"
)]
pub struct RosterFull(pub String);

impl Roster {
    /// The pools of a first configuration, numbered in its order.
    pub fn new(pools: &[PoolConfig]) -> Roster {
        let place = |pool: &PoolConfig| Place { pool: pool.clone(), is_configured: true, born: 0 };
        Roster(pools.iter().map(place).collect())
    }

    /// By number.
    pub fn places(&self) -> &[Place] {
        &self.0
    }

    /// The pools by number, those that are not configured any more among them.
    pub fn pools(&self) -> Vec<PoolConfig> {
        self.0.iter().map(|place| place.pool.clone()).collect()
    }

    /// The same after a reload. `is_free` says whether no connection of a miner is left under a number.
    ///
    /// # Errors
    /// [`RosterFull`]
    pub fn renewed(
        &self,
        pools: &[PoolConfig],
        is_free: impl Fn(usize) -> bool,
    ) -> Result<Roster, RosterFull> {
        let mut places = self.0.clone();
        places.iter_mut().for_each(|place| place.is_configured = false);
        for pool in pools {
            let is_same = |index: usize| is_reached_alike(&self.0[index].pool, pool);
            let stays = (0..self.0.len()).find(|index| self.0[*index].is_configured && is_same(*index));
            let freed = || {
                let mut old = (0..self.0.len()).filter(|index| !places[*index].is_configured);
                old.find(|index| {
                    let place = &self.0[*index];
                    !place.is_configured && place.pool.name == pool.name && is_free(*index)
                })
            };
            let (number, is_new) = match stays {
                Some(number) => (number, false),
                None => (freed().unwrap_or(places.len()), true),
            };
            let born = places.get(number).map_or(0, |place| place.born + u32::from(is_new));
            let place = Place { pool: pool.clone(), is_configured: true, born };
            match places.get_mut(number) {
                Some(old) => *old = place,
                None if number < POOLS_MAX => places.push(place),
                None => return Err(RosterFull(pool.name.clone())),
            }
        }
        Ok(Roster(places))
    }
}

/// Whether connections to `old` are as good as connections to `new`.
fn is_reached_alike(old: &PoolConfig, new: &PoolConfig) -> bool {
    let PoolConfig { priority, weight, reconnect_domains, .. } = new.clone();
    PoolConfig { priority, weight, reconnect_domains, ..old.clone() } == *new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::num::NonZeroU32;

    fn pool(name: &str, port: u16) -> PoolConfig {
        let config = Config::for_pool(([127, 0, 0, 1], port).into());
        PoolConfig { name: name.to_owned(), ..config.pools[0].clone() }
    }

    fn told(roster: &Roster) -> Vec<(String, u16, bool, u32)> {
        let one = |place: &Place| (place.pool.name.clone(), place.pool.port, place.is_configured, place.born);
        roster.places().iter().map(one).collect()
    }

    fn as_told(list: &[(&str, u16, bool, u32)]) -> Vec<(String, u16, bool, u32)> {
        list.iter().map(|(name, port, is, born)| ((*name).to_owned(), *port, *is, *born)).collect()
    }

    #[test]
    fn a_pool_keeps_its_number_through_another_order_and_another_preference() {
        let roster = Roster::new(&[pool("a", 1), pool("b", 2)]);
        let preferred = PoolConfig { priority: 7, weight: NonZeroU32::new(3).unwrap(), ..pool("b", 2) };
        let roster = roster.renewed(&[preferred.clone(), pool("a", 1)], |_| false).unwrap();
        assert_eq!(told(&roster), as_told(&[("a", 1, true, 0), ("b", 2, true, 0)]));
        assert_eq!(roster.pools()[1], preferred);
    }

    #[test]
    fn a_pool_that_is_reached_in_another_way_gets_a_number_of_its_own() {
        let first = Roster::new(&[pool("a", 1), pool("b", 2)]);
        let second = first.renewed(&[pool("a", 9), pool("b", 2)], |_| false).unwrap();
        assert_eq!(told(&second), as_told(&[("a", 1, false, 0), ("b", 2, true, 0), ("a", 9, true, 0)]));
        let back = second.renewed(&[pool("a", 1), pool("b", 2)], |_| false).unwrap();
        assert_eq!(told(&back)[3], ("a".to_owned(), 1, true, 0), "old miners are still there");
        let back = second.renewed(&[pool("a", 1), pool("b", 2)], |number| number == 0).unwrap();
        assert_eq!(told(&back), as_told(&[("a", 1, true, 1), ("b", 2, true, 0), ("a", 9, false, 0)]));
        let gone = back.renewed(&[pool("c", 2)], |_| true).unwrap();
        assert_eq!(told(&gone)[3], ("c".to_owned(), 2, true, 0), "the counters of b stay b's");
    }

    #[test]
    fn there_is_an_end_to_numbers() {
        let many: Vec<PoolConfig> = (1..=16).map(|port| pool(&format!("pool{port}"), port)).collect();
        let roster = Roster::new(&many);
        assert!(roster.renewed(&many[..1], |_| true).is_ok());
        assert_eq!(roster.renewed(&[pool("new", 99)], |_| true), Err(RosterFull("new".to_owned())));
    }
}
