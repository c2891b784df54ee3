//! Who said what to whom: every line of every miner has a record, and every answer is held against it.
//!
//! A request carries its record's number as `"tag"`, an answer of the pool as `"echo"`: keys that mean nothing to
//! Stratum, so that the proxy must relay them untouched. A line of a handshake may be said again, to another pool, under an
//! id of the proxy's own; a share goes to one pool connection, and only to the one whose job it is for.

use crate::says::Account;
use loka_proto::{RejectClass, Verdict, limits};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Configure,
    Subscribe,
    Authorize,
    Submit,
    /// Any other request that gets an answer.
    Other,
    /// What nobody answers: notifications and answers.
    Silent,
    /// What the proxy must refuse, whatever its chain.
    Bad,
}

/// The work that a share was made with, as the miner knew it when the job came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// The pool connection whose job it is; `None` for a job that nobody gave out.
    pub(crate) generation: Option<u32>,
    /// The job as its pool calls it.
    pub(crate) job: String,
    /// Extranonce1 and the bytes of extranonce2, lower case.
    pub(crate) extranonce: Option<(String, u64)>,
    pub(crate) mask: u32,
    /// The job's time.
    pub(crate) ntime: u32,
    /// The extranonce2 of the share has the size it should have.
    pub(crate) is_sized: bool,
}

/// Lines, shown as text.
pub(crate) struct Texts(pub(crate) Vec<Vec<u8>>);

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|line| String::from_utf8_lossy(line))).finish()
    }
}

#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) link: usize,
    pub(crate) kind: Kind,
    pub(crate) method: &'static str,
    /// The id as written; `null` where there is none.
    pub(crate) id: String,
    /// The line as a pool must see it: one for all pools, or one for each account.
    pub(crate) lines: Texts,
    pub(crate) work: Work,
    /// When the proxy took it.
    pub(crate) arrived: Option<u64>,
    /// What a share was worth when the proxy took it, by the model.
    pub(crate) difficulty: f64,
    /// Whether the model has seen the pool's answer reach the proxy.
    pub(crate) judged: bool,
    /// When the proxy sent it to a pool as the miner said it.
    sent: Option<u64>,
    /// When the pool connection that it was sent to was lost; `None` again when it is sent to another.
    lost: Option<u64>,
    /// The last pool connection that it came to, and the last that it was said to again.
    at_pool: u32,
    again_at_pool: u32,
    /// By which connection and when the pool answers, and the bytes that the miner must get.
    pub(crate) answer: Option<(u32, u64, Vec<u8>)>,
    /// Answers that reached the miner and were not refusals of the proxy.
    pub(crate) answered: u32,
}

impl Said {
    /// What the proxy keeps to say it again to another pool.
    fn is_kept(&self) -> bool {
        match self.kind {
            Kind::Configure | Kind::Subscribe | Kind::Authorize => true,
            Kind::Other | Kind::Silent => self.method.starts_with("mining.suggest"),
            Kind::Submit | Kind::Bad => false,
        }
    }

    /// Whether somebody answers it.
    fn is_answered(&self) -> bool {
        match self.kind {
            Kind::Configure | Kind::Subscribe | Kind::Authorize | Kind::Submit | Kind::Other => true,
            Kind::Silent | Kind::Bad => false,
        }
    }

    /// Whether the miner says with it that it takes a new extranonce.
    pub(crate) fn asks_for_extranonce(&self) -> bool {
        let configures = || self.holds("subscribe-extranonce") && self.kind == Kind::Configure;
        self.method == "mining.extranonce.subscribe" || configures()
    }

    /// Whether the line holds this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.lines.0[0]).contains(text)
    }

    /// The worker of an authorization, as the miner names it.
    pub(crate) fn worker(&self) -> String {
        let message: serde_json::Value = serde_json::from_slice(&self.lines.0[0]).expect("miners write JSON");
        message["params"][0].as_str().expect("a name").to_owned()
    }

    fn line_for(&self, account: Account) -> &[u8] {
        self.lines.0.get(account as usize).unwrap_or(&self.lines.0[0])
    }
}

/// A pool connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) link: usize,
    pub(crate) generation: u32,
    pub(crate) account: Account,
}

/// What a line is that arrived at a pool.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// A miner's own line.
    Said(usize),
    /// A miner's line that the proxy says again, under this id.
    Again(usize, String),
    /// A request of the proxy itself.
    Own,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) said: Vec<Said>,
    /// Refusals that reached a miner, by link and id.
    refused: BTreeMap<(usize, String), u32>,
}

impl Ledger {
    /// The number that the next record will have.
    pub(crate) fn next_tag(&self) -> usize {
        self.said.len()
    }

    pub(crate) fn add(
        &mut self,
        (link, kind): (usize, Kind),
        method: &'static str,
        id: &str,
        lines: Vec<Vec<u8>>,
    ) {
        self.said.push(Said {
            link,
            kind,
            method,
            id: id.to_owned(),
            lines: Texts(lines),
            work: Work::default(),
            arrived: None,
            difficulty: 0.0,
            judged: false,
            sent: None,
            lost: None,
            at_pool: 0,
            again_at_pool: 0,
            answer: None,
            answered: 0,
        });
    }

