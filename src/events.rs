//! What happened to the proxy lately, for people: a bounded ring of short notes, each with a number and a time.
//!
//! It refuses to be a log (the oldest notes are forgotten), and to hold anything of a single miner's life: changes of pools,
//! shards and the whole, and what an operator did.

use crate::aggregate::Snapshot;
use crate::records::CentralFailure;
use crate::reload::ReloadFigures;
use loka_proto::PoolState;
use serde::Serialize;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Notes that are kept.
pub const EVENTS_MAX: usize = 1_000;
/// Bytes of a note's text, which may hold what a pool said.
const TEXT_BYTES_MAX: usize = 256;

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A pool came into another state.
    Pool,
    /// A pool asked its miners to go elsewhere.
    Redirect,
    /// A shard is silent, or speaks again.
    Shard,
    /// An address is kept out.
    Block,
    /// An address was let in again by an operator.
    Unblock,
    /// An operator ended the connections of an address.
    Kick,
    /// The proxy is about to end.
    Drain,
    /// Share records cannot be sent to the database of a fleet, or are sent again.
    Records,
    /// The level of the log was changed.
    LogLevel,
    /// The configuration was read again.
    Reload,
}

/// One note.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// Counted from 1, without gaps.
    pub number: u64,
    /// Seconds since 1970, UTC.
    pub unix_seconds: u64,
    /// What it is about.
    pub kind: EventKind,
    /// A sentence.
    pub text: String,
}

/// The notes; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Events(Arc<Mutex<Ring>>);

#[derive(Debug, Default)]
struct Ring {
    notes: VecDeque<Event>,
    last: u64,
}

impl Events {
    /// Adds a note.
    pub fn add(&self, kind: EventKind, text: &str) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        if ring.notes.len() >= EVENTS_MAX {
            ring.notes.pop_front();
        }
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let note = Event { number: ring.last, unix_seconds, kind, text: shown(text) };
        ring.notes.push_back(note);
    }

    /// Those numbered above `after`, the newest first: how many there are, and at most `limit` without the first `offset`.
    pub fn newest(&self, after: u64, offset: usize, limit: usize) -> (usize, Vec<Event>) {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = || ring.notes.iter().rev().take_while(|note| note.number > after);
        (wanted().count(), wanted().skip(offset).take(limit).cloned().collect())
    }
}

/// One line of bounded length: what a pool says may hold anything.
fn shown(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if line.len() + 4 > TEXT_BYTES_MAX {
            line.push('…');
            break;
        }
        line.push(if character.is_control() { '?' } else { character });
    }
    line
}

/// Finds out what has happened between one look at the figures and the next.
#[derive(Debug)]
pub struct Chronicle {
    events: Events,
    pools: Vec<PoolState>,
    stalled: Vec<bool>,
    redirects: u64,
    newest_block: Option<(Instant, IpAddr)>,
    unsent: Option<CentralFailure>,
    draining: bool,
    reloads: ReloadFigures,
}

impl Chronicle {
    /// Begins with what `now` says, of which it makes no notes.
    pub fn new(events: Events, now: &Snapshot) -> Chronicle {
        let mut chronicle = Chronicle {
            events: Events::default(),
            pools: Vec::new(),
            stalled: Vec::new(),
            redirects: 0,
            newest_block: None,
            unsent: None,
            draining: false,
            reloads: now.reloads,
        };
        chronicle.see(now);
        chronicle.events = events;
        chronicle
    }

    /// Makes notes of what is new.
    pub fn see(&mut self, now: &Snapshot) {
        self.see_pools(now);
        self.see_shards(now);
        self.see_blocks(now);
        self.see_records(now);
        let seen = self.redirects;
        for (number, redirect) in now.redirects.iter().filter(|(number, _)| *number >= seen) {
            let name = now.pools.get(redirect.pool.index()).map_or("?", |pool| pool.name.as_str());
            let port = redirect.port.map(|port| format!(":{port}")).unwrap_or_default();
            let text = format!("pool {name} asks its miners to go to {}{port}", redirect.host);
            self.events.add(EventKind::Redirect, &text);
            self.redirects = number + 1;
        }
        if now.reloads.applied > self.reloads.applied {
            self.events.add(EventKind::Reload, "the configuration was reloaded");
        }
        if now.reloads.refused > self.reloads.refused {
            self.events
                .add(EventKind::Reload, "a reload was refused: the log says why, and nothing has changed");
        }
        self.reloads = now.reloads;
        if now.draining && !self.draining {
            self.events.add(EventKind::Drain, "the proxy drains: it takes no more miners and ends");
        }
        self.draining = now.draining;
    }

    fn see_pools(&mut self, now: &Snapshot) {
        for (index, pool) in now.pools.iter().enumerate() {
            if self.pools.get(index).is_some_and(|before| *before != pool.state) {
                let cause = if pool.cause.is_empty() { "all is well" } else { pool.cause.as_str() };
                let text = format!("pool {} is {}: {cause}", pool.name, pool.state.label());
                self.events.add(EventKind::Pool, &text);
            }
        }
        self.pools = now.pools.iter().map(|pool| pool.state).collect();
    }

