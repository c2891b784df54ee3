//! A pool: answers in its order, first in first out for each id, and says things of its own.

use crate::ledger::{Kind, Ledger, nonce_of, verdict_of};
use crate::net::{Fin, Lines};
use crate::rng::Rng;
use crate::says::{answer, filtered, notify};
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

#[derive(Debug)]
pub(crate) struct Pool {
    link: usize,
    mood: Mood,
    lines: Lines,
    in_order: bool,
    /// Writes ids in its own way.
    respells: bool,
    answers_configure: Option<u64>,
    /// When the last answer for an id goes out; the empty id stands for all of them.
    latest: BTreeMap<String, u64>,
    frozen_until: u64,
    has_greeted: bool,
    jobs: u64,
    extranonce: u64,
    extranonce2_bytes: u64,
    pub(crate) is_done: bool,
}

/// What a pool says, and when.
pub(crate) type Says = Vec<(u64, Vec<u8>)>;

impl Pool {
    /// `can_lose`: the miner's ids are unique, so that a missing or late answer is nobody else's.
    pub(crate) fn new(link: usize, can_lose: bool, rng: &mut Rng) -> Pool {
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
        Pool {
            link,
            mood,
            lines: Lines::default(),
            in_order: rng.percent(50),
            respells: rng.percent(30),
            answers_configure: configure_us,
            latest: BTreeMap::new(),
            frozen_until: 0,
            has_greeted: false,
            jobs: 0,
            extranonce: rng.below(1 << 32),
            extranonce2_bytes: rng.between(3, 8),
            is_done: false,
        }
    }

    /// Takes bytes of the proxy.
    pub(crate) fn receive(&mut self, bytes: &[u8], rng: &mut Rng, ledger: &mut Ledger, now: u64) -> Says {
        let mut says = Says::new();
        for line in self.lines.cut(bytes) {
            match ledger.at_pool(self.link, &line) {
                Some(tag) => self.answer(tag, rng, ledger, now, &mut says),
                None => self.answer_own(rng, now, &mut says),
            }
        }
        says
    }

    fn answer_own(&mut self, rng: &mut Rng, now: u64, says: &mut Says) {
        let result = rng.pick(&["true", "false", "null", ""]);
        if !result.is_empty() {
            let at = self.turn("2100000000", rng, now, 0);
            let line = format!("{{\"id\":2100000000,\"result\":{result},\"error\":null}}\n");
            says.push((at, line.into_bytes()));
        }
    }

    fn answer(&mut self, tag: usize, rng: &mut Rng, ledger: &mut Ledger, now: u64, says: &mut Says) {
        let said = &mut ledger.said[tag];
        let extra_us = match (said.kind, self.mood) {
            (Kind::Silent | Kind::Bad, _) | (Kind::Subscribe, Mood::Silent) => return,
            (Kind::Configure, _) => match self.answers_configure {
                Some(us) => us,
                None => return,
            },
            (Kind::Submit | Kind::Other, Mood::Forgetful) if rng.percent(10) => return,
            (Kind::Submit | Kind::Other, Mood::TarPit) if rng.percent(10) => 125_000_000,
            (Kind::Subscribe | Kind::Authorize | Kind::Submit | Kind::Other, _) => 0,
        };
        let (result, error) = self.opinion(said.kind, tag, rng);
        let layout = rng.draw();
        let id: serde_json::Value = serde_json::from_str(&said.id).expect("an id is JSON");
        let at = self.turn(&id.to_string(), rng, now, extra_us);
        let spelled = if self.respells { id.to_string() } else { said.id.clone() };
        let line = answer(layout, &spelled, &result, &error, tag);
        said.answer = Some((at, answer(layout, &said.id, &result, &error, tag)));
        if self.mood == Mood::Repeats && rng.percent(20) {
            says.push((at, line.clone()));
        }
        says.push((at, line));
        if said.kind == Kind::Authorize && !std::mem::replace(&mut self.has_greeted, true) {
            // Work right behind the authorization, as most pools do.
            says.push((
                at,
                b"{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[512]}\n".to_vec(),
            ));
            says.push((at, self.next_notify(rng)));
        }
    }

