//! One miner of the swarm: what it knows, the shares it makes, and how it takes what the pool says.

use mio::net::TcpStream;

use super::greeting::Greeted;
use super::ids::{FIRST_SHARE, IdStyle, InFlight, Match, Pending};
use super::report::Tally;
use super::{Quirks, SwarmConfig};
use crate::JobClock;
use crate::net::{Inbox, Outbox};
use crate::seed::mix;
use crate::wire::{Message, push_hex, text_of};

/// Shares one miner may have in flight; bounds memory when the target stops answering.
const IN_FLIGHT_MAX: usize = 4096;
/// Bytes one miner may have unsent before it makes no more shares.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
/// Longest extranonce2 a miner can fill, in bytes.
pub(super) const EXTRANONCE2_BYTES_MAX: usize = 16;

/// Where a miner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Without a connection, and to be dialled.
    Idle,
    Connecting,
    Greeting,
    /// Subscribed, authorized, and with a job.
    Ready,
    /// Without a connection for good.
    Gone,
}

pub(super) const STAGES: usize = 5;

/// The quirks this miner has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Habits {
    pub(super) ids: IdStyle,
    pub(super) pipelined: bool,
    pub(super) version_bits: bool,
}

impl Habits {
    pub(super) fn of(quirks: &Quirks, number: u64) -> Self {
        if !quirks.mixed {
            return Habits {
                ids: quirks.ids,
                pipelined: quirks.pipelined,
                version_bits: quirks.version_bits,
            };
        }
        const STYLES: [IdStyle; 4] = [IdStyle::Unique, IdStyle::AlwaysFour, IdStyle::Strings, IdStyle::Large];
        Habits {
            ids: STYLES[(number % 4) as usize],
            pipelined: (number / 4).is_multiple_of(2),
            version_bits: (number / 8).is_multiple_of(2),
        }
    }
}

/// The newest job. Both fields are JSON text as received, quotes included.
pub(super) struct Job {
    id: Box<str>,
    ntime: Box<str>,
}

pub(super) struct Link {
    pub(super) stage: Stage,
    pub(super) stream: Option<TcpStream>,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    pub(super) habits: Habits,
    /// The user name as JSON text; that of its first worker.
    pub(super) user: Box<str>,
    workers: u64,
    pub(super) greeted: Greeted,
    /// Authorizations that are not answered yet; all have the same id.
    pub(super) unauthorized: usize,
    pub(super) in_flight: InFlight,
    pub(super) job: Option<Job>,
    pub(super) extranonce2_size: usize,
    /// The size that holds from the next job on.
    next_extranonce2_size: Option<usize>,
    /// The version bits that were granted.
    pub(super) version_mask: Option<u32>,
    /// Shares this miner may still send.
    pub(super) left: u64,
    pub(super) dialled_ns: u64,
    pub(super) dialled_before: bool,
    /// Has bytes that were queued outside its own turn.
    pub(super) dirty: bool,
    seed: u64,
    next_serial: u64,
    shares_made: u64,
}

/// What a line meant to the one who reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// The greeting is complete and the first job is there.
    BecameReady,
    /// Subscribe or authorize was refused.
    Refused,
}

/// Appends the name of one of the workers of this user, as JSON text.
pub(super) fn push_user(out: &mut Vec<u8>, user: &str, worker: u64) {
    if worker == 0 {
        out.extend_from_slice(user.as_bytes());
    } else {
        out.extend_from_slice(&user.as_bytes()[..user.len() - 1]);
        out.extend_from_slice(format!("-{worker:02}\"").as_bytes());
    }
}

impl Link {
    pub(super) fn new(config: &SwarmConfig, number: u64, left: u64) -> Self {
        let user = format!("{}.{number:05}", config.user_prefix);
        Link {
            stage: Stage::Idle,
            stream: None,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            habits: Habits::of(&config.quirks, number),
            user: serde_json::Value::from(user).to_string().into_boxed_str(),
            workers: config.workers as u64,
            greeted: Greeted::default(),
            unauthorized: 0,
            in_flight: InFlight::default(),
            job: None,
            extranonce2_size: 0,
            next_extranonce2_size: None,
            version_mask: None,
            left,
            dialled_ns: 0,
            dialled_before: false,
            dirty: false,
            seed: mix(config.seed, number),
            next_serial: FIRST_SHARE,
            shares_made: 0,
        }
    }

    /// Forgets the connection and what was agreed on it; returns how many shares are lost with it.
    pub(super) fn forget(&mut self) -> u64 {
        self.stream = None;
        self.inbox = Inbox::default();
        self.outbox = Outbox::default();
        self.greeted = Greeted::default();
        self.job = None;
        self.next_extranonce2_size = None;
        self.version_mask = None;
        self.in_flight.clear()
    }

    pub(super) fn may_send(&self) -> bool {
        self.stage == Stage::Ready
            && self.left > 0
            && self.in_flight.len() < IN_FLIGHT_MAX
            && self.outbox.len() < UNSENT_BYTES_MAX
    }

