//! A pool connection: answers in its order, first in first out for each id, and says things of its own.
//!
//! What one pool is like stays, whoever connects to it; what it has said and given out is forgotten with the connection. Jobs
//! are numbered from one on each, so that names collide wherever they can.

use crate::ledger::{Arrived, Kind, Ledger, Place, Said, nonce_of, verdict_of};
use crate::net::{Fin, Lines};
use crate::rng::Rng;
use crate::says::{Account, answer, filtered, notify};
use std::collections::BTreeMap;

/// What is unusual about a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Steady,
    /// Sends work at once, before anybody has subscribed.
    Early,
    /// Sends far too much before the subscribe answer.
    Torrent,
    /// Never answers a subscribe.
    Silent,
    /// Never answers some requests.
    Forgetful,
    /// Answers some requests after more than `limits::ANSWER_US`.
    TarPit,
    /// Stops for twenty seconds now and then.
    Freezes,
    /// Says the same answer twice.
    Repeats,
    /// Sends what is not JSON.
    Garbage,
    /// A line beyond the cap.
    TooLong,
    /// Stops in the middle of a line.
    Stalls,
    /// Answers the subscribe without an extranonce.
    BadSubscribe,
    /// Refuses the subscribe.
    Refuses,
    /// Sends the miner to connect again.
    Reconnects,
    /// Gives out another extranonce.
    Moves,
    /// Full of messages that mean nothing to a miner.
    Chatty,
}

/// What a pool is like for one miner, connection after connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Character {
    mood: Mood,
    in_order: bool,
    /// Writes ids in its own way.
    respells: bool,
    answers_configure: Option<u64>,
    /// The extranonce that it gives out again, where it gives out the same.
    extranonce: u64,
    extranonce2_bytes: u64,
    /// The version bits that it grants, where it grants any.
    mask: u32,
    knows_workers: bool,
}

impl Character {
    /// `can_lose`: the miner's ids are unique, so that a missing or late answer is nobody else's.
    pub(crate) fn new(can_lose: bool, rng: &mut Rng) -> Character {
        use Mood::{BadSubscribe, Chatty, Early, Forgetful, Freezes, Garbage, Moves, Reconnects, Refuses};
        use Mood::{Repeats, Silent, Stalls, Steady, TarPit, TooLong, Torrent};
        let odd = [Freezes, Torrent, Garbage, TooLong, Stalls, BadSubscribe, Refuses, Reconnects, Moves];
        let losing = [Silent, Forgetful, TarPit, Repeats];
        let mood = match rng.below(10) {
            0..4 => Steady,
            4 => Chatty,
            5..7 => Early,
            7 if can_lose => rng.pick(&losing),
            _ => rng.pick(&odd),
        };
        let configure_us = match rng.below(10) {
            0 if can_lose => None,
            1 if can_lose => Some(7_000_000),
            _ => Some(1_000),
        };
        Character {
            mood,
            in_order: rng.percent(50),
            respells: rng.percent(30),
            answers_configure: configure_us,
            // Few, so that two pools may give out the same.
            extranonce: rng.below(4),
            extranonce2_bytes: if rng.percent(4) { rng.pick(&[1, 12]) } else { rng.pick(&[2, 4, 4, 4, 8]) },
            mask: rng.pick(&[0x1fff_e000, 0x1fff_e000, 0x00ff_e000, 0x1c00_2000]),
            knows_workers: rng.percent(92),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) place: Place,
    is: Character,
    lines: Lines,
    /// The version bits that it grants on this connection; none where it refuses to.
    mask: u32,
    /// When the last answer for an id goes out; the empty id stands for all of them.
    latest: BTreeMap<String, u64>,
    frozen_until: u64,
    has_greeted: bool,
    /// When it has given its extranonce out, and has said all that goes with it.
    settled_at: Option<u64>,
    jobs: u64,
    /// The extranonce of each job.
    extranonces: BTreeMap<String, (String, u64)>,
    extranonce: u64,
    extranonce2_bytes: u64,
    pub(crate) is_done: bool,
}

/// What a pool says, and when.
pub(crate) type Says = Vec<(u64, Vec<u8>)>;

impl Pool {
    pub(crate) fn new(place: Place, is: Character, rng: &mut Rng) -> Pool {
        Pool {
            place,
            is,
            lines: Lines::default(),
            mask: if rng.percent(90) { is.mask } else { 0 },
            latest: BTreeMap::new(),
            frozen_until: 0,
            has_greeted: false,
            settled_at: None,
            jobs: 0,
            extranonces: BTreeMap::new(),
            extranonce: if rng.percent(50) { is.extranonce } else { rng.below(1 << 32) },
            extranonce2_bytes: is.extranonce2_bytes,
            is_done: false,
        }
    }

