//! Each route of the API, each refusal, and the document against the routes; without sockets.

use crate::admin::Controls;
use crate::admin::api::{Api, router, routes};
use crate::aggregate::tests::running;
use crate::aggregate::{AggregatorHandle, Snapshot};
use crate::config::{ApiConfig, Secret};
use crate::events::Events;
use crate::guard::{self, GuardBook, GuardLimits, Wishes};
use crate::sessions::SessionsReader;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use loka_proto::{ClientId, PoolId, Tally, WorkerState};
use loka_runtime::{Command, SessionView, SessionsFound, mailbox};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tower::ServiceExt;

const TOKEN: &str = "0123456789abcdef";
const AUTH: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");

/// Controls that lead to a book of the test's own; what they wish is granted by [`Wishes::grant`].
pub(super) fn controls(token: &str) -> (Controls, Wishes, Arc<AtomicU32>) {
    let (desk, wishes) = guard::desk();
    let drains = Arc::new(AtomicU32::new(0));
    let drained = Arc::clone(&drains);
    let controls = Controls {
        desk,
        workers: crate::aggregate::tests::nobody(),
        sessions: SessionsReader::new(&[]),
        drain: Arc::new(move || {
            drained.fetch_add(1, Ordering::Relaxed);
        }),
        config: tokio::sync::watch::channel(Arc::from([])).1,
        api: tokio::sync::watch::channel(ApiConfig { token: Secret::new(token), hosts: Vec::new() }).1,
        refusals: Default::default(),
        levels: Default::default(),
        reload: Default::default(),
    };
    (controls, wishes, drains)
}

