//! The ceilings that apply to a case.

use engine_api::Device;
use record::{Case, Reason, RunFile, Spread, ThreadCeilings};
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
pub enum BandwidthSource {
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
pub struct CacheLevel {
    /// 1 is the nearest to the core.
    pub level: usize,
    /// What the case's threads have of it together, in bytes.
    pub size: u64,
    /// What they read from it together.
    pub read: BytesPerSecond,
}

/// What the machine can do at most with the threads of a case. What was not measured is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseCeilings {
    /// The thread count that was measured: that of the case, or the nearest lower one.
    pub threads: usize,
    /// Read bandwidth of the memory, and where it was measured.
    pub memory: Option<(BytesPerSecond, BandwidthSource)>,
    /// The caches, the nearest first.
    pub caches: Vec<CacheLevel>,
    /// Multiply-adds in f32.
    pub f32: Option<FlopsPerSecond>,
    /// The dot product of 8-bit integers.
    pub i8: Option<FlopsPerSecond>,
    /// The time to pass an empty task to all threads and to wait for them.
    pub dispatch: Option<Seconds>,
    /// The first touch of a 4 KiB page.
    pub page_fault: Option<Seconds>,
}

impl CaseCeilings {
    /// The smallest cache that holds so many bytes.
    #[must_use]
    pub fn holding(&self, bytes: f64) -> Option<&CacheLevel> {
        self.caches.iter().find(|cache| bytes <= cache.size as f64)
    }
}

/// The processor's ceilings for a case: those of its thread count, or of the nearest lower one (more threads than processors
/// compute no faster). The memory bandwidth is the median of what this run probed for that thread count between its own requests
/// (of the case's model, else of any), and only without such a probe that of the machine: absolute bandwidth drifts on machines
/// that share their memory.
///
/// # Errors
/// The reason, where nothing was measured or where the engine computes on a device other than the processor.
pub fn case_ceilings(file: &RunFile, case: &Case) -> Result<CaseCeilings, Reason> {
    if let Some(device) = file.identity(&case.engine).map(|engine| &engine.device)
        && !has_processor_ceilings(device)
    {
        return Err(Reason::new(format!("the ceilings of the device {device} are not measured")));
    }
    // Files of earlier versions may have ceilings that contradict each other.
    let consistent = file.ceilings.as_ref().and_then(|ceilings| ceilings.of(case.threads)).cloned();
    let consistent = consistent.map(ThreadCeilings::without_contradictions);
    let known = consistent.as_ref();
    let threads = known.map_or(case.threads, |known| known.threads);
    let memory = probed_bandwidth(file, case, threads).or_else(|| {
        let spread = known?.memory_read.as_ref()?;
        positive(spread.median).map(|rate| (BytesPerSecond(rate), BandwidthSource::Machine))
    });
    if known.is_none() && memory.is_none() {
        return Err(Reason::new("the machine's ceilings were not measured"));
    }
    let of =
        |pick: fn(&ThreadCeilings) -> Option<Spread>| known.and_then(pick).and_then(|spread| positive(spread.median));
    let mut caches: Vec<CacheLevel> = known.map_or_else(Vec::new, |known| {
        let caches = known.caches.iter().filter_map(|cache| {
            let read = BytesPerSecond(positive(cache.read.median)?);
            Some(CacheLevel { level: cache.level, size: cache.size_bytes, read })
        });
        caches.collect()
    });
    caches.sort_by_key(|cache| cache.level);
    let page_fault = file.ceilings.as_ref().and_then(|ceilings| ceilings.page_fault_s.value());
    let (f32, i8) = (of(|known| known.fma_f32.value()), of(|known| known.dot_i8.value()));
    // A probe of this run shows what is possible: a stored ceiling below it was measured beside other work.
    let probed = probed_compute(file, case, threads);
    let raised = |stored: f64| FlopsPerSecond(probed.map_or(stored, |probed| stored.max(probed)));
    Ok(CaseCeilings {
        threads,
        memory,
        caches,
        // The probe computes in the type that is faster here.
        f32: if i8.is_none() { f32.map(raised) } else { f32.map(FlopsPerSecond) },
        i8: i8.map(raised),
        dispatch: of(|known| known.dispatch_s.value()).map(Seconds),
        page_fault: page_fault.and_then(|spread| positive(spread.median)).map(Seconds),
    })
}

/// Whether the processor's ceilings apply to a device. They apply to a server only where its process is known to run on this
/// machine, which the audit checks.
pub(crate) const fn has_processor_ceilings(device: &Device) -> bool {
    matches!(device, Device::Cpu | Device::Virtual | Device::Server)
}

/// The median of the run's own probes for these threads.
fn probed_bandwidth(file: &RunFile, case: &Case, threads: usize) -> Option<(BytesPerSecond, BandwidthSource)> {
    let of = |own: bool| -> Vec<f64> {
        let probes = file.ceiling_probes.iter();
        let fitting = probes.filter(|probe| probe.threads == threads || probe.threads == case.threads);
        let fitting = fitting.filter(|probe| !own || probe.model == case.model);
        fitting.filter_map(|probe| positive(probe.memory_read.value()?)).collect()
    };
    let own = of(true);
    let rates = if own.is_empty() { of(false) } else { own };
    median(&rates).map(|rate| (BytesPerSecond(rate), BandwidthSource::Run { probes: rates.len() }))
}

