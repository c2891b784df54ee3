//! Plays a golden dialogue against a session. All bytes and wishes of the session must be in the script: after each
//! block of sends nothing may be left that no line of the script expects.

use crate::common::{Event, Harness};
use crate::script::{Dialogue, Script, Step, What};
use loka_proto::stats::Direction;
use loka_proto::{End, Filtered, Intent, Method, Reject, RejectClass};
use std::collections::HashMap;

/// How the bytes of the script are cut into reads. The script must hold for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A read for each send of the script.
    Whole,
    /// Adjacent sends of one side in one read.
    Joined,
    /// Reads of so many bytes.
    Every(usize),
    /// A read for each send, after each of which the session goes on in another process if it can.
    HandedOver,
    /// The same with up to twenty reads for each send.
    HandedOverSplit,
}

pub(crate) const CUTS: [Cut; 6] =
    [Cut::Whole, Cut::Joined, Cut::Every(1), Cut::Every(7), Cut::HandedOver, Cut::HandedOverSplit];

impl Cut {
    /// The most bytes of a send of this length that one read has.
    fn size(self, length: usize) -> usize {
        match self {
            Cut::Whole | Cut::Joined | Cut::HandedOver => length.max(1),
            Cut::Every(size) => size,
            Cut::HandedOverSplit => length / 20 + 11,
        }
    }

    fn hands_over(self) -> bool {
        matches!(self, Cut::HandedOver | Cut::HandedOverSplit)
    }
}

/// Where the session's outputs stand against the script.
struct Player {
    harness: Harness,
    /// Bytes of each side that the script has accounted for.
    at_pool: usize,
    at_miner: usize,
    wishes: usize,
    checked: HashMap<String, f64>,
}

/// Plays `script`; the error says where it differs.
pub(crate) fn play(script: &Script, cut: Cut) -> Result<(), String> {
    script.done.iter().try_for_each(|dialogue| play_one(dialogue, cut))
}

fn play_one(dialogue: &Dialogue, cut: Cut) -> Result<(), String> {
    let mut player = Player {
        harness: Harness::new(dialogue.policy.clone()),
        at_pool: 0,
        at_miner: 0,
        wishes: 0,
        checked: HashMap::new(),
    };
    let steps = if cut == Cut::Joined { join(&dialogue.steps) } else { dialogue.steps.clone() };
    let mut last = "the beginning";
    let mut before: Option<&What> = None;
    for step in &steps {
        if let What::Do(event) = &step.what {
            if !before.is_some_and(|before| is_same_side(before, &step.what)) {
                player.nothing_left().map_err(|e| format!("{last}: {e} ({cut:?})"))?;
            }
            for event in pieces(event, cut) {
                player.harness.event(&event);
                if cut.hands_over() {
                    player.harness.hand_over();
                }
            }
            last = &step.at;
        }
        player.expect(&step.what).map_err(|e| format!("{}: {e} ({cut:?})", step.at))?;
        before = Some(&step.what);
    }
    player.nothing_left().and_then(|()| player.all_counted()).map_err(|e| format!("{last}: {e} ({cut:?})"))
}

/// Lines that one side sends right after another are one block: what they call for may be expected behind the last.
fn is_same_side(before: &What, now: &What) -> bool {
    matches!(
        (before, now),
        (What::Do(Event::Miner(_)), What::Do(Event::Miner(_)))
            | (What::Do(Event::Pool(_)), What::Do(Event::Pool(_)))
    )
}

fn pieces(event: &Event, cut: Cut) -> Vec<Event> {
    match event {
        Event::Miner(bytes) if !bytes.is_empty() => {
            bytes.chunks(cut.size(bytes.len())).map(|b| Event::Miner(b.to_vec())).collect()
        }
        Event::Pool(bytes) if !bytes.is_empty() => {
            bytes.chunks(cut.size(bytes.len())).map(|b| Event::Pool(b.to_vec())).collect()
        }
        Event::Miner(_)
        | Event::Pool(_)
        | Event::PoolUp(_)
        | Event::PoolDown(_)
        | Event::MinerEof
        | Event::Drain { .. }
        | Event::Wait { .. } => vec![event.clone()],
    }
}

/// Moves each send before the expectations that separate it from an earlier send of the same side.
fn join(steps: &[Step]) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    let mut open: Option<usize> = None;
    for step in steps {
        match (&step.what, open.map(|index| &mut joined[index].what)) {
            (What::AtPool(_) | What::AtMiner(_), _) => joined.push(step.clone()),
            (What::Do(Event::Miner(more)), Some(What::Do(Event::Miner(bytes))))
            | (What::Do(Event::Pool(more)), Some(What::Do(Event::Pool(bytes)))) => {
                bytes.extend_from_slice(more)
            }
            (What::Do(_) | What::Dial | What::End(_) | What::Alive | What::Count(..), _) => {
                open =
                    matches!(step.what, What::Do(Event::Miner(_) | Event::Pool(_))).then_some(joined.len());
                joined.push(step.clone());
            }
        }
    }
    joined
}

