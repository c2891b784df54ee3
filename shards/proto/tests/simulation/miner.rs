//! A miner: greets as its firmware does, then sends shares and now and then something else.

use crate::ledger::{Kind, Ledger, Work};
use crate::net::{Fin, Lines};
use crate::rng::Rng;
use crate::talk::{Ids, Talk};
use std::collections::VecDeque;

/// What is unusual about a miner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Temper {
    Steady,
    /// Sends malformed lines until it is thrown out.
    Noisy,
    /// Sends hundreds of shares at once.
    Flooding,
    /// No Stratum at all.
    Stranger,
    /// A line beyond the cap.
    TooLong,
    /// Stops in the middle of a line.
    Stalls,
    /// Never authorizes.
    Mute,
    /// Authorizes more workers than it may.
    ManyWorkers,
    /// Shares before it has subscribed.
    Hasty,
    /// Says nothing more once it has greeted.
    Sleepy,
    /// Greets, shares, and closes its sending side at once.
    Leaves,
    /// Sends one share a thousand times and more.
    Stuck,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Configure,
    Subscribe,
    Authorize,
    Suggest,
    Capabilities,
    Extranonce,
}

/// What a miner does when it acts.
#[derive(Debug, Default)]
pub(crate) struct Act {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fin: Option<Fin>,
}

/// A job under the name that the miner was told.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) work: Work,
}

/// A share as the miner made it.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) job: Job,
    pub(crate) extranonce2: String,
    pub(crate) ntime: u32,
    pub(crate) nonce: u32,
    /// What stands behind the nonce.
    pub(crate) bits: String,
    pub(crate) is_sized: bool,
}

/// Jobs that a miner still makes a share for now and then.
const JOBS_KEPT: usize = 6;

#[derive(Debug)]
pub(crate) struct Miner {
    pub(crate) link: usize,
    pub(crate) temper: Temper,
    pub(crate) ids: Ids,
    lines: Lines,
    stepwise: bool,
    plan: VecDeque<Step>,
    /// Requests so far.
    pub(crate) counter: u64,
    /// The request a stepwise miner waits for, and since when.
    waits: Option<(usize, u64)>,
    pub(crate) workers: u64,
    /// Oldest first, those that a clean job has voided included: some shares come late.
    jobs: VecDeque<Job>,
    extranonce: Option<(String, u64)>,
    mask: u32,
    /// The last share.
    pub(crate) last: Option<Share>,
    /// Ids of the pool's questions that are not answered yet.
    owed: Vec<String>,
    has_acted: bool,
    has_greeted: bool,
    /// It acts no more.
    pub(crate) is_done: bool,
}

impl Miner {
    pub(crate) fn new(link: usize, rng: &mut Rng) -> Miner {
        use Temper::{
            Flooding, Hasty, Leaves, ManyWorkers, Mute, Noisy, Sleepy, Stalls, Steady, Stranger, Stuck,
            TooLong,
        };
        let odd = [
            Noisy,
            Flooding,
            Stranger,
            TooLong,
            Stalls,
            Mute,
            ManyWorkers,
            Hasty,
            Sleepy,
            Stuck,
            Leaves,
            Leaves,
        ];
        let temper = if rng.percent(60) { Steady } else { rng.pick(&odd) };
        let ids = Ids::pick(rng);
        let mut plan = plan(rng);
        if !ids.are_unique() {
            // The proxy may answer a configure before the pool does: with one id for all, nobody could tell whose
            // answer the pool's late one is.
            plan.retain(|step| *step != Step::Configure);
        }
        if temper == Mute {
            plan.retain(|step| *step != Step::Authorize);
        }
        Miner {
            link,
            temper,
            ids,
            lines: Lines::default(),
            stepwise: rng.percent(40),
            plan,
            counter: 0,
            waits: None,
            workers: 1,
            jobs: VecDeque::new(),
            extranonce: None,
            mask: 0,
            last: None,
            owed: Vec::new(),
            has_acted: false,
            has_greeted: false,
            is_done: false,
        }
    }

