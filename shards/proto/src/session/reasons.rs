//! Why a message was answered by the proxy, not passed on, or why a link ended. Each is a metric label.

use crate::wire::ReadError;

labels! {
    /// A miner's message that the proxy answered itself with an error; the link stays.
    pub enum Reject {
        /// Not JSON, or nested too deeply.
        Malformed => "malformed",
        /// JSON, but not an object.
        NotObject => "not_object",
        /// A key that gives the message its meaning stands in it twice.
        DuplicateKey => "duplicate_key",
        /// The id is no number, string or null, or too long.
        BadId => "bad_id",
        /// Neither a request nor an answer that somebody could wait for.
        NoMethod => "no_method",
        /// A method's name that is too long.
        BadMethod => "bad_method",
        /// Parameters of a wrong number, type or size.
        BadParams => "bad_params",
        /// A user name that is too long, or holds control characters.
        BadUser => "bad_user",
        /// A method that only pools may use.
        NotForMiners => "not_for_miners",
        /// A share whose extranonce2 has not the size that the pool gave.
        BadExtranonce2 => "bad_extranonce2",
        /// A share before any worker was asked to be authorized, or after all were refused.
        Unauthorized => "unauthorized",
        /// A share before a subscription.
        NotSubscribed => "not_subscribed",
        /// More workers than one connection may have.
        TooManyWorkers => "too_many_workers",
        /// More requests than may wait for an answer.
        TooManyPending => "too_many_pending",
        /// More messages than the rate limit allows.
        RateLimited => "rate_limited",
        /// More shares than the rate limit allows.
        SubmitRate => "submit_rate",
        /// More authorizations than the rate limit allows.
        AuthorizeRate => "authorize_rate",
        /// Extranonce subscription is switched off for this pool, and no other pool could make use of it.
        ExtranonceOff => "extranonce_off",
        /// A share for a job that is void or too old, or of a pool that the miner has left.
        StaleJob => "stale_job",
        /// A share for a job that the pool never gave.
        UnknownJob => "unknown_job",
        /// A share that the miner has sent before.
        DuplicateShare => "duplicate_share",
        /// A share with version bits that the miner was not granted.
        BadVersionBits => "bad_version_bits",
        /// A share whose time is before its job's, or too far ahead.
        BadNtime => "bad_ntime",
        /// A share while the miner has no pool.
        NoPool => "no_pool",
    }
}

impl Reject {
    /// The code and text of the error that the miner gets.
    #[must_use]
    pub fn answer(self) -> (i32, &'static str) {
        match self {
            Reject::Malformed => (20, "Malformed JSON"),
            Reject::NotObject => (20, "Message is not an object"),
            Reject::DuplicateKey => (20, "Duplicate key"),
            Reject::BadId => (20, "Invalid id"),
            Reject::NoMethod => (20, "No method"),
            Reject::BadMethod => (-3, "Invalid method"),
            Reject::BadParams => (20, "Invalid parameters"),
            Reject::BadUser => (24, "Invalid user name"),
            Reject::NotForMiners => (-3, "Method not allowed"),
            Reject::BadExtranonce2 => (20, "Invalid extranonce2 size"),
            Reject::Unauthorized => (24, "Unauthorized worker"),
            Reject::NotSubscribed => (25, "Not subscribed"),
            Reject::TooManyWorkers => (24, "Too many workers on this connection"),
            Reject::TooManyPending => (20, "Too many requests in flight"),
            Reject::RateLimited | Reject::SubmitRate | Reject::AuthorizeRate => (20, "Rate limit exceeded"),
            Reject::ExtranonceOff => (20, "Not supported."),
            Reject::StaleJob | Reject::UnknownJob => (21, "Job not found"),
            Reject::DuplicateShare => (22, "Duplicate share"),
            Reject::BadVersionBits => (20, "Invalid version mask"),
            Reject::BadNtime => (20, "Ntime out of range"),
            Reject::NoPool => (20, "No pool connection"),
        }
    }

