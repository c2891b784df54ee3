//! The circuit breaker of one pool: what is known of it becomes a state, and says when the pool is to be asked.
//!
//! Pure: time, chance and what was observed come in, a state and a wish for a probe come out. A pool fails at once when it
//! cannot be reached. What a single miner could bring about by odd requests, such as refusals, only makes it suspect: then a
//! handshake of our own decides. What shows in its work, such as rejects, makes it fail only where there is another pool.

use loka_proto::PoolState;
use std::time::{Duration, Instant};

/// The longest pause between two attempts while no pool is usable at all: the farm stands still.
const PAUSE_WITHOUT_ANY: Duration = Duration::from_secs(5);
/// The shortest pause between two attempts, whatever chance says.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How long nothing may be wrong before a degraded pool counts as healthy.
const CALM: Duration = Duration::from_secs(10);
/// Longer than any handshake takes.
const PROBE_MAX: Duration = Duration::from_secs(180);
/// How often a pool that is coming back, or that nobody uses, is asked whether it is still there.
const WATCH: Duration = Duration::from_secs(30);

/// What the breaker is set to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) backoff_min: Duration,
    pub(super) backoff_max: Duration,
    pub(super) stable_for: Duration,
}

/// What was observed since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// It cannot be reached.
    pub(super) is_away: Option<String>,
    /// It fails those who ask it.
    pub(super) is_suspect: Option<String>,
    /// Its work is bad.
    pub(super) is_bad: Option<String>,
    /// Something is wrong that is not enough for any of these.
    pub(super) is_odd: Option<String>,
    /// Miners have connections to it.
    pub(super) is_used: bool,
}

/// What stands around the pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// Another pool is usable.
    pub(super) has_other: bool,
    /// Pools that nobody uses are watched, because they may be needed.
    pub(super) watches_idle: bool,
    /// A number from 0 to 1.
    pub(super) chance: f64,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) from: PoolState,
    pub(super) to: PoolState,
    pub(super) cause: String,
}

/// The breaker of one pool.
#[derive(Debug)]
pub(super) struct Breaker {
    setting: Setting,
    state: PoolState,
    cause: String,
    /// Since when it is in this state.
    since: Instant,
    /// When something was last wrong.
    troubled: Option<Instant>,
    /// Attempts that have failed since it has.
    attempts: u32,
    /// When a handshake is due, if one is.
    probe_at: Option<Instant>,
    /// One is being made; one that has not ended by then never will.
    probing_until: Option<Instant>,
}

impl Breaker {
    /// From now on it waits for so long.
    pub(super) fn set(&mut self, setting: Setting) {
        self.setting = setting;
    }

    pub(super) fn new(setting: Setting, now: Instant) -> Breaker {
        Breaker {
            setting,
            state: PoolState::Healthy,
            cause: String::new(),
            since: now,
            troubled: None,
            attempts: 0,
            probe_at: None,
            probing_until: None,
        }
    }

