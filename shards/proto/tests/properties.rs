//! Laws that hold for whatever comes: any split means the same, ids come back as written, nothing panics, nothing
//! grows without bound, and an account's name never becomes another's.

mod common;
#[path = "common/generate.rs"]
mod generate;

use common::{Event, Harness};
use generate::{JOB, MINER_METHODS, POOL_METHODS, dialogue, greeting, id, json_string, value};
use loka_proto::limits::{ANSWER_US, ID_BYTES_MAX, USER_BYTES_MAX, USER_REPLACED_BYTES_MAX};
use loka_proto::{Policy, PoolPolicy, UserRule};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

fn cases(count: u32) -> ProptestConfig {
    // A failure prints its smallest case; a file of old seeds beside the sources would be written by a test run.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

fn policy(extranonce: bool) -> Policy {
    let pool =
        PoolPolicy { extranonce, host: "pool.example.com".into(), port: 3333, ..PoolPolicy::default() };
    Policy::for_pool(pool)
}

/// A session with its pool up and its greeting done; what was said so far is forgotten.
fn at_work(policy: Policy) -> Harness {
    let mut harness = Harness::new(policy);
    for event in greeting() {
        harness.event(&event);
    }
    harness.to_miner.clear();
    harness.to_pool.clear();
    harness
}

fn says(harness: &mut Harness, line: &str) {
    harness.event(&Event::Miner(format!("{line}\n").into_bytes()));
}

fn pool_says(harness: &mut Harness, line: &str) {
    harness.event(&Event::Pool(format!("{line}\n").into_bytes()));
}

/// Hands bytes over in pieces whose sizes come from `sizes`, again and again.
fn in_pieces(bytes: &[u8], sizes: &[usize], mut then: impl FnMut(Vec<u8>)) {
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        then(piece.to_vec());
        rest = after;
    }
}

fn message(id: &str, method: &str, params: &str) -> String {
    format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}")
}

