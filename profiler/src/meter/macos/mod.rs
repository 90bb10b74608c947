//! The instruments of macOS: `proc_pid_rusage` (version 6, else 4), `task_info`, `getrusage`. No root, no entitlement.
//!
//! There is no high-water mark that can be reset, so the peak of a request is the largest resident size that was read, and
//! no way to drop a file from the page cache without root.

mod info;
pub mod page_cache;
mod system;

use std::collections::BTreeMap;

use traces::Nanos;

use super::{Counter, Event, MAX_COUNTERS, MachineLoad, Memory, MemoryPoint, Reading, Source, Tick, Usage};
use info::Timebase;

/// How this process is read.
#[derive(Debug)]
pub(super) struct Probe {
    timebase: Timebase,
    v6: bool,
    peak: u64,
}

impl Probe {
    /// Finds out which version the kernel answers.
    pub(super) fn open(
        wanted: &[&'static Counter],
        absent: &mut BTreeMap<String, String>,
    ) -> (Vec<&'static Counter>, Self) {
        let v6 = system::rusage().is_some_and(|(_, v6)| v6);
        for counter in wanted {
            if !v6
                && matches!(
                    counter.source,
                    Source::Hardware(Event::PerformanceCycles | Event::PerformanceInstructions | Event::Energy)
                )
            {
                absent.insert(
                    counter.name.to_owned(),
                    "proc_pid_rusage answers version 4 only: macOS 13 or later has it".to_owned(),
                );
            }
        }
        let present = wanted.iter().copied().filter(|counter| !absent.contains_key(counter.name)).collect();
        (present, Self { timebase: system::timebase(), v6, peak: 0 })
    }

    pub(super) fn read(&mut self, counters: &[&'static Counter], reading: &mut Reading) {
        if let Some((info, v6)) = system::rusage() {
            self.peak = self.peak.max(info.resident_size);
            info::fill(counters, &info, v6 && self.v6, self.timebase, system::accounting(), reading);
        }
    }

    pub(super) fn memory(&mut self) -> Result<Memory, String> {
        let (resident, external, footprint) =
            system::memory().ok_or("task_info(TASK_VM_INFO) failed for this process")?;
        self.peak = self.peak.max(resident);
        Ok(info::memory(resident, external, footprint, self.peak))
    }

    pub(super) fn reset_peak(&mut self) -> Result<(), String> {
        self.peak = 0;
        self.memory().map(|_| ())
    }

    #[allow(clippy::unused_self, reason = "the same shape on every platform")]
    pub(super) fn read_bytes(&mut self) -> Result<u64, String> {
        system::rusage()
            .map(|(info, _)| info.diskio_bytesread)
            .ok_or_else(|| "proc_pid_rusage failed for this process".to_owned())
    }
}

/// Reads memory for the timeline.
#[derive(Debug)]
pub(super) struct MemoryReader;

impl MemoryReader {
    pub(super) fn open() -> Result<Self, String> {
        Ok(Self)
    }

    #[allow(clippy::unused_self, reason = "the same shape on every platform")]
    pub(super) fn read(&mut self, at: Nanos) -> Option<MemoryPoint> {
        let (resident, external, _) = system::memory()?;
        let file = external.min(resident);
        Some(MemoryPoint { at, resident, anonymous: resident - file, file })
    }
}

/// CPU time of this process so far, in seconds; 0 where the system does not tell.
#[allow(clippy::cast_precision_loss, reason = "microseconds of CPU time stay far below 2^53")]
pub(super) fn cpu_seconds() -> f64 {
    let timebase = system::timebase();
    system::rusage().map_or(0.0, |(info, _)| timebase.micros(info.user_time + info.system_time) as f64 / 1e6)
}

/// CPU time of the calling thread so far: `getrusage` of macOS knows whole processes only.
pub(super) fn thread_cpu_seconds() -> Option<f64> {
    None
}

pub(super) fn huge_pages() -> Result<u64, String> {
    Err("macOS does not tell which memory lies in huge pages".to_owned())
}

pub(super) fn machine_load() -> Result<MachineLoad, String> {
    system::processor_ticks()
        .map(|[user, system, idle, nice]| {
            let busy = user + system + nice;
            MachineLoad { busy, total: busy + idle, steal: 0, ticks_per_second: 100 }
        })
        .ok_or_else(|| "host_statistics(HOST_CPU_LOAD_INFO) failed".to_owned())
}
