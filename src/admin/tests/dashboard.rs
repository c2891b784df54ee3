//! The page: who gets it, what it may load, and that what its script reads is what the proxy tells.

use super::*;
use crate::admin::dashboard::ASSETS;
use crate::admin::live::view;
use crate::aggregate::tests::worker;
use crate::events::{EventKind, Events};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";
const SCRIPT: &str = include_str!("../dashboard/page.js");
const PAGE: &str = include_str!("../dashboard/page.html");

#[test]
fn browsers_get_the_page_and_others_the_index() {
    let site = site();
    let (status, head, body) = site.get("/", BROWSER);
    assert_eq!(status, 200);
    assert!(body.starts_with("<!DOCTYPE html>"), "{body}");
    for line in [
        "content-type: text/html; charset=utf-8",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "vary: accept",
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    for (path, accept) in [("/", ""), ("/", "Accept: */*\r\n"), ("/help", BROWSER)] {
        let (status, head, body) = site.get(path, accept);
        assert_eq!((status, body.starts_with("loka-stratum\n")), (200, true), "{path}");
        assert!(head.contains("content-type: text/plain"), "{head}");
    }
}

#[test]
fn all_that_the_page_loads_is_ours() {
    let site = site();
    for (path, kind, text) in ASSETS {
        let (status, head, body) = site.get(path, "");
        assert_eq!((status, body.as_str()), (200, text), "{path}");
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(head.contains("nosniff") && head.contains("default-src 'none'"), "{path}: {head}");
        let is_loaded = ASSETS.iter().any(|(_, _, other)| other.contains(&format!("\".{path}\"")));
        assert!(is_loaded || PAGE.contains(&format!("\"{path}\"")), "{path} is loaded by nobody");
    }
    for text in ASSETS.iter().map(|(_, _, text)| *text).chain([PAGE]) {
        let foreign = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("://"), "it names another host");
    }
    // The policy would not run them.
    for inline in ["<script>", "<style", "style=", " onclick", " onload", "javascript:"] {
        assert!(!PAGE.contains(inline), "{inline}");
    }
    for markup in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(ASSETS.iter().all(|(_, _, text)| !text.contains(markup)), "{markup}");
    }
}

/// What the script reads of `name`: `shares.accepted` of `view.shares.accepted`, without what it calls.
fn read_of(name: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for (at, _) in SCRIPT.match_indices(&format!("{name}.")) {
        if SCRIPT[..at].ends_with(|before: char| is_word(before) || before == '.') {
            continue;
        }
        let rest = &SCRIPT[at + name.len() + 1..];
        let end = rest.find(|letter: char| !is_word(letter) && letter != '.').unwrap_or(rest.len());
        let mut path: Vec<&str> = rest[..end].split('.').collect();
        if rest[end..].starts_with('(') || path.last() == Some(&"length") {
            path.pop();
        }
        found.insert(path.join("."));
    }
    assert!(!found.is_empty(), "nothing is read of {name}");
    found
}

fn check(name: &str, told: &Value) {
    for path in read_of(name) {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(
            told.pointer(&pointer).is_some(),
            "the script reads {name}.{path}, which is not told: {told}"
        );
    }
}

#[test]
fn what_the_script_reads_is_told() {
    let (post, aggregator) = running(1);
    let mut told = report(0);
    told.workers = vec![worker("farm.rig")];
    post.send(told);
    let now = wait_for(aggregator.snapshots(), |now| now.workers == 1);
    let events = Events::default();
    events.add(EventKind::Kick, "somebody was kicked");
    let seen: Value = serde_json::from_str(&view(&now, &events)).unwrap();
    assert_eq!((&seen["state"], &seen["workers"]), (&json!("ready"), &json!(1)));
    check("view", &seen);
    check("pool", &seen["pools"][0]);
    check("shard", &seen["shards"][0]);
    check("note", &seen["events"][0]);
    let (status, list) = api::answer("/api/v1/workers");
    assert_eq!(status, 200);
    check("list", &list);
    check("worker", &list["items"][0]);
    check("block", &api::one_block());
    // The metrics that it asks for, as it names them.
    let asked = SCRIPT.split("/api/v1/history?").nth(1).unwrap().split('&').next().unwrap();
    let (status, history) = api::answer(&format!("/api/v1/history?{asked}"));
    assert_eq!(status, 200);
    check("history", &history);
}

#[test]
fn every_element_that_the_script_fills_is_in_the_page() {
    let mut ids = 0;
    for call in ["at(\"", "show(\"", "fill(\"", "empty(\""] {
        for rest in SCRIPT.split(call).skip(1) {
            let id = rest.split('"').next().unwrap();
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "the page has no {id}");
            ids += 1;
        }
    }
    assert!(ids > 20, "{ids}");
}