proptest! {
    #![proptest_config(cases(12_000))]

    /// The first law.
    #[test]
    fn any_split_of_the_same_bytes_means_the_same(
        events in dialogue(),
        sizes in prop::collection::vec(1_usize..40, 1..8),
        extranonce: bool,
    ) {
        let (mut whole, mut split) = (Harness::new(policy(extranonce)), Harness::new(policy(extranonce)));
        for event in &events {
            whole.event(event);
            match event {
                Event::Miner(bytes) => in_pieces(bytes, &sizes, |piece| split.event(&Event::Miner(piece))),
                Event::Pool(bytes) => in_pieces(bytes, &sizes, |piece| split.event(&Event::Pool(piece))),
                Event::PoolUp(_) | Event::PoolDown(_) | Event::MinerEof | Event::Drain { .. } | Event::Wait { .. } => {
                    split.event(event);
                }
            }
            prop_assert_eq!(&whole.intents, &split.intents);
            prop_assert_eq!(String::from_utf8_lossy(&whole.to_miner), String::from_utf8_lossy(&split.to_miner));
            prop_assert_eq!(String::from_utf8_lossy(&whole.to_pool), String::from_utf8_lossy(&split.to_pool));
            prop_assert_eq!(format!("{:?}", whole.stats.counts), format!("{:?}", split.stats.counts));
            prop_assert_eq!(whole.session.requests_pending(), split.session.requests_pending());
        }
        prop_assert_eq!(whole.stats.submit_us, split.stats.submit_us);
    }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn ids_come_back_as_they_were_written(id in id(), spelt_otherwise: bool, params in select(["[]", "{}", "null"].as_slice())) {
        let mut harness = at_work(policy(false));
        let submit = message(&id, "mining.submit", r#"["acct.w","1a","00000001","66a1b2c3","b2957c02"]"#);
        says(&mut harness, &submit);
        prop_assert_eq!(String::from_utf8_lossy(&harness.to_pool), format!("{submit}\n"));
        // Strings only: two encoders may disagree on the last digit of a float. Longer than an id may be, another
        // spelling is no id any more.
        let text = serde_json::from_str::<Value>(&id).unwrap().as_str().map(|text| json_string(text, true));
        let answered = text.filter(|text| spelt_otherwise && text.len() <= ID_BYTES_MAX).unwrap_or_else(|| id.clone());
        pool_says(&mut harness, &format!("{{\"result\":true,\"id\":{answered},\"error\":null}}"));
        let answer = format!("{{\"result\":true,\"id\":{id},\"error\":null}}\n");
        prop_assert_eq!(String::from_utf8_lossy(&harness.to_miner), answer);
        prop_assert_eq!(harness.stats.counts.shares.accepted, 1);

        harness.to_miner.clear();
        says(&mut harness, &message(&id, "mining.submit", params));
        let refusal = format!("{{\"id\":{id},\"result\":null,\"error\":[20,\"Invalid parameters\",null]}}\n");
        prop_assert_eq!(String::from_utf8_lossy(&harness.to_miner), refusal);
    }

    #[test]
    fn any_parameters_in_any_method_are_survived(
        lines in prop::collection::vec((any::<bool>(), select(MINER_METHODS), select(POOL_METHODS), value()), 1..8),
        result in value(),
        error in value(),
        greeted: bool,
    ) {
        let mut harness = if greeted { at_work(policy(true)) } else { Harness::new(policy(true)) };
        for (by_miner, theirs, pools, params) in lines {
            if by_miner {
                says(&mut harness, &message("7", theirs, &params.to_string()));
                harness.event(&Event::PoolUp(0));
                pool_says(&mut harness, &format!("{{\"id\":7,\"result\":{result},\"error\":{error}}}"));
            } else {
                pool_says(&mut harness, &message("7", pools, &params.to_string()));
            }
        }
        for side in [&harness.to_miner, &harness.to_pool] {
            prop_assert!(side.is_empty() || side.ends_with(b"\n"));
            for line in side.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                prop_assert!(serde_json::from_slice::<Value>(line).is_ok(), "{}", String::from_utf8_lossy(line));
            }
        }
    }

    #[test]
    fn shares_go_up_byte_for_byte_when_no_account_is_configured(
        id in id(),
        user in "[ -~é👷]{1,60}",
        escaped: bool,
        // None of them is the job that the pool has given: what is not known so early, the pool judges.
        job in prop_oneof!["\"[0-9a-zA-Z]{3,24}\"", any::<i64>().prop_map(|n| n.to_string())],
        hex in ("[0-9a-fA-F]{8}", "[0-9a-fA-F]{1,8}", "[0-9a-fA-F]{1,8}", prop::option::of("[0-9a-fA-F]{1,8}")),
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        blank in select(["", " ", "\t", "  "].as_slice()),
    ) {
        let (extranonce2, ntime, nonce, bits) = hex;
        let bits = bits.map_or_else(String::new, |bits| format!(",{blank}\"{bits}\""));
        let user = json_string(&user, escaped);
        let fields = [
            format!("\"id\"{blank}:{blank}{id}"),
            format!("\"method\":{blank}\"mining.submit\""),
            format!("\"params\":[{blank}{user},{job},\"{extranonce2}\"{blank},\"{ntime}\",\"{nonce}\"{bits}]"),
            format!("\"worker\":{blank}{{\"id\":[1,\"x\"]}}"),
        ];
        let line = order.iter().map(|index| fields[*index].as_str()).collect::<Vec<_>>().join(",");
        let mut harness = at_work(policy(false));
        says(&mut harness, &format!("{{{line}{blank}}}"));
        prop_assert_eq!(String::from_utf8_lossy(&harness.to_pool), format!("{{{line}{blank}}}\n"));
        prop_assert!(harness.to_miner.is_empty());
    }

    #[test]
    fn any_bytes_are_survived(
        pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 1_usize..400), 1..12),
        greeted: bool,
        opening in select(["", "{", "{\"id\":", "{\"id\":1,\"method\":\"mining.submit\",\"params\":["].as_slice()),
    ) {
        let mut harness = if greeted { at_work(policy(false)) } else { Harness::new(policy(false)) };
        // The limits are checked after every call.
        for (by_miner, bytes, times) in pieces {
            let bytes = [opening.as_bytes(), &bytes.repeat(times)].concat();
            harness.event(&if by_miner { Event::Miner(bytes) } else { Event::Pool(bytes) });
            harness.event(&Event::PoolUp(0));
        }
    }

    #[test]
    fn difficulties_are_what_their_numerals_say(
        numeral in prop_oneof![
            "-?(0|[1-9][0-9]{0,17})",
            "-?(0|[1-9][0-9]{0,11})\\.[0-9]{1,20}",
            "-?[1-9](\\.[0-9]{1,6})?[eE][+-]?[0-9]{1,2}",
            (f64::MIN_POSITIVE..1e15).prop_map(|n| n.to_string()),
        ],
    ) {
        let mut harness = at_work(policy(false));
        let line = format!("{{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[{numeral}]}}");
        pool_says(&mut harness, &line);
        let number: f64 = numeral.parse().unwrap();
        let passed = if number > 0.0 { format!("{line}\n") } else { String::new() };
        prop_assert_eq!(String::from_utf8_lossy(&harness.to_miner), passed);
        pool_says(&mut harness, &format!("{{\"method\":\"mining.notify\",\"params\":{JOB}}}"));
        let counted = harness.session.client().mining.difficulty();
        let expected = number.max(0.0);
        prop_assert!((counted - expected).abs() <= expected * 1e-14, "{numeral}: {counted}");
    }

    #[test]
    fn the_account_is_replaced_and_nothing_else(
        name in prop_oneof!["[^\\pC]{0,60}", "[a-z0-9]{0,12}[._][a-z0-9._]{0,12}", "[ -~]{0,40}", "[\"\\\\/u0.é]{0,30}"]
            .prop_filter("longer than a name may be", |name| name.len() <= USER_REPLACED_BYTES_MAX),
        account in "\\PC{1,30}",
        password in "\\PC{0,20}",
        given in prop::option::of(prop_oneof![
            any::<String>().prop_map(Value::from), Just(Value::Null), any::<i64>().prop_map(Value::from), any::<bool>().prop_map(Value::from)
        ]),
        escaped: bool,
        blank in select(["", " ", "\t"].as_slice()),
        separators in select(vec![".", "_", "._", ""]),
    ) {
        let separators: Vec<String> = separators.chars().map(String::from).collect();
        let user = UserRule::new(&account, &password, &separators);
        let mut harness = at_work(Policy::for_pool(PoolPolicy { user, ..PoolPolicy::default() }));
        let written = json_string(&name, escaped);
        let theirs = given.as_ref().map_or_else(String::new, |given| format!("{blank},{blank}{given}"));
        says(&mut harness, &message("5", "mining.authorize", &format!("[{blank}{written}{theirs}{blank}]")));
        says(&mut harness, &message("6", "mining.submit", &format!("[{written},\"1a\",\"00000001\",\"66a1b2c3\",\"1\"]")));
        let sent: Vec<Value> = serde_json::Deserializer::from_slice(&harness.to_pool).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(sent.len(), 2);

        for line in &sent {
            let user = line["params"][0].as_str().unwrap();
            let kept = user.strip_prefix(account.as_str());
            prop_assert!(kept.is_some_and(|kept| is_worker_part(&name, kept, &separators)), "{name:?} became {user:?}");
        }
        let pass = if password.is_empty() { given } else { Some(Value::from(password)) };
        let rest: Vec<Value> = sent[0]["params"].as_array().unwrap()[1..].to_vec();
        prop_assert_eq!(rest, pass.into_iter().collect::<Vec<_>>());
        let share = serde_json::json!({"id":6,"method":"mining.submit","params":[sent[1]["params"][0],"1a","00000001","66a1b2c3","1"]});
        prop_assert_eq!(&sent[1], &share);
    }
}

