//! Laws of shares: what a pool would credit is never refused, whatever jobs it gives and whenever; and what it would not is
//! never sent while the session knows all there is to know.
//!
//! The pool here knows everything for ever, which the session does not.

mod common;
#[path = "common/generate.rs"]
#[allow(dead_code, reason = "properties.rs uses the rest")]
mod generate;

use common::{Event, Harness};
use generate::greeting;
use loka_proto::Policy;
use loka_proto::limits::{JOBS_MAX, NTIME_AHEAD_S_MAX, SHARES_KEPT_MAX, VOID_JOB_GRACE_US};
use proptest::prelude::*;
use std::collections::HashSet;

const NTIME: u64 = 0x66a1_b2c3;
const JOBS_US: u64 = 60_000_000;

/// One thing that happens. Few names, few nonces: so that they meet.
#[derive(Debug, Clone)]
enum Happening {
    Job {
        name: u8,
        ntime: u64,
        is_clean: bool,
    },
    /// So many jobs of new names.
    Jobs(u8),
    Wait(u64),
    Share {
        name: u8,
        ntime: i64,
        extranonce2: u8,
        nonce: u8,
        is_shouted: bool,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    let far = prop_oneof![8 => 0_i64..4, 1 => -2_i64..0, 1 => 7_190_i64..7_330];
    let share = (0_u8..6, far, 0_u8..2, 8_u8..12, any::<bool>()).prop_map(
        |(name, ntime, extranonce2, nonce, is_shouted)| Happening::Share {
            name,
            ntime,
            extranonce2,
            nonce,
            is_shouted,
        },
    );
    prop_oneof![
        30 => share,
        6 => (0_u8..6, 0_u64..40, prop::bool::weighted(0.3))
            .prop_map(|(name, ntime, is_clean)| Happening::Job { name, ntime, is_clean }),
        1 => (40_u8..90).prop_map(Happening::Jobs),
        4 => (0_u64..7_000_000).prop_map(Happening::Wait),
        1 => (50_000_000_u64..70_000_000).prop_map(Happening::Wait),
    ]
}

#[derive(Debug)]
struct Given {
    name: String,
    ntime: u64,
    at: u64,
    is_clean: bool,
}

/// The pool's side: all jobs it has ever given, and all shares it has ever been sent.
#[derive(Debug, Default)]
struct Pool {
    given: Vec<Given>,
    sent: HashSet<(usize, u64, u8, u8)>,
}

impl Pool {
    fn is_alive(&self, at: usize, now: u64) -> bool {
        let later = &self.given[at + 1..];
        let is_void = later.iter().any(|job| job.is_clean && job.at + VOID_JOB_GRACE_US <= now);
        !is_void && later.first().is_none_or(|next| next.at + JOBS_US > now)
    }

    /// The places of the good jobs of this name.
    fn alive(&self, name: &str, now: u64) -> Vec<usize> {
        (0..self.given.len()).filter(|at| self.given[*at].name == name && self.is_alive(*at, now)).collect()
    }

    /// Whether the share would be credited. A pool finds one job under a name, the newest.
    fn credits(&self, name: &str, ntime: u64, what: (u8, u8), now: u64) -> bool {
        self.alive(name, now).last().is_some_and(|at| {
            let is_new = !self.sent.contains(&(*at, ntime, what.0, what.1));
            is_new && self.is_in_time(*at, ntime, (now - self.given[*at].at) / 1_000_000)
        })
    }

    /// Whether it may be credited by a pool that finds several jobs under a name.
    fn may_credit(&self, name: &str, ntime: u64, what: (u8, u8), now: u64) -> bool {
        let alive = self.alive(name, now);
        let is_new = |at: &usize| !self.sent.contains(&(*at, ntime, what.0, what.1));
        alive.last().is_some_and(is_new)
            && alive
                .iter()
                .any(|at| self.is_in_time(*at, ntime, (now - self.given[*at].at).div_ceil(1_000_000)))
    }

