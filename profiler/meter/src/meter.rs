//! [`Meter`]: the instruments of the process that computes.

use std::collections::BTreeMap;

use record::{Reason, Setting};

use crate::counters::{Counter, MAX_COUNTERS, Reading, RequestedCounters, Source};
use crate::energy::Energy;
use crate::load::MachineLoad;
use crate::memory::Memory;
use crate::perf::PerfCounters;
use crate::platform;
use crate::root::Root;
use crate::virtual_machine::{self, VIRTUAL, VirtualPmu};

/// The instruments of one process. Open it before the process has a second thread: perf counters follow threads that
/// start later, not those that exist.
#[derive(Debug)]
pub struct Meter {
    counters: Vec<&'static Counter>,
    backend: Backend,
    events: PerfCounters,
    absent: BTreeMap<&'static str, Reason>,
    energy: Energy,
}

/// Where process accounting comes from.
#[derive(Debug)]
enum Backend {
    /// The system.
    System(platform::OwnProcess),
    /// The virtual machine whose time passes on this thread.
    Virtual,
}

impl Meter {
    /// Opens the counters. [`Meter::absent`] has the reasons for those that this machine lacks.
    pub fn open(counters: &[&'static Counter]) -> Self {
        let requested = RequestedCounters::new(counters).and(|counter| match counter.exists_here() {
            true => Ok(()),
            false => Err(reason!("{} does not exist on {}", counter.name, std::env::consts::OS)),
        });
        let (energy, requested) = Energy::open(Root::system(), requested);
        let (events, requested) = open_events(requested);
        let (process, requested) = platform::OwnProcess::open(requested);
        Self::of(Backend::System(process), events, energy, requested)
    }

    /// Instruments of the virtual machine whose time passes on this thread. They read nothing of the real machine.
    pub fn virtual_machine(counters: &[&'static Counter]) -> Self {
        let requested = RequestedCounters::new(counters);
        let (events, _) = PerfCounters::open(Box::new(VirtualPmu::default()), requested.clone());
        let counted = events.counters();
        // The reasons of the PMU advise on settings of a real machine.
        let requested = requested.and(|counter| match virtual_machine::has(counter) || counted.contains(&counter) {
            true => Ok(()),
            false => Err(Reason::new(VIRTUAL)),
        });
        Self::of(Backend::Virtual, events, Energy::none(), requested)
    }

    fn of(backend: Backend, events: PerfCounters, energy: Energy, requested: RequestedCounters) -> Self {
        let is_energy = |counter: &Counter| matches!(counter.source, Source::Energy(_));
        let mut room = MAX_COUNTERS;
        let requested = requested.and(|counter| {
            if is_energy(counter) {
                return Ok(());
            }
            room = room.checked_sub(1).ok_or_else(|| {
                reason!("at most {MAX_COUNTERS} counters are read at once: name fewer with {}", Setting::Counters)
            })?;
            Ok(())
        });
        let counters = requested.readable().into_iter().filter(|counter| !is_energy(counter)).collect();
        Self { counters, backend, events, absent: requested.absent(), energy }
    }

    /// Instruments that read nothing: the placeholder while the real ones are borrowed.
    pub fn closed() -> Self {
        Self::virtual_machine(&[])
    }

    /// The number of requests that are needed to count everything: hardware events that do not fit the processor's registers
    /// together are counted one set at a time.
    pub fn sets(&self) -> usize {
        self.events.sets().len().max(1)
    }

    /// Counts this set from now on instead of the one before.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn select(&mut self, set: usize) -> Result<(), Reason> {
        self.events.select(set)
    }

    /// The counters that are counted now, each with its index in a [`Reading`]: all except those of other sets.
    pub fn counted(&self) -> Vec<(usize, &'static Counter)> {
        self.counters.iter().copied().enumerate().filter(|(_, counter)| self.events.is_on(counter)).collect()
    }

    /// Whether any event of the processor or the kernel is counted.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The events now, without process accounting: one system call per group.
    pub fn read_events(&mut self) -> Reading {
        let mut reading = Reading::default();
        self.events.read(&self.counters, &mut reading);
        reading
    }

    /// The counters that are read, in the order of [`Reading`].
    pub fn counters(&self) -> &[&'static Counter] {
        &self.counters
    }

    /// Why each of the requested counters that neither [`Meter::counters`] nor [`Meter::energy`] has is not read, by name.
    pub fn absent(&self) -> &BTreeMap<&'static str, Reason> {
        &self.absent
    }

    /// All counters now: one read of the perf group, `getrusage`, one read of an open file; a few microseconds.
    pub fn read(&mut self) -> Reading {
        let mut reading = Reading::default();
        match &mut self.backend {
            Backend::System(process) => process.read(&self.counters, &mut reading),
            Backend::Virtual => virtual_machine::read(&self.counters, &mut reading),
        }
        self.events.read(&self.counters, &mut reading);
        reading
    }

    /// The machine's energy counters. They are not part of [`Meter::read`] because they are read at the edges of long phases
    /// only.
    pub fn energy(&mut self) -> &mut Energy {
        &mut self.energy
    }

