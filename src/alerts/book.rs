//! Which alerts stand, and when what is told of them. Pure: sightings and times come in, messages go out.
//!
//! An alert does not flap: it has to last before it is told, and to be over for a time before that is told. What stands is
//! told again when it becomes worse, and after a long time. There are no more alerts than things that are looked at.

use super::message::{Message, Severity};
use super::rules::{Seen, Sighting, Trouble, TroubleKind};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What grows is told of again so often at most.
pub(super) const GROWN_PAUSE: Duration = Duration::from_secs(300);

/// When something is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// How long it lasts before.
    pub(super) fire_after: Duration,
    /// How long it is over before that is.
    pub(super) resolve_after: Duration,
    /// How often it is told while it lasts.
    pub(super) repeat: Option<Duration>,
}

/// A moment, as the proxy and as others count it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// Seconds since 1970.
    pub(super) unix: u64,
}

#[derive(Debug)]
enum Phase {
    /// It is wrong, but not long enough.
    Suspected,
    /// It was told.
    Standing {
        told: Instant,
        /// The worst that was told.
        severity: Severity,
        /// Since when it is right again.
        well_since: Option<Instant>,
    },
}

#[derive(Debug)]
struct Alert {
    kind: TroubleKind,
    began: Moment,
    phase: Phase,
}

/// All alerts.
#[derive(Debug)]
pub(super) struct AlertBook {
    times: Times,
    alerts: BTreeMap<String, Alert>,
}

impl AlertBook {
    pub(super) fn new(times: Times) -> AlertBook {
        AlertBook { times, alerts: BTreeMap::new() }
    }

    /// Names of those that were told and stand.
    pub(super) fn standing(&self) -> Vec<String> {
        let told = self.alerts.iter().filter(|(_, alert)| matches!(alert.phase, Phase::Standing { .. }));
        told.map(|(id, _)| id.clone()).collect()
    }

    /// Takes what was seen, and gives what is to be told. What is looked at no more is taken to be well.
    pub(super) fn look(&mut self, sightings: &[Sighting], at: Moment) -> Vec<Message> {
        let mut messages = Vec::new();
        for sighting in sightings {
            messages.extend(self.one(&sighting.id, sighting.kind, &sighting.seen, at));
        }
        let is_gone = |id: &&String| !sightings.iter().any(|sighting| sighting.id == **id);
        let gone: Vec<String> = self.alerts.keys().filter(is_gone).cloned().collect();
        for id in gone {
            let Some(kind) = self.alerts.get(&id).map(|alert| alert.kind) else { continue };
            let well = Seen::Well("it is not looked at any more".to_owned());
            messages.extend(self.one(&id, kind, &well, at));
        }
        messages
    }

    fn one(&mut self, id: &str, kind: TroubleKind, seen: &Seen, at: Moment) -> Option<Message> {
        match seen {
            Seen::Bad(trouble) => self.bad(id, kind, trouble, at),
            Seen::Well(told) => self.well(id, told, at),
            Seen::Unclear => None,
        }
    }

    fn bad(&mut self, id: &str, kind: TroubleKind, trouble: &Trouble, at: Moment) -> Option<Message> {
        let Times { fire_after, repeat, .. } = self.times;
        let alert =
            self.alerts.entry(id.to_owned()).or_insert(Alert { kind, began: at, phase: Phase::Suspected });
        let lasts = at.now.saturating_duration_since(alert.began.now);
        let again = match &mut alert.phase {
            Phase::Suspected if lasts < after(kind, fire_after) => return None,
            Phase::Suspected => {
                let severity = trouble.severity;
                alert.phase = Phase::Standing { told: at.now, severity, well_since: None };
                false
            }
            Phase::Standing { told, severity, well_since } => {
                *well_since = None;
                let since_told = at.now.saturating_duration_since(*told);
                let has_grown = trouble.grew.is_some_and(|grew| grew > *told) && since_told >= GROWN_PAUSE;
                let is_due = repeat.is_some_and(|repeat| since_told >= repeat);
                if trouble.severity <= *severity && !has_grown && !is_due {
                    return None;
                }
                *severity = trouble.severity.max(*severity);
                *told = at.now;
                true
            }
        };
        Some(Message::firing(id, kind, trouble, (alert.began.unix, at.unix), again))
    }

    fn well(&mut self, id: &str, said: &str, at: Moment) -> Option<Message> {
        let resolve_after = self.times.resolve_after;
        let alert = self.alerts.get_mut(id)?;
        let message = match &mut alert.phase {
            Phase::Suspected => None,
            Phase::Standing { severity, well_since, .. } => {
                let since = *well_since.get_or_insert(at.now);
                if at.now.saturating_duration_since(since) < resolve_after {
                    return None;
                }
                Some(Message::resolved(id, alert.kind, *severity, said, (alert.began.unix, at.unix)))
            }
        };
        self.alerts.remove(id);
        message
    }
}

