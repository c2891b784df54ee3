//! Names of methods, in both directions.

labels! {
    /// What a message is. Also the label of the message counters.
    pub enum Method {
        /// `mining.subscribe`
        Subscribe => "subscribe",
        /// `mining.authorize`, under any name that begins with `mining.auth`
        Authorize => "authorize",
        /// `mining.submit`
        Submit => "submit",
        /// `mining.configure` (BIP310)
        Configure => "configure",
        /// `mining.extranonce.subscribe`
        ExtranonceSubscribe => "extranonce_subscribe",
        /// `mining.suggest_difficulty`, `mining.suggest`, or with the value inside the name
        SuggestDifficulty => "suggest_difficulty",
        /// `mining.suggest_target`
        SuggestTarget => "suggest_target",
        /// `mining.get_transactions`
        GetTransactions => "get_transactions",
        /// `mining.multi_version`
        MultiVersion => "multi_version",
        /// `mining.capabilities`
        Capabilities => "capabilities",
        /// `mining.term`
        Term => "term",
        /// `mining.ping`, from either side
        Ping => "ping",
        /// `pong`: an answer to a ping in the shape of a request
        Pong => "pong",
        /// `mining.notify`
        Notify => "notify",
        /// `mining.set_difficulty`
        SetDifficulty => "set_difficulty",
        /// `mining.set_extranonce`
        SetExtranonce => "set_extranonce",
        /// `mining.set_version_mask`
        SetVersionMask => "set_version_mask",
        /// `client.reconnect`
        Reconnect => "reconnect",
        /// `client.show_message`
        ShowMessage => "show_message",
        /// `client.get_version`
        GetVersion => "get_version",
        /// A message without a method: somebody's answer.
        Answer => "answer",
        /// Any other method.
        Unknown => "unknown",
    }
}

impl Method {
    /// Reads a method's name. ckpool and cgminer match names by their beginning and without regard to case, so this does
    /// too: what the other side takes for a method must pass here as that method.
    #[must_use]
    pub fn of(name: &str) -> Method {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Method::of(&name.to_ascii_lowercase());
        }
        match name {
            "mining.submit" => Method::Submit,
            "mining.notify" => Method::Notify,
            "mining.set_difficulty" => Method::SetDifficulty,
            "mining.subscribe" => Method::Subscribe,
            "mining.configure" => Method::Configure,
            "mining.extranonce.subscribe" => Method::ExtranonceSubscribe,
            "mining.suggest_target" => Method::SuggestTarget,
            "mining.get_transactions" => Method::GetTransactions,
            "mining.multi_version" => Method::MultiVersion,
            "mining.capabilities" => Method::Capabilities,
            "mining.term" => Method::Term,
            "mining.ping" => Method::Ping,
            "pong" | "mining.pong" => Method::Pong,
            "mining.set_extranonce" => Method::SetExtranonce,
            "mining.set_version_mask" => Method::SetVersionMask,
            "client.reconnect" | "mining.reconnect" => Method::Reconnect,
            "client.show_message" => Method::ShowMessage,
            "client.get_version" => Method::GetVersion,
            _ if name.starts_with("mining.auth") => Method::Authorize,
            _ if name.starts_with("mining.submit") => Method::Submit,
            _ if name.starts_with("mining.subscribe") => Method::Subscribe,
            _ if name.starts_with("mining.configure") => Method::Configure,
            _ if name.starts_with("mining.notify") => Method::Notify,
            _ if name.starts_with("mining.set_difficulty") => Method::SetDifficulty,
            _ if name.starts_with("mining.set_extranonce") => Method::SetExtranonce,
            _ if name.starts_with("mining.set_version_mask") => Method::SetVersionMask,
            _ if name.starts_with("client.reconnect") => Method::Reconnect,
            _ if name.starts_with("mining.reconnect") => Method::Reconnect,
            _ if name.starts_with("mining.suggest") => Method::SuggestDifficulty,
            _ if name.starts_with("mining.get_transactions") => Method::GetTransactions,
            _ => Method::Unknown,
        }
    }

    /// Whether a miner's message of this kind gets an answer, so that it is kept until the answer comes.
    #[must_use]
    pub fn is_answered(self) -> bool {
        !matches!(self, Method::Pong | Method::Answer | Method::Term)
    }

    /// Whether a miner says with it how hard it wants its shares.
    #[must_use]
    pub fn suggests_difficulty(self) -> bool {
        matches!(self, Method::SuggestDifficulty | Method::SuggestTarget)
    }

    /// Whether a message of this kind, coming from a miner, proves that a Stratum miner is there.
    #[must_use]
    pub fn opens_a_session(self) -> bool {
        matches!(
            self,
            Method::Subscribe
                | Method::Authorize
                | Method::Configure
                | Method::ExtranonceSubscribe
                | Method::SuggestDifficulty
                | Method::SuggestTarget
                | Method::MultiVersion
                | Method::Capabilities
                | Method::Ping
        )
    }
}
