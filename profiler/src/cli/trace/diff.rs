//! `inferometer trace diff A B`: sentences, then a table.

use std::path::Path;

use engines::Phase;
use record::Printable;
use record::figures::significant;
use report::{Align, Block, Column, Content, Section, Table, text};
use traces::chrome::{self, Trace};
use traces::diff::{Calls, Diff, OpDiff, PhaseDiff, diff};

use super::super::advice::UsageError;
use super::super::failure::Code;
use super::super::output;
use super::Form;

/// Maximal number of unchanged operations of a phase in the table.
const TOP: usize = 20;

/// Compares two recordings.
pub(super) fn print(a: &Path, b: &Path, form: Form) -> anyhow::Result<Code> {
    let read = |path: &Path| -> anyhow::Result<Vec<Trace>> {
        super::recordings(path)?.into_iter().map(|file| Ok(chrome::read(file)?)).collect()
    };
    let found = diff(&read(a)?, &read(b)?)?;
    let ops = || found.phases.iter().flat_map(|phase| &phase.ops);
    let sides = [(a, ops().any(|op| op.a.is_some())), (b, ops().any(|op| op.b.is_some()))];
    if let Some((path, _)) = sides.into_iter().find(|(_, has_ops)| !has_ops) {
        let problem = format!("{} has no operations inside phases", path.display());
        let advice = "give a trace of the traced pass (trace-NN-*.json), or the folder of a run with `--trace ops`";
        return Err(UsageError::new(problem, advice).into());
    }
    let shown = match form {
        Form::Text => {
            let title = format!("{} against {}", b.display(), a.display());
            Printable::styled(&text(&Content { title, sections: vec![section(&found)] }, output::text_options()))
        }
        Form::Json => Printable::json(&found)?,
    };
    output::print(&shown)?;
    Ok(Code::Done)
}

fn section(found: &Diff) -> Section {
    let mut section = Section { heading: "Changed operations".to_owned(), short: true, blocks: Vec::new() };
    section.blocks.extend(other_work(found).map(Block::Warning));
    section.blocks.extend(found.phases.iter().map(|phase| Block::Sentence(sentence(phase))));
    for (which, dropped) in ["first", "second"].into_iter().zip(found.dropped) {
        if dropped > 0 {
            let text = format!("The {which} recording lost {dropped} records, so its sums are too small.");
            section.blocks.push(Block::Warning(text));
        }
    }
    section.blocks.extend(found.phases.iter().map(|phase| Block::Table(table(phase))));
    section.blocks.push(Block::Sentence(
        "An operation is changed if its time differs by more than 5 % of the operation and 1 % of the phase, and either its \
         median call is outside the interquartile range of the other recording or its number of calls differs. A and B are \
         the first and the second recording. The range after each median is the interquartile range of the calls."
            .to_owned(),
    ));
    section
}

/// What the recordings are of, where that is not the same: then the differences below are not those of one change.
fn other_work(found: &Diff) -> Option<String> {
    /// The most values of a property that are shown.
    const MOST: usize = 4;
    let shown = |values: &[String]| match values.len() {
        0..=MOST => values.join(", "),
        more => format!("{} and {} more", values[..MOST].join(", "), more - MOST),
    };
    let differences = found.work_differs_in();
    let parts: Vec<String> =
        differences.iter().map(|one| format!("{} {} and {}", one.what, shown(&one.a), shown(&one.b))).collect();
    (!parts.is_empty()).then(|| {
        format!(
            "The recordings are not of the same work: {}. Operations also differ because of that; operations of other engines are \
             compared by their names only.",
            parts.join("; ")
        )
    })
}

/// The unit that one occurrence of a phase processes.
fn unit(phase: &str) -> &'static str {
    match Phase::from_name(phase) {
        Some(Phase::Decode | Phase::Sample | Phase::Detokenize) => "per token",
        _ => "per request",
    }
}

/// `decode: attention takes 2.3x as long: +1.2 ms per token; ...`
fn sentence(phase: &PhaseDiff) -> String {
    let unit = unit(&phase.phase);
    if phase.a.count == 0 || phase.b.count == 0 {
        let which = if phase.a.count == 0 { "second" } else { "first" };
        return format!("{}: only the {which} recording has this phase.", phase.phase);
    }
    let whole = format!("{} -> {} {unit}", time(phase.a.mean_ns), time(phase.b.mean_ns));
    let changed: Vec<String> = phase.ops.iter().filter(|op| op.changed).map(|op| change(op, unit)).collect();
    if changed.is_empty() {
        return format!("{}: no operation changed by more than the variation of its calls ({whole}).", phase.phase);
    }
    format!("{}: {} ({whole}).", phase.phase, changed.join("; "))
}

fn change(op: &OpDiff, unit: &str) -> String {
    let delta = format!("{}{} {unit}", if op.delta_ns < 0.0 { "-" } else { "+" }, time(op.delta_ns.abs()));
    match (op.ratio, op.a.is_some()) {
        (Some(ratio), _) => format!("{} takes {}x as long: {delta}", op.op, significant(ratio)),
        (None, true) => format!("{} is in the first recording only: {delta}", op.op),
        (None, false) => format!("{} is in the second recording only: {delta}", op.op),
    }
}

fn table(phase: &PhaseDiff) -> Table {
    let column = |(name, align): (&str, Align)| Column { name: name.to_owned(), align };
    let columns = [
        ("operation", Align::Left),
        ("changed", Align::Left),
        ("A, ms", Align::Right),
        ("B, ms", Align::Right),
        ("B - A, us", Align::Right),
        ("B / A", Align::Right),
        ("share A", Align::Right),
        ("share B", Align::Right),
        ("calls of A, us", Align::Left),
        ("calls of B, us", Align::Left),
    ];
    let row = |op: &OpDiff| {
        let of = |calls: Option<Calls>, show: fn(Calls) -> String| calls.map_or_else(|| "-".to_owned(), show);
        let per_unit = |calls: Calls| significant(calls.per_unit_ns / 1e6);
        let share = |calls: Calls| format!("{:.1} %", calls.share * 100.0);
        vec![
            op.op.clone(),
            if op.changed { "yes".to_owned() } else { String::new() },
            of(op.a, per_unit),
            of(op.b, per_unit),
            significant(op.delta_ns / 1e3),
            op.ratio.map_or_else(|| "-".to_owned(), significant),
            of(op.a, share),
            of(op.b, share),
            of(op.a, spread),
            of(op.b, spread),
        ]
    };
    let shown = phase.ops.iter().enumerate().filter(|(place, op)| *place < TOP || op.changed);
    Table {
        caption: format!("{}, {}", phase.phase, unit(&phase.phase)),
        columns: columns.map(column).into(),
        rows: shown.map(|(_, op)| row(op)).collect(),
    }
}

/// Number, median and interquartile range of the calls, without spaces at which a table could wrap it.
fn spread(calls: Calls) -> String {
    let micros = |nanos: f64| significant(nanos / 1e3);
    format!("{}x{} ({}..{})", calls.count, micros(calls.median_ns), micros(calls.q1_ns), micros(calls.q3_ns))
}

/// Nanoseconds as text with a unit.
fn time(nanos: f64) -> String {
    traces::Nanos::from_secs_f64(nanos / 1e9).to_string()
}
