//! Which events count together: one set holds as many as the PMU has registers for, further sets hold the rest.

use std::collections::BTreeMap;

use record::Reason;

use super::events;
use super::explain::{EventMode, explain};
use super::group::{Group, GroupEvent, MOST_MEMBERS};
use super::system::{Errno, PerfSystem, Target, paranoid};
use crate::counters::{Counter, Source};

/// How often the events are opened anew because threads started or ended meanwhile.
const ATTEMPTS: usize = 8;

/// Open events; none is switched on yet.
#[derive(Debug)]
pub(super) struct OpenSets {
    /// Events of the processor.
    pub(super) sets: Vec<Group>,
    /// Events of the kernel: they need no register.
    pub(super) kernel_events: Group,
    /// Why the other events could not be opened, by counter.
    pub(super) refused: BTreeMap<&'static str, Reason>,
}

/// Opens all events among `wanted` for every thread of this process. Inheritance does not reach threads that exist, so each is
/// attached by itself. A thread that starts meanwhile would be missed, or counted twice if it inherits from an attached one:
/// then everything is closed and opened again.
pub(super) fn open(system: &mut dyn PerfSystem, wanted: &[&'static Counter]) -> Result<OpenSets, Reason> {
    let mut before = threads(system);
    for _ in 0..ATTEMPTS {
        let mut opened = open_for(system, wanted, &before);
        let after = threads(system);
        if after == before {
            return Ok(opened);
        }
        opened.sets.iter_mut().chain([&mut opened.kernel_events]).for_each(|group| group.close(system));
        before = after;
    }
    Err(Reason::new(
        "threads started or ended while the counters were opened: open them before the process starts threads",
    ))
}

/// The threads of this process; the calling one where it is the only one, or where the system does not list them.
fn threads(system: &dyn PerfSystem) -> Vec<Target> {
    let mut ids: Vec<i32> = system
        .list("/proc/self/task")
        .map(|names| names.iter().filter_map(|name| name.parse().ok()).collect())
        .unwrap_or_default();
    ids.sort_unstable();
    match ids.as_slice() {
        [] | [_] => vec![Target::Caller],
        several => several.iter().map(|&id| Target::Thread(id)).collect(),
    }
}

fn open_for(system: &mut dyn PerfSystem, wanted: &[&'static Counter], threads: &[Target]) -> OpenSets {
    let mut opened = OpenSets { sets: Vec::new(), kernel_events: Group::default(), refused: BTreeMap::new() };
    let level = paranoid(system);
    for counter in leaders_first(wanted) {
        let event = match events::attributes(counter, system) {
            Ok(event) => event,
            Err(reason) => {
                opened.refused.insert(counter.name, reason);
                continue;
            }
        };
        let member = GroupEvent { counter, event };
        let placed = if matches!(counter.source, Source::Software(_)) {
            opened.kernel_events.add(system, member, threads)
        } else {
            place(system, &mut opened.sets, member, threads, 0)
        };
        if let Err(error) = placed {
            let mode = if event.exclude_kernel { EventMode::User } else { EventMode::Kernel };
            opened.refused.insert(counter.name, explain(error, mode, level));
        }
    }
    shrink(system, &mut opened, threads);
    opened
}

/// Some events must lead their group: `slots` leads the top-down levels.
fn leaders_first(wanted: &[&'static Counter]) -> Vec<&'static Counter> {
    let mut events: Vec<_> = wanted.iter().copied().filter(|counter| counter.source.is_event()).collect();
    events.sort_by_key(|counter| counter.name != events::SLOTS);
    events
}

/// Adds an event to the first set from `from` on that accepts it, else to a new one. The kernel refuses events that a PMU could
/// never count together. Whether it refuses the event itself or the combination shows when the event is tried alone.
fn place(
    system: &mut dyn PerfSystem,
    sets: &mut Vec<Group>,
    member: GroupEvent,
    threads: &[Target],
    from: usize,
) -> Result<(), Errno> {
    for set in sets.iter_mut().skip(from).filter(|set| set.members.len() < MOST_MEMBERS) {
        match set.add(system, member, threads) {
            Ok(()) => return Ok(()),
            Err(Errno(libc::EINVAL | libc::ENOSPC | libc::EBUSY)) => {}
            Err(error) => return Err(error),
        }
    }
    let mut alone = Group::default();
    alone.add(system, member, threads)?;
    sets.push(alone);
    Ok(())
}

/// Events that the kernel accepted together may still wait for each other where another program or the kernel's watchdog holds a
/// register: then the last event of a set moves to a later one.
fn shrink(system: &mut dyn PerfSystem, opened: &mut OpenSets, threads: &[Target]) {
    let mut number = 0;
    while let Some(set) = opened.sets.get_mut(number) {
        // An event that does not count even alone stays: each reading reports that it was not counted.
        if set.members.len() <= 1 || set.counts_at_once(system).unwrap_or(true) {
            number += 1;
            continue;
        }
        let Some(member) = set.pop(system) else { break };
        if let Err(error) = place(system, &mut opened.sets, member, threads, number + 1) {
            let reason = explain(error, EventMode::User, paranoid(system));
            opened.refused.insert(member.counter.name, reason);
        }
    }
}