    /// What a link has before its first pool connection.
    pub(crate) fn none(link: usize, is: Character, rng: &mut Rng) -> Pool {
        let place = Place { link, generation: 0, account: Account::Own };
        Pool { is_done: true, ..Pool::new(place, is, rng) }
    }

    /// Takes bytes of the proxy.
    pub(crate) fn receive(&mut self, bytes: &[u8], rng: &mut Rng, ledger: &mut Ledger, now: u64) -> Says {
        let mut says = Says::new();
        for line in self.lines.cut(bytes) {
            match ledger.at_pool(self.place, &line) {
                Arrived::Said(tag) => {
                    self.check_share(ledger, tag);
                    self.answer(tag, None, rng, ledger, now, &mut says);
                }
                Arrived::Again(tag, id) => self.answer(tag, Some(id), rng, ledger, now, &mut says),
                Arrived::Own => self.answer_own(rng, now, &mut says),
            }
        }
        says
    }

    /// A share for a job of this connection was made with what this connection gave out.
    fn check_share(&self, ledger: &Ledger, tag: usize) {
        let work = &ledger.said[tag].work;
        if work.generation.is_none() {
            return;
        }
        let link = self.place.link;
        let given = self.extranonces.get(&work.job);
        assert_eq!(
            work.extranonce.as_ref(),
            given,
            "link {link}: extranonce of a share: {:?}",
            ledger.said[tag]
        );
        assert_eq!(work.mask & !self.mask, 0, "link {link}: mask {:x}: {:?}", self.mask, ledger.said[tag]);
    }

    fn answer_own(&mut self, rng: &mut Rng, now: u64, says: &mut Says) {
        let result = rng.pick(&["true", "false", "null", ""]);
        if !result.is_empty() {
            let at = self.turn("2100000000", rng, now, 0);
            let line = format!("{{\"id\":2100000000,\"result\":{result},\"error\":null}}\n");
            says.push((at, line.into_bytes()));
        }
    }

    /// How much later than usual it answers, or `None` where it never does.
    fn extra_us(&self, kind: Kind, rng: &mut Rng) -> Option<u64> {
        match (kind, self.is.mood) {
            (Kind::Silent | Kind::Bad, _) | (Kind::Subscribe, Mood::Silent) => None,
            (Kind::Configure, _) => self.is.answers_configure,
            (Kind::Submit | Kind::Other, Mood::Forgetful) if rng.percent(10) => None,
            (Kind::Submit | Kind::Other, Mood::TarPit) if rng.percent(10) => Some(125_000_000),
            (Kind::Subscribe | Kind::Authorize | Kind::Submit | Kind::Other, _) => Some(0),
        }
    }

