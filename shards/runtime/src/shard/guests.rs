//! Connections of those who speak HTTP where miners connect. The shard hands them out at its door, socket and all, and
//! answers none of them itself.
//!
//! Only the first bytes of a connection are looked at for it, and only where they are not those of a miner: to others this
//! costs nothing.

use super::Shard;
use crate::door::Guest;
use crate::front::Asks;
use crate::front::http::{HttpBytes, http_bytes};
use crate::link::Front;
use loka_proto::End;
use loka_proto::middleware::Stage;
use std::net::IpAddr;

impl<P: Stage> Shard<P> {
    /// Whether somebody there may speak HTTP. Nobody may of whom it is not known where he is.
    pub(super) fn may_ask(&self, address: Option<IpAddr>) -> bool {
        let (Some(http), Some(address)) = (&self.plan.http, address) else { return false };
        http.from.iter().any(|net| net.contains(&address.to_canonical()))
    }

    /// Whether what was just read is not for the session, because it is or may become a request of HTTP.
    pub(super) fn takes_http(&mut self, key: usize, count: usize) -> bool {
        let link = &self.links[key];
        if link.session.has_begun() || self.scratch.first() == Some(&b'{') {
            return false;
        }
        self.begins_http(key, count)
    }

    #[cold]
    fn begins_http(&mut self, key: usize, count: usize) -> bool {
        let (link, said) = (&self.links[key], &self.scratch[..count]);
        let kind = http_bytes(said);
        if kind == HttpBytes::Other || link.miner.tls.is_some() || !self.may_ask(link.address) {
            return false;
        }
        // Blanks that came first, in this read or in one before, are nothing to either.
        let bytes = said.trim_ascii_start().to_vec();
        let asks = Asks { proxy_header: false, tls: false, http: true };
        self.links[key].front = Some(Box::new(Front { bytes, asks, is_tls: false }));
        if kind == HttpBytes::Http {
            self.enter_http(key);
        }
        true
    }

    /// Hands a connection out that has begun to speak HTTP. Its link ends here; the socket does not.
    pub(super) fn enter_http(&mut self, key: usize) {
        let link = &mut self.links[key];
        let (Some(http), Some(front), Some(socket)) =
            (&self.plan.http, link.front.take(), link.miner.socket.take())
        else {
            return;
        };
        // There is no socket left here whose end could be waited for.
        link.miner.eof = true;
        // The set would go on telling of it, since the socket stays open.
        let is_free = self.poller.remove(&socket).is_ok();
        let said = front.bytes.trim_ascii_start().to_vec();
        let is_taken = is_free && http.door.hand_in(Guest { socket: socket.into(), said }).is_ok();
        self.fail(key, if is_taken { End::Http } else { End::HttpBusy });
    }
}
