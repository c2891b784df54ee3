//! HDR histograms of microseconds as Prometheus histograms of seconds.

use hdrhistogram::Histogram;
use prometheus::proto;

/// Upper bounds of the buckets in microseconds: 100 µs to 30 s; `+Inf` comes by itself.
pub(super) const BOUNDS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Microseconds in a second.
const SECOND_US: f64 = 1e6;

/// The count of a bucket is exactly that of the HDR histogram up to and with the cell that holds the bound; a cell is
/// less than 1 % wide. The sum is made from the middles of the cells, so it has the same error; it never shrinks.
pub(super) fn of(recorded: &Histogram<u64>) -> proto::Histogram {
    let bucket = |&bound: &u64| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound as f64 / SECOND_US);
        bucket.set_cumulative_count(recorded.count_between(0, bound));
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(BOUNDS_US.iter().map(bucket).collect());
    histogram.set_sample_count(recorded.len());
    histogram.set_sample_sum(sum_us(recorded) / SECOND_US);
    histogram
}

/// Sum of all recorded values in microseconds, from the middles of the cells.
fn sum_us(recorded: &Histogram<u64>) -> f64 {
    let middle = |value| recorded.median_equivalent(value) as f64;
    recorded.iter_recorded().map(|cell| middle(cell.value_iterated_to()) * cell.count_at_value() as f64).sum()
}
