//! What `proc_pid_rusage` fills in, and what its numbers mean. Compiled for tests everywhere: nothing here calls the system.

use super::{Counter, Event, MAX_COUNTERS, Memory, Reading, Source, Tick, Usage};

/// `struct rusage_info_v6` of xnu's bsd/sys/resource.h: the fields of v4, then v5's flags, then the performance cores' share
/// and energy. Version 4 is its first 296 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "named as in xnu's header")]
pub(crate) struct RusageInfoV6 {
    pub(crate) uuid: [u8; 16],
    pub(crate) user_time: u64,
    pub(crate) system_time: u64,
    pub(crate) pkg_idle_wkups: u64,
    pub(crate) interrupt_wkups: u64,
    pub(crate) pageins: u64,
    pub(crate) wired_size: u64,
    pub(crate) resident_size: u64,
    pub(crate) phys_footprint: u64,
    pub(crate) proc_start_abstime: u64,
    pub(crate) proc_exit_abstime: u64,
    pub(crate) child: [u64; 6],
    pub(crate) diskio_bytesread: u64,
    pub(crate) diskio_byteswritten: u64,
    pub(crate) cpu_time_qos: [u64; 7],
    pub(crate) billed_system_time: u64,
    pub(crate) serviced_system_time: u64,
    pub(crate) logical_writes: u64,
    pub(crate) lifetime_max_phys_footprint: u64,
    pub(crate) instructions: u64,
    pub(crate) cycles: u64,
    pub(crate) billed_energy: u64,
    pub(crate) serviced_energy: u64,
    pub(crate) interval_max_phys_footprint: u64,
    pub(crate) runnable_time: u64,
    pub(crate) flags: u64,
    pub(crate) user_ptime: u64,
    pub(crate) system_ptime: u64,
    pub(crate) pinstructions: u64,
    pub(crate) pcycles: u64,
    pub(crate) energy_nj: u64,
    pub(crate) penergy_nj: u64,
    pub(crate) secure_time_in_system: u64,
    pub(crate) secure_ptime_in_system: u64,
    pub(crate) neural_footprint: u64,
    pub(crate) lifetime_max_neural_footprint: u64,
    pub(crate) interval_max_neural_footprint: u64,
    pub(crate) reserved: [u64; 9],
}

const _: () = assert!(size_of::<RusageInfoV6>() == 464);
const _: () = assert!(std::mem::offset_of!(RusageInfoV6, flags) == 296);

/// Mach ticks to time: on Apple Silicon a tick is 125/3 ns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timebase {
    pub(crate) numerator: u64,
    pub(crate) denominator: u64,
}

impl Timebase {
    /// Microseconds of so many ticks.
    pub(crate) fn micros(self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * u128::from(self.numerator) / u128::from(self.denominator.max(1));
        u64::try_from(nanos / 1000).unwrap_or(u64::MAX)
    }
}

/// Faults, switches and memory from `getrusage` and `task_info`, which `proc_pid_rusage` lacks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Accounting {
    pub(crate) minor_faults: u64,
    pub(crate) major_faults: u64,
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
}

/// Fills a reading. `v6` says whether the fields after version 4 are real.
pub(crate) fn fill(
    counters: &[&'static Counter],
    info: &RusageInfoV6,
    v6: bool,
    timebase: Timebase,
    accounting: Accounting,
    reading: &mut Reading,
) {
    for (tick, counter) in reading.ticks.iter_mut().take(MAX_COUNTERS).zip(counters) {
        let value = match counter.source {
            Source::Usage(Usage::CpuUser) => Some(timebase.micros(info.user_time)),
            Source::Usage(Usage::CpuSystem) => Some(timebase.micros(info.system_time)),
            Source::Usage(Usage::MinorFaults) => Some(accounting.minor_faults),
            Source::Usage(Usage::MajorFaults) => Some(accounting.major_faults),
            Source::Usage(Usage::VoluntarySwitches) => Some(accounting.voluntary),
            Source::Usage(Usage::InvoluntarySwitches) => Some(accounting.involuntary),
            Source::Usage(Usage::ReadBytes) => Some(info.diskio_bytesread),
            Source::Usage(Usage::Resident) => Some(info.resident_size),
            Source::Hardware(Event::Cycles) => Some(info.cycles),
            Source::Hardware(Event::Instructions) => Some(info.instructions),
            Source::Hardware(Event::PerformanceCycles) => v6.then_some(info.pcycles),
            Source::Hardware(Event::PerformanceInstructions) => v6.then_some(info.pinstructions),
            Source::Hardware(Event::Energy) => v6.then_some(info.energy_nj),
            _ => None,
        };
        *tick = Tick { value: value.unwrap_or(0), enabled: 0, running: 0, valid: value.is_some() };
    }
}

/// Memory: the footprint leaves out clean pages of files, so mapped weights are resident but not in it.
/// `external` is what `task_info(TASK_VM_INFO)` calls pages backed by files.
pub(crate) fn memory(resident: u64, external: u64, footprint: u64, peak: u64) -> Memory {
    let file = external.min(resident);
    Memory { resident, anonymous: resident - file, file, peak, footprint: Some(footprint) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::find;

    #[test]
    fn ticks_of_apple_silicon_are_not_nanoseconds() {
        let timebase = Timebase { numerator: 125, denominator: 3 };
        assert_eq!(timebase.micros(24_000_000), 1_000_000);
    }

    #[test]
    fn version_four_leaves_performance_cores_out() {
        let counters = [find("cpu_user_s").unwrap(), find("cycles").unwrap(), find("performance_cycles").unwrap()];
        let info = RusageInfoV6 { user_time: 24_000_000, cycles: 5, pcycles: 3, ..RusageInfoV6::default() };
        let timebase = Timebase { numerator: 125, denominator: 3 };
        let mut reading = Reading::default();
        fill(&counters, &info, false, timebase, Accounting::default(), &mut reading);
        assert_eq!(reading.ticks[0].value, 1_000_000);
        assert_eq!((reading.ticks[1].value, reading.ticks[1].valid), (5, true));
        assert!(!reading.ticks[2].valid);
        fill(&counters, &info, true, timebase, Accounting::default(), &mut reading);
        assert_eq!((reading.ticks[2].value, reading.ticks[2].valid), (3, true));
    }

    #[test]
    fn mapped_weights_are_resident_but_not_in_the_footprint() {
        let memory = memory(500, 400, 120, 600);
        assert_eq!((memory.anonymous, memory.file, memory.footprint), (100, 400, Some(120)));
    }
}
