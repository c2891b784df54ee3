//! What each source tells, under the names of the truth. It judges nothing, and reads with no code of the proxy.

use crate::feeds;
use crate::support::{Proxy, finish, http, program};
use crate::truth::{Figures, OTHERS, SWARM};
use serde_json::Value;
use std::net::SocketAddr;

fn add(figures: &mut Figures, name: &str, value: Option<f64>) {
    *figures.entry(name.to_owned()).or_default() += value.unwrap_or(f64::NAN);
}

fn add_counts(figures: &mut Figures, family: &str, counts: &Value) {
    for (reason, count) in counts.as_object().unwrap() {
        add(figures, &format!("{family}.{reason}"), count.as_f64());
    }
}

/// Whose figures those of this worker are.
pub(crate) fn account_of(name: Option<&str>) -> &str {
    match name {
        None => OTHERS,
        Some(name) if name.starts_with("rig.") => SWARM,
        Some(name) => name,
    }
}

/// One GET, as JSON.
pub(crate) fn get(address: SocketAddr, path: &str) -> Value {
    let answer = http(address, path).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    serde_json::from_str(body).unwrap()
}

/// Prometheus text: name, labels as they stand there, value.
pub(crate) struct Scrape(Vec<(String, String, f64)>);

impl Scrape {
    pub(crate) fn of(proxy: &Proxy, path: &str) -> Scrape {
        let answer = http(proxy.metrics, path).unwrap();
        let (_, text) = answer.split_once("\r\n\r\n").unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            (name.to_owned(), labels[..labels.len() - 1].to_owned(), value.parse().unwrap())
        };
        Scrape(lines.map(sample).collect())
    }

    pub(crate) fn sum(&self, name: &str) -> f64 {
        let of_name = self.0.iter().filter(|(own, _, _)| own == name);
        of_name.map(|(_, _, value)| value).sum()
    }

    /// Values by label.
    pub(crate) fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let start = format!("{label}=\"");
        let of_name = self.0.iter().filter(|(own, _, _)| own == name);
        of_name
            .map(|(_, labels, value)| {
                let at = labels.find(&start).unwrap() + start.len();
                // Up to the quote that is not escaped.
                let mut is_escaped = false;
                let end = labels[at..].find(|letter| {
                    let ends = letter == '"' && !is_escaped;
                    is_escaped = letter == '\\' && !is_escaped;
                    ends
                });
                (labels[at..at + end.unwrap()].replace("\\\"", "\""), *value)
            })
            .collect()
    }

    pub(crate) fn labelled(&self, name: &str, labels: &str) -> f64 {
        self.0
            .iter()
            .find(|(own, has, _)| own == name && has == labels)
            .map_or(f64::NAN, |(_, _, value)| *value)
    }
}

/// `/metrics` as Prometheus reads it.
pub(crate) fn prometheus(proxy: &Proxy) -> Figures {
    let (scrape, mut figures) = (Scrape::of(proxy, "/metrics"), Figures::new());
    for (name, metric) in [
        ("connections.total", "connections_total"),
        ("connections.active", "active_connections"),
        ("connections.errors", "connection_errors_total"),
        ("shares.accepted", "shares_accepted_total"),
        ("shares.rejected", "shares_rejected_total"),
        ("shares.refused", "shares_refused_total"),
        ("shares.unanswered", "shares_unanswered_total"),
        ("shares.lost", "shares_lost_total"),
        ("shares.difficulty", "accepted_difficulty_total"),
        ("forwarded", "shares_forwarded_total"),
        ("answered", "submit_response_seconds_count"),
        ("faults", "protocol_errors_total"),
        ("workers", "workers"),
    ] {
        add(&mut figures, name, Some(scrape.sum(&format!("loka_stratum_{metric}"))));
    }
    for (family, metric, label) in [
        ("ended", "connections_ended_total", "reason"),
        ("rejected", "shares_rejected_total", "reason"),
        ("requests", "requests_refused_total", "reason"),
        ("authorizations", "authorizations_total", "result"),
    ] {
        // All reasons are there from the start.
        let occurred = scrape.by(&format!("loka_stratum_{metric}"), label).into_iter();
        for (reason, count) in occurred.filter(|(_, count)| *count > 0.0) {
            add(&mut figures, &format!("{family}.{reason}"), Some(count));
        }
    }
    let submits = scrape.labelled("loka_stratum_messages_received_total", "from=\"miner\",method=\"submit\"");
    add(&mut figures, "submits", Some(submits));
    // Of pools and shards only the sums are known to those who did it.
    for (name, metric) in [
        ("shares.accepted", "pool_shares_accepted_total"),
        ("shares.rejected", "pool_shares_rejected_total"),
        ("shares.lost", "pool_shares_lost_total"),
        ("forwarded", "shard_shares_forwarded_total"),
        ("connections.active", "shard_connections"),
    ] {
        let sum = scrape.sum(&format!("loka_stratum_{metric}"));
        let total = figures[name];
        assert!(sum == total, "{metric}: the sum is {sum} and {name} is {total}");
    }
    figures
}

