//! What miners and the pool know of themselves, as figures under plain names; and what a source tells, held against it.
//!
//! It asks the proxy nothing.

use crate::support::PATIENCE;
use std::collections::BTreeMap;
use std::time::Instant;

/// Figures by name, such as `ended.miner_left` or `worker.farm.rig.accepted`.
pub(crate) type Figures = BTreeMap<String, f64>;
/// Counts by reason.
pub(crate) type Reasons = BTreeMap<&'static str, u64>;

/// The worker that stands for all that cannot be told apart.
pub(crate) const OTHERS: &str = "(others)";
/// Workers of the swarm are one here: it counts its shares together.
pub(crate) const SWARM: &str = "rig";
/// Reasons to refuse that are faults of the protocol, of those that this test brings about.
const FAULTS: [&str; 3] = ["malformed", "bad_params", "not_for_miners"];
/// Reasons to end that are nobody's fault.
const FAULTLESS: [&str; 4] = ["miner_left", "pool_left", "drained", "http"];

/// One worker.
#[derive(Debug, Default, Clone)]
pub(crate) struct Account {
    pub(crate) connections: u64,
    pub(crate) accepted: u64,
    pub(crate) rejected: Reasons,
    pub(crate) refused: Reasons,
    pub(crate) unanswered: u64,
    pub(crate) lost: u64,
}

/// All that was done to the proxy.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ledger {
    pub(crate) accounts: BTreeMap<String, Account>,
    /// Connections made.
    pub(crate) connections: u64,
    /// Those that ended.
    pub(crate) ended: Reasons,
    /// Refused requests that are no shares.
    pub(crate) requests: Reasons,
    pub(crate) authorized: u64,
    pub(crate) unauthorized: u64,
    /// Different names.
    pub(crate) workers: u64,
    /// Shares that the pool accepted, and rejected for their difficulty, and never told so.
    pub(crate) untold: [u64; 2],
    /// Of all shares.
    pub(crate) difficulty: f64,
}

impl Ledger {
    pub(crate) fn account(&mut self, worker: &str) -> &mut Account {
        self.accounts.entry(worker.to_owned()).or_default()
    }

    pub(crate) fn sum(&self, count: impl Fn(&Account) -> u64) -> u64 {
        self.accounts.values().map(count).sum()
    }

    fn by_reason(&self, of: impl Fn(&Account) -> &Reasons) -> Reasons {
        let mut sums = Reasons::new();
        for (reason, count) in self.accounts.values().flat_map(of) {
            *sums.entry(reason).or_default() += count;
        }
        sums
    }

    pub(crate) fn active(&self) -> u64 {
        self.connections - self.ended.values().sum::<u64>()
    }

    /// Everything under its name.
    pub(crate) fn figures(&self) -> Figures {
        let (rejected, refused) = (self.by_reason(|one| &one.rejected), self.by_reason(|one| &one.refused));
        let mut requests = refused.clone();
        self.requests.iter().for_each(|(reason, count)| *requests.entry(reason).or_default() += count);
        let of = |reasons: &Reasons, some: &[&str]| -> u64 {
            reasons.iter().filter(|(reason, _)| some.contains(reason)).map(|(_, count)| count).sum()
        };
        let (accepted, answered) =
            (self.sum(|one| one.accepted), self.sum(|one| one.accepted + total(&one.rejected)));
        let (unanswered, lost) = (self.sum(|one| one.unanswered), self.sum(|one| one.lost));
        let mut figures = Figures::new();
        for (name, count) in [
            ("connections.total", self.connections),
            ("connections.active", self.active()),
            ("connections.errors", total(&self.ended) - of(&self.ended, &FAULTLESS)),
            ("shares.accepted", accepted),
            ("shares.rejected", total(&rejected)),
            ("shares.refused", total(&refused)),
            ("shares.unanswered", unanswered),
            ("shares.lost", lost),
            ("answered", answered),
            ("forwarded", answered + unanswered + lost),
            ("submits", answered + unanswered + lost + total(&refused)),
            ("faults", of(&requests, &FAULTS)),
            ("authorizations.accepted", self.authorized),
            ("authorizations.refused", self.unauthorized),
            ("workers", self.workers),
        ] {
            figures.insert(name.to_owned(), count as f64);
        }
        figures.insert("shares.difficulty".to_owned(), accepted as f64 * self.difficulty);
        put_reasons(&mut figures, "ended", &self.ended);
        put_reasons(&mut figures, "rejected", &rejected);
        put_reasons(&mut figures, "refused", &refused);
        put_reasons(&mut figures, "requests", &requests);
        self.accounts.iter().for_each(|(name, account)| self.put(&mut figures, name, account));
        figures
    }

    fn put(&self, figures: &mut Figures, name: &str, account: &Account) {
        for (what, count) in [
            ("connections", account.connections),
            ("accepted", account.accepted),
            ("rejected", total(&account.rejected)),
            ("refused", total(&account.refused)),
            ("unanswered", account.unanswered),
            ("lost", account.lost),
        ] {
            figures.insert(format!("worker.{name}.{what}"), count as f64);
        }
        let work = account.accepted as f64 * self.difficulty;
        figures.insert(format!("worker.{name}.difficulty"), work);
        put_reasons(figures, &format!("worker.{name}.rejected"), &account.rejected);
        put_reasons(figures, &format!("worker.{name}.refused"), &account.refused);
    }
}

fn total(reasons: &Reasons) -> u64 {
    reasons.values().sum()
}

fn put_reasons(figures: &mut Figures, family: &str, reasons: &Reasons) {
    for (reason, count) in reasons {
        figures.insert(format!("{family}.{reason}"), *count as f64);
    }
}

/// Asks until what is told is the truth: everything that is told, and all of the families that this source has.
pub(crate) fn agree(source: &str, families: &[&str], truth: &Figures, mut ask: impl FnMut() -> Figures) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = ask();
        let is_due = |name: &&String| families.iter().any(|family| is_of(name, family));
        let mut wrong: Vec<String> = told
            .iter()
            .filter(|(name, value)| truth.get(*name) != Some(value))
            .map(|(name, value)| format!("{name}: tells {value}, and it is {:?}", truth.get(name)))
            .collect();
        let missing = truth.keys().filter(is_due).filter(|name| !told.contains_key(*name));
        wrong.extend(missing.map(|name| format!("{name}: not told, and it is {}", truth[name])));
        if wrong.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{source}:\n{}", wrong.join("\n"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
