//! Names of what the poller watches.

/// What a ready socket belongs to, packed into the poller's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Tick,
    Listener(usize),
    Miner(usize),
    Pool(usize),
}

impl Token {
    pub(crate) fn pack(self) -> u64 {
        let (kind, index) = match self {
            Token::Tick => (0, 0),
            Token::Listener(index) => (1, index),
            Token::Miner(key) => (2, key),
            Token::Pool(key) => (3, key),
        };
        (index as u64) << 2 | kind
    }

    pub(crate) fn unpack(token: u64) -> Token {
        let index = usize::try_from(token >> 2).unwrap_or(usize::MAX);
        match token & 3 {
            0 => Token::Tick,
            1 => Token::Listener(index),
            2 => Token::Miner(index),
            _ => Token::Pool(index),
        }
    }
}
