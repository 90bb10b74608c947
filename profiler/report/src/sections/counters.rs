//! Counters per phase, and why counters are absent.

use std::collections::{BTreeMap, BTreeSet};

use super::RunView;
use crate::content::{Block, Section};
use crate::figures::ABSENT;
use crate::table::Table;
use record::figures::{milliseconds, significant};
use record::{OpCounters, PhaseOrOther, PhaseRow, Recorded, RecordedMap, Summary, counter_unit};
use statistics::mean;

pub(super) fn section(view: &RunView<'_>) -> Section {
    let mut section = Section::new("Counters");
    for summary in &view.file.summaries {
        section.add_table(table(view, summary));
        section.blocks.extend(derived(view, summary).map(Block::Table));
        if let Some(table) = by_op(view, summary) {
            section.blocks.push(Block::Details {
                summary: "Operation by operation".to_owned(),
                blocks: vec![Block::Table(table)],
            });
        }
    }
    let mut absent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for case in &view.file.cases {
        let counters = case.counters.iter();
        let reasons = counters.filter_map(|(name, value)| Some((name.as_str(), value.stated_reason()?.as_str())));
        // Notes on counters with a value are shown below their table.
        let notes = case.notes.iter().filter(|(name, _)| !has(&case.counters, name));
        let lists = [
            ("phases", case.phases.stated_reason()),
            ("ops", case.ops.stated_reason()),
            ("workers", case.workers.stated_reason()),
            ("allocations", case.allocations.stated_reason()),
            ("memory_timeline", case.memory_timeline.stated_reason()),
        ];
        let lists = lists.into_iter().filter_map(|(name, reason)| Some((name, reason?.as_str())));
        for (name, reason) in reasons.chain(notes).chain(lists) {
            absent.entry(reason).or_default().insert(name);
        }
    }
    if !section.blocks.is_empty() {
        let sets = view.file.cases.iter().flat_map(|case| &case.stepped).map(|sample| sample.counter_set + 1).max();
        if let Some(sets) = sets.filter(|&sets| sets > 1) {
            section.add_sentence(format!("The processor cannot count all of these events at once. They were counted in {sets} sets, each in separate requests."));
        }
        for (name, reason) in extrapolated(view) {
            section.add_sentence(format!("{name} is {reason}."));
        }
    }
    if !absent.is_empty() {
        let facts = absent
            .into_iter()
            .map(|(reason, names)| (names.into_iter().collect::<Vec<_>>().join(", "), reason.to_owned()))
            .collect();
        section.add_sentence("Not available:");
        section.blocks.push(Block::Properties(facts));
    }
    section
}

/// One row per phase, one column per counter with a value.
fn table(view: &RunView<'_>, summary: &Summary) -> Table {
    let rows: Vec<&PhaseRow> = view.cases(summary).flat_map(|case| &case.phases).collect();
    let names: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| row.counters.iter().filter(|(_, value)| value.is_present()).map(|(name, _)| name.as_str()))
        .collect();
    let columns: Vec<String> = ["<phase", "ms", "CPU ms"]
        .map(str::to_owned)
        .into_iter()
        .chain(names.iter().map(|name| heading(name)))
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let caption = format!("{}: stepped pass, per request, mean over the prompts.", view.subject(summary));
    let mut table = Table::new(caption, &columns);
    let mut phases: Vec<&PhaseOrOther> = Vec::new();
    for row in &rows {
        if !phases.contains(&&row.phase) {
            phases.push(&row.phase);
        }
    }
    for phase in phases {
        let of_phase = |value: &dyn Fn(&PhaseRow) -> Option<f64>| {
            mean(&rows.iter().filter(|row| row.phase == *phase).filter_map(|row| value(row)).collect::<Vec<f64>>())
        };
        let mut cells = vec![phase.to_string()];
        cells.push(of_phase(&|row| row.time_s.value()).map_or(ABSENT.to_owned(), milliseconds));
        cells.push(of_phase(&|row| row.cpu_s.value()).map_or(ABSENT.to_owned(), milliseconds));
        cells.extend(names.iter().map(|name| {
            of_phase(&|row| row.counters.get(*name).and_then(Recorded::value)).map_or(ABSENT.to_owned(), amount)
        }));
        table.rows.push(cells);
    }
    table
}

/// The name of a counter in files, and what it counts.
fn heading(name: &str) -> String {
    format!("{name}, {}", counter_unit(name))
}

/// Counters that had a register for only a part of the time, each with its note.
fn extrapolated<'v>(view: &RunView<'v>) -> BTreeSet<(&'v str, &'v str)> {
    let rows = view.file.cases.iter().flat_map(|case| &case.phases);
    rows.flat_map(|row| {
        let notes = row.notes.iter().filter(|(name, _)| has(&row.counters, name));
        notes.map(|(name, note)| (name.as_str(), note.as_str()))
    })
    .collect()
}

fn has(counters: &RecordedMap, name: &str) -> bool {
    counters.get(name).is_some_and(Recorded::is_present)
}

