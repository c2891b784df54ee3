//! Sessions that go on in another process, between any two events: what is left behind, and what comes with them.

use crate::link::{Link, Outcome};
use crate::setting::{Process, Shard};
use loka_proto::{Cx, PackedSession, Session, Stats, Tick};

impl Link {
    /// The session goes on in the process of this number, if it can be packed now. Everything of it goes through JSON.
    pub(crate) fn hand_over(&mut self, shard: &mut Shard, process: usize, now: u64) -> bool {
        let packed = self.session.pack(&shard.processes[self.process].workers);
        assert_eq!(packed.is_some(), self.session.can_be_packed());
        let Some(packed) = packed else {
            let is_at_work = self.session.has_pool() && self.session.listens_to_miner();
            assert!(!is_at_work, "a miner at work stays behind");
            return false;
        };
        let text = serde_json::to_vec(&packed).expect("plain data");
        assert!(text.len() <= PackedSession::JSON_BYTES_MAX, "{} bytes", text.len());
        let read: PackedSession = serde_json::from_slice(&text).expect("what was written a moment ago");
        assert_eq!(read, packed, "JSON has changed it");

        let (client, mut stats) = (shard.next_client(), Stats::default());
        let in_flight = self.session.shares_in_flight() as u64;
        let Process { parser, jobs, workers } = &mut shard.processes[process];
        let mut cx = Cx {
            now: Tick(now),
            out: &mut self.out,
            stats: &mut stats,
            policy: &shard.policy,
            pipeline: &mut shard.pipeline,
            jobs,
            workers,
        };
        let session = Session::unpack(&mut cx, parser, &read, client, self.session.pool());
        let session = session.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));

        self.is_leaving = true;
        let outcome = self.call(shard, now, |session, cx, _| session.handed_over(cx));
        self.is_leaving = false;
        let Outcome { to_miner, to_pool, intents, is_pool_lost } = outcome;
        let is_silent = to_miner.is_empty() && to_pool.is_empty() && intents.is_empty();
        assert!(is_silent && !is_pool_lost, "who is handed over leaves without a word");

        // All that the new process has counted, and it balances by itself.
        let mut counts = Stats::default().counts;
        counts.shares.forwarded = in_flight;
        assert_eq!((stats.counts.clone(), session.shares_in_flight() as u64), (counts, in_flight));
        (self.session, self.process) = (session, process);
        self.clients.push(client);
        self.taken_over += in_flight;
        self.stats.merge(&stats);
        assert_eq!(self.taken_over, self.stats.counts.shares.handed_over);
        let again = self.session.pack(&shard.processes[process].workers);
        assert_eq!(again.as_ref(), Some(&packed), "something was lost on the way");
        // All checks.
        self.call(shard, now, |_, _, _| {});
        true
    }
}
