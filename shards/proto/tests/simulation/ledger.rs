//! Who said what to whom: every line of every miner has a record, and every answer is held against it.
//!
//! A request carries its record's number as `"tag"`, an answer of the pool as `"echo"`: keys that mean nothing to
//! Stratum, so that the proxy must relay them untouched.

use loka_proto::{RejectClass, Verdict};
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

#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) link: usize,
    pub(crate) kind: Kind,
    /// The id as written; `null` where there is none.
    pub(crate) id: String,
    /// The line as the pool must see it.
    pub(crate) line: Vec<u8>,
    pub(crate) job: String,
    /// When the proxy took it.
    pub(crate) arrived: Option<u64>,
    /// What a share was worth when the proxy took it, by the model.
    pub(crate) difficulty: f64,
    /// Whether the model has seen the pool's answer reach the proxy.
    pub(crate) judged: bool,
    pub(crate) at_pool: u32,
    /// When the pool answers, and the bytes that the miner must get.
    pub(crate) answer: Option<(u64, Vec<u8>)>,
    /// Answers that reached the miner and were not refusals of the proxy.
    pub(crate) answered: u32,
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

    pub(crate) fn add(&mut self, link: usize, kind: Kind, id: &str, line: Vec<u8>, job: &str) {
        self.said.push(Said {
            link,
            kind,
            id: id.to_owned(),
            line,
            job: job.to_owned(),
            arrived: None,
            difficulty: 0.0,
            judged: false,
            at_pool: 0,
            answer: None,
            answered: 0,
        });
    }

    /// The record of a line that arrived at the pool of `link`; `None` for a request of the proxy itself.
    pub(crate) fn at_pool(&mut self, link: usize, line: &[u8]) -> Option<usize> {
        let shown = String::from_utf8_lossy(line);
        let Some(tag) = number_after(line, "\"tag\":") else {
            let own = b"{\"id\":2100000000,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n";
            assert_eq!(line, own, "link {link}: the pool got a line that no miner said: {shown}");
            return None;
        };
        let said = &mut self.said[tag];
        assert_eq!(said.link, link, "a line came to another miner's pool: {shown}");
        assert_eq!(
            shown,
            String::from_utf8_lossy(&said.line),
            "link {link}: the line was changed on its way"
        );
        assert_ne!(said.kind, Kind::Bad, "link {link}: the pool got what must be refused: {shown}");
        said.at_pool += 1;
        assert_eq!(said.at_pool, 1, "link {link}: the pool got a line twice: {shown}");
        Some(tag)
    }

    /// Holds an answer that arrived at the miner of `link` against what was asked; its record, where it has one.
    pub(crate) fn at_miner(&mut self, link: usize, line: &[u8], now: u64) -> Option<usize> {
        let shown = String::from_utf8_lossy(line).into_owned();
        if let Some(tag) = number_after(line, "\"echo\":") {
            let said = &mut self.said[tag];
            assert_eq!(said.link, link, "an answer reached another miner: {shown}");
            let (_, expected) = said.answer.as_ref().expect("the pool answered this");
            assert_eq!(shown, String::from_utf8_lossy(expected), "link {link}: not the bytes of the answer");
            said.answered += 1;
            assert_eq!(said.answered, 1, "link {link}: a second answer: {shown}");
            return Some(tag);
        }
        let id = id_of(line);
        if shown.contains("\"error\":null") {
            return Some(self.configure_answered(link, &id, &shown, now));
        }
        *self.refused.entry((link, id)).or_default() += 1;
        None
    }

    /// The proxy answered a configure in the place of a pool that did not.
    fn configure_answered(&mut self, link: usize, id: &str, shown: &str, now: u64) -> usize {
        let waited = |arrived: Option<u64>| {
            arrived.is_some_and(|at| at + loka_proto::limits::CONFIGURE_ANSWER_US <= now)
        };
        let tag = self.said.iter().position(|said| {
            (said.link, said.kind, said.answered) == (link, Kind::Configure, 0)
                && said.id == id
                && waited(said.arrived)
        });
        let tag = tag.unwrap_or_else(|| panic!("link {link}: an answer to nothing that was asked: {shown}"));
        self.said[tag].answered += 1;
        tag
    }

    /// Refusals never outnumber the lines with their id that never came to the pool. While the link lives, and
    /// nothing is on its way, each such line has its refusal (`exactly`).
    pub(crate) fn check_refusals(&self, link: usize, exactly: bool) {
        let mut kept_back: BTreeMap<&str, u32> = BTreeMap::new();
        for said in self.said.iter().filter(|said| said.link == link && said.at_pool == 0) {
            *kept_back.entry(&said.id).or_default() += 1;
        }
        for ((_, id), refused) in self.refused.iter().filter(|((of, _), _)| *of == link) {
            let kept = kept_back.get(id.as_str()).copied().unwrap_or(0);
            assert!(*refused <= kept, "link {link}: {refused} refusals for id {id}, {kept} lines kept back");
        }
        if exactly {
            for (id, kept) in kept_back {
                let refused = self.refused.get(&(link, id.to_owned())).copied().unwrap_or(0);
                assert_eq!(refused, kept, "link {link}: refusals and lines kept back, id {id}");
            }
        }
    }

    /// On a link that lives, and on which nothing is on its way, all that the pool answered has reached the miner.
    pub(crate) fn check_answers(&self, link: usize, now: u64) {
        for said in self.said.iter().filter(|said| said.link == link) {
            let (Some((due, _)), Some(arrived)) = (&said.answer, said.arrived) else { continue };
            // Some time for the way from the pool, after which the proxy has forgotten whom to tell.
            let is_in_time = *due < now && due + 5_000_000 < arrived + loka_proto::limits::ANSWER_US;
            assert!(!is_in_time || said.answered == 1, "link {link}: not answered once: {said:?}");
        }
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