/// The highest rate of arithmetic that a probe of this run reached with these threads.
fn probed_compute(file: &RunFile, case: &Case, threads: usize) -> Option<f64> {
    let probes = file.ceiling_probes.iter();
    let fitting = probes.filter(|probe| probe.threads == threads || probe.threads == case.threads);
    fitting.filter_map(|probe| positive(probe.compute.value()?)).reduce(f64::max)
}

/// A rate or a time that can be divided by.
fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ceilings, file, spread};
    use super::*;
    use record::{CeilingProbe, Recorded, RecordedList};

    fn list(probes: Vec<CeilingProbe>) -> RecordedList<CeilingProbe> {
        RecordedList::new(probes, "none")
    }

    fn probe(model: &str, threads: usize, memory_read: Option<f64>) -> CeilingProbe {
        let absent = CeilingProbe::absent("not probed");
        let memory_read = memory_read.map_or_else(|| absent.memory_read.clone(), Into::into);
        CeilingProbe { model: model.to_owned(), threads, memory_read, ..absent }
    }

    #[test]
    fn probes_of_the_run_come_before_the_ceilings_of_the_machine() {
        let mut file = file(Case { model: "m".to_owned(), threads: 2, ..Case::default() });
        let at = |file: &RunFile| case_ceilings(file, &file.cases[0]).unwrap().memory.unwrap();
        assert_eq!(at(&file), (BytesPerSecond(10e9), BandwidthSource::Machine));
        file.ceiling_probes = list(vec![probe("other", 2, Some(7e9)), probe("m", 1, Some(4e9)), probe("m", 2, None)]);
        assert_eq!(
            at(&file),
            (BytesPerSecond(7e9), BandwidthSource::Run { probes: 1 }),
            "of the threads, if not of the model"
        );
        file.ceiling_probes.extend([6e9, 9e9, 8e9].map(|rate| probe("m", 2, Some(rate))));
        assert_eq!(at(&file), (BytesPerSecond(8e9), BandwidthSource::Run { probes: 3 }));
    }

    #[test]
    fn more_threads_than_were_measured_have_the_ceilings_of_the_nearest_count() {
        let file = file(Case { threads: 8, ..Case::default() });
        let found = case_ceilings(&file, &file.cases[0]).unwrap();
        assert_eq!((found.threads, found.i8), (2, Some(FlopsPerSecond(400e9))));
        assert_eq!(found.holding(40_000.0).unwrap().level, 2);
        assert_eq!(found.holding(1e9), None);
        assert_eq!(found.page_fault, Some(Seconds(0.5e-6)));
    }

    #[test]
    fn a_probe_raises_a_ceiling_below_it() {
        let mut file = file(Case { threads: 2, ..Case::default() });
        let compute = |rate: f64| CeilingProbe { compute: rate.into(), ..probe("m", 2, None) };
        file.ceiling_probes = list(vec![compute(500e9), compute(300e9)]);
        let found = case_ceilings(&file, &file.cases[0]).unwrap();
        assert_eq!((found.i8, found.f32), (Some(FlopsPerSecond(500e9)), Some(FlopsPerSecond(100e9))));
        file.ceiling_probes = list(vec![compute(300e9)]);
        assert_eq!(
            case_ceilings(&file, &file.cases[0]).unwrap().i8,
            Some(FlopsPerSecond(400e9)),
            "a lower one proves nothing"
        );
        file.ceilings.as_mut().unwrap().threads[1].dot_i8 = Recorded::absent("not measured");
        assert_eq!(case_ceilings(&file, &file.cases[0]).unwrap().f32, Some(FlopsPerSecond(300e9)));
    }

    #[test]
    fn nothing_measured_is_no_ceiling() {
        let mut file = file(Case { threads: 2, ..Case::default() });
        file.ceilings = Recorded::absent("not measured");
        let reason = case_ceilings(&file, &file.cases[0]).unwrap_err();
        assert_eq!(reason, "the machine's ceilings were not measured");
        file.ceiling_probes = list(vec![probe("m", 2, Some(5e9))]);
        let found = case_ceilings(&file, &file.cases[0]).unwrap();
        assert_eq!((found.memory.unwrap().0, found.f32), (BytesPerSecond(5e9), None));
        let mut broken = ceilings();
        broken.threads[1].fma_f32 = spread(0.0).into();
        file.ceilings = broken.into();
        assert_eq!(case_ceilings(&file, &file.cases[0]).unwrap().f32, None, "a rate of 0 was not measured");
    }

    #[test]
    fn the_ceilings_of_the_processor_do_not_apply_to_a_gpu() {
        let mut file = file(Case { engine: "candle".to_owned(), threads: 2, ..Case::default() });
        for (device, applies) in [
            (Device::Cpu, true),
            (Device::Virtual, true),
            (Device::Server, true),
            (Device::Cuda(0), false),
            (Device::Metal(0), false),
            (Device::Other("vulkan".to_owned()), false),
        ] {
            let identity = engine_api::Identity {
                name: "candle".to_owned(),
                variant: None,
                version: String::new(),
                device: device.clone(),
                features: Vec::new(),
                weight_use: engine_api::WeightUse::default(),
            };
            file.environment.engines = vec![identity];
            let found = case_ceilings(&file, &file.cases[0]);
            assert_eq!(found.is_ok(), applies, "{device}: {found:?}");
            if let Err(reason) = found {
                assert_eq!(reason.as_str(), format!("the ceilings of the device {device} are not measured"));
            }
        }
    }
}
