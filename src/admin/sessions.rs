//! The connections of a worker under `/api/v1`, as the shards tell them when somebody asks.

use super::api::{Api, Asked, Page, part};
use super::refusal::{refusal, refuse};
use crate::aggregate::Snapshot;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use loka_proto::WorkerState;
use loka_runtime::SessionView;
use serde::Serialize;

/// One connection.
#[derive(Serialize)]
struct Session {
    shard: usize,
    /// Its name in its shard, as the log tells it.
    client: u64,
    /// Where its miner is; null while a proxy in front has not told it.
    address: Option<String>,
    /// Whether its miner speaks TLS.
    tls: bool,
    connected_seconds: f64,
    agent: Option<String>,
    /// Null while it has no pool.
    pool: Option<String>,
    /// Whether the pool has granted the worker on it; null before its answer.
    authorized: Option<bool>,
    /// Difficulty of its newest job.
    difficulty: Option<f64>,
    /// Shares of the connection, whichever of its workers they are of.
    shares: Shares,
    last_share_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Shares {
    accepted: u32,
    rejected: u32,
    refused: u32,
}

impl Session {
    fn of(shard: usize, view: &SessionView, now: &Snapshot) -> Session {
        let pool = view.pool.and_then(|pool| now.pools.get(pool.index()));
        Session {
            shard,
            client: view.client.0,
            address: view.address.map(|address| address.to_canonical().to_string()),
            tls: view.is_tls,
            connected_seconds: seconds(view.age_us),
            agent: view.agent.as_deref().map(str::to_owned),
            pool: pool.map(|pool| pool.name.clone()),
            authorized: match view.state {
                WorkerState::Asked => None,
                WorkerState::Authorized => Some(true),
                WorkerState::Refused => Some(false),
            },
            difficulty: (view.difficulty > 0.0).then_some(view.difficulty),
            shares: Shares {
                accepted: view.tally.accepted,
                rejected: view.tally.rejected,
                refused: view.tally.refused,
            },
            last_share_seconds: view.accepted_ago_us.map(seconds),
        }
    }
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

/// `GET /api/v1/workers/{name}/sessions`
pub(super) async fn of_worker(
    State(api): State<Api>,
    name: Result<Path<String>, PathRejection>,
    asked: Asked,
) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let part = match part(asked) {
        Ok(part) => part,
        Err(refused) => return refused,
    };
    let found = match api.sessions.of(name.clone()).await {
        Ok(found) => found,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let now = api.snapshots.latest();
    let total = found.iter().map(|found| found.connections).sum();
    if total == 0 {
        match api.workers.worker(name).await {
            Ok(Some(_)) => {}
            Ok(None) => return refusal(StatusCode::NOT_FOUND),
            Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }
    let of_shard = |found: &loka_runtime::SessionsFound| {
        let sessions = found.sessions.iter().map(|view| Session::of(found.shard, view, &now));
        let mut sessions: Vec<Session> = sessions.collect();
        // The oldest first: places in a shard are given again.
        sessions.sort_by_key(|session| session.client);
        sessions
    };
    let items = found.iter().flat_map(of_shard).skip(part.offset()).take(part.limit()).collect();
    Json(Page::<Session>::new(total, part.offset(), items)).into_response()
}