/// What has a time of its own is told at once.
fn after(kind: TroubleKind, fire_after: Duration) -> Duration {
    match kind {
        TroubleKind::Pool
        | TroubleKind::NoPool
        | TroubleKind::ShardsSilent
        | TroubleKind::Memory
        | TroubleKind::Descriptors => fire_after,
        TroubleKind::WorkersSilent
        | TroubleKind::Rejects
        | TroubleKind::Panics
        | TroubleKind::ShardDied
        | TroubleKind::FiguresOld
        | TroubleKind::Test => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::AlertStatus;
    use super::*;

    const TIMES: Times = Times {
        fire_after: Duration::from_secs(30),
        resolve_after: Duration::from_secs(120),
        repeat: Some(Duration::from_secs(3_600)),
    };

    /// A clock that stands where it is put.
    struct Clock(Instant);

    impl Clock {
        fn at(&self, second: u64) -> Moment {
            Moment { now: self.0 + Duration::from_secs(second), unix: 1_000 + second }
        }
    }

    fn pool(seen: Seen) -> Vec<Sighting> {
        vec![Sighting { id: "pool/main".to_owned(), kind: TroubleKind::Pool, seen }]
    }

    fn bad(severity: Severity) -> Seen {
        Seen::Bad(Trouble::new(severity, "pool main is failed"))
    }

    fn well() -> Seen {
        Seen::Well("pool main is healthy again".to_owned())
    }

    /// What is told at each second, as `second status severity`.
    fn story(times: Times, seen: &[(u64, Seen)]) -> Vec<String> {
        let (clock, mut book) = (Clock(Instant::now()), AlertBook::new(times));
        let mut told = Vec::new();
        for (second, seen) in seen {
            for message in book.look(&pool(seen.clone()), clock.at(*second)) {
                let status = match message.status {
                    AlertStatus::Firing if message.again => "again",
                    AlertStatus::Firing => "firing",
                    AlertStatus::Resolved => "resolved",
                };
                told.push(format!(
                    "{second} {status} {:?} since {}",
                    message.severity, message.since_unix_seconds
                ));
            }
        }
        told
    }

    #[test]
    fn it_is_told_when_it_lasts_and_when_it_is_over_for_long_enough() {
        let critical = || bad(Severity::Critical);
        let told = story(
            TIMES,
            &[
                (0, well()),
                (1, critical()),
                (30, critical()),
                (31, critical()),
                (90, critical()),
                (100, well()),
                (219, well()),
                (220, well()),
                (230, well()),
            ],
        );
        assert_eq!(told, ["31 firing Critical since 1001", "220 resolved Critical since 1001"]);
    }

    #[test]
    fn it_does_not_flap() {
        // Wrong for 20 s of every 40: never long enough to be told.
        let flapping = |from: u64, times: u64| {
            (0..times).flat_map(move |n| {
                let at = from + 40 * n;
                [(at, bad(Severity::Critical)), (at + 19, bad(Severity::Critical)), (at + 20, well())]
            })
        };
        assert!(story(TIMES, &flapping(0, 100).collect::<Vec<_>>()).is_empty());
        // Once told, it is over only when it is over for two minutes.
        let mut seen = vec![(0, bad(Severity::Critical)), (30, bad(Severity::Critical))];
        seen.extend(flapping(31, 50));
        seen.extend([(2_031, well()), (2_170, well()), (2_200, well())]);
        let told = story(TIMES, &seen);
        assert_eq!(told, ["30 firing Critical since 1000", "2170 resolved Critical since 1000"]);
    }

    #[test]
    fn what_is_worse_is_told_at_once_and_what_lasts_from_time_to_time() {
        let told = story(
            TIMES,
            &[
                (0, bad(Severity::Warning)),
                (30, bad(Severity::Warning)),
                (31, bad(Severity::Critical)),
                (32, bad(Severity::Warning)),
                (33, bad(Severity::Critical)),
                (3_630, bad(Severity::Critical)),
                (3_631, bad(Severity::Critical)),
                (3_632, Seen::Unclear),
                (9_999, Seen::Unclear),
            ],
        );
        assert_eq!(
            told,
            [
                "30 firing Warning since 1000",
                "31 again Critical since 1000",
                "3631 again Critical since 1000"
            ]
        );
        let once = story(
            Times { repeat: None, ..TIMES },
            &[(0, bad(Severity::Warning)), (30, bad(Severity::Warning)), (99_999, bad(Severity::Warning))],
        );
        assert_eq!(once, ["30 firing Warning since 1000"]);
    }

    #[test]
    fn what_grows_is_told_again_but_not_too_often() {
        let (clock, mut book) = (Clock(Instant::now()), AlertBook::new(TIMES));
        let grown = |second: u64| Trouble {
            grew: Some(clock.at(second).now),
            ..Trouble::new(Severity::Warning, "workers are silent")
        };
        let mut told = Vec::new();
        // One more worker every ten seconds, for ten minutes.
        for second in (0..=600).step_by(10) {
            let id = "workers_silent".to_owned();
            let sighting = Sighting { id, kind: TroubleKind::WorkersSilent, seen: Seen::Bad(grown(second)) };
            told.extend(
                book.look(&[sighting], clock.at(second)).iter().map(|message| (second, message.again)),
            );
        }
        assert_eq!(told, [(0, false), (300, true), (600, true)]);
        assert_eq!(book.standing(), ["workers_silent"]);
    }

    #[test]
    fn what_is_looked_at_no_more_is_over() {
        let (clock, mut book) = (Clock(Instant::now()), AlertBook::new(TIMES));
        book.look(&pool(bad(Severity::Critical)), clock.at(0));
        assert_eq!(book.look(&pool(bad(Severity::Critical)), clock.at(30)).len(), 1);
        assert!(book.look(&[], clock.at(31)).is_empty());
        assert_eq!(book.standing(), ["pool/main"]);
        assert_eq!(book.look(&[], clock.at(151))[0].status, AlertStatus::Resolved);
        assert!(book.standing().is_empty());
    }
}