    /// Answers a line of the miner, or what the proxy says `again` for it under an id of its own.
    fn answer(
        &mut self,
        tag: usize,
        again: Option<String>,
        rng: &mut Rng,
        ledger: &mut Ledger,
        now: u64,
        says: &mut Says,
    ) {
        let said = &mut ledger.said[tag];
        let Some(extra_us) = self.extra_us(said.kind, rng) else { return };
        let (result, error) = self.opinion(said, tag, rng);
        let layout = rng.draw();
        let given = again.as_ref().unwrap_or(&said.id);
        let id: serde_json::Value = serde_json::from_str(given).expect("an id is JSON");
        let at = self.turn(&id.to_string(), rng, now, extra_us);
        let spelled = if self.is.respells { id.to_string() } else { given.clone() };
        let line = match again {
            // Nobody knows of an echo in these: they must not reach the miner.
            Some(_) => format!("{{\"id\":{spelled},\"result\":{result},\"error\":{error}}}\n").into_bytes(),
            None => {
                let expected = answer(layout, &said.id, &result, &error, tag);
                said.answer = Some((self.place.generation, at, expected));
                answer(layout, &spelled, &result, &error, tag)
            }
        };
        if self.is.mood == Mood::Repeats && rng.percent(20) {
            says.push((at, line.clone()));
        }
        says.push((at, line));
        if said.kind == Kind::Subscribe {
            self.settled_at = self.settled_at.max(Some(at));
        }
        if said.kind == Kind::Authorize && !std::mem::replace(&mut self.has_greeted, true) {
            self.settled_at = self.settled_at.map(|settled| settled.max(at));
            // Work right behind the authorization, as most pools do, some of them without a difficulty.
            if rng.percent(80) {
                let line = b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[512]}\n";
                says.push((at, line.to_vec()));
            }
            says.push((at, self.next_notify(rng)));
        }
    }

    /// When the answer to this id goes out.
    fn turn(&mut self, id: &str, rng: &mut Rng, now: u64, extra_us: u64) -> u64 {
        let key = if self.is.in_order && extra_us < 1_000_000 { "" } else { id };
        let latest = self.latest.entry(key.to_owned()).or_default();
        let at = now.max(self.frozen_until) + rng.between(100, 300_000) + extra_us;
        *latest = at.max(*latest);
        *latest
    }

    fn opinion(&self, said: &Said, tag: usize, rng: &mut Rng) -> (String, String) {
        let granted = rng.percent(90);
        let kind = said.kind;
        let (result, error) = match kind {
            Kind::Submit => {
                let (result, error, _) = verdict_of(nonce_of(tag));
                (result.to_owned(), error)
            }
            Kind::Subscribe if self.is.mood == Mood::Refuses => ("null".to_owned(), "[20,\"Full\",null]"),
            Kind::Subscribe if self.is.mood == Mood::BadSubscribe => ("[[],\"0abc\"]".to_owned(), "null"),
            Kind::Subscribe => {
                let list = rng.pick(&["[]", "[[\"mining.notify\",\"1\"]]", "[\"mining.notify\",\"1\"]"]);
                let size = self.extranonce2_bytes;
                (format!("[{list},\"{:08x}\",{size}]", self.extranonce), "null")
            }
            Kind::Configure if !said.holds("\"version-rolling\"") => {
                ("{\"minimum-difficulty\":true}".to_owned(), "null")
            }
            Kind::Configure if self.mask != 0 => {
                let mask = self.mask;
                (format!("{{\"version-rolling\":true,\"version-rolling.mask\":\"{mask:08x}\"}}"), "null")
            }
            Kind::Configure => ("false".to_owned(), "null"),
            Kind::Authorize if granted && self.is.knows_workers => ("true".to_owned(), "null"),
            Kind::Other if granted => ("true".to_owned(), "null"),
            Kind::Authorize => ("false".to_owned(), "[24,\"Unknown worker\",null]"),
            Kind::Other | Kind::Silent | Kind::Bad => ("null".to_owned(), "[-3,\"Method not found\",null]"),
        };
        (result, error.to_owned())
    }

    fn next_notify(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.jobs += 1;
        let extranonce = (format!("{:08x}", self.extranonce), self.extranonce2_bytes);
        self.extranonces.insert(format!("{:x}", self.jobs), extranonce);
        notify(rng.draw(), self.place.generation, self.jobs, rng.percent(20))
    }

    /// Says something of its own accord. Some of it ends the link.
    pub(crate) fn act(&mut self, rng: &mut Rng, now: u64) -> (Vec<u8>, Option<Fin>) {
        let mut bytes = Vec::new();
        if !self.has_greeted && self.is.mood != Mood::Early && self.is.mood != Mood::Torrent {
            return (bytes, None);
        }
        if self.is.mood == Mood::Torrent && !self.has_greeted {
            for _ in 0..rng.between(300, 3_000) {
                bytes.extend(self.next_notify(rng));
            }
            self.has_greeted = true;
        }
        for _ in 0..rng.between(0, 2) {
            self.say(rng, now, &mut bytes);
        }
        if rng.percent(10) {
            self.misbehave(rng, now, &mut bytes);
        }
        let fin = (rng.below(200) == 0).then(|| rng.pick(&[Fin::Closed, Fin::Reset]));
        (bytes, fin)
    }

