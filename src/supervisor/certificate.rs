//! The certificate that miners are shown: read at the start, and again when its files have changed.
//!
//! A new pair that does not fit changes nothing: miners go on being shown the last good one.

use crate::config::{ServerTls, TlsVersion};
use crate::pools::tls::{TlsSetupError, server_config};
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use rustls::ServerConfig;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often the files are looked at. Programs that renew certificates do it days ahead.
const LOOK: Duration = Duration::from_secs(2);

/// Reads certificate and key.
///
/// # Errors
/// [`TlsSetupError`]
pub(super) fn read(tls: &ServerTls) -> Result<Certificate, TlsSetupError> {
    // Before the files are read: a pair that comes meanwhile is noticed.
    let stamps = stamps(tls);
    Ok(Certificate { config: load(tls)?, stamps })
}

fn load(tls: &ServerTls) -> Result<Arc<ServerConfig>, TlsSetupError> {
    server_config(&tls.cert_file, &tls.key_file, tls.min_version == TlsVersion::V1_3)
}

/// A certificate, and what its files were when it was read.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) config: Arc<ServerConfig>,
    stamps: Stamps,
}

type Stamps = [Option<Stamp>; 2];

/// What tells a file from another one in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let facts: Metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { inode: facts.ino(), size: facts.size(), changed: (facts.ctime(), facts.ctime_nsec()) })
}

fn stamps(tls: &ServerTls) -> Stamps {
    [stamp(&tls.cert_file), stamp(&tls.key_file)]
}

/// Looks at the files on a thread of its own. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct CertificateWatch {
    _stop: Sender<()>,
}

impl CertificateWatch {
    /// `changed` is called with each new certificate, and says whether it was taken.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        tls: &ServerTls,
        first: &Certificate,
        changed: impl Fn(Arc<ServerConfig>) -> bool + Send + 'static,
    ) -> io::Result<CertificateWatch> {
        let (stop, stopped) = bounded::<()>(1);
        let tls = tls.clone();
        let mut known = first.stamps;
        let mut complained = known;
        let watch = move || {
            while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let now = stamps(&tls);
                if now == known {
                    continue;
                }
                match load(&tls) {
                    Ok(config) if changed(Arc::clone(&config)) => {
                        known = now;
                        tracing::info!("miners are shown the new certificate");
                    }
                    // It is offered again at the next look.
                    Ok(_) => {}
                    Err(error) if complained != now => {
                        complained = now;
                        tracing::warn!(%error, "miners are still shown the last good certificate");
                    }
                    // It is read again: half of a new pair, or a shortage of descriptors, is over soon.
                    Err(_) => {}
                }
            }
        };
        std::thread::Builder::new().name("certificate".to_owned()).spawn(watch)?;
        Ok(CertificateWatch { _stop: stop })
    }
}
