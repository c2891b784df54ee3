//! The words of the handshake: what is asked, and what each line of the pool adds to the findings.

use super::lines::Lines;
use crate::pools::certificate::plain;
use crate::pools::findings::{ExtranonceSubscription, Findings, Problem};
use loka_proto::limits::{EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

/// Bytes of a pool's own words that are told.
const WORDS_BYTES_MAX: usize = 160;
const USER_AGENT: &str = concat!("loka-stratum/", env!("CARGO_PKG_VERSION"));

const CONFIGURE: u64 = 1;
const SUBSCRIBE: u64 = 2;
const AUTHORIZE: u64 = 3;
const EXTRANONCE: u64 = 4;

/// What a pool answered: `Err` has its reason.
type Answer = Result<Value, String>;

pub(super) struct Dialogue<S> {
    lines: Lines<S>,
    findings: Findings,
    began: Instant,
    /// When all must be over.
    end: Instant,
    subscribed: Option<Answer>,
    authorized: Option<Answer>,
    extranonce: Option<Answer>,
    /// What the pool wants to know.
    owed: String,
}

/// How a wait ended, when nothing was wrong with the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Done,
    InVain,
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    pub(super) fn new(stream: S, findings: Findings, end: Instant) -> Self {
        let (lines, owed) = (Lines::new(stream), String::new());
        let began = Instant::now();
        Self { lines, findings, began, end, subscribed: None, authorized: None, extranonce: None, owed }
    }

    pub(super) fn into_findings(self) -> Findings {
        self.findings
    }

    /// Configure and subscribe in one go, as miners do: pools that do not know the first just leave it unanswered.
    pub(super) async fn subscribe(&mut self, within: Duration) -> Result<(), Problem> {
        let configure = json!([["version-rolling"], {"version-rolling.mask": "ffffffff"}]);
        let requests = request(CONFIGURE, "mining.configure", &configure)
            + &request(SUBSCRIBE, "mining.subscribe", &json!([USER_AGENT]));
        match self.ask(&requests, within, |now| now.subscribed.is_some()).await? {
            Waited::Closed => return Err(Problem::Closed("before it answered mining.subscribe")),
            Waited::InVain => return Err(Problem::NoSubscribeAnswer),
            Waited::Done => {}
        }
        let result = match self.subscribed.take() {
            Some(Ok(result)) => result,
            Some(Err(reason)) => return Err(Problem::SubscribeRefused(reason)),
            None => return Err(Problem::NoSubscribeAnswer),
        };
        let (extranonce1, extranonce2) = extranonces(&result).map_err(Problem::BadSubscribe)?;
        self.findings.extranonce1_bytes = Some(extranonce1);
        self.findings.extranonce2_size = Some(extranonce2);
        self.findings.time_to_subscribe = Some(self.began.elapsed());
        Ok(())
    }

    /// Authorizes, and waits for the answer and a job, whichever comes first.
    pub(super) async fn authorize(
        &mut self,
        user: &str,
        password: &str,
        within: Duration,
    ) -> Result<(), Problem> {
        let authorize = request(AUTHORIZE, "mining.authorize", &json!([user, password]));
        let at_work = |now: &Self| match &now.authorized {
            Some(Ok(_)) => now.findings.time_to_first_job.is_some(),
            Some(Err(_)) => true,
            None => false,
        };
        let waited = self.ask(&authorize, within, at_work).await?;
        self.findings.authorized = self.authorized.as_ref().map(Result::is_ok);
        match (self.authorized.take(), waited) {
            (Some(Err(reason)), _) => Err(Problem::Unauthorized(reason)),
            (Some(Ok(_)), Waited::Closed) => Err(Problem::Closed("after it took the account")),
            (None, Waited::Closed) => Err(Problem::Closed("when it heard the account")),
            // Some pools never answer and send work all the same.
            (Some(Ok(_)) | None, Waited::Done | Waited::InVain) => {
                self.findings.time_to_first_job.map(drop).ok_or(Problem::NoJob)
            }
        }
    }

    /// Waits for a job that need not come.
    pub(super) async fn listen(&mut self, within: Duration) -> Result<(), Problem> {
        self.ask("", within, |now| now.findings.time_to_first_job.is_some()).await.map(drop)
    }

    /// Nothing that happens here is a problem: it is what had to be found out.
    pub(super) async fn subscribe_extranonce(&mut self, within: Duration) -> Result<(), Problem> {
        let subscribe = request(EXTRANONCE, "mining.extranonce.subscribe", &json!([]));
        let waited = self.ask(&subscribe, within, |now| now.extranonce.is_some()).await?;
        self.findings.extranonce_subscription = Some(match waited {
            Waited::Closed => ExtranonceSubscription::Closed,
            Waited::InVain => ExtranonceSubscription::Silent,
            Waited::Done => {
                let granted = matches!(&self.extranonce, Some(Ok(result)) if *result == Value::Bool(true));
                ExtranonceSubscription::Answered(granted)
            }
        });
        Ok(())
    }

    /// Sends, then takes lines until `done`.
    async fn ask(
        &mut self,
        text: &str,
        within: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<Waited, Problem> {
        let until = (Instant::now() + within).min(self.end);
        // A pool that does not read must not hold us up either.
        if timeout_at(until, self.lines.send(text)).await.is_err() {
            return Ok(Waited::InVain);
        }
        while !done(self) {
            let line = match timeout_at(until, self.lines.next()).await {
                Err(_) => return Ok(Waited::InVain),
                Ok(line) => line?,
            };
            let Some(line) = line else { return Ok(Waited::Closed) };
            self.take(&line)?;
            let owed = std::mem::take(&mut self.owed);
            if !owed.is_empty() && timeout_at(until, self.lines.send(&owed)).await.is_err() {
                return Ok(Waited::InVain);
            }
        }
        Ok(Waited::Done)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let message: Value = serde_json::from_slice(line).map_err(|_| Problem::Garbage(kind_of(line)))?;
        match message.get("method").and_then(Value::as_str) {
            Some(method) => self.hear(method, &message),
            None if message.is_object() => self.answered(&message),
            None => return Err(Problem::Garbage(kind_of(line))),
        }
        Ok(())
    }

    fn hear(&mut self, method: &str, message: &Value) {
        let first = message.get("params").and_then(|params| params.get(0));
        let id = message.get("id").unwrap_or(&Value::Null);
        match method {
            "mining.set_difficulty" => {
                self.findings.difficulty = first.and_then(Value::as_f64).or(self.findings.difficulty);
            }
            "mining.notify" if self.findings.time_to_first_job.is_none() => {
                let prev = message.get("params").and_then(|params| params.get(1)?.as_str());
                if let Some(prev) = prev.filter(|prev| is_hash(prev)) {
                    self.findings.prev_hash = Some(prev.to_ascii_lowercase());
                    self.findings.time_to_first_job = Some(self.began.elapsed());
                }
            }
            "mining.set_version_mask" => {
                self.findings.version_mask = first.and_then(mask).or(self.findings.version_mask);
            }
            "mining.ping" => self.owed = format!("{}\n", json!({"id": id, "result": "pong", "error": null})),
            "client.get_version" => {
                self.owed = format!("{}\n", json!({"id": id, "result": USER_AGENT, "error": null}));
            }
            // Others ask for nothing that would matter here.
            _ => {}
        }
    }

    fn answered(&mut self, message: &Value) {
        let id = message.get("id");
        let id = id.and_then(|id| id.as_u64().or_else(|| id.as_str()?.parse().ok()));
        match id {
            Some(CONFIGURE) => {
                let granted = message
                    .get("result")
                    .filter(|result| result.get("version-rolling").and_then(Value::as_bool) == Some(true));
                self.findings.version_mask =
                    granted.and_then(|result| mask(result.get("version-rolling.mask")?));
            }
            Some(SUBSCRIBE) => self.subscribed = Some(answer(message, is_given)),
            Some(AUTHORIZE) => self.authorized = Some(answer(message, |result| *result == Value::Bool(true))),
            Some(EXTRANONCE) => self.extranonce = Some(answer(message, |_| true)),
            Some(_) | None => {}
        }
    }
}

fn request(id: u64, method: &str, params: &Value) -> String {
    // Written in the order that old pools expect.
    format!("{{\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n")
}

fn answer(message: &Value, is_good: impl Fn(&Value) -> bool) -> Answer {
    let result = message.get("result").unwrap_or(&Value::Null);
    match message.get("error").filter(|error| !error.is_null()) {
        Some(error) => Err(words_of(error)),
        None if is_good(result) => Ok(result.clone()),
        None => Err(words_of(message.get("reject-reason").unwrap_or(&json!("without a reason")))),
    }
}

/// The text in an error: `[20, "Server full", null]`, an object with a message, or a text alone.
fn words_of(error: &Value) -> String {
    let text = match error {
        Value::Array(parts) => parts.iter().find_map(Value::as_str),
        Value::Object(fields) => fields.get("message").and_then(Value::as_str),
        Value::String(text) => Some(text.as_str()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    };
    plain(text.map_or_else(|| error.to_string(), str::to_owned).as_str(), WORDS_BYTES_MAX)
}

/// The sizes in bytes of both extranonces.
fn extranonces(result: &Value) -> Result<(usize, usize), String> {
    let first = result.get(1).and_then(Value::as_str).ok_or("it has no extranonce1")?;
    let hex = first.bytes().all(|digit| digit.is_ascii_hexdigit()) && first.len() % 2 == 0;
    if !hex || first.len() / 2 > EXTRANONCE1_BYTES_MAX {
        return Err(format!("the extranonce1 is no hex text of up to {EXTRANONCE1_BYTES_MAX} bytes"));
    }
    let size = result.get(2).ok_or("it does not tell the size of the extranonce2")?;
    let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
    match size.filter(|size| (1..=EXTRANONCE2_BYTES_MAX).contains(size)) {
        Some(size) => Ok((first.len() / 2, size)),
        None => Err(format!("the size of the extranonce2 is not 1 to {EXTRANONCE2_BYTES_MAX}")),
    }
}

/// Whether there is something at all; what it is worth is another question.
fn is_given(result: &Value) -> bool {
    !result.is_null() && *result != Value::Bool(false)
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A mask of version bits; none at all is no mask.
fn mask(value: &Value) -> Option<u32> {
    u32::from_str_radix(value.as_str()?, 16).ok().filter(|mask| *mask != 0)
}

/// What somebody speaks who does not speak Stratum.
fn kind_of(bytes: &[u8]) -> String {
    match bytes {
        // Alerts and handshakes of TLS 1.0 to 1.3.
        [0x15 | 0x16, 3, ..] => "it speaks TLS, and was spoken to without".to_owned(),
        [b'H', b'T', b'T', b'P', b'/', ..] => "it answers in HTTP".to_owned(),
        _ => {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(WORDS_BYTES_MAX)]);
            format!("it said {:?}", plain(&text, WORDS_BYTES_MAX / 2))
        }
    }
}
