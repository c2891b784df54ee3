//! What each attacker says, and when.
//!
//! Knows no sockets: bytes are asked for when what came before has been taken.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// Bytes of an unfinished line that [`Conduct::HalfLine`] leaves standing: just under the cap.
pub const HALF_LINE_BYTES: usize = 16_000;
/// Requests in one packet of an authorize flood.
const AUTHORIZES_PER_PACKET: u64 = 15;
/// Requests written at once by floods.
const BATCH: u64 = 32;
/// Time between two bytes of [`Conduct::OneByte`].
const BYTE_EVERY: Duration = Duration::from_millis(200);
const CHUNK: usize = 16 * 1024;
const OPEN_LINE: &str = r#"{"id":1,"method":""#;
const SUBSCRIBE: &str = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"attacker/1.0\"]}\n";
const AUTHORIZE: &str = "{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"attacker.rig\",\"x\"]}\n";

/// One way to attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conduct {
    /// A line that never ends
    EndlessLine,
    /// 16,000 bytes of a line, and then nothing
    HalfLine,
    /// Documents that are no Stratum, one after the other
    Documents,
    /// Connects and says nothing
    Silent,
    /// One byte five times a second
    OneByte,
    /// A miner that never reads what it is sent
    NeverReads,
    /// Valid shares as fast as they are taken
    Firehose,
    /// One share again and again, of another time, of a wrong size
    BadShares,
    /// Shares for jobs that nobody gave
    UnknownJobs,
    /// Names and passwords, fifteen to a packet
    Authorize,
    /// Connects and resets
    Reset,
    /// HTTP, TLS, RDP, SSH and zeros
    Scanner,
}

impl Conduct {
    /// Every attack, in the order of a report.
    pub const ALL: [Conduct; 12] = [
        Conduct::EndlessLine,
        Conduct::HalfLine,
        Conduct::Documents,
        Conduct::Silent,
        Conduct::OneByte,
        Conduct::NeverReads,
        Conduct::Firehose,
        Conduct::BadShares,
        Conduct::UnknownJobs,
        Conduct::Authorize,
        Conduct::Reset,
        Conduct::Scanner,
    ];

    /// Whether what it is sent stays in its socket.
    pub(crate) fn never_reads(self) -> bool {
        self == Conduct::NeverReads
    }

    /// Whether it breaks a connection as soon as it is made.
    pub(crate) fn resets(self) -> bool {
        self == Conduct::Reset
    }

    /// Whether all that it says is one line without an end, which the other side has to keep.
    pub(crate) fn leaves_lines_open(self) -> bool {
        matches!(self, Conduct::EndlessLine | Conduct::HalfLine | Conduct::OneByte)
    }

    /// Whether it needs a job before it goes on.
    fn needs_work(self) -> bool {
        matches!(self, Conduct::Firehose | Conduct::BadShares | Conduct::UnknownJobs)
    }
}

/// What an attacker has to know to make shares.
#[derive(Debug, Clone, Default)]
struct Work {
    extranonce2_bytes: usize,
    job_id: String,
    ntime: String,
}

/// One connection's part of an attack.
#[derive(Debug)]
pub(crate) struct Speech {
    conduct: Conduct,
    number: u64,
    /// What was said so far, in the unit of the attack: bytes, documents, requests.
    said: u64,
    opened: bool,
    /// Lines that are still being read for the first job; empty once it is there.
    inbox: Vec<u8>,
    work: Work,
}

impl Speech {
    pub(crate) fn new(conduct: Conduct, number: u64) -> Speech {
        Speech { conduct, number, said: 0, opened: false, inbox: Vec::new(), work: Work::default() }
    }

    /// How long to wait before the next bytes.
    pub(crate) fn pace(&self) -> Duration {
        if self.conduct == Conduct::OneByte { BYTE_EVERY } else { Duration::ZERO }
    }