    /// What it says of the miner; `None` when nothing.
    #[must_use]
    pub fn fault(self) -> Option<Fault> {
        match self {
            Reject::Malformed
            | Reject::NotObject
            | Reject::DuplicateKey
            | Reject::BadId
            | Reject::NoMethod
            | Reject::BadMethod
            | Reject::BadParams
            | Reject::BadUser
            | Reject::NotForMiners
            | Reject::TooManyWorkers => Some(Fault::Protocol),
            Reject::BadExtranonce2
            | Reject::StaleJob
            | Reject::UnknownJob
            | Reject::DuplicateShare
            | Reject::BadVersionBits
            | Reject::BadNtime => Some(Fault::Share),
            Reject::RateLimited | Reject::SubmitRate | Reject::AuthorizeRate => Some(Fault::Rate),
            Reject::Unauthorized
            | Reject::NotSubscribed
            | Reject::TooManyPending
            | Reject::ExtranonceOff
            | Reject::NoPool => None,
        }
    }
}

/// What a refused message says of the miner. Too many of any kind end the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not keep to the protocol.
    Protocol,
    /// It sends shares that no pool would credit.
    Share,
    /// It sends more than it may.
    Rate,
}

impl From<ReadError> for Reject {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Json => Reject::Malformed,
            ReadError::NotObject => Reject::NotObject,
            ReadError::DuplicateKey => Reject::DuplicateKey,
            ReadError::Id => Reject::BadId,
        }
    }
}

labels! {
    /// A pool's message that was not passed on to the miner; the link stays.
    pub enum Filtered {
        /// Neither a request nor an answer.
        NoMeaning => "no_meaning",
        /// An answer to nothing that was asked, to something answered before, or too late.
        Orphan => "orphan",
        /// A notify without its 9 or 10 parameters, or with one of a wrong type or size.
        BadNotify => "bad_notify",
        /// A difficulty that is no finite number above zero.
        BadDifficulty => "bad_difficulty",
        /// An extranonce that is not hexadecimal or out of range.
        BadExtranonce => "bad_extranonce",
        /// A version mask that is not hexadecimal.
        BadVersionMask => "bad_version_mask",
        /// A set_extranonce that changes nothing, for a miner that never asked for changes.
        SameExtranonce => "same_extranonce",
        /// A version mask for a miner that did not ask for version rolling, or was refused it.
        VersionMaskUnasked => "version_mask_unasked",
        /// A request that Stratum does not know, or that miners are not asked.
        UnknownMethod => "unknown_method",
        /// A request with an id that is too long.
        BadId => "bad_id",
        /// A client.show_message that is not one short text without control characters.
        BadShowMessage => "bad_show_message",
        /// Another request with parameters that it does not have.
        BadRequest => "bad_request",
        /// A client.reconnect to another host or port, the classic hijack, or an unreadable one.
        ReconnectRefused => "reconnect_refused",
    }
}

labels! {
    /// How a pool connection was lost, or never had.
    pub enum PoolLoss {
        /// The pool closed it in order.
        Closed => "closed",
        /// It broke.
        Reset => "reset",
        /// It takes nothing of what is sent to it.
        Stalled => "stalled",
        /// No address took it.
        Unreachable => "unreachable",
        /// No address took it in time.
        ConnectTimeout => "connect_timeout",
        /// The proxy on the way did not open it.
        ProxyFailed => "proxy_failed",
        /// Its TLS handshake failed, or the encrypted stream was broken.
        TlsFailed => "tls_failed",
        /// The program could not even try: descriptors, ports or memory are used up.
        NoResources => "no_resources",
        /// The pool did not answer in time.
        Silent => "silent",
        /// The pool refused the subscription.
        Refused => "refused",
        /// The pool refused every worker that it was asked to authorize again.
        Unauthorized => "unauthorized",
        /// The pool sent something that is not JSON, no object, or ambiguous; or little else than what is kept from miners.
        Garbage => "garbage",
        /// The pool sent a line beyond the cap.
        LineTooLong => "line_too_long",
        /// A line of the pool stayed unfinished for too long.
        HalfLine => "half_line",
        /// The answer to the subscription lacks an extranonce or its size, or they are out of range.
        BadSubscribeResult => "bad_subscribe_result",
        /// The pool sent more than may be held before its subscribe answer.
        EarlyTooMuch => "early_too_much",
        /// The pool asked to connect again.
        Reconnect => "reconnect",
        /// The proxy left it for another pool, or for another address of it.
        Switched => "switched",
    }
}

