//! From counters to what the breaker has to know: what one pool did since the last look and over a window of time.
//!
//! It sees what all shards counted, and no connection. Pure: figures and times come in.

use super::breaker::Observed;
use crate::config::FailoverConfig;
use loka_proto::stats::SLOWNESS_MAX;
use loka_proto::{PoolLoss, PoolStats};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples of a window that are kept.
const SAMPLES_MAX: u32 = 60;
/// A part of what makes a pool bad already shows.
const ODD_PART: f64 = 0.5;

/// What is known of one pool at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    /// Counters since the start, over all shards.
    pub(super) counts: PoolStats,
    /// Connections open now.
    pub(super) links: u64,
}

/// Judges one pool.
#[derive(Debug)]
pub(super) struct Judge {
    /// Counters, and connections open then.
    samples: VecDeque<(Instant, PoolStats, u64)>,
    last: PoolStats,
    /// Failures in a row to reach it, and of any kind.
    unreached: u64,
    failures: u64,
    last_failure: Option<PoolLoss>,
    last_failed: Instant,
    /// When it last sent a job, or nobody was there to get one.
    heard: Instant,
}

impl Judge {
    pub(super) fn new(now: Instant) -> Judge {
        Judge {
            samples: VecDeque::new(),
            last: PoolStats::default(),
            unreached: 0,
            failures: 0,
            last_failure: None,
            last_failed: now,
            heard: now,
        }
    }

    /// When the pool last sent a job on a connection of a miner.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// It was seen to work: what went wrong before is no row any more.
    pub(super) fn forgive(&mut self) {
        (self.unreached, self.failures) = (0, 0);
        self.samples.clear();
    }

    /// Looks at the pool.
    pub(super) fn look(&mut self, figures: &Figures, limits: &FailoverConfig, now: Instant) -> Observed {
        let counts = &figures.counts;
        self.count_rows(counts, limits.window, now);
        if counts.jobs > self.last.jobs || figures.links == 0 {
            self.heard = now;
        }
        let is_new = self.samples.back().is_none_or(|(at, ..)| now >= *at + limits.window / SAMPLES_MAX);
        if is_new {
            self.samples.push_back((now, counts.clone(), figures.links));
        }
        while self.samples.len() > 1 && now.duration_since(self.samples[0].0) > limits.window {
            self.samples.pop_front();
        }
        self.last = counts.clone();
        let row = u64::from(limits.failures.get());
        let cause = self.last_failure.map_or("", PoolLoss::label);
        let in_a_row = |count: u64| format!("{count} failures in a row ({cause})");
        let mut seen = Observed { is_used: figures.links > 0, ..Observed::default() };
        if self.unreached >= row {
            seen.is_away = Some(in_a_row(self.unreached));
        } else if self.failures >= row {
            seen.is_suspect = Some(in_a_row(self.failures));
            // The handshake that this asks for decides; the next is due after as many again.
            self.failures = 0;
        } else if self.failures > 0 {
            seen.is_odd = Some(in_a_row(self.failures));
        }
        self.look_at_work(figures, limits, now, &mut seen);
        seen
    }

    /// A row ends with a success, and when nothing has followed for a whole window: where nobody needs a new connection for
    /// hours, one that failed once says nothing any more.
    fn count_rows(&mut self, counts: &PoolStats, window: Duration, now: Instant) {
        if now.duration_since(self.last_failed) > window {
            (self.unreached, self.failures) = (0, 0);
        }
        let newly =
            |loss: PoolLoss| counts.losses[loss.index()].saturating_sub(self.last.losses[loss.index()]);
        let failed = PoolLoss::ALL.iter().copied().filter(|loss| loss.is_fault() && newly(*loss) > 0);
        let (mut unreached, mut failures) = (0, 0);
        for loss in failed {
            failures += newly(loss);
            unreached += if is_unreachable(loss) { newly(loss) } else { 0 };
            self.last_failure = Some(loss);
            self.last_failed = now;
        }
        let has_connected = counts.connected > self.last.connected;
        let has_served = counts.subscribed > self.last.subscribed;
        self.unreached = if has_connected { 0 } else { self.unreached + unreached };
        self.failures = if has_served { 0 } else { self.failures + failures };
    }

