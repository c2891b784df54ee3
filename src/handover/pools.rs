//! Which pool of one process is which of the other: a link can go on where the same pool is reached, and spoken to, in the same
//! way. Marks tell that without telling accounts and passwords.

use crate::config::PoolConfig;
use ring::digest::{SHA256, digest};
use std::num::NonZeroU32;

/// What tells one pool from others.
pub(super) type Mark = Vec<u8>;

/// A mark that another pool does not have. How a pool is preferred makes no difference.
pub(super) fn mark_of(pool: &PoolConfig) -> Mark {
    let alike =
        PoolConfig { priority: 1, weight: NonZeroU32::MIN, reconnect_domains: Vec::new(), ..pool.clone() };
    let proxy = pool.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref());
    let login = proxy.map(|(user, password)| (user, password.reveal()));
    // The form for people leaves secrets out.
    let text = format!("{alike:?} {:?} {login:?}", pool.password.reveal());
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Secret};

    #[test]
    fn a_mark_is_of_what_a_pool_sees() {
        let pool = Config::for_pool(([127, 0, 0, 1], 3333).into()).pools[0].clone();
        let preferred = PoolConfig { priority: 9, weight: NonZeroU32::new(5).unwrap(), ..pool.clone() };
        assert_eq!(mark_of(&pool), mark_of(&preferred));
        let password = PoolConfig { password: Secret::new("other"), ..pool.clone() };
        let elsewhere = PoolConfig { port: 3334, ..pool.clone() };
        let account = PoolConfig { username: "other".to_owned(), ..pool.clone() };
        for other in [password, elsewhere, account] {
            assert_ne!(mark_of(&pool), mark_of(&other));
        }
    }
}
