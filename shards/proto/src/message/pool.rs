//! What pools say.

use crate::limits::{
    BRANCHES_MAX, EXTRANONCE1_BYTES_MAX, EXTRANONCE2_BYTES_MAX, ID_BYTES_MAX, METHOD_BYTES_MAX,
};
use crate::message::{JobId, Method, block_mark, is_hex_text, notice};
use crate::proof::WorkId;
use crate::session::Filtered;
use crate::wire::{Envelope, Json, JsonKind, Span};

/// A checked message of a pool.
#[derive(Debug, Clone, Copy)]
pub enum PoolMessage<'t> {
    /// `mining.notify`
    Notify(Notify),
    /// `mining.set_difficulty`: a finite number above zero
    SetDifficulty(f64),
    /// `mining.set_extranonce`
    SetExtranonce(SubscribeResult<'t>),
    /// `mining.set_version_mask`
    SetVersionMask(u32),
    /// `client.reconnect`
    Reconnect(Reconnect<'t>),
    /// A question or a notice that is for the miner itself: relayed as it came.
    Request(Method),
    /// The answer to a request.
    Answer,
}

/// `mining.notify`: the parts that the session tracks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notify {
    /// The job.
    pub job: JobId,
    /// Whether all earlier jobs are void: the last parameter, be there 9 or 10.
    pub clean_jobs: bool,
    /// Tells the block that this job builds on from others.
    pub prev_hash: u64,
    /// The job's time, in seconds since 1970.
    pub ntime: u32,
    /// Where the job's id stands in the line: a string without its quotes, or a number.
    pub job_at: Span,
    /// Where `clean_jobs` stands in the line, where that could be told.
    pub clean_at: Option<Span>,
    /// The job as it is hashed, where the shard keeps it.
    pub(crate) work: Option<WorkId>,
}

/// Where a miner's shares live in the coinbase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeResult<'t> {
    /// Hexadecimal, as given.
    pub extranonce1: &'t str,
    /// Bytes of extranonce2; `None` where set_extranonce left it as it was.
    pub extranonce2_size: Option<u8>,
}

/// `client.reconnect [host, port, wait]`, all of them optional.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconnect<'t> {
    /// The host to go to; `None` for the same one.
    pub host: Option<&'t str>,
    /// The port, be it a number or a string; `None` for the same one.
    pub port: Option<u16>,
}

impl<'t> PoolMessage<'t> {
    /// Checks the shape of what `envelope` says.
    ///
    /// # Errors
    /// Why the message must not reach a miner.
    pub fn read(envelope: &Envelope<'t>) -> Result<(Method, PoolMessage<'t>), Filtered> {
        let Some(name) = envelope.method else {
            let is_answer = envelope.result.is_some() || envelope.error.is_some();
            return if is_answer {
                Ok((Method::Answer, PoolMessage::Answer))
            } else {
                Err(Filtered::NoMeaning)
            };
        };
        if envelope.odd_method {
            return Err(Filtered::NoMeaning);
        }
        if envelope.id_raw().len() > ID_BYTES_MAX {
            return Err(Filtered::BadId);
        }
        if name.len() > METHOD_BYTES_MAX {
            return Err(Filtered::UnknownMethod);
        }
        let method = Method::of(name);
        let params = envelope.params;
        let message = match method {
            Method::Notify => {
                PoolMessage::Notify(Notify::read(envelope.line, params).ok_or(Filtered::BadNotify)?)
            }
            Method::SetDifficulty => {
                PoolMessage::SetDifficulty(difficulty(params).ok_or(Filtered::BadDifficulty)?)
            }
            Method::SetExtranonce => {
                let set = params.and_then(|p| SubscribeResult::of_parts(p.at(0), p.at(1)));
                PoolMessage::SetExtranonce(set.ok_or(Filtered::BadExtranonce)?)
            }
            Method::SetVersionMask => {
                PoolMessage::SetVersionMask(mask(params).ok_or(Filtered::BadVersionMask)?)
            }
            Method::Reconnect => {
                PoolMessage::Reconnect(Reconnect::read(params).ok_or(Filtered::ReconnectRefused)?)
            }
            Method::ShowMessage => checked(method, notice::is_text(params), Filtered::BadShowMessage)?,
            Method::GetVersion | Method::Ping | Method::Pong => {
                checked(method, notice::is_bare(params), Filtered::BadRequest)?
            }
            Method::MultiVersion => checked(method, notice::is_versions(params), Filtered::BadRequest)?,
            Method::Subscribe
            | Method::Authorize
            | Method::Submit
            | Method::Configure
            | Method::ExtranonceSubscribe
            | Method::SuggestDifficulty
            | Method::SuggestTarget
            | Method::GetTransactions
            | Method::Capabilities
            | Method::Term
            | Method::Answer
            | Method::Unknown => return Err(Filtered::UnknownMethod),
        };
        Ok((method, message))
    }
}

fn checked<'t>(method: Method, is_good: bool, otherwise: Filtered) -> Result<PoolMessage<'t>, Filtered> {
    if is_good { Ok(PoolMessage::Request(method)) } else { Err(otherwise) }
}

