//! The form of a packed session, what is refused of one, and what becomes of workers on both sides.

use super::*;
use crate::message::JobBodies;
use crate::message::{Asked, Configure};
use crate::middleware::MessagePipelineBuilder;
use crate::session::{End, Intent, Out, Policy, VersionRolling, WorkerState};
use crate::stats::Stats;
use crate::workers::WorkerNews;
use serde_json::{Value, json};

const JOB: &str = r#"["1a","a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4","01","ff",[],"20000000","17034219","66a1b2c3",true]"#;
const GREETING: &str = r#"{"id":1,"method":"mining.subscribe","params":["bosminer/1"]}
{"id":2,"method":"mining.authorize","params":["acct.w","x"]}
"#;
const NOW: Tick = Tick(1_000_000_000);

/// One process.
struct Process {
    stats: Stats,
    policy: Policy,
    jobs: JobBodies,
    workers: Workers,
    out: Out,
}

impl Process {
    fn new() -> Process {
        let (stats, jobs, workers) = (Stats::default(), JobBodies::default(), Workers::default());
        Process { stats, policy: Policy::default(), jobs, workers, out: Out::default() }
    }

    fn run<T>(&mut self, what: impl FnOnce(&mut Cx<'_, crate::MessagePipeline>, &mut Parser) -> T) -> T {
        let mut pipeline = MessagePipelineBuilder::standard().build();
        self.out.clear();
        let mut cx = Cx {
            now: NOW,
            out: &mut self.out,
            stats: &mut self.stats,
            policy: &self.policy,
            pipeline: &mut pipeline,
            jobs: &mut self.jobs,
            workers: &mut self.workers,
        };
        what(&mut cx, &mut Parser::default())
    }

    fn miner_says(&mut self, session: &mut Session, line: &str) {
        self.run(|cx, parser| session.handle_miner_bytes(cx, parser, line.as_bytes()));
    }

    fn pool_says(&mut self, session: &mut Session, line: &str) {
        self.run(|cx, parser| session.handle_pool_bytes(cx, parser, line.as_bytes()));
    }

    fn unpack(&mut self, packed: &Value) -> Result<Session, UnpackError> {
        let packed: PackedSession = serde_json::from_value(packed.clone()).expect("the right form");
        self.run(|cx, parser| Session::unpack(cx, parser, &packed, ClientId(900), PoolId::of(2)))
    }

    fn told(&mut self) -> Vec<WorkerNews> {
        let mut news = Vec::new();
        self.workers.tell(100, NOW, &mut news);
        news
    }

    fn to_miner(&self) -> String {
        String::from_utf8_lossy(&self.out.to_miner).into_owned()
    }
}

/// A miner at work, with a share that was answered and one that was not, and half a line of each side.
fn at_work(process: &mut Process) -> Session {
    let mut session = Session::new(ClientId(7), NOW);
    process.miner_says(&mut session, GREETING);
    assert_eq!(session.poll_intent(), Some(Intent::DialPool));
    process.run(|cx, parser| session.handle_pool_up(cx, parser, PoolId::default(), 1_000));
    let answers = r#"{"id":1,"result":[[["mining.notify","1"]],"f000002e",4],"error":null}
{"id":2,"result":true,"error":null}
{"id":null,"method":"mining.set_difficulty","params":[1024.1]}
"#;
    process.pool_says(&mut session, answers);
    process.pool_says(&mut session, &format!("{{\"method\":\"mining.notify\",\"params\":{JOB}}}\n"));
    process.miner_says(&mut session, &share(4, 1));
    process.pool_says(&mut session, "{\"id\":4,\"result\":true,\"error\":null}\n{\"id\":");
    process.miner_says(&mut session, &format!("{}{{\"id\":", share(5, 2)));
    session
}

fn share(id: u32, nonce: u32) -> String {
    format!(
        "{{\"id\":{id},\"method\":\"mining.submit\",\"params\":[\"acct.w\",\"1a\",\"00000001\",\"66a1b2c3\",\"{nonce:x}\"]}}\n"
    )
}

fn packed(session: &Session, process: &Process) -> Value {
    serde_json::to_value(session.pack(&process.workers).expect("at work")).expect("plain data")
}

/// Processes of two versions hand sessions over to each other: whoever changes this form, or what a fingerprint is, counts
/// `FORMAT` up.
#[test]
fn the_form_of_a_packed_session_is_known() {
    let mut process = Process::new();
    let session = at_work(&mut process);
    let form: Value = serde_json::from_str(include_str!("form.json")).expect("JSON");
    let found = packed(&session, &process);
    assert_eq!(found, form, "found: {}", serde_json::to_string_pretty(&found).expect("plain data"));
    let again = Process::new().unpack(&form).expect("a session");
    assert_eq!((again.requests_pending(), again.client().id), (1, ClientId(900)));
}

/// The same for what that one does not have.
#[test]
fn the_spelling_of_every_variant_is_known() {
    let asked = Asked { version_rolling: true, ..Asked::default() };
    let configure = PackedAsked::Configure(Configure { asked, mask: 7 });
    let extensions = json!({"version_rolling": true, "minimum_difficulty": false, "subscribe_extranonce": false, "info": false});
    let requests = [
        (PackedAsked::Subscribe, json!("subscribe")),
        (PackedAsked::Authorize(3), json!({"authorize": 3})),
        (configure, json!({"configure": {"asked": extensions, "mask": 7}})),
        (PackedAsked::AuthorizeAgain(3), json!({"authorize_again": 3})),
        (PackedAsked::Own, json!("own")),
        (PackedAsked::Other, json!("other")),
    ];
    for (asked, form) in requests {
        assert_eq!(serde_json::to_value(asked).expect("plain data"), form);
        assert_eq!(serde_json::from_value::<PackedAsked>(form).expect("a request"), asked);
    }
    let rolling = [
        (VersionRolling::Asked { mask: 1 }, json!({"asked": {"mask": 1}})),
        (VersionRolling::Granted { mask: 1 }, json!({"granted": {"mask": 1}})),
        (VersionRolling::Refused, json!("refused")),
    ];
    rolling
        .iter()
        .for_each(|(rolling, form)| assert_eq!(serde_json::to_value(rolling).expect("plain data"), *form));
    let states = [(WorkerState::Asked, "asked"), (WorkerState::Refused, "refused")];
    states
        .iter()
        .for_each(|(state, form)| assert_eq!(serde_json::to_value(state).expect("plain data"), *form));
    // Every bit of a number comes back.
    for number in [0.0, 0.1, 1.0 / 3.0, 5e-324, f64::MAX, 1e22, 123_456_789.123_456_79] {
        let text = serde_json::to_string(&Exact(number)).expect("plain data");
        let read: Exact = serde_json::from_str(&text).expect("a number");
        assert_eq!(read.0.to_bits(), number.to_bits(), "{text}");
    }
}

#[test]
fn what_no_session_has_is_refused_and_nothing_is_counted() {
    let mut process = Process::new();
    let session = at_work(&mut process);
    let good = packed(&session, &process);
    let mut other = Process::new();
    for (place, value, error) in [wrong_miners(&good), wrong_requests(&good), wrong_lines(&good)].concat() {
        let mut bad = good.clone();
        *bad.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
        assert_eq!(other.unpack(&bad).err(), Some(error), "{place}");
    }
    assert!(other.workers.is_empty() && other.told().is_empty());
    assert_eq!(other.stats.counts, Stats::default().counts);
    assert!(other.unpack(&good).is_ok());
}

/// A place, what is wrong there, and what is said to it.
type Case = (&'static str, Value, UnpackError);

fn wrong_miners(good: &Value) -> Vec<Case> {
    let faults = UnpackError::Impossible("faults");
    let name = UnpackError::Impossible("a worker");
    let size = UnpackError::Impossible("extranonce2_size");
    let (worker, job) = (&good["miner"]["workers"][0], &good["work"]["jobs"]["known"][0]);
    vec![
        ("/format", json!(0), UnpackError::Format(0)),
        ("/miner/errors", json!(33), faults),
        ("/miner/rate_limited", json!(u32::MAX), faults),
        ("/miner/bad_shares", json!(u32::MAX), faults),
        ("/miner/agent", json!("x".repeat(65)), UnpackError::TooMuch("agent")),
        ("/miner/workers", json!(vec![worker; 33]), UnpackError::TooMuch("workers")),
        ("/miner/workers", json!(vec![worker; 2]), UnpackError::Impossible("a worker twice")),
        ("/miner/workers/0/name", json!({"named": "a\tb"}), name),
        ("/miner/workers/0/name", json!({"named": "x".repeat(257)}), name),
        ("/work/extranonce1", json!("00".repeat(29)), UnpackError::TooMuch("extranonce1")),
        ("/work/extranonce1", json!("\"}"), UnpackError::Impossible("extranonce1")),
        ("/work/extranonce1", json!("abc"), UnpackError::Impossible("extranonce1")),
        ("/work/extranonce2_size", json!(0), size),
        ("/work/next_extranonce2_size", json!(17), size),
        ("/work/jobs/known", json!(vec![job; 65]), UnpackError::TooMuch("jobs")),
        ("/work/repeats/prints", json!("00".repeat(257 * 8)), UnpackError::TooMuch("shares")),
        ("/work/repeats/prints", json!("0011"), UnpackError::Impossible("shares")),
        ("/filtered", json!(FILTERED_MAX + 1), UnpackError::Impossible("filtered")),
        ("/last_loss", json!("boredom"), UnpackError::Impossible("last_loss")),
        ("/tag", json!(21), UnpackError::Impossible("tag")),
        ("/needs_clean", json!(true), UnpackError::Impossible("needs_clean")),
    ]
}

fn wrong_requests(good: &Value) -> Vec<Case> {
    let worker = UnpackError::Impossible("the worker of a request");
    let id = UnpackError::Impossible("the id of a request");
    vec![
        ("/pending", json!(vec![&good["pending"][0]; 513]), UnpackError::TooMuch("requests")),
        ("/pending/0/asked/submit/worker", json!(1), worker),
        ("/pending/0/asked", json!({"authorize": 1}), worker),
        ("/pending/0/asked", json!({"authorize_again": 1}), worker),
        ("/pending/0/id", json!("true"), id),
        ("/pending/0/id", json!("[1]"), id),
        ("/pending/0/id", json!("1\n"), id),
        ("/pending/0/id", json!(""), id),
        ("/pending/0/id", json!(format!("\"{}\"", "x".repeat(127))), id),
    ]
}

fn wrong_lines(good: &Value) -> Vec<Case> {
    let said = UnpackError::Impossible("a line of the greeting");
    let unfinished = UnpackError::Impossible("an unfinished line");
    let line = |length: usize| json!(format!("{}\n", "x".repeat(length)));
    let stranger = "{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"somebody.else\"]}\n";
    vec![
        ("/greeting/lines/0", line(16 * 1024), UnpackError::TooMuch("greeting")),
        ("/greeting/lines/0", json!("{}\n"), said),
        ("/greeting/lines/0", json!(share(1, 1)), said),
        ("/greeting/lines/0", json!("{\"id\":1,\"method\":\"mining.subscribe\"}"), said),
        ("/greeting/lines/0", json!("{\"id\":1,\n\"method\":\"mining.subscribe\"}\n"), said),
        ("/greeting/lines/1", good["greeting"]["lines"][0].clone(), said),
        ("/greeting/lines/1", json!(stranger), said),
        ("/miner_line/bytes", json!("0a"), unfinished),
        ("/miner_line/bytes", json!("20".repeat(MINER_LINE_BYTES_MAX)), unfinished),
        ("/pool_line/bytes", json!("20".repeat(POOL_LINE_BYTES_MAX)), unfinished),
        ("/early", line(EARLY_BYTES_MAX), UnpackError::TooMuch("early")),
        ("/early", json!("{}"), UnpackError::Impossible("early")),
    ]
}

/// What is no form of a session at all is refused by whoever reads it.
#[test]
fn fields_are_neither_missing_nor_unknown_and_numbers_are_numbers() {
    let mut process = Process::new();
    let session = at_work(&mut process);
    let good = packed(&session, &process);
    let read = |session: &Value| serde_json::from_value::<PackedSession>(session.clone());
    assert!(read(&good).is_ok());
    let parts = [
        "",
        "/miner",
        "/miner/workers/0",
        "/work",
        "/work/jobs",
        "/work/jobs/known/0",
        "/work/repeats",
        "/pending/0",
        "/pending/0/asked/submit",
        "/greeting",
        "/miner_line",
    ];
    for part in parts {
        let fields = good.pointer(part).and_then(Value::as_object).unwrap_or_else(|| panic!("{part}"));
        for key in fields.keys() {
            let mut bad = good.clone();
            bad.pointer_mut(part).and_then(Value::as_object_mut).expect("as above").remove(key);
            assert!(read(&bad).is_err(), "{part} without {key}");
        }
        let mut bad = good.clone();
        bad.pointer_mut(part)
            .and_then(Value::as_object_mut)
            .expect("as above")
            .insert("more".into(), json!(1));
        assert!(read(&bad).is_err(), "{part} with more");
    }
    let wrong = [
        ("/work/difficulty", "-1.0"),
        ("/work/difficulty", "inf"),
        ("/work/difficulty", "NaN"),
        ("/work/repeats/prints", "0"),
        ("/work/repeats/prints", "xx"),
        ("/work/repeats/prints", "é"),
        ("/tag", "1"),
    ];
    for (place, text) in wrong {
        let mut bad = good.clone();
        *bad.pointer_mut(place).expect(place) = json!(text);
        assert!(read(&bad).is_err(), "{place} {text}");
    }
}

#[test]
fn shares_and_workers_are_counted_on_both_sides_as_they_should() {
    let (mut old, mut new) = (Process::new(), Process::new());
    let mut session = at_work(&mut old);
    assert_eq!(old.told()[0].sessions, 1);
    let packed = packed(&session, &old);
    let mut other = new.unpack(&packed).expect("a session");

    // Until it is told that the other process has it, nothing has changed here.
    assert!(session.can_be_packed() && old.workers.len() == 1 && old.told().is_empty());
    old.run(|cx, _| session.handed_over(cx));
    assert!(session.is_over() && session.poll_intent().is_none() && !session.leaves_settled());
    let shares = old.stats.counts.shares;
    assert_eq!((shares.forwarded, shares.accepted, shares.handed_over, shares.unanswered), (2, 1, 1, 0));
    assert_eq!(old.stats.counts.ends.iter().sum::<u64>(), 0);
    let gone = old.told();
    assert_eq!((gone[0].sessions, gone[0].counts.unanswered, old.workers.len()), (-1, 0, 0));
    // What comes late does no harm.
    old.run(|cx, _| session.handed_over(cx));
    old.run(|cx, _| session.handle_failure(cx, End::Panicked));
    session.leave_workers(&mut old.workers);
    assert_eq!((old.stats.counts.shares, old.told().len()), (shares, 0));

    let shares = new.stats.counts.shares;
    assert_eq!((shares.forwarded, shares.handed_over, other.shares_in_flight()), (1, 0, 1));
    let come = new.told();
    assert_eq!((come[0].name.as_deref(), come[0].agent.as_deref()), (Some("acct.w"), Some("bosminer/1")));
    let counts = &come[0].counts;
    assert_eq!((come[0].sessions, counts.is_granted, counts.granted), (1, Some(true), 0));
    assert_eq!(counts.pool, Some(PoolId::of(2)));

    // Both halves are completed, with the miner's own id and the difficulty of its job.
    new.pool_says(&mut other, "5,\"result\":true,\"error\":null}\n");
    assert_eq!(new.to_miner(), "{\"id\":5,\"result\":true,\"error\":null}\n");
    let told = &new.told()[0].counts;
    assert_eq!((told.accepted, told.accepted_difficulty.to_bits()), (1, 1024.1_f64.to_bits()));
    assert_eq!(new.stats.pool(PoolId::of(2)).accepted, 1);
    new.miner_says(&mut other, "6,\"method\":\"mining.ping\"}\n");
    assert_eq!(String::from_utf8_lossy(&new.out.to_pool), "{\"id\":6,\"method\":\"mining.ping\"}\n");
    // A share that the other process had sent is known here.
    for nonce in [1, 2] {
        new.miner_says(&mut other, &share(7, nonce));
        assert!(new.to_miner().contains("Duplicate share"), "{}", new.to_miner());
    }
}

/// A worker for which there was no room has no name that is kept: it stays one of the others, and is itself all the same.
#[test]
fn one_of_the_others_stays_one_of_them() {
    let mut process = Process::new();
    let session = at_work(&mut process);
    let mut others = packed(&session, &process);
    let name = crate::wire::fingerprint(b"acct.w");
    others["miner"]["workers"][0]["name"] = json!({"others": name});
    others["pending"][0]["asked"]["submit"]["worker"] = Value::Null;
    let mut new = Process::new();
    let mut other = new.unpack(&others).expect("a session");
    assert!(new.workers.is_empty() && new.told().is_empty());
    assert_eq!(packed(&other, &new), others);
    new.pool_says(&mut other, "5,\"result\":true,\"error\":null}\n");
    let told = new.told();
    assert_eq!((told.len(), told[0].name.as_deref(), told[0].counts.accepted), (1, None, 1));
    new.run(|cx, _| other.handed_over(cx));
    assert!(new.told().is_empty());
}

#[test]
fn a_session_without_a_pool_or_on_its_way_stays() {
    let mut process = Process::new();
    let mut session = Session::new(ClientId(1), NOW);
    assert!(!session.can_be_packed(), "greeting");
    process.miner_says(&mut session, GREETING);
    assert!(!session.can_be_packed(), "to be dialed");
    assert!(session.poll_intent().is_some() && !session.can_be_packed(), "dialing");
    process.run(|cx, parser| session.handle_pool_up(cx, parser, PoolId::default(), 1_000));
    assert!(session.can_be_packed(), "in its handshake");
    let mut session = at_work(&mut process);
    process.run(|cx, _| session.handle_miner_eof(cx));
    assert!(!session.is_over() && session.pack(&process.workers).is_none(), "finishing");
    let mut session = at_work(&mut process);
    process.run(|cx, _| session.handle_failure(cx, End::SlowReader));
    assert!(session.pack(&process.workers).is_none(), "over");
}

/// What is said to have happened has not happened later than now.
#[test]
fn times_of_a_clock_that_is_ahead_are_now() {
    let mut process = Process::new();
    let session = at_work(&mut process);
    let mut ahead = packed(&session, &process);
    let late = json!(NOW.0 + 1_000_000);
    for place in [
        "/greeting_since",
        "/waiting_since",
        "/last_message",
        "/unheard_since",
        "/pending/0/at",
        "/work/jobs/known/0/at",
        "/miner_line/since",
        "/pool_line/since",
    ] {
        *ahead.pointer_mut(place).expect(place) = late.clone();
    }
    let session = process.unpack(&ahead).expect("a session");
    let due = session.poll_timeout(&process.policy).expect("it lives");
    assert_eq!(due, NOW + crate::limits::HALF_LINE_US);
    assert!(
        !serde_json::to_string(&session.pack(&process.workers))
            .expect("plain data")
            .contains(&late.to_string())
    );
}
