//! What miners say.

use crate::limits::{EXTRANONCE2_BYTES_MAX, ID_BYTES_MAX, METHOD_BYTES_MAX, USER_BYTES_MAX};
use crate::message::{Method, is_hex_text};
use crate::session::Reject;
use crate::wire::{Envelope, Json, JsonKind, fingerprint};
use serde::{Deserialize, Serialize};

/// A checked message of a miner.
#[derive(Debug, Clone, Copy)]
pub enum MinerMessage<'t> {
    /// `mining.subscribe`, with the user agent where one was given
    Subscribe(Option<&'t str>),
    /// `mining.authorize`
    Authorize(Authorize<'t>),
    /// `mining.submit`
    Submit(Submit<'t>),
    /// `mining.configure`
    Configure(Configure),
    /// `mining.extranonce.subscribe`
    ExtranonceSubscribe,
    /// Any other request: relayed as it came.
    Request(Method),
    /// An answer to something the pool asked: relayed as it came.
    Answer,
}

/// `mining.authorize [user, password]`; the password may be missing, `null`, or any scalar.
#[derive(Debug, Clone, Copy)]
pub struct Authorize<'t> {
    /// The user's name, as a value of the line.
    pub user: Json<'t>,
    /// The password, as a value of the line.
    pub password: Option<Json<'t>>,
}

/// `mining.submit [user, job, extranonce2, ntime, nonce, version bits?]`, each of the right type.
#[derive(Debug, Clone, Copy)]
pub struct Submit<'t> {
    /// The user's name, as a value of the line.
    pub user: Json<'t>,
    /// The job's id: a string, or an integer as some miners write it.
    pub job: Json<'t>,
    /// Hexadecimal, 1 to [`EXTRANONCE2_BYTES_MAX`] bytes.
    pub extranonce2: &'t str,
    /// Seconds since 1970: up to 8 hexadecimal digits, perhaps not padded.
    pub ntime: u32,
    /// Up to 8 hexadecimal digits, perhaps not padded.
    pub nonce: u32,
    /// Up to 8 hexadecimal digits.
    pub version_bits: Option<u32>,
}

/// `mining.configure`: what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    /// The extensions, of those that BIP310 names.
    pub asked: Asked,
    /// The mask asked for with `version-rolling`; all bits where none was named.
    pub mask: u32,
}

/// Extensions of BIP310 that a miner may ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// `version-rolling`
    pub version_rolling: bool,
    /// `minimum-difficulty`
    pub minimum_difficulty: bool,
    /// `subscribe-extranonce`
    pub subscribe_extranonce: bool,
    /// `info`
    pub info: bool,
}

impl<'t> MinerMessage<'t> {
    /// The user that it names.
    #[must_use]
    pub fn user(&self) -> Option<&'t str> {
        match self {
            MinerMessage::Authorize(authorize) => authorize.user.as_str(),
            MinerMessage::Submit(submit) => submit.user.as_str(),
            MinerMessage::Subscribe(_)
            | MinerMessage::Configure(_)
            | MinerMessage::ExtranonceSubscribe
            | MinerMessage::Request(_)
            | MinerMessage::Answer => None,
        }
    }

    /// Checks the shape of what `envelope` says.
    ///
    /// # Errors
    /// The [`Reject`] to answer the miner with.
    pub fn read(envelope: &Envelope<'t>) -> Result<(Method, MinerMessage<'t>), Reject> {
        if envelope.id_raw().len() > ID_BYTES_MAX {
            return Err(Reject::BadId);
        }
        let Some(name) = envelope.method else {
            let is_answer = envelope.id.is_some() && (envelope.result.is_some() || envelope.error.is_some());
            return if is_answer {
                Ok((Method::Answer, MinerMessage::Answer))
            } else {
                Err(Reject::NoMethod)
            };
        };
        if envelope.odd_method {
            return Err(Reject::NoMethod);
        }
        if name.len() > METHOD_BYTES_MAX {
            return Err(Reject::BadMethod);
        }
        let method = Method::of(name);
        let message = match method {
            Method::Subscribe => MinerMessage::Subscribe(agent(envelope.params)?),
            Method::Authorize => MinerMessage::Authorize(Authorize::read(envelope.params)?),
            Method::Submit => MinerMessage::Submit(Submit::read(envelope.params)?),
            Method::Configure => MinerMessage::Configure(Configure::read(envelope.params)?),
            Method::ExtranonceSubscribe => MinerMessage::ExtranonceSubscribe,
            Method::SuggestDifficulty
            | Method::SuggestTarget
            | Method::GetTransactions
            | Method::MultiVersion
            | Method::Capabilities
            | Method::Term
            | Method::Ping
            | Method::Pong
            | Method::Notify
            | Method::SetDifficulty
            | Method::SetExtranonce
            | Method::SetVersionMask
            | Method::Reconnect
            | Method::ShowMessage
            | Method::GetVersion
            | Method::Answer
            | Method::Unknown => MinerMessage::Request(method),
        };
        Ok((method, message))
    }
}

