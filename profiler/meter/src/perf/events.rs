//! Counters as the kernel's attributes (perf_event_open(2), `type` and `config`).

use super::sysfs;
use super::system::{Attributes, CACHE, HARDWARE, PerfSystem, RAW, SOFTWARE};
use crate::counters::{CacheAccess, CacheEvent, CacheName, Counter, HardwareEvent, SoftwareEvent, Source};
use record::Reason;

/// The counter that leads the group of the top-down levels.
pub(super) const SLOTS: &str = "topdown_slots";

/// Time on a processor, in ns; it needs no permission and no PMU.
pub(super) const TASK_CLOCK: Attributes =
    Attributes { pmu: SOFTWARE, config: 1, config1: 0, config2: 0, exclude_kernel: true };

/// The attributes of a counter's event.
pub(super) fn attributes(counter: &Counter, system: &dyn PerfSystem) -> Result<Attributes, Reason> {
    let user = |pmu, config| Ok(Attributes { pmu, config, exclude_kernel: true, ..Attributes::default() });
    match counter.source {
        Source::Hardware(event) => match hardware(event) {
            Some(config) => user(HARDWARE, config),
            None => Err(reason!("{} is not an event of perf_event_open", counter.name)),
        },
        Source::Cache(event) => user(CACHE, cache(event)),
        Source::Raw(config) => user(RAW, config),
        Source::Sysfs(event) => sysfs::resolve(event, system),
        // Clocks count the same in both modes; the other events happen in the kernel and would read 0 in user mode.
        Source::Software(event) => Ok(Attributes {
            pmu: SOFTWARE,
            config: software(event),
            exclude_kernel: matches!(event, SoftwareEvent::TaskClock | SoftwareEvent::CpuClock),
            ..Attributes::default()
        }),
        Source::Usage(_) | Source::Energy(_) | Source::Macos(_) => Err(reason!("{} is not an event", counter.name)),
    }
}

fn hardware(event: HardwareEvent) -> Option<u64> {
    Some(match event {
        HardwareEvent::Cycles => 0,
        HardwareEvent::Instructions => 1,
        HardwareEvent::CacheReferences => 2,
        HardwareEvent::CacheMisses => 3,
        HardwareEvent::Branches => 4,
        HardwareEvent::BranchMisses => 5,
        HardwareEvent::BusCycles => 6,
        HardwareEvent::StalledFrontend => 7,
        HardwareEvent::StalledBackend => 8,
        HardwareEvent::ReferenceCycles => 9,
    })
}

fn software(event: SoftwareEvent) -> u64 {
    match event {
        SoftwareEvent::CpuClock => 0,
        SoftwareEvent::TaskClock => 1,
        SoftwareEvent::PageFaults => 2,
        SoftwareEvent::ContextSwitches => 3,
        SoftwareEvent::Migrations => 4,
    }
}

/// `cache | operation << 8 | result << 16`
fn cache(event: CacheEvent) -> u64 {
    let cache = match event.cache {
        CacheName::Level1Data => 0,
        CacheName::Level1Code => 1,
        CacheName::LastLevel => 2,
        CacheName::DataTlb => 3,
        CacheName::CodeTlb => 4,
        CacheName::Branch => 5,
        CacheName::Node => 6,
    };
    let access = match event.access {
        CacheAccess::Read => 0,
        CacheAccess::Write => 1,
        CacheAccess::Prefetch => 2,
    };
    cache | access << 8 | u64::from(event.miss) << 16
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakePmu;
    use super::*;
    use crate::registered_counter;

    #[test]
    fn names_become_the_numbers_of_the_kernel() {
        let system = FakePmu::default();
        let of =
            |name: &str| attributes(registered_counter(name).unwrap(), &system).map(|event| (event.pmu, event.config));
        assert_eq!(of("branch_misses"), Ok((0, 5)));
        assert_eq!(of("l1_dcache_load_misses"), Ok((3, 0x1_0000)));
        assert_eq!(of("llc_stores"), Ok((3, 0x102)));
        assert_eq!(of("dtlb_prefetch_misses"), Ok((3, 0x1_0203)));
        assert_eq!(of("branch_loads"), Ok((3, 5)));
        assert_eq!(of("task_clock_s"), Ok((1, 1)));
        assert_eq!(of("context_switches"), Ok((1, 3)));
        assert!(of("cpu_user_s").is_err() && of("energy_j").is_err());
        assert!(attributes(registered_counter("cycles").unwrap(), &system).unwrap().exclude_kernel);
        assert!(!attributes(registered_counter("page_faults").unwrap(), &system).unwrap().exclude_kernel);
    }
}