    /// Adds what is to be said next, and returns how many messages that is. Nothing is added where the attacker waits.
    pub(crate) fn go_on(&mut self, out: &mut Vec<u8>, documents: &[Vec<u8>]) -> u64 {
        if !self.opened {
            self.opened = true;
            return self.open(out);
        }
        if self.conduct.needs_work() && self.work.job_id.is_empty() {
            return 0;
        }
        match self.conduct {
            Conduct::EndlessLine => {
                out.resize(out.len() + CHUNK, b'a');
                0
            }
            Conduct::Documents => {
                let place = usize::try_from(self.number.wrapping_mul(37) + self.said).unwrap_or(0);
                out.extend_from_slice(
                    documents.get(place % documents.len().max(1)).map_or(b"{", Vec::as_slice),
                );
                out.push(b'\n');
                self.said += 1;
                1
            }
            Conduct::OneByte => {
                let text = OPEN_LINE.as_bytes();
                let place = usize::try_from(self.said).unwrap_or(0);
                out.push(text.get(place).copied().unwrap_or(b'a'));
                self.said += 1;
                0
            }
            Conduct::Firehose => self.batch(out, BATCH, Speech::good_share),
            Conduct::BadShares => self.batch(out, BATCH, Speech::bad_share),
            Conduct::UnknownJobs => self.batch(out, BATCH, Speech::unknown_job),
            Conduct::Authorize => self.batch(out, AUTHORIZES_PER_PACKET, Speech::guess),
            Conduct::HalfLine | Conduct::Silent | Conduct::NeverReads | Conduct::Reset | Conduct::Scanner => {
                0
            }
        }
    }

    fn open(&self, out: &mut Vec<u8>) -> u64 {
        match self.conduct {
            Conduct::EndlessLine => out.extend_from_slice(OPEN_LINE.as_bytes()),
            Conduct::HalfLine => {
                out.extend_from_slice(OPEN_LINE.as_bytes());
                out.resize(HALF_LINE_BYTES, b'a');
            }
            Conduct::NeverReads | Conduct::Firehose | Conduct::BadShares | Conduct::UnknownJobs => {
                out.extend_from_slice(SUBSCRIBE.as_bytes());
                out.extend_from_slice(AUTHORIZE.as_bytes());
                return 2;
            }
            Conduct::Authorize => {
                out.extend_from_slice(SUBSCRIBE.as_bytes());
                return 1;
            }
            Conduct::Scanner => out.extend_from_slice(self.knock()),
            Conduct::Documents | Conduct::Silent | Conduct::OneByte | Conduct::Reset => {}
        }
        0
    }

