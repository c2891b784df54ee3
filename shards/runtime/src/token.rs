//! Names of what the poller watches.

/// What a ready socket belongs to, packed into the poller's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Tick,
    Listener(usize),
    Miner(usize),
    Pool(usize),
    /// A connection to a pool that nobody needs yet.
    Warm(usize),
}

impl Token {
    pub(crate) fn pack(self) -> u64 {
        let (kind, index) = match self {
            Token::Tick => (0, 0),
            Token::Listener(index) => (1, index),
            Token::Miner(key) => (2, key),
            Token::Pool(key) => (3, key),
            Token::Warm(slot) => (4, slot),
        };
        (index as u64) << 3 | kind
    }

    pub(crate) fn unpack(token: u64) -> Token {
        let index = usize::try_from(token >> 3).unwrap_or(usize::MAX);
        match token & 7 {
            0 => Token::Tick,
            1 => Token::Listener(index),
            2 => Token::Miner(index),
            3 => Token::Pool(index),
            _ => Token::Warm(index),
        }
    }
}
