//! Which counters this Mac has, and their values from one moment's answers.
//!
//! A counter that the kernel never counts (a virtual machine has no cycles, an older kernel no performance cores) is absent with
//! the reason: its zeros would look like values.

use record::Reason;
use std::collections::BTreeMap;

use traces::{Nanos, clock};

use super::super::{Apple, Counter, Event, MAX_COUNTERS, Reading, Source, Tick, Usage};
use super::memory::TaskMemory;
use super::rusage::{Field, Rusage, Timebase, Version};
use super::system::{Answer, Question, System};
use super::values;

/// `THSC_CPI` of xnu's bsd/sys/resource_private.h: instructions and cycles of the calling thread.
const THREAD_COUNTS: u32 = 1;
/// Where `getrusage` tells faults and switches: two times of 16 bytes, then words of 64 bits.
pub(crate) const OWN_BYTES: usize = 144;
pub(crate) const MINOR_FAULTS: usize = 64;
pub(crate) const MAJOR_FAULTS: usize = 72;
pub(crate) const VOLUNTARY: usize = 128;
pub(crate) const INVOLUNTARY: usize = 136;

/// What readings need to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) pid: u32,
    pub(super) version: Version,
    pub(super) timebase: Timebase,
}

/// Splits the counters that were asked for: those that can be read, in their order; the others go to `absent`.
pub(super) fn offered(
    system: &dyn System,
    wanted: &[&'static Counter],
    absent: &mut BTreeMap<String, String>,
) -> (Vec<&'static Counter>, Result<Terms, Reason>) {
    let pid = std::process::id();
    let opened = Rusage::first(system, pid)
        .and_then(|(first, version)| Ok((first, Terms { pid, version, timebase: Timebase::read(system)? })));
    let mut present = Vec::new();
    for &counter in wanted {
        match opened.as_ref().map_err(Reason::clone).and_then(|(first, terms)| exists(system, counter, first, *terms)) {
            Ok(()) => present.push(counter),
            Err(reason) => {
                absent.insert(counter.name.to_owned(), reason.into());
            }
        }
    }
    (present, opened.map(|(_, terms)| terms))
}

/// Whether a counter counts here.
fn exists(system: &dyn System, counter: &Counter, first: &Rusage, terms: Terms) -> Result<(), Reason> {
    let name = counter.name;
    match counter.source {
        Source::Hardware(Event::Cycles | Event::Instructions) => counts(first),
        Source::Apple(Apple::DriverCycles | Apple::DriverInstructions) => {
            thread_counts(system).map(|_| ()).map_err(|reason| reason!("{reason}; the counters of the process remain"))
        }
        Source::Apple(Apple::Footprint | Apple::Pageins) => Ok(()),
        Source::Apple(Apple::Compressed) => {
            TaskMemory::read(system)?.compressed.map(|_| ()).ok_or_else(|| Reason::new("task_info does not tell it"))
        }
        Source::Apple(which) => {
            if terms.version == Version::Four {
                return Err(reason!(
                    "{name} needs proc_pid_rusage in version 6, and this kernel answers version 4: macOS 13 has it"
                ));
            }
            match which {
                Apple::Energy | Apple::PerformanceEnergy => Ok(()),
                Apple::PerformanceTime | Apple::EfficiencyTime => two_kinds(system, name),
                _ => counts(first).and_then(|()| two_kinds(system, name)),
            }
        }
        Source::Usage(_) => Ok(()),
        _ => Err(reason!(
            "{name}: macOS gives it to root only, through a private interface that is not used here; \
             cycles and instructions need no rights"
        )),
    }
}

/// A process that has come this far has run for a while: no cycles means that none are counted.
fn counts(first: &Rusage) -> Result<(), Reason> {
    match first.field(Field::Cycles) {
        Some(cycles) if cycles > 0 => Ok(()),
        _ => Err(Reason::new("the kernel counts no cycles here, as in virtual machines: measure on the Mac itself")),
    }
}

fn two_kinds(system: &dyn System, name: &str) -> Result<(), Reason> {
    match values::number(system, "hw.nperflevels") {
        Ok(levels) if levels > 1 => Ok(()),
        _ => Err(reason!("{name}: this processor has one kind of cores only")),
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

/// The answers of one moment: those that the counters need, each asked once.
struct Moment<'a> {
    system: &'a dyn System,
    timebase: Timebase,
    usage: Option<Rusage>,
    own: Option<Answer<OWN_BYTES>>,
    thread: Option<(u64, u64)>,
    at: Nanos,
}

/// Fills a reading. What the system refused is not valid.
pub(super) fn fill(system: &dyn System, terms: Terms, counters: &[&'static Counter], reading: &mut Reading) {
    let need = |wanted: fn(&Source) -> bool| counters.iter().any(|counter| wanted(&counter.source));
    let is_own = |source: &Source| {
        matches!(
            source,
            Source::Usage(
                Usage::MinorFaults | Usage::MajorFaults | Usage::VoluntarySwitches | Usage::InvoluntarySwitches
            )
        )
    };
    let is_thread = |source: &Source| matches!(source, Source::Apple(Apple::DriverCycles | Apple::DriverInstructions));
    let moment = Moment {
        system,
        timebase: terms.timebase,
        usage: Rusage::read(system, terms.pid, terms.version).ok(),
        own: if need(is_own) { Answer::to(system, Question::OwnUsage).ok() } else { None },
        thread: if need(is_thread) { thread_counts(system).ok() } else { None },
        at: clock::now(),
    };
    for (tick, counter) in reading.ticks.iter_mut().take(MAX_COUNTERS).zip(counters) {
        let value = moment.value(counter.source);
        // Coarse accounts carry the time, by which the meter knows intervals that are too short for them.
        let time = if counter.coarse().is_some() { moment.at.0 } else { 0 };
        *tick = Tick { value: value.unwrap_or(0), enabled: time, running: time, valid: value.is_some() };
    }
}

impl Moment<'_> {
    fn value(&self, source: Source) -> Option<u64> {
        let usage = self.usage.as_ref();
        let field = |field| usage?.field(field);
        let own = |offset| self.own.as_ref()?.u64(offset);
        let micros = |ticks| self.timebase.micros(ticks);
        match source {
            Source::Usage(Usage::CpuUser) => field(Field::UserTime).map(micros),
            Source::Usage(Usage::CpuSystem) => field(Field::SystemTime).map(micros),
            Source::Usage(Usage::MinorFaults) => own(MINOR_FAULTS),
            Source::Usage(Usage::MajorFaults) => own(MAJOR_FAULTS),
            Source::Usage(Usage::VoluntarySwitches) => own(VOLUNTARY),
            Source::Usage(Usage::InvoluntarySwitches) => own(INVOLUNTARY),
            Source::Usage(Usage::ReadBytes) => field(Field::BytesRead),
            Source::Usage(Usage::Resident) => field(Field::ResidentSize),
            Source::Hardware(Event::Cycles) => field(Field::Cycles),
            Source::Hardware(Event::Instructions) => field(Field::Instructions),
            Source::Apple(which) => self.apple(which),
            _ => None,
        }
    }

    fn apple(&self, which: Apple) -> Option<u64> {
        let usage = self.usage.as_ref();
        let field = |field| usage?.field(field);
        match which {
            Apple::PerformanceCycles => field(Field::PerformanceCycles),
            Apple::PerformanceInstructions => field(Field::PerformanceInstructions),
            Apple::EfficiencyCycles => usage?.efficiency(Field::Cycles, Field::PerformanceCycles),
            Apple::EfficiencyInstructions => usage?.efficiency(Field::Instructions, Field::PerformanceInstructions),
            Apple::PerformanceTime => usage?.performance_ticks().map(|ticks| self.timebase.micros(ticks)),
            Apple::EfficiencyTime => {
                let ticks = usage?.ticks()?.checked_sub(usage?.performance_ticks()?)?;
                Some(self.timebase.micros(ticks))
            }
            Apple::Energy => field(Field::EnergyNanojoules),
            Apple::PerformanceEnergy => field(Field::PerformanceEnergyNanojoules),
            Apple::Footprint => field(Field::Footprint),
            Apple::Pageins => field(Field::Pageins),
            Apple::Compressed => TaskMemory::read(self.system).ok()?.compressed,
            Apple::DriverCycles => self.thread.map(|(_, cycles)| cycles),
            Apple::DriverInstructions => self.thread.map(|(instructions, _)| instructions),
        }
    }
}
