//! Pool connections on their way: which address is tried, the proxy and the TLS handshake behind it, and what comes of it.

use super::{Shard, Trouble};
use crate::dial::{self, Before, Dial, Step};
use crate::link::{Read, Side};
use crate::plan::limits::{HURRIED_CONNECT_US, READ_BYTES};
use crate::poller::{Interest, Readiness};
use crate::socks::{Progress, Socks};
use crate::tls::Tls;
use crate::token::Token;
use loka_proto::middleware::Stage;
use loka_proto::{PoolId, PoolLoss, Tick};

impl<P: Stage> Shard<P> {
    /// Opens a connection to a pool. `tried` addresses of it have failed the link since `since`; each is tried once. It
    /// begins with the address that worked last for anybody, so that a dead one does not cost every miner its time-out.
    pub(super) fn dial(&mut self, key: usize, pool: PoolId, tried: usize, since: Tick) {
        self.dial_after(key, pool, Before { tried, since, furthest: None });
    }

    fn dial_after(&mut self, key: usize, pool: PoolId, mut before: Before) {
        while before.tried < self.pools.addresses(pool) {
            let Some((at, address)) = self.pools.begin(pool, self.now) else { break };
            self.report.shell.dials += 1;
            let loss = match dial::start(address) {
                Ok(socket) => match self.poller.add(&socket, Token::Pool(key).pack(), Interest::BOTH) {
                    Ok(()) => {
                        let is_hurried = self.pools.has_other(pool, self.now);
                        let takes_us = self.plan.connect_us;
                        let takes_us = if is_hurried { takes_us.min(HURRIED_CONNECT_US) } else { takes_us };
                        let due = self.now + takes_us;
                        let link = &mut self.links[key];
                        link.pool = Side::new(socket, Interest::BOTH);
                        link.pool_turn = self.turns;
                        link.place = self.pools.place(pool);
                        let step = Step::Connecting;
                        link.dial = Some(Box::new(Dial { step, pool, at, before, due }));
                        return;
                    }
                    Err(_) => PoolLoss::NoResources,
                },
                Err(error) => dial::loss_of(&error),
            };
            self.address_failed(pool, at, loss);
            before.lost(0, loss);
            before.tried += 1;
        }
        let loss = before.furthest.map_or(PoolLoss::Unreachable, |(_, loss)| loss);
        self.pool_failed(key, pool, loss, before.since);
    }

    /// The socket of a pool connection on its way has become ready.
    pub(super) fn go_on_dialing(&mut self, key: usize, told: Readiness) {
        let Some(dial) = &self.links[key].dial else { return };
        if matches!(dial.step, Step::Connecting) && (told.write || told.hangup) {
            self.connected(key, told);
        }
        // Whoever speaks first may have done so by then, and that is not told of again.
        match self.links[key].dial.as_ref().map(|dial| &dial.step) {
            None | Some(Step::Connecting) => {}
            Some(Step::Asking(_)) if told.read || told.hangup => self.hear_proxy(key, told),
            Some(Step::Handshaking) if told.read || told.hangup => self.hear_handshake(key, told),
            Some(Step::Asking(_) | Step::Handshaking) => {}
        }
        if told.write && self.links[key].dial.is_some() {
            let link = &mut self.links[key];
            if link.pool.flush(&mut self.spares, self.now).is_err() {
                self.next_address(key, PoolLoss::Reset);
            }
        }
    }

    /// The socket is open, or has failed.
    fn connected(&mut self, key: usize, told: Readiness) {
        let link = &mut self.links[key];
        let (Some(socket), Some(dial)) = (&link.pool.socket, &mut link.dial) else { return };
        if let Err(error) = dial::finish(socket, told) {
            return self.next_address(key, dial::loss_of(&error));
        }
        let Some(socks) = self.plan.pools.get(dial.pool.index()).and_then(|pool| pool.socks.as_ref()) else {
            return self.begin_tls(key, &[]);
        };
        let mut words = Vec::new();
        let sent = match Socks::start(&socks.target, socks.login.as_ref(), &mut words) {
            Ok(asking) => {
                dial.step = Step::Asking(asking);
                link.pool.send_as_it_is(&mut self.spares, &words, self.now).is_ok()
            }
            Err(_) => false,
        };
        if !sent {
            self.next_address(key, PoolLoss::ProxyFailed);
        }
    }

    /// The proxy on the way has answered.
    fn hear_proxy(&mut self, key: usize, told: Readiness) {
        let link = &mut self.links[key];
        let Some(dial) = &mut link.dial else { return };
        let pool = dial.pool;
        let Step::Asking(asking) = &mut dial.step else { return };
        let read = link.pool.receive(&mut self.scratch);
        let Read::Bytes(count, is_full) = read else {
            if read != Read::Nothing {
                self.next_address(key, PoolLoss::ProxyFailed);
            }
            return;
        };
        let mut words = Vec::new();
        let heard = asking.receive(&self.scratch[..count], &mut words);
        let sent = link.pool.send_as_it_is(&mut self.spares, &words, self.now);
        self.read_on(key, Token::Pool(key), told, is_full);
        match (heard, sent) {
            (Ok(Progress::More), Ok(())) => {}
            (Ok(Progress::Done { unread }), Ok(())) => {
                let rest = self.scratch[count - unread..count].to_vec();
                self.begin_tls(key, &rest);
            }
            (Err(error), _) => {
                let cause = format!("{}: {error}", self.plan.policy.pool(pool).host);
                self.warn_of(Trouble::PoolProxy, &cause);
                self.next_address(key, PoolLoss::ProxyFailed);
            }
            (Ok(_), Err(_)) => self.next_address(key, PoolLoss::ProxyFailed),
        }
    }

