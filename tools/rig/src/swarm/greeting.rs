//! The handshake of a swarm miner: configure, subscribe, authorize; all at once or step by step.

use super::SwarmConfig;
use super::ids::{AUTHORIZE, CONFIGURE, EXTRANONCE, SUBSCRIBE};
use super::link::{EXTRANONCE2_BYTES_MAX, Heard, Link, push_user};
use super::report::Tally;
use crate::wire::{Message, hex_word};

/// The mask that is asked for.
const ASKED_MASK: &str = "1fffe000";

/// Which requests of the greeting were sent and answered: one bit per serial number.
#[derive(Default, Clone, Copy)]
pub(super) struct Greeted {
    sent: u8,
    answered: u8,
}

impl Greeted {
    fn bit(serial: u64) -> u8 {
        1 << serial
    }

    pub(super) fn is_complete(self) -> bool {
        let needed = Self::bit(SUBSCRIBE) | Self::bit(AUTHORIZE);
        // A pool that says nothing to the extranonce subscription is no reason to wait.
        let asked = self.sent & !Self::bit(EXTRANONCE);
        asked & needed == needed && asked & !self.answered == 0
    }
}

impl Link {
    /// Sends the first request or, pipelined, all of them.
    pub(super) fn greet(&mut self, config: &SwarmConfig) {
        while let Some(serial) = self.send_next_greeting(config)
            && (self.habits.pipelined || serial == EXTRANONCE)
        {}
    }

    /// `None` when all were sent.
    fn send_next_greeting(&mut self, config: &SwarmConfig) -> Option<u64> {
        let is_wanted = |serial: u64| match serial {
            CONFIGURE => self.habits.version_bits,
            EXTRANONCE => config.extranonce,
            _ => true,
        };
        let unsent = |&serial: &u64| is_wanted(serial) && self.greeted.sent & Greeted::bit(serial) == 0;
        let serial = [CONFIGURE, SUBSCRIBE, EXTRANONCE, AUTHORIZE].into_iter().find(unsent)?;
        self.greeted.sent |= Greeted::bit(serial);
        if serial == AUTHORIZE {
            self.authorize(config);
            return Some(serial);
        }
        let out = self.outbox.buffer();
        out.extend_from_slice(b"{\"id\":");
        self.habits.ids.write(out, serial);
        let rest = match serial {
            CONFIGURE => format!(
                ",\"method\":\"mining.configure\",\"params\":[[\"version-rolling\"],\
                 {{\"version-rolling.mask\":\"{ASKED_MASK}\",\"version-rolling.min-bit-count\":2}}]}}\n"
            ),
            SUBSCRIBE => ",\"method\":\"mining.subscribe\",\"params\":[\"loka-rig/0.1\"]}\n".to_owned(),
            _ => ",\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n".to_owned(),
        };
        out.extend_from_slice(rest.as_bytes());
        Some(serial)
    }

    /// Asks for all of its workers, with one id: the answers are as many.
    fn authorize(&mut self, config: &SwarmConfig) {
        let password = serde_json::Value::from(config.password.as_str());
        self.unauthorized = config.workers;
        for worker in 0..config.workers as u64 {
            let out = self.outbox.buffer();
            out.extend_from_slice(b"{\"id\":");
            self.habits.ids.write(out, AUTHORIZE);
            out.extend_from_slice(b",\"method\":\"mining.authorize\",\"params\":[");
            push_user(out, &self.user, worker);
            out.extend_from_slice(format!(",{password}]}}\n").as_bytes());
        }
    }

    /// Takes the answer to one of the greeting's requests.
    pub(super) fn handle_greeting_answer(
        &mut self,
        config: &SwarmConfig,
        serial: u64,
        message: &Message<'_>,
        tally: &mut Tally,
    ) -> Heard {
        let bit = Greeted::bit(serial);
        if self.greeted.sent & bit == 0 {
            tally.report.shares.mismatched += 1;
            return Heard::Nothing;
        }
        if self.greeted.answered & bit != 0 {
            tally.report.shares.duplicate_answers += 1;
            return Heard::Nothing;
        }
        if serial == AUTHORIZE && self.unauthorized > 1 && message.is_accepted() {
            self.unauthorized -= 1;
            return Heard::Nothing;
        }
        self.greeted.answered |= bit;
        let accepted = match serial {
            CONFIGURE => {
                self.version_mask = granted_mask(message);
                true
            }
            SUBSCRIBE => self.take_subscription(message),
            // A pool may have no such thing.
            EXTRANONCE => return Heard::Nothing,
            _ => message.is_accepted(),
        };
        if !accepted {
            tally.note_error(format!("refused: {}", message.error.map_or("no reason", |error| error.get())));
            return Heard::Refused;
        }
        if !self.habits.pipelined {
            self.greet(config);
        }
        self.ready_if_complete()
    }

    /// False when the answer has no usable extranonce.
    fn take_subscription(&mut self, message: &Message<'_>) -> bool {
        let tree: Option<serde_json::Value> =
            message.result.and_then(|result| serde_json::from_str(result.get()).ok());
        let size = tree.as_ref().and_then(|result| result.get(2)?.as_u64()).unwrap_or(0) as usize;
        let has_extranonce1 =
            tree.as_ref().and_then(|result| result.get(1)?.as_str()).is_some_and(|text| !text.is_empty());
        self.extranonce2_size = size;
        message.error.is_none() && has_extranonce1 && (1..=EXTRANONCE2_BYTES_MAX).contains(&size)
    }
}

/// `None` when version rolling was not granted.
fn granted_mask(message: &Message<'_>) -> Option<u32> {
    let result: serde_json::Value = serde_json::from_str(message.result?.get()).ok()?;
    if result.get("version-rolling")?.as_bool()? {
        hex_word(result.get("version-rolling.mask")?.as_str()?)
    } else {
        None
    }
}