    fn look_at_work(&self, figures: &Figures, limits: &FailoverConfig, now: Instant, seen: &mut Observed) {
        let Some((_, before, _)) = self.samples.front() else { return };
        // Connections that are gone by now count too: each that broke once may be a restart.
        let links = self.samples.iter().map(|(.., links)| *links).max().unwrap_or(0);
        let counts = &figures.counts;
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let broken: u64 =
            BREAKS.iter().map(|loss| since(counts.losses[loss.index()], before.losses[loss.index()])).sum();
        let rejected = since(counts.blamed, before.blamed);
        let answered = rejected + since(counts.accepted, before.accepted);
        let silent_for = now.duration_since(self.heard);
        if broken >= u64::from(limits.failures.get()) && broken >= 2 * links.max(1) {
            seen.is_bad = Some(format!("it broke {broken} connections in {:?}", limits.window));
        } else if silent_for >= limits.notify_silence {
            seen.is_bad = Some(format!("no job for {} s", silent_for.as_secs()));
        } else if answered >= FailoverConfig::SHARES_MIN {
            let percent = rejected as f64 * 100.0 / answered as f64;
            let p95 = percentile_95(&counts.slowness, &before.slowness);
            let rejects = format!("{percent:.0} % of {answered} shares rejected");
            let slow = format!("a twentieth of {answered} answers took {p95:?} or longer");
            let limit = f64::from(limits.reject_percent);
            if percent >= limit {
                seen.is_bad = Some(rejects);
            } else if p95 > limits.response_p95 {
                seen.is_bad = Some(slow);
            } else if percent >= limit * ODD_PART {
                seen.is_odd.get_or_insert(rejects);
            } else if p95 > limits.response_p95.mul_f64(ODD_PART) {
                seen.is_odd.get_or_insert(slow);
            }
        }
    }
}

/// Ends of connections that had been open.
const BREAKS: [PoolLoss; 5] =
    [PoolLoss::Closed, PoolLoss::Reset, PoolLoss::Stalled, PoolLoss::Silent, PoolLoss::Garbage];

fn is_unreachable(loss: PoolLoss) -> bool {
    matches!(
        loss,
        PoolLoss::Unreachable | PoolLoss::ConnectTimeout | PoolLoss::ProxyFailed | PoolLoss::TlsFailed
    )
}

