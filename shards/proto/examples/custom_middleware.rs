//! A stage of one's own in the chain that a miner's requests pass.
//!
//! The farm in this example keeps an inventory of its machines. Whatever is not on it gets no work: its authorize and
//! its shares are refused, and who keeps trying is shown the door. The product knows nothing of inventories; a stage
//! of forty lines adds them at compile time, with no dynamic call on the path of a share.
//!
//! What a stage may do: let a request pass, refuse it with a reason (the proxy answers the miner and counts the
//! reason), or end the link. What it may not do: write bytes, wait, or share anything with another shard.
//!
//! Run it: `cargo run -p loka-proto --example custom_middleware`

use loka_proto::message::MinerMessage;
use loka_proto::middleware::{NoLog, RateLimit, Request};
use loka_proto::{Client, ClientId, Cx, End, Flow, Intent, MessagePipeline, MessagePipelineBuilder};
use loka_proto::{
    JobBodies, Out, Parser, Policy, PoolId, Reject, Session, Stage, StageCx, Stats, Tick, Workers,
};
use std::collections::{BTreeMap, BTreeSet};

/// Strangers are told so this many times before their link is closed.
const WARNINGS_MAX: u32 = 3;

/// Only machines on the inventory may work. There is one instance per shard, so plain fields will do: no lock, no
/// atomic. What belongs to one miner is keyed by its `ClientId`, which a shard never gives twice.
#[derive(Debug, Default)]
struct Inventory {
    machines: BTreeSet<String>,
    warnings: BTreeMap<ClientId, u32>,
}

impl Inventory {
    fn of(machines: &[&str]) -> Inventory {
        Inventory {
            machines: machines.iter().map(|name| (*name).to_owned()).collect(),
            warnings: BTreeMap::new(),
        }
    }

    /// The machine is the part of the user's name behind the account: `farm.rack7-03`.
    fn knows(&self, user: &str) -> bool {
        user.split_once('.').is_some_and(|(_, machine)| self.machines.contains(machine))
    }

    fn refuse(&mut self, client: ClientId) -> Flow {
        let warnings = self.warnings.entry(client).or_default();
        *warnings += 1;
        if *warnings > WARNINGS_MAX {
            return Flow::Close(End::TooManyErrors);
        }
        // The reason is both the miner's answer, code 24, and the label under which it is counted.
        Flow::Reject(Reject::Unauthorized)
    }
}

impl Stage for Inventory {
    /// Called once per request, behind the stages of the product: what they refused never gets here, and a share
    /// that does has the right form and size. The borrowed parts live as long as the line; nothing is copied.
    fn on_request(&mut self, _: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        let user = match request.message {
            MinerMessage::Authorize(authorize) => authorize.user,
            // One connection may speak for several workers, so each share is looked at too.
            MinerMessage::Submit(submit) => submit.user,
            // One arm per case: when a new kind of message comes, the compiler asks what this stage says of it.
            MinerMessage::Subscribe(_)
            | MinerMessage::Configure(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => return Flow::Pass,
        };
        if user.as_str().is_some_and(|user| self.knows(user)) { Flow::Pass } else { self.refuse(client.id) }
    }

    /// Called once when a link ends, whoever ended it. A stage that does not forget here grows for ever.
    fn on_close(&mut self, client: &Client) {
        self.warnings.remove(&client.id);
    }
}

/// The type of the chain says which stages it has: `()` for none of one's own, then each that was added.
type Chain = MessagePipeline<NoLog, ((), Inventory)>;

fn chain(inventory: Inventory) -> Chain {
    MessagePipelineBuilder::standard()
        .with_rate_limit(Some(RateLimit::per_minute(600)))
        .add_middleware(inventory)
        .build()
}

/// What a shard owns, without its sockets and its clock.
struct Shard {
    chain: Chain,
    parser: Parser,
    jobs: JobBodies,
    workers: Workers,
    policy: Policy,
    stats: Stats,
    out: Out,
    now: Tick,
}

impl Shard {
    fn new(inventory: Inventory) -> Shard {
        Shard {
            chain: chain(inventory),
            parser: Parser::default(),
            jobs: JobBodies::default(),
            workers: Workers::default(),
            policy: Policy::default(),
            stats: Stats::default(),
            out: Out::default(),
            now: Tick(0),
        }
    }

    /// Makes one call of a session. Returns what goes to the miner and what goes to the pool.
    fn call(&mut self, call: impl FnOnce(&mut Cx<'_, Chain>, &mut Parser)) -> (String, String) {
        self.out.clear();
        let Shard { chain, parser, jobs, workers, policy, stats, out, now } = self;
        call(&mut Cx { now: *now, out, stats, policy, pipeline: chain, jobs, workers }, parser);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&self.out.to_miner), text(&self.out.to_pool))
    }

