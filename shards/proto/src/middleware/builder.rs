//! Builds the chain: the order of the named stages is fixed, stages of one's own come behind them.

use super::logging::Logging;
use super::metrics::Metrics;
use super::rate_limit::Renewable;
use super::{Authentication, Flow, MessageLog, NoLog, RateLimit, Request, Security, Stage, StageCx};
use crate::session::Client;
use crate::verdict::Verdict;

type Chain<L, C> =
    (Logging<L>, (Option<Authentication>, (Option<Security>, (Option<Renewable>, (C, Metrics)))));

/// The finished chain. One per shard.
#[derive(Debug, Clone)]
pub struct MessagePipeline<L = NoLog, C = ()>(Chain<L, C>);

impl<L: MessageLog, C: Stage> Stage for MessagePipeline<L, C> {
    fn on_request(&mut self, cx: &mut StageCx<'_>, client: &mut Client, request: &Request<'_>) -> Flow {
        self.0.on_request(cx, client, request)
    }

    fn on_outcome(&mut self, cx: &mut StageCx<'_>, client: &Client, request: &Request<'_>, flow: Flow) {
        self.0.on_outcome(cx, client, request, flow);
    }

    fn on_verdict(&mut self, cx: &mut StageCx<'_>, client: &Client, verdict: Verdict) {
        self.0.on_verdict(cx, client, verdict);
    }

    fn on_close(&mut self, client: &Client) {
        self.0.on_close(client);
    }

    fn on_reload(&mut self, limit: Option<RateLimit>) {
        self.0.on_reload(limit);
    }
}

/// Says which stages a chain has. Metrics are always last.
#[derive(Debug, Clone)]
pub struct MessagePipelineBuilder<L = NoLog, C = ()> {
    log: L,
    authentication: Option<Authentication>,
    security: Option<Security>,
    rate_limit: Option<Renewable>,
    custom: C,
}

impl Default for MessagePipelineBuilder {
    fn default() -> Self {
        MessagePipelineBuilder {
            log: NoLog,
            authentication: None,
            security: None,
            rate_limit: None,
            custom: (),
        }
    }
}

impl MessagePipelineBuilder {
    /// A chain that counts and does nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chain that the product ships: authentication and security, to which a rate limit may be added.
    #[must_use]
    pub fn standard() -> Self {
        Self::new().with_authentication(Authentication).with_security(Security)
    }
}

impl<L: MessageLog, C: Stage> MessagePipelineBuilder<L, C> {
    /// Logs every message to `log`.
    #[must_use]
    pub fn with_logging<M: MessageLog>(self, log: M) -> MessagePipelineBuilder<M, C> {
        let MessagePipelineBuilder { log: _, authentication, security, rate_limit, custom } = self;
        MessagePipelineBuilder { log, authentication, security, rate_limit, custom }
    }

    /// Keeps back shares of miners that did not subscribe and authorize.
    #[must_use]
    pub fn with_authentication(self, stage: Authentication) -> Self {
        MessagePipelineBuilder { authentication: Some(stage), ..self }
    }

    /// Keeps back what must not reach a pool.
    #[must_use]
    pub fn with_security(self, stage: Security) -> Self {
        MessagePipelineBuilder { security: Some(stage), ..self }
    }

    /// Bounds the messages of a connection; `None` for no bound. A reload of the configuration puts its own bound in the place
    /// of this; a chain that was built without this call goes on without one.
    #[must_use]
    pub fn with_rate_limit(self, stage: Option<RateLimit>) -> Self {
        MessagePipelineBuilder { rate_limit: Some(Renewable(stage)), ..self }
    }

    /// Adds a stage of one's own, behind those that were added before.
    #[must_use]
    pub fn add_middleware<S: Stage>(self, stage: S) -> MessagePipelineBuilder<L, (C, S)> {
        let MessagePipelineBuilder { log, authentication, security, rate_limit, custom } = self;
        MessagePipelineBuilder { log, authentication, security, rate_limit, custom: (custom, stage) }
    }

    /// The finished chain.
    #[must_use]
    pub fn build(self) -> MessagePipeline<L, C> {
        let MessagePipelineBuilder { log, authentication, security, rate_limit, custom } = self;
        MessagePipeline((Logging(log), (authentication, (security, (rate_limit, (custom, Metrics))))))
    }
}