    /// Whether the extranonce that it has given out may be followed by another: all that was said with it is on its way.
    fn is_settled(&self, now: u64) -> bool {
        self.settled_at.is_some_and(|settled| settled < now)
    }

    fn say(&mut self, rng: &mut Rng, now: u64, bytes: &mut Vec<u8>) {
        match rng.below(20) {
            0..3 => {
                let difficulty = rng.pick(&["1", "1024.5", "16384", "0.0625"]);
                let head = rng.pick(&["{\"id\":null,", "{"]);
                let line =
                    format!("{head}\"method\":\"mining.set_difficulty\",\"params\":[{difficulty}]}}\n");
                bytes.extend_from_slice(line.as_bytes());
            }
            3 => bytes.extend_from_slice(b"{\"id\":null,\"method\":\"mining.ping\",\"params\":[]}\n"),
            4 => bytes.extend_from_slice(b"{\"id\":77,\"method\":\"client.get_version\",\"params\":[]}\n"),
            5 if self.mask != 0 => {
                let mask = self.mask;
                let line =
                    format!("{{\"method\":\"mining.set_version_mask\",\"params\":[\"{mask:08x}\"]}}\n");
                bytes.extend_from_slice(line.as_bytes());
            }
            6 => bytes.extend_from_slice(
                b"{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"hi\"]}\r\n",
            ),
            7 if self.is_settled(now) => {
                // The extranonce that the miner has already.
                let (extranonce, size) = (self.extranonce, self.extranonce2_bytes);
                let line = format!(
                    "{{\"method\":\"mining.set_extranonce\",\"params\":[\"{extranonce:08X}\",{size}]}}\n"
                );
                bytes.extend_from_slice(line.as_bytes());
            }
            8 => bytes.extend_from_slice(b"\r\n"),
            _ => bytes.extend(self.next_notify(rng)),
        }
        if self.is.mood == Mood::Chatty {
            bytes.extend_from_slice(filtered(rng));
        }
    }

    fn misbehave(&mut self, rng: &mut Rng, now: u64, bytes: &mut Vec<u8>) {
        match self.is.mood {
            Mood::Freezes => self.frozen_until = now + 20_000_000,
            Mood::Garbage => {
                let junk = [b"<html>\r\n".as_slice(), b"[1]\n", b"{\"id\":1,\"id\":2}\n", b"{\"id\":\xff}\n"];
                bytes.extend_from_slice(rng.pick(&junk));
            }
            Mood::TooLong => bytes.extend(std::iter::repeat_n(b' ', 66_000)),
            Mood::Stalls => {
                bytes.extend_from_slice(b"{\"id\":null,\"meth");
                self.is_done = true;
            }
            Mood::Reconnects => {
                let params = rng.pick(&["[]", "[\"POOL.example\",\"3333\",5]", "[\"evil.example\",3333]"]);
                let line = format!("{{\"id\":null,\"method\":\"client.reconnect\",\"params\":{params}}}\n");
                bytes.extend_from_slice(line.as_bytes());
            }
            Mood::Moves if self.is_settled(now) => {
                self.extranonce += 1;
                self.extranonce2_bytes = rng.between(2, 8);
                self.extranonce %= 1 << 32;
                let (extranonce, size) = (self.extranonce, self.extranonce2_bytes);
                let line = format!(
                    "{{\"method\":\"mining.set_extranonce\",\"params\":[\"{extranonce:08x}\",{size}]}}\n"
                );
                bytes.extend_from_slice(line.as_bytes());
            }
            Mood::Moves
            | Mood::Steady
            | Mood::Early
            | Mood::Torrent
            | Mood::Silent
            | Mood::Forgetful
            | Mood::TarPit
            | Mood::Repeats
            | Mood::BadSubscribe
            | Mood::Refuses
            | Mood::Chatty => {}
        }
    }
}
