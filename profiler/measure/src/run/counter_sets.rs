//! Merges counters that were read in several requests, one set of counters per request.

use record::{Case, OpCounters};

use crate::protocol::SteppedFigures;

/// Adds the counters that the case does not have, with the time of the phase in the request that counted them.
pub(super) fn add(case: &mut Case, other: &SteppedFigures) {
    for row in &mut case.phases {
        let Some(theirs) = other.phases.iter().find(|theirs| theirs.phase == row.phase) else {
            for name in other.counters.keys().filter(|name| !case.counters.contains_key(*name)) {
                row.counters.insert(name.clone(), None);
                row.reasons.insert(name.clone(), "the request that read it has no such phase".to_owned());
            }
            continue;
        };
        for (name, value) in &theirs.counters {
            if row.counters.contains_key(name) {
                continue;
            }
            row.counters.insert(name.clone(), *value);
            row.counted_s.extend(theirs.time_s.map(|time| (name.clone(), time)));
            row.reasons.extend(theirs.reasons.get(name).map(|reason| (name.clone(), reason.clone())));
        }
    }
    for (name, value) in &other.counters {
        if !case.counters.contains_key(name) {
            case.counters.insert(name.clone(), *value);
            case.reasons.extend(other.counter_reasons.get(name).map(|reason| (name.clone(), reason.clone())));
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
                        row.counters.insert(name.clone(), *value);
                        row.reasons.extend(theirs.reasons.get(name).map(|reason| (name.clone(), reason.clone())));
                    }
                }
            }
            None => rows.push(theirs.clone()),
        }
    }
    rows
}
