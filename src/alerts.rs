//! Alerts of our own, for farms without Prometheus: what is wrong is posted to a webhook, and what is right again.
//!
//! A thread of its own (`alerts`) looks at snapshots, keeps what stands, and posts it. Nobody waits for it: neither a shard nor
//! the aggregator knows of it. It follows no redirect, logs no secret, and forgets what stands when the process ends.

mod book;
mod counts;
mod courier;
mod lookout;
mod message;
mod outbox;
mod post;
mod rejects;
mod rules;
mod sign;
#[cfg(test)]
mod tests;

pub use counts::{AlertCounts, AlertFigures};
pub use message::{AlertStatus, FORM_VERSION, Message, Severity};
pub use rules::TroubleKind;

use crate::aggregate::{SnapshotReader, WorkersReader};
use crate::config::{AlertsConfig, Config, Webhook};
use crate::pools::resolve::{ResolveError, Resolver};
use crate::pools::tls::{TlsSetupError, client_config};
use courier::Courier;
use lookout::Lookout;
use outbox::{Outbox, Sender};
use post::Receiver;
use ring::rand::{SecureRandom, SystemRandom};
use rules::Trouble;
use sign::Signer;
use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};

/// How long what is left may take to be posted when the process ends.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(3);

/// Why there can be no alerts.
#[derive(Debug, Error)]
pub enum AlertsError {
    /// The authorities cannot be read.
    #[error("alerts.ca_file: {0}")]
    Tls(#[from] TlsSetupError),
    /// The host is no name that a certificate can be for.
    #[error("alerts.url: a certificate cannot be for this host")]
    Name,
    /// Names cannot be looked up.
    #[error(transparent)]
    Resolver(#[from] ResolveError),
    /// No thread, or no event queue for it.
    #[error("cannot start the thread of the alerts: {0}")]
    Thread(#[from] io::Error),
}

/// What is known before the figures are there.
#[derive(Debug)]
pub struct Alerts {
    config: AlertsConfig,
    webhook: Webhook,
    tls: Option<Arc<rustls::ClientConfig>>,
    dns_servers: Vec<IpAddr>,
    sender: Sender,
    counts: AlertCounts,
}

impl Alerts {
    /// Reads what alerts need; `None` where there are none. `counts` go on from where they are.
    ///
    /// # Errors
    /// [`AlertsError`]
    pub fn prepare(config: &Config, counts: &AlertCounts) -> Result<Option<Alerts>, AlertsError> {
        let alerts = &config.alerts;
        let Some(webhook) = alerts.webhook.clone() else { return Ok(None) };
        let tls = webhook.tls.then(|| client_config(alerts.ca_file.as_deref(), &[], false)).transpose()?;
        let sender = Sender {
            program: format!("loka-stratum {}", env!("CARGO_PKG_VERSION")),
            source: if alerts.source.is_empty() { host_name() } else { alerts.source.clone() },
            instance: instance(),
            format: alerts.format,
        };
        Ok(Some(Alerts {
            config: alerts.clone(),
            webhook,
            tls,
            dns_servers: config.failover.dns_servers.clone(),
            sender,
            counts: counts.clone(),
        }))
    }

    fn receiver(&self) -> Result<Receiver, AlertsError> {
        let resolver = Resolver::new(&self.dns_servers)?;
        let (webhook, tls) = (self.webhook.clone(), self.tls.clone());
        let signer = Signer::new(&self.config.secret);
        let agent = self.sender.program.replace(' ', "/");
        Receiver::new(webhook, tls, signer, resolver, agent).map_err(|_| AlertsError::Name)
    }

    /// Begins to look and to tell, on a thread named `alerts`.
    ///
    /// # Errors
    /// [`AlertsError::Thread`]
    pub fn start(
        self,
        snapshots: SnapshotReader,
        workers: WorkersReader,
    ) -> Result<AlertsHandle, AlertsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let receiver = {
            let _within = runtime.enter();
            self.receiver()?
        };
        tracing::info!(receiver = %self.webhook, signed = !self.config.secret.is_empty(), "alerts are posted");
        let courier = Courier { receiver, every: self.config.batch, counts: self.counts.clone() };
        let outbox = RefCell::new(Outbox::new(self.sender, self.counts));
        let mut lookout = Lookout::new(&self.config, snapshots, workers);
        let (end, ended) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                let news = Notify::new();
                let last = tokio::select! {
                    () = lookout.run(&outbox, &news) => None,
                    () = courier.run(&outbox, &news) => None,
                    // Without a word: the proxy is gone.
                    last = ended => last.ok(),
                };
                if let Some(Ending { last_word }) = last {
                    if let Some(message) = last_word {
                        outbox.borrow_mut().take_last(message);
                    }
                    let _ = tokio::time::timeout(LAST_WORDS_MAX, courier.flush(&outbox)).await;
                }
            });
            // A look-up of a name that hangs must not hold the process.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("alerts".to_owned()).spawn(run)?;
        Ok(AlertsHandle { end, thread })
    }

