//! The instruments of Linux: `perf_event_open`, `getrusage`, `/proc`, `cachestat`.

#[cfg(any(test, feature = "call-counts"))]
pub mod calls;
pub(super) mod listener;
pub mod page_cache;
mod perf;
mod proc_files;
pub(super) mod process;
mod usage;

use record::Reason;

use crate::counters::{Counter, CounterReading, ProcessUsage, Reading, RequestedCounters, Source};
use crate::load::MachineLoad;
use crate::memory::Memory;
pub(super) use perf::open_events;
pub(super) use proc_files::MemoryReader;
use proc_files::ProcFile;

/// The accounting files of this process, kept open.
#[derive(Debug)]
pub(super) struct OwnProcess {
    statm: Result<MemoryReader, Reason>,
    status: Result<ProcFile, Reason>,
    io: Result<ProcFile, Reason>,
}

impl OwnProcess {
    /// Opens the files. It has nothing against a counter.
    pub(super) fn open(requested: RequestedCounters) -> (Self, RequestedCounters) {
        let process = Self {
            statm: MemoryReader::open(),
            status: ProcFile::open("/proc/self/status"),
            io: ProcFile::open("/proc/self/io"),
        };
        (process, requested)
    }

    /// Fills in process accounting: one `getrusage`, one read of `statm`.
    pub(super) fn read(&mut self, counters: &[&'static Counter], reading: &mut Reading) {
        let usage = usage::read();
        let resident = self.statm.as_mut().ok().and_then(MemoryReader::resident);
        let always = |value: Option<u64>| CounterReading {
            value: value.unwrap_or(0),
            enabled: 0,
            running: 0,
            valid: value.is_some(),
        };
        for (value, counter) in reading.counters.iter_mut().zip(counters) {
            match counter.source {
                Source::Usage(ProcessUsage::Resident) => *value = always(resident),
                Source::Usage(field) => *value = always(usage.map(|usage| usage.field(field))),
                _ => {}
            }
        }
    }

    pub(super) fn memory(&mut self) -> Result<Memory, Reason> {
        let text = self.status.as_mut().map_err(|reason| reason.clone())?.read()?;
        proc_files::parse_status(text)
    }

    #[allow(clippy::unused_self, reason = "all platforms have the same methods")]
    pub(super) fn reset_peak(&mut self) -> Result<(), Reason> {
        #[cfg(any(test, feature = "call-counts"))]
        calls::count("clear_refs");
        std::fs::write("/proc/self/clear_refs", "5").map_err(|error| {
            reason!("/proc/self/clear_refs cannot be written ({error}): the kernel needs CONFIG_PROC_PAGE_MONITOR")
        })
    }

    pub(super) fn read_bytes(&mut self) -> Result<u64, Reason> {
        let text = self.io.as_mut().map_err(|reason| reason.clone())?.read()?;
        proc_files::parse_io(text)
    }
}

/// CPU time of this process so far, in seconds.
pub(super) fn cpu_seconds() -> Result<f64, Reason> {
    usage::read().map(|usage| usage.cpu_seconds()).ok_or_else(|| Reason::new("getrusage(RUSAGE_SELF) failed"))
}

/// CPU time of the calling thread so far, in seconds.
pub(super) fn thread_cpu_seconds() -> Option<f64> {
    usage::of_thread().map(|usage| usage.cpu_seconds())
}

pub(super) fn huge_pages() -> Result<u64, Reason> {
    const ROLLUP: &str = "/proc/self/smaps_rollup";
    let text = std::fs::read_to_string(ROLLUP)
        .map_err(|error| reason!("{ROLLUP} cannot be read ({error}): the kernel is older than 4.14"))?;
    proc_files::parse_huge_pages(&text)
}

pub(super) fn machine_load() -> Result<MachineLoad, Reason> {
    let text = std::fs::read_to_string("/proc/stat").map_err(|error| reason!("/proc/stat cannot be read: {error}"))?;
    MachineLoad::parse(&text, proc_files::ticks_per_second())
        .ok_or_else(|| Reason::new("/proc/stat does not begin with a `cpu` line"))
}
