//! Which candidate to take, and what its figures do not say.
//!
//! More shards have to earn their place: differences that the host makes by itself count for none.

use super::candidates::Candidate;
use super::noise::{NOISY_P99_FACTOR, NOISY_SPREAD, Noise};
use loka_runtime::limits::CONNECTIONS_PER_SHARD_MAX;
use serde::Serialize;

/// Differences in shares a second that count for none on the calmest host.
const TOLERANCE_MIN: f64 = 0.05;
/// How many times the shortest p99 another one may take without being clearly worse, on the calmest host.
const P99_FACTOR_MIN: f64 = 1.5;
/// A miner's share travels for milliseconds: what is less than one is no reason for another shard.
const P99_MATTERS_US: u64 = 1000;
/// From this part of the direct connection's shares a second on, the generator is what is measured.
const CEILING_NEAR: f64 = 0.8;
/// Part of the open loop's rate below which it did not keep up.
const RATE_KEPT: f64 = 0.95;
/// Threads that keep a CPU busy beside the shards: the swarm and the pool.
const GENERATOR_CPUS: usize = 2;
/// Shares a minute of a miner, as pools with variable difficulty aim at.
pub(super) const MINER_SHARES_PER_MINUTE: f64 = 20.0;

/// What one candidate did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figures {
    #[serde(flatten)]
    pub(super) candidate: Candidate,
    /// Of the closed loop.
    pub(super) shares_per_second: f64,
    /// Of the open loop at its fixed rate.
    pub(super) p99_us: u64,
    /// What the open loop made of its rate.
    pub(super) open_per_second: f64,
    /// Of the closed loop.
    pub(super) cpu_us_each: Option<f64>,
    pub(super) bytes_per_miner: Option<f64>,
    /// Of the whole process, with all miners connected.
    pub(super) resident_bytes: Option<u64>,
}

/// The candidate to take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Recommendation {
    #[serde(flatten)]
    pub(super) candidate: Candidate,
    /// Candidates whose shares a second were within this part of the best counted as equal.
    pub(super) tolerance: f64,
    /// Miners whose shares it can carry, at 20 shares a minute each.
    pub(super) miners_by_shares: u64,
    /// Connections that so many shards take at most.
    pub(super) miners_by_connections: u64,
}

/// The fewest shards whose shares a second are within the tolerance of the best, and whose p99 is not clearly worse than
/// that of another one of these. `None` when nothing was measured.
pub(super) fn recommend(tried: &[Figures], noise: Noise) -> Option<Recommendation> {
    let tolerance = noise.spread.max(TOLERANCE_MIN);
    let best = tried.iter().map(|figures| figures.shares_per_second).fold(0.0, f64::max);
    let near: Vec<&Figures> =
        tried.iter().filter(|figures| figures.shares_per_second >= best * (1.0 - tolerance)).collect();
    let shortest_us = near.iter().map(|figures| figures.p99_us).min()?;
    let longest_us = shortest_us as f64 * noise.p99_factor.max(P99_FACTOR_MIN);
    let is_worse = |us: u64| us as f64 > longest_us && us > shortest_us + P99_MATTERS_US;
    let chosen = near.into_iter().filter(|figures| !is_worse(figures.p99_us)).min_by(|a, b| {
        let shards = a.candidate.shards.cmp(&b.candidate.shards);
        shards.then(b.shares_per_second.total_cmp(&a.shares_per_second))
    })?;
    Some(Recommendation {
        candidate: chosen.candidate.clone(),
        tolerance,
        miners_by_shares: (chosen.shares_per_second * 60.0 / MINER_SHARES_PER_MINUTE) as u64,
        miners_by_connections: (chosen.candidate.shards * CONNECTIONS_PER_SHARD_MAX) as u64,
    })
}

