//! What is counted of session, middleware and stats, and what stands ready before each.

use crate::corpus::{ACCEPTED, Bench, Lends, NOTIFY, REJECTED, SUBMIT, standard};
use loka_proto::middleware::{NoLog, Request};
use loka_proto::{
    Client, ClientId, Direction, Flow, JobBodies, MessagePipeline, Method, Session, Stage, StageCx,
};
use loka_proto::{Stats, UserRule, Verdict};
use std::hint::black_box;

/// Lines in one segment where there are several.
const LINES: usize = 16;

/// A miner that has greeted, with the whole of its surroundings and the lines of a full segment.
pub(crate) struct Link {
    bench: Bench<MessagePipeline<NoLog>>,
    submits: Vec<u8>,
    answers: Vec<u8>,
}

/// Something that is said on a link.
pub(crate) type Step = fn(&mut Link);

/// A link that has taken the steps of `before`, among them the one that is counted: what grows once has grown.
pub(crate) fn warm(
    pipeline: MessagePipeline<NoLog>,
    user: UserRule,
    before: &[Step],
    step: Step,
) -> (Box<Link>, Step) {
    let (submits, answers) = (SUBMIT.repeat(LINES), ACCEPTED.repeat(LINES));
    let mut link = Box::new(Link { bench: Bench::new(pipeline, user), submits, answers });
    for step in before {
        step(&mut link);
    }
    (link, step)
}

/// Every share went up, and none was refused on its way.
pub(crate) fn check(link: Box<Link>) {
    let shares = link.bench.stats.counts.shares;
    let answered = shares.accepted + shares.rejected.iter().sum::<u64>();
    assert_eq!(shares.forwarded, answered + link.bench.session.shares_in_flight() as u64);
    assert_eq!((shares.refused, shares.unanswered), (0, 0));
    let counts = &link.bench.stats.counts;
    assert_eq!(counts.rejects.iter().chain(&counts.filtered).sum::<u64>(), 0);
}

pub(crate) fn share(link: &mut Link) {
    black_box(link.bench.share());
}

pub(crate) fn in_two(link: &mut Link) {
    let line = link.bench.submit();
    let (head, tail) = line.split_at(line.len() / 2);
    link.bench.miner(black_box(head));
    link.bench.miner(black_box(tail));
    link.bench.pool(black_box(ACCEPTED));
}

pub(crate) fn rejected(link: &mut Link) {
    let line = link.bench.submit();
    link.bench.miner(black_box(&line));
    link.bench.pool(black_box(REJECTED));
}

pub(crate) fn submits(link: &mut Link) {
    link.bench.renumber(&mut link.submits);
    link.bench.miner(&link.submits);
}

pub(crate) fn answers(link: &mut Link) {
    link.bench.pool(&link.answers);
}

/// Every job is new from here on, as without `performance.enable_string_interning`.
pub(crate) fn remember_no_jobs(link: &mut Link) {
    link.bench.jobs = JobBodies::new(false).hashing(false);
}

/// The same, and each is decoded, so that shares for it can be hashed.
pub(crate) fn decode_all_jobs(link: &mut Link) {
    link.bench.jobs = JobBodies::new(false);
}

/// Shares are hashed, from the first one on.
pub(crate) fn hashing(link: &mut Link) {
    link.bench = Bench::hashing(standard(), UserRule::default());
}

pub(crate) fn prove(link: &mut Link) {
    link.bench.prove();
}

pub(crate) fn notify(link: &mut Link) {
    link.bench.pool(black_box(NOTIFY));
}

/// A connection from its opening through its greeting to its end; the session before it is dropped.
pub(crate) fn life(link: &mut Link) {
    link.bench.session = Session::new(ClientId(2), link.bench.now);
    link.bench.greet();
    link.bench.call(|session, cx, _| session.handle_miner_eof(cx));
    assert!(link.bench.session.is_over());
}

/// Puts a share through the standard chain, twice: the first is not counted.
pub(crate) fn lend_a_submit() {
    let mut chain = standard();
    let lends = Lends(|cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>| {
        if request.method == Method::Submit && client.mining.jobs() > 0 {
            assert_eq!(chain.on_request(cx, client, request), Flow::Pass);
            // Time goes on, or the rate limit would refuse, which is another path.
            cx.now = cx.now + 100_000;
            assert_eq!(through_the_chain(&mut chain, cx, client, request), Flow::Pass);
        }
    });
    // The share that a new bench sends to prove itself is the request that is counted.
    Bench::new(lends, UserRule::default());
}

#[inline(never)]
fn through_the_chain(
    chain: &mut MessagePipeline<NoLog>,
    cx: &mut StageCx<'_>,
    client: &mut Client,
    request: &Request<'_>,
) -> Flow {
    let flow = chain.on_request(cx, client, black_box(request));
    chain.on_outcome(cx, client, request, flow);
    flow
}

/// Something that is done with the totals, which are first, and a report, which is second.
pub(crate) type StatsStep = fn(&mut [Stats; 2]);

/// Totals and a report with a thousand shares of all lengths in it.
pub(crate) fn filled(step: StatsStep) -> (Box<[Stats; 2]>, StatsStep) {
    let mut both = Box::new([Stats::default(), Stats::default()]);
    let mut waited_us = 1;
    for _ in 0..1_000 {
        waited_us = (waited_us * 7 + 13) % 1_000_000;
        count(&mut both[1], waited_us);
    }
    both[0] = both[1].clone();
    (both, step)
}

pub(crate) fn record(both: &mut [Stats; 2]) {
    count(&mut both[1], black_box(1_234));
}

pub(crate) fn merge([totals, report]: &mut [Stats; 2]) {
    totals.merge(report);
}

pub(crate) fn clear(both: &mut [Stats; 2]) {
    both[1].clear();
}

fn count(stats: &mut Stats, waited_us: u64) {
    stats.message(Direction::FromMiner, Method::Submit);
    stats.message(Direction::ToPool, Method::Submit);
    stats.verdict(Verdict::Accepted, 512.0, waited_us);
}