    fn knock(&self) -> &'static [u8] {
        const KNOCKS: [&[u8]; 5] = [
            b"GET /metrics HTTP/1.1\r\nHost: farm\r\n\r\n",
            b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
            b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            &[0; 64],
        ];
        KNOCKS[usize::try_from(self.number % 5).unwrap_or(0)]
    }

    fn batch(&mut self, out: &mut Vec<u8>, count: u64, write: fn(&Speech, &mut String)) -> u64 {
        let mut lines = String::new();
        for _ in 0..count {
            write(self, &mut lines);
            self.said += 1;
        }
        out.extend_from_slice(lines.as_bytes());
        count
    }

    fn guess(&self, lines: &mut String) {
        let (number, said) = (self.number, self.said);
        let _ = writeln!(
            lines,
            r#"{{"id":{},"method":"mining.authorize","params":["victim{number}.{said}","guess-{said}"]}}"#,
            said + 10
        );
    }

    fn good_share(&self, lines: &mut String) {
        let Work { extranonce2_bytes, job_id, ntime } = &self.work;
        let nonce = self.said & 0xffff_ffff;
        let digits = 2 * extranonce2_bytes;
        let _ = writeln!(
            lines,
            r#"{{"id":{},"method":"mining.submit","params":["attacker.rig","{job_id}","{:0digits$x}","{ntime}","{nonce:08x}"]}}"#,
            self.said + 10,
            self.said >> 32,
        );
    }

    fn bad_share(&self, lines: &mut String) {
        let Work { extranonce2_bytes, job_id, ntime } = &self.work;
        let digits = 2 * extranonce2_bytes;
        let (digits, ntime) = match self.said % 3 {
            // The first of these is good; all others are the same again.
            0 => (digits, ntime.as_str()),
            1 => (digits, "00000001"),
            _ => (digits + 2, ntime.as_str()),
        };
        let _ = writeln!(
            lines,
            r#"{{"id":{},"method":"mining.submit","params":["attacker.rig","{job_id}","{:0digits$x}","{ntime}","0badbad0"]}}"#,
            self.said + 10,
            0,
        );
    }

    fn unknown_job(&self, lines: &mut String) {
        let digits = 2 * self.work.extranonce2_bytes;
        let (said, ntime) = (self.said, &self.work.ntime);
        let _ = writeln!(
            lines,
            r#"{{"id":{},"method":"mining.submit","params":["attacker.rig","none{said:x}","{:0digits$x}","{ntime}","0badbad0"]}}"#,
            said + 10,
            0,
        );
    }

    /// Takes what came from the other side. Only the first job is of interest.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        const INBOX_BYTES_MAX: usize = 256 * 1024;
        if !self.conduct.needs_work() || !self.work.job_id.is_empty() || self.inbox.len() > INBOX_BYTES_MAX {
            return;
        }
        self.inbox.extend_from_slice(bytes);
        while let Some(end) = self.inbox.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.inbox.drain(..=end).collect();
            let Ok(message) = serde_json::from_slice::<Value>(&line) else { continue };
            if message["id"] == 1 {
                let size = message["result"][2].as_u64().unwrap_or(4).min(16);
                self.work.extranonce2_bytes = usize::try_from(size).unwrap_or(4);
            } else if message["method"] == "mining.notify" {
                let text = |place: usize| message["params"][place].as_str().unwrap_or("0").to_owned();
                (self.work.job_id, self.work.ntime) = (text(0), text(7));
                self.inbox = Vec::new();
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(conduct: Conduct, number: u64, heard: &str) -> String {
        let (mut speech, mut out) = (Speech::new(conduct, number), Vec::new());
        speech.go_on(&mut out, &[]);
        speech.hear(heard.as_bytes());
        out.clear();
        speech.go_on(&mut out, &[]);
        String::from_utf8(out).unwrap()
    }

    const GREETING: &str = "{\"id\":1,\"result\":[[],\"aa\",4],\"error\":null}\n\
        {\"id\":null,\"method\":\"mining.notify\",\"params\":[\"4f\",\"\",\"\",\"\",[],\"\",\"\",\"5e8c1e2a\",true]}\n";

    #[test]
    fn shares_are_made_for_the_job_that_was_given() {
        let good = said(Conduct::Firehose, 0, GREETING);
        assert_eq!(good.lines().count() as u64, BATCH);
        assert!(good.lines().all(|line| line.contains(r#""4f","00000000","5e8c1e2a""#)), "{good}");
        let mut nonces: Vec<&str> = good.lines().filter_map(|line| line.split('"').rev().nth(1)).collect();
        nonces.dedup();
        assert_eq!(nonces.len() as u64, BATCH, "no share comes twice");
        assert!(said(Conduct::BadShares, 0, GREETING).contains(r#""4f","0000000000","5e8c1e2a""#));
        assert!(said(Conduct::UnknownJobs, 0, GREETING).contains("none1f"));
        assert!(said(Conduct::Firehose, 0, "").is_empty(), "without a job there is nothing to say");
    }

    #[test]
    fn fifteen_authorizes_are_one_packet() {
        assert_eq!(said(Conduct::Authorize, 1, "").lines().count() as u64, AUTHORIZES_PER_PACKET);
    }

    #[test]
    fn a_line_that_stays_open_has_no_end() {
        for conduct in Conduct::ALL.into_iter().filter(|conduct| conduct.leaves_lines_open()) {
            let (mut speech, mut out) = (Speech::new(conduct, 3), Vec::new());
            for _ in 0..40 {
                speech.go_on(&mut out, &crate::malformed());
            }
            assert!(!out.contains(&b'\n') && out.starts_with(b"{"), "{conduct:?}");
        }
    }
}
