//! First stage: tells a log sink of the caller's what was decided. This crate has no sink of its own.

use super::{Flow, Request, Stage, StageCx};
use crate::message::Method;
use crate::session::{Client, ClientId};
use crate::verdict::Verdict;

/// A sink for what happens, one call a message. It must not block: it runs on the shard.
pub trait MessageLog {
    /// A request was decided on.
    fn request(&mut self, client: ClientId, method: Method, line: &[u8], flow: Flow);
    /// The pool gave its verdict on a share.
    fn verdict(&mut self, client: ClientId, verdict: Verdict);
}

/// Logs nothing, at no cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl MessageLog for NoLog {
    fn request(&mut self, _: ClientId, _: Method, _: &[u8], _: Flow) {}
    fn verdict(&mut self, _: ClientId, _: Verdict) {}
}

/// The stage around a [`MessageLog`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Logging<L>(pub(super) L);

impl<L: MessageLog> Stage for Logging<L> {
    fn on_outcome(&mut self, _: &mut StageCx<'_>, client: &Client, request: &Request<'_>, flow: Flow) {
        self.0.request(client.id, request.method, request.envelope.line, flow);
    }

    fn on_verdict(&mut self, _: &mut StageCx<'_>, client: &Client, verdict: Verdict) {
        self.0.verdict(client.id, verdict);
    }
}
