//! What can be read under `/api/v1`: the state of the whole and of its parts, in pages where a list can be long.
//!
//! It reads the latest figures and asks the book of addresses; no answer holds a secret, and none but one asks a shard
//! (`sessions`).

use super::gate::{Gate, from_here, with_token};
use super::refusal::refuse;
use super::{Controls, actions, history, sessions, workers};
use crate::aggregate::{PoolShown, Snapshot, SnapshotReader, WorkersReader};
use crate::config::InForce;
use crate::events::{EVENTS_MAX, Event, Events};
use crate::export::{Figures, Health, Shard};
use crate::guard::{Block, GuardDesk, PAGE_MAX, WishError};
use crate::history::History;
use crate::logging::LogLevels;
use crate::reload::ReloadDesk;
use crate::sessions::SessionsReader;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get, post};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// What the routes are made of, for programs as well.
const DOCUMENT: &str = include_str!("openapi.json");
/// Entries of a page where nobody says how many.
pub(super) const LIMIT_DEFAULT: usize = 100;

/// What the handlers work with.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) snapshots: SnapshotReader,
    pub(super) desk: GuardDesk,
    pub(super) workers: WorkersReader,
    pub(super) sessions: SessionsReader,
    pub(super) events: Events,
    pub(super) history: History,
    pub(super) gate: Gate,
    pub(super) config: watch::Receiver<Arc<[InForce]>>,
    pub(super) drain: Arc<dyn Fn() + Send + Sync>,
    pub(super) levels: LogLevels,
    pub(super) reload: ReloadDesk,
}

impl Api {
    pub(super) fn new(snapshots: SnapshotReader, controls: Controls, events: Events) -> Api {
        let Controls { desk, workers, sessions, drain, config, api, refusals, levels, reload } = controls;
        let (history, gate) = (History::default(), Gate::new(api, refusals));
        Api { snapshots, desk, workers, sessions, events, history, gate, config, drain, levels, reload }
    }
}

/// Every route with its method; the document is held against this.
pub(super) fn routes(api: &Api) -> Vec<(&'static str, &'static str, MethodRouter<Api>)> {
    let action =
        |handler: MethodRouter<Api>| handler.route_layer(from_fn_with_state(api.gate.clone(), with_token));
    vec![
        ("get", "/api/v1/status", get(status)),
        ("get", "/api/v1/pools", get(pools)),
        ("get", "/api/v1/shards", get(shards)),
        ("get", "/api/v1/workers", get(workers::page)),
        ("get", "/api/v1/workers/{name}", get(workers::one)),
        ("get", "/api/v1/workers/{name}/sessions", get(sessions::of_worker)),
        ("get", "/api/v1/blocks", get(blocks)),
        ("get", "/api/v1/events", get(events)),
        ("get", "/api/v1/history", get(history::history)),
        ("get", "/api/v1/config", get(config)),
        ("get", "/api/v1/openapi.json", get(document)),
        ("post", "/api/v1/block", action(post(actions::block))),
        ("post", "/api/v1/unblock", action(post(actions::unblock))),
        ("post", "/api/v1/kick", action(post(actions::kick))),
        ("post", "/api/v1/reload", action(post(actions::reload))),
        ("post", "/api/v1/drain", action(post(actions::drain))),
        ("post", "/api/v1/log_level", action(post(actions::log_level))),
    ]
}

/// All of them behind the gate.
pub(super) fn router(api: Api) -> Router {
    let mut router = Router::new();
    for (_, path, handler) in routes(&api) {
        router = router.route(path, handler);
    }
    router.route_layer(from_fn_with_state(api.gate.clone(), from_here)).with_state(api)
}

/// Which part of a list is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
    /// Of events: only those numbered above.
    #[serde(default)]
    after: u64,
}

impl Part {
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMIT_DEFAULT).min(PAGE_MAX)
    }
}

/// A part of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    /// How long the whole list is.
    total: usize,
    offset: usize,
    items: Vec<T>,
}

impl<T> Page<T> {
    pub(super) fn new(total: usize, offset: usize, items: Vec<T>) -> Page<T> {
        Page { total, offset, items }
    }
}

pub(super) type Asked = Result<Query<Part>, QueryRejection>;

fn page_of<T: Serialize>(asked: Asked, all: Vec<T>) -> Response {
    let part = match part(asked) {
        Ok(part) => part,
        Err(refused) => return refused,
    };
    let total = all.len();
    let items = all.into_iter().skip(part.offset).take(part.limit()).collect();
    Json(Page { total, offset: part.offset, items }).into_response()
}