    /// A session whose pool is connected and has answered the subscription.
    fn open(&mut self, id: u64) -> Session {
        let mut session = Session::new(ClientId(id), self.now);
        self.miner(&mut session, r#"{"id":1,"method":"mining.subscribe","params":[]}"#);
        assert_eq!(session.poll_intent(), Some(Intent::DialPool), "the first request dials the pool");
        let (_, subscribe) =
            self.call(|cx, parser| session.handle_pool_up(cx, parser, PoolId::default(), 1_000));
        assert!(subscribe.contains("mining.subscribe"), "what was held goes out when the pool is up");
        self.pool(&mut session, r#"{"id":1,"result":[[],"0abc1234",4],"error":null}"#);
        session
    }

    fn miner(&mut self, session: &mut Session, line: &str) -> (String, String) {
        let line = format!("{line}\n");
        self.call(|cx, parser| session.handle_miner_bytes(cx, parser, line.as_bytes()))
    }

    fn pool(&mut self, session: &mut Session, line: &str) -> (String, String) {
        let line = format!("{line}\n");
        self.call(|cx, parser| session.handle_pool_bytes(cx, parser, line.as_bytes()))
    }
}

fn authorize(user: &str) -> String {
    format!(r#"{{"id":2,"method":"mining.authorize","params":["{user}","x"]}}"#)
}

fn submit(id: u32, user: &str) -> String {
    format!(
        r#"{{"id":{id},"method":"mining.submit","params":["{user}","1","00000000","65a1b2c3","5f3c{id:04x}"]}}"#
    )
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() {
    let mut shard = Shard::new(Inventory::of(&["rack7-03", "rack7-04"]));
    let mut session = shard.open(1);
    let (known, lost) = ("farm.rack7-03", "farm.lost");
    for line in [authorize(known), submit(3, known), authorize(lost), submit(4, lost)] {
        let (to_miner, to_pool) = shard.miner(&mut session, &line);
        println!("miner says     {line}");
        println!("  pool gets    {}", to_pool.trim_end());
        println!("  miner gets   {}", to_miner.trim_end());
    }
    println!("refused as unauthorized: {}", shard.stats.counts.rejects[Reject::Unauthorized.index()]);
    shard.call(|cx, _| session.handle_miner_eof(cx));
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUE: &str = r#"{"id":2,"result":true,"error":null}"#;

    #[test]
    fn a_machine_on_the_inventory_works() {
        let mut shard = Shard::new(Inventory::of(&["rack7-03"]));
        let mut session = shard.open(1);
        let (to_miner, to_pool) = shard.miner(&mut session, &authorize("farm.rack7-03"));
        assert_eq!((to_miner.as_str(), to_pool), ("", authorize("farm.rack7-03") + "\n"));
        shard.pool(&mut session, TRUE);
        let (to_miner, to_pool) = shard.miner(&mut session, &submit(3, "farm.rack7-03"));
        assert_eq!((to_miner.as_str(), to_pool), ("", submit(3, "farm.rack7-03") + "\n"));
        assert_eq!(shard.stats.counts.shares.forwarded, 1);
    }

    #[test]
    fn a_stranger_is_refused_and_the_pool_never_hears_of_it() {
        let mut shard = Shard::new(Inventory::of(&["rack7-03"]));
        let mut session = shard.open(1);
        for user in ["farm.lost", "farm", "rack7-03"] {
            let (to_miner, to_pool) = shard.miner(&mut session, &authorize(user));
            assert_eq!(to_miner, "{\"id\":2,\"result\":null,\"error\":[24,\"Unauthorized worker\",null]}\n");
            assert_eq!(to_pool, "");
        }
        assert_eq!(shard.stats.counts.rejects[Reject::Unauthorized.index()], 3);
        assert_eq!(session.poll_intent(), None, "the link stays");
    }

    #[test]
    fn a_share_in_the_name_of_another_machine_is_refused() {
        let mut shard = Shard::new(Inventory::of(&["rack7-03"]));
        let mut session = shard.open(1);
        shard.miner(&mut session, &authorize("farm.rack7-03"));
        shard.pool(&mut session, TRUE);
        let (to_miner, to_pool) = shard.miner(&mut session, &submit(3, "farm.lost"));
        assert!(to_miner.starts_with("{\"id\":3,\"result\":null,\"error\":[24,"), "{to_miner}");
        assert_eq!(to_pool, "");
        assert_eq!((shard.stats.counts.shares.forwarded, shard.stats.counts.shares.refused), (0, 1));
    }

    #[test]
    fn who_keeps_trying_is_closed_and_others_are_not() {
        let mut shard = Shard::new(Inventory::of(&["rack7-03"]));
        let (mut stranger, mut other) = (shard.open(1), shard.open(2));
        for _ in 0..=WARNINGS_MAX {
            assert_eq!(stranger.poll_intent(), None);
            shard.miner(&mut stranger, &authorize("farm.lost"));
        }
        assert_eq!(stranger.poll_intent(), Some(Intent::Close(End::TooManyErrors)));
        let (_, to_pool) = shard.miner(&mut other, &authorize("farm.rack7-03"));
        assert!(!to_pool.is_empty(), "state is kept by client");
    }

    #[test]
    fn stages_of_the_product_come_first() {
        let mut shard = Shard::new(Inventory::of(&["rack7-03"]));
        let mut session = Session::new(ClientId(1), Tick(0));
        // Shares before the subscription: refused by authentication, so the inventory gives no warning.
        for _ in 0..=WARNINGS_MAX {
            let (to_miner, _) = shard.miner(&mut session, &submit(3, "farm.lost"));
            assert!(to_miner.contains("[25,\"Not subscribed\""), "{to_miner}");
        }
        assert_eq!(session.poll_intent(), None);
    }

    /// A stage is a plain value and can be tested without a chain.
    #[test]
    fn what_is_known_of_a_miner_is_forgotten_with_it() {
        let mut inventory = Inventory::of(&["rack7-03"]);
        let session = Session::new(ClientId(1), Tick(0));
        let client = session.client();
        assert_eq!(inventory.refuse(client.id), Flow::Reject(Reject::Unauthorized));
        assert_eq!(inventory.warnings.len(), 1);
        inventory.on_close(client);
        assert!(inventory.warnings.is_empty());
    }
}
