//! How far the memory bandwidth moved while a run measured: machines that share their memory drift.

use record::CeilingProbe;
use statistics::median;

/// The movement of the probed memory bandwidth with one thread count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// Threads.
    pub threads: usize,
    /// Bytes per second: the median of the probes.
    pub median: f64,
    /// The last probe over the first.
    pub last_to_first: f64,
    /// `(largest - smallest) / median`.
    pub range: f64,
    /// Probes.
    pub n: usize,
}

impl Drift {
    /// More than this in either figure, and absolute rates of the run cannot be trusted to that share.
    pub const LIMIT: f64 = 0.1;

    /// Whether it exceeds [`Drift::LIMIT`].
    #[must_use]
    pub fn is_large(&self) -> bool {
        (self.last_to_first - 1.0).abs() > Self::LIMIT || self.range > Self::LIMIT
    }
}

/// One entry per thread count with at least two probes, ascending.
#[must_use]
pub fn drift(probes: &[CeilingProbe]) -> Vec<Drift> {
    let mut counts: Vec<usize> = probes.iter().map(|probe| probe.threads).collect();
    counts.sort_unstable();
    counts.dedup();
    counts.into_iter().filter_map(|threads| of(probes, threads)).collect()
}

fn of(probes: &[CeilingProbe], threads: usize) -> Option<Drift> {
    let rates: Vec<f64> = probes
        .iter()
        .filter(|probe| probe.threads == threads)
        .filter_map(|probe| probe.memory_read.value().filter(|&rate| rate > 0.0))
        .collect();
    let [first, .., last] = rates.as_slice() else { return None };
    let median = median(&rates)?;
    let largest = rates.iter().copied().fold(f64::MIN, f64::max);
    let smallest = rates.iter().copied().fold(f64::MAX, f64::min);
    Some(Drift { threads, median, last_to_first: last / first, range: (largest - smallest) / median, n: rates.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(threads: usize, rates: &[f64]) -> Vec<CeilingProbe> {
        let probe =
            |&rate: &f64| CeilingProbe { threads, memory_read: rate.into(), ..CeilingProbe::absent("not probed") };
        rates.iter().map(probe).collect()
    }

    #[test]
    fn a_quiet_machine_does_not_drift() {
        let found = drift(&probes(2, &[40e9, 41e9, 40.5e9]));
        assert_eq!((found.len(), found[0].n, found[0].threads), (1, 3, 2));
        assert!(!found[0].is_large(), "{found:?}");
    }

    #[test]
    fn a_planted_drift_is_large() {
        let down = drift(&probes(2, &[40e9, 38e9, 35e9]))[0];
        assert!(down.is_large() && (down.last_to_first - 0.875).abs() < 1e-12);
        let dip = drift(&probes(2, &[40e9, 30e9, 40e9]))[0];
        assert!(dip.is_large() && (dip.last_to_first - 1.0).abs() < 1e-12 && (dip.range - 0.25).abs() < 1e-12);
    }

    #[test]
    fn thread_counts_are_apart_and_gaps_are_skipped() {
        let mut all = probes(4, &[80e9, 60e9]);
        all.extend(probes(1, &[15e9]));
        all.push(CeilingProbe { threads: 1, ..CeilingProbe::absent("not probed") });
        let found = drift(&all);
        assert_eq!(found.iter().map(|drift| drift.threads).collect::<Vec<_>>(), [4], "one probe shows no drift");
        assert!(drift(&[]).is_empty());
    }
}