#[allow(clippy::result_large_err, reason = "the error is the answer, made once for a wrong request")]
pub(super) fn part(asked: Asked) -> Result<Part, Response> {
    let told = |error: QueryRejection| refuse(StatusCode::BAD_REQUEST, &error.body_text());
    asked.map(|Query(part)| part).map_err(told)
}

#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    health: Health,
    /// Whether it is about to end.
    draining: bool,
    /// Miners without a pool connection that wait for one.
    miners_waiting: u64,
    /// Addresses kept out now.
    blocked_addresses: usize,
    /// Whether there is an `api.token`, without which nothing can be changed.
    actions: bool,
    /// What is logged; null where the program that runs the proxy logs by itself.
    log_level: Option<String>,
}

async fn status(State(api): State<Api>) -> Response {
    let now = api.snapshots.latest();
    let status = Status {
        health: Health::of(&now),
        draining: now.draining,
        miners_waiting: now.shell(|shell| shell.waiting),
        blocked_addresses: now.blocks.standing,
        actions: api.gate.has_actions(),
        log_level: api.levels.now().map(|filter| filter.to_string()),
    };
    Json(status).into_response()
}

/// One pool.
#[derive(Serialize)]
pub(super) struct PoolEntry {
    name: String,
    endpoint: String,
    priority: u32,
    weight: u32,
    state: &'static str,
    cause: String,
    state_seconds: u64,
    addresses: usize,
    connections: u64,
    shares_accepted: u64,
    shares_rejected: u64,
}

impl PoolEntry {
    /// All pools, in the order of the configuration.
    pub(super) fn all(now: &Snapshot) -> Vec<PoolEntry> {
        let entry = |PoolShown { view, stats, links }: PoolShown<'_>| PoolEntry {
            name: view.name.clone(),
            endpoint: view.endpoint.clone(),
            priority: view.priority,
            weight: view.weight,
            state: view.state.label(),
            cause: view.cause.clone(),
            state_seconds: now.taken.saturating_duration_since(view.since).as_secs(),
            addresses: view.addresses,
            connections: links,
            shares_accepted: stats.accepted,
            shares_rejected: stats.rejected,
        };
        now.pools_shown().map(entry).collect()
    }
}

async fn pools(State(api): State<Api>, asked: Asked) -> Response {
    page_of(asked, PoolEntry::all(&api.snapshots.latest()))
}

async fn shards(State(api): State<Api>, asked: Asked) -> Response {
    let shards: Vec<Shard> = Figures::of(&api.snapshots.latest()).shards;
    page_of(asked, shards)
}

/// One address that is kept out.
#[derive(Serialize)]
pub(super) struct BlockEntry {
    address: String,
    /// Seconds since it began.
    seconds: u64,
    /// Seconds until it ends.
    seconds_left: u64,
    offences: u32,
}

impl BlockEntry {
    pub(super) fn of(block: &Block) -> BlockEntry {
        let now = Instant::now();
        BlockEntry {
            address: told(block.address),
            seconds: now.saturating_duration_since(block.since).as_secs(),
            seconds_left: block.until.saturating_duration_since(now).as_secs(),
            offences: block.offences,
        }
    }
}

/// An address as it is told: an IPv6 address stands for its /64.
pub(super) fn told(address: std::net::IpAddr) -> String {
    if address.is_ipv6() { format!("{address}/64") } else { address.to_string() }
}

async fn blocks(State(api): State<Api>, asked: Asked) -> Response {
    let part = match part(asked) {
        Ok(part) => part,
        Err(refused) => return refused,
    };
    match api.desk.blocks(part.offset, part.limit()).await {
        Ok(page) => {
            let items = page.blocks.iter().map(BlockEntry::of).collect();
            Json(Page::<BlockEntry> { total: page.total, offset: part.offset, items }).into_response()
        }
        Err(error) => not_granted(error),
    }
}

pub(super) fn not_granted(error: WishError) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

async fn events(State(api): State<Api>, asked: Asked) -> Response {
    let part = match part(asked) {
        Ok(part) => part,
        Err(refused) => return refused,
    };
    let (total, items) = api.events.newest(part.after, part.offset, part.limit().min(EVENTS_MAX));
    Json(Page::<Event> { total, offset: part.offset, items }).into_response()
}

async fn config(State(api): State<Api>) -> Response {
    let keys = api.config.borrow().to_vec();
    Json(serde_json::json!({ "keys": keys })).into_response()
}

async fn document() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response()
}
