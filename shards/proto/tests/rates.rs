//! What one connection may say in a minute: all messages, and of them shares and authorizations; and what becomes of one that
//! floods its pool with what only the pool can judge.

mod common;
#[path = "common/generate.rs"]
#[allow(dead_code, reason = "properties.rs uses the rest")]
mod generate;

use common::{Event, Harness};
use generate::greeting;
use loka_proto::limits::{BAD_SHARES_MAX, BAD_SHARES_TOLD_MAX, RATE_LIMITED_MAX};
use loka_proto::middleware::RateLimit;
use loka_proto::{End, Intent, MessagePipelineBuilder, Policy, Reject, Spent};

const SECOND: u64 = 1_000_000;

fn harness(limit: RateLimit) -> Harness {
    let mut harness = Harness::new(Policy::default());
    harness.pipeline = MessagePipelineBuilder::standard().with_rate_limit(Some(limit)).build();
    greeting().iter().for_each(|event| harness.event(event));
    harness
}

fn submit(harness: &mut Harness, number: usize) {
    let line = format!(
        "{{\"id\":{number},\"method\":\"mining.submit\",\"params\":[\"a\",\"1a\",\"00000001\",\"66a1b2c3\",\"{number:08x}\"]}}\n"
    );
    harness.event(&Event::Miner(line.into_bytes()));
}

fn authorize(harness: &mut Harness) {
    let line = "{\"id\":1,\"method\":\"mining.authorize\",\"params\":[\"a\",\"guess\"]}\n";
    harness.event(&Event::Miner(line.into()));
}

fn refused(harness: &Harness, why: Reject) -> u64 {
    harness.stats.counts.rejects[why.index()]
}

#[test]
fn shares_and_authorizations_have_limits_of_their_own() {
    let limit = RateLimit::per_minute(1_000).with_submits(Some(60)).with_authorizations(Some(6));
    let mut harness = harness(limit);
    (0..70).for_each(|number| submit(&mut harness, number));
    assert_eq!((harness.stats.counts.shares.forwarded, refused(&harness, Reject::SubmitRate)), (60, 10));
    // One of the six was in the greeting.
    (0..10).for_each(|_| authorize(&mut harness));
    assert_eq!(refused(&harness, Reject::AuthorizeRate), 5);
    harness.event(&Event::Wait { us: 10 * SECOND });
    submit(&mut harness, 100);
    authorize(&mut harness);
    assert_eq!((refused(&harness, Reject::SubmitRate), refused(&harness, Reject::AuthorizeRate)), (10, 5));
    assert_eq!(refused(&harness, Reject::RateLimited), 0);
}

#[test]
fn a_window_says_what_may_come_at_once() {
    let mut harness = harness(RateLimit::per_minute(60).with_window(10 * SECOND));
    (0..20).for_each(|number| submit(&mut harness, number));
    // Two of the ten were the greeting.
    assert_eq!((harness.stats.counts.shares.forwarded, refused(&harness, Reject::RateLimited)), (8, 12));
    harness.event(&Event::Wait { us: SECOND });
    submit(&mut harness, 100);
    assert_eq!(harness.stats.counts.shares.forwarded, 9);
}

#[test]
fn who_goes_on_all_the_same_is_disconnected() {
    let mut harness = harness(RateLimit::per_minute(600).with_authorizations(Some(1)));
    let authorizations = 600 + RATE_LIMITED_MAX as usize;
    (0..authorizations).for_each(|_| authorize(&mut harness));
    assert!(harness.intents.contains(&Intent::Close(End::Flood)));
}

#[test]
fn what_was_spent_is_told_once_and_a_refused_authorization_counts_for_more() {
    let mut harness = harness(RateLimit::per_minute(600));
    assert_eq!(harness.session.take_spent(), Spent { requests: 2, authorizations: 1 });
    authorize(&mut harness);
    harness.event(&Event::Pool(b"{\"id\":1,\"result\":false,\"error\":null}\n".to_vec()));
    assert_eq!(harness.session.take_spent(), Spent { requests: 1, authorizations: 11 });
    assert_eq!(harness.session.take_spent(), Spent::default());
    // What is malformed is a message too.
    harness.event(&Event::Miner(b"nonsense\n\n".to_vec()));
    assert_eq!(harness.session.take_spent(), Spent { requests: 1, authorizations: 0 });
}

#[test]
fn a_flood_that_only_the_pool_can_judge_ends_and_does_not_bring_the_pool_into_disrepute() {
    let mut harness = harness(RateLimit::per_minute(1_000_000));
    let mut sent = 0;
    while !harness.session.is_over() && sent < 10_000 {
        submit(&mut harness, sent);
        let answer = format!("{{\"id\":{sent},\"result\":null,\"error\":[23,\"Low difficulty\",null]}}\n");
        harness.event(&Event::Pool(answer.into_bytes()));
        sent += 1;
    }
    assert!(harness.intents.contains(&Intent::Close(End::BadShares)));
    assert_eq!(u32::try_from(sent).unwrap(), BAD_SHARES_MAX + 1);
    let pool = &harness.stats.pools[0];
    assert_eq!((pool.rejected, pool.blamed), (u64::from(BAD_SHARES_MAX) + 1, u64::from(BAD_SHARES_TOLD_MAX)));
}
