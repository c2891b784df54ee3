//! Links of a miner and a pool: any bytes of either, and anything else that can happen to them.
//!
//! All three targets hold a pair of sessions against each other: see `pair`.

use crate::pair::{Event, Pair};
use loka_proto::stats::Counts;
use loka_proto::{End, Policy, PoolLoss, PoolPolicy, UserRule};

const JOB: &str = r#"["1a","a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4","01","ff",[],"20000000","17034219","66a1b2c3",true]"#;

/// A miner says its whole handshake at once, asks for extranonce changes, and sends a share.
const MINER_SAYS: &str = r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}
{"id":2,"method":"mining.subscribe","params":["agent/1.0"]}
{"id":3,"method":"mining.authorize","params":["acct.rig1","x"]}
{"id":4,"method":"mining.extranonce.subscribe","params":[]}
"#;
const SHARE: &str = r#"{"id":5,"method":"mining.submit","params":["acct.rig1","1a","00000001","66a1b2c3","0000000f"]}
"#;

/// Most milliseconds that one step waits.
const WAIT_MS_MAX: u64 = 600_000;
/// Bytes that repeated lines may add to a session: more than any bound of the core.
const AGAIN_BYTES_MAX: usize = 160 * 1024;
/// Most steps of a session: what more could come is the same again.
const STEPS_MAX: usize = 400;

/// A miner that has just connected sends these bytes, and its pool comes and says nothing.
///
/// An input may begin with a line `#SIZES`: bytes that are the sizes of pieces, where a space is 1.
pub fn miner_line(data: &[u8]) {
    let (sizes, bytes) = sizes_of(data);
    let mut pair = Pair::new(&policy(true, true), sizes);
    // The pool comes in the middle, so that some lines are held for it and others find it there.
    let (first, second) = bytes.split_at(bytes.len() / 2);
    pair.miner_says(first);
    pair.event(&Event::PoolUp(0));
    pair.miner_says(second);
    pair.event(&Event::PoolUp(0));
    pair.event(&Event::MinerEof);
    pair.fall_silent();
}

/// A pool says these bytes, once to a miner that waits for all answers of its handshake, and once to one at work with a
/// share in flight.
///
/// An input may begin with a line `#SIZES`, as for [`miner_line`].
pub fn pool_line(data: &[u8]) {
    let (sizes, bytes) = sizes_of(data);
    let answers = format!(
        "{}\n{}\n{}\n{{\"method\":\"mining.notify\",\"params\":{JOB}}}\n",
        r#"{"id":1,"result":{"version-rolling":true,"version-rolling.mask":"1fffe000"},"error":null}"#,
        r#"{"id":2,"result":[[["mining.notify","1"]],"f000002e",4],"error":null}"#,
        r#"{"id":3,"result":true,"error":null}"#,
    );
    for is_at_work in [false, true] {
        let mut pair = Pair::new(&policy(true, true), sizes);
        pair.miner_says(MINER_SAYS.as_bytes());
        pair.event(&Event::PoolUp(0));
        if is_at_work {
            pair.pool_says(answers.as_bytes());
            pair.miner_says(SHARE.as_bytes());
        }
        pair.pool_says(bytes);
        // A miner that lost its pool over this is moved to the other one, which knows nothing of it.
        pair.event(&Event::PoolUp(1));
        pair.miner_says(SHARE.as_bytes());
        pair.fall_silent();
    }
}

/// What happens to one link, told line by line in the words of the golden dialogues, without what they expect:
///
/// ```text
/// #SIZES          the first line, if at all: as for `miner_line`
/// !policy leave   a miner leaves with its pool; before anything else
/// !policy account its account at the first pool is the proxy's; before anything else
/// > LINE          the miner says LINE and a line feed; `>|` without the line feed
/// < LINE          the pool says it; `<|` likewise
/// !again NUMBER   what the line before said is said so many times more
/// !up 0  !up 1    the connection to this pool is open
/// !down LABEL     it is lost, or could not be had: a label of `PoolLoss`
/// !wait TIME      in milliseconds
/// !miner-eof  !miner-reset  !drain  !pause  !fail
/// ```
///
/// All else means nothing, so that any bytes are a session.
pub fn session(data: &[u8]) {
    count(data);
}

