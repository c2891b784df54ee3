//! What miners say, written into the ledger as it is said.

use crate::ledger::{Kind, Ledger, Work, nonce_of};
use crate::miner::{Miner, Share, Step, Temper};
use crate::rng::Rng;
use crate::says::{Account, bad_line, request};

/// How a miner numbers its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    Counter,
    /// subscribe 1, authorize 2, every share 4.
    Cpuminer,
    /// One id for everything.
    Same,
    Strings,
    /// Strings with escapes, which some pools write in another way.
    Escaped,
    Large,
    /// `null`, or none at all.
    Null,
}

impl Ids {
    pub(crate) fn pick(rng: &mut Rng) -> Ids {
        use Ids::{Counter, Cpuminer, Escaped, Large, Null, Same, Strings};
        rng.pick(&[Counter, Counter, Cpuminer, Same, Strings, Escaped, Large, Null])
    }

    /// Whether no two requests in flight have the same id, so that an answer that never comes confuses nobody.
    pub(crate) fn are_unique(self) -> bool {
        match self {
            Ids::Counter | Ids::Strings | Ids::Escaped | Ids::Large => true,
            Ids::Cpuminer | Ids::Same | Ids::Null => false,
        }
    }

    /// The id as written, or `None` to leave it out.
    fn write(self, kind: Kind, counter: u64) -> Option<String> {
        Some(match self {
            Ids::Counter => counter.to_string(),
            Ids::Cpuminer => match kind {
                Kind::Subscribe => "1".to_owned(),
                Kind::Authorize => "2".to_owned(),
                Kind::Configure | Kind::Submit | Kind::Other | Kind::Silent | Kind::Bad => "4".to_owned(),
            },
            Ids::Same => "1".to_owned(),
            Ids::Strings => format!("\"id-{counter}\""),
            Ids::Escaped => format!("\"\\u0061\\/{counter}\""),
            Ids::Large => (0x1_0000_0000_u64 + counter).to_string(),
            Ids::Null if counter.is_multiple_of(2) => return None,
            Ids::Null => "null".to_owned(),
        })
    }
}

/// One turn of a miner's speech.
#[derive(Debug)]
pub(crate) struct Talk<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) bytes: Vec<u8>,
}

