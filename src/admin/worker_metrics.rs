//! `/metrics/workers`: a few workers as Prometheus text, for a scrape job of its own. It stands behind the gate of the API,
//! since it tells names; `/metrics` holds no worker.

use super::api::Api;
use super::gate::from_here;
use super::refusal::{refusal, refuse};
use crate::aggregate::{Window, WorkerQuery, WorkerSort};
use crate::export::{CONTENT_TYPE, workers_text};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE as TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use serde::Deserialize;

/// Workers that are told where nobody says how many.
const TOP_DEFAULT: usize = 20;
/// The most that are told: each is a series of each family, for ever.
const TOP_MAX: usize = 100;

/// Which workers come first.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    #[default]
    Hashrate,
    Rejects,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    top: Option<usize>,
    #[serde(default)]
    by: By,
}

pub(super) fn router(api: &Api) -> Router {
    Router::new()
        .route("/metrics/workers", get(workers))
        .route_layer(from_fn_with_state(api.gate.clone(), from_here))
        .with_state(api.clone())
}

async fn workers(State(api): State<Api>, asked: Result<Query<Wanted>, QueryRejection>) -> Response {
    let wanted = match asked {
        Ok(Query(wanted)) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let take = wanted.top.unwrap_or(TOP_DEFAULT);
    if !(1..=TOP_MAX).contains(&take) {
        return refuse(StatusCode::BAD_REQUEST, &format!("top must be from 1 to {TOP_MAX}"));
    }
    let sort = match wanted.by {
        By::Hashrate => WorkerSort::Hashrate(Window::Quarter),
        By::Rejects => WorkerSort::Rejects,
    };
    let query = WorkerQuery { sort, descending: true, take, ..WorkerQuery::default() };
    let page = match api.workers.page(query).await {
        Ok(page) => page,
        Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    match workers_text(&page) {
        Ok(text) => ([(TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics of workers");
            refusal(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