    /// When the answer to this id goes out.
    fn turn(&mut self, id: &str, rng: &mut Rng, now: u64, extra_us: u64) -> u64 {
        let key = if self.in_order && extra_us < 1_000_000 { "" } else { id };
        let latest = self.latest.entry(key.to_owned()).or_default();
        let at = now.max(self.frozen_until) + rng.between(100, 300_000) + extra_us;
        *latest = at.max(*latest);
        *latest
    }

    fn opinion(&self, kind: Kind, tag: usize, rng: &mut Rng) -> (String, String) {
        let granted = rng.percent(90);
        let (result, error) = match kind {
            Kind::Submit => {
                let (result, error, _) = verdict_of(nonce_of(tag));
                (result.to_owned(), error)
            }
            Kind::Subscribe if self.mood == Mood::Refuses => ("null".to_owned(), "[20,\"Full\",null]"),
            Kind::Subscribe if self.mood == Mood::BadSubscribe => ("[[],\"0abc\"]".to_owned(), "null"),
            Kind::Subscribe => {
                let list = rng.pick(&["[]", "[[\"mining.notify\",\"1\"]]", "[\"mining.notify\",\"1\"]"]);
                let size = self.extranonce2_bytes;
                (format!("[{list},\"{:08x}\",{size}]", self.extranonce), "null")
            }
            Kind::Configure if granted => {
                ("{\"version-rolling\":true,\"version-rolling.mask\":\"1fffe000\"}".to_owned(), "null")
            }
            Kind::Configure => ("false".to_owned(), "null"),
            Kind::Authorize | Kind::Other if granted => ("true".to_owned(), "null"),
            Kind::Authorize => ("false".to_owned(), "[24,\"Unknown worker\",null]"),
            Kind::Other | Kind::Silent | Kind::Bad => ("null".to_owned(), "[-3,\"Method not found\",null]"),
        };
        (result, error.to_owned())
    }

    fn next_notify(&mut self, rng: &mut Rng) -> Vec<u8> {
        self.jobs += 1;
        notify(rng.draw(), &format!("{:x}", self.jobs), rng.percent(20))
    }

    /// Says something of its own accord. Some of it ends the link.
    pub(crate) fn act(&mut self, rng: &mut Rng, now: u64) -> (Vec<u8>, Option<Fin>) {
        let mut bytes = Vec::new();
        if !self.has_greeted && self.mood != Mood::Early && self.mood != Mood::Torrent {
            return (bytes, None);
        }
        if self.mood == Mood::Torrent && !self.has_greeted {
            for _ in 0..rng.between(300, 3_000) {
                bytes.extend(self.next_notify(rng));
            }
            self.has_greeted = true;
        }
        for _ in 0..rng.between(0, 2) {
            self.say(rng, &mut bytes);
        }
        if rng.percent(10) {
            self.misbehave(rng, now, &mut bytes);
        }
        let fin = (rng.below(200) == 0).then(|| rng.pick(&[Fin::Closed, Fin::Reset]));
        (bytes, fin)
    }

    fn say(&mut self, rng: &mut Rng, bytes: &mut Vec<u8>) {
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
            5 => bytes
                .extend_from_slice(b"{\"method\":\"mining.set_version_mask\",\"params\":[\"1fffe000\"]}\n"),
            6 => bytes.extend_from_slice(
                b"{\"id\":null,\"method\":\"client.show_message\",\"params\":[\"hi\"]}\r\n",
            ),
            7 => {
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
        if self.mood == Mood::Chatty {
            bytes.extend_from_slice(filtered(rng));
        }
    }

    fn misbehave(&mut self, rng: &mut Rng, now: u64, bytes: &mut Vec<u8>) {
        match self.mood {
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
            Mood::Moves => {
                self.extranonce += 1;
                self.extranonce2_bytes = rng.between(3, 8);
                self.extranonce %= 1 << 32;
                let (extranonce, size) = (self.extranonce, self.extranonce2_bytes);
                let line = format!(
                    "{{\"method\":\"mining.set_extranonce\",\"params\":[\"{extranonce:08x}\",{size}]}}\n"
                );
                bytes.extend_from_slice(line.as_bytes());
            }
            Mood::Steady
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
