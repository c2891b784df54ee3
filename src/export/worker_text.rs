//! Some workers as Prometheus text, for who asks for it: the table of its families, which no ordinary scrape holds.
//!
//! The label is a name that strangers choose. Whoever stores such series keeps one for every name that ever was among those
//! asked for; here there are no more of them than the page holds.

use super::series::{Kind, Series, family};
use crate::aggregate::{Window, WorkerPage, WorkerView};
use prometheus::{Encoder, TextEncoder};

/// One family; each of its series is a worker.
#[derive(Debug)]
pub struct WorkerFamily {
    /// Full name.
    pub name: &'static str,
    /// One sentence for operators.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// `None` where nothing is known.
    read: fn(&WorkerView) -> Option<f64>,
}

/// The label of all of them.
const LABELS: &[&str] = &["worker"];

/// Every family of workers.
pub static WORKER_FAMILIES: &[WorkerFamily] = &[
    WorkerFamily {
        name: "loka_stratum_worker_hashes_per_second",
        help: "Hashrate, over 15 minutes.",
        kind: Kind::Gauge,
        read: |worker| Some(worker.hashrate[Window::Quarter as usize]),
    },
    WorkerFamily {
        name: "loka_stratum_worker_connections",
        help: "Connections that have the worker now.",
        kind: Kind::Gauge,
        read: |worker| Some(worker.sessions as f64),
    },
    WorkerFamily {
        name: "loka_stratum_worker_shares_accepted_total",
        help: "Shares accepted by pools.",
        kind: Kind::Counter,
        read: |worker| Some(worker.shares.accepted as f64),
    },
    WorkerFamily {
        name: "loka_stratum_worker_shares_rejected_total",
        help: "Shares rejected by pools.",
        kind: Kind::Counter,
        read: |worker| Some(worker.shares.rejections() as f64),
    },
    WorkerFamily {
        name: "loka_stratum_worker_shares_refused_total",
        help: "Shares refused by the proxy.",
        kind: Kind::Counter,
        read: |worker| Some(worker.shares.refusals() as f64),
    },
    WorkerFamily {
        name: "loka_stratum_worker_last_share_age_seconds",
        help: "Time since a share was accepted last.",
        kind: Kind::Gauge,
        read: |worker| worker.last_share_ago.map(|ago| ago.as_secs_f64()),
    },
];

/// The workers of a page as Prometheus text; families without a series are left out.
///
/// # Errors
/// The table holds what Prometheus does not allow.
pub fn workers_text(page: &WorkerPage) -> Result<Vec<u8>, prometheus::Error> {
    let families = WORKER_FAMILIES.iter().map(|row| {
        family((row.name, row.help, row.kind, LABELS), |out: &mut Series| {
            for worker in &page.workers {
                let name = worker.name.as_deref().unwrap_or_default();
                if let Some(value) = (row.read)(worker) {
                    out.value(&[name], value);
                }
            }
        })
    });
    let families: Vec<_> = families.filter(|family| !family.get_metric().is_empty()).collect();
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::tests::worker;
    use crate::aggregate::{WorkerBook, WorkerQuery};
    use std::time::{Duration, Instant};

    #[test]
    fn names_are_escaped_and_what_is_not_known_is_left_out() {
        let now = Instant::now();
        let mut book = WorkerBook::new(now);
        let mut never = worker("never");
        (never.counts.accepted, never.accepted_ago_us) = (0, None);
        book.add(&[worker("a\"} 1\\x"), never], now);
        let page = book.page(&WorkerQuery::default(), now + Duration::from_secs(7));
        let text = String::from_utf8(workers_text(&page).unwrap()).unwrap();
        let line = |start: &str| text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        assert_eq!(
            line("loka_stratum_worker_last_share_age_seconds"),
            [r#"loka_stratum_worker_last_share_age_seconds{worker="a\"} 1\\x"} 7"#]
        );
        assert_eq!(line("loka_stratum_worker_connections").len(), 2);
        assert_eq!(line("# TYPE").len(), WORKER_FAMILIES.len());
        for family in WORKER_FAMILIES {
            assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
            assert!(family.name.starts_with("loka_stratum_worker_") && family.help.ends_with('.'));
        }
        let nobody = WorkerBook::new(now).page(&WorkerQuery::default(), now);
        assert!(workers_text(&nobody).unwrap().is_empty());
    }
}
