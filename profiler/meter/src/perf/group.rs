//! [`Group`]: events that count together and are read with one system call per thread that they were opened for.

use super::system::{Attributes, Errno, EventHandle, PerfSystem, Target};
use crate::counters::{Counter, CounterReading, Reading};

/// Number of events, time enabled, time running.
const HEADER: usize = 3;
/// The largest number of events in a group.
pub(super) const MOST_MEMBERS: usize = 16;
/// Time enabled after which it is known whether a group counts: 1 ms.
const PROBE_NS: u64 = 1_000_000;
/// The largest number of readings in that time; one takes about a microsecond.
const PROBE_READS: usize = 20_000;
/// Below this share of the time a group shared its registers.
const WHOLE: f64 = 0.99;

/// An event with its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupEvent {
    pub(super) counter: &'static Counter,
    pub(super) event: Attributes,
}

/// Events that count together.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: Vec<GroupEvent>,
    /// For each attached thread, the open events in the order of `members`; the first one is the leader.
    threads: Vec<Vec<EventHandle>>,
}

/// One reading of a group.
struct GroupReading {
    enabled: u64,
    running: u64,
    values: [u64; MOST_MEMBERS],
}

impl Group {
    /// Adds an event on all of these threads, or on none.
    pub(super) fn add(
        &mut self,
        system: &mut dyn PerfSystem,
        member: GroupEvent,
        threads: &[Target],
    ) -> Result<(), Errno> {
        if self.members.len() >= MOST_MEMBERS {
            return Err(Errno(libc::EINVAL));
        }
        self.threads.resize(threads.len(), Vec::new());
        let mut opened = Vec::new();
        for (events, &target) in self.threads.iter().zip(threads) {
            match system.open(&member.event, target, events.first().copied()) {
                Ok(handle) => opened.push(handle),
                Err(error) => {
                    opened.into_iter().for_each(|handle| system.close(handle));
                    return Err(error);
                }
            }
        }
        self.threads.iter_mut().zip(opened).for_each(|(events, handle)| events.push(handle));
        self.members.push(member);
        Ok(())
    }

    /// Removes the last event.
    pub(super) fn pop(&mut self, system: &mut dyn PerfSystem) -> Option<GroupEvent> {
        self.threads.iter_mut().filter_map(Vec::pop).for_each(|handle| system.close(handle));
        self.members.pop()
    }

    /// Closes everything.
    pub(super) fn close(&mut self, system: &mut dyn PerfSystem) {
        while self.pop(system).is_some() {}
    }

    /// Enables or disables the group on all threads.
    pub(super) fn switch(&self, system: &mut dyn PerfSystem, on: bool) -> Result<(), Errno> {
        self.leaders().try_for_each(|leader| system.switch(leader, on))
    }

    fn leaders(&self) -> impl Iterator<Item = EventHandle> + '_ {
        self.threads.iter().filter_map(|events| events.first().copied())
    }

    /// Whether all events have registers at once, that is, count all of the time. It counts for a millisecond to find out; where
    /// no time passes the answer is yes.
    #[allow(clippy::cast_precision_loss, reason = "nanoseconds of a probe stay far below 2^53")]
    pub(super) fn counts_at_once(&self, system: &mut dyn PerfSystem) -> Result<bool, Errno> {
        let Some(leader) = self.leaders().next() else { return Ok(true) };
        self.switch(system, true)?;
        // Times of an earlier attempt with more events do not count.
        let first = self.read_one(system, leader);
        let since = |words: &GroupReading| {
            let (enabled, running) = first.as_ref().map_or((0, 0), |first| (first.enabled, first.running));
            (words.enabled.saturating_sub(enabled), words.running.saturating_sub(running))
        };
        let mut last = first.as_ref().map(since);
        for _ in 0..PROBE_READS {
            let Some(times) = self.read_one(system, leader).as_ref().map(since) else {
                last = None;
                break;
            };
            last = Some(times);
            if times.0 == 0 || times.0 >= PROBE_NS {
                break;
            }
        }
        self.switch(system, false)?;
        // A group that cannot be read is in an error state: it got no registers.
        Ok(last.is_some_and(|(enabled, running)| running as f64 >= WHOLE * enabled as f64))
    }

    /// Fills in the events, summed over the threads. They are invalid where a reading fails and where they were never enabled.
    pub(super) fn read(&self, system: &mut dyn PerfSystem, counters: &[&'static Counter], reading: &mut Reading) {
        let mut sum = GroupReading { enabled: 0, running: 0, values: [0; MOST_MEMBERS] };
        let mut valid = false;
        for leader in self.leaders() {
            let Some(words) = self.read_one(system, leader) else {
                valid = false;
                break;
            };
            valid = true;
            sum.enabled += words.enabled;
            sum.running += words.running;
            sum.values.iter_mut().zip(words.values).for_each(|(sum, value)| *sum = sum.wrapping_add(value));
        }
        for (member, &raw) in self.members.iter().zip(&sum.values) {
            let index = counters.iter().position(|counter| std::ptr::eq(*counter, member.counter));
            if let Some(value) = index.and_then(|index| reading.counters.get_mut(index)) {
                *value = CounterReading {
                    value: raw,
                    enabled: sum.enabled,
                    running: sum.running,
                    valid: valid && sum.enabled > 0,
                };
            }
        }
    }

    /// One system call. `None` where it fails or where events were lost.
    fn read_one(&self, system: &mut dyn PerfSystem, leader: EventHandle) -> Option<GroupReading> {
        let mut raw = [0_u64; HEADER + MOST_MEMBERS];
        let given = system.read(leader, &mut raw).ok()?;
        let [events, enabled, running, values @ ..] = raw;
        let complete = events == self.members.len() as u64 && given == HEADER + self.members.len();
        complete.then_some(GroupReading { enabled, running, values })
    }
}
