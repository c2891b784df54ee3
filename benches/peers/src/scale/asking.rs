//! Who asks the proxy while it works: a scraper, people at dashboards, and a listener of the live feed; far more often than any
//! of them would.

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
/// What waits longest for its turn has waited for less than this.
const STEP: Duration = Duration::from_millis(20);

/// What is asked, and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) path: &'static str,
    every: Duration,
}

const fn question(path: &'static str, every_ms: u64) -> Question {
    Question { path, every: Duration::from_millis(every_ms) }
}

/// All of them.
pub(super) const QUESTIONS: &[Question] = &[
    question("/metrics", 1_000),
    question("/metrics/workers?top=100", 1_000),
    question("/api/v1/workers?sort=hashrate_15m&limit=100", 500),
    question("/api/v1/workers?sort=rejects&limit=1000", 1_000),
    question("/api/v1/workers?search=farm.008&sort=last_share&order=asc", 1_000),
    question("/api/v1/workers/farm.00042-07", 500),
    question("/api/v1/workers/farm.00042-07/sessions", 1_000),
    question("/api/v1/history?range=1h", 2_000),
];

/// One answer.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Asked {
    pub(super) path: &'static str,
    /// Milliseconds from the connect to the last byte.
    pub(super) ms: f64,
    pub(super) bytes: usize,
}

/// Somebody asks, until stopped.
pub(super) struct Asking<'scope> {
    stop: Arc<AtomicBool>,
    threads: Vec<ScopedJoinHandle<'scope, anyhow::Result<Vec<Asked>>>>,
}

impl<'scope> Asking<'scope> {
    pub(super) fn start<'env>(scope: &'scope Scope<'scope, 'env>, metrics: SocketAddr) -> Asking<'scope> {
        let stop = Arc::new(AtomicBool::new(false));
        let (asks, listens) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            scope.spawn(move || ask_all(metrics, &asks)),
            scope.spawn(move || listen(metrics, &listens)),
        ];
        Asking { stop, threads }
    }

    /// What came of it.
    ///
    /// # Errors
    /// A question was not answered, or not with 200.
    pub(super) fn stop(self) -> anyhow::Result<Vec<Asked>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut asked = Vec::new();
        for thread in self.threads {
            asked.extend(thread.join().map_err(|_| anyhow!("who asks panicked"))??);
        }
        Ok(asked)
    }
}

/// This thread gives way to the others: in the field, who asks has a machine of his own.
fn give_way() {
    // Where it cannot be set, the miners pay for it: the figures are no better than they should be.
    let _ = rustix::process::nice(19);
}

fn ask_all(metrics: SocketAddr, stop: &AtomicBool) -> anyhow::Result<Vec<Asked>> {
    give_way();
    let (mut asked, began) = (Vec::new(), Instant::now());
    // Not all of them at once at the beginning.
    let mut due: Vec<Instant> =
        (0..QUESTIONS.len()).map(|number| began + u32::try_from(number).unwrap_or(0) * 5 * STEP).collect();
    while !stop.load(Ordering::Relaxed) {
        for (question, due) in QUESTIONS.iter().zip(&mut due) {
            let now = Instant::now();
            if now >= *due {
                let bytes = get(metrics, question.path)?.len();
                asked.push(Asked { path: question.path, ms: now.elapsed().as_secs_f64() * 1e3, bytes });
                *due += question.every;
            }
        }
        std::thread::sleep(STEP);
    }
    Ok(asked)
}

/// Takes the live feed and looks at none of it.
fn listen(metrics: SocketAddr, stop: &AtomicBool) -> anyhow::Result<Vec<Asked>> {
    give_way();
    let mut stream = TcpStream::connect_timeout(&metrics, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET /metrics/events HTTP/1.1\r\nhost: {metrics}\r\n\r\n")?;
    let mut bytes = vec![0; 1 << 16];
    while !stop.load(Ordering::Relaxed) {
        if stream.read(&mut bytes).context("the live feed")? == 0 {
            bail!("the live feed ended");
        }
    }
    Ok(Vec::new())
}

/// The body of an answer.
///
/// # Errors
/// There is none, or its status is another than 200.
pub(super) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("{path}: no answer"))?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// The same as JSON.
///
/// # Errors
/// As [`get`], or it is none.
pub(super) fn json(address: SocketAddr, path: &str) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_str(&get(address, path)?)?)
}