    /// Posts one message that says that nothing is wrong, and tells what came back.
    ///
    /// # Errors
    /// [`TestError`]: it was not taken.
    pub fn test(self) -> Result<Tested, TestError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AlertsError::from)?;
        let receiver = {
            let _within = runtime.enter();
            self.receiver()?
        };
        let mut outbox = Outbox::new(self.sender, self.counts);
        outbox.take(vec![Message::test(unix_now())], Vec::new());
        let begun = std::time::Instant::now();
        // It was just put there.
        let batch = outbox.batch(begun).ok_or(TestError::Nothing)?;
        let result = runtime.block_on(receiver.post(&batch.delivery, &batch.body, unix_now()));
        runtime.shutdown_background();
        let answer = result.map_err(|error| TestError::Unanswered(error.to_string()))?;
        let (status, text) = (answer.status.as_u16(), answer.text);
        if !answer.status.is_success() {
            return Err(TestError::Refused { status, text });
        }
        let (body, took) = (batch.body, begun.elapsed());
        Ok(Tested { receiver: self.webhook.to_string(), status, text, body, took })
    }
}

/// What came back of a test.
#[derive(Debug)]
pub struct Tested {
    /// Where it went, without the path.
    pub receiver: String,
    /// What it answered.
    pub status: u16,
    /// The beginning of its text, as it came.
    pub text: String,
    /// What was sent.
    pub body: String,
    /// How long it took.
    pub took: Duration,
}

/// Why a test failed.
#[derive(Debug, Error)]
pub enum TestError {
    /// It cannot be tried.
    #[error(transparent)]
    Alerts(#[from] AlertsError),
    /// Nobody answers.
    #[error("{0}")]
    Unanswered(String),
    /// It does not take it.
    #[error("the receiver answers {status}")]
    Refused {
        /// What it answered.
        status: u16,
        /// The beginning of its text, as it came.
        text: String,
    },
    /// A bug: there was nothing to send.
    #[error("there is nothing to send")]
    Nothing,
}

#[derive(Debug)]
struct Ending {
    last_word: Option<Message>,
}

/// Stands for the running thread, which ends when this is dropped.
#[derive(Debug)]
pub struct AlertsHandle {
    end: oneshot::Sender<Ending>,
    thread: JoinHandle<()>,
}

impl AlertsHandle {
    /// Posts what is left, for [`LAST_WORDS_MAX`] at most, and ends the thread.
    pub fn stop(self) {
        self.end_with(None);
    }

    /// The same, with a last message: the process ends because a shard has.
    pub fn shard_died(self, cause: &str) {
        let trouble = Trouble {
            text: format!("{cause}; the process ends, and whoever runs it should start it again"),
            ..Trouble::new(Severity::Critical, "a shard died")
        };
        let at = unix_now();
        let kind = TroubleKind::ShardDied;
        self.end_with(Some(Message::firing(kind.label(), kind, &trouble, (at, at), false)));
    }

    fn end_with(self, last_word: Option<Message>) {
        // It may have ended by itself.
        let _ = self.end.send(Ending { last_word });
        if self.thread.join().is_err() {
            tracing::error!("the thread of the alerts panicked");
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The name of this host, as the kernel has it.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A name that no other start has.
fn instance() -> String {
    let mut bytes = [0; 8];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Nearly as good: no two starts are at the same time.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        bytes.copy_from_slice(&nanos.to_be_bytes()[8..]);
    }
    sign::hex(&bytes)
}
