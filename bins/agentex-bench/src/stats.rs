//! Samples and what is read off them.

use std::time::{Duration, Instant};

/// What one round of load gave.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// From the first request to the end of the last.
    pub(crate) elapsed: Duration,
    /// How long each request took; as many as there were requests.
    pub(crate) latencies: Vec<Duration>,
}

impl Round {
    pub(crate) fn new(began: Instant, latencies: Vec<Duration>) -> Self {
        Self { elapsed: began.elapsed(), latencies }
    }

    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        per_second(self.latencies.len(), self.elapsed)
    }

    /// The latency that `percent` of the requests did not exceed, in milliseconds.
    pub(crate) fn percentile(&mut self, percent: f64) -> f64 {
        percentile(&mut self.latencies, percent)
    }
}

pub(crate) fn per_second(count: usize, elapsed: Duration) -> f64 {
    self::count(count) / elapsed.as_secs_f64()
}

pub(crate) fn count(count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = count as f64;
    count
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The sample that `percent` of all samples do not exceed (nearest rank), in milliseconds. NaN without samples.
pub(crate) fn percentile(samples: &mut [Duration], percent: f64) -> f64 {
    if samples.is_empty() {
        return f64::NAN;
    }
    samples.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank lies between 0 and the number of samples"
    )]
    let rank = (samples.len() as f64 * percent / 100.0).ceil() as usize;
    millis(samples[rank.clamp(1, samples.len()) - 1])
}

/// The middle one; of an even number the mean of the two in the middle. NaN without values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut samples: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();

        let read = [0.0, 50.0, 99.0, 99.5, 100.0].map(|percent| percentile(&mut samples, percent));

        assert_eq!(read, [1.0, 100.0, 198.0, 199.0, 200.0]);
        assert!(percentile(&mut [], 50.0).is_nan());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