    /// The proxy sends a line to a pool as the miner said it.
    pub(crate) fn sent(&mut self, tag: usize, now: u64) {
        let said = &mut self.said[tag];
        assert!(said.sent.is_none() || said.is_kept(), "sent to a second pool: {said:?}");
        assert!(said.sent.is_none() || said.lost.is_some(), "sent twice to one pool: {said:?}");
        (said.sent, said.lost) = (Some(now), None);
    }

    /// The pool connection of `link` is gone.
    pub(crate) fn lost(&mut self, link: usize, now: u64) {
        for said in self.said.iter_mut().filter(|said| said.link == link && said.sent.is_some()) {
            said.lost = said.lost.or(Some(now));
        }
    }

    /// Holds a line that arrived at a pool against what the miner of its link said.
    pub(crate) fn at_pool(&mut self, place: Place, line: &[u8]) -> Arrived {
        let (link, shown) = (place.link, String::from_utf8_lossy(line));
        let Some(tag) = number_after(line, "\"tag\":") else {
            let own = b"{\"id\":2100000000,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n";
            assert_eq!(line, own, "link {link}: the pool got a line that no miner said: {shown}");
            return Arrived::Own;
        };
        let said = &mut self.said[tag];
        assert_eq!(said.link, link, "a line came to another miner's pool: {shown}");
        assert_ne!(said.kind, Kind::Bad, "link {link}: the pool got what must be refused: {shown}");
        let expected = said.line_for(place.account);
        if let Some(id) = again_id(line) {
            let expected = with_id(expected, &said.id, &id);
            assert_eq!(shown, expected, "link {link}: the line was changed when it was said again");
            assert!(said.is_kept() && said.sent.is_some(), "link {link}: said again: {shown}");
            assert!(said.again_at_pool < place.generation, "link {link}: said again twice: {shown}");
            said.again_at_pool = place.generation;
            return Arrived::Again(tag, id);
        }
        assert_eq!(shown, String::from_utf8_lossy(expected), "link {link}: the line was changed on its way");
        assert!(said.at_pool < place.generation, "link {link}: the pool got a line twice: {shown}");
        assert!(said.at_pool == 0 || said.is_kept(), "link {link}: two pools got a line: {shown}");
        said.at_pool = place.generation;
        let generation = said.work.generation;
        let is_own_job = generation.is_none_or(|generation| generation == place.generation);
        assert!(
            is_own_job,
            "link {link}: a share for a job of connection {generation:?} came to {place:?}: {shown}"
        );
        Arrived::Said(tag)
    }

    /// Holds an answer that arrived at the miner of `link` against what was asked; its record, where it has one.
    pub(crate) fn at_miner(&mut self, link: usize, line: &[u8], now: u64) -> Option<usize> {
        let shown = String::from_utf8_lossy(line).into_owned();
        if let Some(tag) = number_after(line, "\"echo\":") {
            let said = &mut self.said[tag];
            assert_eq!(said.link, link, "an answer reached another miner: {shown}");
            let (_, _, expected) = said.answer.as_ref().expect("the pool answered this");
            assert_eq!(shown, String::from_utf8_lossy(expected), "link {link}: not the bytes of the answer");
            said.answered += 1;
            assert_eq!(said.answered, 1, "link {link}: a second answer: {shown}");
            return Some(tag);
        }
        let id = id_of(line);
        if shown.contains("\"error\":null") {
            return Some(self.answered_by_proxy(link, &id, &shown, now));
        }
        *self.refused.entry((link, id)).or_default() += 1;
        None
    }

    /// The proxy answered in the place of a pool: a configure that the pool did not answer, in time or at all, or an
    /// extranonce subscription that is the proxy's own affair.
    fn answered_by_proxy(&mut self, link: usize, id: &str, shown: &str, now: u64) -> usize {
        let is_extranonce = shown.contains("\"result\":true");
        let is_due = |said: &Said| {
            if is_extranonce {
                return said.method == "mining.extranonce.subscribe" && said.sent.is_none();
            }
            let is_late = said.sent.is_some_and(|at| at + limits::CONFIGURE_ANSWER_US <= now);
            said.kind == Kind::Configure && (is_late || said.lost.is_some())
        };
        let tag = self.said.iter().position(|said| {
            (said.link, said.answered) == (link, 0) && said.id == id && said.arrived.is_some() && is_due(said)
        });
        let tag = tag.unwrap_or_else(|| panic!("link {link}: an answer to nothing that was asked: {shown}"));
        self.said[tag].answered += 1;
        tag
    }