/// The figures of `/metrics` as JSON, which live feeds tell too.
pub(crate) fn json(told: &Value) -> Figures {
    let mut figures = Figures::new();
    for (name, pointer) in [
        ("connections.total", "/connections/total"),
        ("connections.active", "/connections/active"),
        ("connections.errors", "/connections/errors"),
        ("shares.accepted", "/shares/accepted"),
        ("shares.rejected", "/shares/rejected"),
        ("shares.refused", "/shares/refused"),
        ("shares.unanswered", "/shares/unanswered"),
        ("shares.lost", "/shares/lost"),
        ("shares.difficulty", "/shares/accepted_difficulty"),
        ("forwarded", "/shares/forwarded"),
        ("answered", "/performance/response_time_ms/count"),
        ("faults", "/messages/protocol_errors"),
        ("authorizations.accepted", "/authorizations/accepted"),
        ("authorizations.refused", "/authorizations/refused"),
    ] {
        add(&mut figures, name, told.pointer(pointer).and_then(Value::as_f64));
    }
    add_counts(&mut figures, "ended", &told["connections"]["ended"]);
    add_counts(&mut figures, "rejected", &told["shares"]["rejected_by_reason"]);
    add_counts(&mut figures, "requests", &told["messages"]["refused_by_reason"]);
    for (name, key) in [
        ("connections.total", "accepted"),
        ("connections.active", "connections"),
        ("forwarded", "shares_forwarded"),
        ("shares.accepted", "shares_accepted"),
    ] {
        assert!(sum(&told["shards"], key) == figures[name], "{key} of shards: {told}");
    }
    figures
}

fn sum(items: &Value, key: &str) -> f64 {
    items.as_array().unwrap().iter().map(|item| item[key].as_f64().unwrap()).sum()
}

/// A snapshot of a live feed, with what it has more than `/metrics`.
fn view(told: &Value) -> Figures {
    let mut figures = json(told);
    add(&mut figures, "workers", told["workers"].as_f64());
    pools_agree(&told["pools"], &figures);
    figures
}

fn pools_agree(pools: &Value, figures: &Figures) {
    for key in ["accepted", "rejected"] {
        let (sum, total) = (sum(pools, &format!("shares_{key}")), figures[&format!("shares.{key}")]);
        assert!(sum == total, "{key} of pools: {pools}");
    }
}

/// The first snapshot of the server-sent events.
pub(crate) fn event(proxy: &Proxy) -> Figures {
    view(&feeds::next_event(&mut feeds::events(proxy.metrics)))
}

/// The first snapshot of the WebSocket.
pub(crate) fn frame(proxy: &Proxy) -> Figures {
    view(&feeds::next_frame(&mut feeds::frames(proxy.metrics)))
}

/// Status, pools and shards of the API.
pub(crate) fn rest(proxy: &Proxy) -> Figures {
    let (mut figures, api) = (Figures::new(), |path: &str| get(proxy.metrics, &format!("/api/v1/{path}")));
    add(&mut figures, "connections.active", api("status")["connections"].as_f64());
    let pools = api("pools")["items"].take();
    for key in ["accepted", "rejected"] {
        add(&mut figures, &format!("shares.{key}"), Some(sum(&pools, &format!("shares_{key}"))));
    }
    let shards = api("shards")["items"].take();
    add(&mut figures, "connections.total", Some(sum(&shards, "accepted")));
    add(&mut figures, "forwarded", Some(sum(&shards, "shares_forwarded")));
    assert!(sum(&shards, "connections") == figures["connections.active"], "{shards}");
    assert!(sum(&shards, "shares_accepted") == figures["shares.accepted"], "{shards}");
    figures
}

/// The page of all workers: each of them, and the sums of all.
pub(crate) fn workers(proxy: &Proxy) -> Figures {
    let page = get(proxy.metrics, "/api/v1/workers?limit=1000");
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.len() as u64, page["total"].as_u64().unwrap());
    let mut figures = Figures::new();
    add(&mut figures, "workers", page["known"].as_f64());
    for worker in items.iter().chain([&page["others"]]) {
        let name = account_of(worker["name"].as_str());
        let shares = &worker["shares"];
        for (what, value) in [
            ("connections", &worker["connections"]),
            ("accepted", &shares["accepted"]),
            ("rejected", &shares["rejected"]),
            ("refused", &shares["refused"]),
            ("unanswered", &shares["unanswered"]),
            ("lost", &shares["lost"]),
            ("difficulty", &shares["accepted_difficulty"]),
        ] {
            add(&mut figures, &format!("worker.{name}.{what}"), value.as_f64());
            if what != "connections" {
                add(&mut figures, &format!("shares.{what}"), value.as_f64());
            }
        }
        for (family, counts) in [("rejected", &shares["rejected_by"]), ("refused", &shares["refused_by"])] {
            add_counts(&mut figures, &format!("worker.{name}.{family}"), counts);
            add_counts(&mut figures, family, counts);
        }
    }
    figures
}