struct Site {
    app: Router,
    api: Api,
    drains: Arc<AtomicU32>,
    runtime: tokio::runtime::Runtime,
    _aggregator: AggregatorHandle,
    ended: Arc<AtomicU32>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Site {
    fn new(token: &str) -> Site {
        Self::asking(token, SessionsReader::new(&[]))
    }

    fn asking(token: &str, sessions: SessionsReader) -> Site {
        let (post, aggregator) = running(1);
        let mut report = crate::aggregate::tests::report(0);
        report.workers =
            vec![crate::aggregate::tests::worker("farm.rig"), crate::aggregate::tests::worker("rack/1")];
        post.send(report);
        crate::aggregate::tests::wait_for(aggregator.snapshots(), Snapshot::is_ready);
        let (mut controls, wishes, drains) = controls(token);
        (controls.workers, controls.sessions) = (aggregator.workers(), sessions);
        let api = Api::new(aggregator.snapshots(), controls, Events::default());
        let ended = Arc::new(AtomicU32::new(0));
        let stop = Arc::clone(&ended);
        // Stands for the aggregator's thread, which owns the book.
        let thread = std::thread::spawn(move || {
            let limits = GuardLimits { connections_max: None, term: Duration::from_secs(3600) };
            let (mut book, mut kicks) = (GuardBook::new(limits, Instant::now()), 0);
            while stop.load(Ordering::Relaxed) == 0 {
                wishes.grant(&mut book, Instant::now(), &mut |_| {
                    kicks += 1;
                    true
                });
                std::thread::yield_now();
            }
            kicks
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let app = router(api.clone()).merge(crate::admin::worker_metrics::router(&api));
        let thread = Some(thread);
        Site { app, api, drains, runtime, _aggregator: aggregator, ended, thread }
    }

    fn ask(&self, request: Request<Body>) -> (u16, Value) {
        let answer = self.runtime.block_on(async {
            let response = self.app.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            (status, to_bytes(response.into_body(), 1 << 20).await.unwrap())
        });
        (answer.0, serde_json::from_slice(&answer.1).unwrap_or(Value::Null))
    }

    fn text(&self, path: &str, host: &str) -> (u16, String) {
        let request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
        self.runtime.block_on(async {
            let response = self.app.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            (status, String::from_utf8(bytes.to_vec()).unwrap())
        })
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Request::get(path).header("host", "localhost").body(Body::empty()).unwrap())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let mut request = Request::post(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/json");
        self.ask(request.body(Body::from(body.to_owned())).unwrap())
    }

    fn act(&self, action: &str, body: &Value) -> (u16, Value) {
        self.post(&format!("/api/v1/{action}"), &[AUTH], &body.to_string())
    }

    /// Ends the book's thread; how often it was asked to kick.
    fn kicks(mut self) -> usize {
        self.ended.store(1, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.ended.store(1, Ordering::Relaxed);
    }
}

/// What the API says to a question, for tests elsewhere.
pub(super) fn answer(path: &str) -> (u16, Value) {
    Site::new("").get(path)
}

/// A blocked address as the API tells it.
pub(super) fn one_block() -> Value {
    Site::new(TOKEN).act("block", &json!({"address": "192.0.2.1"})).1["block"].clone()
}

fn document() -> Value {
    serde_json::from_str(include_str!("../openapi.json")).unwrap()
}

#[test]
fn the_document_tells_every_route_and_no_other() {
    let site = Site::new(TOKEN);
    let routed: BTreeSet<(String, String)> =
        routes(&site.api).into_iter().map(|(method, path, _)| (path.to_owned(), method.to_owned())).collect();
    let document = document();
    let told: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(routed, told);
    for (path, method) in told {
        // The method is the one that the route has.
        let other = if method == "get" { site.post(&path, &[AUTH], "{}") } else { site.get(&path) };
        assert_eq!(other.0, 405, "{method} {path}");
    }
}

/// The keys of an answer are those that the document tells.
fn check_shape(document: &Value, schema: &Value, answer: &Value, place: &str) {
    let schema = match schema["$ref"].as_str() {
        Some(name) => &document["components"]["schemas"][name.rsplit('/').next().unwrap()],
        None => schema,
    };
    if let (Some(properties), Some(keys)) = (schema["properties"].as_object(), answer.as_object()) {
        let told: BTreeSet<&String> = properties.keys().collect();
        let given: BTreeSet<&String> = keys.keys().collect();
        assert_eq!(told, given, "{place}");
        for (key, value) in keys {
            check_shape(document, &properties[key], value, &format!("{place}.{key}"));
        }
    }
    for item in answer.as_array().into_iter().flatten() {
        check_shape(document, &schema["items"], item, place);
    }
}

#[test]
fn answers_have_the_shape_that_the_document_tells() {
    let site = Site::new(TOKEN);
    let document = document();
    let check = |method: &str, path: &str, status: &str, answer: (u16, Value)| {
        assert_eq!(answer.0.to_string(), status, "{path}: {}", answer.1);
        let content = &document["paths"][path][method]["responses"][status]["content"];
        check_shape(&document, &content["application/json"]["schema"], &answer.1, path);
    };
    let address = json!({"address": "192.0.2.1"});
    check("post", "/api/v1/block", "200", site.act("block", &address));
    check("post", "/api/v1/kick", "200", site.act("kick", &address));
    for path in
        ["status", "pools", "shards", "workers", "blocks", "events", "history", "config", "openapi.json"]
    {
        let path = format!("/api/v1/{path}");
        check("get", &path, "200", site.get(&path));
    }
    check("post", "/api/v1/unblock", "200", site.act("unblock", &address));
    check("post", "/api/v1/unblock", "404", site.act("unblock", &address));
    // This process was started from no configuration that could be read again.
    check("post", "/api/v1/reload", "503", site.act("reload", &json!({})));
    check("post", "/api/v1/drain", "202", site.act("drain", &json!({})));
    assert_eq!(site.drains.load(Ordering::Relaxed), 1);
    // This process has no log of ours: the level cannot be changed, and that is told.
    check("post", "/api/v1/log_level", "503", site.act("log_level", &json!({"level": "debug"})));
    assert_eq!(site.kicks(), 2, "a block kicks too");
}

#[test]
fn workers_are_listed_and_found_by_name() {
    let site = Site::new(TOKEN);
    let document = document();
    let (status, one) = site.get("/api/v1/workers/rack%2F1");
    assert_eq!((status, one["name"].as_str(), one["connections"].as_u64()), (200, Some("rack/1"), Some(1)));
    check_shape(&document, &document["components"]["schemas"]["Worker"], &one, "worker");
    let (status, page) =
        site.get("/api/v1/workers?search=RACK&sort=rejects&order=asc&connected=true&limit=9");
    assert_eq!((status, page["total"].as_u64(), page["known"].as_u64()), (200, Some(1), Some(2)));
    assert_eq!(page["items"][0]["name"], "rack/1");
    assert_eq!(site.get("/api/v1/workers?pool=pool&silent_for=1").1["total"], 0);
    for (path, status) in [
        ("workers/nobody", 404),
        ("workers/%ff", 400),
        ("workers?sort=colour", 400),
        ("workers?pool=nowhere", 400),
        ("workers?page=2", 400),
        ("workers?limit=-1", 400),
    ] {
        assert_eq!(site.get(&format!("/api/v1/{path}")).0, status, "{path}");
    }
}

#[test]
fn the_connections_of_a_worker_are_those_that_shards_tell() {
    let (shard, end, _) = mailbox(0);
    let site = Site::asking(TOKEN, SessionsReader::new(&[Arc::new(end)]));
    let view = |client: u64| SessionView {
        client: ClientId(client),
        address: Some("::ffff:192.0.2.7".parse().unwrap()),
        is_tls: true,
        age_us: 2_500_000,
        agent: Some("cgminer".into()),
        state: WorkerState::Authorized,
        pool: Some(PoolId::of(0)),
        difficulty: 512.0,
        tally: Tally::default(),
        accepted_ago_us: Some(500_000),
    };
    // Stands for the shard.
    let is_over = Arc::new(AtomicU32::new(0));
    let ended = Arc::clone(&is_over);
    let thread = std::thread::spawn(move || {
        while ended.load(Ordering::Relaxed) == 0 {
            if let Some(Command::Sessions(question)) = shard.next_command() {
                let is_known = question.worker() == "farm.rig";
                let sessions = if is_known { vec![view(9), view(4)] } else { Vec::new() };
                let connections = if is_known { 300 } else { 0 };
                question.answer(SessionsFound { shard: 0, connections, sessions });
            }
            std::thread::yield_now();
        }
    });
    let (status, page) = site.get("/api/v1/workers/farm.rig/sessions");
    assert_eq!((status, &page["total"], &page["offset"]), (200, &json!(300), &json!(0)));
    let document = document();
    let path = "/api/v1/workers/{name}/sessions";
    let told = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
    check_shape(&document, told, &page, path);
    let one = json!({
        "shard": 0, "client": 4, "address": "192.0.2.7", "tls": true, "connected_seconds": 2.5, "agent": "cgminer",
        "pool": "pool", "authorized": true, "difficulty": 512.0, "last_share_seconds": 0.5,
        "shares": { "accepted": 0, "rejected": 0, "refused": 0 },
    });
    assert_eq!((&page["items"][0], &page["items"][1]["client"]), (&one, &json!(9)));
    let rest = site.get("/api/v1/workers/farm.rig/sessions?offset=1&limit=5").1;
    assert_eq!((&rest["items"][0]["client"], rest["items"].as_array().unwrap().len()), (&json!(9), 1));
    for (path, status) in [
        ("rack%2F1/sessions", 200),
        ("nobody/sessions", 404),
        ("%ff/sessions", 400),
        ("rack%2F1/sessions?by=x", 400),
    ] {
        assert_eq!(site.get(&format!("/api/v1/workers/{path}")).0, status, "{path}");
    }
    is_over.store(1, Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn workers_are_metrics_only_for_who_asks_and_may() {
    let site = Site::new(TOKEN);
    let (status, text) = site.text("/metrics/workers?top=1", "localhost");
    assert_eq!(status, 200);
    let workers = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("loka_stratum_worker_connections{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(workers(&text), [r#"loka_stratum_worker_connections{worker="farm.rig"} 1"#]);
    assert_eq!(workers(&site.text("/metrics/workers?by=rejects", "localhost").1).len(), 2);
    for (query, host, status) in [
        ("top=0", "localhost", 400),
        ("top=101", "localhost", 400),
        ("by=colour", "localhost", 400),
        ("workers=1", "localhost", 400),
        ("top=100", "localhost", 200),
        ("top=1", "rebound.example", 403),
    ] {
        assert_eq!(site.text(&format!("/metrics/workers?{query}"), host).0, status, "{query} {host}");
    }
}

#[test]
fn history_is_told_by_metric_and_range() {
    let site = Site::new(TOKEN);
    let mut now = Snapshot::clone(&site._aggregator.snapshots().latest());
    for second in 0..=60 {
        now.taken += Duration::from_secs(1);
        now.stats.counts.shares.accepted += 5;
        site.api.history.see(&now, std::time::UNIX_EPOCH + Duration::from_secs(1_000_000 + second));
    }
    let (status, told) = site.get("/api/v1/history?metric=accepted,response_p50_ms,accepted&range=20s");
    assert_eq!((status, &told["step_seconds"], &told["range_seconds"]), (200, &json!(2), &json!(20)));
    let (moments, series) = (told["unix_milliseconds"].as_array().unwrap(), &told["series"]);
    assert_eq!((moments.len(), moments[9].as_u64()), (10, Some(1_000_060_000)));
    assert_eq!(
        (series["accepted"].as_array().unwrap(), series.as_object().unwrap().len()),
        (&vec![json!(5.0); 10], 2)
    );
    assert_eq!(series["response_p50_ms"][0], Value::Null, "nobody has answered");
    let (_, all) = site.get("/api/v1/history?range=24h");
    assert_eq!((&all["step_seconds"], all["unix_milliseconds"].as_array().unwrap().len()), (&json!(30), 2));
    assert!(all["series"]["pool_hashrate/pool"].is_array() && all["series"]["shard_busy/0"].is_array());
    for wrong in ["metric=colour", "metric=", "range=0", "range=25h", "range=soon", "step=1"] {
        assert_eq!(site.get(&format!("/api/v1/history?{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn addresses_are_blocked_listed_and_let_in_again() {
    let site = Site::new(TOKEN);
    for host in 1..=5 {
        let (status, answer) =
            site.act("block", &json!({"address": format!("192.0.2.{host}"), "seconds": 60, "kick": false}));
        assert_eq!((status, answer["block"]["offences"].as_u64()), (200, Some(1)));
    }
    let (_, answer) = site.act("block", &json!({"address": "2001:db8::1"}));
    assert_eq!(answer["block"]["address"], "2001:db8::/64");
    let (status, page) = site.get("/api/v1/blocks?offset=1&limit=2");
    assert_eq!((status, page["total"].as_u64(), page["items"].as_array().unwrap().len()), (200, Some(6), 2));
    assert_eq!(page["items"][0]["address"], "192.0.2.5");
    assert_eq!(site.act("unblock", &json!({"address": "2001:db8::ffff"})).0, 200);
    assert_eq!(site.get("/api/v1/blocks").1["total"], 5);
    let (_, events) = site.get("/api/v1/events");
    assert_eq!(events["items"][0]["text"], "2001:db8::/64 is let in again");
    assert_eq!(site.kicks(), 1);
}

#[test]
fn who_has_no_token_changes_nothing() {
    let body = r#"{"address":"192.0.2.1"}"#;
    let site = Site::new(TOKEN);
    for (headers, status) in [
        (&[][..], 401),
        (&[("authorization", "Bearer 0123456789abcdeX")], 401),
        (&[("authorization", "Basic 0123456789abcdef")], 401),
        (&[AUTH, AUTH], 401),
    ] {
        let (told, answer) = site.post("/api/v1/kick", headers, body);
        assert_eq!((told, answer["status"].as_u64()), (status, Some(u64::from(status))), "{headers:?}");
    }
    assert_eq!(site.kicks(), 0);
    let off = Site::new("");
    let (status, answer) = off.act("drain", &json!({}));
    assert_eq!(status, 403);
    assert!(answer["error"].as_str().unwrap().contains("set api.token"), "{answer}");
    assert_eq!(off.drains.load(Ordering::Relaxed), 0);
    assert_eq!(off.get("/api/v1/status").1["actions"], false);
}

#[test]
fn other_hosts_and_other_sites_are_refused() {
    let site = Site::new(TOKEN);
    let with = |host: &str, origin: Option<&str>| {
        let mut request = Request::get("/api/v1/status").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        site.ask(request.body(Body::empty()).unwrap()).0
    };
    assert_eq!(with("127.0.0.1:9090", None), 200);
    assert_eq!(with("rebound.example", None), 403);
    assert_eq!(with("localhost:9090", Some("http://localhost:9090")), 200);
    assert_eq!(with("localhost:9090", Some("http://evil.example")), 403);
    // A good token is no pass for a page of another site.
    let foreign = [AUTH, ("origin", "http://evil.example")];
    assert_eq!(site.post("/api/v1/drain", &foreign, "{}").0, 403);
    assert_eq!(site.drains.load(Ordering::Relaxed), 0);
}

#[test]
fn wrong_bodies_and_parameters_are_told() {
    let site = Site::new(TOKEN);
    for (action, body) in [
        ("kick", ""),
        ("kick", "{"),
        ("kick", "[]"),
        ("kick", r#"{"address":"192.0.2.1","more":1}"#),
        ("kick", r#"{"address":"192.0.2.0/24"}"#),
        ("kick", r#"{"address":"farm.example"}"#),
        ("kick", r#"{"address":"0.0.0.0"}"#),
        ("kick", r#"{"address":7}"#),
        ("block", r#"{"address":"192.0.2.1","seconds":0}"#),
        ("block", r#"{"address":"192.0.2.1","seconds":31536001}"#),
        ("block", r#"{"address":"192.0.2.1","seconds":-1}"#),
        ("log_level", r#"{"level":"loud"}"#),
        ("drain", r#"{"now":true}"#),
    ] {
        let (status, answer) = site.post(&format!("/api/v1/{action}"), &[AUTH], body);
        assert_eq!(status, 400, "{action} {body}: {answer}");
        assert!(!answer["error"].as_str().unwrap().is_empty());
    }
    let large = format!(r#"{{"address":"{}"}}"#, "1".repeat(20_000));
    assert_eq!(site.post("/api/v1/kick", &[AUTH], &large).0, 413);
    let form = Request::post("/api/v1/drain").header("host", "localhost").header(AUTH.0, AUTH.1);
    assert_eq!(site.ask(form.header("content-type", "text/plain").body("{}".into()).unwrap()).0, 415);
    for part in ["offset=-1", "limit=x", "page=1"] {
        assert_eq!(site.get(&format!("/api/v1/shards?{part}")).0, 400, "{part}");
    }
    assert_eq!(site.get("/api/v1/shards?offset=18446744073709551615").1["items"], json!([]));
    assert_eq!((site.kicks(), 0), (0, 0));
}
