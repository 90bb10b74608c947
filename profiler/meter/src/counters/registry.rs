//! Every counter that can be read at the edge of a phase, one line each. [`super::counter_by_name`] creates further ones: raw events and
//! events of sysfs.

/// A counter.
#[derive(Debug, PartialEq, Eq)]
pub struct Counter {
    /// Name on the command line and in files.
    pub name: &'static str,
    /// Unit of the value in files.
    pub unit: &'static str,
    /// What it counts, in one sentence.
    pub meaning: &'static str,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is read when `--counters` is absent.
    pub default: bool,
    /// Raw value of one unit: a value in files is the raw difference divided by this.
    pub per_unit: u64,
}

/// Where a counter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A hardware event: `perf_event_open` on Linux, `proc_pid_rusage` on macOS.
    Hardware(HardwareEvent),
    /// A cache's event, Linux.
    Cache(CacheEvent),
    /// An event of the kernel, Linux.
    Software(SoftwareEvent),
    /// An event by its number in the processor's manual, Linux.
    Raw(u64),
    /// An event that a PMU describes in sysfs, Linux: `PMU/TERM=VALUE,.../`.
    Sysfs(&'static str),
    /// The kernel's accounting of this process.
    Usage(ProcessUsage),
    /// An energy counter of the machine (RAPL), read at the edges of long phases only.
    Energy(EnergyDomain),
    /// A figure of macOS only.
    Macos(MacosFigure),
}

/// A hardware event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its line in COUNTERS")]
pub enum HardwareEvent {
    Cycles,
    Instructions,
    CacheReferences,
    CacheMisses,
    Branches,
    BranchMisses,
    BusCycles,
    StalledFrontend,
    StalledBackend,
    ReferenceCycles,
}

/// A figure that only macOS has, of this process unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its line in COUNTERS")]
pub enum MacosFigure {
    PerformanceCycles,
    PerformanceInstructions,
    PerformanceTime,
    PerformanceEnergy,
    EfficiencyCycles,
    EfficiencyInstructions,
    EfficiencyTime,
    Energy,
    Footprint,
    Compressed,
    Pageins,
    DriverCycles,
    DriverInstructions,
}

/// A part of the machine with an energy counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EnergyDomain {
    /// Whole processor packages: cores, caches, memory controller.
    Package,
    /// Their cores.
    Core,
    /// The memory modules.
    Dram,
}

impl EnergyDomain {
    pub(crate) const ALL: [Self; 3] = [Self::Package, Self::Core, Self::Dram];

    /// `package-0`, `package-0-die-1`, `core`, `dram`; `uncore` and `psys` are not read.
    pub(crate) fn of_zone(name: &str) -> Option<Self> {
        match name {
            "core" => Some(Self::Core),
            "dram" => Some(Self::Dram),
            name if name.starts_with("package") => Some(Self::Package),
            _ => None,
        }
    }
}

/// An event of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheEvent {
    /// Which one.
    pub cache: CacheName,
    /// The access.
    pub access: CacheAccess,
    /// Only misses.
    pub miss: bool,
}

/// The caches of the kernel's generic cache events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its lines in COUNTERS")]
pub enum CacheName {
    Level1Data,
    Level1Code,
    LastLevel,
    DataTlb,
    CodeTlb,
    Branch,
    Node,
}

/// An access to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its lines in COUNTERS")]
pub enum CacheAccess {
    Read,
    Write,
    Prefetch,
}

/// An event of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its line in COUNTERS")]
pub enum SoftwareEvent {
    CpuClock,
    TaskClock,
    PageFaults,
    ContextSwitches,
    Migrations,
}

/// A figure of the kernel's process accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its line in COUNTERS")]
pub enum ProcessUsage {
    CpuUser,
    CpuSystem,
    MinorFaults,
    MajorFaults,
    VoluntarySwitches,
    InvoluntarySwitches,
    ReadBytes,
    Resident,
}

impl Source {
    /// Whether it is an event that must be opened; the kernel keeps all other counters anyway.
    pub fn is_event(&self) -> bool {
        !matches!(self, Self::Usage(_) | Self::Energy(_) | Self::Macos(_))
    }

    /// The kind, for lists.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "accounting",
            Self::Hardware(_) => "hardware",
            Self::Cache(_) => "cache",
            Self::Software(_) => "software",
            Self::Sysfs(_) => "top-down",
            Self::Raw(_) => "raw",
            Self::Energy(_) | Self::Macos(MacosFigure::Energy | MacosFigure::PerformanceEnergy) => "energy",
            Self::Macos(_) => "accounting",
        }
    }
}