/// The time that 95 of 100 answers took less than, to the next power of two below.
fn percentile_95(now: &[u64; SLOWNESS_MAX], before: &[u64; SLOWNESS_MAX]) -> Duration {
    let newly: Vec<u64> = now.iter().zip(before).map(|(now, before)| now.saturating_sub(*before)).collect();
    let mut above = newly.iter().sum::<u64>() / 20;
    let slow = newly.iter().enumerate().rev().find(|(_, count)| {
        let is_it = **count > above;
        above = above.saturating_sub(**count);
        is_it
    });
    Duration::from_micros(slow.map_or(0, |(power, _)| 1 << power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    struct Bench {
        judge: Judge,
        figures: Figures,
        limits: FailoverConfig,
        now: Instant,
    }

    impl Bench {
        fn new() -> Bench {
            let now = Instant::now();
            let limits = Config::for_pool("127.0.0.1:1".parse().unwrap()).failover;
            let figures = Figures { links: 10, ..Figures::default() };
            let mut bench = Bench { judge: Judge::new(now), figures, limits, now };
            bench.look(|_| {});
            bench
        }

        /// What is seen a second later, when this has happened.
        fn look(&mut self, happens: impl Fn(&mut PoolStats)) -> Observed {
            self.now += Duration::from_secs(1);
            happens(&mut self.figures.counts);
            self.judge.look(&self.figures, &self.limits, self.now)
        }
    }

    fn lose(counts: &mut PoolStats, loss: PoolLoss, times: u64) {
        counts.losses[loss.index()] += times;
    }

    #[test]
    fn rows_of_failures_make_a_pool_odd_suspect_or_away_and_a_success_ends_them() {
        let mut bench = Bench::new();
        let seen = bench.look(|c| lose(c, PoolLoss::Unreachable, 2));
        assert!(seen.is_away.is_none() && seen.is_odd.is_some());
        assert!(bench.look(|c| lose(c, PoolLoss::ConnectTimeout, 1)).is_away.is_some());
        let seen = bench.look(|c| {
            c.connected += 1;
            c.subscribed += 1;
        });
        assert_eq!(seen, Observed { is_used: true, ..Observed::default() });
        // It takes connections and is full.
        let full = |c: &mut PoolStats| {
            c.connected += 2;
            lose(c, PoolLoss::Refused, 2);
        };
        assert!(bench.look(full).is_suspect.is_none());
        let seen = bench.look(full);
        assert_eq!(seen.is_suspect.as_deref(), Some("4 failures in a row (refused)"));
        assert!(bench.look(full).is_suspect.is_none(), "the handshake that was asked for decides first");
    }

    #[test]
    fn a_failure_that_no_other_follows_is_forgotten() {
        let mut bench = Bench::new();
        bench.limits.window = Duration::from_secs(10);
        assert!(bench.look(|c| lose(c, PoolLoss::Closed, 1)).is_odd.is_some());
        for _ in 0..10 {
            assert!(bench.look(|_| {}).is_odd.is_some());
        }
        assert_eq!(bench.look(|_| {}), Observed { is_used: true, ..Observed::default() });
        let seen = bench.look(|c| lose(c, PoolLoss::Closed, 2));
        assert_eq!((seen.is_suspect, seen.is_odd.as_deref()), (None, Some("2 failures in a row (closed)")));
    }

    #[test]
    fn our_own_doing_is_no_fault_of_the_pool() {
        let mut bench = Bench::new();
        let seen = bench.look(|c| {
            lose(c, PoolLoss::Switched, 50);
            lose(c, PoolLoss::NoResources, 50);
        });
        assert_eq!(seen, Observed { is_used: true, ..Observed::default() });
    }

    #[test]
    fn silence_breaks_rejects_and_slowness_are_bad_work() {
        let mut bench = Bench::new();
        bench.limits.notify_silence = Duration::from_secs(10);
        bench.look(|c| c.jobs += 1);
        for _ in 0..9 {
            assert_eq!(bench.look(|_| {}).is_bad, None);
        }
        assert_eq!(bench.look(|_| {}).is_bad.as_deref(), Some("no job for 10 s"));
        bench.figures.links = 0;
        assert_eq!(bench.look(|_| {}).is_bad, None, "nobody is there to hear it");

        let mut bench = Bench::new();
        let breaks = |c: &mut PoolStats| {
            lose(c, PoolLoss::Reset, 10);
            c.subscribed += 10;
        };
        bench.figures.links = 0;
        assert_eq!(bench.look(breaks).is_bad, None, "each once may have been a restart");
        bench.figures.links = 10;
        assert!(bench.look(breaks).is_bad.is_some());

        let mut bench = Bench::new();
        let shares = |accepted: u64, rejected: u64, power: usize| {
            move |c: &mut PoolStats| {
                c.accepted += accepted;
                c.blamed += rejected;
                c.slowness[power] += accepted + rejected;
            }
        };
        assert_eq!(bench.look(shares(0, 19, 10)).is_bad, None, "too few to tell");
        assert_eq!(bench.look(shares(0, 1, 10)).is_bad.as_deref(), Some("100 % of 20 shares rejected"));
        let mut bench = Bench::new();
        assert!(bench.look(shares(70, 30, 10)).is_odd.is_some());
        let mut bench = Bench::new();
        assert_eq!(
            bench.look(shares(100, 0, 23)).is_bad.unwrap(),
            "a twentieth of 100 answers took 8.388608s or longer"
        );
        let mut bench = Bench::new();
        bench.look(shares(100, 0, 10));
        let seen = bench.look(shares(4, 0, 23));
        assert_eq!((seen.is_bad, seen.is_odd), (None, None), "fewer than a twentieth");
    }
}
