//! What a row of the metric table is, and the series it yields.

use super::histogram;
use crate::aggregate::Snapshot;
use hdrhistogram::Histogram;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of seconds.
    Histogram,
}

/// One metric family: a row of the table.
#[derive(Debug)]
pub struct Family {
    /// Full name, with base unit and, for counters, `_total`.
    pub name: &'static str,
    /// One sentence for operators.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Names of its labels. Each is bounded by something that is fixed when the process starts.
    pub labels: &'static [&'static str],
    pub(super) read: Read,
}

/// Reads a family's series from a snapshot. It yields at least one, but for what is switched off: such a
/// family is left out.
pub(super) type Read = fn(&Snapshot, &mut Series);

pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Family {
    Family { name, help, kind: Kind::Counter, labels, read }
}

pub(super) const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
    read: Read,
) -> Family {
    Family { name, help, kind: Kind::Gauge, labels, read }
}

pub(super) const fn seconds(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, help, kind: Kind::Histogram, labels: &[], read }
}

impl Family {
    /// Its series at the moment of the snapshot.
    pub(super) fn collect(&self, snapshot: &Snapshot) -> MetricFamily {
        family((self.name, self.help, self.kind, self.labels), |out| (self.read)(snapshot, out))
    }
}

/// A family of this name, help and kind, with these labels, and the series that `read` puts out.
pub(super) fn family(
    (name, help, kind, labels): (&str, &str, Kind, &'static [&'static str]),
    read: impl FnOnce(&mut Series),
) -> MetricFamily {
    let mut series = Series { kind, labels, metrics: Vec::new() };
    read(&mut series);
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(match kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(series.metrics);
    family
}

/// The series of one family.
pub(super) struct Series {
    kind: Kind,
    labels: &'static [&'static str],
    metrics: Vec<Metric>,
}

impl Series {
    /// The only series of a family without labels that counts things.
    pub(super) fn count(&mut self, value: u64) {
        self.value(&[], value as f64);
    }

    /// A series with these values of the labels, in the order of their names.
    pub(super) fn value(&mut self, values: &[&str], value: f64) {
        let mut metric = Metric::from_label(self.pairs(values));
        match self.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge | Kind::Histogram => {
                debug_assert!(self.kind == Kind::Gauge, "a histogram has no value");
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.metrics.push(metric);
    }

    /// The only series of a histogram family, from microseconds.
    pub(super) fn microseconds(&mut self, recorded: &Histogram<u64>) {
        debug_assert!(self.kind == Kind::Histogram);
        let mut metric = Metric::from_label(self.pairs(&[]));
        metric.set_histogram(histogram::of(recorded));
        self.metrics.push(metric);
    }

    fn pairs(&self, values: &[&str]) -> Vec<LabelPair> {
        debug_assert_eq!(self.labels.len(), values.len(), "a value for each label");
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        self.labels.iter().zip(values).map(pair).collect()
    }
}
