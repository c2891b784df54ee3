//! T10, T11 and T12: a pool that says what old firmware does not survive, to the real binary with an honest miner behind it.

use crate::honest::{Honest, pool, proxy};
use crate::support::until;

/// What no miner may ever hear; each is kept back and counted, and the connection stays.
fn hostile() -> Vec<String> {
    let mut lines = notifies();
    for params in ["[-1]", "[0]", "[\"many\"]", "[]", "[null]", "[[1]]"] {
        lines.push(format!(r#"{{"id":null,"method":"mining.set_difficulty","params":{params}}}"#));
    }
    let long = "ab".repeat(29);
    for params in [
        r#"["zz",4]"#.to_owned(),
        r#"["abc",4]"#.to_owned(),
        r#"["ab",-1]"#.to_owned(),
        r#"["ab",0]"#.to_owned(),
        r#"["ab",17]"#.to_owned(),
        r#"["ab",4294967300]"#.to_owned(),
        r#"["ab",4.5]"#.to_owned(),
        format!(r#"["{long}",4]"#),
    ] {
        lines.push(format!(r#"{{"id":null,"method":"mining.set_extranonce","params":{params}}}"#));
    }
    let host = "h".repeat(5_000);
    for params in [
        r#"["thief.example",3333,0]"#.to_owned(),
        r#"["127.0.0.66",3333]"#.to_owned(),
        format!(r#"["{host}.example",3333,0]"#),
        r#"["thief.example",0,0]"#.to_owned(),
        r#"["thief.example",70000,0]"#.to_owned(),
        r#"["thief.example",3333,-5]"#.to_owned(),
        r#"["thief.example\u0000.pool.example",3333,0]"#.to_owned(),
        r#"[{"host":"thief.example"}]"#.to_owned(),
    ] {
        lines.push(format!(r#"{{"id":null,"method":"client.reconnect","params":{params}}}"#));
    }
    let text = "t".repeat(10_000);
    for params in [r#"["\u001b[31mowned"]"#.to_owned(), format!(r#"["{text}"]"#), "[7]".to_owned()] {
        lines.push(format!(r#"{{"id":null,"method":"client.show_message","params":{params}}}"#));
    }
    for method in ["mining.set_version_mask", "mining.run", "client.upgrade"] {
        lines.push(format!(r#"{{"id":null,"method":"{method}","params":["zz"]}}"#));
    }
    lines
}

/// Jobs, each wrong in one place.
fn notifies() -> Vec<String> {
    let hash = "0".repeat(64);
    let good = [
        r#""evil""#.to_owned(),
        format!(r#""{hash}""#),
        r#""01000000""#.to_owned(),
        r#""ffffffff""#.to_owned(),
        format!(r#"["{hash}"]"#),
        r#""20000000""#.to_owned(),
        r#""1703a30c""#.to_owned(),
        r#""5e8c1e2a""#.to_owned(),
        "true".to_owned(),
    ];
    let branches = format!("[{}]", vec![format!("\"{hash}\""); 33].join(","));
    let wrong = [
        (0, "null"),
        (0, "[]"),
        (1, r#""00""#),
        (1, r#""""#),
        (2, r#""zz""#),
        (2, r#""abc""#),
        (2, "7"),
        (3, "{}"),
        (4, "null"),
        (4, r#"["00"]"#),
        (4, r#"[["00"]]"#),
        (4, branches.as_str()),
        (5, r#""2000""#),
        (5, "536870912"),
        (6, r#""1703a30cff""#),
        (7, r#""5e8c1e2""#),
        (7, "-1"),
        (8, r#""true""#),
        (8, "1"),
    ];
    let line = |params: &[String]| {
        format!(r#"{{"id":null,"method":"mining.notify","params":[{}]}}"#, params.join(","))
    };
    let mut lines: Vec<String> = wrong
        .iter()
        .map(|(place, value)| {
            let mut params = good.to_vec();
            params[*place] = (*value).to_owned();
            line(&params)
        })
        .collect();
    lines.extend((0..9).map(|count| line(&good[..count])));
    lines
}

#[test]
fn nothing_hostile_of_a_pool_reaches_a_miner() {
    let pool = pool();
    let proxy = proxy(&pool, &[]);
    let mut honest = Honest::start(&proxy);
    let lines = hostile();
    for line in &lines {
        assert_eq!(pool.broadcast(line), 1, "the connection is gone before {line:.200}");
    }
    until("all are kept back", || {
        proxy.metric("loka_stratum_pool_messages_filtered_total") == lines.len() as f64
    });
    pool.notify(false);
    let heard = honest.miner.read_line().unwrap();
    let heard: serde_json::Value = serde_json::from_str(&heard).unwrap();
    assert_eq!(
        (heard["method"].as_str(), heard["params"][0] == "evil"),
        (Some("mining.notify"), false),
        "{heard}"
    );
    assert_eq!(heard["params"].as_array().map(Vec::len), Some(9));
    honest.share();
    assert_eq!(pool.report().connections_accepted, 1, "it went nowhere else");
    assert_eq!(proxy.metric("loka_stratum_connections_ended_total"), 0.0);
}
