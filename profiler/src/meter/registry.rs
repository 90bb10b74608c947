//! Every counter that can be read at a phase edge: one line each.

use super::energy::Domain;

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
    /// Read unless `--counters` names others.
    pub default: bool,
    /// Raw value of one unit: a value in files is the raw difference / this.
    pub per_unit: u64,
}

/// Where a counter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A hardware event: `perf_event_open` on Linux, `proc_pid_rusage` on macOS.
    Hardware(Event),
    /// The kernel's accounting of this process.
    Usage(Usage),
    /// The energy accounts of the machine (RAPL), read at the edges of long phases only.
    Energy(Domain),
}

/// A hardware event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its line in COUNTERS")]
pub enum Event {
    Cycles,
    Instructions,
    CacheReferences,
    CacheMisses,
    Branches,
    BranchMisses,
    StalledFrontend,
    StalledBackend,
    PerformanceCycles,
    PerformanceInstructions,
    Energy,
}

/// A figure of the kernel's accounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is described by its line in COUNTERS")]
pub enum Usage {
    CpuUser,
    CpuSystem,
    MinorFaults,
    MajorFaults,
    VoluntarySwitches,
    InvoluntarySwitches,
    ReadBytes,
    Resident,
}

const fn hardware(name: &'static str, event: Event, default: bool, meaning: &'static str) -> Counter {
    Counter { name, unit: "1", meaning, source: Source::Hardware(event), default, per_unit: 1 }
}

const fn usage(name: &'static str, usage: Usage, unit: &'static str, per_unit: u64, meaning: &'static str) -> Counter {
    Counter { name, unit, meaning, source: Source::Usage(usage), default: true, per_unit }
}

/// Read by default: it costs nothing at the edge of a token.
const fn energy(name: &'static str, domain: Domain, meaning: &'static str) -> Counter {
    Counter { name, unit: "J", meaning, source: Source::Energy(domain), default: true, per_unit: 1_000_000 }
}

/// Every counter, in the order of reports. At most four hardware events are read by default: more would take turns.
#[rustfmt::skip]
pub const COUNTERS: &[Counter] = &[
    usage("cpu_user_s", Usage::CpuUser, "s", 1_000_000, "CPU time in user mode, all threads"),
    usage("cpu_system_s", Usage::CpuSystem, "s", 1_000_000, "CPU time in the kernel, all threads"),
    usage("minor_faults", Usage::MinorFaults, "1", 1, "page faults served from memory"),
    usage("major_faults", Usage::MajorFaults, "1", 1, "page faults that waited for storage; read-ahead hides most cold reads from it"),
    usage("voluntary_switches", Usage::VoluntarySwitches, "1", 1, "context switches because a thread waited"),
    usage("involuntary_switches", Usage::InvoluntarySwitches, "1", 1, "context switches because another thread was due"),
    usage("read_bytes", Usage::ReadBytes, "B", 1, "bytes read from storage"),
    usage("resident_bytes", Usage::Resident, "B", 1, "growth of the resident memory"),
    hardware("cycles", Event::Cycles, true, "processor cycles in user mode"),
    hardware("instructions", Event::Instructions, true, "instructions retired in user mode"),
    hardware("cache_references", Event::CacheReferences, true, "accesses to the last-level cache"),
    hardware("cache_misses", Event::CacheMisses, true, "accesses that missed the last-level cache"),
    hardware("branches", Event::Branches, false, "branches retired"),
    hardware("branch_misses", Event::BranchMisses, false, "branches that were mispredicted"),
    hardware("stalled_frontend", Event::StalledFrontend, false, "cycles without an instruction to start"),
    hardware("stalled_backend", Event::StalledBackend, false, "cycles in which nothing could be retired"),
    hardware("performance_cycles", Event::PerformanceCycles, false, "cycles on performance cores (Apple Silicon)"),
    hardware("performance_instructions", Event::PerformanceInstructions, false, "instructions on performance cores (Apple Silicon)"),
    Counter { name: "energy_j", unit: "J", meaning: "the kernel's estimate of the energy used by the processor (Apple Silicon)", source: Source::Hardware(Event::Energy), default: false, per_unit: 1_000_000_000 },
    energy("energy_package_j", Domain::Package, "energy of the processor packages, whole machine: other programs' use is in it (RAPL)"),
    energy("energy_core_j", Domain::Core, "of that, energy of the cores, whole machine (RAPL)"),
    energy("energy_dram_j", Domain::Dram, "energy of the memory modules, whole machine (RAPL)"),
];

/// The counters of a run that names none.
pub fn default_counters() -> Vec<&'static Counter> {
    COUNTERS.iter().filter(|counter| counter.default && counter.exists_here()).collect()
}

/// The counter of this name.
pub fn find(name: &str) -> Option<&'static Counter> {
    COUNTERS.iter().find(|counter| counter.name == name)
}

impl Counter {
    /// Whether this system knows the counter at all; the machine may still lack it.
    pub fn exists_here(&self) -> bool {
        let apple = cfg!(target_os = "macos");
        match self.source {
            Source::Usage(_) | Source::Hardware(Event::Cycles | Event::Instructions) => true,
            Source::Hardware(Event::PerformanceCycles | Event::PerformanceInstructions | Event::Energy) => apple,
            Source::Hardware(_) | Source::Energy(_) => !apple,
        }
    }

    /// Whether its value may fall: a level, not a count.
    pub(super) fn is_level(&self) -> bool {
        self.source == Source::Usage(Usage::Resident)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_complete_and_unique() {
        for (index, counter) in COUNTERS.iter().enumerate() {
            assert!(counter.name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", counter.name);
            assert!(!counter.meaning.is_empty() && !counter.unit.is_empty() && counter.per_unit > 0);
            assert!(COUNTERS[..index].iter().all(|other| other.name != counter.name), "{} stands twice", counter.name);
            assert_eq!(find(counter.name), Some(counter));
        }
        assert!(default_counters().len() <= super::super::MAX_COUNTERS);
    }

    #[test]
    fn at_most_four_hardware_events_by_default() {
        let hardware = COUNTERS.iter().filter(|c| c.default && matches!(c.source, Source::Hardware(_)));
        assert!(hardware.count() <= 4);
    }
}
