//! The routes and their answers.

use super::accept::Form;
use super::actions::BODY_BYTES_MAX;
use super::dashboard;
use super::refusal::refusal;
use crate::aggregate::SnapshotReader;
use crate::export::{CONTENT_TYPE, Exposition, Figures, Health};
use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE as TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;

#[derive(Clone)]
struct Admin {
    snapshots: SnapshotReader,
    exposition: Exposition,
    default: Form,
}

/// The routes, with `default` as the form of `/metrics` for clients that do not care.
pub(super) fn router(
    snapshots: SnapshotReader,
    exposition: Exposition,
    default: Form,
    more: Router,
) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Admin { snapshots, exposition, default })
        .merge(dashboard::router())
        .merge(more)
        .method_not_allowed_fallback(|| async { refusal(StatusCode::METHOD_NOT_ALLOWED) })
        .fallback(|| async { refusal(StatusCode::NOT_FOUND) })
        .layer(from_fn(bounds))
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    match Form::choose((!accept.is_empty()).then_some(&accept), admin.default) {
        Form::Json => Json(Figures::of(&admin.snapshots.latest())).into_response(),
        Form::Prometheus => match admin.exposition.text() {
            Ok(text) => ([(TYPE, CONTENT_TYPE)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "cannot write the metrics");
                refusal(StatusCode::INTERNAL_SERVER_ERROR)
            }
        },
    }
}

/// Always 200: the body tells the state. Load balancers ask `/readyz`.
async fn health(State(admin): State<Admin>) -> Json<Health> {
    Json(Health::of(&admin.snapshots.latest()))
}

async fn livez(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.snapshots.latest().is_fresh() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the figures are old: the aggregator hangs\n")
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    let now = admin.snapshots.latest();
    if now.draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if now.is_starting() {
        (StatusCode::SERVICE_UNAVAILABLE, "starting: not every shard has reported\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// A body is taken by the actions of the API alone, and a small one; no answer may be stored or taken for another type.
async fn bounds(request: Request<Body>, next: Next) -> Response {
    let is_action = request.method() == Method::POST && request.uri().path().starts_with("/api/");
    let size = request.body().size_hint();
    let is_taken = if is_action {
        size.upper().is_none_or(|bytes| bytes <= BODY_BYTES_MAX as u64)
    } else {
        size.upper() == Some(0)
    };
    let mut response =
        if is_taken { next.run(request).await } else { refusal(StatusCode::PAYLOAD_TOO_LARGE) };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
