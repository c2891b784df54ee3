//! What can be changed under `/api/v1`, each by a POST with a small JSON body. Who may is decided before, at the gate.
//!
//! Every action is a note among the events and a line of the log.

use super::api::{Api, BlockEntry, not_granted, told};
use super::refusal::{refusal, refuse};
use crate::events::EventKind;
use crate::logging::LogLevelError;
use crate::reload::{ReloadError, Reloaded};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;

/// Bytes that the body of a request may have.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;
/// The longest term of a block.
const SECONDS_MAX: u64 = 365 * 86_400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blocking {
    address: String,
    /// For how long; a term that grows with each offence where nobody says.
    seconds: Option<u64>,
    /// Whether connections that are open end too.
    #[serde(default = "yes")]
    kick: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfAddress {
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfLevel {
    level: String,
}

/// An answer that was made early.
type Refused = Box<Response>;

/// The body as what the action takes.
async fn body<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Refused> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // What a form of a web page can send is not taken.
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let told = "the body must be JSON, with Content-Type: application/json";
        return Err(Box::new(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, told)));
    }
    let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| Box::new(refusal(StatusCode::PAYLOAD_TOO_LARGE)))?;
    serde_json::from_slice(&bytes).map_err(|error| bad(&format!("the body is not what this takes: {error}")))
}

fn bad(told: &str) -> Refused {
    Box::new(refuse(StatusCode::BAD_REQUEST, told))
}

fn address(text: &str) -> Result<IpAddr, Refused> {
    let parsed = text.parse::<IpAddr>();
    let address =
        parsed.map_err(|_| bad("address must be an IP address, such as 192.0.2.7 or 2001:db8::7"))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(bad("nobody connects from this address"));
    }
    Ok(address)
}

/// The answer, whether it was made early or not.
fn answer(result: Result<Response, Refused>) -> Response {
    result.unwrap_or_else(|refused| *refused)
}

pub(super) async fn block(State(api): State<Api>, request: Request<Body>) -> Response {
    answer(try_block(&api, request).await)
}

async fn try_block(api: &Api, request: Request<Body>) -> Result<Response, Refused> {
    let Blocking { address: text, seconds, kick } = body(request).await?;
    let address = address(&text)?;
    if seconds.is_some_and(|seconds| seconds == 0 || seconds > SECONDS_MAX) {
        return Err(bad("seconds must be 1 to 31536000, a year"));
    }
    let granted = api.desk.block(address, seconds.map(Duration::from_secs)).await;
    let block = granted.map_err(|error| Box::new(not_granted(error)))?;
    tracing::warn!(address = told(block.address), seconds, kick, "an operator blocks an address");
    let connections = if kick {
        let kicked = api.desk.kick(address).await;
        kicked.map_err(|error| Box::new(not_granted(error)))?.connections
    } else {
        0
    };
    let entry = BlockEntry::of(&block);
    Ok(Json(json!({ "block": entry, "kicked": connections })).into_response())
}

pub(super) async fn unblock(State(api): State<Api>, request: Request<Body>) -> Response {
    answer(try_unblock(&api, request).await)
}

async fn try_unblock(api: &Api, request: Request<Body>) -> Result<Response, Refused> {
    let OfAddress { address: text } = body(request).await?;
    let address = address(&text)?;
    let was_blocked = api.desk.unblock(address).await.map_err(|error| Box::new(not_granted(error)))?;
    if !was_blocked {
        return Err(Box::new(refuse(StatusCode::NOT_FOUND, "this address is not blocked")));
    }
    let address = told(loka_runtime::host_of(address));
    tracing::warn!(address, "an operator lets an address in again");
    api.events.add(EventKind::Unblock, &format!("{address} is let in again"));
    Ok(Json(json!({ "address": address })).into_response())
}

pub(super) async fn kick(State(api): State<Api>, request: Request<Body>) -> Response {
    answer(try_kick(&api, request).await)
}

async fn try_kick(api: &Api, request: Request<Body>) -> Result<Response, Refused> {
    let OfAddress { address: text } = body(request).await?;
    let kicked = api.desk.kick(address(&text)?).await.map_err(|error| Box::new(not_granted(error)))?;
    let (address, connections) = (told(kicked.address), kicked.connections);
    tracing::warn!(address, connections, "an operator kicks an address");
    api.events.add(EventKind::Kick, &format!("{address} is kicked: {connections} connections"));
    Ok(Json(json!({ "address": address, "connections": connections })).into_response())
}

pub(super) async fn reload(State(api): State<Api>, request: Request<Body>) -> Response {
    if let Err(refused) = body::<Nothing>(request).await {
        return *refused;
    }
    match api.reload.reload("API").await {
        Ok(Reloaded { changes, warnings }) => {
            Json(json!({ "changes": changes, "warnings": warnings })).into_response()
        }
        Err(error) => {
            let status = match error {
                ReloadError::Busy | ReloadError::Off | ReloadError::Ended => StatusCode::SERVICE_UNAVAILABLE,
                ReloadError::Config(_)
                | ReloadError::Pools(_)
                | ReloadError::Roster(_)
                | ReloadError::Alerts(_)
                | ReloadError::Certificate(_) => StatusCode::UNPROCESSABLE_ENTITY,
            };
            refuse(status, &error.to_string())
        }
    }
}

pub(super) async fn drain(State(api): State<Api>, request: Request<Body>) -> Response {
    if let Err(refused) = body::<Nothing>(request).await {
        return *refused;
    }
    (api.drain)();
    (StatusCode::ACCEPTED, Json(json!({ "draining": true }))).into_response()
}

pub(super) async fn log_level(State(api): State<Api>, request: Request<Body>) -> Response {
    answer(try_log_level(&api, request).await)
}

async fn try_log_level(api: &Api, request: Request<Body>) -> Result<Response, Refused> {
    let OfLevel { level } = body(request).await?;
    let level = api.levels.set(&level).map_err(|error| match error {
        LogLevelError::Filter(told) => bad(&told),
        LogLevelError::NoLog => Box::new(refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())),
    })?;
    let level = level.to_string();
    tracing::warn!(level, "an operator changes the level of the log");
    api.events.add(EventKind::LogLevel, &format!("the level of the log is {level}"));
    Ok(Json(json!({ "level": level })).into_response())
}
