//! Which events count together: as many in a set as the PMU has registers for, the rest in further sets.

use std::collections::BTreeMap;

use super::super::{Counter, Source};
use super::events;
use super::explain::{Asked, explain};
use super::group::{Group, MOST_MEMBERS, Member};
use super::system::{Errno, PerfSystem, Whose, paranoid};

/// Opens all events among `wanted`: sets of the processor's, and the kernel's. None is on yet.
pub(super) fn open(
    system: &mut dyn PerfSystem,
    wanted: &[&'static Counter],
    threads: &[Whose],
    absent: &mut BTreeMap<String, String>,
) -> (Vec<Group>, Group) {
    let mut sets: Vec<Group> = Vec::new();
    let mut always = Group::default();
    let level = paranoid(system);
    for counter in leaders_first(wanted) {
        let event = match events::attributes(counter, system) {
            Ok(event) => event,
            Err(reason) => {
                absent.insert(counter.name.to_owned(), reason.into());
                continue;
            }
        };
        let member = Member { counter, event };
        let placed = if matches!(counter.source, Source::Software(_)) {
            always.add(system, member, threads)
        } else {
            place(system, &mut sets, member, threads, 0)
        };
        if let Err(error) = placed {
            let asked = if event.exclude_kernel { Asked::Processor } else { Asked::Kernel };
            absent.insert(counter.name.to_owned(), explain(error, asked, level));
        }
    }
    shrink(system, &mut sets, threads, absent);
    (sets, always)
}

/// Some events must lead their group: `slots` those of the top-down levels.
fn leaders_first(wanted: &[&'static Counter]) -> Vec<&'static Counter> {
    let mut events: Vec<_> = wanted.iter().copied().filter(|counter| counter.source.is_event()).collect();
    events.sort_by_key(|counter| counter.name != events::SLOTS);
    events
}

/// Puts an event into the first set from `from` on that takes it, else into a new one. The kernel refuses what a PMU could never
/// count together; which of the two it is that it dislikes, the event or its company, shows when it is tried alone.
fn place(
    system: &mut dyn PerfSystem,
    sets: &mut Vec<Group>,
    member: Member,
    threads: &[Whose],
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

/// What the kernel took together may still wait for each other, where another program or the kernel's watchdog holds a register:
/// then the last event of a set moves to a later one.
fn shrink(
    system: &mut dyn PerfSystem,
    sets: &mut Vec<Group>,
    threads: &[Whose],
    absent: &mut BTreeMap<String, String>,
) {
    let mut number = 0;
    while let Some(set) = sets.get_mut(number) {
        // An event that does not count even alone stays: each reading tells that it was not counted.
        if set.members.len() <= 1 || set.counts_at_once(system).unwrap_or(true) {
            number += 1;
            continue;
        }
        let Some(member) = set.pop(system) else { break };
        if let Err(error) = place(system, sets, member, threads, number + 1) {
            absent.insert(member.counter.name.to_owned(), explain(error, Asked::Processor, paranoid(system)));
        }
    }
}
