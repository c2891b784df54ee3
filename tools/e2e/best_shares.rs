//! What shares are worth by their hash, told by the proxy and by the rig, which hashes with another library from the lines
//! that were said: for invented jobs of every shape through the core, and for blocks of a network for tests through the real
//! binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use loka_proto::{
    BlockAnswer, Cx, JobBodies, MessagePipelineBuilder, Out, Parser, Policy, PoolId, PoolPolicy, Session,
    Stats, Tick, Workers,
};
use loka_rig::{Choice, Greeting, HashedShare, Miner, PoolConfig, PoolHandle, Submit};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use support::{PATIENCE, Proxy, finish, http, program, until};

/// Every second hash is a block.
const REGTEST_NBITS: u32 = 0x207f_ffff;
/// How far the proxy's difficulties may be from the rig's: both are rounded.
const ROUNDED: f64 = 1e-12;

/// One job, and a share for it.
#[derive(Debug, Clone)]
struct Case {
    extranonce1: String,
    prev_hash: String,
    coinbase1: String,
    coinbase2: String,
    branches: Vec<String>,
    version: u32,
    mask: u32,
    extranonce2: String,
    later: u32,
    nonce: u32,
    bits: Option<u32>,
    /// The pool changes the extranonce after the job, or before the share is answered.
    changes: u8,
}

fn hex(bytes: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = String> {
    (prop::collection::vec(any::<u8>(), bytes), any::<bool>()).prop_map(|(bytes, is_shouted)| {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if is_shouted { text.to_ascii_uppercase() } else { text }
    })
}

fn case() -> impl Strategy<Value = Case> {
    let job = (
        hex(1..=28),
        hex(32),
        hex(0..200),
        hex(0..300),
        prop::collection::vec(hex(32), 0..=14),
        any::<u32>(),
    );
    let share = (hex(1..=16), 0_u32..7_000, any::<u32>(), prop::option::of(any::<u32>()));
    (job, share, prop_oneof![Just(0x1fff_e000), any::<u32>()], prop_oneof![8 => Just(0_u8), 1 => 1..3_u8])
        .prop_map(
            |(
                (extranonce1, prev_hash, coinbase1, coinbase2, branches, version),
                (extranonce2, later, nonce, bits),
                mask,
                changes,
            )| Case {
                extranonce1,
                prev_hash,
                coinbase1,
                coinbase2,
                branches,
                version,
                mask,
                extranonce2,
                later,
                nonce,
                bits: bits.map(|bits| bits & mask),
                changes,
            },
        )
}

/// A session with all it needs, and what it found.
struct Core {
    session: Session,
    parser: Parser,
    jobs: JobBodies,
    workers: Workers,
    policy: Policy,
    stats: Stats,
    now: u64,
}

impl Core {
    fn new() -> Core {
        Core {
            session: Session::new(loka_proto::ClientId(1), Tick(0)),
            parser: Parser::default(),
            jobs: JobBodies::default(),
            workers: Workers::default(),
            policy: Policy::for_pool(PoolPolicy { extranonce: true, ..PoolPolicy::default() }),
            stats: Stats::default(),
            now: 0,
        }
    }

    fn say(&mut self, is_miner: bool, line: &str) {
        let mut out = Out::default();
        let mut pipeline = MessagePipelineBuilder::standard().build();
        self.now += 1_000;
        let Core { session, parser, jobs, workers, policy, stats, now } = self;
        let mut cx =
            Cx { now: Tick(*now), out: &mut out, stats, policy, pipeline: &mut pipeline, jobs, workers };
        let line = format!("{line}\n");
        if is_miner {
            session.handle_miner_bytes(&mut cx, parser, line.as_bytes());
            if session.poll_intent().is_some() {
                session.handle_pool_up(&mut cx, parser, PoolId::default(), 1);
            }
        } else {
            session.handle_pool_bytes(&mut cx, parser, line.as_bytes());
        }
    }
}

fn notify_of(case: &Case) -> String {
    let Case { prev_hash, coinbase1, coinbase2, branches, version, .. } = case;
    let branches = serde_json::to_string(branches).unwrap();
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["j","{prev_hash}","{coinbase1}","{coinbase2}",{branches},"{version:08x}","{REGTEST_NBITS:08x}","10000000",true]}}"#
    )
}

