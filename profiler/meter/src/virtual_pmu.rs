//! The PMU of a virtual machine: the events of the accounts that its engine keeps, and as many registers as it says.

use traces::clock;
use traces::virtual_counters::{self, VirtualCounters};

use super::perf::{Attributes, Errno, Handle, PerfSystem, Whose};

/// Events of the processor as the accounts have them; no others exist.
const EVENTS: [fn(&VirtualCounters) -> u64; 4] = [
    |ledger| ledger.cycles,
    |ledger| ledger.instructions,
    |ledger| ledger.cache_references,
    |ledger| ledger.cache_misses,
];

/// An open event: what it has counted, and from where it counts now.
#[derive(Debug)]
struct Open {
    event: fn(&VirtualCounters) -> u64,
    leader: usize,
    counted: u64,
    since: Option<u64>,
}

/// The virtual machine's side of events.
#[derive(Debug, Default)]
pub(super) struct VirtualPmu {
    events: Vec<Option<Open>>,
    /// For how long a group was on, and since when it is, by its leader's place.
    times: Vec<(u64, Option<u64>)>,
}

impl Open {
    fn value(&self, ledger: &VirtualCounters) -> u64 {
        self.counted + self.since.map_or(0, |since| (self.event)(ledger).saturating_sub(since))
    }
}

impl VirtualPmu {
    fn members(&self, leader: usize) -> impl Iterator<Item = &Open> {
        self.events.iter().flatten().filter(move |open| open.leader == leader)
    }
}

impl PerfSystem for VirtualPmu {
    fn open(&mut self, event: &Attributes, _: Whose, leader: Option<Handle>) -> Result<Handle, Errno> {
        let place = self.events.len();
        let leader = leader.map_or(place, |handle| handle.0);
        let known = usize::try_from(event.config).ok().and_then(|config| EVENTS.get(config));
        let known =
            known.filter(|_| event.pmu == 0 && virtual_counters::hardware_counters() > 0).ok_or(Errno(libc::ENOENT))?;
        if self.members(leader).count() >= virtual_counters::hardware_counters() {
            return Err(Errno(libc::EINVAL));
        }
        self.events.push(Some(Open { event: *known, leader, counted: 0, since: None }));
        self.times.push((0, None));
        Ok(Handle(place))
    }

    fn switch(&mut self, leader: Handle, on: bool) -> Result<(), Errno> {
        let (ledger, now) = (virtual_counters::read().ok_or(Errno(libc::ENODEV))?, clock::now().as_nanos());
        for open in self.events.iter_mut().flatten().filter(|open| open.leader == leader.0) {
            open.counted = open.value(&ledger);
            open.since = on.then(|| (open.event)(&ledger));
        }
        let (time, since) = self.times.get_mut(leader.0).ok_or(Errno(libc::EBADF))?;
        *time += since.map_or(0, |since| now.saturating_sub(since));
        *since = on.then_some(now);
        Ok(())
    }

    fn read(&mut self, leader: Handle, words: &mut [u64]) -> Result<usize, Errno> {
        let ledger = virtual_counters::read().ok_or(Errno(libc::ENODEV))?;
        let &(time, since) = self.times.get(leader.0).ok_or(Errno(libc::EBADF))?;
        // A group that is on has been so for some time, though none of the virtual time may have passed yet.
        let time = time + since.map_or(0, |since| clock::now().as_nanos().saturating_sub(since) + 1);
        let values: Vec<u64> = self.members(leader.0).map(|open| open.value(&ledger)).collect();
        let header = [values.len() as u64, time, time];
        Ok(words.iter_mut().zip(header.into_iter().chain(values)).map(|(word, value)| *word = value).count())
    }

    fn close(&mut self, event: Handle) {
        if let Some(slot) = self.events.get_mut(event.0) {
            *slot = None;
        }
    }

    /// Nothing of the real machine's files.
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

    use super::super::{Meter, Tally, default_counters, find};
    use super::*;

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
            counted.map(|(place, counter)| (counter.name, tally.value(place, counter))).collect::<Vec<_>>()
        };
        let value = |name, counted: &[(&str, Result<super::super::Counted, record::Reason>)]| {
            counted.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone().unwrap().value)
        };
        let first = pass(&mut meter);
        assert_eq!((value("cycles", &first), value("cache_misses", &first)), (Some(6000.0), None));
        meter.select(1).unwrap();
        let second = pass(&mut meter);
        assert_eq!((value("cycles", &second), value("cache_misses", &second)), (None, Some(50.0)));
        virtual_counters::set_hardware_counters(0);
        assert_eq!(Meter::virtual_machine(&[find("cycles").unwrap()]).counters().len(), 0);
    }
}
