//! Keeps looking names up: the last good answer of each stays in force until another one comes.
//!
//! When to ask and what an answer changes is decided without a clock or a network; [`Watch::changed`] adds those.

use super::resolve::{ResolveError, Resolved, Resolver};
use super::target::endpoint;
use crate::config::Host;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How long after a first failure a name is asked for again; each further failure doubles it.
pub const BACKOFF_MIN: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Names that are watched. The number is the caller's to bound: one per configured pool.
#[derive(Debug, Default)]
pub struct Watch(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    host: Host,
    port: u16,
    /// The last good answer; empty before the first.
    known: Vec<SocketAddr>,
    /// `None`: never, for an address needs no lookup.
    due: Option<Instant>,
    /// Pause after the next failure.
    backoff: Duration,
}

/// A name that leads elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What [`Watch::add`] gave for the name.
    pub index: usize,
    /// Where it leads, in the order to dial.
    pub addresses: Vec<SocketAddr>,
}

impl Watch {
    /// Adds a name and gives its index. `first`, an answer that is known already, is no change; without one the name
    /// is due at once.
    pub fn add(&mut self, host: Host, port: u16, first: Option<Resolved>, now: Instant) -> usize {
        let (known, due) = match (&host, first) {
            (Host::Ip(ip), _) => (vec![SocketAddr::new(*ip, port)], None),
            (Host::Name(_), Some(first)) => (first.addresses, Some(now + first.valid_for)),
            (Host::Name(_), None) => (Vec::new(), Some(now)),
        };
        self.0.push(Watched { host, port, known, due, backoff: BACKOFF_MIN });
        self.0.len() - 1
    }

    /// The last good answer of a name; empty when there was none yet.
    pub fn known(&self, index: usize) -> &[SocketAddr] {
        self.0.get(index).map_or(&[], |watched| &watched.known)
    }

    /// When somebody has to be asked next; `None` when nothing is watched.
    pub fn next_due(&self) -> Option<Instant> {
        self.0.iter().filter_map(|watched| watched.due).min()
    }

    /// Asks for every name that is due at `now`, all at the same time, and gives those that have changed.
    pub async fn turn<F>(&mut self, now: Instant, ask: impl Fn(Host, u16) -> F) -> Vec<Change>
    where
        F: Future<Output = Result<Resolved, ResolveError>> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for (index, watched) in self.0.iter().enumerate() {
            if watched.due.is_some_and(|due| due <= now) {
                let answer = ask(watched.host.clone(), watched.port);
                asked.spawn(async move { (index, answer.await) });
            }
        }
        let mut changes = Vec::new();
        while let Some(answered) = asked.join_next().await {
            // A lookup that panicked stays due.
            let Ok((index, answer)) = answered else { continue };
            changes.extend(self.take(index, now, answer));
        }
        changes.sort_by_key(|change| change.index);
        changes
    }

    /// Waits until some names lead elsewhere. Never ends when there is nothing to watch. It may be dropped at any
    /// time: what was not answered by then is asked again.
    pub async fn changed(&mut self, resolver: &Arc<Resolver>) -> Vec<Change> {
        loop {
            let Some(due) = self.next_due() else { return std::future::pending().await };
            tokio::time::sleep_until(due.into()).await;
            let ask = |host: Host, port| {
                let resolver = Arc::clone(resolver);
                async move { resolver.resolve(&host, port).await }
            };
            let changes = self.turn(Instant::now(), ask).await;
            if !changes.is_empty() {
                return changes;
            }
        }
    }

    fn take(&mut self, index: usize, now: Instant, answer: Result<Resolved, ResolveError>) -> Option<Change> {
        let watched = self.0.get_mut(index)?;
        match answer {
            Ok(Resolved { addresses, valid_for }) => {
                watched.backoff = BACKOFF_MIN;
                watched.due = Some(now + valid_for);
                if !is_other(&addresses, &watched.known) {
                    return None;
                }
                watched.known.clone_from(&addresses);
                Some(Change { index, addresses })
            }
            Err(error) => {
                // Said once for each time of trouble, not every minute.
                if watched.backoff == BACKOFF_MIN {
                    let host = endpoint(&watched.host, watched.port);
                    tracing::warn!(host, %error, known = ?watched.known, "keeping the last known addresses");
                }
                watched.due = Some(now + watched.backoff);
                watched.backoff = (watched.backoff * 2).min(BACKOFF_MAX);
                None
            }
        }
    }
}