impl Notify {
    /// `[job, prevhash, coinbase1, coinbase2, branches, version, nbits, ntime, …, clean_jobs]`. Old firmware copies these
    /// into buffers of the expected size without counting (CVE-2014-4503), so every size is checked here.
    fn read(line: &[u8], params: Option<Json<'_>>) -> Option<Notify> {
        let params = params.filter(|params| (9..=10).contains(&params.len()))?;
        let mut items = params.items();
        let job = items.next().filter(|job| job.as_str().is_some() || job.as_i64().is_some())?;
        let mut hex = |digits: Option<usize>| items.next().filter(|value| is_hex(*value, digits));
        let prev_hash = hex(Some(64))?;
        hex(None)?;
        hex(None)?;
        let branches =
            items.next().filter(|list| list.kind() == JsonKind::Array && list.len() <= BRANCHES_MAX)?;
        let sized = branches.items().all(|branch| is_hex(branch, Some(64)));
        let mut number = || items.next().filter(|value| is_hex(*value, Some(8)));
        let (_, _, ntime) = (number()?, number()?, number()?);
        let clean_jobs = items.last().filter(|_| sized)?;
        let JsonKind::Bool(is_clean) = clean_jobs.kind() else { return None };
        Some(Notify {
            job: JobId::of(job),
            clean_jobs: is_clean,
            prev_hash: block_mark(prev_hash.as_str()?),
            ntime: u32::from_str_radix(ntime.as_str()?, 16).ok()?,
            job_at: job_span(line, job, prev_hash.string_span()?)?,
            clean_at: clean_span(line, ntime.string_span()?.end + 1, is_clean),
            work: None,
        })
    }
}

/// A number carries no position, but it stands between the list's beginning and the string behind it.
fn job_span(line: &[u8], job: Json<'_>, behind: Span) -> Option<Span> {
    if let Some(span) = job.string_span() {
        return Some(span);
    }
    let before = &line[..behind.start - 1];
    let end = before.iter().rposition(|byte| *byte == b',')?;
    let blank = |byte: &u8| byte.is_ascii_whitespace();
    let end = before[..end].iter().rposition(|byte| !blank(byte))? + 1;
    let start = before[..end].iter().rposition(|byte| blank(byte) || *byte == b'[')? + 1;
    Some(Span { start, end })
}

/// The literal right before the end of the parameters, which are flat behind `from`, with perhaps one string between. Where
/// that string has a bracket in it, or is none, nothing is found.
fn clean_span(line: &[u8], from: usize, is_clean: bool) -> Option<Span> {
    let literal: &[u8] = if is_clean { b"true" } else { b"false" };
    let bracket = from + line[from..].iter().position(|byte| *byte == b']')?;
    let end = line[..bracket].iter().rposition(|byte| !byte.is_ascii_whitespace())? + 1;
    let start = end.checked_sub(literal.len()).filter(|start| *start >= from)?;
    (&line[start..end] == literal).then_some(Span { start, end })
}

/// Hexadecimal of exactly so many digits, or of any even number of them.
fn is_hex(value: Json<'_>, digits: Option<usize>) -> bool {
    let sized = |text: &str| digits.map_or(text.len().is_multiple_of(2), |digits| text.len() == digits);
    value.as_str().is_some_and(|text| sized(text) && is_hex_text(text))
}

fn difficulty(params: Option<Json<'_>>) -> Option<f64> {
    params?.at(0)?.as_f64().filter(|difficulty| difficulty.is_finite() && *difficulty > 0.0)
}

fn mask(params: Option<Json<'_>>) -> Option<u32> {
    u32::from_str_radix(params?.at(0)?.as_str()?, 16).ok()
}

impl<'t> SubscribeResult<'t> {
    /// Reads `[subscriptions, extranonce1, extranonce2_size]`; the subscriptions may have any shape.
    /// `None` when a part is missing or out of range: a miner must never see it.
    #[must_use]
    pub fn read(result: Json<'t>) -> Option<SubscribeResult<'t>> {
        let read = Self::of_parts(result.at(1), result.at(2))?;
        (result.len() >= 3 && read.extranonce2_size.is_some()).then_some(read)
    }

    fn of_parts(extranonce1: Option<Json<'t>>, size: Option<Json<'t>>) -> Option<SubscribeResult<'t>> {
        let extranonce1 = extranonce1?.as_str()?;
        let digits = extranonce1.len();
        let whole_bytes = digits.is_multiple_of(2) && (2..=2 * EXTRANONCE1_BYTES_MAX).contains(&digits);
        if !whole_bytes || !is_hex_text(extranonce1) {
            return None;
        }
        let extranonce2_size = match size {
            None => None,
            Some(size) => {
                let bytes = u8::try_from(size.as_i64()?).ok()?;
                Some((1..=EXTRANONCE2_BYTES_MAX).contains(&usize::from(bytes)).then_some(bytes)?)
            }
        };
        Some(SubscribeResult { extranonce1, extranonce2_size })
    }
}

impl<'t> Reconnect<'t> {
    fn read(params: Option<Json<'t>>) -> Option<Reconnect<'t>> {
        let Some(params) = params else { return Some(Reconnect { host: None, port: None }) };
        let host = match params.at(0) {
            None => None,
            Some(host) => Some(host.as_str()?).filter(|host| !host.is_empty()),
        };
        let port = match params.at(1) {
            None => None,
            Some(port) => {
                let number = port.as_i64().or_else(|| port.as_str()?.parse().ok())?;
                Some(u16::try_from(number).ok()?)
            }
        };
        Some(Reconnect { host, port })
    }
}

/// The mask in the answer to `mining.configure`, when version rolling was granted.
#[must_use]
pub fn granted_mask(result: Json<'_>) -> Option<u32> {
    if result.get("version-rolling")?.kind() != JsonKind::Bool(true) {
        return None;
    }
    u32::from_str_radix(result.get("version-rolling.mask")?.as_str()?, 16).ok()
}