impl Player {
    fn expect(&mut self, what: &What) -> Result<(), String> {
        match what {
            What::Do(_) => Ok(()),
            What::AtPool(bytes) => eat(&self.harness.to_pool, &mut self.at_pool, bytes, "pool"),
            What::AtMiner(bytes) => eat(&self.harness.to_miner, &mut self.at_miner, bytes, "miner"),
            What::Dial => self.wish(|wish| wish == Intent::DialPool, "to dial the pool"),
            What::End(label) => {
                let is = |wish| matches!(wish, Intent::Close(end) if end.label() == label);
                self.wish(is, &format!("an end with {label}"))
            }
            What::Alive if self.harness.session.is_over() => Err(format!("over: {:?}", self.harness.intents)),
            What::Alive => Ok(()),
            What::Count(metric, number) => {
                let found = self.metric(metric)?;
                self.checked.insert(metric.clone(), found);
                let is_same = (found - number).abs() < 1e-9;
                if is_same { Ok(()) } else { Err(format!("{metric} is {found}, expected {number}")) }
            }
        }
    }

    fn wish(&mut self, is: impl Fn(Intent) -> bool, name: &str) -> Result<(), String> {
        let wish = self.harness.intents.get(self.wishes).copied();
        self.wishes += 1;
        if wish.is_some_and(is) { Ok(()) } else { Err(format!("expected {name}, found {wish:?}")) }
    }

    fn nothing_left(&self) -> Result<(), String> {
        let h = &self.harness;
        let wishes = &h.intents[self.wishes.min(h.intents.len())..];
        let (at_pool, at_miner) = (shown(&h.to_pool[self.at_pool..]), shown(&h.to_miner[self.at_miner..]));
        if at_pool.is_empty() && at_miner.is_empty() && wishes.is_empty() {
            return Ok(());
        }
        Err(format!("nobody expects: at the pool {at_pool:?}, at the miner {at_miner:?}, wishes {wishes:?}"))
    }

    /// A refusal or a filtered message that a script does not speak of is a surprise like any other.
    fn all_counted(&self) -> Result<(), String> {
        let names = Reject::ALL.iter().map(|r| format!("rejects.{r}"));
        let names = names.chain(Filtered::ALL.iter().map(|f| format!("filtered.{f}")));
        for name in names.chain(RejectClass::ALL.iter().map(|c| format!("rejected.{c}"))) {
            let (counted, checked) = (self.metric(&name)?, self.checked.get(&name).copied().unwrap_or(0.0));
            if (counted - checked).abs() > 1e-9 {
                return Err(format!("at the end {name} is {counted}; the script last said {checked}"));
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "counters of a test are small")]
    fn metric(&self, name: &str) -> Result<f64, String> {
        let (session, counts) = (&self.harness.session, &self.harness.stats.counts);
        let mining = &session.client().mining;
        let unknown = || format!("unknown metric {name}");
        let words: Vec<&str> = name.split('.').collect();
        let number = match words.as_slice() {
            ["shares", "forwarded"] => counts.shares.forwarded - counts.shares.handed_over,
            ["shares", "accepted"] => counts.shares.accepted,
            ["shares", "unanswered"] => counts.shares.unanswered,
            ["shares", "lost"] => counts.shares.lost,
            ["moved"] => counts.moved,
            ["redirects"] => self.harness.stats.redirects.len() as u64,
            ["shares", "refused"] => counts.shares.refused,
            ["shares", "accepted_difficulty"] => return Ok(counts.shares.accepted_difficulty),
            ["authorizations", "accepted"] => counts.authorizations.accepted,
            ["authorizations", "refused"] => counts.authorizations.refused,
            ["configure_answered"] => counts.configure_answered,
            ["rejected", l] => {
                find(RejectClass::ALL, l).map(|c| counts.shares.rejected[c.index()]).ok_or_else(unknown)?
            }
            ["rejects", l] => find(Reject::ALL, l).map(|r| counts.rejects[r.index()]).ok_or_else(unknown)?,
            ["filtered", l] => {
                find(Filtered::ALL, l).map(|f| counts.filtered[f.index()]).ok_or_else(unknown)?
            }
            ["ends", l] => find(End::ALL, l).map(|e| counts.ends[e.index()]).ok_or_else(unknown)?,
            ["messages", side, l] => find(Direction::ALL, side)
                .zip(find(Method::ALL, l))
                .map(|(d, m)| counts.messages[d.index()][m.index()])
                .ok_or_else(unknown)?,
            ["difficulty"] => return Ok(mining.difficulty()),
            ["mask"] => u64::from(mining.version_mask()),
            ["extranonce2_size"] => mining.extranonce2_size().map_or(0, u64::from),
            ["jobs"] => mining.jobs() as u64,
            ["workers"] => session.client().workers() as u64,
            ["pending"] => session.requests_pending() as u64,
            ["in_flight"] => session.shares_in_flight() as u64,
            ["held"] => session.bytes_held() as u64,
            _ => return Err(unknown()),
        };
        Ok(number as f64)
    }
}

fn find<T: Copy + ToString>(all: &[T], label: &str) -> Option<T> {
    all.iter().copied().find(|item| item.to_string() == label)
}

fn eat(have: &[u8], from: &mut usize, want: &[u8], side: &str) -> Result<(), String> {
    let rest = &have[*from..];
    if !rest.starts_with(want) {
        return Err(format!("at the {side}\n  expected {:?}\n  found    {:?}", shown(want), shown(rest)));
    }
    *from += want.len();
    Ok(())
}

/// The bytes for a message of a failed test; long ones are cut.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(600)]).into_owned();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
