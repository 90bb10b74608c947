//! The counters that this Mac has, and their values.
//!
//! A counter that the kernel does not count (cycles on virtual machines, performance cores on older kernels) is absent with a
//! reason, because its zeros would look like values.

use record::Reason;
use traces::{Nanos, clock};

use super::memory::TaskMemory;
use super::rusage::{Field, Rusage, Timebase, Version};
use super::sysctl;
use super::system::{Answer, Question, System};
use crate::counters::{
    Counter, CounterReading, HardwareEvent, MAX_COUNTERS, MacosFigure, ProcessUsage, Reading, RequestedCounters, Source,
};

/// `THSC_CPI` of xnu's bsd/sys/resource_private.h: instructions and cycles of the calling thread.
const THREAD_COUNTS: u32 = 1;
/// Offsets of faults and switches in `struct rusage`: two times of 16 bytes, then words of 64 bits.
pub(crate) const OWN_BYTES: usize = 144;
pub(crate) const MINOR_FAULTS: usize = 64;
pub(crate) const MAJOR_FAULTS: usize = 72;
pub(crate) const VOLUNTARY: usize = 128;
pub(crate) const INVOLUNTARY: usize = 136;

/// What is found out once and needed for each reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct RusageContext {
    pub(super) pid: u32,
    pub(super) version: Version,
    pub(super) timebase: Timebase,
}

/// What readings need, and the requested counters: those that this system does not have get a reason.
pub(super) fn offered(
    system: &dyn System,
    requested: RequestedCounters,
) -> (Result<RusageContext, Reason>, RequestedCounters) {
    let pid = std::process::id();
    let opened = Rusage::first(system, pid)
        .and_then(|(first, version)| Ok((first, RusageContext { pid, version, timebase: Timebase::read(system)? })));
    let requested = requested.and(|counter| {
        let (first, context) = opened.as_ref().map_err(Reason::clone)?;
        exists(system, counter, first, *context)
    });
    (opened.map(|(_, context)| context), requested)
}

/// Whether a counter counts here.
fn exists(system: &dyn System, counter: &Counter, first: &Rusage, context: RusageContext) -> Result<(), Reason> {
    let name = counter.name;
    match counter.source {
        Source::Hardware(HardwareEvent::Cycles | HardwareEvent::Instructions) => counts(first),
        Source::Macos(MacosFigure::DriverCycles | MacosFigure::DriverInstructions) => {
            thread_counts(system).map(|_| ()).map_err(|reason| reason!("{reason}; the counters of the process remain"))
        }
        Source::Macos(MacosFigure::Footprint | MacosFigure::Pageins) => Ok(()),
        Source::Macos(MacosFigure::Compressed) => {
            TaskMemory::read(system)?.compressed.map(|_| ()).ok_or_else(|| Reason::new("task_info does not report it"))
        }
        Source::Macos(which) => {
            if context.version == Version::Four {
                return Err(reason!(
                    "{name} needs proc_pid_rusage version 6 (macOS 13 or later), and this kernel has version 4"
                ));
            }
            match which {
                MacosFigure::Energy | MacosFigure::PerformanceEnergy => Ok(()),
                MacosFigure::PerformanceTime | MacosFigure::EfficiencyTime => two_kinds(system, name),
                _ => counts(first).and_then(|()| two_kinds(system, name)),
            }
        }
        Source::Usage(_) => Ok(()),
        _ => Err(reason!(
            "{name}: macOS reports it to root only, through a private interface that is not used here; \
             cycles and instructions need no permission"
        )),
    }
}

/// This process has run for a while, so zero cycles mean that the kernel does not count them.
fn counts(first: &Rusage) -> Result<(), Reason> {
    match first.field(Field::Cycles) {
        Some(cycles) if cycles > 0 => Ok(()),
        _ => Err(Reason::new("the kernel counts no cycles here, as in virtual machines: measure on the Mac itself")),
    }
}

fn two_kinds(system: &dyn System, name: &str) -> Result<(), Reason> {
    match sysctl::number(system, "hw.nperflevels") {
        Ok(levels) if levels > 1 => Ok(()),
        _ => Err(reason!("{name}: this processor has only one kind of cores")),
    }
}

/// Instructions and cycles of the calling thread.
fn thread_counts(system: &dyn System) -> Result<(u64, u64), Reason> {
    let answer: Answer<16> = Answer::to(system, Question::Thread(THREAD_COUNTS))?;
    match answer.u64(0).zip(answer.u64(8)) {
        Some((_, 0)) => Err(Reason::new("thread_selfcounts counts no cycles here, as in virtual machines")),
        Some(counts) => Ok(counts),
        None => Err(reason!("thread_selfcounts: expected 16 bytes, found {}", answer.bytes().len())),
    }
}

