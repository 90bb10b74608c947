//! The instruments: counters, memory, page cache and the machine's load, read in the process that computes.
//!
//! What a platform lacks is an error with a reason and the next step, never a zero and never a missing name. One folder
//! per platform behind the name `platform`; this module and [`Tally`] do the arithmetic that all share.
//! Counters are never reset: what a phase took is the difference of two readings (an inherited perf counter keeps what
//! its children have added through a reset).

#[macro_use]
mod reason;

mod energy;
pub mod environment;
pub mod heap;
mod load;
mod names;
mod numa;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports, reason = "elsewhere no events are opened"))]
mod perf;
pub mod process;
mod reading;
mod registry;
pub mod root;
mod spells;
mod timeline;
mod virtual_pmu;
mod virtual_probe;

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod platform;
// Its logic runs on recorded answers in tests everywhere.
#[cfg(any(test, target_os = "macos"))]
pub(crate) mod macos;
#[cfg(target_os = "macos")]
use macos as platform;
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
compile_error!("the instruments exist for Linux and macOS; add a folder beside meter/linux for this system");

use std::collections::BTreeMap;

pub use crate::root::Root;

pub use energy::{Domain, Energy, EnergySpan};
pub use load::MachineLoad;
pub use names::{listed_names, named, split_names};
pub use numa::placement;
#[cfg(all(any(test, feature = "call-counts"), target_os = "linux"))]
pub use platform::calls;
pub use platform::page_cache;
pub use reading::{Counted, MAX_COUNTERS, Reading, Tally, Tick};
pub use registry::{
    Apple, COUNTERS, CacheAccess, CacheEvent, CacheName, Counter, Event, Software, Source, Systems, Usage,
    default_counters, find,
};
pub use timeline::{MemoryPoint, Timeline, Watched};

use perf::PerfCounters;
use record::Reason;
use virtual_pmu::VirtualPmu;

/// Why a figure is absent that only a real machine has.
pub const VIRTUAL: &str = "the engine's time is virtual: nothing real was measured";

/// Memory of this process at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident: anonymous + backed by files + shared.
    pub resident: u64,
    /// Anonymous: heap and stacks.
    pub anonymous: u64,
    /// Backed by files, such as a mapped checkpoint, and shared memory.
    pub file: u64,
    /// The highest resident memory since the last [`Meter::reset_peak`].
    pub peak: u64,
    /// What the platform calls the footprint (macOS only): without clean pages of files.
    pub footprint: Option<u64>,
    /// What the memory compressor holds, before compression (macOS only): not resident, but in the footprint.
    pub compressed: Option<u64>,
    /// The highest footprint since the last [`Meter::reset_peak`], where the kernel's can be reset (macOS only).
    pub footprint_peak: Option<u64>,
}

/// The instruments of one process. Open it before the process has a second thread: perf counters follow threads that
/// begin later, not those that exist.
#[derive(Debug)]
pub struct Meter {
    counters: Vec<&'static Counter>,
    probe: Probe,
    events: PerfCounters,
    absent: BTreeMap<String, String>,
    energy: Energy,
}

/// Where the figures come from.
#[derive(Debug)]
enum Probe {
    /// The system's accounts.
    System(platform::Probe),
    /// The accounts of the virtual machine whose time passes on this thread.
    Virtual,
}