/// Workers as Prometheus text, by both orders.
pub(crate) fn worker_metrics(proxy: &Proxy) -> Figures {
    let scrape = Scrape::of(proxy, "/metrics/workers?top=100&by=rejects");
    let mut figures = Figures::new();
    for (what, metric) in [
        ("connections", "connections"),
        ("accepted", "shares_accepted_total"),
        ("rejected", "shares_rejected_total"),
        ("refused", "shares_refused_total"),
    ] {
        for (name, count) in scrape.by(&format!("loka_stratum_worker_{metric}"), "worker") {
            add(&mut figures, &format!("worker.{}.{what}", account_of(Some(&name))), Some(count));
        }
    }
    figures
}

/// The screen of `top --once`: the figures of the whole, and the workers that are on it.
pub(crate) fn top(proxy: &Proxy) -> Figures {
    let url = format!("http://{}", proxy.metrics);
    let output = finish(program().env("COLUMNS", "200").args(["top", "--once", "--url", &url]));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut figures = Figures::new();
    for (name, label) in [
        ("connections.active", "miners"),
        ("connections.errors", "errors"),
        ("shares.accepted", "shares"),
        ("shares.rejected", "rejected"),
        ("shares.refused", "refused"),
        ("workers", "workers"),
    ] {
        add(&mut figures, name, figure(&text, label).parse().ok());
    }
    for row in table(&text, "WORKER ") {
        let (name, cell) = (row.name.as_str(), |title: &str| row.cell(title).parse().ok());
        if account_of(Some(name)) == SWARM {
            continue;
        }
        for (what, title) in [
            ("connections", "CONNS"),
            ("accepted", "ACCEPTED"),
            ("rejected", "REJECTED"),
            ("refused", "REFUSED"),
        ] {
            add(&mut figures, &format!("worker.{name}.{what}"), cell(title));
        }
    }
    for row in table(&text, "POOL ") {
        let of = |what: &str| Some(figures[&format!("shares.{what}")]);
        assert_eq!(row.cell("ACCEPTED").parse().ok(), of("accepted"), "{text}");
        assert_eq!(row.cell("REJECTED").parse().ok(), of("rejected"), "{text}");
    }
    figures
}

/// The figures of the whole that `top` shows under these labels, as they stand there.
pub(crate) fn top_figures<const N: usize>(proxy: &Proxy, labels: [&str; N]) -> [String; N] {
    let url = format!("http://{}", proxy.metrics);
    let output = finish(program().args(["top", "--once", "--url", &url]));
    let text = String::from_utf8(output.stdout).unwrap();
    labels.map(|label| figure(&text, label))
}

/// The figure behind a label of the whole.
fn figure(text: &str, label: &str) -> String {
    let lines = text.lines().skip(1);
    let mut cells = lines.take_while(|line| !line.starts_with("POOL ")).flat_map(|line| {
        let letters: Vec<char> = line.chars().collect();
        letters.chunks(20).map(|cell| cell.iter().collect::<String>()).collect::<Vec<_>>()
    });
    let cell = cells.find(|cell| cell.starts_with(&format!("{label} ")));
    cell.unwrap_or_else(|| panic!("no {label}:\n{text}"))[label.len()..].trim().to_owned()
}

/// A row of a list: its name, and where its cells end.
struct Row {
    name: String,
    head: Vec<char>,
    letters: Vec<char>,
}

impl Row {
    /// The word that ends where this title does.
    fn cell(&self, title: &str) -> String {
        let head: String = self.head.iter().collect();
        let end = head.find(title).unwrap_or_else(|| panic!("no {title}: {head}")) + title.len();
        let before: String = self.letters[..end.min(self.letters.len())].iter().collect();
        before.rsplit(' ').next().unwrap().to_owned()
    }
}

fn table(text: &str, title: &str) -> Vec<Row> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(title));
    let head: Vec<char> = lines.next().unwrap_or_else(|| panic!("no {title}:\n{text}")).chars().collect();
    let is_row = |line: &&str| {
        !line.starts_with(|letter: char| letter.is_ascii_uppercase() || letter == ' ')
            && !line.starts_with("workers ")
    };
    lines
        .take_while(is_row)
        .map(|line| Row {
            name: line.split(' ').next().unwrap().to_owned(),
            head: head.clone(),
            letters: line.chars().collect(),
        })
        .collect()
}
