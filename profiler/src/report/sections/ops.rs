//! The ops that take the time of a phase.

use std::collections::BTreeMap;

use super::View;
use crate::report::content::{Section, Table};
use crate::report::figures::{milliseconds, or_absent, percent, significant};
use crate::results::OpRow;

/// Rows per phase.
const TOP: usize = 8;

pub(super) fn section(view: &View<'_>) -> Section {
    let mut section = Section::new("Operations");
    for summary in &view.file.summaries {
        let mut merged: BTreeMap<(&str, &str), OpRow> = BTreeMap::new();
        for row in view.cases(summary).flat_map(|case| &case.ops) {
            let sum = merged.entry((&row.phase, &row.op)).or_insert_with(|| OpRow {
                phase: row.phase.clone(),
                op: row.op.clone(),
                flops: Some(0.0),
                bytes: Some(0.0),
                ..OpRow::default()
            });
            sum.count += row.count;
            sum.time_s += row.time_s;
            // One call of unknown cost makes the sum unknown.
            sum.flops = sum.flops.zip(row.flops).map(|(a, b)| a + b);
            sum.bytes = sum.bytes.zip(row.bytes).map(|(a, b)| a + b);
        }
        for phase in ["prefill", "decode", "tokenize", "sample", "detokenize", "load"] {
            let mut rows: Vec<&OpRow> = merged.values().filter(|row| row.phase == phase).collect();
            rows.sort_by(|a, b| b.time_s.total_cmp(&a.time_s));
            let caption = format!(
                "{}: {phase}, all prompts together{}.",
                view.subject(summary),
                if rows.len() > TOP { format!(", the {TOP} longest of {}", rows.len()) } else { String::new() }
            );
            let mut table = Table::new(caption, &["<op", "calls", "ms", "share of ops", "GFLOP/s", "GB/s"]);
            let whole: f64 = rows.iter().map(|row| row.time_s).sum();
            table.rows.extend(rows.iter().take(TOP).map(|row| cells(row, whole)));
            section.show(table);
        }
    }
    if !section.blocks.is_empty() {
        section.say(
            "From the traced pass, whose marks cost time: use the shares. GFLOP/s and GB/s are the cost model's operations and bytes over the measured time; the formulas are in METHODOLOGY.md.",
        );
    }
    section
}

fn cells(row: &OpRow, whole: f64) -> Vec<String> {
    let rate = |amount: Option<f64>| {
        or_absent(amount.filter(|_| row.time_s > 0.0).map(|amount| significant(amount / row.time_s / 1e9)))
    };
    let share = if whole > 0.0 { percent(row.time_s / whole) } else { percent(0.0) };
    vec![row.op.clone(), row.count.to_string(), milliseconds(row.time_s), share, rate(row.flops), rate(row.bytes)]
}
