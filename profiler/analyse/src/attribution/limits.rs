//! The ceilings that apply to a case.

use record::{Case, RunFile, Spread, ThreadCeilings};
use statistics::median;

/// Bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct BytesPerSecond(pub f64);

/// Operations per second; a multiply-add counts as two.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct FlopsPerSecond(pub f64);

/// A time in seconds, where it is a measured constant and no duration of an event.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl BytesPerSecond {
    /// `bytes / rate`, in seconds.
    #[must_use]
    pub fn time(self, bytes: f64) -> f64 {
        bytes / self.0
    }
}

impl FlopsPerSecond {
    /// `flops / rate`, in seconds.
    #[must_use]
    pub fn time(self, flops: f64) -> f64 {
        flops / self.0
    }
}

/// Where a memory bandwidth was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySource {
    /// Between the requests of this run, so many times: it drifts with them.
    Run {
        /// Probes that the median is of.
        probes: usize,
    },
    /// When the machine's ceilings were measured.
    Machine,
}

/// One level of cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cache {
    /// 1 is the nearest to the core.
    pub level: usize,
    /// What the case's threads have of it together, in bytes.
    pub size: u64,
    /// What they read from it together.
    pub read: BytesPerSecond,
}

/// What the machine can do at most with the threads of a case. What was not measured is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The thread count that was measured: that of the case, or the nearest lower one.
    pub threads: usize,
    /// Read bandwidth of the memory, and where it was measured.
    pub memory: Option<(BytesPerSecond, MemorySource)>,
    /// The caches, the nearest first.
    pub caches: Vec<Cache>,
    /// Multiply-adds in f32.
    pub f32: Option<FlopsPerSecond>,
    /// The dot product of 8-bit integers.
    pub i8: Option<FlopsPerSecond>,
    /// Handing an empty piece of work to all threads and having it back.
    pub dispatch: Option<Seconds>,
    /// The first touch of a 4 KiB page.
    pub page_fault: Option<Seconds>,
}

impl Limits {
    /// The smallest cache that holds so many bytes.
    #[must_use]
    pub fn holding(&self, bytes: f64) -> Option<&Cache> {
        self.caches.iter().find(|cache| bytes <= cache.size as f64)
    }
}

/// The ceilings of a case: of its thread count, or of the nearest lower one (more threads than processors compute no faster). The
/// memory's bandwidth is the median of what this run probed for that thread count beside its own requests (of the case's model,
/// else of any), and only without such a probe the machine's: absolute bandwidth drifts on machines that share their memory.
/// `None` where nothing was measured.
#[must_use]
pub fn limits(file: &RunFile, case: &Case) -> Option<Limits> {
    let known = file.ceilings.as_ref().and_then(|ceilings| ceilings.of(case.threads));
    let threads = known.map_or(case.threads, |known| known.threads);
    let memory = probed(file, case, threads).or_else(|| {
        let spread = known?.memory_read.as_ref()?;
        rate(spread.median).map(|rate| (BytesPerSecond(rate), MemorySource::Machine))
    });
    if known.is_none() && memory.is_none() {
        return None;
    }
    let of = |pick: fn(&ThreadCeilings) -> Option<Spread>| known.and_then(pick).and_then(|spread| rate(spread.median));
    let mut caches: Vec<Cache> = known.map_or_else(Vec::new, |known| {
        let caches = known.caches.iter().filter_map(|cache| {
            Some(Cache { level: cache.level, size: cache.size_bytes, read: BytesPerSecond(rate(cache.read.median)?) })
        });
        caches.collect()
    });
    caches.sort_by_key(|cache| cache.level);
    let page_fault = file.ceilings.as_ref().and_then(|ceilings| ceilings.page_fault_s);
    let (f32, i8) = (of(|known| known.fma_f32), of(|known| known.dot_i8));
    // What a probe of this run has done can be done: a kept ceiling below it was measured beside other work.
    let done = computed(file, case, threads);
    let raised = |kept: f64| FlopsPerSecond(done.map_or(kept, |done| kept.max(done)));
    Some(Limits {
        threads,
        memory,
        caches,
        // The probe computes in the type that is faster here.
        f32: if i8.is_none() { f32.map(raised) } else { f32.map(FlopsPerSecond) },
        i8: i8.map(raised),
        dispatch: of(|known| known.dispatch_s).map(Seconds),
        page_fault: page_fault.and_then(|spread| rate(spread.median)).map(Seconds),
    })
}