impl PoolLoss {
    /// Why a link ends that is not kept without its pool.
    #[must_use]
    pub fn end(self) -> End {
        match self {
            PoolLoss::Closed => End::PoolLeft,
            PoolLoss::Reset => End::PoolReset,
            PoolLoss::Stalled => End::PoolStalled,
            PoolLoss::Unreachable => End::PoolUnreachable,
            PoolLoss::ConnectTimeout => End::PoolConnectTimeout,
            PoolLoss::ProxyFailed => End::PoolProxyFailed,
            PoolLoss::TlsFailed => End::PoolTlsFailed,
            PoolLoss::NoResources => End::OutOfResources,
            PoolLoss::Silent => End::PoolSilent,
            PoolLoss::Refused => End::PoolRefused,
            PoolLoss::Unauthorized => End::PoolUnauthorized,
            PoolLoss::Garbage => End::PoolGarbage,
            PoolLoss::LineTooLong => End::PoolLineTooLong,
            PoolLoss::HalfLine => End::HalfLine,
            PoolLoss::BadSubscribeResult => End::BadSubscribeResult,
            PoolLoss::EarlyTooMuch => End::EarlyTooMuch,
            PoolLoss::Reconnect => End::PoolReconnect,
            PoolLoss::Switched => End::PoolSwitched,
        }
    }

    /// Whether it speaks against the pool. What the proxy did itself, and what it lacks, does not.
    #[must_use]
    pub fn is_fault(self) -> bool {
        match self {
            PoolLoss::NoResources | PoolLoss::Reconnect | PoolLoss::Switched => false,
            PoolLoss::Closed
            | PoolLoss::Reset
            | PoolLoss::Stalled
            | PoolLoss::Unreachable
            | PoolLoss::ConnectTimeout
            | PoolLoss::ProxyFailed
            | PoolLoss::TlsFailed
            | PoolLoss::Silent
            | PoolLoss::Refused
            | PoolLoss::Unauthorized
            | PoolLoss::Garbage
            | PoolLoss::LineTooLong
            | PoolLoss::HalfLine
            | PoolLoss::BadSubscribeResult
            | PoolLoss::EarlyTooMuch => true,
        }
    }
}

