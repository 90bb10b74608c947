//! The instruments of macOS: `proc_pid_rusage` (version 6, else 4), `task_info`, `getrusage`, `thread_selfcounts`. They need
//! neither root nor an entitlement.
//!
//! All questions to the system go through [`System`], so tests run on recorded answers on every system. Only macOS compiles
//! `kernel` and `power` (the calls) and the functions that use them. The kernel's peak of resident memory cannot be reset, so
//! the peak of a request is the largest resident size that was read; the peak of the footprint can be reset.

mod counters;
#[cfg(target_os = "macos")]
mod kernel;
#[cfg(target_os = "macos")]
mod layout;
pub(crate) mod memory;
#[cfg_attr(not(target_os = "macos"), allow(unreachable_pub, reason = "elsewhere it is compiled for its tests only"))]
pub mod page_cache;
#[cfg(target_os = "macos")]
mod power;
pub(super) mod process;
#[cfg(test)]
pub(crate) mod recorded;
pub(crate) mod rusage;
pub(crate) mod sysctl;
pub(crate) mod system;

use record::Reason;
use traces::Nanos;

use crate::counters::{Counter, Reading, RequestedCounters};
use crate::load::MachineLoad;
use crate::memory::{Memory, MemoryPoint};
use counters::RusageContext;
#[cfg(target_os = "macos")]
pub(crate) use kernel::Kernel;
use memory::TaskMemory;
use rusage::{Field, Rusage};
use system::{Answer, Question, System};

/// Reads the accounting of this process.
#[derive(Debug)]
pub(super) struct OwnProcess {
    system: Box<dyn System>,
    context: Result<RusageContext, Reason>,
    /// The largest resident memory that was read.
    peak: u64,
    /// Whether the kernel's peak of the footprint was reset.
    peak_was_reset: bool,
}

impl OwnProcess {
    /// Opens the counters of this process.
    #[cfg(target_os = "macos")]
    pub(super) fn open(requested: RequestedCounters) -> (Self, RequestedCounters) {
        Self::on(Box::new(Kernel), requested)
    }

    /// Finds out which counters this system has. The others get a reason.
    pub(super) fn on(system: Box<dyn System>, requested: RequestedCounters) -> (Self, RequestedCounters) {
        let (context, requested) = counters::offered(&*system, requested);
        (Self { system, context, peak: 0, peak_was_reset: false }, requested)
    }

    /// Fills in a reading: one `proc_pid_rusage`, and one more call for each other source that the counters need.
    pub(super) fn read(&mut self, counters: &[&'static Counter], reading: &mut Reading) {
        if let Ok(context) = self.context {
            counters::fill(&*self.system, context, counters, reading);
        }
    }

    pub(super) fn memory(&mut self) -> Result<Memory, Reason> {
        let found = TaskMemory::read(&*self.system)?;
        self.peak = self.peak.max(found.resident);
        let usage = if self.peak_was_reset { self.usage().ok() } else { None };
        Ok(found.with_peak(self.peak, usage.as_ref()))
    }

    /// Sets the peak to the present resident memory, and resets the kernel's peak of the footprint where possible.
    pub(super) fn reset_peak(&mut self) -> Result<(), Reason> {
        self.peak = 0;
        let reset: Result<Answer<1>, _> = Answer::to(&*self.system, Question::ResetFootprint);
        self.peak_was_reset = reset.is_ok();
        self.memory().map(|_| ())
    }

    pub(super) fn read_bytes(&mut self) -> Result<u64, Reason> {
        let bytes = self.usage()?.field(Field::BytesRead);
        bytes.ok_or_else(|| Reason::new("proc_pid_rusage does not report bytes read"))
    }

    fn usage(&self) -> Result<Rusage, Reason> {
        let context = self.context.clone()?;
        Rusage::read(&*self.system, context.pid, context.version)
    }
}

/// Reads memory for a timeline.
#[derive(Debug)]
pub(super) struct MemoryReader {
    system: Box<dyn System>,
}

impl MemoryReader {
    #[cfg(target_os = "macos")]
    pub(super) fn open() -> Result<Self, Reason> {
        Ok(Self::on(Box::new(Kernel)))
    }

    pub(super) fn on(system: Box<dyn System>) -> Self {
        Self { system }
    }

    pub(super) fn read(&mut self, at: Nanos) -> Option<MemoryPoint> {
        let found = TaskMemory::read(&*self.system).ok()?;
        Some(MemoryPoint { at, resident: found.resident, anonymous: found.resident - found.file, file: found.file })
    }
}

#[cfg(target_os = "macos")]
pub(super) fn cpu_seconds() -> Result<f64, Reason> {
    cpu_seconds_on(&Kernel)
}

#[cfg(target_os = "macos")]
pub(super) fn thread_cpu_seconds() -> Option<f64> {
    thread_cpu_seconds_on(&Kernel)
}

#[cfg(target_os = "macos")]
pub(super) fn huge_pages() -> Result<u64, Reason> {
    Err(Reason::new("macOS does not report which memory is in huge pages"))
}

#[cfg(target_os = "macos")]
pub(super) fn machine_load() -> Result<MachineLoad, Reason> {
    machine_load_on(&Kernel)
}

/// CPU time of this process so far, in seconds.
#[allow(clippy::cast_precision_loss, reason = "microseconds of CPU time stay far below 2^53")]
fn cpu_seconds_on(system: &dyn System) -> Result<f64, Reason> {
    let (usage, _) = Rusage::first(system, std::process::id())?;
    let ticks = usage.ticks().ok_or_else(|| Reason::new("proc_pid_rusage does not report CPU time"))?;
    Ok(rusage::Timebase::read(system)?.micros(ticks) as f64 / 1e6)
}

/// CPU time of the calling thread so far, in seconds.
fn thread_cpu_seconds_on(system: &dyn System) -> Option<f64> {
    let answer: Answer<16> = Answer::to(system, Question::ThreadTime).ok()?;
    let time = |offset| Some(f64::from(answer.u32(offset)?) + f64::from(answer.u32(offset + 4)?) / 1e6);
    Some(time(0)? + time(8)?)
}

/// The machine's load. Mach counts in hundredths of a second and does not report steal.
fn machine_load_on(system: &dyn System) -> Result<MachineLoad, Reason> {
    memory::processor_ticks(system).map(|(busy, total)| MachineLoad { busy, total, steal: 0, ticks_per_second: 100 })
}

#[cfg(test)]
mod tests;
