//! Workers under `/api/v1`: a page of them, sorted, filtered and searched, or one by its name.
//!
//! The aggregator's thread answers; when too many questions wait there, the answer is 503 and the client asks again.

use super::api::{Api, LIMIT_DEFAULT};
use super::refusal::{refusal, refuse};
use crate::aggregate::{AskError, PAGE_MAX, Snapshot, Window, WorkerQuery, WorkerSort};
use crate::export::{WorkerFigures, WorkersFigures};
use crate::pools::PoolView;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use loka_proto::PoolId;
use serde::Deserialize;
use std::time::Duration;

/// What pages can be sorted by.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    Name,
    #[serde(rename = "hashrate_1m")]
    HashrateMinute,
    #[serde(rename = "hashrate_15m")]
    HashrateQuarter,
    #[serde(rename = "hashrate_24h")]
    HashrateDay,
    Rejects,
    LastShare,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Asc,
    Desc,
}

/// Which workers are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    sort: Sort,
    /// Names from the first, figures from the largest, where nobody says.
    order: Option<Order>,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
    search: Option<String>,
    /// In seconds.
    silent_for: Option<u64>,
    /// The name of a pool.
    pool: Option<String>,
    connected: Option<bool>,
}

impl Wanted {
    /// The question; `None` when there is no such pool.
    fn query(self, now: &Snapshot) -> Option<WorkerQuery> {
        let pool = match &self.pool {
            Some(name) => {
                let is_it = |pool: &PoolView| pool.is_configured && pool.name == *name;
                Some(PoolId::of(now.pools.iter().position(is_it)?))
            }
            None => None,
        };
        let (sort, is_figure) = match self.sort {
            Sort::Name => (WorkerSort::Name, false),
            Sort::HashrateMinute => (WorkerSort::Hashrate(Window::Minute), true),
            Sort::HashrateQuarter => (WorkerSort::Hashrate(Window::Quarter), true),
            Sort::HashrateDay => (WorkerSort::Hashrate(Window::Day), true),
            Sort::Rejects => (WorkerSort::Rejects, true),
            Sort::LastShare => (WorkerSort::LastShare, true),
        };
        let descending = match self.order {
            Some(Order::Asc) => false,
            Some(Order::Desc) => true,
            None => is_figure,
        };
        Some(WorkerQuery {
            sort,
            descending,
            skip: self.offset,
            take: self.limit.unwrap_or(LIMIT_DEFAULT).min(PAGE_MAX),
            search: self.search,
            silent_for: self.silent_for.map(Duration::from_secs),
            pool,
            connected: self.connected,
        })
    }
}

/// `GET /api/v1/workers`
pub(super) async fn page(State(api): State<Api>, asked: Result<Query<Wanted>, QueryRejection>) -> Response {
    let wanted = match asked {
        Ok(Query(wanted)) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let (now, offset) = (api.snapshots.latest(), wanted.offset);
    let Some(query) = wanted.query(&now) else {
        return refuse(StatusCode::BAD_REQUEST, "there is no pool of this name");
    };
    match api.workers.page(query).await {
        Ok(page) => Json(WorkersFigures::of(&page, offset, &now)).into_response(),
        Err(error) => unanswered(error),
    }
}

/// `GET /api/v1/workers/{name}`
pub(super) async fn one(State(api): State<Api>, name: Result<Path<String>, PathRejection>) -> Response {
    let name = match name {
        Ok(Path(name)) => name,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    match api.workers.worker(name).await {
        Ok(Some(worker)) => Json(WorkerFigures::of(&worker, &api.snapshots.latest())).into_response(),
        Ok(None) => refusal(StatusCode::NOT_FOUND),
        Err(error) => unanswered(error),
    }
}

fn unanswered(error: AskError) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
