//! `/api/v1/history`: figures over the last hours, in lines of means. It makes none of them: see [`crate::history`].

use super::api::Api;
use super::refusal::refuse;
use crate::config;
use crate::history::{Metric, RANGE_MAX};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is told where nobody says how much.
const RANGE_DEFAULT: Duration = Duration::from_secs(900);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Names, separated by commas; all where there is none.
    metric: Option<String>,
    /// A time such as `15m`.
    range: Option<String>,
}

#[derive(Serialize)]
struct Told {
    range_seconds: u64,
    step_seconds: u64,
    /// When each step ended.
    unix_milliseconds: Vec<u64>,
    /// One value for each of them; null where nothing is known.
    series: BTreeMap<String, Vec<f32>>,
}

/// `GET /api/v1/history`
pub(super) async fn history(
    State(api): State<Api>,
    asked: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let wanted = match asked {
        Ok(Query(wanted)) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let Some(range) = range(wanted.range.as_deref()) else {
        return refuse(StatusCode::BAD_REQUEST, "range must be a time from 1s to 24h, such as 15m");
    };
    let named = |names: &str| names.split(',').map(Metric::named).collect::<Option<Vec<Metric>>>();
    let metrics: Vec<Metric> = match wanted.metric.as_deref().map(named) {
        None => Metric::ALL.to_vec(),
        // Once each, however often somebody names it.
        Some(Some(metrics)) => {
            Metric::ALL.iter().copied().filter(|metric| metrics.contains(metric)).collect()
        }
        Some(None) => {
            let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.label()).collect();
            let told = format!("metric must be one or more of {}, separated by commas", known.join(", "));
            return refuse(StatusCode::BAD_REQUEST, &told);
        }
    };
    let past = api.history.past(range, &metrics);
    let told = Told {
        range_seconds: range.as_secs(),
        step_seconds: past.step.as_secs(),
        unix_milliseconds: past.unix_milliseconds,
        series: past.series.into_iter().collect(),
    };
    Json(told).into_response()
}

fn range(text: Option<&str>) -> Option<Duration> {
    let Some(text) = text else { return Some(RANGE_DEFAULT) };
    config::duration(text).filter(|range| (Duration::from_secs(1)..=RANGE_MAX).contains(range))
}
