//! The beginning of a miner's connection, where a proxy or TLS may stand before Stratum, or HTTP in its place.

use super::Shard;
use crate::front::{self, Asks, FRONT_BYTES_MAX, First};
use crate::link::{Front, Read};
use crate::plan::Speaks;
use crate::poller::Readiness;
use crate::tls::Tls;
use crate::token::Token;
use loka_proto::End;
use loka_proto::middleware::Stage;
use std::net::{IpAddr, SocketAddr};

impl<P: Stage> Shard<P> {
    /// What must be known of a new connection before its bytes mean something; nothing for most.
    pub(super) fn front_of(
        &self,
        is_proxy: bool,
        address: Option<IpAddr>,
        listener: usize,
    ) -> Option<Box<Front>> {
        let speaks = match (&self.plan.miner_tls, self.plan.speaks.get(listener)) {
            (Some(_), Some(speaks)) => *speaks,
            (None, _) | (_, None) => Speaks::Plain,
        };
        let is_tls = speaks == Speaks::Tls;
        let is_any = is_proxy || speaks != Speaks::Plain;
        is_any.then(|| {
            let http = !is_tls && self.may_ask(address);
            let asks = Asks { proxy_header: is_proxy, tls: speaks == Speaks::Either, http };
            Box::new(Front { bytes: Vec::new(), asks, is_tls })
        })
    }

    /// Whether a connection from there speaks for others.
    pub(super) fn is_proxy(&self, peer: Option<SocketAddr>) -> bool {
        let proxies = &self.plan.proxies;
        peer.is_some_and(|peer| proxies.iter().any(|net| net.contains(&peer.ip().to_canonical())))
    }

    /// Counts a connection among those of its address, or ends it.
    pub(super) fn let_in(&mut self, key: usize, address: IpAddr) {
        match self.visitors.enter(address, self.now) {
            Ok(()) => self.links[key].address = Some(address),
            Err(refused) => self.fail(key, refused.end()),
        }
    }

    /// Reads bytes of a connection of which it is not known yet what begins.
    pub(super) fn read_front(&mut self, key: usize, told: Readiness) {
        let link = &mut self.links[key];
        if let Some(front) = link.front.as_mut().filter(|_| told.read || told.hangup) {
            match link.miner.receive(&mut self.scratch[..FRONT_BYTES_MAX]) {
                Read::Bytes(count, is_full) => {
                    self.heard = count;
                    front.bytes.extend_from_slice(&self.scratch[..count]);
                    self.read_on(key, Token::Miner(key), told, is_full);
                    self.judge_front(key);
                }
                Read::Nothing => {}
                Read::Eof => self.with(key, |session, cx| session.handle_miner_eof(cx)),
                Read::Broken | Read::TlsFailed => self.miner_broke(key),
            }
        }
        self.settle(key);
    }

    fn judge_front(&mut self, key: usize) {
        while !self.links[key].session.is_over()
            && let Some(front) = &mut self.links[key].front
        {
            match front::first(&front.bytes, front.asks) {
                First::NeedMore => return,
                First::Proxy { source, consumed } => {
                    front.bytes.drain(..consumed);
                    front.asks.proxy_header = false;
                    let is_tls = front.is_tls;
                    if let Some(source) = source {
                        self.let_in(key, source.ip());
                    }
                    let http = !is_tls && self.may_ask(self.links[key].address);
                    if let Some(front) = &mut self.links[key].front {
                        front.asks.http = http;
                    }
                    let client = self.links[key].session.client().id.0;
                    tracing::debug!(shard = self.report.shard, client, ?source, "a proxy speaks for a miner");
                }
                First::Plain if !front.is_tls => return self.enter_plain(key),
                First::Plain | First::Tls => return self.enter_tls(key),
                First::Http => return self.enter_http(key),
                First::Bad(error) => {
                    let client = self.links[key].session.client().id.0;
                    tracing::debug!(shard = self.report.shard, client, %error, "refused");
                    return self.fail(key, End::BadProxyHeader);
                }
            }
        }
    }

    fn enter_plain(&mut self, key: usize) {
        if let Some(front) = self.links[key].front.take() {
            self.with_parser(key, |session, cx, parser| session.handle_miner_bytes(cx, parser, &front.bytes));
        }
    }

    fn enter_tls(&mut self, key: usize) {
        let (Some(front), Some(config)) = (self.links[key].front.take(), &self.plan.miner_tls) else {
            return;
        };
        let Ok(connection) = Tls::server(config) else { return self.fail(key, End::TlsFailed) };
        let miner = &mut self.links[key].miner;
        miner.tls = Some(Box::new(connection));
        let mut plain = Vec::new();
        match miner.decrypt(&front.bytes, &mut plain, &mut self.spares, self.now) {
            Ok(()) => {
                self.with_parser(key, |session, cx, parser| session.handle_miner_bytes(cx, parser, &plain));
            }
            Err(_) => self.miner_tls_failed(key),
        }
    }
}
