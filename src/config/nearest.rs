//! "Did you mean …?": the known name nearest to an unknown one.

/// Longer names are no typing mistakes, and comparing them would cost time that an attacker's file could
/// claim.
const NAME_BYTES_MAX: usize = 64;
/// Names less alike than this share letters by chance only.
const LIKENESS_MIN: f64 = 0.62;

/// The candidate that `unknown` was most probably meant to be, if any is near enough. Names are compared
/// whole, and by their last part (`prometheus_port` belongs to `metrics`, whichever section it was written
/// under).
pub(super) fn nearest<'a>(unknown: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if unknown.len() > NAME_BYTES_MAX {
        return None;
    }
    let unknown = unknown.to_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (likeness(&unknown, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, candidate)| candidate)
}

fn likeness(unknown: &str, candidate: &str) -> f64 {
    let whole = strsim::normalized_damerau_levenshtein(unknown, candidate);
    let (Some((section, leaf)), Some((other_section, other_leaf))) =
        (split(unknown), candidate.rsplit_once('.'))
    else {
        return whole;
    };
    let same_section = f64::from(u8::from(section == other_section));
    let leaves = strsim::normalized_damerau_levenshtein(leaf, other_leaf);
    // `bind_address` for `address`, `rate_limiting` for `enable_rate_limiting`: a whole part of the name is
    // right.
    let contained = other_leaf.len() >= 4
        && leaf.len() >= 4
        && (leaf.ends_with(other_leaf) || other_leaf.ends_with(leaf) || other_leaf.starts_with(leaf));
    let leaves = if contained { leaves.max(0.7) } else { leaves };
    // `logging.file` for `logging.log_file`: in its own section a shortened name is more than the same word in another one.
    let shortened = contained && other_leaf.ends_with(leaf);
    let leaves = if shortened { leaves.max(0.7 + 0.2 * same_section) } else { leaves };
    // Within one section the last part decides; a name from another section must match almost exactly.
    whole.max(0.85 * leaves + 0.14 * same_section)
}

/// A key without a section (`port = 3333` at the top) is compared by its only part.
fn split(name: &str) -> Option<(&str, &str)> {
    if name.starts_with("loka_") { None } else { Some(name.rsplit_once('.').unwrap_or(("", name))) }
}

#[cfg(test)]
mod tests {
    use super::nearest;
    use crate::config::table;

    fn key(unknown: &str) -> Option<&'static str> {
        nearest(unknown, table::entries().iter().map(|entry| entry.path()))
    }

    #[test]
    fn sane_suggestions() {
        for (unknown, meant) in [
            ("server.prot", "server.port"),
            ("server.Port", "server.port"),
            ("server.bind_address", "server.address"),
            ("server.max-connections", "server.max_connections"),
            ("server.prometheus_port", "metrics.prometheus_port"),
            ("security.rate_limiting", "security.enable_rate_limiting"),
            ("security.max_request_per_minute", "security.max_requests_per_minute"),
            ("pool.user", "pool.username"),
            ("pool.pasword", "pool.password"),
            ("pool.extra_nonce", "pool.extranonce"),
            ("logging.file", "logging.log_file"),
            ("log.level", "logging.level"),
            ("performance.threads", "performance.worker_threads"),
            ("performance.workers", "performance.worker_threads"),
            ("performance.worker_thread", "performance.worker_threads"),
        ] {
            assert_eq!(key(unknown), Some(meant), "{unknown}");
        }
        for unknown in ["database.dialect", "zzz", "server.qqqqqq", "", &"x".repeat(1000)] {
            assert_eq!(key(unknown), None, "{unknown}");
        }
    }
}
