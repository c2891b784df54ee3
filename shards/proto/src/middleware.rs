//! What a miner's request passes before it is processed: a fixed, synchronous, statically dispatched chain.
//!
//! Order: logging, authentication, security, rate limit, stages of the user's own, metrics, then processing.
//! A stage never writes bytes: it lets a request pass, refuses it with a reason, or ends the link.

mod authentication;
mod builder;
mod logging;
mod metrics;
mod rate_limit;
mod security;

pub use authentication::Authentication;
pub use builder::{MessagePipeline, MessagePipelineBuilder};
pub use logging::{MessageLog, NoLog};
pub use rate_limit::RateLimit;
pub use security::Security;

use crate::message::{Method, MinerMessage};
use crate::session::{Client, End, Policy, Reject};
use crate::stats::Stats;
use crate::tick::Tick;
use crate::verdict::Verdict;
use crate::wire::Envelope;

/// A miner's request on its way to the pool.
#[derive(Debug, Clone, Copy)]
pub struct Request<'t> {
    /// Which method it is.
    pub method: Method,
    /// Its checked parts.
    pub message: MinerMessage<'t>,
    /// The message as parsed, with the line as it came.
    pub envelope: &'t Envelope<'t>,
}

/// What a stage decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// On to the next stage.
    Pass,
    /// Answer the miner with this error; the link stays.
    Reject(Reject),
    /// End the link.
    Close(End),
}

/// What a stage may use of its surroundings.
#[derive(Debug)]
pub struct StageCx<'a> {
    /// The present.
    pub now: Tick,
    /// Where things are counted.
    pub stats: &'a mut Stats,
    /// What holds for every session.
    pub policy: &'a Policy,
}

/// One stage of the chain. There is one instance per shard; what it remembers of a miner it keys by `client.id` and
/// forgets in `on_close`.
pub trait Stage {
    /// Decides on a request. The first decision other than [`Flow::Pass`] stands.
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        let _ = (cx, client, request);
        Flow::Pass
    }

    /// Sees what was decided, whoever decided it.
    fn on_outcome(&mut self, cx: &mut StageCx<'_>, client: &Client, request: &Request<'_>, flow: Flow) {
        let _ = (cx, client, request, flow);
    }

    /// Sees the pool's verdict on a share.
    fn on_verdict(&mut self, cx: &mut StageCx<'_>, client: &Client, verdict: Verdict) {
        let _ = (cx, client, verdict);
    }

    /// Sees a link end, or leave for another process: what comes of it there has another `client.id`, and nothing more comes
    /// here.
    fn on_close(&mut self, client: &Client) {
        let _ = client;
    }

    /// The configuration has changed, and this is what it says now of the messages of a connection; `None` for no bound.
    fn on_reload(&mut self, limit: Option<RateLimit>) {
        let _ = limit;
    }
}

/// No stage.
impl Stage for () {}

/// One stage after another.
impl<A: Stage, B: Stage> Stage for (A, B) {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        match self.0.on_request(cx, client, request) {
            Flow::Pass => self.1.on_request(cx, client, request),
            decided @ (Flow::Reject(_) | Flow::Close(_)) => decided,
        }
    }

    fn on_outcome(&mut self, cx: &mut StageCx<'_>, client: &Client, request: &Request<'_>, flow: Flow) {
        self.0.on_outcome(cx, client, request, flow);
        self.1.on_outcome(cx, client, request, flow);
    }

    fn on_verdict(&mut self, cx: &mut StageCx<'_>, client: &Client, verdict: Verdict) {
        self.0.on_verdict(cx, client, verdict);
        self.1.on_verdict(cx, client, verdict);
    }

    fn on_close(&mut self, client: &Client) {
        self.0.on_close(client);
        self.1.on_close(client);
    }

    fn on_reload(&mut self, limit: Option<RateLimit>) {
        self.0.on_reload(limit);
        self.1.on_reload(limit);
    }
}

/// A stage that may be switched off.
impl<S: Stage> Stage for Option<S> {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        self.as_mut().map_or(Flow::Pass, |stage| stage.on_request(cx, client, request))
    }

    fn on_outcome(&mut self, cx: &mut StageCx<'_>, client: &Client, request: &Request<'_>, flow: Flow) {
        if let Some(stage) = self {
            stage.on_outcome(cx, client, request, flow);
        }
    }

    fn on_verdict(&mut self, cx: &mut StageCx<'_>, client: &Client, verdict: Verdict) {
        if let Some(stage) = self {
            stage.on_verdict(cx, client, verdict);
        }
    }

    fn on_close(&mut self, client: &Client) {
        if let Some(stage) = self {
            stage.on_close(client);
        }
    }

    fn on_reload(&mut self, limit: Option<RateLimit>) {
        if let Some(stage) = self {
            stage.on_reload(limit);
        }
    }
}