fn agent(params: Option<Json<'_>>) -> Result<Option<&str>, Reject> {
    match params.map(|params| (params, params.kind())) {
        None | Some((_, JsonKind::Null)) => Ok(None),
        Some((params, JsonKind::Array)) => Ok(params.at(0).and_then(|agent| agent.as_str())),
        Some((_, JsonKind::Object | JsonKind::Str | JsonKind::Number | JsonKind::Bool(_))) => {
            Err(Reject::BadParams)
        }
    }
}

fn user(params: Json<'_>) -> Result<Json<'_>, Reject> {
    let user = params.at(0).ok_or(Reject::BadParams)?;
    let name = user.as_str().ok_or(Reject::BadParams)?;
    if name.len() > USER_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Reject::BadUser);
    }
    Ok(user)
}

impl<'t> Authorize<'t> {
    fn read(params: Option<Json<'t>>) -> Result<Authorize<'t>, Reject> {
        let params = params.ok_or(Reject::BadParams)?;
        let password = params.at(1);
        if password.is_some_and(|given| matches!(given.kind(), JsonKind::Array | JsonKind::Object)) {
            return Err(Reject::BadParams);
        }
        Ok(Authorize { user: user(params)?, password })
    }

    /// Tells the worker from others.
    pub(crate) fn worker(&self) -> u64 {
        fingerprint(self.user.as_str().unwrap_or_default().as_bytes())
    }
}

impl<'t> Submit<'t> {
    fn read(params: Option<Json<'t>>) -> Result<Submit<'t>, Reject> {
        let params = params.ok_or(Reject::BadParams)?;
        let mut items = params.items();
        let mut next = || items.next().ok_or(Reject::BadParams);
        next()?;
        let job = next()?;
        if job.as_str().is_none_or(str::is_empty) && job.as_i64().is_none() {
            return Err(Reject::BadParams);
        }
        let extranonce2 = hex(next()?, 2 * EXTRANONCE2_BYTES_MAX)?;
        let ntime = number(next()?)?;
        let nonce = number(next()?)?;
        let version_bits = match items.next() {
            None => None,
            Some(bits) if bits.kind() == JsonKind::Null => None,
            Some(bits) => Some(number(bits)?),
        };
        if items.next().is_some() {
            return Err(Reject::BadParams);
        }
        Ok(Submit { user: user(params)?, job, extranonce2, ntime, nonce, version_bits })
    }
}

/// One to `digits_max` hexadecimal digits of either case.
fn hex(value: Json<'_>, digits_max: usize) -> Result<&str, Reject> {
    let text = value.as_str().ok_or(Reject::BadParams)?;
    let sized = (1..=digits_max).contains(&text.len());
    if sized && is_hex_text(text) { Ok(text) } else { Err(Reject::BadParams) }
}

/// One to eight hexadecimal digits of either case.
fn number(value: Json<'_>) -> Result<u32, Reject> {
    u32::from_str_radix(hex(value, 8)?, 16).map_err(|_| Reject::BadParams)
}

impl Configure {
    fn read(params: Option<Json<'_>>) -> Result<Configure, Reject> {
        let params = params.ok_or(Reject::BadParams)?;
        let extensions =
            params.at(0).filter(|list| list.kind() == JsonKind::Array).ok_or(Reject::BadParams)?;
        let mut configure = Configure { asked: Asked::default(), mask: u32::MAX };
        for extension in extensions.items() {
            match extension.as_str() {
                Some("version-rolling") => configure.asked.version_rolling = true,
                Some("minimum-difficulty") => configure.asked.minimum_difficulty = true,
                Some("subscribe-extranonce") => configure.asked.subscribe_extranonce = true,
                Some("info") => configure.asked.info = true,
                Some(_) | None => {}
            }
        }
        let mask = params.at(1).and_then(|options| options.get("version-rolling.mask"));
        if let Some(mask) = mask.and_then(|mask| u32::from_str_radix(mask.as_str()?, 16).ok()) {
            configure.mask = mask;
        }
        Ok(configure)
    }
}