/// The median of the run's own probes for these threads.
fn probed(file: &RunFile, case: &Case, threads: usize) -> Option<(BytesPerSecond, MemorySource)> {
    let of = |own: bool| -> Vec<f64> {
        let probes = file.ceiling_probes.iter();
        let fitting = probes.filter(|probe| probe.threads == threads || probe.threads == case.threads);
        fitting.filter(|probe| !own || probe.model == case.model).filter_map(|probe| rate(probe.memory_read?)).collect()
    };
    let own = of(true);
    let rates = if own.is_empty() { of(false) } else { own };
    median(&rates).map(|rate| (BytesPerSecond(rate), MemorySource::Run { probes: rates.len() }))
}

/// The highest rate of arithmetic that a probe of this run has reached with these threads.
fn computed(file: &RunFile, case: &Case, threads: usize) -> Option<f64> {
    let probes = file.ceiling_probes.iter();
    let fitting = probes.filter(|probe| probe.threads == threads || probe.threads == case.threads);
    fitting.filter_map(|probe| rate(probe.compute?)).reduce(f64::max)
}

/// A rate or a time that can be divided by.
fn rate(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ceilings, file, spread};
    use super::*;
    use record::CeilingProbe;

    fn probe(model: &str, threads: usize, memory_read: Option<f64>) -> CeilingProbe {
        CeilingProbe { model: model.to_owned(), threads, memory_read, ..CeilingProbe::default() }
    }

    #[test]
    fn the_runs_own_probes_come_before_the_machines() {
        let mut file = file(Case { model: "m".to_owned(), threads: 2, ..Case::default() });
        let at = |file: &RunFile| limits(file, &file.cases[0]).unwrap().memory.unwrap();
        assert_eq!(at(&file), (BytesPerSecond(10e9), MemorySource::Machine));
        file.ceiling_probes = vec![probe("other", 2, Some(7e9)), probe("m", 1, Some(4e9)), probe("m", 2, None)];
        assert_eq!(
            at(&file),
            (BytesPerSecond(7e9), MemorySource::Run { probes: 1 }),
            "of the threads, if not of the model"
        );
        file.ceiling_probes.extend([6e9, 9e9, 8e9].map(|rate| probe("m", 2, Some(rate))));
        assert_eq!(at(&file), (BytesPerSecond(8e9), MemorySource::Run { probes: 3 }));
    }

    #[test]
    fn more_threads_than_were_measured_have_the_limits_of_the_nearest() {
        let file = file(Case { threads: 8, ..Case::default() });
        let found = limits(&file, &file.cases[0]).unwrap();
        assert_eq!((found.threads, found.i8), (2, Some(FlopsPerSecond(400e9))));
        assert_eq!(found.holding(40_000.0).unwrap().level, 2);
        assert_eq!(found.holding(1e9), None);
        assert_eq!(found.page_fault, Some(Seconds(0.5e-6)));
    }

    #[test]
    fn a_probe_disproves_a_ceiling_below_it() {
        let mut file = file(Case { threads: 2, ..Case::default() });
        let compute = |rate: f64| CeilingProbe { compute: Some(rate), ..probe("m", 2, None) };
        file.ceiling_probes = vec![compute(500e9), compute(300e9)];
        let found = limits(&file, &file.cases[0]).unwrap();
        assert_eq!((found.i8, found.f32), (Some(FlopsPerSecond(500e9)), Some(FlopsPerSecond(100e9))));
        file.ceiling_probes = vec![compute(300e9)];
        assert_eq!(
            limits(&file, &file.cases[0]).unwrap().i8,
            Some(FlopsPerSecond(400e9)),
            "a lower one proves nothing"
        );
        file.ceilings.as_mut().unwrap().threads[1].dot_i8 = None;
        assert_eq!(limits(&file, &file.cases[0]).unwrap().f32, Some(FlopsPerSecond(300e9)));
    }

    #[test]
    fn nothing_measured_is_no_limit() {
        let mut file = file(Case { threads: 2, ..Case::default() });
        file.ceilings = None;
        assert_eq!(limits(&file, &file.cases[0]), None);
        file.ceiling_probes = vec![probe("m", 2, Some(5e9))];
        let found = limits(&file, &file.cases[0]).unwrap();
        assert_eq!((found.memory.unwrap().0, found.f32), (BytesPerSecond(5e9), None));
        let mut broken = ceilings();
        broken.threads[1].fma_f32 = Some(spread(0.0));
        file.ceilings = Some(broken);
        assert_eq!(limits(&file, &file.cases[0]).unwrap().f32, None, "a rate of 0 was not measured");
    }
}
