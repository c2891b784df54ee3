//! The live feeds: a snapshot a second, over server-sent events and over a WebSocket.
//!
//! One task writes each snapshot once for all who listen. It refuses more than [`LISTENERS_MAX`] of them, and waits for
//! nobody: who does not take a snapshot within [`TAKE_MAX`] is cut.

use super::api::{Api, PoolEntry};
use super::gate::from_here;
use super::refusal::{closing, refuse};
use super::server::Line;
use crate::aggregate::{Snapshot, SnapshotReader};
use crate::events::{Chronicle, Event, Events};
use crate::export::{Figures, Health};
use crate::history::History;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::sse::{Event as Sent, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use futures_core::Stream;
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

/// Who may listen at one time, over both kinds of feed.
pub(super) const LISTENERS_MAX: usize = 32;
/// How often a snapshot is sent.
const EVERY: Duration = Duration::from_secs(1);
/// How long a listener may take to make room for the next one.
const TAKE_MAX: Duration = Duration::from_secs(10);
/// Events in a snapshot.
const EVENTS_SHOWN: usize = 20;
/// Bytes of what a listener may say; nobody reads it.
const HEARD_BYTES_MAX: usize = 1024;

/// What is sent: the figures of `/metrics` as JSON and more beside them.
#[derive(Serialize)]
struct View<'a> {
    unix_milliseconds: u64,
    #[serde(flatten)]
    figures: Figures,
    /// `starting`, `draining`, `degraded` or `ready`.
    state: &'static str,
    /// Miners without a pool connection that wait for one.
    miners_waiting: u64,
    /// Workers known by name.
    workers: u64,
    pools: Vec<PoolEntry>,
    blocked_addresses: usize,
    events: &'a [Event],
}

pub(super) fn view(now: &Snapshot, events: &Events) -> Utf8Bytes {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let view = View {
        unix_milliseconds: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        figures: Figures::of(now),
        state: state(now),
        miners_waiting: now.shell(|shell| shell.waiting),
        workers: now.workers,
        pools: PoolEntry::all(now),
        blocked_addresses: now.blocks.standing,
        events: &events.newest(0, 0, EVENTS_SHOWN).1,
    };
    // Numbers and texts can always be written.
    Utf8Bytes::from(serde_json::to_string(&view).unwrap_or_default())
}

/// The state of `/health`, where a healthy proxy is ready.
fn state(now: &Snapshot) -> &'static str {
    match Health::of(now).status {
        "healthy" => "ready",
        other => other,
    }
}

/// Where listeners hear, and how many there may be.
#[derive(Clone)]
pub(super) struct Live {
    api: Api,
    feed: watch::Receiver<Utf8Bytes>,
    places: Arc<Semaphore>,
}

/// The feeds, and the end that [`keep`] writes to.
pub(super) fn live(api: &Api) -> (Live, watch::Sender<Utf8Bytes>) {
    let (send, feed) = watch::channel(Utf8Bytes::default());
    (Live { api: api.clone(), feed, places: Arc::new(Semaphore::new(LISTENERS_MAX)) }, send)
}

/// Makes the notes of what happens, remembers figures, and makes a snapshot a second while somebody listens. Ends with the aggregator, and with it
/// end the feeds.
pub(super) async fn keep(
    mut snapshots: SnapshotReader,
    events: Events,
    history: History,
    feed: watch::Sender<Utf8Bytes>,
) {
    let mut chronicle = Chronicle::new(events.clone(), &snapshots.latest());
    let mut sent: Option<Instant> = None;
    while let Some(now) = snapshots.next().await {
        chronicle.see(&now);
        history.see(&now, SystemTime::now());
        let is_time = sent.is_none_or(|sent| sent.elapsed() >= EVERY);
        // One receiver is that of the routes.
        if is_time && feed.receiver_count() > 1 {
            sent = Some(Instant::now());
            feed.send_replace(view(&now, &events));
        }
    }
}

/// Both feeds behind the gate.
pub(super) fn router(live: Live) -> Router {
    Router::new()
        .route("/metrics/events", get(events))
        .route("/metrics/stream", get(stream))
        .route_layer(from_fn_with_state(live.api.gate.clone(), from_here))
        .with_state(live)
}

impl Live {
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

fn full() -> Response {
    let told = "as many listen already as may: ask /metrics instead";
    closing(refuse(StatusCode::SERVICE_UNAVAILABLE, told))
}

/// What waits to be sent as server-sent events: one snapshot at most.
struct Waiting(mpsc::Receiver<Utf8Bytes>);

impl Stream for Waiting {
    type Item = Result<Sent, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|view| view.map(|view| Ok(Sent::default().event("snapshot").data(&*view))))
    }
}

async fn events(State(live): State<Live>, line: Option<Extension<Line>>) -> Response {
    let Some(place) = live.place() else { return full() };
    let line = line.map(|Extension(line)| line);
    if let Some(line) = &line {
        line.go_live();
    }
    let (send, waiting) = mpsc::channel(1);
    tokio::spawn(async move {
        if feed_events(&live, send).await.is_err()
            && let Some(line) = line
        {
            line.cut();
        }
        drop(place);
    });
    Sse::new(Waiting(waiting)).into_response()
}

/// A listener that takes nothing.
struct Slow;

async fn feed_events(live: &Live, send: mpsc::Sender<Utf8Bytes>) -> Result<(), Slow> {
    let mut feed = live.feed.clone();
    feed.mark_unchanged();
    let mut next = view(&live.api.snapshots.latest(), &live.api.events);
    loop {
        match timeout(TAKE_MAX, send.send(next)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Slow),
        }
        tokio::select! {
            changed = feed.changed() => if changed.is_err() { return Ok(()) },
            () = send.closed() => return Ok(()),
        }
        next = feed.borrow_and_update().clone();
    }
}

async fn stream(
    State(live): State<Live>,
    line: Option<Extension<Line>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.max_message_size(HEARD_BYTES_MAX).max_frame_size(HEARD_BYTES_MAX),
        Err(rejected) => return refuse(rejected.status(), &rejected.body_text()),
    };
    let Some(place) = live.place() else { return full() };
    if let Some(Extension(line)) = line {
        line.go_live();
    }
    upgrade.on_upgrade(async move |socket| {
        feed_stream(&live, socket).await;
        drop(place);
    })
}

async fn feed_stream(live: &Live, mut socket: WebSocket) {
    let mut feed = live.feed.clone();
    feed.mark_unchanged();
    let mut next = view(&live.api.snapshots.latest(), &live.api.events);
    loop {
        if !matches!(timeout(TAKE_MAX, socket.send(Message::Text(next))).await, Ok(Ok(()))) {
            return;
        }
        loop {
            tokio::select! {
                changed = feed.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => {
                        let _ = timeout(EVERY, socket.send(Message::Close(None))).await;
                        return;
                    }
                },
                // Pings are answered by the library, the rest is read and forgotten.
                heard = socket.recv() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                },
            }
        }
        next = feed.borrow_and_update().clone();
    }
}
