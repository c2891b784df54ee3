//! The accept loop: hyper with the bounds that `axum::serve` does not set.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections served at once; more wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Bytes a request's head may take.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines a request may have.
const HEADERS_MAX: usize = 64;
/// How long a request's head may take, waiting for its first byte included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live. No answer takes long, so this only cuts those that do not read theirs.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// How long an answer in work may take when its connection is to end.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept: it fails because descriptors or memory are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(HEAD_BYTES_MAX >= 8192, "hyper wants that much");

/// Serves `app` until the sender of `stopped` is dropped.
pub(super) async fn serve(listener: TcpListener, app: Router, mut stopped: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let (stream, place) = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stopped.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        let connection = connection(stream, app.clone(), stopped.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit to come.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // The last piece of a long answer must not wait for an acknowledgement; where that cannot be had, it waits.
                let _ = stream.set_nodelay(true);
                return (stream, place);
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept an admin connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, app: Router, mut stopped: watch::Receiver<()>) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut serving = pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "admin connection ended");
            }
            return;
        }
        () = sleep(CONNECTION_LIFE) => {}
        _ = stopped.changed() => {}
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(CLOSE_GRACE, serving).await;
}
