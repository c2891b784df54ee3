//! What the proxy used during a load, told by the proxy itself and charged to shares, handshakes or miners.

use super::super::children::{Running, Usage};
use super::Kind;
use loka_rig::{Phase, Progress, SwarmReport};
use serde::Serialize;

/// What the proxy used during one load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(in super::super) struct Used {
    pub(in super::super) cpu_seconds: f64,
    /// Microseconds of CPU for each share answered; for a storm, for each handshake.
    pub(in super::super) cpu_us_each: Option<f64>,
    /// Growth of the resident set for each miner that was connected.
    pub(in super::super) bytes_per_miner: Option<f64>,
    /// The resident set of the whole process at the last look while miners were connected.
    pub(in super::super) resident_bytes: Option<u64>,
}

/// What the proxy used, and what had been answered, at one moment of a run.
#[derive(Debug, Clone, Copy)]
struct Mark {
    usage: Usage,
    answered: u64,
}

/// What the proxy used at the marks of a run.
pub(super) struct Watch {
    before: Usage,
    /// At the first look in the measured phase: the ramp is not charged to the shares.
    first: Option<Mark>,
    /// At the last look in it, while the miners are still connected.
    last: Option<Mark>,
}

impl Watch {
    pub(super) fn begin(before: Usage) -> Watch {
        Watch { before, first: None, last: None }
    }

    pub(super) fn look(&mut self, proxy: &mut Running, progress: &Progress) {
        if progress.phase == Phase::Measure {
            let answered = progress.shares.accepted + progress.shares.rejected;
            // A child that is gone shows in the run itself.
            self.last = proxy.usage().ok().map(|usage| Mark { usage, answered }).or(self.last);
            self.first = self.first.or(self.last);
        }
    }

    pub(super) fn used(self, proxy: &mut Running, kind: Kind, swarm: &SwarmReport) -> anyhow::Result<Used> {
        let cpu_seconds = proxy.usage()?.cpu_seconds - self.before.cpu_seconds;
        let measured = self.first.zip(self.last).map(|(first, last)| {
            (last.usage.cpu_seconds - first.usage.cpu_seconds, last.answered - first.answered)
        });
        let charged = match kind {
            Kind::Open | Kind::Closed | Kind::Deep => measured,
            Kind::Storm => Some((cpu_seconds, swarm.handshakes)),
            Kind::Idle => None,
        };
        let cpu_us_each = charged.filter(|(_, each)| *each > 0).map(|(cpu, each)| cpu * 1e6 / ratio(each, 1));
        let idle = self.last.filter(|_| kind == Kind::Idle && swarm.ready > 0);
        let bytes_per_miner = idle.map(|last| {
            ratio(last.usage.resident_bytes.saturating_sub(self.before.resident_bytes), swarm.ready)
        });
        let resident_bytes = self.last.map(|last| last.usage.resident_bytes);
        Ok(Used { cpu_seconds, cpu_us_each, bytes_per_miner, resident_bytes })
    }
}

#[allow(clippy::cast_precision_loss, reason = "figures for the eye")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to as f64
}
