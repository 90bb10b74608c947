//! Merges counters that were read in several requests, one set of counters per request.

use record::{Case, OpCounters, Recorded, SteppedFigures};

/// Adds the counters that the case does not have, with the time of the phase in the request that counted them.
pub(super) fn add(case: &mut Case, other: &SteppedFigures) {
    for row in &mut case.phases {
        let Some(theirs) = other.phases.iter().find(|theirs| theirs.phase == row.phase) else {
            for name in other.counters.values.keys().filter(|name| !case.counters.contains_key(*name)) {
                let absent = Recorded::absent("the request that read it has no such phase");
                row.counters.insert(name.clone(), absent);
            }
            continue;
        };
        for (name, value) in &theirs.counters {
            if row.counters.contains_key(name) {
                continue;
            }
            row.counters.insert(name.clone(), value.clone());
            row.counted_s.extend(theirs.time_s.value().map(|time| (name.clone(), time)));
            row.notes.extend(theirs.notes.get(name).map(|note| (name.clone(), note.clone())));
        }
    }
    for (name, value) in &other.counters.values {
        if !case.counters.contains_key(name) {
            case.counters.insert(name.clone(), value.clone());
            case.notes.set_of_counters(other.counters.notes.get(name).map(|note| (name.clone(), note.clone())));
        }
    }
}

/// The rows of all sets in one list: each op with all its counters.
pub(super) fn merged(sets: &[&[OpCounters]]) -> Vec<OpCounters> {
    let mut rows: Vec<OpCounters> = Vec::new();
    for theirs in sets.iter().copied().flatten() {
        match rows.iter_mut().find(|row| row.phase == theirs.phase && row.op == theirs.op) {
            Some(row) => {
                for (name, value) in &theirs.counters {
                    if !row.counters.contains_key(name) {
                        row.counters.insert(name.clone(), value.clone());
                        row.notes.extend(theirs.notes.get(name).map(|note| (name.clone(), note.clone())));
                    }
                }
            }
            None => rows.push(theirs.clone()),
        }
    }
    rows
}
