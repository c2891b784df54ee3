//! The admin room: HTTP for people, Prometheus and load balancers, on a thread of its own.
//!
//! It serves at a port of its own, and those whom shards hand over because they speak HTTP where miners connect; either may
//! be off. It reads snapshots, and asks shards for
//! nothing but the connections of one worker. What changes something needs a token, goes through the book of
//! addresses or the supervisor, and is off where no token is configured.

mod accept;
mod actions;
mod api;
mod dashboard;
mod doors;
mod gate;
mod history;
mod live;
mod refusal;
mod routes;
mod server;
mod sessions;
#[cfg(test)]
mod tests;
mod worker_metrics;
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
use crate::sessions::SessionsReader;
use loka_runtime::HttpGuests;
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
    addr: Option<SocketAddr>,
    /// A copy, for the process that may take over.
    listener: Option<TcpListener>,
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
    /// Whom to ask about their connections.
    pub sessions: SessionsReader,
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

/// Binds `addr`, where there is to be a port of its own and no socket of it is `inherited`, and serves what `snapshots` reads there and to `guests` on a thread
/// named `admin`. When this returns, the endpoint can be connected to. Who does not care gets `/metrics` as Prometheus text
/// at that port, and as JSON where miners connect.
///
/// # Errors
/// The address cannot be bound, or the thread cannot be started.
pub fn start(
    addr: Option<SocketAddr>,
    inherited: Option<TcpListener>,
    guests: Option<HttpGuests>,
    snapshots: SnapshotReader,
    controls: Controls,
) -> Result<AdminHandle, AdminError> {
    let events = Events::default();
    let api = api::Api::new(snapshots.clone(), controls, events.clone());
    let (live, feed) = live::live(&api);
    let history = api.history.clone();
    let of_workers = worker_metrics::router(&api);
    let exposition = Exposition::new(snapshots.clone())?;
    let more = api::router(api).merge(live::router(live)).merge(of_workers);
    let app = |form| routes::router(snapshots.clone(), exposition.clone(), form, more.clone());
    let apps = server::Apps { own: app(Form::Prometheus), miners: app(Form::Json) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (bound, listener) = addr.map(|addr| bind(addr, inherited)).transpose()?.unzip();
    let copy = listener.as_ref().and_then(|listener| listener.try_clone().ok());
    let doors = {
        let _within = runtime.enter();
        doors::Doors::new(listener, guests)?
    };
    let (stopping, stopped) = watch::channel(());
    let serve = move || {
        let stopping = stopped.clone();
        runtime.block_on(async {
            tokio::spawn(async move {
                let mut stopping = stopping;
                tokio::select! {
                    () = live::keep(snapshots, events, history, feed) => {}
                    _ = stopping.changed() => {}
                }
            });
            server::serve(doors, apps, stopped).await;
        });
    };
    let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve)?;
    Ok(AdminHandle { addr: bound, listener: copy, stopping, thread })
}

fn bind(addr: SocketAddr, inherited: Option<TcpListener>) -> Result<(SocketAddr, TcpListener), AdminError> {
    let bind = || {
        let listener = inherited.map_or_else(|| TcpListener::bind(addr), Ok)?;
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    };
    bind().map_err(|source| AdminError::Bind { addr, source })
}

impl AdminHandle {
    /// Where it listens, if at a port of its own, which is the one that was given by the system if 0 was asked for.
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// A copy of its listening socket, with its address.
    pub fn listener(&self) -> Option<(SocketAddr, TcpListener)> {
        Some((self.addr?, self.listener.as_ref()?.try_clone().ok()?))
    }

    /// Takes no more connections, lets requests in work be answered for at most a second, and ends the thread.
    pub fn stop(self) {
        drop(self.stopping);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
    }
}