    /// There is a way to the pool: the pool shows who it is, where it must. `rest`: what came from it already.
    fn begin_tls(&mut self, key: usize, rest: &[u8]) {
        let link = &mut self.links[key];
        let Some(dial) = &mut link.dial else { return };
        let Some(tls) = self.plan.pools.get(dial.pool.index()).and_then(|pool| pool.tls.as_ref()) else {
            return self.pool_up(key, rest);
        };
        let server_name = self.pools.server_name(dial.pool).unwrap_or(&tls.server_name);
        let Ok(connection) = Tls::client(&tls.config, server_name) else {
            return self.next_address(key, PoolLoss::TlsFailed);
        };
        dial.step = Step::Handshaking;
        link.pool.tls = Some(Box::new(connection));
        let sent = link.pool.send_records(&mut self.spares, self.now);
        let heard = link.pool.decrypt(rest, &mut Vec::new(), &mut self.spares, self.now);
        if sent.is_err() || heard.is_err() {
            self.next_address(key, PoolLoss::TlsFailed);
        }
    }

    fn hear_handshake(&mut self, key: usize, told: Readiness) {
        let link = &mut self.links[key];
        let (Some(dial), pool) = (&link.dial, &mut link.pool) else { return };
        match pool.read(&mut self.scratch, READ_BYTES, &mut self.spares, self.now) {
            Read::Bytes(count, is_full) => {
                let is_done = pool.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
                self.read_on(key, Token::Pool(key), told, is_full);
                if is_done {
                    let rest = self.scratch[..count].to_vec();
                    self.pool_up(key, &rest);
                }
            }
            Read::Nothing => {}
            Read::Eof | Read::Broken | Read::TlsFailed => {
                let failure = pool.tls.as_ref().and_then(|tls| tls.failure()).map(ToString::to_string);
                let failure = failure.unwrap_or_else(|| "closed during the TLS handshake".to_owned());
                let cause = format!("{}: {failure}", self.plan.policy.pool(dial.pool).host);
                self.warn_of(Trouble::PoolTls, &cause);
                self.next_address(key, PoolLoss::TlsFailed);
            }
        }
    }

    /// The pool can be spoken to, and has said `rest`.
    fn pool_up(&mut self, key: usize, rest: &[u8]) {
        let link = &mut self.links[key];
        let Some(dial) = link.dial.take() else { return };
        link.was_at_work = false;
        let took_us = self.now - dial.before.since;
        self.with_parser(key, |session, cx, parser| {
            session.handle_pool_up(cx, parser, dial.pool, took_us);
            if !rest.is_empty() {
                session.handle_pool_bytes(cx, parser, rest);
            }
        });
    }

    /// Gives up the attempt of this link, and makes the next if there is another address.
    pub(super) fn next_address(&mut self, key: usize, loss: PoolLoss) {
        let link = &mut self.links[key];
        let Some(failed) = link.dial.take() else { return };
        link.pool.close(&mut self.spares);
        self.address_failed(failed.pool, failed.at, loss);
        let mut before = failed.before;
        before.lost(failed.step.reach(), loss);
        before.tried += 1;
        self.dial_after(key, failed.pool, before);
    }

    /// Counts a failed attempt. A shortage of our own is not the address' fault.
    fn address_failed(&mut self, pool: PoolId, at: usize, loss: PoolLoss) {
        self.report.shell.dial_failures += 1;
        if loss == PoolLoss::NoResources {
            return self.warn(Trouble::NoDescriptor);
        }
        let trouble = if loss == PoolLoss::TlsFailed {
            Trouble::PoolTls
        } else if loss == PoolLoss::ProxyFailed {
            Trouble::PoolProxy
        } else {
            Trouble::PoolUnreachable
        };
        // Where the other side said what is wrong, that has been told just before, and this is not.
        let cause = format!("{}: {loss}", self.plan.policy.pool(pool).host);
        self.warn_of(trouble, &cause);
        self.pools.address_failed(pool, at);
    }

    /// No address of a pool took the connection: another pool is tried, if there is one.
    fn pool_failed(&mut self, key: usize, pool: PoolId, loss: PoolLoss, since: Tick) {
        self.report.stats.pool(pool).losses[loss.index()] += 1;
        if loss == PoolLoss::NoResources {
            return self.no_pool(key, loss);
        }
        self.pools.failed(pool, self.now);
        self.links[key].avoids = Some(pool);
        let client = self.links[key].session.client().id.0;
        match self.pools.choose(client, Some(pool), self.now).filter(|other| *other != pool) {
            Some(_) => self.seek(key, since),
            None => self.lose_and_wait(key, loss),
        }
    }

    /// The link's connection attempt, if there is one, is not wanted any more.
    pub(super) fn abandon_dial(&mut self, key: usize) {
        if let Some(dial) = &self.links[key].dial {
            self.pools.abandoned(dial.pool);
        }
    }
}
