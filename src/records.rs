//! Share records: what each worker did in each minute, and each share that came to nothing, in a file of SQLite.
//!
//! The aggregator hands over what reports say ([`RecordsFeed`]), a thread of its own writes it, and `loka-stratum records` reads
//! it while the proxy runs. No shard knows of it, and a disk that is full, slow or gone costs records, not shares: what cannot
//! be written waits up to a bound, and what exceeds that is counted. It keeps no accepted share one by one.

mod central;
mod feed;
mod figures;
mod pending;
mod reader;
mod schema;
mod store;
mod writer;

pub use central::{CentralError, CentralFailure, CentralFigures, CentralTable, FleetError, examine};
pub use feed::RecordsFeed;
pub use figures::{RecordsFailure, RecordsFigures, RecordsMeter};
pub use pending::{EVENTS_MAX, EventRow, Lost, Pending, ROWS_MAX, Tally};
pub use reader::{MinuteRow, Part, PartSum, ReadError, ReadEvent, Reason, Records, Shares, Summary};
pub use schema::{APPLICATION_ID, Stranger, VERSION};

use crate::config::Config;
use crate::pools::PoolViews;
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use std::time::Duration;
use tokio::sync::watch;
use writer::{Keeping, Settings, Writer};

/// Hand-overs that may wait, one each quarter of a second: a lock is waited for no longer than these last.
const QUEUE_MAX: usize = 16;
/// How long the last records may take to be written, and sent, when the proxy ends.
pub(crate) const LAST_MAX: Duration = Duration::from_secs(5).saturating_add(central::END_MAX);

/// The running thread.
#[derive(Debug)]
pub struct RecordsHandle {
    keeping: watch::Sender<Keeping>,
    ended: Receiver<()>,
}

/// Starts the thread, named `records`, where the configuration has a file for it. `meter` shows how it goes.
///
/// # Errors
/// A thread cannot be started, or not be prepared to send. Whatever is wrong with the file or with a database is told, counted
/// and tried again, and is no error here: miners come first.
pub fn start(
    config: &Config,
    pools: PoolViews,
    meter: &RecordsMeter,
) -> Result<Option<(RecordsFeed, RecordsHandle)>, FleetError> {
    let Some(file) = config.records.written() else {
        if let Some(database) = &config.records.database {
            tracing::warn!(%database, "nothing is sent, for no records are kept: records.enable and records.file say whether and where");
        }
        return Ok(None);
    };
    let (keeping, kept) = watch::channel(keeping(config));
    let settings = Settings { file: file.to_owned(), keeping: kept };
    let (to, from) = bounded(QUEUE_MAX);
    let (end, ended) = bounded::<()>(0);
    meter.enable();
    let outlet = central::start(config, file, meter.central())?;
    let writer = Writer::new(settings, from, outlet, meter.clone());
    std::thread::Builder::new().name("records".to_owned()).spawn(move || {
        writer.run();
        drop(end);
    })?;
    tracing::info!(file = %file.display(), keep = ?config.limiter.submissions, "records are kept");
    Ok(Some((RecordsFeed::new(to, pools, meter.clone()), RecordsHandle { keeping, ended })))
}

fn keeping(config: &Config) -> Keeping {
    Keeping { term: config.limiter.submissions, bytes_max: config.records.bytes_max }
}

impl RecordsHandle {
    /// Holds the file to what `config` says of how long and how large, from the next time on that old rows are looked for.
    pub fn hold_to(&self, config: &Config) {
        self.keeping.send_replace(keeping(config));
    }

    /// Waits until the last records are written, which begins when the feed is dropped; not forever.
    pub fn stop(self) {
        if self.ended.recv_timeout(LAST_MAX) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the last records are lost: their file does not answer");
        }
    }
}
