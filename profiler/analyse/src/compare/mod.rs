//! Comparisons of two or more sides: whether they did the same work, how they differ, and whether the difference is significant.
//!
//! ```text
//! side (what was named) -> pairing (cases that belong together) -> work (same work?)
//!                                                               -> figures (ratios with intervals), shift (the machine's own change)
//!                                                               -> normalised, split (the parts of the difference)
//!                       -> run_differences (what else differs)     -> gate
//! ```
//! Everything is computed from records. The crate `report` renders the result.

mod answers;
#[cfg(test)]
mod calibration;
mod comparison;
mod figures;
mod gate;
mod normalised;
mod pairing;
mod probabilities;
mod run_differences;
mod shift;
mod side;
mod split;
mod work;

pub use answers::NEAR_TIE;
pub use comparison::{
    Agreement, Assessment, COMPARISON_VERSION, Check, Comparability, Comparison, Contrast, ContrastSide, FigureRow,
    GateRow, NormalisedRow, Outcome, PairRow, ProbabilityDistance, PromptRatio, RunDifference, Shift, SideRow, Split,
    SplitPart, UnmatchedRow, Work,
};
pub use figures::{assess, names as metrics};
pub use gate::{Gate, outcome};
pub use pairing::{Group, GroupPair, Unmatched, pair_groups};
pub use side::{ComparedRun, Side, Sides};

use record::{Reasons, Tool};

/// The default of the least difference that matters in practice.
pub const THRESHOLD: f64 = 0.02;

/// Compares every other side with the first one.
pub fn compare(sides: &Sides, threshold: f64, gates: &[Gate]) -> Comparison {
    let (pairs, unmatched) = pair_groups(sides);
    let contrasts: Vec<Contrast> = pairs.iter().map(|pair| contrast(pair, threshold)).collect();
    Comparison {
        schema_version: COMPARISON_VERSION,
        tool: Tool::default(),
        threshold,
        sides: sides.sides.iter().map(|side| row(side, sides)).collect(),
        gates: gate::check(&contrasts, gates, threshold),
        contrasts,
        unmatched: unmatched
            .into_iter()
            .map(|Unmatched { subject, reason }| UnmatchedRow { subject, reason })
            .collect(),
        run_differences: run_differences::run_differences(sides),
    }
}

fn row(side: &Side, sides: &Sides) -> SideRow {
    let Some(run) = sides.runs.get(side.run) else { return SideRow::default() };
    SideRow {
        label: side.label.clone(),
        run: run.file.name.clone(),
        path: run.path.display().to_string(),
        started: run.file.started.clone(),
        tool: text_of(&run.file.tool),
        foreign: run.foreign,
        notes: run.notes.clone(),
        engine: side.engine.clone(),
        model: side.model.clone(),
    }
}

fn text_of(tool: &Tool) -> String {
    let revision = tool.revision.as_ref().map_or_else(String::new, |revision| format!(" ({revision})"));
    format!("{} {}{revision}", tool.name, tool.version)
}

/// Everything about one pair of groups.
pub fn contrast(pair: &GroupPair<'_>, threshold: f64) -> Contrast {
    let shift = shift::shift(pair);
    Contrast {
        baseline: subject(&pair.baseline, pair),
        other: subject(&pair.other, pair),
        interleaved: pair.interleaved,
        work: work::work(pair),
        figures: figures::rows(pair, shift.as_ref().ok(), threshold),
        normalised: normalised::rows(pair),
        shift: shift.into(),
        splits: split::splits(pair),
        notes: Reasons::new(),
    }
}

fn subject(group: &Group<'_>, pair: &GroupPair<'_>) -> ContrastSide {
    ContrastSide {
        side: group.label.to_owned(),
        engine: group.engine().to_owned(),
        model: group.model().to_owned(),
        threads: group.threads(),
        depth: group.depth(),
        name: name(group, pair),
        text: group.subject(),
    }
}

/// A name by what differs between the two: the engine, the model, the threads, the depth, else the side.
fn name(group: &Group<'_>, pair: &GroupPair<'_>) -> String {
    let (b, o) = (&pair.baseline, &pair.other);
    let mut parts = Vec::new();
    if b.engine() != o.engine() {
        parts.push(group.engine().to_owned());
    }
    if b.model() != o.model() {
        parts.push(group.model().to_owned());
    }
    if b.threads() != o.threads() {
        parts.push(format!("{} threads", group.threads()));
    }
    if b.depth() != o.depth() {
        parts.push(format!("depth {}", group.depth()));
    }
    let name = if parts.is_empty() { group.engine().to_owned() } else { parts.join(", ") };
    if b.run.path == o.run.path { name } else { format!("{name} ({})", group.label) }
}
