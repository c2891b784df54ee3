//! What is told of those that misbehave, to the log of violations.

use super::Shard;
use crate::link::Link;
use crate::quota::Pause;
use crate::violations::{Violation, excerpt};
use loka_proto::End;
use loka_proto::middleware::Stage;
use std::fmt::{self, Display};
use std::net::SocketAddr;

/// What a connection has done so far: evidence that holds nothing of what it said.
#[derive(Clone, Copy)]
struct Doings {
    malformed: u32,
    bad_shares: u32,
    too_fast: u32,
    bytes_held: usize,
}

impl Doings {
    fn of(link: &Link) -> Doings {
        let client = link.session.client();
        Doings {
            malformed: client.errors,
            bad_shares: client.bad_shares,
            too_fast: client.rate_limited,
            bytes_held: link.session.bytes_held() + link.miner.queue.len(),
        }
    }
}

impl Display for Doings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Doings { malformed, bad_shares, too_fast, bytes_held } = self;
        write!(f, "malformed={malformed} bad_shares={bad_shares} too_fast={too_fast} bytes_held={bytes_held}")
    }
}

impl<P: Stage> Shard<P> {
    /// A message was refused, for what says something of the miner.
    pub(super) fn tell_refused(&mut self, key: usize) {
        let Some(reject) = self.out.refused.take().filter(|reject| reject.fault().is_some()) else { return };
        let doings = Doings::of(&self.links[key]);
        self.tell(key, reject.label(), &doings, "refused");
    }

    /// A connection ended for what it did. What it said is shown where it is no Stratum; in Stratum, passwords are said.
    pub(super) fn tell_ended(&mut self, key: usize, end: End) {
        let client = self.links[key].session.client();
        if end.offence(client.is_miner()).is_none() {
            return;
        }
        if matches!(end, End::NotStratum | End::BadProxyHeader | End::TlsFailed) && self.heard > 0 {
            let said = excerpt(&self.scratch[..self.heard]);
            return self.tell(key, end.label(), &said, "disconnected");
        }
        let doings = Doings::of(&self.links[key]);
        self.tell(key, end.label(), &doings, "disconnected");
    }

    /// A connection is not read for a while.
    pub(super) fn tell_held_back(&mut self, key: usize, pause: Pause) {
        let evidence = format_args!("{} ms too much", pause.us / 1_000);
        self.tell(key, pause.excess.label(), &evidence, "not read for a while");
    }

    /// A connection was closed as soon as it was there, for what its address is known for.
    pub(super) fn tell_turned_away(&mut self, peer: Option<SocketAddr>, end: End) {
        if !matches!(end, End::Denied | End::Blocked | End::AddressLimit | End::ConnectRate) {
            return;
        }
        let violation = Violation {
            shard: self.report.shard,
            client: None,
            address: peer.map(|peer| peer.ip()),
            kind: end.label(),
            evidence: &"",
            response: "turned away",
        };
        self.violations.record(&violation, self.now);
    }

    fn tell(&mut self, key: usize, kind: &'static str, evidence: &dyn Display, response: &'static str) {
        let link = &self.links[key];
        let violation = Violation {
            shard: self.report.shard,
            client: Some(link.session.client().id.0),
            address: link.address,
            kind,
            evidence,
            response,
        };
        self.violations.record(&violation, self.now);
    }
}
