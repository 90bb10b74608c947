//! Gaps between output tokens.

use std::collections::BTreeMap;

use record::Sample;
use statistics::percentile;

/// The percentiles that are kept of the gaps.
const PERCENTILES: &[(&str, f64)] = &[("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)];

/// Inter-token latencies of one request in seconds: t_2 - t_1, ..., t_n - t_(n-1). The first token's time is TTFT and
/// no gap.
pub fn gaps(sample: &Sample) -> Vec<f64> {
    sample.token_times_s.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// p50, p90, p99 and max (type 7) over the gaps of all samples together, in seconds; empty without a gap.
pub fn itl<'a>(samples: impl Iterator<Item = &'a Sample>) -> BTreeMap<String, f64> {
    let all: Vec<f64> = samples.flat_map(gaps).collect();
    PERCENTILES.iter().filter_map(|&(name, p)| Some((name.to_owned(), percentile(&all, p)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_is_no_gap() {
        let sample = Sample { token_times_s: [5.0, 6.0, 8.0].into(), ..Sample::absent("not measured") };
        assert_eq!(gaps(&sample), [1.0, 2.0]);
        let found = itl([&sample].into_iter());
        assert!((found["p50"] - 1.5).abs() < 1e-12 && (found["max"] - 2.0).abs() < 1e-12);
        assert!(itl([&Sample::absent("not measured")].into_iter()).is_empty());
    }
}