    /// Queues one share. False when the miner has no job.
    pub(super) fn push_share(&mut self, due_ns: u64) -> bool {
        let Some(job) = &self.job else { return false };
        let out = self.outbox.buffer();
        out.extend_from_slice(b"{\"id\":");
        self.habits.ids.write(out, self.next_serial);
        out.extend_from_slice(b",\"method\":\"mining.submit\",\"params\":[");
        push_user(out, &self.user, self.shares_made % self.workers);
        out.push(b',');
        out.extend_from_slice(job.id.as_bytes());
        out.extend_from_slice(b",\"");
        push_hex(out, u128::from(self.shares_made), self.extranonce2_size * 2);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(job.ntime.as_bytes());
        out.extend_from_slice(b",\"");
        // An odd factor maps one to one: no nonce comes twice within 2^32 shares, however short extranonce2 is.
        let nonce = (self.shares_made as u32).wrapping_mul(0x9e37_79b1).wrapping_add(self.seed as u32);
        push_hex(out, u128::from(nonce), 8);
        if let Some(mask) = self.version_mask {
            out.extend_from_slice(b"\",\"");
            push_hex(out, u128::from((nonce ^ (nonce << 13)) & mask), 8);
        }
        out.extend_from_slice(b"\"]}\n");
        self.in_flight.push(Pending { serial: self.next_serial, due_ns });
        self.next_serial += 1;
        self.shares_made += 1;
        self.left -= 1;
        true
    }

    /// Takes one line of the pool.
    pub(super) fn handle_line(
        &mut self,
        config: &SwarmConfig,
        line: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> Heard {
        let Ok(message) = Message::parse(line) else {
            tally.report.malformed_lines += 1;
            return Heard::Nothing;
        };
        if message.method.is_some() {
            return self.handle_notice(config, &message, tally);
        }
        let id = message.id.map(|id| id.get()).unwrap_or_default();
        match self.habits.ids.read(id) {
            None => tally.report.shares.mismatched += 1,
            Some(serial) if serial < FIRST_SHARE => {
                return self.handle_greeting_answer(config, serial, &message, tally);
            }
            Some(serial) => self.handle_share_answer(serial, &message, now_ns, tally),
        }
        Heard::Nothing
    }

    fn handle_share_answer(&mut self, serial: u64, message: &Message<'_>, now_ns: u64, tally: &mut Tally) {
        match self.in_flight.take(self.habits.ids, serial, self.next_serial) {
            Match::Share(share) => {
                tally.submit.record_ns(now_ns.saturating_sub(share.due_ns));
                tally.last_answer_ns = now_ns;
                if message.is_accepted() {
                    tally.report.shares.accepted += 1;
                } else {
                    tally.count_reject(message.error_code());
                }
            }
            Match::Again => tally.report.shares.duplicate_answers += 1,
            Match::Foreign => tally.report.shares.mismatched += 1,
        }
    }

    /// Requests and notices of the pool. Ones that a miner may ignore are ignored.
    fn handle_notice(&mut self, config: &SwarmConfig, message: &Message<'_>, tally: &mut Tally) -> Heard {
        match message.method_name().unwrap_or_default() {
            "mining.notify" => {
                let params = message.param_list();
                let (Some(id), Some(ntime)) = (params.first(), params.get(7)) else {
                    tally.report.malformed_lines += 1;
                    return Heard::Nothing;
                };
                tally.report.jobs_received += 1;
                self.time_job(config, tally);
                if let Some(size) = self.next_extranonce2_size.take() {
                    self.extranonce2_size = size;
                }
                self.job = Some(Job { id: id.get().into(), ntime: ntime.get().into() });
                return self.ready_if_complete();
            }
            "mining.set_extranonce" => {
                if config.extranonce {
                    self.take_extranonce(message, tally);
                } else {
                    tally.report.extranonces_unasked += 1;
                }
            }
            "mining.set_version_mask" => {
                let params = message.param_tree();
                let mask = params.get(0).and_then(|mask| mask.as_str()).and_then(crate::wire::hex_word);
                if self.habits.version_bits && mask.is_some() {
                    self.version_mask = mask;
                }
            }
            "mining.ping" => self.answer(message, "\"pong\""),
            "client.get_version" => self.answer(message, "\"loka-rig/0.1\""),
            _ => {}
        }
        Heard::Nothing
    }

    /// The extranonce1 is part of what is hashed, and nobody hashes here; a miner must still be able to use it.
    fn take_extranonce(&mut self, message: &Message<'_>, tally: &mut Tally) {
        let params = message.param_list();
        let extranonce1 = params.first().and_then(|text| text_of(text));
        let is_usable = extranonce1.is_some_and(|text| {
            !text.is_empty() && text.len() % 2 == 0 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        match params.get(1).and_then(|size| size.get().parse().ok()) {
            Some(size @ 1..=EXTRANONCE2_BYTES_MAX) if is_usable => {
                self.next_extranonce2_size = Some(size);
                tally.report.extranonces += 1;
            }
            Some(_) | None => tally.report.malformed_lines += 1,
        }
    }

    /// The first job of a connection is not timed: the pool did not begin to send it to everybody just now.
    fn time_job(&self, config: &SwarmConfig, tally: &mut Tally) {
        let since_ns = config.job_clock.as_ref().and_then(JobClock::since_mark_ns);
        if let Some(ns) = since_ns.filter(|_| self.stage == Stage::Ready) {
            tally.job.record_ns(ns);
        }
    }

    fn answer(&mut self, message: &Message<'_>, result: &str) {
        if self.outbox.len() < UNSENT_BYTES_MAX {
            let line = format!("{{\"id\":{},\"result\":{result},\"error\":null}}\n", message.id_text());
            self.outbox.buffer().extend_from_slice(line.as_bytes());
        }
    }

    /// Says `BecameReady` once per connection.
    pub(super) fn ready_if_complete(&mut self) -> Heard {
        let complete = self.stage == Stage::Greeting && self.job.is_some() && self.greeted.is_complete();
        if complete { Heard::BecameReady } else { Heard::Nothing }
    }
}