    pub(super) fn state(&self) -> PoolState {
        self.state
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Why it is in this state; empty while all is well.
    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    /// Takes what was observed.
    pub(super) fn observe(&mut self, seen: Observed, around: Around, now: Instant) -> Option<Transition> {
        let trouble =
            [&seen.is_away, &seen.is_suspect, &seen.is_bad, &seen.is_odd].into_iter().flatten().next();
        let trouble = trouble.cloned();
        if trouble.is_some() {
            self.troubled = Some(now);
        }
        match self.state {
            PoolState::Healthy | PoolState::Degraded => self.observe_in_use(seen, trouble, around, now),
            PoolState::Recovering => {
                if let Some(cause) = seen.is_away.or(seen.is_bad.filter(|_| around.has_other)) {
                    return Some(self.fail(cause, around, now));
                }
                if seen.is_suspect.is_some() {
                    self.probe_at = Some(now);
                    return None;
                }
                if now >= self.since + self.setting.stable_for {
                    return Some(self.enter(PoolState::Healthy, "it has been well for long enough", now));
                }
                self.watch(seen.is_used, now);
                None
            }
            PoolState::Failed => {
                // Somebody else may have gone since: then there is more hurry.
                if let Some(at) = self.probe_at.filter(|_| !around.has_other) {
                    self.probe_at = Some(at.min(now + PAUSE_WITHOUT_ANY));
                }
                None
            }
        }
    }

    fn observe_in_use(
        &mut self,
        seen: Observed,
        trouble: Option<String>,
        around: Around,
        now: Instant,
    ) -> Option<Transition> {
        if let Some(cause) = seen.is_away {
            return Some(self.fail(cause, around, now));
        }
        if let Some(cause) = seen.is_bad.filter(|_| around.has_other) {
            return Some(self.fail(cause, around, now));
        }
        if seen.is_suspect.is_some() {
            self.probe_at = Some(now);
        } else if around.watches_idle {
            self.watch(seen.is_used, now);
        }
        match (trouble, self.state) {
            (Some(cause), PoolState::Healthy) => Some(self.enter(PoolState::Degraded, &cause, now)),
            (Some(cause), _) => {
                self.cause = cause;
                None
            }
            (None, PoolState::Degraded) if self.troubled.is_none_or(|at| now >= at + CALM) => {
                Some(self.enter(PoolState::Healthy, "nothing was wrong for a while", now))
            }
            (None, _) => None,
        }
    }

    /// Asks for a handshake now and then, unless miners show how the pool does.
    fn watch(&mut self, is_used: bool, now: Instant) {
        if is_used {
            self.probe_at = None;
        } else if self.probing_until.is_none() {
            self.probe_at.get_or_insert(now + WATCH.min(self.setting.stable_for.max(PAUSE_MIN) / 2));
        }
    }

    /// The first look at a pool that nobody uses yet comes at once.
    pub(super) fn look_at_once(&mut self, now: Instant) {
        self.probe_at = Some(now);
    }

    /// Whether a handshake is to be made now. It is taken for begun.
    pub(super) fn take_probe(&mut self, now: Instant) -> bool {
        let is_probing = self.probing_until.is_some_and(|until| now < until);
        let is_due = !is_probing && self.probe_at.is_some_and(|at| now >= at);
        if is_due {
            self.probing_until = Some(now + PROBE_MAX);
            self.probe_at = None;
        }
        is_due
    }

    /// A handshake has ended. The error says what went wrong.
    pub(super) fn probed(
        &mut self,
        outcome: Result<(), String>,
        around: Around,
        now: Instant,
    ) -> Option<Transition> {
        self.probing_until = None;
        match (outcome, self.state) {
            (Ok(()), PoolState::Failed) => {
                let cause = format!("a handshake succeeded after {} attempts", self.attempts + 1);
                Some(self.enter(PoolState::Recovering, &cause, now))
            }
            (Ok(()), PoolState::Healthy | PoolState::Degraded | PoolState::Recovering) => None,
            (Err(cause), PoolState::Failed) => {
                // What a handshake of our own found says more than what the miners' connections came to.
                self.cause = cause;
                self.attempts = self.attempts.saturating_add(1);
                self.probe_at = Some(now + self.pause(around));
                None
            }
            (Err(cause), PoolState::Healthy | PoolState::Degraded | PoolState::Recovering) => {
                Some(self.fail(cause, around, now))
            }
        }
    }

    fn fail(&mut self, cause: String, around: Around, now: Instant) -> Transition {
        // One that fails while it is coming back has not been back.
        self.attempts = if self.state == PoolState::Recovering { self.attempts.saturating_add(1) } else { 0 };
        let transition = self.enter(PoolState::Failed, &cause, now);
        self.probe_at = Some(now + self.pause(around));
        transition
    }

    fn enter(&mut self, to: PoolState, cause: &str, now: Instant) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        if to != PoolState::Degraded {
            self.probe_at = None;
        }
        self.cause = if to == PoolState::Healthy { String::new() } else { cause.to_owned() };
        if to == PoolState::Healthy {
            self.attempts = 0;
        }
        Transition { from, to, cause: cause.to_owned() }
    }

