//! The answer to every request that is not granted: a status and, in JSON, what is wrong.

use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;

/// The body of every error.
#[derive(Serialize)]
struct Refusal<'a> {
    /// What is wrong, in words.
    error: &'a str,
    /// The HTTP status.
    status: u16,
}

/// With the words of HTTP itself.
pub(super) fn refusal(status: StatusCode) -> Response {
    refuse(status, status.canonical_reason().unwrap_or("Error"))
}

/// With words of our own, which must hold no secret.
pub(super) fn refuse(status: StatusCode, error: &str) -> Response {
    (status, Json(Refusal { error, status: status.as_u16() })).into_response()
}

/// The same for one who gets no second request: he would hold a place that others wait for.
pub(super) fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