impl Meter {
    /// Opens the counters; those that this machine lacks stand in [`Meter::absent`].
    pub fn open(counters: &[&'static Counter]) -> Self {
        let mut absent = BTreeMap::new();
        let (offered, elsewhere): (Vec<_>, Vec<_>) =
            counters.iter().copied().partition(|counter| counter.exists_here());
        for counter in elsewhere {
            absent.insert(
                counter.name.to_owned(),
                format!("{} does not exist on {}", counter.name, std::env::consts::OS),
            );
        }
        let energy = Energy::open(Root::system(), &offered, &mut absent);
        let offered: Vec<_> =
            offered.into_iter().filter(|counter| !matches!(counter.source, Source::Energy(_))).collect();
        let events = open_events(&offered, &mut absent);
        let (mut present, probe) = platform::Probe::open(&offered, &mut absent);
        for counter in present.iter().skip(MAX_COUNTERS) {
            absent.insert(
                counter.name.to_owned(),
                format!("at most {MAX_COUNTERS} counters are read at once: name fewer with --counters"),
            );
        }
        present.truncate(MAX_COUNTERS);
        Self { counters: present, probe: Probe::System(probe), events, absent, energy }
    }

    /// Instruments of the virtual machine whose time passes on this thread: nothing of the real one enters.
    pub fn virtual_machine(counters: &[&'static Counter]) -> Self {
        let mut refused = BTreeMap::new();
        let events = PerfCounters::open(Box::new(VirtualPmu::default()), counters, &mut refused);
        let counted = events.counters();
        let (mut present, other): (Vec<_>, Vec<_>) =
            counters.iter().copied().partition(|counter| virtual_probe::has(counter) || counted.contains(counter));
        present.truncate(MAX_COUNTERS);
        let absent = other.iter().map(|counter| (counter.name.to_owned(), VIRTUAL.to_owned())).collect();
        let energy = Energy::open(Root::system(), &[], &mut BTreeMap::new());
        Self { counters: present, probe: Probe::Virtual, events, absent, energy }
    }

    /// How many requests it takes to count everything: hardware events that do not fit the processor's registers together are
    /// counted one set at a time.
    pub fn sets(&self) -> usize {
        self.events.sets().len().max(1)
    }

    /// Counts this set from now on, in place of the one before.
    ///
    /// # Errors
    /// The reason where the kernel refuses.
    pub fn select(&mut self, set: usize) -> Result<(), Reason> {
        self.events.select(set)
    }

    /// The counters that are counted now, each with its place in a [`Reading`]: all but those of other sets.
    pub fn counted(&self) -> Vec<(usize, &'static Counter)> {
        self.counters.iter().copied().enumerate().filter(|(_, counter)| self.events.is_on(counter)).collect()
    }

    /// Instruments that read nothing: a place that has lent its own.
    pub fn closed() -> Self {
        let energy = Energy::open(Root::system(), &[], &mut BTreeMap::new());
        let events = PerfCounters::open(Box::new(VirtualPmu::default()), &[], &mut BTreeMap::new());
        Self { counters: Vec::new(), probe: Probe::Virtual, events, absent: BTreeMap::new(), energy }
    }

    /// Whether any event is counted, of the processor or of the kernel.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The events now, without the accounts: one system call a group.
    pub fn read_events(&mut self) -> Reading {
        let mut reading = Reading::default();
        self.events.read(&self.counters, &mut reading);
        reading
    }

    /// The counters that are read, in the order of [`Reading`].
    pub fn counters(&self) -> &[&'static Counter] {
        &self.counters
    }

    /// Why the others are not.
    pub fn absent(&self) -> &BTreeMap<String, String> {
        &self.absent
    }

    /// All counters now: one read of the perf group, `getrusage`, one read of a kept descriptor; a few microseconds.
    pub fn read(&mut self) -> Reading {
        let mut reading = Reading::default();
        match &mut self.probe {
            Probe::System(probe) => probe.read(&self.counters, &mut reading),
            Probe::Virtual => virtual_probe::read(&self.counters, &mut reading),
        }
        self.events.read(&self.counters, &mut reading);
        reading
    }

    /// The machine's energy accounts: not part of [`Meter::read`], for they are read at the edges of long phases only.
    pub fn energy(&mut self) -> &mut Energy {
        &mut self.energy
    }

    /// CPU time of this process so far, user and system, all threads, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        match self.probe {
            Probe::System(_) => platform::cpu_seconds(),
            Probe::Virtual => virtual_probe::cpu_seconds(),
        }
    }

    /// Memory now. Not for the inside of a timed region: about ten microseconds.
    ///
    /// # Errors
    /// The reason where the platform does not tell.
    pub fn memory(&mut self) -> Result<Memory, Reason> {
        match &mut self.probe {
            Probe::System(probe) => probe.memory(),
            Probe::Virtual => Err(Reason::new(VIRTUAL)),
        }
    }

    /// Makes the present resident memory the highest.
    ///
    /// # Errors
    /// The reason where the platform cannot.
    pub fn reset_peak(&mut self) -> Result<(), Reason> {
        match &mut self.probe {
            Probe::System(probe) => probe.reset_peak(),
            Probe::Virtual => Err(Reason::new(VIRTUAL)),
        }
    }

    /// Bytes that this process has read from storage so far (not from the page cache).
    ///
    /// # Errors
    /// The reason where the platform does not tell.
    pub fn read_bytes(&mut self) -> Result<u64, Reason> {
        match &mut self.probe {
            Probe::System(probe) => probe.read_bytes(),
            Probe::Virtual => virtual_probe::read_bytes(),
        }
    }
}

/// The events of this system.
#[cfg(target_os = "linux")]
fn open_events(wanted: &[&'static Counter], absent: &mut BTreeMap<String, String>) -> PerfCounters {
    platform::open_events(wanted, absent)
}

/// Hardware counters of other systems are accounts that the kernel keeps anyway.
#[cfg(not(target_os = "linux"))]
fn open_events(_: &[&'static Counter], _: &mut BTreeMap<String, String>) -> PerfCounters {
    PerfCounters::none()
}

/// Resident memory of this process in huge pages, in bytes. Not for the inside of a timed region: the kernel walks all mappings.
///
/// # Errors
/// The reason where the platform does not tell.
pub fn huge_pages() -> Result<u64, Reason> {
    platform::huge_pages()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for counter in default_counters() {
            let energy = meter.energy.counters().any(|c| c.name == counter.name);
            let present = energy || meter.counters().iter().any(|c| c.name == counter.name);
            assert_ne!(
                present,
                meter.absent().contains_key(counter.name),
                "{} is either read or explained",
                counter.name
            );
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn faults_by_perf_are_those_of_the_accounts_or_absent() {
        let counters: Vec<_> = ["page-faults", "minor_faults"].into_iter().filter_map(named).collect();
        assert_eq!(counters.len(), 2);
        let mut meter = Meter::open(&counters);
        let place = |meter: &Meter, name: &str| meter.counters().iter().position(|counter| counter.name == name);
        let before = meter.read();
        let ballast = vec![1_u8; 16 << 20];
        assert_eq!(ballast.iter().map(|&b| usize::from(b)).sum::<usize>(), ballast.len());
        let mut tally = Tally::default();
        tally.add(&before, &meter.read());
        let value =
            |name: &str| place(&meter, name).map(|place| tally.value(place, meter.counters()[place]).unwrap().value);
        match value("page_faults") {
            Some(faults) => {
                let accounted = value("minor_faults").unwrap();
                assert!(accounted > 1.0 && faults >= 0.9 * accounted, "{faults} of {accounted} faults");
            }
            None => assert!(meter.absent()["page_faults"].len() > 20, "{:?}", meter.absent()),
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
