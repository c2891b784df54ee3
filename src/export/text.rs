//! The Prometheus text exposition, by a collector of our own: nothing is counted in the `prometheus` crate.

use super::families::FAMILIES;
use super::series::Family;
use crate::aggregate::SnapshotReader;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, Registry, TextEncoder};
use std::collections::HashMap;

/// What the text is, for HTTP.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the newest snapshot as Prometheus text.
#[derive(Debug, Clone)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// An exposition of what `snapshots` reads.
    ///
    /// # Errors
    /// The table holds a name that Prometheus does not allow, or holds one twice.
    pub fn new(snapshots: SnapshotReader) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Table::new(snapshots)?))?;
        Ok(Self { registry })
    }

    /// The text: some 20 KB, and a few hundred bytes more for each shard.
    ///
    /// # Errors
    /// A family without a series, which is a mistake in the table.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

struct Table {
    snapshots: SnapshotReader,
    descriptions: Vec<Desc>,
}

impl Table {
    fn new(snapshots: SnapshotReader) -> Result<Self, prometheus::Error> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
        };
        Ok(Self { snapshots, descriptions: FAMILIES.iter().map(describe).collect::<Result<_, _>>()? })
    }
}

impl Collector for Table {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = self.snapshots.latest();
        FAMILIES.iter().map(|family| family.collect(&snapshot)).collect()
    }
}
