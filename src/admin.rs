//! The admin room: HTTP for people, Prometheus and load balancers, on a thread of its own.
//!
//! It reads snapshots and asks no shard for anything. What changes something needs a token, goes through the book of
//! addresses or the supervisor, and is off where no token is configured.

mod accept;
mod actions;
mod api;
mod dashboard;
mod gate;
mod live;
mod refusal;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod workers;

pub use accept::Form;

use crate::aggregate::{SnapshotReader, WorkersReader};
use crate::config::{ApiConfig, InForce};
use crate::events::Events;
use crate::export::Exposition;
use crate::guard::GuardDesk;
use crate::logging::LogLevels;
use crate::refusals::ApiRefusals;
use crate::reload::ReloadDesk;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::watch;

/// Why the endpoint cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("cannot serve metrics on {addr}: {source} (metrics.address and metrics.prometheus_port name it)")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No thread or event queue for it.
    #[error("cannot start the admin thread: {0}")]
    Thread(#[from] io::Error),
    /// The table of metrics is wrong.
    #[error("the table of metrics is wrong: {0}")]
    Table(#[from] prometheus::Error),
}

/// Stands for the running server, which ends when this is dropped.
#[derive(Debug)]
pub struct AdminHandle {
    addr: SocketAddr,
    stopping: watch::Sender<()>,
    thread: JoinHandle<()>,
}

/// What the API may speak to.
#[derive(Clone)]
pub struct Controls {
    /// Where addresses are blocked and kicked.
    pub desk: GuardDesk,
    /// Whom to ask about workers.
    pub workers: WorkersReader,
    /// Asks for the drain.
    pub drain: Arc<dyn Fn() + Send + Sync>,
    /// The configuration in force.
    pub config: watch::Receiver<Arc<[InForce]>>,
    /// Who may ask.
    pub api: watch::Receiver<ApiConfig>,
    /// Counts who may not.
    pub refusals: ApiRefusals,
    /// What is logged.
    pub levels: LogLevels,
    /// Where the configuration is read again.
    pub reload: ReloadDesk,
}

impl std::fmt::Debug for Controls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controls").field("api", &self.api).finish_non_exhaustive()
    }
}

/// Binds `addr` and serves what `snapshots` reads on a thread named `admin`. When this returns, the endpoint can be
/// connected to.
///
/// # Errors
/// The address cannot be bound, or the thread cannot be started.
pub fn start(
    addr: SocketAddr,
    snapshots: SnapshotReader,
    controls: Controls,
) -> Result<AdminHandle, AdminError> {
    let events = Events::default();
    let api = api::Api::new(snapshots.clone(), controls, events.clone());
    let (live, feed) = live::live(&api);
    let exposition = Exposition::new(snapshots.clone())?;
    let more = api::router(api).merge(live::router(live));
    let app = routes::router(snapshots.clone(), exposition, Form::Prometheus, more);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let bind = || {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    };
    let (bound, listener) = bind().map_err(|source| AdminError::Bind { addr, source })?;
    let listener = {
        let _within = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (stopping, stopped) = watch::channel(());
    let serve = move || {
        let stopping = stopped.clone();
        runtime.block_on(async {
            tokio::spawn(async move {
                let mut stopping = stopping;
                tokio::select! {
                    () = live::keep(snapshots, events, feed) => {}
                    _ = stopping.changed() => {}
                }
            });
            server::serve(listener, app, stopped).await;
        });
    };
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
    Ok(AdminHandle { addr: bound, stopping, thread })
}

impl AdminHandle {
    /// Where it listens; the port is the one that was given by the system if 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets requests in work be answered for at most a second, and ends the thread.
    pub fn stop(self) {
        drop(self.stopping);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
    }
}