    fn see_shards(&mut self, now: &Snapshot) {
        for shard in &now.shards {
            let was = self.stalled.get(shard.shard).copied().unwrap_or(false);
            match (was, shard.is_stalled()) {
                (false, true) => {
                    self.events.add(EventKind::Shard, &format!("shard {} is silent", shard.shard));
                }
                (true, false) => {
                    self.events.add(EventKind::Shard, &format!("shard {} reports again", shard.shard));
                }
                (true, true) | (false, false) => {}
            }
        }
        self.stalled = now.shards.iter().map(|shard| shard.is_stalled()).collect();
    }

    fn see_records(&mut self, now: &Snapshot) {
        let trouble = now.records.central.trouble;
        if trouble != self.unsent {
            let text = match trouble {
                Some(kind) => {
                    format!(
                        "share records cannot be sent to their database ({}): they wait in their file",
                        kind.label()
                    )
                }
                None => "share records are sent to their database again".to_owned(),
            };
            self.events.add(EventKind::Records, &text);
        }
        self.unsent = trouble;
    }

    fn see_blocks(&mut self, now: &Snapshot) {
        let seen = self.newest_block;
        let is_new = |at: (Instant, IpAddr)| seen.is_none_or(|seen| at > seen);
        let news = now.blocks.newest.iter().take_while(|block| is_new((block.since, block.address)));
        let news: Vec<_> = news.collect();
        for block in news.iter().rev() {
            let seconds = block.until.saturating_duration_since(block.since).as_secs();
            let text = format!("{} is kept out for {seconds} s (offence {})", block.address, block.offences);
            self.events.add(EventKind::Block, &text);
        }
        if let Some(newest) = news.first() {
            self.newest_block = Some((newest.since, newest.address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::tests::running;
    use crate::guard::Block;
    use std::time::Duration;

    fn texts(events: &Events) -> Vec<String> {
        events.newest(0, 0, EVENTS_MAX).1.into_iter().rev().map(|event| event.text).collect()
    }

    #[test]
    fn the_ring_is_bounded_numbered_and_paged() {
        let events = Events::default();
        for number in 0..EVENTS_MAX + 10 {
            events.add(EventKind::Kick, &format!("{number}\n\u{1b}[31m{}", "ä".repeat(1000)));
        }
        let (total, page) = events.newest(0, 5, 2);
        let last = EVENTS_MAX as u64 + 10;
        assert_eq!((total, page[0].number, page[1].number), (EVENTS_MAX, last - 5, last - 6));
        assert!(page[0].text.len() <= TEXT_BYTES_MAX + 3 && !page[0].text.contains(['\n', '\u{1b}']));
        assert_eq!(events.newest(last - 3, 0, 100).0, 3);
        assert_eq!(events.newest(u64::MAX, 0, 100).0, 0);
    }

    #[test]
    fn what_changed_between_two_looks_is_noted_once() {
        let (_post, aggregator) = running(1);
        let mut now = Snapshot::clone(&aggregator.snapshots().latest());
        let events = Events::default();
        let mut chronicle = Chronicle::new(events.clone(), &now);
        chronicle.see(&now);
        assert!(texts(&events).is_empty(), "nothing has changed");
        let mut pool = now.pools[0].clone();
        (pool.state, pool.cause) = (PoolState::Failed, "it is away".to_owned());
        now.pools = Arc::from([pool]);
        now.shards[0].report_age = Some(Duration::from_secs(60));
        let block = |host: u8, at: Instant| Block {
            address: [192, 0, 2, host].into(),
            since: at,
            until: at + Duration::from_secs(60),
            offences: 1,
        };
        let at = now.taken;
        now.blocks.newest = Arc::from([block(2, at), block(1, at)]);
        chronicle.see(&now);
        now.records.central.trouble = Some(CentralFailure::Login);
        chronicle.see(&now);
        now.records.central.trouble = None;
        now.draining = true;
        now.shards[0].report_age = Some(Duration::ZERO);
        now.blocks.newest = Arc::from([block(3, at + Duration::from_secs(1)), block(2, at), block(1, at)]);
        chronicle.see(&now);
        chronicle.see(&now);
        assert_eq!(
            texts(&events),
            [
                "pool pool is failed: it is away",
                "shard 0 is silent",
                "192.0.2.1 is kept out for 60 s (offence 1)",
                "192.0.2.2 is kept out for 60 s (offence 1)",
                "share records cannot be sent to their database (login): they wait in their file",
                "shard 0 reports again",
                "192.0.2.3 is kept out for 60 s (offence 1)",
                "share records are sent to their database again",
                "the proxy drains: it takes no more miners and ends",
            ]
        );
    }
}