/// The answers that the counters of one reading need, each asked for once.
struct Answers<'a> {
    system: &'a dyn System,
    timebase: Timebase,
    usage: Option<Rusage>,
    own: Option<Answer<OWN_BYTES>>,
    thread: Option<(u64, u64)>,
    at: Nanos,
}

/// Fills in a reading. Values that the system refused are invalid.
pub(super) fn fill(system: &dyn System, context: RusageContext, counters: &[&'static Counter], reading: &mut Reading) {
    let need = |wanted: fn(&Source) -> bool| counters.iter().any(|counter| wanted(&counter.source));
    let is_own = |source: &Source| {
        matches!(
            source,
            Source::Usage(
                ProcessUsage::MinorFaults
                    | ProcessUsage::MajorFaults
                    | ProcessUsage::VoluntarySwitches
                    | ProcessUsage::InvoluntarySwitches
            )
        )
    };
    let is_thread =
        |source: &Source| matches!(source, Source::Macos(MacosFigure::DriverCycles | MacosFigure::DriverInstructions));
    let answers = Answers {
        system,
        timebase: context.timebase,
        usage: Rusage::read(system, context.pid, context.version).ok(),
        own: if need(is_own) { Answer::to(system, Question::OwnUsage).ok() } else { None },
        thread: if need(is_thread) { thread_counts(system).ok() } else { None },
        at: clock::now(),
    };
    for (value_slot, counter) in reading.counters.iter_mut().take(MAX_COUNTERS).zip(counters) {
        let value = answers.value(counter.source);
        // Readings of coarse counters have times, from which intervals that are too short are recognised.
        let time = if counter.coarse().is_some() { answers.at.0 } else { 0 };
        *value_slot =
            CounterReading { value: value.unwrap_or(0), enabled: time, running: time, valid: value.is_some() };
    }
}

impl Answers<'_> {
    fn value(&self, source: Source) -> Option<u64> {
        let usage = self.usage.as_ref();
        let field = |field| usage?.field(field);
        let own = |offset| self.own.as_ref()?.u64(offset);
        let micros = |ticks| self.timebase.micros(ticks);
        match source {
            Source::Usage(ProcessUsage::CpuUser) => field(Field::UserTime).map(micros),
            Source::Usage(ProcessUsage::CpuSystem) => field(Field::SystemTime).map(micros),
            Source::Usage(ProcessUsage::MinorFaults) => own(MINOR_FAULTS),
            Source::Usage(ProcessUsage::MajorFaults) => own(MAJOR_FAULTS),
            Source::Usage(ProcessUsage::VoluntarySwitches) => own(VOLUNTARY),
            Source::Usage(ProcessUsage::InvoluntarySwitches) => own(INVOLUNTARY),
            Source::Usage(ProcessUsage::ReadBytes) => field(Field::BytesRead),
            Source::Usage(ProcessUsage::Resident) => field(Field::ResidentSize),
            Source::Hardware(HardwareEvent::Cycles) => field(Field::Cycles),
            Source::Hardware(HardwareEvent::Instructions) => field(Field::Instructions),
            Source::Macos(which) => self.apple(which),
            _ => None,
        }
    }

    fn apple(&self, which: MacosFigure) -> Option<u64> {
        let usage = self.usage.as_ref();
        let field = |field| usage?.field(field);
        match which {
            MacosFigure::PerformanceCycles => field(Field::PerformanceCycles),
            MacosFigure::PerformanceInstructions => field(Field::PerformanceInstructions),
            MacosFigure::EfficiencyCycles => usage?.efficiency(Field::Cycles, Field::PerformanceCycles),
            MacosFigure::EfficiencyInstructions => {
                usage?.efficiency(Field::Instructions, Field::PerformanceInstructions)
            }
            MacosFigure::PerformanceTime => usage?.performance_ticks().map(|ticks| self.timebase.micros(ticks)),
            MacosFigure::EfficiencyTime => {
                let ticks = usage?.ticks()?.checked_sub(usage?.performance_ticks()?)?;
                Some(self.timebase.micros(ticks))
            }
            MacosFigure::Energy => field(Field::EnergyNanojoules),
            MacosFigure::PerformanceEnergy => field(Field::PerformanceEnergyNanojoules),
            MacosFigure::Footprint => field(Field::Footprint),
            MacosFigure::Pageins => field(Field::Pageins),
            MacosFigure::Compressed => TaskMemory::read(self.system).ok()?.compressed,
            MacosFigure::DriverCycles => self.thread.map(|(_, cycles)| cycles),
            MacosFigure::DriverInstructions => self.thread.map(|(instructions, _)| instructions),
        }
    }
}