    /// Refusals never outnumber the lines with their id that never went to a pool, or whose pool was lost. While the link
    /// lives and has a pool, and nothing is on its way, each such line has its refusal (`exactly`).
    pub(crate) fn check_refusals(&self, link: usize, exactly: bool) {
        // For each id, at least and at most so many.
        let mut kept_back: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for said in self.said.iter().filter(|said| said.link == link && said.answered == 0) {
            let (due, perhaps) = match (said.sent, said.lost) {
                (None, _) => (1, 1),
                (Some(sent), Some(lost)) if said.is_answered() => {
                    // After so long the proxy has forgotten whom to tell.
                    (u32::from(lost < sent + limits::ANSWER_US), 1)
                }
                (Some(_), _) => (0, 0),
            };
            let kept = kept_back.entry(&said.id).or_default();
            *kept = (kept.0 + due, kept.1 + perhaps);
        }
        for ((_, id), refused) in self.refused.iter().filter(|((of, _), _)| *of == link) {
            let (_, most) = kept_back.get(id.as_str()).copied().unwrap_or_default();
            assert!(*refused <= most, "link {link}: {refused} refusals for id {id}, {most} lines kept back");
        }
        if exactly {
            for (id, (least, _)) in kept_back {
                let refused = self.refused.get(&(link, id.to_owned())).copied().unwrap_or(0);
                assert!(
                    refused >= least,
                    "link {link}: {refused} refusals, {least} lines kept back, id {id}: {:?}",
                    self.said.iter().filter(|said| said.link == link && said.id == id).collect::<Vec<_>>()
                );
            }
        }
    }

    /// On a link that lives, and on which nothing is on its way, all that its present pool answered has reached the miner.
    pub(crate) fn check_answers(&self, link: usize, generation: u32, now: u64) {
        for said in self.said.iter().filter(|said| said.link == link) {
            let (Some((from, due, _)), Some(arrived)) = (&said.answer, said.arrived) else { continue };
            // Some time for the way from the pool, after which the proxy has forgotten whom to tell.
            let is_in_time = *due < now && due + 5_000_000 < arrived + limits::ANSWER_US;
            let is_due = is_in_time && *from == generation;
            assert!(!is_due || said.answered == 1, "link {link}: not answered once: {said:?}");
        }
    }
}

/// The id of a line that the proxy says again.
fn again_id(line: &[u8]) -> Option<String> {
    let first = loka_proto::limits::OWN_REQUEST_ID as usize + 1;
    let id = number_after(line, "\"id\":").filter(|id| (first..first + 100).contains(id))?;
    Some(id.to_string())
}

/// The line with this id in the place of its own, `before`, or in the first place where it has none.
fn with_id(line: &[u8], before: &str, id: &str) -> String {
    let line = String::from_utf8_lossy(line);
    if line.contains("\"id\":") {
        line.replacen(&format!("\"id\":{before}"), &format!("\"id\":{id}"), 1)
    } else {
        line.replacen('{', &format!("{{\"id\":{id},"), 1)
    }
}

/// What the pool says of a share with this nonce: `result`, `error` and how the proxy must count it.
pub(crate) fn verdict_of(nonce: u32) -> (&'static str, &'static str, Verdict) {
    let rejected = Verdict::Rejected;
    match nonce % 16 {
        0..8 => ("true", "null", Verdict::Accepted),
        8 => ("null", "[21,\"Job not found\",\"\"]", rejected(RejectClass::Stale)),
        9 => ("false", "{\"code\":22,\"message\":\"twice\"}", rejected(RejectClass::Duplicate)),
        10 => ("null", "[\"23\",\"above\"]", rejected(RejectClass::LowDifficulty)),
        11 => ("false", "[24,\"Unauthorized worker\",null]", rejected(RejectClass::Unauthorized)),
        12 => ("null", "[25,\"Not subscribed\",null]", rejected(RejectClass::NotSubscribed)),
        13 => ("false", "\"stale-prevblk\"", rejected(RejectClass::Stale)),
        14 => ("null", "null", rejected(RejectClass::Other)),
        _ => ("1", "[-2,\"Internal\",\"Traceback\"]", rejected(RejectClass::Other)),
    }
}

/// Each share of a run has a nonce of its own, spread so that verdicts vary.
pub(crate) fn nonce_of(tag: usize) -> u32 {
    u32::try_from(tag).expect("a small number").wrapping_mul(0x9e37_79b1)
}

/// The number behind `key`.
pub(crate) fn number_after(line: &[u8], key: &str) -> Option<usize> {
    let text = std::str::from_utf8(line).ok()?;
    let after = &text[text.find(key)? + key.len()..];
    let digits = after.trim_start().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The id of an answer as it is written there.
pub(crate) fn id_of(line: &[u8]) -> String {
    let text = std::str::from_utf8(line).expect("answers are text");
    let after = text[text.find("\"id\":").expect("an answer has an id") + 5..].trim_start();
    let end = match after.strip_prefix('"') {
        Some(inside) => inside.find('"').expect("ids here hold no quote") + 2,
        None => after.find([',', '}', ' ']).expect("an object ends"),
    };
    after[..end].to_owned()
}
