//! What was found, as a table and the lines to paste, or as JSON.

use super::measure::Series;
use super::noise::Noise;
use super::recommend::{Figures, MINER_SHARES_PER_MINUTE, Recommendation};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) version: &'static str,
    pub(super) connections: u32,
    pub(super) rate: f64,
    pub(super) seconds: u64,
    #[serde(flatten)]
    pub(super) series: Series,
    pub(super) noise: Noise,
    pub(super) notes: Vec<String>,
    pub(super) recommendation: Option<Recommendation>,
    /// The file that holds the recommendation now.
    pub(super) written: Option<PathBuf>,
}

/// The whole text; writing to a string cannot fail.
pub(super) fn table(outcome: &Outcome) -> String {
    let mut text = format!(
        "{:>6}  {:<12} {:>9}  {:>10}  {:>12}  {:>13}  {:>9}\n",
        "shards", "CPUs", "shares/s", "p99", "CPU a share", "bytes a miner", "resident"
    );
    for figures in &outcome.series.tried {
        let _ = writeln!(text, "{}", row(figures));
    }
    let _ = writeln!(text, "{}\n", direct(outcome));
    for note in &outcome.notes {
        let _ = writeln!(text, "{note}");
    }
    if let Some(recommendation) = &outcome.recommendation {
        let _ = write!(text, "\n{}", advice(recommendation, outcome.written.is_some()));
    }
    text
}

fn row(figures: &Figures) -> String {
    let told = |figure: Option<f64>, unit: &str, digits: usize| {
        figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}{unit}"))
    };
    format!(
        "{:>6}  {:<12} {:>9.0}  {:>7} us  {:>12}  {:>13}  {:>9}",
        figures.candidate.shards,
        figures.candidate.cpus.to_string(),
        figures.shares_per_second,
        figures.p99_us,
        told(figures.cpu_us_each, " us", 1),
        told(figures.bytes_per_miner, "", 0),
        told(figures.resident_bytes.map(|bytes| bytes as f64 / 1024.0 / 1024.0), " MiB", 1),
    )
}

/// The direct connection in one line: what it did at its slowest and its fastest.
fn direct(outcome: &Outcome) -> String {
    let direct = &outcome.series.direct;
    let rates = || direct.iter().map(|baseline| baseline.shares_per_second);
    let times = || direct.iter().map(|baseline| baseline.p99_us);
    format!(
        "direct connection, {} times: {:.0} to {:.0} shares/s ({:.0} %), p99 {} to {} us at {:.0} shares/s",
        direct.len(),
        rates().fold(f64::INFINITY, f64::min),
        rates().fold(0.0, f64::max),
        outcome.noise.spread * 100.0,
        times().min().unwrap_or(0),
        times().max().unwrap_or(0),
        outcome.rate,
    )
}

fn advice(recommendation: &Recommendation, is_written: bool) -> String {
    let Recommendation { candidate, tolerance, miners_by_shares, miners_by_connections } = recommendation;
    let mut text = format!(
        "recommended: {} (the fewest shards within {:.0} % of the best, with no clearly worse p99)\n  at \
         {MINER_SHARES_PER_MINUTE:.0} shares a minute each, {miners_by_shares} miners would fill it; it takes at most \
         {miners_by_connections} connections\n",
        candidate.name(),
        tolerance * 100.0,
    );
    if !is_written {
        let _ = write!(
            text,
            "\nto use it, in the configuration file:\n\n[server]\ncpus = \"{cpus}\"\n\n[performance]\nworker_threads = \
             {shards}\n\nor on the command line: --shards {shards} --cpus {cpus}\n",
            cpus = candidate.cpus,
            shards = candidate.shards,
        );
    }
    text
}
