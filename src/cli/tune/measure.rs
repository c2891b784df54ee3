//! Runs the loads: the direct connection before, between and after the candidates, so that what the host does by itself
//! is seen beside what they do.

use super::super::Failure;
use super::super::children::Running;
use super::super::load::{Farm, Kind, Measured, Meter, Place};
use super::candidates::Candidate;
use super::noise::Baseline;
use super::recommend::Figures;
use serde::Serialize;

/// Miners that say nothing need not be watched for long.
const IDLE_SECONDS: u64 = 1;

/// All loads in the order in which they ran, and what they came to.
#[derive(Debug, Default, Serialize)]
pub(super) struct Series {
    pub(super) direct: Vec<Baseline>,
    pub(super) tried: Vec<Figures>,
    pub(super) measured: Vec<Measured>,
}

impl Series {
    /// Measures every candidate. Ends early when figures turn out to be worthless: the rest would be no better.
    pub(super) fn run(
        meter: &Meter<'_>,
        candidates: Vec<Candidate>,
        tell: &dyn Fn(&Figures),
    ) -> Result<Series, Failure> {
        let mut series = Series::default();
        series.baseline(meter)?;
        for candidate in candidates {
            if series.problem().is_some() {
                break;
            }
            let figures = series.candidate(meter, candidate)?;
            tell(&figures);
            series.tried.push(figures);
            series.baseline(meter)?;
        }
        Ok(series)
    }

    /// The first thing that makes the figures worthless.
    pub(super) fn problem(&self) -> Option<String> {
        self.measured.iter().find_map(Measured::problem)
    }

    fn baseline(&mut self, meter: &Meter<'_>) -> Result<(), Failure> {
        let pool = Running::pool(Kind::Closed.shape())?;
        let closed = meter.on(Kind::Closed, pool.address, "direct")?;
        let open = meter.on(Kind::Open, pool.address, "direct")?;
        self.direct.push(Baseline {
            shares_per_second: closed.swarm.shares_per_second,
            p99_us: open.swarm.submit_us.p99,
        });
        self.measured.extend([closed, open]);
        Ok(())
    }

    fn candidate(&mut self, meter: &Meter<'_>, candidate: Candidate) -> Result<Figures, Failure> {
        let cpus = Some(candidate.cpus.to_string());
        let place = Place { path: candidate.name(), shards: Some(candidate.shards), cpus };
        let pool = Running::pool(Kind::Closed.shape())?;
        let closed = meter.through(Kind::Closed, pool.address, &place)?;
        let open = meter.through(Kind::Open, pool.address, &place)?;
        let quiet = Running::pool(Kind::Idle.shape())?;
        let farm = Farm { seconds: IDLE_SECONDS, ..meter.farm.clone() };
        let idle = Meter { farm, ..*meter }.through(Kind::Idle, quiet.address, &place)?;
        let figures = Figures {
            candidate,
            shares_per_second: closed.swarm.shares_per_second,
            p99_us: open.swarm.submit_us.p99,
            open_per_second: open.swarm.shares_per_second,
            cpu_us_each: closed.proxy.and_then(|used| used.cpu_us_each),
            // So few miners that the process had room for them already show nothing.
            bytes_per_miner: idle.proxy.and_then(|used| used.bytes_per_miner).filter(|bytes| *bytes > 0.0),
            resident_bytes: idle.proxy.and_then(|used| used.resident_bytes),
        };
        self.measured.extend([closed, open, idle]);
        Ok(figures)
    }
}
