//! The measured limits of the machine, and the probes of them during a run.

use serde::{Deserialize, Serialize};

use super::Reasons;

/// [`Ceilings::machine`] where time is virtual: the limits are those of the mock engine's machine.
pub const SIMULATED: &str = "virtual";

/// A measured rate (per second) or time, with its spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median of the repetitions: the value that is used.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Repetitions.
    pub n: usize,
}

impl Spread {
    /// Median, smallest and largest of values; `None` without a finite one.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        let median = f64::midpoint(*lower, *upper);
        Some(Self { median, low: *values.first()?, high: *values.last()?, n: values.len() })
    }
}

/// The limits of this machine, measured with the threads that engines compute on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// When they were measured, RFC 3339.
    pub measured: String,
    /// The machine that they belong to: a digest over processor, caches, memory, kernel and build features.
    pub machine: String,
    /// One entry per thread count, ascending.
    pub threads: Vec<ThreadCeilings>,
    /// Bytes per second from storage, by `read`, with none of the file in the page cache.
    pub file_read_cold: Option<Spread>,
    /// Bytes per second from the page cache, through a fresh mapping, on one thread.
    pub file_read_warm: Option<Spread>,
    /// Seconds that the first touch of a small page (4 KiB on most machines) of anonymous memory takes.
    pub page_fault_s: Option<Spread>,
    /// Share of all processors that other programs used or the hypervisor took just before; `None` where it is unknown.
    #[serde(default)]
    pub disturbed: Option<f64>,
    /// Why a field is `null`.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

impl Ceilings {
    /// From this share of the processors on, ceilings are too low.
    const DISTURBED: f64 = 0.15;

    /// Whether they were measured beside other work, and are too low.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.disturbed.is_some_and(|share| share >= Self::DISTURBED)
    }

    /// The limits for a thread count, or those of the nearest lower one that was measured.
    #[must_use]
    pub fn of(&self, threads: usize) -> Option<&ThreadCeilings> {
        self.threads.iter().rev().find(|known| known.threads <= threads).or(self.threads.first())
    }
}

/// The limits of a number of threads together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadCeilings {
    /// Threads.
    pub threads: usize,
    /// Bytes per second read from memory, in 4 KiB pages (files are mapped so).
    pub memory_read: Option<Spread>,
    /// The same in huge pages.
    pub memory_read_huge: Option<Spread>,
    /// Bytes per second read from each level of cache, level 1 first.
    pub caches: Vec<CacheCeiling>,
    /// Bytes per second copied from memory to memory, counting each byte once.
    pub copy: Option<Spread>,
    /// Floating-point operations per second of fused multiply-adds in f32 (one is two operations).
    pub fma_f32: Option<Spread>,
    /// Operations per second of the 8-bit integer dot product (a multiply-add is two operations).
    pub dot_i8: Option<Spread>,
    /// Seconds to pass an empty task to all threads and to wait for them.
    pub dispatch_s: Option<Spread>,
    /// Why a field is `null`.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

/// One level of cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheCeiling {
    /// 1 is the nearest to the core.
    pub level: usize,
    /// The size that these threads have of it together, in bytes.
    pub size_bytes: u64,
    /// Bytes per second that all threads read from it together.
    pub read: Spread,
}

/// A short measurement of the memory's bandwidth between the requests of a run: machines that share their memory drift.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CeilingProbe {
    /// `before`, `round` or `after`.
    pub moment: String,
    /// The round before which it was taken.
    pub round: Option<usize>,
    /// When, RFC 3339 with milliseconds.
    pub at: String,
    /// The model whose block it belongs to.
    pub model: String,
    /// Threads.
    pub threads: usize,
    /// Bytes per second read from memory, 4 KiB pages.
    pub memory_read: Option<f64>,
    /// Operations per second: the 8-bit dot product, or f32 multiply-adds where the processor has none.
    pub compute: Option<f64>,
    /// Why a field is `null`.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub reasons: Reasons,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_its_middle_and_its_ends() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0, n: 3 }));
        assert_eq!(Spread::of(&[4.0, 1.0, f64::NAN]), Some(Spread { median: 2.5, low: 1.0, high: 4.0, n: 2 }));
        assert_eq!(Spread::of(&[]), None);
    }
}
