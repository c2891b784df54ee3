//! The way of one pool connection from an open socket to where the pool can be spoken to: a proxy, a TLS handshake, or
//! neither. It knows neither links nor shards.

use super::{Dial, Step, finish, loss_of};
use crate::buffers::Spares;
use crate::link::{Read, Side};
use crate::plan::PoolPlan;
use crate::plan::limits::READ_BYTES;
use crate::poller::Readiness;
use crate::socks::{Progress, Socks};
use crate::tls::Tls;
use loka_proto::{PoolLoss, Tick};
use rustls::pki_types::ServerName;

/// Where a connection stands after its socket was ready.
#[derive(Debug)]
pub(crate) enum Went {
    /// On its way; `is_full`: the socket may have more to read.
    On { is_full: bool },
    /// The pool can be spoken to, and has said `rest` already.
    Up { rest: Vec<u8>, is_full: bool },
    /// It came to nothing; what is known of the cause.
    Failed(PoolLoss, Option<String>),
}

/// What a step needs of its shard.
pub(crate) struct Means<'a> {
    pub(crate) route: Option<&'a PoolPlan>,
    /// See [`PoolNow::server_name`](crate::PoolNow::server_name).
    pub(crate) server_name: Option<&'a ServerName<'static>>,
    pub(crate) scratch: &'a mut [u8],
    pub(crate) spares: &'a mut Spares,
    pub(crate) now: Tick,
}

const ON: Went = Went::On { is_full: false };

/// Takes a connection as far as it goes with what its socket is ready for.
pub(crate) fn go_on(side: &mut Side, dial: &mut Dial, told: Readiness, means: &mut Means<'_>) -> Went {
    if matches!(dial.step, Step::Connecting) {
        let went = if told.write || told.hangup { connected(side, dial, told, means) } else { ON };
        if !matches!(went, Went::On { .. }) {
            return went;
        }
    }
    // Whoever speaks first may have done so by then, and that is not told of again.
    let hears = told.read || told.hangup;
    let went = match dial.step {
        Step::Asking(_) if hears => hear_proxy(side, dial, means),
        Step::Handshaking if hears => hear_handshake(side, means),
        Step::Connecting | Step::Asking(_) | Step::Handshaking => ON,
    };
    let is_on = matches!(went, Went::On { .. });
    if is_on && told.write && side.flush(means.spares, means.now).is_err() {
        return Went::Failed(PoolLoss::Reset, None);
    }
    went
}

fn connected(side: &mut Side, dial: &mut Dial, told: Readiness, means: &mut Means<'_>) -> Went {
    let Some(socket) = &side.socket else { return ON };
    let has_proxy = means.route.is_some_and(|pool| pool.socks.is_some());
    if let Err(error) = finish(socket, told) {
        let loss = loss_of(&error);
        let is_proxys = has_proxy && loss != PoolLoss::NoResources;
        return Went::Failed(if is_proxys { PoolLoss::ProxyFailed } else { loss }, Some(error.to_string()));
    }
    let Some(socks) = means.route.and_then(|pool| pool.socks.as_ref()) else {
        return begin_tls(side, dial, &[], false, means);
    };
    let mut words = Vec::new();
    match Socks::start(&socks.target, socks.login.as_ref(), &mut words) {
        Ok(asking) => dial.step = Step::Asking(asking),
        Err(error) => return Went::Failed(PoolLoss::ProxyFailed, Some(error.to_string())),
    }
    match side.send_as_it_is(means.spares, &words, means.now) {
        Ok(()) => ON,
        Err(error) => Went::Failed(PoolLoss::ProxyFailed, Some(error.to_string())),
    }
}

fn hear_proxy(side: &mut Side, dial: &mut Dial, means: &mut Means<'_>) -> Went {
    let failed = |cause: String| Went::Failed(PoolLoss::ProxyFailed, Some(cause));
    let Step::Asking(asking) = &mut dial.step else { return ON };
    let (count, is_full) = match side.receive(means.scratch) {
        Read::Bytes(count, is_full) => (count, is_full),
        Read::Nothing => return ON,
        Read::Eof | Read::Broken | Read::TlsFailed => return failed("it closed the connection".to_owned()),
    };
    let mut words = Vec::new();
    let heard = asking.receive(&means.scratch[..count], &mut words);
    if let Err(error) = side.send_as_it_is(means.spares, &words, means.now) {
        return failed(error.to_string());
    }
    match heard {
        Ok(Progress::More) => Went::On { is_full },
        Ok(Progress::Done { unread }) => {
            let rest = means.scratch[count - unread..count].to_vec();
            begin_tls(side, dial, &rest, is_full, means)
        }
        Err(error) => failed(error.to_string()),
    }
}

/// There is a way to the pool: the pool shows who it is, where it must. `rest`: what came from it already.
fn begin_tls(side: &mut Side, dial: &mut Dial, rest: &[u8], is_full: bool, means: &mut Means<'_>) -> Went {
    let failed = |cause: String| Went::Failed(PoolLoss::TlsFailed, Some(cause));
    let Some(tls) = means.route.and_then(|pool| pool.tls.as_ref()) else {
        return Went::Up { rest: rest.to_vec(), is_full };
    };
    match Tls::client(&tls.config, means.server_name.unwrap_or(&tls.server_name)) {
        Ok(connection) => side.tls = Some(Box::new(connection)),
        Err(error) => return failed(error.to_string()),
    }
    dial.step = Step::Handshaking;
    if let Err(error) = side.send_records(means.spares, means.now) {
        return failed(error.to_string());
    }
    match side.decrypt(rest, &mut Vec::new(), means.spares, means.now) {
        Ok(()) => Went::On { is_full },
        Err(error) => failed(error.to_string()),
    }
}

fn hear_handshake(side: &mut Side, means: &mut Means<'_>) -> Went {
    match side.read(means.scratch, READ_BYTES, means.spares, means.now) {
        Read::Bytes(count, is_full) if side.tls.as_ref().is_some_and(|tls| !tls.is_handshaking()) => {
            Went::Up { rest: means.scratch[..count].to_vec(), is_full }
        }
        Read::Bytes(_, is_full) => Went::On { is_full },
        Read::Nothing => ON,
        Read::Eof | Read::Broken | Read::TlsFailed => {
            let failure = side.tls.as_ref().and_then(|tls| tls.failure()).map(ToString::to_string);
            let cause = failure.unwrap_or_else(|| "closed during the TLS handshake".to_owned());
            Went::Failed(PoolLoss::TlsFailed, Some(cause))
        }
    }
}