    /// CPU time of this process so far, user and system, all threads, in seconds.
    ///
    /// # Errors
    /// When the platform does not report it.
    pub fn cpu_seconds(&self) -> Result<f64, Reason> {
        match self.backend {
            Backend::System(_) => platform::cpu_seconds(),
            Backend::Virtual => virtual_machine::cpu_seconds(),
        }
    }

    /// Memory now. It takes about ten microseconds: do not call it inside a timed region.
    ///
    /// # Errors
    /// When the platform does not report it.
    pub fn memory(&mut self) -> Result<Memory, Reason> {
        match &mut self.backend {
            Backend::System(process) => process.memory(),
            Backend::Virtual => Err(Reason::new(VIRTUAL)),
        }
    }

    /// Sets the peak to the present resident memory.
    ///
    /// # Errors
    /// When the platform cannot.
    pub fn reset_peak(&mut self) -> Result<(), Reason> {
        match &mut self.backend {
            Backend::System(process) => process.reset_peak(),
            Backend::Virtual => Err(Reason::new(VIRTUAL)),
        }
    }

    /// Bytes that this process has read from storage so far (not from the page cache).
    ///
    /// # Errors
    /// When the platform does not report it.
    pub fn read_bytes(&mut self) -> Result<u64, Reason> {
        match &mut self.backend {
            Backend::System(process) => process.read_bytes(),
            Backend::Virtual => virtual_machine::read_bytes(),
        }
    }
}

/// The perf events of this system.
#[cfg(target_os = "linux")]
fn open_events(requested: RequestedCounters) -> (PerfCounters, RequestedCounters) {
    platform::open_events(requested)
}

/// Elsewhere hardware counters are part of process accounting.
#[cfg(not(target_os = "linux"))]
fn open_events(requested: RequestedCounters) -> (PerfCounters, RequestedCounters) {
    (PerfCounters::none(), requested)
}

/// Resident memory of this process in huge pages, in bytes. The kernel walks all mappings: do not call it inside a timed
/// region.
///
/// # Errors
/// When the platform does not report it.
pub fn huge_pages() -> Result<u64, Reason> {
    platform::huge_pages()
}

/// The machine's processor time so far; on a thread whose time is virtual, that of the virtual machine.
///
/// # Errors
/// When the platform does not report it.
pub fn machine_load() -> Result<MachineLoad, Reason> {
    virtual_machine::machine_load().map_or_else(platform::machine_load, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::counter_by_name;
    use crate::{Tally, default_counters};

    #[test]
    fn a_meter_reads_this_process() {
        let mut meter = Meter::open(&default_counters());
        let before = meter.read();
        let ballast = vec![1_u8; 8 << 20];
        assert_eq!(ballast.iter().map(|&b| usize::from(b)).sum::<usize>(), ballast.len());
        let after = meter.read();
        let mut tally = Tally::default();
        tally.add(&before, &after);
        let faults = meter.counters().iter().position(|c| c.name == "minor_faults").unwrap();
        assert!(tally.value(faults, meter.counters()[faults]).unwrap().value > 0.0);
    }

    #[test]
    fn counters_over_the_limit_have_a_reason() {
        let _clock = traces::clock::VirtualClock::install();
        let every: Vec<_> = crate::COUNTERS.iter().collect();
        for mut meter in [Meter::open(&every), Meter::virtual_machine(&every)] {
            let read = meter.counters().len() + meter.energy().counters().count();
            assert_eq!(read + meter.absent().len(), every.len(), "each is read or has a reason");
            assert!(meter.counters().len() <= MAX_COUNTERS);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn faults_by_perf_are_those_of_getrusage_or_absent() {
        let counters: Vec<_> = ["page-faults", "minor_faults"].into_iter().filter_map(counter_by_name).collect();
        assert_eq!(counters.len(), 2);
        let mut meter = Meter::open(&counters);
        let index = |meter: &Meter, name: &str| meter.counters().iter().position(|counter| counter.name == name);
        let before = meter.read();
        let ballast = vec![1_u8; 16 << 20];
        assert_eq!(ballast.iter().map(|&b| usize::from(b)).sum::<usize>(), ballast.len());
        let mut tally = Tally::default();
        tally.add(&before, &meter.read());
        let value =
            |name: &str| index(&meter, name).map(|index| tally.value(index, meter.counters()[index]).unwrap().value);
        match value("page_faults") {
            Some(faults) => {
                let accounted = value("minor_faults").unwrap();
                assert!(accounted > 1.0 && faults >= 0.9 * accounted, "{faults} of {accounted} faults");
            }
            None => assert!(meter.absent()["page_faults"].as_str().len() > 20, "{:?}", meter.absent()),
        }
    }

    #[test]
    fn memory_and_its_peak() {
        let mut meter = Meter::open(&[]);
        meter.reset_peak().unwrap();
        let before = meter.memory().unwrap();
        let ballast = vec![1_u8; 32 << 20];
        let during = meter.memory().unwrap();
        assert!(during.resident >= before.resident + (16 << 20), "{before:?} {during:?}");
        drop(ballast);
        let after = meter.memory().unwrap();
        assert!(after.peak >= before.resident + (24 << 20), "{before:?} {after:?}");
        assert_eq!(after.resident, after.anonymous + after.file);
    }
}