    fn is_in_time(&self, at: usize, ntime: u64, passed: u64) -> bool {
        let job = &self.given[at];
        (job.ntime..=job.ntime + NTIME_AHEAD_S_MAX + passed).contains(&ntime)
    }
}

struct World {
    harness: Harness,
    pool: Pool,
    names: usize,
}

impl World {
    fn new() -> World {
        let policy = Policy { idle_us: u64::MAX / 2, jobs_us: JOBS_US, ..Policy::default() };
        let mut harness = Harness::new(policy);
        // All but the job of the greeting.
        for event in greeting() {
            if let Event::Pool(bytes) = &event {
                let text = String::from_utf8_lossy(bytes).into_owned();
                let lines: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
                harness.event(&Event::Pool(lines.into_bytes()));
            } else {
                harness.event(&event);
            }
        }
        World { harness, pool: Pool::default(), names: 0 }
    }

    fn give(&mut self, name: String, ntime: u64, is_clean: bool) {
        let hash = "7c".repeat(32);
        let line = format!(
            "{{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"{name}\",\"{hash}\",\"01\",\"ff\",[],\"20000000\",\"17034219\",\"{ntime:08x}\",{is_clean}]}}\n"
        );
        self.harness.event(&Event::Pool(line.into_bytes()));
        self.pool.given.push(Given { name, ntime, at: self.harness.now.0, is_clean });
    }

    /// Sends a share; whether it went to the pool.
    fn share(&mut self, name: &str, ntime: u64, (extranonce2, nonce): (u8, u8), is_shouted: bool) -> bool {
        let (mut ntime_text, mut nonce_text) = (format!("{ntime:08x}"), format!("{nonce:x}"));
        if is_shouted {
            (ntime_text, nonce_text) = (ntime_text.to_uppercase(), format!("{nonce:08X}"));
        }
        let line = format!(
            "{{\"id\":7,\"method\":\"mining.submit\",\"params\":[\"a.b\",\"{name}\",\"{extranonce2:08x}\",\"{ntime_text}\",\"{nonce_text}\"]}}\n"
        );
        let before = self.harness.to_pool.len();
        self.harness.event(&Event::Miner(line.clone().into_bytes()));
        let went = self.harness.to_pool.len() > before;
        if went {
            assert_eq!(&self.harness.to_pool[before..], line.as_bytes());
            self.harness.event(&Event::Pool(b"{\"id\":7,\"result\":true,\"error\":null}\n".to_vec()));
            if let Some(at) = self.pool.alive(name, self.harness.now.0).last() {
                self.pool.sent.insert((*at, ntime, extranonce2, nonce));
            }
        }
        went
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3_000) })]

    #[test]
    fn a_good_share_is_never_refused(happenings in prop::collection::vec(happening(), 1..120)) {
        let mut world = World::new();
        for happening in happenings {
            match happening {
                Happening::Job { name, ntime, is_clean } => world.give(format!("j{name}"), NTIME + ntime, is_clean),
                Happening::Jobs(count) => for _ in 0..count {
                    world.names += 1;
                    world.give(format!("n{}", world.names), NTIME, false);
                },
                Happening::Wait(us) => world.harness.event(&Event::Wait { us }),
                Happening::Share { name, ntime, extranonce2, nonce, is_shouted } => {
                    let (name, ntime) = (format!("j{name}"), NTIME.saturating_add_signed(ntime));
                    let (what, now) = ((extranonce2, nonce), world.harness.now.0);
                    let is_good = world.pool.credits(&name, ntime, what, now);
                    let may_be = world.pool.may_credit(&name, ntime, what, now);
                    let is_known = !world.pool.alive(&name, now).is_empty();
                    let went = world.share(&name, ntime, what, is_shouted);
                    prop_assert!(went || !is_good, "refused: {} {:?} at {}: {:?}", name, what, now, world.pool);
                    // As long as it had to forget nothing, it knows what is bad.
                    let knows_all = world.pool.given.len() <= JOBS_MAX && world.pool.sent.len() <= SHARES_KEPT_MAX;
                    let is_bad = is_known && knows_all && !may_be;
                    prop_assert!(!went || !is_bad, "sent: {} {:?} at {}: {:?}", name, what, now, world.pool);
                }
            }
        }
        prop_assert!(!world.harness.session.is_over());
    }
}
