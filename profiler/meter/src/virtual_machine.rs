//! The instruments of a virtual machine: the accounting of an engine whose time is virtual ([`traces::virtual_counters`]), and
//! a PMU with as many registers as it declares.

use record::Reason;
use traces::clock;
use traces::virtual_counters::{self, VirtualCounters};

use crate::counters::{Counter, CounterReading, ProcessUsage, Reading, Source};
use crate::load::MachineLoad;
use crate::perf::{Attributes, Errno, EventHandle, PerfSystem, Target};

/// The reason for a figure that only a real machine has.
pub const VIRTUAL: &str = "the engine's time is virtual: nothing real was measured";

/// Whether a virtual machine has this counter in its accounting: it has no resident memory.
pub(super) fn has(counter: &Counter) -> bool {
    matches!(counter.source, Source::Usage(usage) if usage != ProcessUsage::Resident)
}

/// Fills in a reading. Values are invalid where this thread's time is real.
pub(super) fn read(counters: &[&'static Counter], reading: &mut Reading) {
    let Some(counters_now) = virtual_counters::read() else { return };
    for (tick, counter) in reading.counters.iter_mut().zip(counters) {
        if let Source::Usage(usage) = counter.source {
            *tick = CounterReading { value: figure(&counters_now, usage), enabled: 0, running: 0, valid: true };
        }
    }
}

/// In the units of `getrusage`: CPU time in microseconds, all of it in user mode.
fn figure(counters_now: &VirtualCounters, usage: ProcessUsage) -> u64 {
    match usage {
        ProcessUsage::CpuUser => counters_now.cpu.as_nanos() / 1000,
        ProcessUsage::CpuSystem | ProcessUsage::Resident => 0,
        ProcessUsage::MinorFaults => counters_now.minor_faults,
        ProcessUsage::MajorFaults => counters_now.major_faults,
        ProcessUsage::VoluntarySwitches => counters_now.voluntary_switches,
        ProcessUsage::InvoluntarySwitches => counters_now.involuntary_switches,
        ProcessUsage::ReadBytes => counters_now.read_bytes,
    }
}

/// The counters of this thread's virtual machine.
fn counters() -> Result<VirtualCounters, Reason> {
    virtual_counters::read().ok_or_else(|| Reason::new("the time of this thread is not virtual"))
}

/// CPU time so far, in seconds.
pub(super) fn cpu_seconds() -> Result<f64, Reason> {
    Ok(counters()?.cpu.as_secs_f64())
}

/// Bytes read from storage so far.
pub(super) fn read_bytes() -> Result<u64, Reason> {
    Ok(counters()?.read_bytes)
}

/// Processor time by kind, in nanoseconds; `None` where this thread's time is real.
pub(super) fn machine_load() -> Option<MachineLoad> {
    let counters_now = virtual_counters::read()?;
    Some(MachineLoad {
        busy: (counters_now.cpu + counters_now.other_processes_cpu).as_nanos(),
        total: counters_now.capacity.as_nanos(),
        steal: counters_now.stolen.as_nanos(),
        ticks_per_second: 1_000_000_000,
    })
}

/// The events of the processor; no others exist.
const EVENTS: [fn(&VirtualCounters) -> u64; 4] = [
    |counters_now| counters_now.cycles,
    |counters_now| counters_now.instructions,
    |counters_now| counters_now.cache_references,
    |counters_now| counters_now.cache_misses,
];

/// An open event: its count so far, and the counter's value when it was last enabled.
#[derive(Debug)]
struct OpenEvent {
    event: fn(&VirtualCounters) -> u64,
    leader: usize,
    counted: u64,
    since: Option<u64>,
}

/// The PMU of the virtual machine.
#[derive(Debug, Default)]
pub(crate) struct VirtualPmu {
    events: Vec<Option<OpenEvent>>,
    /// How long a group was enabled, and since when it is, by the index of its leader.
    times: Vec<(u64, Option<u64>)>,
}

impl OpenEvent {
    fn value(&self, counters_now: &VirtualCounters) -> u64 {
        self.counted + self.since.map_or(0, |since| (self.event)(counters_now).saturating_sub(since))
    }
}

impl VirtualPmu {
    fn members(&self, leader: usize) -> impl Iterator<Item = &OpenEvent> {
        self.events.iter().flatten().filter(move |open| open.leader == leader)
    }
}

impl PerfSystem for VirtualPmu {
    fn open(&mut self, event: &Attributes, _: Target, leader: Option<EventHandle>) -> Result<EventHandle, Errno> {
        let index = self.events.len();
        let leader = leader.map_or(index, |handle| handle.0);
        let known = usize::try_from(event.config).ok().and_then(|config| EVENTS.get(config));
        let known =
            known.filter(|_| event.pmu == 0 && virtual_counters::hardware_counters() > 0).ok_or(Errno(libc::ENOENT))?;
        if self.members(leader).count() >= virtual_counters::hardware_counters() {
            return Err(Errno(libc::EINVAL));
        }
        self.events.push(Some(OpenEvent { event: *known, leader, counted: 0, since: None }));
        self.times.push((0, None));
        Ok(EventHandle(index))
    }

    fn switch(&mut self, leader: EventHandle, on: bool) -> Result<(), Errno> {
        let (counters_now, now) = (virtual_counters::read().ok_or(Errno(libc::ENODEV))?, clock::now().as_nanos());
        for open in self.events.iter_mut().flatten().filter(|open| open.leader == leader.0) {
            open.counted = open.value(&counters_now);
            open.since = on.then(|| (open.event)(&counters_now));
        }
        let (time, since) = self.times.get_mut(leader.0).ok_or(Errno(libc::EBADF))?;
        *time += since.map_or(0, |since| now.saturating_sub(since));
        *since = on.then_some(now);
        Ok(())
    }

    fn read(&mut self, leader: EventHandle, words: &mut [u64]) -> Result<usize, Errno> {
        let counters_now = virtual_counters::read().ok_or(Errno(libc::ENODEV))?;
        let &(time, since) = self.times.get(leader.0).ok_or(Errno(libc::EBADF))?;
        // An enabled group has a time above 0, although virtual time may not have passed yet.
        let time = time + since.map_or(0, |since| clock::now().as_nanos().saturating_sub(since) + 1);
        let values: Vec<u64> = self.members(leader.0).map(|open| open.value(&counters_now)).collect();
        let header = [values.len() as u64, time, time];
        Ok(words.iter_mut().zip(header.into_iter().chain(values)).map(|(word, value)| *word = value).count())
    }

    fn close(&mut self, event: EventHandle) {
        if let Some(slot) = self.events.get_mut(event.0) {
            *slot = None;
        }
    }

    /// Files of the real machine are not read.
    fn text(&self, _: &str) -> Result<String, Errno> {
        Err(Errno(libc::ENOENT))
    }

    fn list(&self, _: &str) -> Result<Vec<String>, Errno> {
        Err(Errno(libc::ENOENT))
    }
}

#[cfg(test)]
mod tests {
    use traces::Nanos;
    use traces::clock::VirtualClock;

    use super::*;
    use crate::{CounterValue, Meter, Tally, default_counters, machine_load, registered_counter};

    #[test]
    fn a_meter_of_a_virtual_machine_reads_its_counters() {
        let _clock = VirtualClock::install();
        let mut meter = Meter::virtual_machine(&default_counters());
        let load = machine_load().unwrap();
        let before = meter.read();
        virtual_counters::add(VirtualCounters {
            capacity: Nanos::from_millis(8),
            cpu: Nanos::from_millis(4),
            other_processes_cpu: Nanos::from_millis(2),
            stolen: Nanos::from_millis(1),
            minor_faults: 12,
            ..VirtualCounters::ZERO
        });
        let mut tally = Tally::default();
        tally.add(&before, &meter.read());
        let value = |name: &str| {
            let index = meter.counters().iter().position(|counter| counter.name == name).unwrap();
            tally.value(index, meter.counters()[index]).unwrap().value
        };
        assert!((value("cpu_user_s") - 0.004).abs() < 1e-12);
        assert!((value("minor_faults") - 12.0).abs() < 1e-12 && value("read_bytes").abs() < 1e-12);
        let (others, steal) = machine_load().unwrap().shares_since(&load, meter.cpu_seconds().unwrap()).unwrap();
        assert!((others - 0.25).abs() < 1e-9 && (steal - 0.125).abs() < 1e-9);
        assert!(meter.absent().contains_key("resident_bytes") && meter.memory().is_err());
    }

    #[test]
    fn sets_count_one_after_the_other() {
        let _clock = VirtualClock::install();
        virtual_counters::set_hardware_counters(3);
        let mut meter = Meter::virtual_machine(&default_counters());
        assert_eq!(meter.sets(), 2);
        let pass = |meter: &mut Meter| {
            let before = meter.read();
            clock::advance(Nanos::from_millis(2));
            virtual_counters::add(VirtualCounters {
                cycles: 6000,
                instructions: 9000,
                cache_misses: 50,
                ..VirtualCounters::ZERO
            });
            let mut tally = Tally::default();
            tally.add(&before, &meter.read());
            let counted = meter.counted().into_iter();
            counted.map(|(index, counter)| (counter.name, tally.value(index, counter))).collect::<Vec<_>>()
        };
        let value = |name, counted: &[(&str, Result<CounterValue, Reason>)]| {
            counted.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone().unwrap().value)
        };
        let first = pass(&mut meter);
        assert_eq!((value("cycles", &first), value("cache_misses", &first)), (Some(6000.0), None));
        meter.select(1).unwrap();
        let second = pass(&mut meter);
        assert_eq!((value("cycles", &second), value("cache_misses", &second)), (None, Some(50.0)));
        virtual_counters::set_hardware_counters(0);
        assert_eq!(Meter::virtual_machine(&[registered_counter("cycles").unwrap()]).counters().len(), 0);
    }
}