/// Where the account is the miner's own, a name is as long as names may be at all.
#[test]
fn long_names_pass_where_no_account_takes_their_place() {
    let mut harness = at_work(policy(false));
    let (fits, too_long) = ("a".repeat(USER_BYTES_MAX), "a".repeat(USER_BYTES_MAX + 1));
    says(&mut harness, &message("5", "mining.authorize", &format!("[\"{fits}\"]")));
    says(&mut harness, &message("6", "mining.authorize", &format!("[\"{too_long}\"]")));
    assert_eq!(String::from_utf8_lossy(&harness.to_pool).matches(&fits).count(), 1);
    assert!(String::from_utf8_lossy(&harness.to_miner).contains("\"id\":6,\"result\":null"));
}

/// What decides whether a pool connection may be reset: one share of three fates, then the miner leaves.
#[test]
fn a_session_is_settled_only_when_the_pool_has_answered_everything() {
    let share = r#"{"id":6,"method":"mining.submit","params":["acct.w","1a","00000001","66a1b2c3","1"]}"#;
    let settled = |after: &[Event]| {
        let mut harness = at_work(policy(false));
        says(&mut harness, share);
        for event in after {
            harness.event(event);
        }
        assert!(harness.session.is_over());
        harness.session.is_over() && harness.session.leaves_settled()
    };
    let answer = || Event::Pool(b"{\"id\":6,\"result\":true,\"error\":null}\n".to_vec());
    assert!(settled(&[answer(), Event::MinerEof]), "answered");
    let lost = Event::PoolDown(loka_proto::PoolLoss::Closed);
    assert!(!settled(&[lost]), "missing at the end");
    let given_up = Event::Wait { us: ANSWER_US + 1 };
    assert!(!settled(&[given_up, Event::MinerEof]), "given up before");
}

/// Whether `kept` is the part of `name` that a worker's name may be: from some separator on, and where only one kind
/// of separator is in the name, from the first.
fn is_worker_part(name: &str, kept: &str, separators: &[String]) -> bool {
    let firsts: Vec<usize> =
        separators.iter().filter_map(|separator| name.find(separator.as_str())).collect();
    if firsts.is_empty() { kept.is_empty() } else { firsts.iter().any(|first| &name[*first..] == kept) }
}
