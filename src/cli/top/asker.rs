//! Asks the API again and again, on a thread of its own, so that a proxy that does not answer holds up no key.
//!
//! It only reads, needs no token and sends none, follows no redirect, and reads no answer beyond [`remote::ANSWER_BYTES_MAX`].

use super::answers::{Figures, Note, Page, Pool, Status, Text, Worker};
use crate::cli::remote;
use anyhow::anyhow;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use serde::de::DeserializeOwned;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pools and events asked for; more fit on no screen.
const LIST_MAX: usize = 64;

/// What workers are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sort {
    /// Most shares rejected or refused first.
    #[default]
    Rejects,
    /// Highest hashrate first.
    Hashrate,
    /// Longest without an accepted share first.
    Silent,
    /// By name.
    Name,
}

impl Sort {
    /// As the key line and the title say it.
    pub(super) fn told(self) -> &'static str {
        match self {
            Sort::Rejects => "most rejects",
            Sort::Hashrate => "highest hashrate",
            Sort::Silent => "longest silent",
            Sort::Name => "name",
        }
    }

    fn query(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Sort::Rejects => &[("sort", "rejects")],
            Sort::Hashrate => &[("sort", "hashrate_1m")],
            Sort::Silent => &[("sort", "last_share"), ("order", "asc")],
            Sort::Name => &[("sort", "name")],
        }
    }
}

/// Which workers are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) sort: Sort,
    /// A part of the name; empty: all.
    pub(super) search: String,
    pub(super) offset: usize,
    pub(super) limit: usize,
}

/// All that was told at one look.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) figures: Figures,
    pub(super) status: Status,
    pub(super) pools: Page<Pool>,
    pub(super) workers: Page<Worker>,
    /// Which workers these are.
    pub(super) wanted: Wanted,
    pub(super) events: Page<Note>,
}

/// The API of one proxy.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) agent: ureq::Agent,
    /// As `http://127.0.0.1:9090`.
    pub(super) url: String,
}

impl Api {
    /// Looks once.
    ///
    /// # Errors
    /// In words for whoever looks at the screen.
    pub(super) fn look(&self, wanted: &Wanted) -> anyhow::Result<Seen> {
        let limit = LIST_MAX.to_string();
        let (offset, page) = (wanted.offset.to_string(), wanted.limit.to_string());
        let mut query = vec![("offset", &*offset), ("limit", &*page)];
        query.extend_from_slice(wanted.sort.query());
        if !wanted.search.is_empty() {
            query.push(("search", &wanted.search));
        }
        Ok(Seen {
            figures: self.ask("/metrics", &[])?,
            status: self.ask("/api/v1/status", &[])?,
            pools: self.ask("/api/v1/pools", &[("limit", &limit)])?,
            workers: self.ask("/api/v1/workers", &query)?,
            events: self.ask("/api/v1/events", &[("limit", &limit)])?,
            wanted: wanted.clone(),
            at: Instant::now(),
        })
    }

    fn ask<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> anyhow::Result<T> {
        let Api { agent, url } = self;
        let request = agent.get(format!("{url}{path}")).header("accept", "application/json");
        let request = request.query_pairs(query.iter().copied());
        let (status, body) = remote::whole(request.call(), url, path)?;
        if !status.is_success() {
            let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            let told = Text::from(told["error"].as_str().unwrap_or("it is no proxy of this program"));
            return Err(anyhow!("{url}{path} is refused: {} ({})", &*told, status.as_u16()));
        }
        serde_json::from_str(&body).map_err(|_| anyhow!("{url}{path} is no API of this program"))
    }
}

/// What came of a look.
pub(super) type Looked = Result<Box<Seen>, String>;

/// The thread that asks. It ends with the process.
#[derive(Debug)]
pub(super) struct Asker {
    wanted: Arc<Mutex<Wanted>>,
    hurry: Sender<()>,
    /// Where what was told comes out.
    pub(super) looked: Receiver<Looked>,
}

impl Asker {
    /// Looks at once, and then each time `every` has passed.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(api: Api, wanted: Wanted, every: Duration) -> std::io::Result<Asker> {
        let wanted = Arc::new(Mutex::new(wanted));
        let ((hurry, hurried), (send, looked)) = (bounded(1), bounded(1));
        let asked = Arc::clone(&wanted);
        let ask = move || {
            loop {
                let wanted = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let told = api.look(&wanted).map(Box::new).map_err(|error| told(&error));
                if send.send(told).is_err() {
                    return;
                }
                // Time has passed, somebody wants others, or nobody is there any more, which the next sending finds.
                let _ = hurried.recv_timeout(every);
            }
        };
        std::thread::Builder::new().name("asker".to_owned()).spawn(ask)?;
        Ok(Asker { wanted, hurry, looked })
    }

    /// Asks for these workers from now on, and at once if they are others than before.
    pub(super) fn want(&self, wanted: &Wanted) {
        let mut before = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if *before != *wanted {
            before.clone_from(wanted);
            match self.hurry.try_send(()) {
                // It hurries already, or has ended, which the receiver finds.
                Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }
}

/// The error with its causes, on one line.
fn told(error: &anyhow::Error) -> String {
    Text::from(format!("{error:#}").as_str()).to_string()
}