    pub(crate) fn act(&mut self, rng: &mut Rng, ledger: &mut Ledger, now: u64) -> Act {
        let is_first = !std::mem::replace(&mut self.has_acted, true);
        if is_first && self.temper == Temper::Stranger {
            self.is_done = true;
            return Act { bytes: b"GET / HTTP/1.1\r\nHost: pool\r\n\r\n".to_vec(), fin: None };
        }
        let first_tag = ledger.next_tag();
        let mut talk = Talk::new(rng, ledger);
        if self.has_greeted {
            self.work(&mut talk);
        } else {
            self.greet(&mut talk, now, is_first);
        }
        let mut act = Act { bytes: talk.bytes, fin: None };
        if is_first && !act.bytes.is_empty() && rng.percent(30) {
            let blanks = rng.pick(&[b"\r\n".as_slice(), b"\n\n", b"  ", b"\t"]);
            act.bytes.splice(0..0, blanks.iter().copied());
            if !blanks.ends_with(b"\n") {
                for line in &mut ledger.said[first_tag].lines.0 {
                    line.splice(0..0, blanks.iter().copied());
                }
            }
        }
        if self.temper == Temper::Leaves && self.has_greeted && !is_first {
            act.fin = Some(Fin::Closed);
        }
        if self.has_greeted && rng.below(300) == 0 {
            act.fin = Some(rng.pick(&[Fin::Closed, Fin::Closed, Fin::Reset]));
        }
        act
    }

    fn greet(&mut self, talk: &mut Talk<'_>, now: u64, is_first: bool) {
        if is_first && self.temper == Temper::Hasty {
            talk.suggest(self);
            talk.share(self);
        }
        if let Some((tag, since)) = self.waits {
            if talk.ledger.said[tag].answered == 0 && now < since + 8_000_000 {
                return;
            }
            self.waits = None;
        }
        while let Some(step) = self.plan.pop_front() {
            let tag = talk.ledger.next_tag();
            talk.step(self, step);
            if self.stepwise && talk.ledger.said[tag].kind != Kind::Silent {
                self.waits = Some((tag, now));
                return;
            }
        }
        match self.temper {
            Temper::Leaves => talk.share(self),
            Temper::Flooding if talk.rng.percent(50) => self.flood(talk),
            Temper::Flooding
            | Temper::Steady
            | Temper::Noisy
            | Temper::Stranger
            | Temper::TooLong
            | Temper::Stalls
            | Temper::Mute
            | Temper::ManyWorkers
            | Temper::Hasty
            | Temper::Stuck
            | Temper::Sleepy => {}
        }
        self.has_greeted = self.temper != Temper::Mute;
    }

    /// More shares at once than may wait for an answer, or be held for a pool that is not up.
    fn flood(&mut self, talk: &mut Talk<'_>) {
        let pings = talk.rng.percent(25);
        for _ in 0..talk.rng.between(300, 1_500) {
            if pings { talk.ping(self) } else { talk.share(self) }
        }
    }

    /// The job of the next share: the newest, an older one, or one that nobody knows.
    pub(crate) fn job(&self, rng: &mut Rng) -> Job {
        let newest = self.jobs.len().saturating_sub(1);
        let index = if rng.percent(90) { newest } else { rng.below(JOBS_KEPT as u64) as usize };
        // No miner can work before it has an extranonce.
        let known = self.jobs.get(index).filter(|job| job.work.extranonce.is_some());
        match known.filter(|_| !rng.percent(3)) {
            Some(job) => job.clone(),
            None => {
                let work =
                    Work { job: "gone".to_owned(), extranonce: self.extranonce.clone(), ..Work::default() };
                Job { name: "gone".to_owned(), work }
            }
        }
    }

    fn work(&mut self, talk: &mut Talk<'_>) {
        match self.temper {
            Temper::Flooding if talk.rng.percent(5) => self.flood(talk),
            Temper::TooLong if talk.rng.percent(10) => {
                let junk = "y".repeat(17_000);
                talk.bytes.extend_from_slice(format!("{{\"method\":\"{junk}\"}}\n").as_bytes());
                self.is_done = true;
            }
            Temper::Stalls if talk.rng.percent(10) => {
                talk.bytes.extend_from_slice(b"{\"id\":1,\"meth");
                self.is_done = true;
            }
            Temper::ManyWorkers if self.workers == 1 => {
                self.workers = talk.rng.between(20, 45);
                for worker in 0..self.workers {
                    talk.authorize(self, worker);
                }
            }
            Temper::Sleepy | Temper::Leaves => {}
            Temper::Stuck if talk.rng.percent(10) => {
                for _ in 0..talk.rng.between(800, 1_500) {
                    talk.share_again(self);
                }
            }
            Temper::Stuck
            | Temper::Steady
            | Temper::Noisy
            | Temper::Flooding
            | Temper::Stranger
            | Temper::TooLong
            | Temper::Stalls
            | Temper::Mute
            | Temper::ManyWorkers
            | Temper::Hasty => {
                for id in std::mem::take(&mut self.owed) {
                    talk.reply(self, &id);
                }
                for _ in 0..talk.rng.between(1, 3) {
                    talk.anything(self);
                }
            }
        }
    }