/// Name servers rotate their answers; only another set of addresses is a change.
fn is_other(new: &[SocketAddr], known: &[SocketAddr]) -> bool {
    new.len() != known.len() || new.iter().any(|address| !known.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Host {
        Host::Name("pool.example".to_owned())
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn good(texts: &[&str], seconds: u64) -> Result<Resolved, ResolveError> {
        Ok(Resolved { addresses: addresses(texts), valid_for: Duration::from_secs(seconds) })
    }

    fn turn(
        watch: &mut Watch,
        now: Instant,
        answer: &Result<Resolved, ResolveError>,
    ) -> (usize, Vec<Change>) {
        let asked = std::cell::Cell::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let changes = runtime.block_on(watch.turn(now, |_, _| {
            asked.set(asked.get() + 1);
            std::future::ready(answer.clone())
        }));
        (asked.get(), changes)
    }

    #[test]
    fn a_name_is_asked_for_when_its_answer_ends_and_only_another_set_is_a_change() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        assert_eq!(watch.add(name(), 1, None, start), 0);
        let first = good(&["192.0.2.1:1", "192.0.2.2:1"], 30);
        let change = Change { index: 0, addresses: addresses(&["192.0.2.1:1", "192.0.2.2:1"]) };
        assert_eq!(turn(&mut watch, start, &first), (1, vec![change]));
        assert_eq!(watch.next_due(), Some(at(30)));
        assert_eq!(turn(&mut watch, at(29), &first).0, 0, "not yet due");
        let rotated = good(&["192.0.2.2:1", "192.0.2.1:1"], 10);
        assert_eq!(turn(&mut watch, at(30), &rotated), (1, vec![]));
        assert_eq!(watch.next_due(), Some(at(40)));
        let other = turn(&mut watch, at(40), &good(&["192.0.2.2:1"], 10));
        assert_eq!(other, (1, vec![Change { index: 0, addresses: addresses(&["192.0.2.2:1"]) }]));
        assert_eq!(watch.known(0), addresses(&["192.0.2.2:1"]));
    }

    #[test]
    fn failures_keep_the_last_good_answer_and_are_asked_about_less_and_less() {
        let start = Instant::now();
        let mut watch = Watch::default();
        let first = good(&["192.0.2.1:1"], 30).unwrap();
        watch.add(name(), 1, Some(first), start);
        let mut now = start + Duration::from_secs(30);
        assert_eq!(watch.next_due(), Some(now));
        let failed = Err(ResolveError::Silent { host: "pool.example".to_owned() });
        for pause in [5, 10, 20, 40, 60, 60] {
            assert_eq!(turn(&mut watch, now, &failed), (1, vec![]));
            now += Duration::from_secs(pause);
            assert_eq!(watch.next_due(), Some(now));
            assert_eq!(watch.known(0), addresses(&["192.0.2.1:1"]));
        }
        assert_eq!(turn(&mut watch, now, &good(&["192.0.2.1:1"], 30)), (1, vec![]));
        now += Duration::from_secs(30);
        assert_eq!(turn(&mut watch, now, &failed), (1, vec![]));
        assert_eq!(watch.next_due(), Some(now + BACKOFF_MIN), "a good answer forgives what was before");
    }

    #[test]
    fn an_address_is_never_asked_for() {
        let now = Instant::now();
        let mut watch = Watch::default();
        watch.add(Host::Ip([192, 0, 2, 7].into()), 3333, None, now);
        assert_eq!((watch.next_due(), watch.known(0)), (None, &addresses(&["192.0.2.7:3333"])[..]));
        watch.add(name(), 2, None, now);
        let changed = turn(&mut watch, now, &good(&["192.0.2.9:2"], 30)).1;
        assert_eq!(changed.iter().map(|change| change.index).collect::<Vec<_>>(), [1]);
    }
}
