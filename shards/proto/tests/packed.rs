//! A session goes on in another process, and nobody can tell: whenever it happens, the same bytes come out. And whatever is
//! given out for a packed session is a session, which keeps all promises, or an error.

mod common;
#[path = "common/generate.rs"]
#[allow(dead_code, reason = "properties.rs uses the rest")]
mod generate;

use common::{Event, Harness};
use generate::{dialogue, greeting, value};
use loka_proto::{PackedSession, Policy, PoolLoss, PoolPolicy};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

fn cases(count: u32) -> ProptestConfig {
    // A failure prints its smallest case; a file of old seeds beside the sources would be written by a test run.
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

fn policy(extranonce: bool, hold_us: u64) -> Policy {
    let pool =
        PoolPolicy { extranonce, host: "pool.example.com".into(), port: 3333, ..PoolPolicy::default() };
    Policy { hold_us, pools: vec![pool.clone(), pool], ..Policy::default() }
}

fn counts(harness: &Harness) -> String {
    let mut counts = harness.stats.counts.clone();
    counts.shares.forwarded -= counts.shares.handed_over;
    counts.shares.handed_over = 0;
    // Shares of jobs that came before the hand-over are not hashed.
    counts.block_candidates = Default::default();
    let shares = &mut counts.shares;
    (shares.below_difficulty, shares.unhashed, shares.best_difficulty) = (0, 0, 0.0);
    format!("{counts:?}")
}

/// What may be found at some place of a packed session, in the place of what belongs there: mostly of the same kind.
#[derive(Debug, Clone)]
struct Wrong {
    number: Value,
    text: String,
    any: Value,
    is_same_kind: bool,
}

impl Wrong {
    fn instead_of(&self, right: &Value) -> Value {
        match right {
            Value::Number(_) if self.is_same_kind => self.number.clone(),
            Value::String(_) if self.is_same_kind => Value::from(self.text.as_str()),
            Value::Bool(is) if self.is_same_kind => Value::from(!is),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.any.clone(),
            Value::Array(_) | Value::Object(_) => self.any.clone(),
        }
    }
}

fn wrong() -> impl Strategy<Value = Wrong> {
    let number = prop_oneof![
        select([0, 1, u64::MAX, u64::MAX - 1, u64::from(u32::MAX), 1_000_000_000, 1_100_000_000].to_vec()),
        0_u64..600,
        any::<u64>(),
    ];
    let methods =
        ["subscribe", "submit", "authorize", "configure", "suggest_difficulty", "extranonce.subscribe"];
    let line = select(methods.to_vec()).prop_map(|method| {
        format!(
            "{{\"id\":5,\"method\":\"mining.{method}\",\"params\":[\"acct.w\",\"1a\",\"01\",\"1\",\"1\"]}}\n"
        )
    });
    // Bytes, numbers, ids, states, losses, names, lines.
    let text = prop_oneof![
        "([0-9a-f]{2}){0,40}",
        "[1-9][0-9]{0,18}([.][0-9]{1,9})?(e[0-9]{1,3})?",
        "\"[ -~]{0,12}\"|null|-?[0-9]{1,4}",
        select(
            ["", "asked", "refused", "unasked", "other", "own", "subscribe", "stalled", "unauthorized"]
                .as_slice()
        )
        .prop_map(String::from),
        any::<String>(),
        line,
    ];
    (number, text, value(), prop::bool::weighted(0.9)).prop_map(|(number, text, any, is_same_kind)| Wrong {
        number: Value::from(number),
        text,
        any,
        is_same_kind,
    })
}

/// What is done to a packed session.
#[derive(Debug, Clone)]
enum Damage {
    Replaced(Wrong),
    Removed,
    /// A field more, or an element of a list so many times more.
    Repeated(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        8 => wrong().prop_map(Damage::Replaced),
        1 => Just(Damage::Removed),
        1 => (1_usize..700).prop_map(Damage::Repeated),
    ]
}

/// Everything in a value that something can be done to, from the outside to the inside.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut inside = |key: &str, value: &Value| {
        let key = key.replace('~', "~0").replace('/', "~1");
        found.push(format!("{at}/{key}"));
        places(value, &format!("{at}/{key}"), found);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| inside(key, value)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(key, value)| inside(&key.to_string(), value));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn hurt(session: &mut Value, at: Index, damage: &Damage) {
    let mut found = Vec::new();
    places(session, "", &mut found);
    if found.is_empty() {
        return;
    }
    let place = at.get(&found);
    let (parent, key) = place.rsplit_once('/').expect("a path");
    if let Damage::Replaced(value) = damage {
        let found = session.pointer_mut(place).expect("a place");
        *found = value.instead_of(found);
        return;
    }
    match (session.pointer_mut(parent).expect("a place"), damage) {
        (Value::Object(fields), Damage::Removed) => {
            fields.remove(key);
        }
        (Value::Object(fields), _) => {
            fields.insert(format!("{key}_more"), Value::from(1));
        }
        (Value::Array(items), Damage::Removed) => {
            items.remove(key.parse().expect("a number"));
        }
        (Value::Array(items), Damage::Repeated(times)) => {
            let item = items[key.parse::<usize>().expect("a number")].clone();
            items.extend(std::iter::repeat_n(item, *times));
        }
        (_, _) => unreachable!("a place is in an object or in a list"),
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_session_goes_on_in_another_process_as_if_nothing_had_happened(
        events in dialogue(),
        handed in prop::collection::vec(any::<bool>(), 24),
        extranonce: bool,
        hold_us in prop_oneof![Just(0), Just(60_000_000_u64)],
    ) {
        let mut stays = Harness::new(policy(extranonce, hold_us));
        let mut goes = Harness::new(policy(extranonce, hold_us));
        for (event, handed) in events.iter().zip(handed.iter().cycle()) {
            stays.event(event);
            goes.event(event);
            if *handed {
                goes.hand_over();
            }
            prop_assert_eq!(&stays.intents, &goes.intents);
            prop_assert_eq!(String::from_utf8_lossy(&stays.to_miner), String::from_utf8_lossy(&goes.to_miner));
            prop_assert_eq!(String::from_utf8_lossy(&stays.to_pool), String::from_utf8_lossy(&goes.to_pool));
            prop_assert_eq!(counts(&stays), counts(&goes));
            prop_assert_eq!(stays.packed(), goes.packed());
            prop_assert_eq!(stays.session.poll_timeout(&stays.policy), goes.session.poll_timeout(&goes.policy));
        }
        prop_assert_eq!(stays.stats.submit_us, goes.stats.submit_us);
    }

    /// What can be wrong in one is refused, or it is a session like any other.
    #[test]
    fn a_damaged_session_is_an_error_or_keeps_all_promises(
        before in dialogue(),
        damages in prop::collection::vec((any::<Index>(), damage()), 1..3),
        after in dialogue(),
    ) {
        let play = |events: &[Event]| {
            let mut harness = Harness::new(policy(true, 60_000_000));
            greeting().iter().chain(events).for_each(|event| harness.event(event));
            harness
        };
        // As far as it can be packed at all.
        let length = (0..=before.len()).rev().find(|length| play(&before[..*length]).session.can_be_packed());
        let mut harness = play(&before[..length.expect("at work")]);
        let packed = harness.packed().expect("at work");
        let mut session: Value = serde_json::from_str(&packed).unwrap();
        damages.iter().for_each(|(at, damage)| hurt(&mut session, *at, damage));
        harness.has_others = true;
        // Whether it is taken or not, the miner goes on.
        let _ = harness.go_on_as(&session.to_string());
        let moves = [Event::PoolDown(PoolLoss::Closed), Event::PoolUp(1)];
        after.iter().chain(&moves).chain(&after).for_each(|event| harness.event(event));
    }

    #[test]
    fn any_text_for_a_session_is_survived(text in any::<String>(), value in value(), at in any::<Index>(), byte: u8) {
        let mut harness = Harness::new(policy(true, 60_000_000));
        greeting().iter().for_each(|event| harness.event(event));
        let packed = harness.packed().unwrap();
        prop_assert!(harness.go_on_as(&text).is_err() && harness.go_on_as(&value.to_string()).is_err());
        let mut bytes = packed.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = serde_json::from_slice::<PackedSession>(&bytes);
        if let Ok(text) = String::from_utf8(bytes) {
            harness.has_others = true;
            let _ = harness.go_on_as(&text);
        }
        harness.event(&Event::PoolDown(PoolLoss::Closed));
    }
}
