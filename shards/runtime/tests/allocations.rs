//! The steady path of a share asks the allocator for nothing: counted, not promised.

use loka_proto::{
    ClientId, Cx, JobBodies, MessagePipelineBuilder, Out, Parser, Policy, PoolId, PoolPolicy, Session, Stats,
    Tick, UserRule, Workers,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// The system's allocator with a counter in front.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed to the system's allocator as it came; counting changes nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`, and `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GREETING: &[u8] = b"{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}\n\
    {\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"own.rig\",\"x\"]}\n";
const GREETED: &[u8] =
    b"{\"id\":1,\"result\":[[],\"aabbccdd\",4],\"error\":null}\n{\"id\":2,\"result\":true,\"error\":null}\n";
const JOB: &[u8] = b"{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"6a\",\
    \"a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4\",\"01\",\"ff\",[],\"20000000\",\"17034219\",\
    \"504e86ed\",true]}\n";
/// Its nonce is another each time.
const SHARE: &[u8] =
    b"{\"id\":7,\"method\":\"mining.submit\",\"params\":[\"own.rig\",\"6a\",\"00000001\",\"504e86ed\",\"########\"]}\n";
const ANSWER: &[u8] = b"{\"id\":7,\"result\":true,\"error\":null}\n";
const DIFFICULTY: &[u8] = b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1024.5]}\n";

#[test]
fn a_share_and_its_answer_allocate_nothing() {
    let user = UserRule::new("farm", "", &[".".to_owned()]);
    let policy = Policy::for_pool(PoolPolicy { user, ..PoolPolicy::default() });
    let (mut out, mut stats, mut parser) = (Out::default(), Stats::default(), Parser::default());
    let (mut pipeline, mut jobs) = (MessagePipelineBuilder::standard().build(), JobBodies::default());
    let (mut workers, mut news) = (Workers::default(), Vec::new());
    let mut session = Session::new(ClientId(1), Tick(0));
    let mut now = 0;
    let mut call = |session: &mut Session, bytes: &[u8], from_miner: bool| {
        now += 10;
        let (out, stats, pipeline, jobs) = (&mut out, &mut stats, &mut pipeline, &mut jobs);
        out.clear();
        let mut cx =
            Cx { now: Tick(now), out, stats, policy: &policy, pipeline, jobs, workers: &mut workers };
        if from_miner {
            session.handle_miner_bytes(&mut cx, &mut parser, bytes);
        } else {
            session.handle_pool_bytes(&mut cx, &mut parser, bytes);
        }
        cx.jobs.prove(usize::MAX, cx.workers, cx.stats);
        if session.poll_intent() == Some(loka_proto::Intent::DialPool) {
            session.handle_pool_up(&mut cx, &mut parser, PoolId::default(), 1);
        }
        if now % 500 == 0 {
            // A report, in a box that has been there before.
            news.clear();
            workers.tell(usize::MAX, Tick(now), &mut news);
        }
        session.poll_timeout(&policy)
    };
    call(&mut session, GREETING, true);
    call(&mut session, GREETED, false);
    call(&mut session, JOB, false);
    let mut share = SHARE.to_vec();
    let nonce_at = share.iter().position(|byte| *byte == b'#').expect("a place for the nonce");
    let mut nonce = 0_u32;
    let mut rounds = |count: u64| {
        for _ in 0..count {
            nonce += 1;
            for (digit, byte) in share[nonce_at..nonce_at + 8].iter_mut().enumerate() {
                *byte = b"0123456789abcdef"[(nonce >> (28 - 4 * digit) & 15) as usize];
            }
            call(&mut session, &share, true);
            call(&mut session, ANSWER, false);
            call(&mut session, DIFFICULTY, false);
        }
    };
    rounds(10);
    let before = CALLS.load(Ordering::Relaxed);
    rounds(10_000);
    let calls = CALLS.load(Ordering::Relaxed) - before;
    assert_eq!(stats.counts.shares.accepted, 10_010);
    assert_eq!(session.client().mining.jobs(), 1, "shares of a job that is known, which are remembered");
    // The test harness has threads of its own, which may allocate now and then.
    assert!(calls < 100, "{calls} allocations in 10,000 rounds");
}