/// Field, heading, and printed unit in units of the field of each derived figure.
const DERIVED: [(&str, &str, f64); 10] = [
    ("ipc", "IPC", 1.0),
    ("cache_misses_per_1000", "cache misses / 1,000", 1.0),
    ("branch_misses_per_1000", "branch misses / 1,000", 1.0),
    ("llc_load_misses_per_1000", "LLC load misses / 1,000", 1.0),
    ("dtlb_load_misses_per_1000", "dTLB load misses / 1,000", 1.0),
    ("miss_bytes_per_s", "GB/s by misses", 1e9),
    ("retiring_share", "retiring %", 0.01),
    ("bad_speculation_share", "bad speculation %", 0.01),
    ("frontend_bound_share", "frontend bound %", 0.01),
    ("backend_bound_share", "backend bound %", 0.01),
];

/// Figures derived from the counters, one row per phase; `None` without any.
fn derived(view: &RunView<'_>, summary: &Summary) -> Option<Table> {
    let rows: Vec<&PhaseRow> = view.cases(summary).flat_map(|case| &case.phases).collect();
    let shown: Vec<_> =
        DERIVED.iter().filter(|(name, ..)| rows.iter().any(|row| row.derived.contains_key(*name))).collect();
    if shown.is_empty() {
        return None;
    }
    let columns: Vec<&str> = std::iter::once("<phase").chain(shown.iter().map(|(_, title, _)| *title)).collect();
    let mut table = Table::new(
        format!("{}: stepped pass, derived figures; misses are per 1,000 instructions.", view.subject(summary)),
        &columns,
    );
    let mut phases: Vec<&PhaseOrOther> = Vec::new();
    for row in rows.iter().filter(|row| !row.derived.is_empty()) {
        if !phases.contains(&&row.phase) {
            phases.push(&row.phase);
        }
    }
    for phase in phases {
        let cells = shown.iter().map(|(name, _, unit)| {
            let of_phase = rows.iter().filter(|row| row.phase == *phase);
            let values: Vec<f64> = of_phase.filter_map(|row| row.derived.get(*name).copied()).collect();
            mean(&values).map_or(ABSENT.to_owned(), |value| significant(value / unit))
        });
        table.rows.push(std::iter::once(phase.to_string()).chain(cells).collect());
    }
    Some(table)
}

/// One row per phase and operation of the counted pass: means over the prompts; `None` without any.
fn by_op(view: &RunView<'_>, summary: &Summary) -> Option<Table> {
    let rows: Vec<&OpCounters> = view.cases(summary).flat_map(|case| &case.op_counters).collect();
    let values = rows.iter().flat_map(|row| &row.counters);
    let names: BTreeSet<&str> = values.filter(|(_, value)| value.is_present()).map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let shown: Vec<_> =
        DERIVED.iter().filter(|(name, ..)| rows.iter().any(|row| row.derived.contains_key(*name))).collect();
    let titles = shown.iter().map(|(_, title, _)| *title);
    let named = names.iter().map(|name| heading(name));
    let columns: Vec<String> = ["<phase", "<operation", "calls"].map(str::to_owned).into_iter().chain(named).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).chain(titles).collect();
    let caption = format!("{}: counted pass, per request, mean over the prompts.", view.subject(summary));
    let mut table = Table::new(caption, &columns);
    let mut places: Vec<(&PhaseOrOther, &str)> = Vec::new();
    for row in &rows {
        if !places.contains(&(&row.phase, &row.op)) {
            places.push((&row.phase, &row.op));
        }
    }
    for (phase, op) in places {
        let of_op: Vec<_> = rows.iter().filter(|row| row.phase == *phase && row.op == op).collect();
        let mean_of = |value: &dyn Fn(&OpCounters) -> Option<f64>| {
            mean(&of_op.iter().filter_map(|row| value(row)).collect::<Vec<f64>>())
        };
        let mut cells = vec![phase.to_string(), op.to_owned()];
        cells.push(mean_of(&|row| Some(row.count as f64)).map_or(ABSENT.to_owned(), amount));
        cells.extend(names.iter().map(|name| {
            mean_of(&|row| row.counters.get(*name).and_then(Recorded::value)).map_or(ABSENT.to_owned(), amount)
        }));
        cells.extend(shown.iter().map(|(name, _, unit)| {
            mean_of(&|row| row.derived.get(*name).copied()).map_or(ABSENT.to_owned(), |value| significant(value / unit))
        }));
        table.rows.push(cells);
    }
    Some(table)
}

/// Large counts with k, M or G.
fn amount(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, " G"),
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    if unit.is_empty() && scaled.fract() == 0.0 {
        format!("{scaled:.0}")
    } else {
        format!("{}{unit}", significant(scaled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_says_what_is_counted() {
        assert_eq!(heading("minor_faults"), "minor_faults, page faults");
        assert_eq!(heading("cpu_user_s"), "cpu_user_s, seconds");
        assert_eq!(heading("read_bytes"), "read_bytes, bytes");
    }
}
