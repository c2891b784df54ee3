//! Random messages, ids, values and dialogues, whole and broken.

use crate::common::Event;
use loka_proto::PoolLoss;
use loka_proto::limits::ID_BYTES_MAX;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

pub(crate) const JOB: &str = r#"["1a","a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4","01","ff",[],"20000000","17034219","66a1b2c3",true]"#;

pub(crate) const MINER_METHODS: &[&str] = &[
    "mining.subscribe",
    "mining.authorize",
    "mining.submit",
    "mining.configure",
    "mining.extranonce.subscribe",
    "mining.suggest_difficulty",
    "mining.suggest_target",
    "mining.get_transactions",
    "mining.multi_version",
    "mining.capabilities",
    "mining.term",
    "mining.ping",
    "pong",
    "client.show_message",
    "x",
];

pub(crate) const POOL_METHODS: &[&str] = &[
    "mining.notify",
    "mining.set_difficulty",
    "mining.set_extranonce",
    "mining.set_version_mask",
    "client.reconnect",
    "client.show_message",
    "client.get_version",
    "mining.ping",
    "mining.submit",
    "x",
];

/// A string of any characters as JSON, in one of the spellings that encoders choose between.
pub(crate) fn json_string(text: &str, escape_all: bool) -> String {
    if !escape_all {
        return Value::from(text).to_string();
    }
    let units = text.encode_utf16().map(|unit| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii_alphanumeric() || b"._-+ ".contains(&byte) => char::from(byte).to_string(),
        Ok(_) | Err(_) => format!("\\u{unit:04x}"),
    });
    format!("\"{}\"", units.collect::<String>())
}

/// Any id that is not too long, as written. Integers beyond 64 bits are left out: the parser refuses the whole line.
pub(crate) fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (0_u64..9).prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,8})\\.[0-9]{1,9}([eE][+-]?[0-9]{1,2})?",
        (any::<String>(), any::<bool>()).prop_map(|(text, escaped)| json_string(&text, escaped)),
        Just("null".to_owned()),
    ]
    .prop_filter("longer than an id may be", |id| id.len() <= ID_BYTES_MAX)
}

/// Any JSON value, a few levels deep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e300..1e300_f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9a-f]{0,40}".prop_map(Value::from),
        "[a-z]{1,9}[._][a-z0-9]{1,9}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 11, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..11).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// What stands for an id in a message, so that answers often find a request.
fn some_id() -> impl Strategy<Value = String> {
    let ids: &[&str] = &[
        "\"id\":1,",
        "\"id\":2,",
        "\"id\":4,",
        "\"id\":4,",
        "\"id\":\"a\",",
        "\"id\":null,",
        "\"id\":1.0,",
        "",
    ];
    select(ids).prop_map(String::from)
}

fn miner_line() -> impl Strategy<Value = String> {
    let bodies: &[&str] = &[
        r#""method":"mining.subscribe","params":["a/1"]}"#,
        r#""method":"mining.authorize","params":["acct.w","x"]}"#,
        r#""method":"mining.authorize","params":["acct.v"]}"#,
        r#""method":"mining.submit","params":["acct.w","1a","00000001","66a1b2c3","b2957c02"]}"#,
        r#""method":"mining.submit","params":["acct.w","1a","00000002","66a1b2c3","1","00004000"]}"#,
        r#""method":"mining.submit","params":["acct.w","1a","01","66a1b2c3","b2957c02"]}"#,
        r#""method":"mining.submit","params":["acct.w"]}"#,
        r#""method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#,
        r#""method":"mining.extranonce.subscribe","params":[]}"#,
        r#""method":"mining.suggest_difficulty","params":[1]}"#,
        r#""method":"pong"}"#,
        r#""method":"x.y","params":{"a":[1]}}"#,
        r#""method":"client.reconnect","params":[]}"#,
        r#""result":true,"error":null}"#,
        r#""method":"mining.ping""#,
        r#""a":"\ud800"}"#,
    ];
    (some_id(), select(bodies)).prop_map(|(id, body)| format!("{{{id}{body}"))
}

fn pool_line() -> impl Strategy<Value = String> {
    let notify = format!("\"method\":\"mining.notify\",\"params\":{JOB}}}");
    let mut bodies = vec![notify];
    let others = [
        r#""result":true,"error":null}"#,
        r#""result":true,"error":null}"#,
        r#""result":null,"error":[23,"low",null]}"#,
        r#""result":[[["mining.notify","1"]],"f000002e",4],"error":null}"#,
        r#""result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#,
        r#""method":"mining.set_difficulty","params":[512]}"#,
        r#""method":"mining.set_difficulty","params":[0]}"#,
        r#""method":"mining.set_extranonce","params":["f000002e",4]}"#,
        r#""method":"mining.set_version_mask","params":["00c00000"]}"#,
        r#""method":"client.reconnect","params":["evil.example.net",1]}"#,
        r#""method":"client.show_message","params":["hi"]}"#,
        r#""method":"mining.ping"}"#,
        r#""params":[]}"#,
    ];
    bodies.extend(others.into_iter().map(String::from));
    // What ends a link is rare, or nothing else would be seen.
    let ends = [r#""result":true"#, r#""result":[],"error":null}"#, r#""method":"client.reconnect"}"#];
    let body = prop_oneof![40 => select(bodies), 1 => select(ends.map(String::from).to_vec())];
    (some_id(), body).prop_map(|(id, body)| format!("{{{id}{body}"))
}

fn lines(line: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    let ends = select(["\n", "\n", "\n", "\r\n", "\n\n", " \n"].as_slice());
    prop::collection::vec((line, ends), 1..6)
        .prop_map(|lines| lines.into_iter().map(|(line, end)| line + end).collect::<String>().into_bytes())
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => lines(miner_line()).prop_map(Event::Miner),
        12 => lines(pool_line()).prop_map(Event::Pool),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Event::Miner),
        4 => (0..2_usize).prop_map(Event::PoolUp),
        3 => (0_u64..40_000_000).prop_map(|us| Event::Wait { us }),
        1 => Just(Event::MinerEof),
        1 => Just(Event::Drain { us: 3_000_000 }),
        1 => Just(Event::PoolDown(PoolLoss::Closed)),
    ]
}

/// A miner that greeted and has work.
pub(crate) fn greeting() -> Vec<Event> {
    let miner = r#"{"id":1,"method":"mining.subscribe"}
{"id":2,"method":"mining.authorize","params":["acct.w","x"]}
"#;
    let pool = format!(
        "{}\n{}\n{{\"method\":\"mining.notify\",\"params\":{JOB}}}\n",
        r#"{"id":1,"result":[[["mining.notify","1"]],"f000002e",4],"error":null}"#,
        r#"{"id":2,"result":true,"error":null}"#,
    );
    vec![Event::Miner(miner.into()), Event::PoolUp(0), Event::Pool(pool.into_bytes())]
}

/// What happens to a link: mostly one that greeted, with anything after that.
pub(crate) fn dialogue() -> impl Strategy<Value = Vec<Event>> {
    let events = prop::collection::vec(event(), 1..24);
    (prop::bool::weighted(0.75), events)
        .prop_map(|(greeted, events)| if greeted { [greeting(), events].concat() } else { events })
}
