//! The dashboard: one page with its script and its look, all of it in the binary.
//!
//! It refuses to load anything from elsewhere or to run a script that stands in the page: its policy forbids both, so that
//! what a miner calls itself stays a text whatever it is. The page changes nothing; what it shows it asks of the live feed
//! and the API, which have their gate.

use super::accept::wants_html;
use axum::Router;
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// What clients without a browser get at `/`, and everybody at `/help`.
const HELP: &str = "\
loka-stratum

/         the dashboard, for browsers; this text for others
/help     this text
/metrics  figures as Prometheus text, or as JSON with `Accept: application/json`
/health   state of the proxy as JSON
/livez    200 while the figures are being collected
/readyz   200 when every shard has reported and no drain runs

/api/v1/  status, pools, shards, workers, blocks, events, history, config; openapi.json tells all of it
/metrics/workers?top=20
          the strongest workers as Prometheus text
/metrics/events, /metrics/stream
          figures each second as server-sent events, over a WebSocket
";

/// Scripts, styles and figures of this host alone, no form, no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("dashboard/page.html");
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the page is made of: path, type, text.
pub(super) const ASSETS: [(&str, &str, &str); 6] = [
    ("/dashboard.css", "text/css; charset=utf-8", include_str!("dashboard/page.css")),
    ("/dashboard.js", SCRIPT, include_str!("dashboard/page.js")),
    ("/dashboard-chart.js", SCRIPT, include_str!("dashboard/chart.js")),
    ("/dashboard-format.js", SCRIPT, include_str!("dashboard/format.js")),
    ("/dashboard-table.js", SCRIPT, include_str!("dashboard/table.js")),
    ("/dashboard.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
];

/// The page and what it loads.
pub(super) fn router() -> Router {
    let mut router = Router::new().route("/", get(front)).route("/help", get(|| async { HELP }));
    for (path, kind, text) in ASSETS {
        router = router.route(path, get(move || async move { sent(kind, text) }));
    }
    router
}

/// The page for whoever prefers it to plain text, as browsers do and curl does not.
async fn front(headers: HeaderMap) -> Response {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let accept = accept.collect::<Vec<_>>().join(",");
    let mut response = if wants_html(&accept) { sent(HTML, PAGE) } else { HELP.into_response() };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

fn sent(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &'static str); 3] =
        [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")];
    (headers, text).into_response()
}