const fn counter(name: &'static str, source: Source, meaning: &'static str) -> Counter {
    Counter { name, unit: "1", meaning, source, default: false, per_unit: 1 }
}

const fn hardware(name: &'static str, event: HardwareEvent, default: bool, meaning: &'static str) -> Counter {
    Counter { default, ..counter(name, Source::Hardware(event), meaning) }
}

const fn software(
    name: &'static str,
    event: SoftwareEvent,
    unit: &'static str,
    per_unit: u64,
    meaning: &'static str,
) -> Counter {
    Counter { unit, per_unit, ..counter(name, Source::Software(event), meaning) }
}

const fn cache(
    name: &'static str,
    cache: CacheName,
    access: CacheAccess,
    miss: bool,
    meaning: &'static str,
) -> Counter {
    counter(name, Source::Cache(CacheEvent { cache, access, miss }), meaning)
}

const fn top_down(name: &'static str, event: &'static str, meaning: &'static str) -> Counter {
    counter(name, Source::Sysfs(event), meaning)
}

const fn usage(
    name: &'static str,
    field: ProcessUsage,
    unit: &'static str,
    per_unit: u64,
    meaning: &'static str,
) -> Counter {
    Counter { name, unit, meaning, source: Source::Usage(field), default: true, per_unit }
}

/// Read by default: it is not read at the edges of tokens.
const fn energy(name: &'static str, domain: EnergyDomain, meaning: &'static str) -> Counter {
    Counter { name, unit: "J", meaning, source: Source::Energy(domain), default: true, per_unit: 1_000_000 }
}

const fn apple(
    name: &'static str,
    figure: MacosFigure,
    unit: &'static str,
    per_unit: u64,
    meaning: &'static str,
) -> Counter {
    Counter { name, unit, meaning, source: Source::Macos(figure), default: false, per_unit }
}

use CacheAccess::{Prefetch, Read, Write};
use CacheName::{Branch, CodeTlb, DataTlb, LastLevel, Level1Code, Level1Data, Node};

