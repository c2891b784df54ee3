//! The keys of `[api]`.

use crate::config::form::{Hidden, Text, Words};
use crate::config::key::Key;
use crate::config::token::Token;

pub(in crate::config) static API_TOKEN: Key<Token> = Key::new(
    "api.token",
    Token(Hidden(Text { min: 16, max: 256 })),
    "",
    "What a request that changes something must bring along as `Authorization: Bearer TOKEN`: blocking and kicking \
     addresses, draining, the level of the log. Empty means that nobody can. Never printed or logged.",
);

pub(in crate::config) static API_HOSTS: Key<Words> = Key::new(
    "api.hosts",
    Words { count_max: 16, bytes_max: 253 },
    &[],
    "Names by which the API may be asked for beside localhost and IP addresses of this host, such as that of a reverse \
     proxy in front. Others are refused, so that no page of the web can make a browser ask.",
);