impl<'a> Talk<'a> {
    pub(crate) fn new(rng: &'a mut Rng, ledger: &'a mut Ledger) -> Talk<'a> {
        Talk { rng, ledger, bytes: Vec::new() }
    }

    pub(crate) fn step(&mut self, miner: &mut Miner, step: Step) {
        match step {
            Step::Configure => {
                let params = self.rng.pick(&[
                    "[[\"version-rolling\"],{\"version-rolling.mask\":\"1fffe000\",\"version-rolling.min-bit-count\":16}]",
                    "[[\"version-rolling\",\"minimum-difficulty\",\"subscribe-extranonce\"],{}]",
                    "[[\"version-rolling\"],{\"version-rolling.mask\":\"ffffffff\"}]",
                    "[[\"minimum-difficulty\",\"info\"],{\"minimum-difficulty.value\":8}]",
                ]);
                self.ask(miner, Kind::Configure, "mining.configure", params);
            }
            Step::Subscribe => {
                let params =
                    self.rng.pick(&["[\"cgminer/4.11.1\",\"ab\"]", "[]", "[\"Ant  miner/1\",null,null]"]);
                self.ask(miner, Kind::Subscribe, "mining.subscribe", params);
            }
            Step::Authorize => {
                let worker = self.rng.below(miner.workers);
                self.authorize(miner, worker);
            }
            Step::Suggest => self.suggest(miner),
            Step::Capabilities => {
                self.tell(miner, "mining.capabilities", "[{\"suggested_target\":\"00ff\"}]")
            }
            Step::Extranonce => self.ask(miner, Kind::Other, "mining.extranonce.subscribe", "[]"),
        }
    }

    /// A request that somebody answers.
    fn ask(&mut self, miner: &mut Miner, kind: Kind, method: &'static str, params: &str) {
        self.ask_as(miner, kind, method, params, &[params.to_owned()]);
    }

    /// `seen`: the parameters as pools must see them, one for all or one for each account.
    fn ask_as(&mut self, miner: &mut Miner, kind: Kind, method: &'static str, params: &str, seen: &[String]) {
        miner.counter += 1;
        let (layout, tag) = (self.rng.draw(), self.ledger.next_tag());
        let id = miner.ids.write(kind, miner.counter);
        let line = |params: &str| request(layout, id.as_deref(), method, params, tag);
        // Without an id only what every pool answers is waited for.
        let is_told = kind == Kind::Other && miner.ids == Ids::Null;
        let kind = if is_told { Kind::Silent } else { kind };
        self.bytes.extend_from_slice(line(params).as_bytes());
        let id = id.as_deref().unwrap_or("null");
        let lines = seen.iter().map(|params| line(params).into_bytes()).collect();
        self.ledger.add((miner.link, kind), method, id, lines);
    }

    /// A notification, with a null id or without any.
    fn tell(&mut self, miner: &Miner, method: &'static str, params: &str) {
        let (layout, tag) = (self.rng.draw(), self.ledger.next_tag());
        let line = request(layout, self.rng.pick(&[None, Some("null")]), method, params, tag);
        self.bytes.extend_from_slice(line.as_bytes());
        self.ledger.add((miner.link, Kind::Silent), method, "null", vec![line.into_bytes()]);
    }

    /// The answer to a question of the pool.
    pub(crate) fn reply(&mut self, miner: &Miner, id: &str) {
        let tag = self.ledger.next_tag();
        let line = format!("{{\"id\":{id},\"result\":\"sim/1.0\",\"error\":null,\"tag\":{tag}}}\n");
        self.bytes.extend_from_slice(line.as_bytes());
        self.ledger.add((miner.link, Kind::Silent), "", id, vec![line.into_bytes()]);
    }

    pub(crate) fn suggest(&mut self, miner: &mut Miner) {
        let method =
            self.rng.pick(&["mining.suggest_difficulty", "mining.suggest", "mining.suggest_difficulty(64)"]);
        self.ask(miner, Kind::Other, method, "[0.0014]");
    }

    pub(crate) fn authorize(&mut self, miner: &mut Miner, worker: u64) {
        let user = format!("acct{}{}{worker}", miner.link, self.rng.pick(&[".w", ".", "_w"]));
        let password = self.rng.pick(&[",\"x\"", ",\"d=1024\"", ",\"\"", ", null", "", ",5"]);
        let seen = |account: &Account| {
            format!("[\"{}\"{}]", account.user_seen(&user), account.password_seen(password))
        };
        let seen: Vec<String> = Account::ALL.iter().map(seen).collect();
        self.ask_as(miner, Kind::Authorize, "mining.authorize", &format!("[\"{user}\"{password}]"), &seen);
    }

    /// A new share. Few of them are wrong in some way.
    pub(crate) fn share(&mut self, miner: &mut Miner) {
        let nonce = nonce_of(self.ledger.next_tag());
        let job = miner.job(self.rng);
        let usual = job.work.extranonce.as_ref().map_or(4, |(_, bytes)| *bytes);
        let size = if self.rng.percent(2) { self.rng.between(1, 16) } else { usual };
        let (zero, digits) = (0, 2 * usize::try_from(size).expect("a small number"));
        let given = job.work.mask;
        let bits = match self.rng.below(40) {
            0 => self.rng.pick(&[0x8000_0000, 0x1fff_e000, 1]),
            1..16 => given & u32::try_from(self.rng.below(1 << 32)).expect("32 bits"),
            16..20 => given,
            _ => 0,
        };
        let none = self.rng.pick(&["", "", ",null", ",\"0\""]);
        let bits = if bits == 0 { none.to_owned() } else { format!(",\"{bits:08x}\"") };
        let rolls = match self.rng.below(60) {
            0 => self.rng.pick(&[-1, -1_000_000_000, 7_600, 1_000_000_000]),
            1 => 7_200,
            2..20 => i64::try_from(self.rng.below(60)).expect("a small number"),
            _ => 0,
        };
        let ntime = u32::try_from(i64::from(job.work.ntime).saturating_add(rolls).max(0)).expect("32 bits");
        let extranonce2 = format!("{zero:0digits$x}");
        self.say_share(miner, &Share { job, extranonce2, ntime, nonce, bits, is_sized: size == usual });
    }

    /// The last share once more.
    pub(crate) fn share_again(&mut self, miner: &mut Miner) {
        match miner.last.clone() {
            Some(share) => self.say_share(miner, &share),
            None => self.share(miner),
        }
    }

    fn say_share(&mut self, miner: &mut Miner, share: &Share) {
        let tag = self.ledger.next_tag();
        let Share { job, extranonce2, ntime, nonce, bits, is_sized } = share;
        let nonce = match self.rng.below(3) {
            0 => format!("{nonce:x}"),
            1 => format!("{nonce:08x}"),
            _ => format!("{nonce:08X}"),
        };
        let params = |user: &str, job: &str| {
            format!("[\"{user}\",\"{job}\",\"{extranonce2}\",\"{ntime:08x}\",\"{nonce}\"{bits}]")
        };
        let user = format!("acct{}.w{}", miner.link, self.rng.below(miner.workers));
        let seen = |account: &Account| params(&account.user_seen(&user), &job.work.job);
        let seen: Vec<String> = Account::ALL.iter().map(seen).collect();
        self.ask_as(miner, Kind::Submit, "mining.submit", &params(&user, &job.name), &seen);
        self.ledger.said[tag].work = Work { is_sized: *is_sized, ..job.work.clone() };
        miner.last = Some(share.clone());
    }

    fn bad(&mut self, miner: &mut Miner) {
        miner.counter += 1;
        let id = miner.ids.write(Kind::Bad, miner.counter);
        let tag = self.ledger.next_tag();
        let (line, id) = bad_line(self.rng, id.as_deref().unwrap_or("null"), tag);
        self.bytes.extend_from_slice(&line);
        self.ledger.add((miner.link, Kind::Bad), "", &id, vec![line]);
    }

    /// A request that any pool answers, and that waits for a pool where there is none.
    pub(crate) fn ping(&mut self, miner: &mut Miner) {
        self.ask(miner, Kind::Other, "mining.ping", "[]");
    }

    /// A share, most of the time.
    pub(crate) fn anything(&mut self, miner: &mut Miner) {
        let bad = if miner.temper == Temper::Noisy { 60 } else { 2 };
        if self.rng.percent(bad) {
            return self.bad(miner);
        }
        match self.rng.below(100) {
            0..76 => self.share(miner),
            76..80 => self.share_again(miner),
            80..82 => self.step(miner, Step::Subscribe),
            82..84 => {
                miner.workers += 1;
                self.step(miner, Step::Authorize);
            }
            84..87 => self.suggest(miner),
            87..89 => self.step(miner, Step::Extranonce),
            89 if miner.ids.are_unique() => self.step(miner, Step::Configure),
            89..91 => self.tell(miner, "mining.term", "[]"),
            91 => self.tell(miner, "pong", "[]"),
            92 => self.ask(miner, Kind::Other, "mining.set_difficulty", "[1]"),
            93 => self.bytes.extend_from_slice(b"\r\n"),
            _ => {
                let method = self.rng.pick(&[
                    "mining.get_transactions",
                    "mining.multi_version",
                    "mining.ping",
                    "mining.surprise",
                    "eth_submitHashrate",
                ]);
                self.ask(miner, Kind::Other, method, "[\"1\",{\"a\":[]}]");
            }
        }
    }
}
