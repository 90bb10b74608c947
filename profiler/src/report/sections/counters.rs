//! Counters per phase, or why there are none.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use crate::report::content::{Block, Section, Table};
use crate::report::figures::{ABSENT, milliseconds, significant};
use crate::results::{PhaseRow, Summary};
use crate::statistics::mean;

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Counters");
    for summary in &view.file.summaries {
        section.show(table(view, summary));
    }
    let mut absent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for case in &view.file.cases {
        let known = |name: &str| case.counters.get(name).is_some_and(Option::is_some);
        for (name, reason) in case.reasons.iter().filter(|(name, _)| !known(name)) {
            absent.entry(reason).or_default().insert(name);
        }
    }
    if !section.blocks.is_empty() {
        section.say("From the stepped pass: means over the prompts of one request.");
    }
    if !absent.is_empty() {
        let facts = absent
            .into_iter()
            .map(|(reason, names)| (names.into_iter().collect::<Vec<_>>().join(", "), reason.to_owned()))
            .collect();
        section.say("Not available here:");
        section.blocks.push(Block::Facts(facts));
    }
    section
}

/// One row a phase; a column for every counter that has a value somewhere.
fn table(view: &View<'_>, summary: &Summary) -> Table {
    let rows: Vec<&PhaseRow> = view.cases(summary).flat_map(|case| &case.phases).collect();
    let names: BTreeSet<&str> = rows
        .iter()
        .flat_map(|row| row.counters.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.as_str()))
        .collect();
    let columns: Vec<&str> = ["<phase", "ms", "CPU ms"].into_iter().chain(names.iter().copied()).collect();
    let mut table = Table::new(format!("{}.", view.subject(summary)), &columns);
    let mut phases: Vec<&str> = Vec::new();
    for row in &rows {
        if !phases.contains(&row.phase.as_str()) {
            phases.push(&row.phase);
        }
    }
    for phase in phases {
        let of_phase = |value: &dyn Fn(&PhaseRow) -> Option<f64>| {
            mean(&rows.iter().filter(|row| row.phase == phase).filter_map(|row| value(row)).collect::<Vec<f64>>())
        };
        let mut cells = vec![phase.to_owned()];
        cells.push(of_phase(&|row| row.time_s).map_or(ABSENT.to_owned(), milliseconds));
        cells.push(of_phase(&|row| row.cpu_s).map_or(ABSENT.to_owned(), milliseconds));
        cells.extend(
            names.iter().map(|name| {
                of_phase(&|row| row.counters.get(*name).copied().flatten()).map_or(ABSENT.to_owned(), amount)
            }),
        );
        table.rows.push(cells);
    }
    table
}

/// Counts are often large: thousand, million, milliard as k, M, G.
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