/// All counters.
#[rustfmt::skip]
pub const COUNTERS: &[Counter] = &[
    usage("cpu_user_s", ProcessUsage::CpuUser, "s", 1_000_000, "CPU time in user mode, all threads"),
    usage("cpu_system_s", ProcessUsage::CpuSystem, "s", 1_000_000, "CPU time in the kernel, all threads"),
    usage("minor_faults", ProcessUsage::MinorFaults, "1", 1, "page faults served from memory"),
    usage("major_faults", ProcessUsage::MajorFaults, "1", 1, "page faults that waited for storage; read-ahead keeps most cold reads out of it"),
    usage("voluntary_switches", ProcessUsage::VoluntarySwitches, "1", 1, "context switches because a thread waited"),
    usage("involuntary_switches", ProcessUsage::InvoluntarySwitches, "1", 1, "context switches because the scheduler preferred another thread"),
    usage("read_bytes", ProcessUsage::ReadBytes, "B", 1, "bytes read from storage"),
    usage("resident_bytes", ProcessUsage::Resident, "B", 1, "growth of the resident memory"),
    hardware("cycles", HardwareEvent::Cycles, true, "processor cycles in user mode"),
    hardware("instructions", HardwareEvent::Instructions, true, "instructions retired in user mode"),
    hardware("cache_references", HardwareEvent::CacheReferences, true, "accesses to the last-level cache"),
    hardware("cache_misses", HardwareEvent::CacheMisses, true, "accesses that missed the last-level cache"),
    hardware("branches", HardwareEvent::Branches, false, "branches retired"),
    hardware("branch_misses", HardwareEvent::BranchMisses, false, "branches that were mispredicted"),
    hardware("bus_cycles", HardwareEvent::BusCycles, false, "bus cycles, at a constant rate"),
    hardware("reference_cycles", HardwareEvent::ReferenceCycles, false, "cycles at the nominal frequency, independent of the actual one"),
    hardware("stalled_frontend", HardwareEvent::StalledFrontend, false, "cycles in which the front end delivered no instruction"),
    hardware("stalled_backend", HardwareEvent::StalledBackend, false, "cycles in which the back end accepted no instruction"),
    cache("l1_dcache_loads", Level1Data, Read, false, "loads from the first-level data cache"),
    cache("l1_dcache_load_misses", Level1Data, Read, true, "loads that missed the first-level data cache"),
    cache("l1_dcache_stores", Level1Data, Write, false, "stores to the first-level data cache"),
    cache("l1_dcache_store_misses", Level1Data, Write, true, "stores that missed the first-level data cache"),
    cache("l1_dcache_prefetches", Level1Data, Prefetch, false, "prefetches into the first-level data cache"),
    cache("l1_dcache_prefetch_misses", Level1Data, Prefetch, true, "prefetches that missed the first-level data cache"),
    cache("l1_icache_loads", Level1Code, Read, false, "fetches from the first-level instruction cache"),
    cache("l1_icache_load_misses", Level1Code, Read, true, "fetches that missed the first-level instruction cache"),
    cache("llc_loads", LastLevel, Read, false, "loads from the last-level cache"),
    cache("llc_load_misses", LastLevel, Read, true, "loads that missed the last-level cache"),
    cache("llc_stores", LastLevel, Write, false, "stores to the last-level cache"),
    cache("llc_store_misses", LastLevel, Write, true, "stores that missed the last-level cache"),
    cache("llc_prefetches", LastLevel, Prefetch, false, "prefetches into the last-level cache"),
    cache("llc_prefetch_misses", LastLevel, Prefetch, true, "prefetches that missed the last-level cache"),
    cache("dtlb_loads", DataTlb, Read, false, "loads whose address was looked up"),
    cache("dtlb_load_misses", DataTlb, Read, true, "loads whose address was not in the translation buffer"),
    cache("dtlb_stores", DataTlb, Write, false, "stores whose address was looked up"),
    cache("dtlb_store_misses", DataTlb, Write, true, "stores whose address was not in the translation buffer"),
    cache("dtlb_prefetches", DataTlb, Prefetch, false, "prefetches whose address was looked up"),
    cache("dtlb_prefetch_misses", DataTlb, Prefetch, true, "prefetches whose address was not in the translation buffer"),
    cache("itlb_loads", CodeTlb, Read, false, "fetches whose address was looked up"),
    cache("itlb_load_misses", CodeTlb, Read, true, "fetches whose address was not in the translation buffer"),
    cache("branch_loads", Branch, Read, false, "look-ups of the branch predictor"),
    cache("branch_load_misses", Branch, Read, true, "look-ups that missed the branch predictor"),
    cache("node_loads", Node, Read, false, "loads from memory of the same node"),
    cache("node_load_misses", Node, Read, true, "loads from memory of another node"),
    top_down("topdown_slots", "cpu/slots/", "issue slots of the pipeline: the top-down levels are shares of them"),
    top_down("topdown_retiring", "cpu/topdown-retiring/", "slots whose operation retired"),
    top_down("topdown_bad_speculation", "cpu/topdown-bad-spec/", "slots lost to mispredicted paths"),
    top_down("topdown_frontend_bound", "cpu/topdown-fe-bound/", "slots that were empty because the front end delivered no operation"),
    top_down("topdown_backend_bound", "cpu/topdown-be-bound/", "slots that were empty because memory or execution units were busy"),
    software("task_clock_s", SoftwareEvent::TaskClock, "s", 1_000_000_000, "time on a processor, all threads"),
    software("cpu_clock_s", SoftwareEvent::CpuClock, "s", 1_000_000_000, "time on a processor, all threads, by the processors' clocks"),
    software("page_faults", SoftwareEvent::PageFaults, "1", 1, "all page faults, including those in the kernel"),
    software("context_switches", SoftwareEvent::ContextSwitches, "1", 1, "all context switches"),
    software("cpu_migrations", SoftwareEvent::Migrations, "1", 1, "moves of a thread to another processor"),
    apple("performance_cycles", MacosFigure::PerformanceCycles, "1", 1, "cycles on performance cores"),
    apple("performance_instructions", MacosFigure::PerformanceInstructions, "1", 1, "instructions on performance cores"),
    apple("performance_cpu_s", MacosFigure::PerformanceTime, "s", 1_000_000, "CPU time on performance cores"),
    apple("efficiency_cycles", MacosFigure::EfficiencyCycles, "1", 1, "cycles on efficiency cores: all cycles minus those on performance cores"),
    apple("efficiency_instructions", MacosFigure::EfficiencyInstructions, "1", 1, "instructions on efficiency cores"),
    apple("efficiency_cpu_s", MacosFigure::EfficiencyTime, "s", 1_000_000, "CPU time on efficiency cores"),
    Counter { default: true, ..apple("energy_j", MacosFigure::Energy, "J", 1_000_000_000, "the kernel's estimate of the energy that the processor used for this process") },
    apple("performance_energy_j", MacosFigure::PerformanceEnergy, "J", 1_000_000_000, "the part of `energy_j` on performance cores"),
    apple("footprint_bytes", MacosFigure::Footprint, "B", 1, "growth of the footprint: memory without clean file pages, with compressed pages"),
    apple("compressed_bytes", MacosFigure::Compressed, "B", 1, "growth of the compressed memory, before compression"),
    apple("pageins", MacosFigure::Pageins, "1", 1, "pages read from files or swap because they were touched"),
    apple("driver_cycles", MacosFigure::DriverCycles, "1", 1, "cycles of the thread that drives the engine"),
    apple("driver_instructions", MacosFigure::DriverInstructions, "1", 1, "instructions of the thread that drives the engine"),
    energy("energy_package_j", EnergyDomain::Package, "energy of the processor packages of the whole machine, other programs included (RAPL)"),
    energy("energy_core_j", EnergyDomain::Core, "the cores' part of `energy_package_j` (RAPL)"),
    energy("energy_dram_j", EnergyDomain::Dram, "energy of the memory modules of the whole machine (RAPL)"),
];