fn run(case: &Case) -> Core {
    let Case { extranonce1, extranonce2, mask, later, nonce, bits, changes, .. } = case;
    let size = extranonce2.len() / 2;
    let mut core = Core::new();
    let set = |digits: &str| {
        format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{digits}",{size}]}}"#)
    };
    core.say(true, r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"ffffffff"}]}"#);
    core.say(true, r#"{"id":2,"method":"mining.subscribe","params":[]}"#);
    core.say(true, r#"{"id":3,"method":"mining.authorize","params":["farm.rig","x"]}"#);
    core.say(true, r#"{"id":4,"method":"mining.extranonce.subscribe","params":[]}"#);
    core.say(
        false,
        &format!(r#"{{"id":1,"result":{{"version-rolling":true,"version-rolling.mask":"{mask:08x}"}}}}"#),
    );
    core.say(false, &format!(r#"{{"id":2,"result":[[],"{extranonce1}",{size}],"error":null}}"#));
    core.say(false, r#"{"id":3,"result":true,"error":null}"#);
    core.say(false, r#"{"id":null,"method":"mining.set_difficulty","params":[0.0000000001]}"#);
    core.say(false, &notify_of(case));
    if *changes == 1 {
        core.say(false, &set("c0ffee00"));
    }
    let bits = bits.map(|bits| format!(",\"{bits:x}\"")).unwrap_or_default();
    core.say(
        true,
        &format!(
            r#"{{"id":5,"method":"mining.submit","params":["farm.rig","j","{extranonce2}","{:x}","{nonce:X}"{bits}]}}"#,
            0x1000_0000 + later
        ),
    );
    if *changes == 2 {
        core.say(false, &set("c0ffee00"));
    }
    core.say(false, r#"{"id":5,"result":true,"error":null}"#);
    assert!(core.jobs.has_claims() == (*changes == 0), "hashed when nobody waits, where it is known how");
    core.jobs.prove(usize::MAX, &mut core.workers, &mut core.stats);
    core
}

fn hashed(case: &Case) -> HashedShare {
    let (bits, ntime, nonce) = (
        case.bits.map(|bits| format!("{bits:08x}")),
        format!("{:08x}", 0x1000_0000 + case.later),
        format!("{:08x}", case.nonce),
    );
    let choice = Choice {
        extranonce2: &case.extranonce2,
        ntime: &ntime,
        nonce: &nonce,
        version_bits: bits.as_deref(),
    };
    HashedShare::of(notify_of(case).as_bytes(), &case.extranonce1, &choice, case.mask).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn both_hash_a_share_to_the_same(case in case()) {
        let (core, share) = (run(&case), hashed(&case));
        let counts = &core.stats.counts;
        prop_assert_eq!((counts.shares.accepted, counts.shares.below_difficulty), (1, 0));
        if case.changes != 0 {
            prop_assert_eq!(counts.shares.best_difficulty, 0.0, "of which extranonce it is, is not known");
            return Ok(());
        }
        let best = counts.shares.best_difficulty;
        prop_assert!((best / share.difficulty - 1.0).abs() < ROUNDED, "{} {}", best, share.difficulty);
        let blocks: Vec<[u8; 32]> = core.stats.candidates.iter().map(|found| found.hash).collect();
        prop_assert_eq!(blocks, if share.is_block { vec![share.hash] } else { vec![] });
    }
}

/// The smallest there is.
fn plain() -> Case {
    Case {
        extranonce1: "00".into(),
        prev_hash: "00".repeat(32),
        coinbase1: String::new(),
        coinbase2: String::new(),
        branches: Vec::new(),
        version: 1,
        mask: 0,
        extranonce2: "00".into(),
        later: 0,
        nonce: 0,
        bits: None,
        changes: 0,
    }
}

#[test]
fn beyond_what_is_allowed_shares_are_counted_and_not_hashed() {
    let mut core = run(&plain());
    core.jobs.allow_hashes(2);
    for nonce in 1..=5 {
        core.say(
            true,
            &format!(
                r#"{{"id":9,"method":"mining.submit","params":["farm.rig","j","00","10000000","{nonce}"]}}"#
            ),
        );
        core.say(false, r#"{"id":9,"result":true,"error":null}"#);
    }
    assert_eq!((core.stats.counts.shares.accepted, core.stats.counts.shares.unhashed), (6, 3));
}

#[test]
fn hashing_can_be_switched_while_miners_work() {
    let case = plain();
    let mut core = run(&case);
    let job = |core: &mut Core, id: &str| {
        core.say(false, &notify_of(&case).replace("\"j\"", &format!("\"{id}\"")));
    };
    let share = |core: &mut Core, job: &str| {
        let params = format!(r#"["farm.rig","{job}","00","10000000","77"]"#);
        core.say(true, &format!(r#"{{"id":9,"method":"mining.submit","params":{params}}}"#));
        core.say(false, r#"{"id":9,"result":true,"error":null}"#);
        core.jobs.has_claims()
    };
    core.jobs.set_hashing(false);
    assert!(!share(&mut core, "j"), "for a job from before");
    job(&mut core, "k");
    assert!(!share(&mut core, "k"));
    core.jobs.set_hashing(true);
    job(&mut core, "l");
    assert!(share(&mut core, "l"));
    core.jobs.prove(usize::MAX, &mut core.workers, &mut core.stats);
    assert!(!core.jobs.has_claims() && core.stats.counts.shares.accepted == 4);
}

/// What the miners know of their shares.
#[derive(Debug, Default)]
struct Ledger {
    best: BTreeMap<&'static str, f64>,
    below: u64,
    /// The answer to each block, by its hash.
    blocks: BTreeMap<String, BlockAnswer>,
}

struct Rig {
    miner: Miner,
    work: Greeting,
    notify: String,
    user: &'static str,
}

/// Below the difficulty of about two hashes of five.
const ASKED: f64 = 4e-10;

impl Rig {
    fn new(address: SocketAddr, user: &'static str) -> Rig {
        let mut miner = Miner::connect(address).unwrap();
        miner.set_read_timeout(PATIENCE).unwrap();
        let subscribed = miner.request("1", "mining.subscribe", "[\"rig\"]").unwrap();
        let subscribed: Value = serde_json::from_str(&subscribed).unwrap();
        let params = format!("[\"{user}\",\"x\"]");
        miner.request("2", "mining.authorize", &params).unwrap();
        let notify = miner.notice("mining.notify").unwrap();
        let job: Value = serde_json::from_str(&notify).unwrap();
        let text = |at: usize| job["params"][at].as_str().unwrap().to_owned();
        let work = Greeting {
            extranonce1: subscribed["result"][1].as_str().unwrap().to_owned(),
            extranonce2_size: 8,
            difficulty: ASKED,
            job_id: text(0),
            ntime: text(7),
        };
        Rig { miner, work, notify, user }
    }

    fn share(&mut self, number: usize, ledger: &mut Ledger) {
        let (id, nonce) = (format!("{}", 100 + number), format!("{number:08x}"));
        let extranonce2 = "0".repeat(16);
        let choice =
            Choice { extranonce2: &extranonce2, ntime: &self.work.ntime, nonce: &nonce, version_bits: None };
        let share = HashedShare::of(self.notify.as_bytes(), &self.work.extranonce1, &choice, 0).unwrap();
        let submit = Submit {
            id: &id,
            user: self.user,
            job_id: &self.work.job_id,
            extranonce2: &extranonce2,
            ntime: &self.work.ntime,
            nonce: &nonce,
            version_bits: None,
        };
        self.miner.submit(&submit).unwrap();
        let is_accepted = self.miner.answer_to(&id).unwrap().contains("\"result\":true");
        if is_accepted {
            let best = ledger.best.entry(self.user).or_default();
            *best = best.max(share.difficulty);
        }
        ledger.below += u64::from(share.difficulty < ASKED * (1.0 - 1.0 / 32_768.0));
        if share.is_block {
            let answer = if is_accepted { BlockAnswer::Accepted } else { BlockAnswer::Rejected };
            ledger.blocks.insert(share.hex(), answer);
        }
    }
}

fn api(proxy: &Proxy, path: &str) -> Value {
    let answer = http(proxy.metrics, path).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn is_near(shown: &Value, truth: f64) -> bool {
    shown.as_f64().is_some_and(|shown| (shown / truth - 1.0).abs() < ROUNDED)
}

#[test]
fn blocks_and_best_shares_are_what_the_miners_and_the_pool_found() {
    let pool = PoolHandle::start(PoolConfig {
        nbits: REGTEST_NBITS,
        hash_shares: true,
        difficulty: ASKED,
        reject_permille: 200,
        ..PoolConfig::default()
    })
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.sqlite");
    let records = format!("records.file={}", file.display());
    let proxy = Proxy::start(pool.addr(), &["--shards", "2", "--set", "pool.name=home", "--set", &records]);
    let mut ledger = Ledger::default();
    let users = ["rack.one", "rack.two", "rack.three"];
    let mut rigs: Vec<Rig> =
        users.iter().cycle().take(12).map(|user| Rig::new(proxy.address, user)).collect();
    for number in 0..20 {
        // The first of each is accepted, or it is hashed by nobody: what is rejected of a miner without merit is not.
        rigs.iter_mut().for_each(|rig| rig.share(number, &mut ledger));
    }
    let answered = |answer: BlockAnswer| {
        proxy.labelled(&format!("loka_stratum_block_candidates_total{{answer=\"{}\"}}", answer.label()))
    };
    let counted = |answer: BlockAnswer| ledger.blocks.values().filter(|own| **own == answer).count() as f64;
    let report = pool.report();
    assert_eq!(
        report.blocks_accepted as f64,
        counted(BlockAnswer::Accepted),
        "the pool and the miners agree"
    );
    assert!(report.blocks_accepted > 20 && report.blocks_rejected > 5, "{report:?}");
    until("all shares are hashed", || answered(BlockAnswer::Accepted) == counted(BlockAnswer::Accepted));
    check_rejected(&proxy, &ledger, report.blocks_rejected as f64);

    let best = ledger.best.values().copied().fold(0.0, f64::max);
    assert!((proxy.metric("loka_stratum_best_share_difficulty") / best - 1.0).abs() < ROUNDED);
    for (user, best) in &ledger.best {
        until("the worker's best is told", || {
            let worker = api(&proxy, &format!("/api/v1/workers/{user}"));
            // That of the day is kept with seven digits.
            let day = worker["best_difficulty_24h"].as_f64().unwrap_or(0.0);
            is_near(&worker["best_difficulty"], *best) && (day / best - 1.0).abs() < 1e-6
        });
    }
    let page = api(&proxy, "/api/v1/workers?sort=best_share&limit=1");
    assert!(is_near(&page["items"][0]["best_difficulty"], best), "{page}");
    check_events(&proxy, &ledger);
    check_records(proxy, &file, &ledger);
}

fn check_rejected(proxy: &Proxy, ledger: &Ledger, by_pool: f64) {
    let rejected = proxy.labelled("loka_stratum_block_candidates_total{answer=\"rejected\"}");
    let own = ledger.blocks.values().filter(|answer| **answer == BlockAnswer::Rejected).count() as f64;
    assert_eq!(own, by_pool);
    let unhashed = own - rejected;
    assert!((0.0..=12.0).contains(&unhashed), "at most the first of each miner: {rejected} of {own}");
    assert_eq!(proxy.labelled("loka_stratum_block_candidates_total{answer=\"unanswered\"}"), 0.0);
    let below = proxy.metric("loka_stratum_shares_below_difficulty_total");
    assert!(
        below <= ledger.below as f64 && below >= ledger.below as f64 - 12.0,
        "{below} of {}",
        ledger.below
    );
}

/// Some blocks are told, each with what the pool said, and not all: there are too many.
fn check_events(proxy: &Proxy, ledger: &Ledger) {
    let told = || {
        let events = api(proxy, "/api/v1/events?limit=1000");
        let items = events["items"].as_array().unwrap().clone();
        items.into_iter().filter(|event| event["kind"] == "block_candidate").collect::<Vec<_>>()
    };
    until("blocks are told", || told().len() == 8);
    for event in told() {
        let text = event["text"].as_str().unwrap();
        let hash = text.split_whitespace().nth(2).unwrap();
        let answer = ledger.blocks.get(hash).unwrap_or_else(|| panic!("no such block: {text}"));
        let said = match answer {
            BlockAnswer::Accepted => "pool home accepted it, job",
            BlockAnswer::Rejected => "pool home rejected it (low_difficulty), job",
            BlockAnswer::Unanswered => unreachable!(),
        };
        assert!(text.contains(said) && text.contains(" by \"rack."), "{text}");
    }
}

fn export(file: &Path, arguments: &[&str]) -> Vec<Value> {
    let file = ["--file", file.to_str().unwrap()];
    let output = finish(program().args(["records", "export", "--format", "json"]).args(file).args(arguments));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The best of each worker, and each block with what the pool said; of very many at once the others are counted.
fn check_records(proxy: Proxy, file: &Path, ledger: &Ledger) {
    let blocks: f64 = BlockAnswer::ALL
        .iter()
        .map(|said| {
            proxy.labelled(&format!("loka_stratum_block_candidates_total{{answer=\"{}\"}}", said.label()))
        })
        .sum();
    let rejected = proxy.metric("loka_stratum_shares_rejected_total");
    until("all of it is written", || {
        let text = http(proxy.metrics, "/metrics").unwrap_or_default();
        let told =
            |series: &str| text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        let written: Option<f64> = told("loka_stratum_records_rows_written_total{table=\"events\"}");
        let lost: Option<f64> = told("loka_stratum_records_shares_lost_total{table=\"events\"}");
        written.zip(lost).is_some_and(|(written, lost)| written + lost == blocks + rejected)
    });
    proxy.terminate();
    assert!(proxy.wait().success());
    let mut best: BTreeMap<String, f64> = BTreeMap::new();
    for row in export(file, &[]) {
        let best = best.entry(row["worker"].as_str().unwrap().to_owned()).or_default();
        *best = best.max(row["best"].as_f64().unwrap_or(0.0));
    }
    assert_eq!(best.len(), ledger.best.len());
    for (user, own) in &ledger.best {
        assert!((best[*user] / own - 1.0).abs() < ROUNDED, "{user}: {} {own}", best[*user]);
    }
    let events = export(file, &["--events"]);
    let found: Vec<&Value> = events.iter().filter(|event| event["side"] == "block").collect();
    assert!(found.len() >= 8, "{} of {blocks}", found.len());
    for event in found {
        let answer = ledger.blocks.get(event["hash"].as_str().unwrap()).map(|answer| answer.label());
        assert_eq!(event["reason"].as_str(), answer, "{event}");
        assert!(event["pool"] == "home" && event["share_difficulty"].as_f64() > Some(0.0), "{event}");
        assert_eq!(event["difficulty"].as_f64(), Some(ASKED), "{event}");
    }
}