    /// Takes bytes of the proxy.
    pub(crate) fn receive(&mut self, bytes: &[u8], ledger: &mut Ledger, now: u64) {
        for line in self.lines.cut(bytes) {
            let message: serde_json::Value = serde_json::from_slice(&line).expect("miners get JSON only");
            match message["method"].as_str() {
                Some("mining.notify") => self.take_job(&message["params"]),
                Some("mining.set_extranonce") => self.take_extranonce(&message["params"], 0),
                Some("mining.set_version_mask") => self.mask = mask_of(&message["params"][0]),
                Some("client.get_version") => self.owed.push(message["id"].to_string()),
                Some(_) => {
                    assert!(message.get("id").is_some() || message["method"] != "mining.set_difficulty");
                }
                None => {
                    let Some(tag) = ledger.at_miner(self.link, &line, now) else { continue };
                    let (said, result) = (&ledger.said[tag], &message["result"]);
                    if said.kind == Kind::Subscribe && result.is_array() {
                        self.take_extranonce(result, 1);
                    }
                    if said.kind == Kind::Configure && said.holds("\"version-rolling\"") {
                        let is_granted = result["version-rolling"] == true;
                        self.mask = if is_granted { mask_of(&result["version-rolling.mask"]) } else { 0 };
                    }
                }
            }
        }
    }

    /// What was told of extranonce and mask before counts from this job on.
    fn take_job(&mut self, params: &serde_json::Value) {
        let number =
            |at: usize| u32::from_str_radix(params[at].as_str().expect("text"), 16).expect("hexadecimal");
        if self.jobs.len() == JOBS_KEPT {
            self.jobs.pop_front();
        }
        self.jobs.push_back(Job {
            name: params[0].as_str().expect("jobs have names").to_owned(),
            work: Work {
                generation: Some(number(2)),
                job: format!("{:x}", number(3)),
                extranonce: self.extranonce.clone(),
                mask: self.mask,
                ntime: number(7),
                is_sized: true,
            },
        });
    }

    /// Takes the extranonce1 at this place and the size behind it.
    fn take_extranonce(&mut self, values: &serde_json::Value, at: usize) {
        let extranonce1 = values[at].as_str().expect("checked by the proxy").to_lowercase();
        self.extranonce = Some((extranonce1, values[at + 1].as_u64().expect("checked by the proxy")));
    }
}

fn mask_of(value: &serde_json::Value) -> u32 {
    u32::from_str_radix(value.as_str().expect("a mask is text"), 16).expect("hexadecimal")
}

/// In which order a miner greets.
fn plan(rng: &mut Rng) -> VecDeque<Step> {
    use Step::{Authorize, Capabilities, Configure, Extranonce, Subscribe, Suggest};
    let plans: [&[Step]; 11] = [
        &[Configure, Subscribe, Authorize, Suggest],
        &[Subscribe, Authorize],
        &[Subscribe, Authorize, Suggest, Extranonce],
        &[Suggest, Configure, Subscribe, Authorize],
        &[Authorize, Subscribe],
        &[Configure, Subscribe, Subscribe, Authorize, Authorize],
        &[Capabilities, Subscribe, Extranonce, Authorize],
        &[Configure, Subscribe, Extranonce, Authorize, Suggest],
        &[Configure, Extranonce, Subscribe, Authorize],
        &[Subscribe, Extranonce, Authorize, Authorize],
        &[Configure, Authorize, Subscribe, Configure],
    ];
    rng.pick(&plans).iter().copied().collect()
}
