//! Miners by hand that do what a swarm does not: shares of every kind that come to nothing, handshakes that fail, connections
//! that end in several ways. What each has done is in the ledger.

use crate::support::{PATIENCE, Proxy, until};
use crate::truth::{Ledger, OTHERS};
use loka_rig::{Greeting, Miner, Misbehaviour, PoolHandle, Submit};
use serde_json::Value;

/// A name that every form has to write in a way of its own.
pub(crate) const NAME: &str = "odd.\"né\",1";

/// One miner, its work, and the worker whose name it gave.
pub(crate) struct Odd {
    miner: Miner,
    work: Greeting,
    worker: String,
    shares: u32,
}

impl Odd {
    fn new(proxy: &Proxy, ledger: &mut Ledger, worker: &str) -> Odd {
        let mut miner = connect(proxy, ledger);
        let work = miner.handshake(worker).unwrap();
        (ledger.authorized, ledger.workers) = (ledger.authorized + 1, ledger.workers + 1);
        ledger.account(worker).connections += 1;
        Odd { miner, work, worker: worker.to_owned(), shares: 0 }
    }

    /// The answer to a share that is as good as any, but for what `change` does to it. Its nonce is new.
    fn submit(&mut self, change: impl FnOnce(&mut Submit<'_>)) -> Value {
        self.shares += 1;
        let (nonce, extranonce2) =
            (format!("{:08x}", self.shares), "0".repeat(2 * self.work.extranonce2_size));
        let mut share = Submit {
            id: "70",
            user: &self.worker,
            job_id: &self.work.job_id,
            extranonce2: &extranonce2,
            ntime: &self.work.ntime,
            nonce: &nonce,
            version_bits: None,
        };
        change(&mut share);
        self.miner.submit(&share).unwrap();
        serde_json::from_str(&self.miner.answer_to("70").unwrap()).unwrap()
    }

    /// A share that goes to the pool, which takes it or not.
    fn share(&mut self, ledger: &mut Ledger) {
        let answer = self.submit(|_| {});
        let account = ledger.account(&self.worker);
        match answer["error"][0].as_i64() {
            None => account.accepted += 1,
            Some(23) => *account.rejected.entry("low_difficulty").or_default() += 1,
            Some(_) => panic!("{answer}"),
        }
    }

    /// One that the proxy refuses for this reason, with this code; the pool never hears of it.
    fn refused(
        &mut self,
        pool: &PoolHandle,
        ledger: &mut Ledger,
        (reason, code): (&'static str, i64),
        change: impl FnOnce(&mut Submit<'_>),
    ) {
        let before = pool.report().shares_received;
        let answer = self.submit(change);
        assert_eq!(answer["error"][0].as_i64(), Some(code), "{reason}: {answer}");
        assert_eq!(pool.report().shares_received, before, "{reason}: the pool got it");
        *ledger.account(&self.worker).refused.entry(reason).or_default() += 1;
    }

    /// A line of its own, which the proxy answers with an error.
    fn wrong(&mut self, line: &str) {
        self.miner.send_line(line).unwrap();
        let answer = self.miner.read_line().unwrap();
        assert!(answer.contains("\"error\":["), "{answer}");
    }

    /// What the pool says of the next job.
    fn next_job(&mut self) -> Value {
        serde_json::from_str(&self.miner.notice("mining.notify").unwrap()).unwrap()
    }

    fn take(&mut self, job: &Value) {
        job["params"][0].as_str().unwrap().clone_into(&mut self.work.job_id);
        job["params"][7].as_str().unwrap().clone_into(&mut self.work.ntime);
    }

    /// Closes in good order.
    pub(crate) fn leave(mut self, ledger: &mut Ledger) {
        self.miner.shutdown_write().unwrap();
        self.miner.read_to_end().unwrap();
        ledger.account(&self.worker).connections -= 1;
        *ledger.ended.entry("miner_left").or_default() += 1;
    }
}

fn connect(proxy: &Proxy, ledger: &mut Ledger) -> Miner {
    let mut miner = Miner::connect(proxy.address).unwrap();
    miner.set_read_timeout(PATIENCE).unwrap();
    ledger.connections += 1;
    miner
}

/// All of them; those that stay.
pub(crate) fn run(proxy: &Proxy, pool: &PoolHandle, ledger: &mut Ledger) -> Vec<Odd> {
    let mut staying = vec![loses_its_pool(proxy, pool, ledger), sends_what_is_refused(proxy, pool, ledger)];
    staying.extend(are_not_let_in(proxy, pool, ledger));
    leave_in_several_ways(proxy, ledger);
    staying
}

/// Two miners whose pool dies under a share of each: one is told and stays, the other is disconnected.
fn loses_its_pool(proxy: &Proxy, pool: &PoolHandle, ledger: &mut Ledger) -> Odd {
    let mut stays = Odd::new(proxy, ledger, "odd.lost");
    stays.miner.request("3", "mining.extranonce.subscribe", "[]").unwrap();
    let mut goes = Odd::new(proxy, ledger, "odd.unanswered");
    stays.share(ledger);
    goes.share(ledger);
    let before = pool.report();
    // It judges one more of each, and has fallen silent when it would answer.
    pool.misbehave(Misbehaviour::SilentAfterShares(1));
    for odd in [&mut stays, &mut goes] {
        odd.miner.submit_for(&odd.work, &odd.worker, "71", "0000ffff").unwrap();
    }
    until("the shares are at the pool", || pool.report().shares_received == before.shares_received + 2);
    let after = pool.report();
    ledger.untold = [
        after.shares_accepted - before.shares_accepted,
        after.shares_low_difficulty - before.shares_low_difficulty,
    ];
    pool.misbehave(Misbehaviour::None);
    pool.kill_connections();
    let told = stays.miner.answer_to("71").unwrap();
    assert!(told.contains("\"error\":["), "{told}");
    ledger.account("odd.lost").lost += 1;
    // It is asked for at the pool again.
    ledger.authorized += 1;
    goes.miner.read_to_end().unwrap();
    let account = ledger.account("odd.unanswered");
    (account.unanswered, account.connections) = (1, 0);
    *ledger.ended.entry("pool_reset").or_default() += 1;
    // It works again when it has a job of the new connection; one of the old is void then.
    let job = stays.next_job();
    stays.refused(pool, ledger, ("stale_job", 21), |_| {});
    stays.take(&job);
    stays.share(ledger);
    stays
}

fn sends_what_is_refused(proxy: &Proxy, pool: &PoolHandle, ledger: &mut Ledger) -> Odd {
    let mut odd = Odd::new(proxy, ledger, NAME);
    (0..3).for_each(|_| odd.share(ledger));
    (0..2).for_each(|_| odd.refused(pool, ledger, ("duplicate_share", 22), |share| share.nonce = "00000001"));
    odd.refused(pool, ledger, ("bad_ntime", 20), |share| share.ntime = "00000001");
    odd.refused(pool, ledger, ("bad_version_bits", 20), |share| share.version_bits = Some("00002000"));
    odd.refused(pool, ledger, ("bad_extranonce2", 20), |share| share.extranonce2 = "00");
    odd.refused(pool, ledger, ("bad_params", 20), |share| share.nonce = "no hex");
    // The pool judges jobs of which nobody here can know, and users that the connection has not asked for.
    let answer = odd.submit(|share| share.job_id = "nobody's");
    assert_eq!(answer["error"][0].as_i64(), Some(21), "{answer}");
    *ledger.account(NAME).rejected.entry("stale").or_default() += 1;
    let answer = odd.submit(|share| share.user = "odd.stranger");
    assert_eq!(answer["error"][0].as_i64(), Some(24), "{answer}");
    *ledger.account(OTHERS).rejected.entry("unauthorized").or_default() += 1;
    odd.wrong(r#"{"id":8,"method":"mining.authorize","params":["#);
    odd.wrong(r#"{"id":9,"method":"mining.notify","params":[]}"#);
    for reason in ["malformed", "not_for_miners"] {
        *ledger.requests.entry(reason).or_default() += 1;
    }
    odd
}

/// Shares before a subscription, before an authorization, and after one that the pool refused.
fn are_not_let_in(proxy: &Proxy, pool: &PoolHandle, ledger: &mut Ledger) -> Option<Odd> {
    let share = r#"{"id":5,"method":"mining.submit","params":["odd.x","1","0000000000000000","00000000","00000000"]}"#;
    let mut stranger = connect(proxy, ledger);
    stranger.send_line(share).unwrap();
    let answer = stranger.answer_to("5").unwrap();
    assert!(answer.contains("[25,"), "{answer}");
    let mut nobody = connect(proxy, ledger);
    nobody.request("1", "mining.subscribe", "[]").unwrap();
    nobody.send_line(share).unwrap();
    let answer = nobody.answer_to("5").unwrap();
    assert!(answer.contains("[24,"), "{answer}");
    for (mut miner, reason) in [(stranger, "not_subscribed"), (nobody, "unauthorized")] {
        *ledger.account(OTHERS).refused.entry(reason).or_default() += 1;
        miner.shutdown_write().unwrap();
        miner.read_to_end().unwrap();
        *ledger.ended.entry("miner_left").or_default() += 1;
    }
    pool.misbehave(Misbehaviour::RejectAuthorize);
    let mut denied = connect(proxy, ledger);
    assert!(denied.handshake("odd.denied").is_err());
    pool.misbehave(Misbehaviour::None);
    (ledger.unauthorized, ledger.workers) = (ledger.unauthorized + 1, ledger.workers + 1);
    ledger.account("odd.denied").connections += 1;
    let work = Greeting {
        extranonce1: String::new(),
        extranonce2_size: 8,
        difficulty: 1.0,
        job_id: "1".to_owned(),
        ntime: "00000000".to_owned(),
    };
    let mut odd = Odd { miner: denied, work, worker: "odd.denied".to_owned(), shares: 0 };
    odd.refused(pool, ledger, ("unauthorized", 24), |_| {});
    Some(odd)
}

fn leave_in_several_ways(proxy: &Proxy, ledger: &mut Ledger) {
    let mut left = Odd::new(proxy, ledger, "odd.left");
    left.share(ledger);
    left.leave(ledger);
    let mut reset = Odd::new(proxy, ledger, "odd.reset");
    reset.share(ledger);
    reset.miner.reset();
    ledger.account("odd.reset").connections -= 1;
    *ledger.ended.entry("miner_reset").or_default() += 1;
    let mut noise = connect(proxy, ledger);
    noise.send_bytes(b"what is this?\n").unwrap();
    noise.read_to_end().unwrap();
    *ledger.ended.entry("not_stratum").or_default() += 1;
}