/// What the session counted to its end.
pub fn count(data: &[u8]) -> Counts {
    let (sizes, rest) = sizes_of(data);
    let mut lines = rest.split(|byte| *byte == b'\n').take(STEPS_MAX).peekable();
    let (mut holds, mut has_account) = (true, false);
    while let Some(setting) = lines.peek().and_then(|line| line.strip_prefix(b"!policy ")) {
        holds &= setting != b"leave";
        has_account |= setting == b"account";
        lines.next();
    }
    let mut pair = Pair::new(&policy(holds, has_account), sizes);
    let (mut before, mut room) = (b"".as_slice(), AGAIN_BYTES_MAX);
    for line in lines {
        match line.strip_prefix(b"!again ") {
            Some(times) => say_again(&mut pair, before, times, &mut room),
            None => step(&mut pair, line, 1),
        }
        before = line;
    }
    pair.fall_silent()
}

/// Says a line so many times more, as far as there is room.
fn say_again(pair: &mut Pair, line: &[u8], times: &[u8], room: &mut usize) {
    let times: usize = String::from_utf8_lossy(times).parse().unwrap_or(1);
    // Of an event there is no more to see in a hundred times.
    let cost = if line.first() == Some(&b'!') { AGAIN_BYTES_MAX / 100 } else { line.len().max(1) };
    let times = times.min(*room / cost);
    *room -= times * cost;
    step(pair, line, times);
}

fn step(pair: &mut Pair, line: &[u8], times: usize) {
    match line {
        [b'>', b'|', bytes @ ..] => pair.miner_says(&bytes.repeat(times)),
        [b'<', b'|', bytes @ ..] => pair.pool_says(&bytes.repeat(times)),
        // What golden dialogues expect.
        [b'>', b'>', ..] | [b'<', b'<', ..] => {}
        [b'>', text @ ..] => pair.miner_says(&with_end(text).repeat(times)),
        [b'<', text @ ..] => pair.pool_says(&with_end(text).repeat(times)),
        [b'!', words @ ..] => (0..times).for_each(|_| happens(pair, words)),
        _ => {}
    }
}

fn with_end(text: &[u8]) -> Vec<u8> {
    [text.strip_prefix(b" ").unwrap_or(text), b"\n"].concat()
}

fn happens(pair: &mut Pair, words: &[u8]) {
    let words = String::from_utf8_lossy(words);
    let (verb, object) = words.split_once(' ').unwrap_or((&words, ""));
    match verb {
        "up" => pair.event(&Event::PoolUp(usize::from(object == "1"))),
        "down" => {
            let loss = PoolLoss::ALL.iter().copied().find(|loss| loss.label() == object);
            pair.event(&Event::PoolDown(loss.unwrap_or(PoolLoss::Closed)));
        }
        "wait" => {
            let ms = object.parse().unwrap_or(1_000_u64).min(WAIT_MS_MAX);
            pair.event(&Event::Wait { us: ms * 1_000 });
        }
        "miner-eof" => pair.event(&Event::MinerEof),
        "miner-reset" => pair.miner_resets(),
        "drain" => pair.event(&Event::Drain { us: 3_000_000 }),
        "pause" => pair.pauses(),
        "fail" => pair.fails(End::SlowReader),
        _ => {}
    }
}

/// The sizes of pieces that an input begins with, and the rest of it.
fn sizes_of(data: &[u8]) -> (&[u8], &[u8]) {
    let Some(rest) = data.strip_prefix(b"#") else { return (b"", data) };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    (&rest[..end], rest.get(end + 1..).unwrap_or_default())
}

/// Two pools; at the second the miners work for the proxy's account, and it is not asked for extranonce changes.
fn policy(holds: bool, has_account: bool) -> Policy {
    let separators = [".".to_owned(), "_".to_owned()];
    let first = PoolPolicy {
        user: if has_account { UserRule::new("first", "x", &separators) } else { UserRule::default() },
        extranonce: true,
        host: "pool.example.com".to_owned(),
        port: 3333,
        reconnect_domains: vec!["example.com".to_owned()],
    };
    let second =
        PoolPolicy { user: UserRule::new("second", "", &separators), extranonce: false, ..first.clone() };
    let hold_us = if holds { 60_000_000 } else { 0 };
    Policy { pools: vec![first, second], hold_us, ..Policy::default() }
}