/// The counters of a run without `--counters`.
pub fn default_counters() -> Vec<&'static Counter> {
    COUNTERS.iter().filter(|counter| counter.default && counter.exists_here()).collect()
}

/// The counter of this name in the list.
pub fn registered_counter(name: &str) -> Option<&'static Counter> {
    COUNTERS.iter().find(|counter| counter.name == name)
}

impl Counter {
    /// Whether the counter exists on this operating system; the machine may still lack it.
    pub fn exists_here(&self) -> bool {
        let apple = cfg!(target_os = "macos");
        match self.systems() {
            Systems::Both => true,
            Systems::Linux => !apple,
            Systems::Macos => apple,
        }
    }

    /// The systems that have it.
    pub fn systems(&self) -> Systems {
        match self.source {
            Source::Usage(_) | Source::Hardware(HardwareEvent::Cycles | HardwareEvent::Instructions) => Systems::Both,
            Source::Macos(_) => Systems::Macos,
            _ => Systems::Linux,
        }
    }

    /// The shortest interval that it resolves, in ns, where the kernel updates it only now and then. Readings of such a counter
    /// have times.
    pub(crate) fn coarse(&self) -> Option<u64> {
        matches!(self.source, Source::Macos(MacosFigure::Energy | MacosFigure::PerformanceEnergy)).then_some(20_000_000)
    }

    /// Whether it is a level, whose value may fall, and not a count.
    pub(crate) fn is_level(&self) -> bool {
        matches!(
            self.source,
            Source::Usage(ProcessUsage::Resident) | Source::Macos(MacosFigure::Footprint | MacosFigure::Compressed)
        )
    }
}

/// Where a counter exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Systems {
    /// On Linux and macOS.
    Both,
    /// On Linux.
    Linux,
    /// On macOS.
    Macos,
}

impl Systems {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "Linux, macOS",
            Self::Linux => "Linux",
            Self::Macos => "macOS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_complete_and_unique() {
        for (index, counter) in COUNTERS.iter().enumerate() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(counter.name.chars().all(plain), "{}", counter.name);
            assert!(!counter.meaning.is_empty() && !counter.unit.is_empty() && counter.per_unit > 0);
            assert!(
                COUNTERS[..index].iter().all(|other| other.name != counter.name),
                "{} is listed twice",
                counter.name
            );
            assert_eq!(registered_counter(counter.name), Some(counter));
            let shown = record::counter_unit(counter.name);
            let is_count = !["seconds", "bytes", "joules"].contains(&shown);
            let agrees = matches!((counter.unit, shown), ("s", "seconds") | ("B", "bytes") | ("J", "joules"));
            assert!(agrees || counter.unit == "1" && is_count, "{}: {} and {shown}", counter.name, counter.unit);
        }
        assert!(default_counters().len() <= super::super::MAX_COUNTERS);
    }

    #[test]
    fn at_most_four_hardware_events_by_default() {
        let hardware = COUNTERS.iter().filter(|c| c.default && matches!(c.source, Source::Hardware(_)));
        assert!(hardware.count() <= 4);
    }
}