/// What the figures do not say by themselves, one sentence each. `ceiling` is what the direct connection did, `rate` that
/// of the open loop, `cpus` how many CPUs there are for everything.
pub(super) fn notes(tried: &[Figures], noise: Noise, ceiling: f64, rate: f64, cpus: usize) -> Vec<String> {
    let of = |figures: Vec<&Figures>| {
        figures.iter().map(|figures| figures.candidate.name()).collect::<Vec<_>>().join("; ")
    };
    let those = |which: &dyn Fn(&Figures) -> bool| {
        let found: Vec<&Figures> = tried.iter().filter(|figures| which(figures)).collect();
        (!found.is_empty()).then(|| of(found))
    };
    let mut notes = vec![
        "The load generator and the simulated pool run on this host too and take CPU from the shards, which have more of it \
         when miners and pool are elsewhere."
            .to_owned(),
    ];
    if noise.is_noisy() {
        notes.push(format!(
            "This host is noisy: the direct connection alone varied by {:.0} % in shares/s (noisy above {:.0} %) and by a \
             factor of {:.1} in p99 (noisy above {NOISY_P99_FACTOR:.1}). Differences below that mean nothing.",
            noise.spread * 100.0,
            NOISY_SPREAD * 100.0,
            noise.p99_factor,
        ));
    }
    let is_near = |figures: &Figures| figures.shares_per_second >= CEILING_NEAR * ceiling;
    if let Some(names) = those(&is_near) {
        notes.push(format!(
            "At {names}: shares/s come near to those of the direct connection. The generator is the limit there, and \
             more shards cannot be told apart on this host."
        ));
    }
    if let Some(names) = those(&|figures| figures.candidate.shards + GENERATOR_CPUS > cpus) {
        notes.push(format!(
            "At {names}: fewer than {GENERATOR_CPUS} of {cpus} CPUs are left for generator and pool, so shares/s and p99 \
             come out too low and too long; CPU per share can still be compared."
        ));
    }
    if let Some(names) = those(&|figures| figures.open_per_second < RATE_KEPT * rate) {
        notes.push(format!(
            "At {names}: the open loop did not keep up with {rate:.0} shares/s, so its p99 is that of a queue; a lower \
             --rate tells more."
        ));
    }
    if cfg!(debug_assertions) {
        notes.push("This is a debug build: a release build is several times faster.".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::topology::plain;
    use super::*;

    const CALM: Noise = Noise { spread: 0.01, p99_factor: 1.1 };
    const NOISY: Noise = Noise { spread: 0.30, p99_factor: 4.0 };

    /// Candidates of 1, 2, 4 ... shards.
    fn tried(of: &[(f64, u64)]) -> Vec<Figures> {
        let cpus: Vec<usize> = (0..1 << (of.len() - 1)).collect();
        let candidates = super::super::candidates::candidates(&plain(&cpus), None);
        let figures = |(candidate, &(shares_per_second, p99_us))| Figures {
            candidate,
            shares_per_second,
            p99_us,
            open_per_second: 5000.0,
            cpu_us_each: None,
            bytes_per_miner: None,
            resident_bytes: None,
        };
        candidates.into_iter().zip(of).map(figures).collect()
    }

    fn shards(of: &[(f64, u64)], noise: Noise) -> usize {
        recommend(&tried(of), noise).unwrap().candidate.shards
    }

    #[test]
    fn the_fewest_shards_near_the_best_win() {
        assert_eq!(shards(&[(50_000.0, 300), (90_000.0, 300), (94_000.0, 300)], CALM), 2);
        assert_eq!(shards(&[(50_000.0, 300), (80_000.0, 300), (94_000.0, 300)], CALM), 4);
        assert_eq!(shards(&[(50_000.0, 300)], CALM), 1);
        assert_eq!(recommend(&[], CALM), None);
    }

    #[test]
    fn differences_within_the_noise_are_none() {
        assert_eq!(shards(&[(70_000.0, 300), (80_000.0, 300), (94_000.0, 300)], NOISY), 1);
        assert_eq!(shards(&[(60_000.0, 300), (80_000.0, 300), (94_000.0, 300)], NOISY), 2);
    }

    #[test]
    fn a_p99_that_is_clearly_worse_costs_the_place() {
        assert_eq!(shards(&[(90_000.0, 3000), (92_000.0, 1000)], CALM), 2);
        assert_eq!(shards(&[(90_000.0, 3000), (92_000.0, 1000)], NOISY), 1);
        // Five times as long, and still nothing that a miner would notice.
        assert_eq!(shards(&[(90_000.0, 500), (92_000.0, 100)], CALM), 1);
        // The shortest p99 of all, by one that does too little to count.
        assert_eq!(shards(&[(10_000.0, 100), (90_000.0, 3000)], CALM), 2);
    }

    #[test]
    fn of_equally_many_shards_the_faster_placing_wins() {
        let mut tried = tried(&[(90_000.0, 300), (91_000.0, 300)]);
        tried[1].candidate.shards = 1;
        let cpus = recommend(&tried, CALM).unwrap().candidate.cpus;
        assert_eq!(cpus, tried[1].candidate.cpus);
    }

    #[test]
    fn miners_are_bounded_by_shares_and_by_connections() {
        let told = recommend(&tried(&[(30_000.0, 300)]), CALM).unwrap();
        assert_eq!(told.miners_by_shares, 90_000);
        assert_eq!(told.miners_by_connections, CONNECTIONS_PER_SHARD_MAX as u64);
    }

    #[test]
    fn what_figures_do_not_say_is_said() {
        let text = |of: &[(f64, u64)], noise, ceiling, rate, cpus| {
            notes(&tried(of), noise, ceiling, rate, cpus).join("\n")
        };
        let calm = text(&[(50_000.0, 300)], CALM, 100_000.0, 5000.0, 8);
        assert!(calm.contains("run on this host too"), "{calm}");
        for word in ["noisy", "is the limit", "are left", "keep up"] {
            assert!(!calm.contains(word), "{calm}");
        }
        assert!(text(&[(1.0, 1)], NOISY, 9.0, 1.0, 8).contains("varied by 30 %"));
        assert!(text(&[(85.0, 1)], CALM, 100.0, 1.0, 8).contains("At 1 shard on CPU 0: shares/s come near"));
        assert!(
            text(&[(1.0, 1), (1.0, 1)], CALM, 9.0, 1.0, 3)
                .contains("At 2 shards on CPUs 0-1: fewer than 2 of 3")
        );
        assert!(text(&[(1.0, 1)], CALM, 9.0, 6000.0, 8).contains("did not keep up with 6000"));
    }
}