    /// Exponential, with full jitter: many proxies that lost the same pool do not come back to it together.
    fn pause(&self, around: Around) -> Duration {
        let doubled = self.setting.backoff_min.saturating_mul(1 << self.attempts.min(20));
        let longest = doubled.min(self.setting.backoff_max);
        let longest = if around.has_other { longest } else { longest.min(PAUSE_WITHOUT_ANY) };
        longest.mul_f64(around.chance.clamp(0.0, 1.0)).max(PAUSE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting = Setting {
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        stable_for: Duration::from_secs(40),
    };
    const ALONE: Around = Around { has_other: false, watches_idle: false, chance: 1.0 };
    const WITH_OTHER: Around = Around { has_other: true, watches_idle: true, chance: 1.0 };

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn away() -> Observed {
        Observed { is_away: Some("refused".to_owned()), ..Observed::default() }
    }

    fn used() -> Observed {
        Observed { is_used: true, ..Observed::default() }
    }

    #[test]
    fn a_pool_goes_through_all_its_states_and_back() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTING, start);
        let odd = Observed { is_odd: Some("slow".to_owned()), is_used: true, ..Observed::default() };
        let changed = breaker.observe(odd, WITH_OTHER, start).unwrap();
        assert_eq!((changed.to, breaker.cause()), (PoolState::Degraded, "slow"));
        assert_eq!(breaker.observe(used(), WITH_OTHER, start + CALM - seconds(1)), None);
        assert_eq!(breaker.observe(used(), WITH_OTHER, start + CALM).unwrap().to, PoolState::Healthy);
        let failed = start + seconds(20);
        assert_eq!(breaker.observe(away(), WITH_OTHER, failed).unwrap().to, PoolState::Failed);
        assert!(
            !breaker.take_probe(failed + seconds(1) - PAUSE_MIN) && breaker.take_probe(failed + seconds(1))
        );
        assert!(!breaker.take_probe(failed + seconds(9)), "one at a time");
        let back = failed + seconds(10);
        let changed = breaker.probed(Ok(()), WITH_OTHER, back).unwrap();
        assert_eq!((changed.from, changed.to), (PoolState::Failed, PoolState::Recovering));
        assert_eq!(breaker.observe(used(), WITH_OTHER, back + seconds(39)), None);
        assert_eq!(breaker.observe(used(), WITH_OTHER, back + seconds(40)).unwrap().to, PoolState::Healthy);
        assert_eq!(breaker.cause(), "");
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_chance_shortens_them() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTING, start);
        breaker.observe(away(), WITH_OTHER, start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let due = breaker.probe_at.unwrap();
            pauses.push((due - now).as_secs());
            now = due;
            assert!(breaker.take_probe(now));
            assert_eq!(breaker.probed(Err("refused".to_owned()), WITH_OTHER, now), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(breaker.pause(Around { chance: 0.5, ..WITH_OTHER }), seconds(30));
        assert_eq!(breaker.pause(Around { chance: 0.0, ..WITH_OTHER }), PAUSE_MIN);
        breaker.observe(Observed::default(), ALONE, now);
        assert!(breaker.probe_at.unwrap() <= now + PAUSE_WITHOUT_ANY, "nobody else is there: hurry");
    }

    #[test]
    fn a_suspect_is_asked_first_and_bad_work_counts_only_beside_another_pool() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTING, start);
        let suspect = Observed { is_suspect: Some("full".to_owned()), is_used: true, ..Observed::default() };
        assert_eq!(breaker.observe(suspect.clone(), ALONE, start).unwrap().to, PoolState::Degraded);
        assert!(breaker.take_probe(start));
        assert_eq!(breaker.probed(Ok(()), ALONE, start), None);
        assert_eq!(breaker.observe(suspect, ALONE, start), None);
        assert!(breaker.take_probe(start));
        let changed = breaker.probed(Err("full".to_owned()), ALONE, start).unwrap();
        assert_eq!((changed.to, changed.cause.as_str()), (PoolState::Failed, "full"));

        let bad = Observed { is_bad: Some("rejects".to_owned()), is_used: true, ..Observed::default() };
        let mut alone = Breaker::new(SETTING, start);
        assert_eq!(alone.observe(bad.clone(), ALONE, start).unwrap().to, PoolState::Degraded);
        assert_eq!(alone.observe(bad.clone(), ALONE, start), None);
        assert_eq!(alone.observe(bad, WITH_OTHER, start).unwrap().to, PoolState::Failed);
    }

    #[test]
    fn one_that_fails_while_it_comes_back_waits_longer_than_before() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTING, start);
        breaker.observe(away(), WITH_OTHER, start);
        assert!(breaker.take_probe(start + seconds(1)));
        breaker.probed(Ok(()), WITH_OTHER, start + seconds(1));
        let again = start + seconds(2);
        assert_eq!(breaker.observe(away(), WITH_OTHER, again).unwrap().from, PoolState::Recovering);
        assert_eq!(breaker.probe_at, Some(again + seconds(2)));
    }

    #[test]
    fn pools_that_nobody_uses_are_watched_where_they_may_be_needed() {
        let start = Instant::now();
        let mut breaker = Breaker::new(SETTING, start);
        breaker.observe(Observed::default(), ALONE, start);
        assert_eq!(breaker.probe_at, None);
        breaker.observe(Observed::default(), WITH_OTHER, start);
        assert_eq!(breaker.probe_at, Some(start + seconds(20)));
        breaker.observe(used(), WITH_OTHER, start);
        assert_eq!(breaker.probe_at, None);
    }
}