labels! {
    /// Why a link ended. All but the first four are somebody's fault.
    pub enum End {
        /// The miner closed its connection.
        MinerLeft => "miner_left",
        /// The pool closed its connection.
        PoolLeft => "pool_left",
        /// The proxy is shutting down.
        Drained => "drained",
        /// It was no miner's: it speaks HTTP, and the thread that does has taken it.
        Http => "http",
        /// The miner's connection broke.
        MinerReset => "miner_reset",
        /// The pool's connection broke.
        PoolReset => "pool_reset",
        /// The pool took nothing of what was sent to it for too long.
        PoolStalled => "pool_stalled",
        /// No address of the pool took the connection.
        PoolUnreachable => "pool_unreachable",
        /// The pool did not take the connection in time.
        PoolConnectTimeout => "pool_connect_timeout",
        /// The proxy on the way to the pool did not open the connection.
        PoolProxyFailed => "pool_proxy_failed",
        /// The pool did not show who it is, or could not be spoken to in TLS.
        PoolTlsFailed => "pool_tls_failed",
        /// The pool refused the subscription, such as for being full.
        PoolRefused => "pool_refused",
        /// The pool refused every worker of the miner that it was asked to authorize again.
        PoolUnauthorized => "pool_unauthorized",
        /// No pool could be used for longer than a miner is held.
        NoPool => "no_pool",
        /// The miner's pool is to be another one, and the miner cannot be told: it gets there by connecting again.
        PoolSwitched => "pool_switched",
        /// The pool did not answer in time.
        PoolSilent => "pool_silent",
        /// The pool sent something that is not JSON, no object, or ambiguous; or little else than what is kept from miners.
        PoolGarbage => "pool_garbage",
        /// The pool sent a line beyond the cap.
        PoolLineTooLong => "pool_line_too_long",
        /// The pool's answer to the subscription lacks an extranonce or its size, or they are out of range.
        BadSubscribeResult => "bad_subscribe_result",
        /// The pool changed the extranonce and the miner cannot be told.
        ExtranonceChanged => "extranonce_changed",
        /// The pool asked to connect again to the same place.
        PoolReconnect => "pool_reconnect",
        /// The pool sent more than may be held before its subscribe answer.
        EarlyTooMuch => "early_too_much",
        /// The first bytes were not those of a Stratum miner.
        NotStratum => "not_stratum",
        /// What stands in front of the miner did not tell, in a PROXY header, whom it speaks for.
        BadProxyHeader => "bad_proxy_header",
        /// The miner could not be spoken to in TLS, or the encrypted stream was broken.
        TlsFailed => "tls_failed",
        /// The miner sent a line beyond the cap.
        LineTooLong => "line_too_long",
        /// A line stayed unfinished for too long.
        HalfLine => "half_line",
        /// The miner did not subscribe and authorize in time.
        HandshakeTimeout => "handshake_timeout",
        /// Nothing was said on the link for too long.
        Idle => "idle",
        /// The miner sent too many malformed messages.
        TooManyErrors => "too_many_errors",
        /// The miner went on sending far beyond its rate limit.
        Flood => "flood",
        /// The miner sent far more bad shares than good ones.
        BadShares => "bad_shares",
        /// The miner sent more than may be held before its pool link is up.
        HeldTooMuch => "held_too_much",
        /// One read called for more output than may be produced at once.
        OutputFlood => "output_flood",
        /// The miner does not read what it is sent.
        SlowReader => "slow_reader",
        /// A bug: the handler of this link panicked.
        Panicked => "panicked",
        /// The lists of the configuration keep this address out.
        Denied => "denied",
        /// The address is kept out for a while for what it did.
        Blocked => "blocked",
        /// An operator ended all connections of the address.
        Kicked => "kicked",
        /// The address has as many connections as it may.
        AddressLimit => "address_limit",
        /// The address connects too often.
        ConnectRate => "connect_rate",
        /// Memory is short: nobody new is let in.
        Overloaded => "overloaded",
        /// Its place was needed for others: it had not said who it was for too long, or kept much while memory was short.
        Shed => "shed",
        /// It speaks HTTP, and as many of these wait already as may.
        HttpBusy => "http_busy",
        /// The proxy holds as many connections as it may, or has no descriptor left.
        OverCapacity => "over_capacity",
        /// The proxy had no resources left for this connection or its pool connection.
        OutOfResources => "out_of_resources",
    }
}

impl End {
    /// How bad it is, where it speaks of somebody who attacks: a hundred in a short time is enough to be kept out. `is_miner`: it
    /// had asked to subscribe or to be authorized, as miners do that find no pool and leave.
    #[must_use]
    pub fn offence(self, is_miner: bool) -> Option<f32> {
        match self {
            // Scanners, and others that know no Stratum.
            End::NotStratum | End::TlsFailed | End::BadProxyHeader => Some(10.0),
            // Attempts to use memory or time up.
            End::LineTooLong
            | End::HeldTooMuch
            | End::OutputFlood
            | End::Flood
            | End::TooManyErrors
            | End::BadShares => Some(20.0),
            End::HandshakeTimeout | End::HalfLine if !is_miner => Some(5.0),
            End::SlowReader => Some(5.0),
            // Connect and leave.
            End::MinerLeft | End::MinerReset if !is_miner => Some(0.5),
            End::HandshakeTimeout
            | End::HalfLine
            | End::MinerLeft
            | End::MinerReset
            | End::PoolLeft
            | End::Drained
            | End::Http
            | End::HttpBusy
            | End::PoolReset
            | End::PoolStalled
            | End::PoolUnreachable
            | End::PoolConnectTimeout
            | End::PoolProxyFailed
            | End::PoolTlsFailed
            | End::PoolRefused
            | End::PoolUnauthorized
            | End::NoPool
            | End::PoolSwitched
            | End::PoolSilent
            | End::PoolGarbage
            | End::PoolLineTooLong
            | End::BadSubscribeResult
            | End::ExtranonceChanged
            | End::PoolReconnect
            | End::EarlyTooMuch
            | End::Idle
            | End::Panicked
            | End::Overloaded
            | End::Shed
            | End::OverCapacity
            | End::OutOfResources
            | End::Denied
            | End::Blocked
            | End::Kicked
            | End::AddressLimit
            | End::ConnectRate => None,
        }
    }

    /// Whether the end is a fault of somebody, not a normal leaving.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self.index() > End::Http.index()
    }
}
