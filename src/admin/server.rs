//! The loop that serves those who come: hyper with the bounds that `axum::serve` does not set, over all that come, at
//! whichever port.

use super::doors::{Arrival, Doors, Port};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io::Cursor;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, join};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

/// Connections served at once; more wait in the kernel's queue, and at the shards' door.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Bytes a request's head may take.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines a request may have.
const HEADERS_MAX: usize = 64;
/// How long a request's head may take, waiting for its first byte included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live that hears no live feed. No answer takes long, so this only cuts those that do not read
/// theirs.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// How long an answer in work may take when its connection is to end.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Bytes that may wait in the kernel for a peer that does not read; it takes twice as many.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

const _: () = assert!(HEAD_BYTES_MAX >= 8192, "hyper wants that much");

/// One connection, as handlers of its requests see it.
#[derive(Debug, Clone)]
pub(super) struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    local: Option<SocketAddr>,
    /// Given back when it goes live: the feeds have places of their own.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    is_live: AtomicBool,
    cut: Notify,
}

impl Line {
    fn new(local: Option<SocketAddr>, place: Option<OwnedSemaphorePermit>) -> Line {
        let (place, is_live, cut) = (Mutex::new(place), AtomicBool::new(false), Notify::new());
        Line(Arc::new(Inner { local, place, is_live, cut }))
    }

    /// The address at which it was taken.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.0.local
    }

    /// From now on it may live as long as it likes.
    pub(super) fn go_live(&self) {
        self.0.is_live.store(true, Ordering::Relaxed);
        drop(self.0.place.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Ends it at once.
    pub(super) fn cut(&self) {
        self.0.cut.notify_one();
    }

    fn is_live(&self) -> bool {
        self.0.is_live.load(Ordering::Relaxed)
    }
}

/// What is served where.
#[derive(Clone)]
pub(super) struct Apps {
    /// At the port of its own.
    pub(super) own: Router,
    /// Where miners connect.
    pub(super) miners: Router,
}

/// Serves those who come until the sender of `stopped` is dropped.
pub(super) async fn serve(doors: Doors, apps: Apps, mut stopped: watch::Receiver<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let (arrival, place) = tokio::select! {
            admitted = admit(&doors, &places) => admitted,
            _ = stopped.changed() => break,
        };
        while connections.try_join_next().is_some() {}
        let line = Line::new(arrival.stream.local_addr().ok(), place);
        let app = match arrival.port {
            Port::Own => &apps.own,
            Port::Miners => &apps.miners,
        };
        connections.spawn(connection(arrival, app.clone(), line, stopped.clone()));
    }
    drop(doors);
    while connections.join_next().await.is_some() {}
}

async fn admit(doors: &Doors, places: &Arc<Semaphore>) -> (Arrival, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit to come.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let arrival = doors.next().await;
    // The last piece of a long answer must not wait for an acknowledgement; where that cannot be had, it waits.
    let _ = arrival.stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&arrival.stream, SEND_BUFFER_BYTES);
    (arrival, place)
}

async fn connection(arrival: Arrival, app: Router, line: Line, mut stopped: watch::Receiver<()>) {
    // What it has said already comes before what it goes on to say.
    let (reads, writes) = arrival.stream.into_split();
    let stream = join(Cursor::new(arrival.said).chain(reads), writes);
    let shown = line.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(shown.clone());
        app.clone().oneshot(request.map(Body::new))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let mut life = pin!(sleep(CONNECTION_LIFE));
    let mut is_old = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "admin connection ended");
                }
                return;
            }
            () = &mut life, if !is_old => {
                is_old = true;
                if !line.is_live() {
                    break;
                }
            }
            () = line.0.cut.notified() => return,
            _ = stopped.changed() => break,
        }
    }
    serving.as_mut().graceful_shutdown();
    let _ = timeout(CLOSE_GRACE, serving).await;
}
