//! The measured limits of the machine, and the probes of them during a run.

use super::recorded::with_reasons;
use super::{CacheCeilings, Moment, Reason, Reasons, Recorded, Spread};

/// [`Ceilings::machine`] where time is virtual: the limits are those of the mock engine's machine.
pub const SIMULATED: &str = "virtual";

with_reasons! {
    /// The limits of this machine, measured with the threads that engines compute on.
    pub struct Ceilings {
        /// When they were measured, RFC 3339.
        pub measured: String,
        /// The machine that they belong to: a digest over processor, caches, memory, kernel and build features.
        pub machine: String,
        /// One entry per thread count, ascending.
        pub threads: Vec<ThreadCeilings>,
        /// Bytes per second from storage, by `read`, with none of the file in the page cache.
        pub file_read_cold: Recorded<Spread>,
        /// Bytes per second from the page cache, through a fresh mapping, on one thread.
        pub file_read_warm: Recorded<Spread>,
        /// Seconds that the first touch of a small page (4 KiB on most machines) of anonymous memory takes.
        pub page_fault_s: Recorded<Spread>,
        /// Share of all processors that other programs used or the hypervisor took just before.
        pub disturbed: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

impl Ceilings {
    /// From this share of the processors on, ceilings are too low.
    const DISTURBED: f64 = 0.15;

    /// Whether they were measured beside other work, and are too low.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.disturbed.value().is_some_and(|share| share >= Self::DISTURBED)
    }

    /// The limits for a thread count, or those of the nearest lower one that was measured.
    #[must_use]
    pub fn of(&self, threads: usize) -> Option<&ThreadCeilings> {
        self.threads.iter().rev().find(|known| known.threads <= threads).or(self.threads.first())
    }
}

with_reasons! {
    /// The limits of a number of threads together.
    pub struct ThreadCeilings {
        /// Threads.
        pub threads: usize,
        /// Bytes per second read from memory, in 4 KiB pages (files are mapped so).
        pub memory_read: Recorded<Spread>,
        /// The same in huge pages.
        pub memory_read_huge: Recorded<Spread>,
        /// Bytes per second read from each level of cache, level 1 first.
        pub caches: CacheCeilings,
        /// Bytes per second copied from memory to memory, counting each byte once.
        pub copy: Recorded<Spread>,
        /// Floating-point operations per second of fused multiply-adds in f32 (one is two operations).
        pub fma_f32: Recorded<Spread>,
        /// Operations per second of the 8-bit integer dot product (a multiply-add is two operations).
        pub dot_i8: Recorded<Spread>,
        /// Seconds to pass an empty task to all threads and to wait for them.
        pub dispatch_s: Recorded<Spread>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

impl ThreadCeilings {
    /// A nearer level that is slower than a farther one by more than this share contradicts it, however widely it was spread.
    const SLOWER: f64 = 0.05;

    /// The levels of cache whose rate contradicts that of a farther level or of the memory, nearest first, with the reason. Data from a
    /// farther level pass through the nearer ones, so a nearer level is at least as fast: its figure is too low.
    #[must_use]
    pub fn contradictions(&self) -> Vec<(usize, Reason)> {
        let caches = self.caches.iter().map(|cache| (format!("level {}", cache.level), cache.level, cache.read));
        let memory = self.memory_read.value().map(|read| ("memory".to_owned(), usize::MAX, read));
        let all: Vec<(String, usize, Spread)> = caches.chain(memory).collect();
        let contradiction = |(_, level, read): &(String, usize, Spread)| {
            let farther = all.iter().filter(|(_, other, _)| other > level);
            let (name, _, fastest) = farther.max_by(|a, b| a.2.median.total_cmp(&b.2.median))?;
            let is_slower = read.high < fastest.median || read.median < fastest.median * (1.0 - Self::SLOWER);
            is_slower.then(|| {
                let rates = [read.median, fastest.median].map(|rate| crate::figures::significant(rate / 1e9));
                let [rate, fastest] = rates;
                let text = format!("it was measured at {rate} GB/s, slower than {name} ({fastest} GB/s), which cannot be: the measurement was disturbed");
                (*level, Reason::new(text))
            })
        };
        all.iter().filter_map(contradiction).collect()
    }

    /// The same without the levels of cache that contradict others; each has its reason instead.
    #[must_use]
    pub fn without_contradictions(mut self) -> Self {
        let found = self.contradictions();
        if found.is_empty() {
            return self;
        }
        self.caches = self.caches.withhold(found, "every measured level contradicts another ceiling");
        self
    }
}

with_reasons! {
    /// A short measurement of the memory's bandwidth between the requests of a run: machines that share their memory drift.
    pub struct CeilingProbe {
        /// When it was taken: the fields `moment` and `round` of a file.
        #[serde(flatten)]
        pub moment: Moment,
        /// When, RFC 3339 with milliseconds.
        pub at: String,
        /// The model whose block it belongs to.
        pub model: String,
        /// Threads.
        pub threads: usize,
        /// Bytes per second read from memory, 4 KiB pages.
        pub memory_read: Recorded<f64>,
        /// Operations per second: the 8-bit dot product, or f32 multiply-adds where the processor has none.
        pub compute: Recorded<f64>,
        /// Entries of `reasons` under other names.
        #[serde(default, rename = "reasons", getter = "Self::reasons", skip_serializing_if = "Reasons::is_empty")]
        pub notes: Reasons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheCeiling;

    #[test]
    fn a_spread_has_its_middle_and_its_ends() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0, n: 3 }));
        assert_eq!(Spread::of(&[4.0, 1.0, f64::NAN]), Some(Spread { median: 2.5, low: 1.0, high: 4.0, n: 2 }));
        assert_eq!(Spread::of(&[]), None);
    }

    fn with_rates(memory: f64, caches: &[f64]) -> ThreadCeilings {
        let about = |rate: f64| Spread { median: rate, low: rate * 0.97, high: rate * 1.03, n: 7 };
        let cache = |(index, rate): (usize, &f64)| CacheCeiling { level: index + 1, size_bytes: 1, read: about(*rate) };
        ThreadCeilings {
            threads: 2,
            memory_read: about(memory).into(),
            caches: CacheCeilings::measured(caches.iter().enumerate().map(cache).collect(), "none"),
            ..ThreadCeilings::absent("not measured")
        }
    }

    #[test]
    fn a_level_that_is_slower_than_a_farther_one_is_withheld_with_the_reason() {
        let quiet = with_rates(20e9, &[400e9, 200e9, 60e9]);
        assert!(quiet.contradictions().is_empty());
        assert_eq!(quiet.clone().without_contradictions(), quiet);
        assert!(with_rates(20e9, &[195e9, 200e9]).contradictions().is_empty(), "within the spread");
        assert!(!with_rates(20e9, &[193e9, 200e9]).contradictions().is_empty(), "its fastest repetition is slower");
        let disturbed = with_rates(20e9, &[90e9, 200e9, 15e9]);
        let levels: Vec<usize> = disturbed.contradictions().iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [1, 3], "level 3 is slower than the memory");
        let found = disturbed.without_contradictions();
        assert_eq!(found.caches.iter().map(|cache| cache.level).collect::<Vec<_>>(), [2]);
        insta::assert_snapshot!(found.caches.reason_of(1).unwrap(), @"it was measured at 90.00 GB/s, slower than level 2 (200.0 GB/s), which cannot be: the measurement was disturbed");
        assert!(found.contradictions().is_empty());
    }

    #[test]
    fn older_ceilings_and_probes_are_written_as_they_were_read() {
        let ceilings = r#"{"measured":"t","machine":"m","threads":[{"threads":2,"memory_read":{"median":1.0,"low":1.0,"high":1.0,"n":1},"memory_read_huge":null,"caches":[],"copy":null,"fma_f32":null,"dot_i8":null,"dispatch_s":null,"reasons":{"caches":"none","caches.2":"too small","copy":"no memory"}}],"file_read_cold":null,"file_read_warm":null,"page_fault_s":null,"disturbed":null,"reasons":{"page_fault_s":"why"}}"#;
        let read: Ceilings = serde_json::from_str(ceilings).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), ceilings);
        let one = &read.threads[0];
        assert_eq!(one.caches.reason().unwrap(), &"none");
        assert_eq!(
            (one.copy.reason().unwrap(), one.caches.reason_of(2).unwrap()),
            (&"no memory".into(), &"too small".into())
        );
        let probe = r#"{"moment":"round","round":3,"at":"t","model":"m","threads":1,"memory_read":null,"compute":2.5,"reasons":{"memory_read":"it failed"}}"#;
        let read: CeilingProbe = serde_json::from_str(probe).unwrap();
        assert_eq!((read.moment, read.memory_read.reason().unwrap()), (Moment::Round(3), &"it failed".into()));
        assert_eq!(serde_json::to_string(&read).unwrap(), probe);
    }
}
