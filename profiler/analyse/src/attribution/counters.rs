//! Figures that follow from counters.
//!
//! ```text
//! ipc                = instructions / cycles
//! *_per_1000         = 1000 misses / instructions
//! miss_bytes_per_s   = cache_misses x line / time          bytes per second, from memory to the last cache
//! *_share            = slots of a top-down level / slots
//! ```
//! Sources: Hennessy and Patterson, *Computer Architecture*, 6th edition, sections 1.9 (IPC) and 2.1 (misses per 1,000 instructions);
//! Yasin, *A Top-Down Method for Performance Analysis and Counters Architecture*, doi:10.1109/ISPASS.2014.6844459.
//! Counters of several sets come from several requests for the same work; where a rate is made, the time is of the same request.

use std::collections::BTreeMap;

use record::{Case, OpCounters, PhaseRow, Recorded, RecordedMap};

/// Names of misses and of what they become.
const MISSES: [(&str, &str); 4] = [
    ("cache_misses", "cache_misses_per_1000"),
    ("branch_misses", "branch_misses_per_1000"),
    ("llc_load_misses", "llc_load_misses_per_1000"),
    ("dtlb_load_misses", "dtlb_load_misses_per_1000"),
];

/// Levels of the top-down method and their shares.
const LEVELS: [(&str, &str); 4] = [
    ("topdown_retiring", "retiring_share"),
    ("topdown_bad_speculation", "bad_speculation_share"),
    ("topdown_frontend_bound", "frontend_bound_share"),
    ("topdown_backend_bound", "backend_bound_share"),
];

/// The derived figures of each row of [`Case::phases`]. `line` is the size of a cache line in bytes.
pub(super) fn of_phases(case: &Case, line: Option<u64>) -> Vec<BTreeMap<String, f64>> {
    let of = |row: &PhaseRow| {
        let misses_s = row.counted_s.get("cache_misses").copied().or(row.time_s.value());
        derived(&row.counters, misses_s, line)
    };
    case.phases.iter().map(of).collect()
}

/// The derived figures of each row of [`Case::op_counters`]. The time of an op is that of the traced pass, where it ran as often.
pub(super) fn of_ops(case: &Case, line: Option<u64>) -> Vec<BTreeMap<String, f64>> {
    let of = |row: &OpCounters| {
        let traced = case.ops.iter().find(|op| op.phase == row.phase && op.op == row.op && op.count == row.count);
        derived(&row.counters, traced.map(|op| op.time_s), line)
    };
    case.op_counters.iter().map(of).collect()
}

/// The derived figures of a phase or op, as far as their counters have values. `misses_s` is the time in which the misses were
/// counted, `line` the bytes that a miss brings.
fn derived(counters: &RecordedMap, misses_s: Option<f64>, line: Option<u64>) -> BTreeMap<String, f64> {
    let of = |name: &str| counters.get(name).and_then(Recorded::value);
    let over = |part: Option<f64>, whole: Option<f64>| Some(part? / whole.filter(|&whole| whole > 0.0)?);
    let mut figures = BTreeMap::new();
    let mut add = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            figures.insert(name.to_owned(), value);
        }
    };
    add("ipc", over(of("instructions"), of("cycles")));
    for (misses, name) in MISSES {
        add(name, over(of(misses).map(|misses| misses * 1000.0), of("instructions")));
    }
    #[allow(clippy::cast_precision_loss, reason = "a line has some hundred bytes at most")]
    let bytes = of("cache_misses").zip(line).map(|(misses, line)| misses * line as f64);
    add("miss_bytes_per_s", over(bytes, misses_s));
    for (level, name) in LEVELS {
        add(name, over(of(level), of("topdown_slots")));
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(values: &[(&str, f64)]) -> RecordedMap {
        values.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
    }

    #[test]
    fn formulas_by_hand() {
        let of = counters(&[
            ("cycles", 4e9),
            ("instructions", 6e9),
            ("cache_misses", 3e6),
            ("topdown_slots", 10.0),
            ("topdown_retiring", 4.0),
        ]);
        let figures = derived(&of, Some(0.5), Some(64));
        let near =
            |name: &str, value: f64| assert!((figures[name] - value).abs() < 1e-9 * value, "{name} {}", figures[name]);
        near("ipc", 1.5);
        near("cache_misses_per_1000", 0.5);
        near("miss_bytes_per_s", 384e6);
        near("retiring_share", 0.4);
        assert_eq!(figures.len(), 4, "what has no counters has no figure: {figures:?}");
    }

    #[test]
    fn a_figure_needs_its_counters() {
        let of = counters(&[("cycles", 0.0), ("instructions", 0.0), ("cache_misses", 5.0)]);
        assert!(derived(&of, None, Some(64)).is_empty());
        assert!(derived(&of, Some(1.0), None).is_empty(), "without the size of a line there are no bytes");
    }
}
